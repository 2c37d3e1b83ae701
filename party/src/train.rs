//! A training run in real processes: a dealer, two parties, owners of data, the model's owner (training, sections 8 and 9).
//!
//! The dealer calls both parties and names run and data key sets; P1 calls P0; owners call both parties. All that two of them
//! say is in `wire.rs`. What may leave when, and what is durable before, is kept by the types of
//! [`twoply_preprocessing::run`] and [`rows`](twoply_preprocessing::rows); here they are joined to links:
//!
//! ```text
//! dealer.rs    both parties' asks, an offer, keys of step after step     party.rs    connections, data, run, end
//! bring.rs     a data owner, or the owner of the first weights           attempt.rs  one attempt, step after step
//! fetch.rs     the model's owner                                         lobby.rs    who called, and owners' threads
//! ```
//!
//! Whenever a process or a link dies, everybody leaves the attempt, keeps its checkpoints, and calls again.

mod attempt;
mod bring;
mod dealer;
mod fetch;
mod lobby;
mod owners;
mod party;
mod progress;
mod sets;
mod wire;

pub use bring::{Brought, Offering, bring};
pub use dealer::{Dealing, Dealt, deal};
pub use fetch::{Fetched, fetch};
pub use lobby::Guests;
pub use party::{Outcome, Setup, serve};
pub use progress::{Progress, Range};

use crate::exit::{ExitCode, Failure};
use crate::transport::{Error, Link, Reason};
use std::time::{Duration, Instant};
use twoply_nn::train::TrainingPlan;
use twoply_preprocessing::run::{RunId, RunSpec};
use twoply_primitives::KeySetId;

/// How long a link waits for the next message of somebody who computes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a waiting process looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);
/// Pause before everybody calls again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one call to P0 may take before P1 looks whether it shall stop.
const CALL: Duration = Duration::from_secs(1);
/// Time for the last words.
const GOODBYE: Duration = Duration::from_secs(5);

/// What all three know of a run.
fn run_spec(plan: &TrainingPlan, run: RunId, sets: &[KeySetId]) -> Result<RunSpec, Failure> {
    Ok(RunSpec {
        run,
        plan: plan.digest()?,
        order: plan.order_digest(),
        sets: sets.to_vec(),
        schedule: plan.checkpoints(),
        lengths: plan.program()?.lengths()?,
    })
}

/// Whether to wait for the others again: somebody died, or a link did. Everything else would come again.
fn passing(failure: &Failure) -> bool {
    matches!(failure.code(), ExitCode::Unreachable | ExitCode::PeerFailed)
}

/// Does an owner's errand again while a party is lost, until `within` is over; `say` hears why.
///
/// # Errors
/// What does not pass by itself, and what is still so in the end.
pub fn again<T>(
    within: Duration,
    say: impl Fn(&str),
    mut errand: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let until = Instant::now() + within;
    loop {
        match errand() {
            Err(failure) if passing(&failure) && Instant::now() < until => {
                say(&format!("once more: {}", failure.content().what));
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// A failure that one of the others gave a lasting reason for is one here too: waiting for it would not help.
fn told<'l>(failure: Failure, links: impl IntoIterator<Item = &'l Link>) -> Failure {
    let lasting = |link: &'l Link| match link.fault() {
        Some(Error::PeerFailed { reason: Reason::Failed(code), .. }) => {
            let passes = [ExitCode::Unreachable, ExitCode::PeerFailed, ExitCode::System, ExitCode::Internal];
            (!passes.contains(code)).then(|| (link.name(), *code))
        }
        _ => None,
    };
    match links.into_iter().find_map(lasting) {
        Some((name, code)) if passing(&failure) => {
            let what = format!("{name} stopped: {}", code.name());
            Failure::new(code, what).with_peer(name).remedy("see the message of that process")
        }
        _ => failure,
    }
}

/// Ends a link, and says why.
fn leave(link: Link, why: &Failure) {
    let (reason, detail) = why.reason();
    link.abort(reason, detail);
}

/// The failure of a link, as far as it goes on without us.
fn on(link: &Link) -> impl Fn(Error) -> Failure + '_ {
    |e| Failure::on_link(e, link)
}
