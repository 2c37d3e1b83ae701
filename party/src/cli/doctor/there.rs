//! What the doctor learns of the two parties.

use super::{Args, Finding, Findings};
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::{Fingerprint, Identity};
use crate::jobs::About;
use crate::messages::PROTOCOL_VERSION;
use crate::probe;
use crate::transport::{Accept, Dial, Endpoint, Limits, Link, Role, Transport};
use std::sync::Arc;
use std::time::Duration;
use twoply_preprocessing::PlanDigest;

/// Clocks farther apart make logs of two machines hard to read together. Nothing else depends on them.
const CLOCKS: f64 = 2.0;

/// Asks every party that is named.
pub(super) fn parties(
    args: &Args,
    identity: Option<&Arc<Identity>>,
    plan: Option<PlanDigest>,
) -> Vec<Finding> {
    let named = [("P0", Role::P0, &args.p0, &args.p0_key), ("P1", Role::P1, &args.p1, &args.p1_key)];
    let (mut all, mut plan) = (vec![], plan);
    for (side, role, address, key) in named {
        let (Some(address), Some(key)) = (address, key) else { continue };
        let mut there = Findings::of(side);
        let Some(identity) = identity else {
            there.warn("key", "not asked", "make an identity first: `twoply id --new`");
            all.extend(there.all);
            continue;
        };
        let key = there.note("key", key.parse::<Fingerprint>().map_err(Failure::from));
        if key == Some(identity.fingerprint()) {
            there.ok("key", "this machine's own: it does not call itself");
        } else if let Some(key) = key {
            let call = Dial::new(address, key).within(Duration::from_secs(args.patience)).once();
            let about = ask(&mut there, identity, (&call, role), args.transport);
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

/// Calls over each transport; measures and asks.
fn ask(
    there: &mut Findings,
    identity: &Arc<Identity>,
    (call, role): (&Dial, Role),
    transport: Transport,
) -> Option<(About, f64)> {
    let limits = Limits { patience: call.within, ..Limits::default() };
    let endpoint = Endpoint::bind_with(identity.clone(), Role::Probe, None, Accept::nobody(), limits);
    let endpoint = there.note("call", endpoint.map_err(Failure::from))?;
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
