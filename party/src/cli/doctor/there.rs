//! What the doctor learns of the two parties.

use super::{Args, Finding, Findings};
use crate::cli::places::fingerprint;
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Identity;
use crate::jobs::{About, Concern};
use crate::messages::PROTOCOL_VERSION;
use crate::probe;
use crate::transport::{Accept, Dial, Endpoint, Error, Limits, Link, Role, Transport};
use std::sync::Arc;
use std::time::Duration;
use twoply_preprocessing::{DAMAGED, PlanDigest};

/// Clocks farther apart make logs of two machines hard to read together. Nothing else depends on them.
const CLOCKS: f64 = 2.0;

/// Asks every party that is named.
pub(super) fn parties(
    args: &Args,
    identity: Option<&Arc<Identity>>,
    plan: Option<PlanDigest>,
) -> Vec<Finding> {
    let named = [
        ("P0", "--p0-key", Role::P0, &args.p0, &args.p0_key),
        ("P1", "--p1-key", Role::P1, &args.p1, &args.p1_key),
    ];
    let (mut all, mut plan, mut first) = (vec![], plan, None);
    for (side, flag, role, address, key) in named {
        let (Some(address), Some(key)) = (address, key) else { continue };
        let mut there = Findings::of(side);
        let Some(identity) = identity else {
            there.warn("key", "not asked", "make an identity first: `twoply id --new`");
            all.extend(there.all);
            continue;
        };
        let key = there.note("key", fingerprint(flag, key));
        if key.is_some() && key == first {
            let failure = Failure::new(ExitCode::Config, "both parties are given one key");
            there.fail("key", &failure.remedy("give each party's own fingerprint"));
        } else if let Some(key) = key {
            first.get_or_insert(key);
            let call = Dial::new(address, key).within(Duration::from_secs(args.patience)).once();
            let about = match key == identity.fingerprint() {
                true => {
                    itself(&mut there, identity, &call.over(args.transport), (role, args.role));
                    None
                }
                false => ask(&mut there, identity, (&call, role), args.transport),
            };
            if let Some((about, ahead)) = about {
                judge(&mut there, &about, ahead, plan);
                // Without a plan here, that of the first party is what the second one must have.
                plan.get_or_insert(PlanDigest(about.plan));
            }
        }
        all.extend(there.all);
    }
    all
}

/// What calls are made from.
fn caller(there: &mut Findings, identity: &Arc<Identity>, within: Duration) -> Option<Endpoint> {
    let limits = Limits { patience: within, ..Limits::default() };
    let endpoint = Endpoint::bind_with(identity.clone(), Role::Probe, None, Accept::nobody(), limits);
    there.note("call", endpoint.map_err(Failure::from))
}

/// A side whose key is this machine's own: right on the machine of that party, and a mistake everywhere else. A party
/// does not list its own key, so it says no more than that it holds it.
fn itself(
    there: &mut Findings,
    identity: &Arc<Identity>,
    call: &Dial,
    (role, mine): (Role, Option<u8>),
) -> Option<()> {
    let endpoint = caller(there, identity, call.within)?;
    let said = mine.map(|number| if number == 0 { Role::P0 } else { Role::P1 });
    let wrong = |what: String| {
        let remedy = format!("give {role}'s fingerprint, the line that `twoply id` prints there");
        Failure::new(ExitCode::Identity, what).remedy(remedy)
    };
    match endpoint.connect(call) {
        _ if said.is_some_and(|said| said != role) => {
            there.fail("key", &wrong(format!("this machine's own, which --role says is not {role}")));
        }
        // Whoever answers has shown this key; a party refuses it, as it does not list its own.
        Ok(_) | Err(Error::Refused { .. }) => {
            there.ok("key", "this machine's own, and it is this machine that answers there");
        }
        Err(Error::Unreachable { cause, .. }) if said == Some(role) => {
            let found = format!("this machine's own, and it does not answer: {cause}");
            there.warn("key", found, cause.remedy());
        }
        Err(e) => {
            there.fail("key", &wrong(format!("this machine's own, and nobody answers there with it: {e}")))
        }
    }
    Some(())
}

/// Calls over each transport; measures and asks.
fn ask(
    there: &mut Findings,
    identity: &Arc<Identity>,
    (call, role): (&Dial, Role),
    transport: Transport,
) -> Option<(About, f64)> {
    let endpoint = caller(there, identity, call.within)?;
    let both = [(Transport::Tcp, "tcp"), (Transport::Quic, "quic")];
    let tried = both.into_iter().filter(|(via, _)| transport == Transport::Auto || transport == *via);
    let results: Vec<_> =
        tried.map(|(via, name)| (name, visit(&endpoint, &call.clone().over(via), role))).collect();
    let reached = results.iter().any(|(_, result)| result.is_ok());
    let mut answer = None;
    for (name, result) in results {
        match result {
            Ok((found, about)) => {
                there.ok(name, found);
                answer = Some(about);
            }
            // The other transport does as well.
            Err(failure) if reached && failure.code() == ExitCode::Unreachable => {
                let protocol = if name == "tcp" { "TCP" } else { "UDP" };
                let remedy = format!("open this port for {protocol} in the firewalls, or do without");
                there.warn(name, &failure.content().what, remedy);
            }
            Err(failure) => there.fail(name, &failure),
        }
    }
    answer
}

/// One link to a party: what was found, what it says of itself, and how far its clock is ahead in seconds.
fn visit(endpoint: &Endpoint, call: &Dial, role: Role) -> Result<(String, (About, f64)), Failure> {
    let mut link = endpoint.connect(call).map_err(|e| Failure::from(e).during(Phase::Connect))?;
    if link.role() != role {
        let what = format!("{} is {}, not {role}", call.address, link.role());
        return Err(Failure::new(ExitCode::PlanMismatch, what).remedy("swap the addresses of P0 and P1"));
    }
    let found = measure(&mut link);
    match found {
        Ok(found) => {
            // It was heard; how it hangs up tells nothing.
            let _ = link.close(call.within);
            Ok(found)
        }
        Err(failure) => {
            let (reason, detail) = failure.reason();
            link.abort(reason, detail);
            Err(failure)
        }
    }
}

fn measure(link: &mut Link) -> Result<(String, (About, f64)), Failure> {
    // First: a party of another version ends the link here.
    let about = probe::about(link)?;
    let round_trip = probe::round_trip(link)?;
    let [up, down] = probe::bandwidth(link, round_trip)?.map(|bits| bits / 1e6);
    let found = format!(
        "the right key; {:.3} ms there and back, {up:.0} Mbit/s there, {down:.0} back",
        round_trip * 1e3
    );
    Ok((found, about))
}

fn judge(there: &mut Findings, about: &About, ahead: f64, plan: Option<PlanDigest>) {
    let (software, mine) = (about.software.as_str(), env!("CARGO_PKG_VERSION"));
    if about.protocol != PROTOCOL_VERSION {
        let what = format!("protocol {} there, {PROTOCOL_VERSION} here", about.protocol);
        there.fail("version", &Failure::new(ExitCode::Version, what));
    } else if software != mine {
        let remedy = "parties must run the same version; data owners need only the same protocol";
        there.warn("version", format!("{software} there, {mine} here, protocol {PROTOCOL_VERSION}"), remedy);
    } else {
        there.ok("version", format!("{software}, protocol {PROTOCOL_VERSION}"));
    }
    let theirs = PlanDigest(about.plan);
    match plan {
        Some(plan) if plan != theirs => {
            let what = format!("it runs plan {theirs}, not {plan}");
            there.fail(
                "plan",
                &Failure::new(ExitCode::PlanMismatch, what).remedy("use the same plan file everywhere"),
            );
        }
        _ => there.ok("plan", theirs.to_string()),
    }
    match about.provisioned {
        true => there.ok("weights", "it holds masked weights"),
        false => {
            let remedy = "let the model owner run `twoply provision` for both parties before anyone asks";
            there.warn("weights", "it has none yet", remedy);
        }
    }
    stock(there, about);
    concern(there, about.concern);
    let found = format!("{ahead:+.3} s to this machine's");
    match ahead.abs() < CLOCKS {
        true => there.ok("clock", found),
        false => there.warn(
            "clock",
            found,
            "set both clocks, or logs will not line up; nothing else depends on it",
        ),
    }
}

/// Whether it has its peer, and keys.
fn stock(there: &mut Findings, about: &About) {
    match about.met {
        true => there.ok("peer", "it is connected to the other party"),
        false => there.warn(
            "peer",
            "the other party is not connected to it",
            "start the other party; if it runs, see that P1's --peer is P0's address and that each lists the other's key \
             as its --peer-key",
        ),
    }
    let sets = about.sets;
    match about.images {
        0 if sets == 0 => {
            there.warn("keys", "it has no key set with keys left", MORE);
        }
        // Without the other party, or without weights, none can be given: that was said.
        0 if !about.met || !about.provisioned => there.ok("keys", format!("{sets} key sets")),
        0 => there.warn(
            "keys",
            format!("{sets} key sets, but the two parties have no image left in common"),
            MORE,
        ),
        images => there.ok("keys", format!("{sets} key sets, {images} images can be asked for")),
    }
}

/// What to do where keys are at an end.
const MORE: &str =
    "deal more keys (`twoply deal`), put them into both parties' key folders, and provision them";

/// What its operator should look at.
fn concern(there: &mut Findings, concern: Concern) {
    const RESTORED: &str = "stop both parties, discard at both every key set that was restored, deal new ones \
                            (`twoply deal`), and never restore a key folder from a copy";
    let (found, remedy) = match concern {
        Concern::None => return there.ok("concern", "none"),
        Concern::RestoredHere => (
            "its own ledger was far behind the other party's: its key folder was restored from a copy",
            RESTORED,
        ),
        Concern::RestoredThere => (
            "the other party's ledger was far behind its own: that key folder was restored from a copy",
            RESTORED,
        ),
        Concern::Cloned => (
            "two processes call with one party's key: it runs twice, or its machine was cloned",
            "stop one of the two, and never run copies of a key folder: discard the key sets that both had, and deal new ones",
        ),
        Concern::Damaged => ("a key set is damaged there, and is not used any more", DAMAGED),
    };
    there.warn("concern", found, remedy);
}
