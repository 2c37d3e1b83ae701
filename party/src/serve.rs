//! A party: serves inferences to the data owners it lists, and takes weights from the model owner.
//!
//! P0 leads: it names a request and images of a key set to P1, which waits for the same data owner. Both reserve images
//! durably, exchange RESERVED, and only then speak to the data owner; when its masked input has come to both, they run.
//! Everything between the two parties is on one thread each, everything between a party and an owner on a thread of that
//! owner's: a data owner that fails costs its images and holds up nobody. A peer that fails costs the images that were
//! granted with it: the party waits for it to come back.

mod door;
mod follow;
mod lead;
mod owner;
mod piece;
mod prepare;
mod probe;
mod provision;
mod requests;
mod state;
mod stock;
mod stocks;

pub use owner::MOST_IMAGES;
pub use state::{Config, Served, Setup};

use crate::exit::{Content, ExitCode, Failure, Phase};
use crate::identity::Identity;
use crate::jobs::{Concern, SetState};
use crate::messages::{Hello, PROTOCOL_VERSION, hello};
use crate::transport::{Accept, Detail, Dial, Ending, Endpoint, Error, Label, Limits, Link, Reason, Role};
use piece::{Granted, Mismatch};
use state::Party;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twoply_primitives::{Backend, PartyId};

/// How often a waiting process looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);

/// How long one call to P0 may take before P1 looks whether it shall stop.
const CALL: Duration = Duration::from_secs(1);

/// How often a party that waits for the other one says so.
const REMIND: Duration = Duration::from_secs(60);

/// When a party that waits for the other one says so first.
const FIRST: Duration = Duration::from_secs(5);

/// Pause after a failure, so that one that comes back at once does not fill the log.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a party that is told to stop still waits for the peer, so that what runs comes to its end.
const FINISH: Duration = Duration::from_secs(5);

/// How long the peer may take to acknowledge that this party is done.
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs a party on a device until `stop` is set. `say` hears the listening address once it is open, and progress
/// afterwards.
///
/// # Errors
/// What keeps it from serving anybody: configuration, keys, device, this machine; or that the peer stayed away for longer
/// than [`Config::patience`].
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
    let limits = Limits { link: config.link, ..Limits::service([config.peer]) };
    let endpoint = Endpoint::bind_with(identity, role, Some(config.listen), Accept::these(listed), limits)?;
    say(&format!("{} listens on {} as {}", setup.me, endpoint.address(), endpoint.fingerprint()));
    let party = Party::new(setup, dev, say)?;
    let hooks = Hooks { stop, late: Arc::default(), over: Arc::default() };
    let result = std::thread::scope(|scope| {
        let (party, endpoint, hooks) = (&party, &endpoint, &hooks);
        let door = scope.spawn(move || door::watch(scope, party, endpoint, &hooks.over));
        scope.spawn(move || party.larder.work(party, &hooks.over));
        scope.spawn(move || hooks.watch());
        let over = Over(&hooks.over);
        let result = run(party, endpoint, hooks);
        drop(over);
        party.close();
        let _ = door.join();
        party.close(); // whoever came in meanwhile
        result
    });
    // also after a failure: what was used is known now
    let account = party.stocks.account();
    result?;
    let mut tally = party.tally();
    tally.prepared = party.larder.seconds();
    let (left, burnt) = account?;
    Ok(Served { tally, left, burnt })
}

/// Tells all threads at its end that the work is over, a panic's too: nobody waits for threads that would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn role_of(me: PartyId) -> Role {
    match me {
        PartyId::P0 => Role::P0,
        PartyId::P1 => Role::P1,
    }
}

/// What the work with the peer needs from its process.
struct Hooks<'a> {
    /// It is to stop when it can.
    stop: &'a AtomicBool,
    /// It does not wait for the peer any longer.
    late: Arc<AtomicBool>,
    /// The work with the peer is over: nobody is waited for.
    over: Arc<AtomicBool>,
}

impl Hooks<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
    /// Sees to it that a stop does not wait for the peer for long.
    fn watch(&self) {
        let mut since = None;
        while !self.over.load(Ordering::SeqCst) {
            if self.stopped() && since.get_or_insert_with(Instant::now).elapsed() >= FINISH {
                self.late.store(true, Ordering::SeqCst);
            }
            std::thread::sleep(TICK);
        }
    }
}

/// How the work with one peer link ended, if not by a failure.
enum Ended {
    /// This process was told to stop.
    Stopped,
    /// The peer closed the link in order.
    PeerLeft(String),
    /// The peer has called again.
    Replaced,
    /// Another process with this party's key has called the peer.
    Ousted,
}

fn run<B: Backend>(party: &Party<B>, endpoint: &Endpoint, hooks: &Hooks) -> Result<(), Failure> {
    // before the two have ever worked together, a difference is a mistake in a configuration and ends this process
    let mut known = false;
    while !hooks.stopped() {
        let Some(mut peer) = meet(party, endpoint, hooks, known)? else { break };
        peer.stop_with(hooks.late.clone());
        let result = work(party, &mut peer, hooks, &mut known);
        let met = party.met();
        party.parts();
        party.stocks.alone();
        match result {
            Ok(Ended::Stopped) => {
                let _ = peer.close(GOODBYE);
                return Ok(());
            }
            // It takes calls until it has gone.
            Ok(Ended::PeerLeft(_)) if !met => std::thread::sleep(PAUSE),
            Ok(Ended::PeerLeft(why)) => {
                (party.say())(&format!("{} left: {why}; waiting for it to come back", party.me.peer()));
            }
            Ok(Ended::Replaced) => {
                let why = match (peer.gone(), peer.was_ousted()) {
                    (_, true) => {
                        party.stocks.worry(Concern::Cloned);
                        "while its link before still answered: it runs twice, or a copy of it runs (a clone); the newer \
                         one is served"
                    }
                    (Some(Error::Replaced { .. }), false) => {
                        "and its new link replaces the one before: it was started again, or runs twice"
                    }
                    _ => "and its new link replaces the one before",
                };
                (party.say())(&format!("{} called again, {why}", party.me.peer()));
                peer.abort(Reason::Replaced, Detail::None);
            }
            // two processes that called again and again would drive each other out for ever
            Ok(Ended::Ousted) => return Err(ousted(party.me.peer())),
            Err(failure) => {
                let failure = Failure::on_link(failure, &peer);
                let (reason, detail) = failure.reason();
                peer.abort(reason, detail);
                if ends(&failure, known) {
                    return Err(failure);
                }
                if hooks.stopped() {
                    return Ok(());
                }
                let content = failure.content();
                let text = format!(
                    "the work with {} broke off: {}; waiting for it to come back",
                    party.me.peer(),
                    content.what
                );
                (party.say())(&text);
                if content.code != ExitCode::Unreachable {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
    Ok(())
}

/// Another process called with this party's key, and was taken in its place.
fn ousted(peer: PartyId) -> Failure {
    let what = format!("another process with this party's key has taken its place at {peer}");
    Failure::new(ExitCode::Identity, what).remedy(
        "is this party running twice, or was its machine cloned? Run one of the two; of key folders that are copies of each \
         other, one must never be used",
    )
}

/// Whether this party cannot go on.
fn ends(failure: &Failure, known: bool) -> bool {
    match failure.code() {
        ExitCode::Device | ExitCode::System | ExitCode::Config | ExitCode::Internal => true,
        ExitCode::PlanMismatch | ExitCode::Version | ExitCode::Identity | ExitCode::Policy => !known,
        _ => false,
    }
}

/// The work over one link, from the hello on.
fn work<B: Backend>(
    party: &Party<B>,
    peer: &mut Link,
    hooks: &Hooks,
    known: &mut bool,
) -> Result<Ended, Failure> {
    let ours = greeting(party)?;
    let theirs = match hello(peer, ours.clone()) {
        Ok(theirs) => theirs,
        Err(failure) => return left(failure, peer),
    };
    party.greeted(&ours);
    let result = meeting(party, peer, hooks, (&ours, &theirs), known);
    party.sent(peer.traffic().sent);
    result
}

/// The work over one link to a party that runs the same.
fn meeting<B: Backend>(
    party: &Party<B>,
    peer: &mut Link,
    hooks: &Hooks,
    (ours, theirs): (&Hello, &Hello),
    known: &mut bool,
) -> Result<Ended, Failure> {
    party.stocks.agree(&theirs.sets, None, party.say()).map_err(|f| f.during(Phase::Hello))?;
    *known = true;
    party.meets(ours.meeting(theirs));
    (party.say())(&format!("connected to {}", peer.name()));
    // One that was behind says what it has anew.
    let behind = |t: &SetState| ours.sets.iter().any(|m| m.key_set == t.key_set && m.cursor != t.cursor);
    if party.stocks.left() == [0, 0] && !theirs.sets.iter().any(behind) {
        (party.say())(
            "the two parties have no key set in common that is not spent; deal keys, and put both halves in place",
        );
    }
    let result = match party.me {
        PartyId::P0 => lead::run(party, peer, hooks),
        PartyId::P1 => follow::run(party, peer, hooks),
    };
    let result = result.or_else(|failure| left(failure, peer));
    let lost = match &result {
        Err(failure) => Failure::on_link(failure.clone(), peer),
        Ok(Ended::Stopped) => {
            Failure::new(ExitCode::PeerFailed, "this party was stopped").told_as(Reason::Interrupted)
        }
        Ok(_) => Failure::new(ExitCode::Unreachable, format!("{} left", party.me.peer())),
    };
    match &result {
        Ok(Ended::Stopped) => party.requests.break_off(&lost),
        _ => party.requests.break_off(&relayed(lost, peer, party.me.peer())),
    };
    result
}

/// What a data owner hears when the work with the peer broke: this party's failure, the peer's, or that the peer was lost.
fn relayed(failure: Failure, link: &Link, peer: PartyId) -> Failure {
    let reason = match (failure.code(), link.fault()) {
        (_, Some(Error::PeerFailed { reason: reason @ Reason::Failed(_), .. })) => *reason,
        (_, Some(Error::Stopped)) => Reason::Interrupted,
        (ExitCode::Unreachable | ExitCode::PeerFailed, _) => Reason::Failed(ExitCode::Unreachable),
        _ => return failure,
    };
    failure.with_detail(Detail::Item(Label::new(&peer.to_string()))).told_as(reason)
}

/// Whether the peer went away on purpose, or came again; else the failure.
fn left(failure: Failure, peer: &Link) -> Result<Ended, Failure> {
    match peer.fault().map(Error::ending) {
        Some(Ending::Stopped) => Ok(Ended::PeerLeft("it was stopped".into())),
        Some(Ending::Replaced) => Ok(Ended::Replaced),
        Some(Ending::Ousted) => Ok(Ended::Ousted),
        _ => Err(failure),
    }
}

/// Lets go of what was granted with a peer that is gone, and names the images that are lost with it.
fn abandon<B: Backend>(party: &Party<B>, granted: impl Iterator<Item = Granted<B>>) {
    for granted in granted {
        (party.say())(&granted.describe());
        // what cannot be erased now is erased with the key set, or at the next start
        let _ = granted.finish(party);
    }
}

/// A granted piece that is not run, because of its owner: its images are burnt, and the owner hears why.
fn lose<B: Backend>(party: &Party<B>, granted: Granted<B>, failure: Failure) -> Result<(), Failure> {
    (party.say())(&granted.describe());
    party.requests.end(granted.job, failure);
    granted.finish(party)
}

/// A piece that the two parties have differently.
fn mismatch<B: Backend>(party: &Party<B>, granted: Granted<B>, mismatch: Mismatch) -> Result<(), Failure> {
    let failure = Failure::from(mismatch);
    if mismatch == Mismatch::Halves {
        party.stocks.condemn(granted.stock().id(), &failure.content().what, party.say());
    }
    lose(party, granted, failure)
}

/// A link to the peer: P1 dials, P0 waits. `None` when this process shall stop.
fn meet<B: Backend>(
    party: &Party<B>,
    endpoint: &Endpoint,
    hooks: &Hooks,
    known: bool,
) -> Result<Option<Link>, Failure> {
    let began = Instant::now();
    let (mut due, mut last) =
        (FIRST, Failure::new(ExitCode::Unreachable, "it has not called").remedy(NOT_CALLED));
    while !hooks.stopped() {
        if let Some(failure) = party.door_failure(known) {
            return Err(failure);
        }
        let link = match party.me {
            PartyId::P0 => party.peer_link(TICK),
            PartyId::P1 => match dial(party, endpoint) {
                Ok(link) => Some(link),
                Err(failure) if failure.code() == ExitCode::Unreachable => {
                    last = failure;
                    None
                }
                Err(failure) if known => {
                    if last.content().what != failure.content().what {
                        (party.say())(&failure.content().what);
                    }
                    last = failure;
                    std::thread::sleep(PAUSE);
                    None
                }
                Err(failure) => return Err(failure.during(Phase::Connect)),
            },
        };
        party.requests.reap();
        if link.is_some() {
            return Ok(link);
        }
        let waited = began.elapsed();
        if let Some(patience) = party.config.patience.filter(|p| waited >= *p) {
            let Content { what, remedy, .. } = last.content();
            let text = format!("{} did not come within {} s: {what}", party.me.peer(), patience.as_secs());
            return Err(Failure::new(ExitCode::Unreachable, text).during(Phase::Connect).remedy(format!(
                "{remedy}; --peer is P0's address; without --patience this party waits for ever"
            )));
        }
        if waited >= due {
            due = waited + REMIND;
            let Content { what, remedy, .. } = last.content();
            let (peer, waited) = (party.me.peer(), waited.as_secs());
            (party.say())(&format!("waiting for {peer} since {waited} s: {what}; {remedy}"));
        }
    }
    Ok(None)
}

/// What to do when P1 does not call P0.
const NOT_CALLED: &str = "start the other party, and check that P0's --listen address is P1's --peer and that firewalls let it through";

/// P1 calls P0 for a moment.
fn dial<B: Backend>(party: &Party<B>, endpoint: &Endpoint) -> Result<Link, Failure> {
    let address = party.config.peer_address.clone().unwrap_or_default();
    let dial = Dial::new(address, party.config.peer).within(CALL).over(party.config.transport);
    Ok(endpoint.connect(&dial)?)
}

fn greeting<B: Backend>(party: &Party<B>) -> Result<Hello, Failure> {
    party.stocks.look(party.say())?;
    let options = &party.plan.options;
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
        sets: party.stocks.all_states(),
        nonce: crate::random()?,
    })
}
