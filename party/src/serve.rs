//! A party: serves inferences to the data owners it lists, one after the other, and takes weights from the model owner.
//!
//! P0 leads: it picks the next job and names it to P1, which waits for the same data owner. Both reserve images
//! durably, exchange RESERVED, and only then speak to the data owner. A data owner that fails costs its images and
//! nothing else; a peer that fails ends the process.

mod door;
mod follow;
mod job;
mod lead;
mod prepare;
mod probe;
mod provision;
mod state;

pub use state::{Config, Served, Setup};

use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Identity;
use crate::messages::{Hello, PROTOCOL_VERSION, hello};
use crate::report::Tally;
use crate::transport::{Accept, Dial, Endpoint, Error, Label, Limits, Link, Role};
use state::Party;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twoply_primitives::{Backend, PartyId};

/// How often a waiting process looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);

/// How long one call to P0 may take before P1 looks whether it shall stop.
const CALL: Duration = Duration::from_secs(1);

/// Runs a party on a device until `stop` is set or the peer fails. `ready` hears the listening address once it is open, and
/// progress afterwards.
pub fn serve<B: Backend>(
    setup: Setup,
    dev: B,
    stop: &AtomicBool,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Served, Failure> {
    let config = setup.config.clone();
    let identity: Arc<Identity> = setup.identity.clone();
    let role = role_of(setup.me);
    let listed = config.everyone();
    let limits = Limits { link: config.link, ..Limits::default() };
    let endpoint = Endpoint::bind_with(identity, role, Some(config.listen), Accept::these(listed), limits)?;
    say(&format!("{} listens on {} as {}", setup.me, endpoint.address(), endpoint.fingerprint()));
    let party = Party::new(setup, dev)?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (party, endpoint, over) = (&party, &endpoint, &over);
        let door = scope.spawn(move || door::watch(scope, party, endpoint, over, say));
        scope.spawn(move || party.larder.work(party, over));
        let back = |link: Link| {
            scope.spawn(move || door::listen(party, link, over, say));
        };
        let result = run(party, endpoint, &Hooks { stop, say, back: &back });
        over.store(true, Ordering::SeqCst);
        party.close();
        let _ = door.join();
        party.close(); // whoever came in meanwhile
        result
    })?;
    let mut tally = party.tally();
    tally.prepared = party.larder.seconds();
    let (left, burnt) = party.account()?;
    Ok(Served { tally, left, burnt })
}

fn role_of(me: PartyId) -> Role {
    match me {
        PartyId::P0 => Role::P0,
        PartyId::P1 => Role::P1,
    }
}

/// What the work with the peer needs from its process.
struct Hooks<'a> {
    stop: &'a AtomicBool,
    say: &'a (dyn Fn(&str) + Sync),
    /// Takes a data owner's link back after a job, to await its next request.
    back: &'a dyn Fn(Link),
}

impl Hooks<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
    /// Ends a data owner's link with a reason.
    fn refuse(&self, link: Link, failure: Failure) {
        (self.say)(&format!("{}: {}", link.name(), failure.content().what));
        let (reason, detail) = failure.reason();
        link.abort(reason, detail);
    }
}

fn run<B: Backend>(party: &Party<B>, endpoint: &Endpoint, hooks: &Hooks) -> Result<(), Failure> {
    while !hooks.stopped() {
        let Some(mut peer) = meet(party, endpoint, hooks)? else { break };
        let ours = greeting(party)?;
        let theirs = match hello(&mut peer, ours.clone()) {
            Ok(theirs) => theirs,
            Err(_) if peer.fault().is_some_and(left) => continue,
            Err(failure) => return Err(failure.during(Phase::Hello)),
        };
        party.catch_up(theirs.cursor).map_err(|f| f.during(Phase::Hello))?;
        party.meet(ours.meeting(&theirs));
        (hooks.say)(&format!("connected to {}", peer.name()));
        let result = match party.me {
            PartyId::P0 => lead::run(party, &mut peer, hooks),
            PartyId::P1 => follow::run(party, &mut peer, hooks),
        };
        party.forget_reservations();
        match result {
            Ok(Ended::Stopped) => {
                let _ = peer.close(Duration::from_secs(2));
                return Ok(());
            }
            Ok(Ended::PeerLeft) => (hooks.say)("the peer left; waiting for it to come back"),
            Err(failure) => {
                let failure = Failure::on_link(failure, &peer);
                let (reason, detail) = failure.reason();
                peer.abort(reason, detail);
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// How the work with one peer link ended, if not by a failure.
enum Ended {
    /// This process was told to stop.
    Stopped,
    /// The peer closed the link between two jobs.
    PeerLeft,
}

/// Whether the peer went away on purpose, or was never really there.
fn left(fault: &Error) -> bool {
    use crate::transport::Reason;
    matches!(
        fault,
        Error::Closed { .. } | Error::Lost { .. } | Error::PeerFailed { reason: Reason::Interrupted, .. }
    )
}

/// A link to the peer: P1 dials, P0 waits.
fn meet<B: Backend>(party: &Party<B>, endpoint: &Endpoint, hooks: &Hooks) -> Result<Option<Link>, Failure> {
    let patience = party.config.patience;
    let late = || {
        let text = format!("{} did not come within {} s", party.me.peer(), patience.as_secs());
        Failure::new(ExitCode::Unreachable, text)
            .during(Phase::Connect)
            .remedy("start the other party, and check its --peer address and this one's --listen address")
    };
    let until = Instant::now() + patience;
    while !hooks.stopped() {
        if let Some(failure) = party.door_failure() {
            return Err(failure);
        }
        let link = match party.me {
            PartyId::P0 => party.peer_link(TICK),
            PartyId::P1 => dial(party, endpoint)?,
        };
        party.reap();
        if link.is_some() {
            return Ok(link);
        }
        if Instant::now() >= until {
            return Err(late());
        }
    }
    Ok(None)
}

/// P1 calls P0 for a moment; nobody there yet is no failure.
fn dial<B: Backend>(party: &Party<B>, endpoint: &Endpoint) -> Result<Option<Link>, Failure> {
    let address = party.config.peer_address.clone().unwrap_or_default();
    let dial = Dial::new(address, party.config.peer).within(CALL).over(party.config.transport);
    match endpoint.connect(&dial) {
        Ok(link) => Ok(Some(link)),
        Err(e) => match Failure::from(e) {
            f if f.code() == ExitCode::Unreachable => Ok(None),
            f => Err(f.during(Phase::Connect)),
        },
    }
}

fn greeting<B: Backend>(party: &Party<B>) -> Result<Hello, Failure> {
    let options = &party.plan.options;
    let key_set = party.set.id().0;
    let rounding = serde_json::to_value(options.rounding).unwrap_or_default();
    Ok(Hello {
        protocol: PROTOCOL_VERSION,
        software: Label::new(env!("CARGO_PKG_VERSION")),
        role: role_of(party.me),
        ring_bits: options.fixed.n,
        fraction_bits: options.fixed.f,
        comparison: Label::new(&options.compare.to_string()),
        truncation: Label::new(rounding.as_str().unwrap_or("unknown")),
        graph: party.plan.graph_digest(),
        plan: party.digest.0,
        weights: party.weights_digest(),
        weight_mask: key_set,
        key_set,
        cursor: party.cursor()?,
        nonce: crate::random()?,
    })
}

/// Adds what one job counted.
fn count(tally: &mut Tally, images: usize, ran: &twoply_nn::roles::Ran, seconds: f64) {
    tally.add_run(images, ran, seconds);
}
