//! A training run in real processes: a dealer, two parties, owners of data, the model's owner (training, sections 8 and 9).
//!
//! The dealer calls both parties and names run and data key sets; P1 calls P0; owners call both parties. All that two of them
//! say is in `wire.rs`. What may leave when, and what is durable before, is kept by the types of
//! [`twoply_preprocessing::run`] and [`rows`](twoply_preprocessing::rows); here they are joined to links:
//!
//! ```text
//! choose.rs    a dealer's run and data key sets                          party.rs    connections, data, run, end
//! dealer.rs    both parties' asks, an offer, keys of step after step     attempt.rs  one attempt, step after step
//! bring.rs     a data owner, or the owner of the first weights           lobby.rs    who called
//! fetch.rs     the model's owner                                         owners.rs   a party's side of an owner's call
//! watch.rs     an owner of figures that the plan reveals                 figures.rs  a party's side of that
//! under.rs     the mask of the result, for keys of inference             point.rs    where tests let a process end
//! ```
//!
//! Whenever a process or a link dies, everybody leaves the attempt, keeps its checkpoints, and calls again.

mod attempt;
mod bring;
mod choose;
mod dealer;
mod fetch;
mod figures;
mod lobby;
mod owners;
mod party;
mod point;
mod progress;
mod sets;
mod under;
mod watch;
pub mod wire;

pub use bring::{Brought, Offering, bring};
pub use dealer::{Dealing, Dealt, deal};
pub use fetch::fetch;
pub use lobby::Guests;
pub use party::{Outcome, Setup, serve};
pub use point::Point;
pub use progress::{Progress, Range};
pub use under::trained;
pub use watch::{Shown, Watch};

use crate::exit::{ExitCode, Failure};
use crate::messages::Message;
use crate::transport::{Error, Link, Reason};
use std::time::{Duration, Instant};
use twoply_nn::train::{Piece, TrainingPlan};
use twoply_preprocessing::run::{RunId, RunSpec};
use twoply_primitives::KeySetId;

/// How long a link waits for the next message of somebody who computes.
pub const COMPUTING: Duration = Duration::from_secs(600);
/// How often a waiting process looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);
/// Pause before everybody calls again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one call to P0 may take before P1 looks whether it shall stop.
const CALL: Duration = Duration::from_secs(5);
/// Whoever worked for so long with others had found them: its patience begins anew.
const THERE: Duration = Duration::from_secs(60);
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
    let mut until = Instant::now() + within;
    loop {
        let began = Instant::now();
        match errand() {
            Err(failure) if passing(&failure) && Instant::now() < until.max(began + within) => {
                // the parties were there for a while
                if began.elapsed() > within.min(THERE) {
                    until = Instant::now() + within;
                }
                say(&format!("once more: {}", failure.content().what));
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// A failure that one of the others gave a lasting reason for is one here too: waiting for it would not help.
fn told<'l>(failure: Failure, links: impl IntoIterator<Item = &'l mut Link>) -> Failure {
    if !passing(&failure) {
        return failure;
    }
    for link in links {
        // whoever stops says so on all links, on this one perhaps a moment later
        let _ = link.waiting(PAUSE);
        if let Some(Error::PeerFailed { reason: Reason::Failed(code), .. }) = link.gone()
            && ![ExitCode::Unreachable, ExitCode::PeerFailed, ExitCode::System, ExitCode::Internal]
                .contains(&code)
        {
            let what = format!("{} stopped: {}", link.name(), code.name());
            return Failure::new(code, what).with_peer(link.name()).remedy("see the message of that process");
        }
    }
    failure
}

/// The next word of somebody who may take any time, as long as it is there.
fn patiently<M: Message>(link: &mut Link) -> Result<M, Failure> {
    let heard = loop {
        match link.waiting(TICK) {
            Ok(false) if link.stopping() => break Err(Error::Stopped),
            Ok(false) => {}
            Ok(true) => break link.hear(),
            Err(e) => break Err(e),
        }
    };
    heard.map_err(on(link))
}

/// Whether somebody who has nothing to say is still there, and this process is to go on.
fn present(link: &mut Link) -> Result<(), Failure> {
    match link.gone() {
        Some(error) => Err(Failure::on_link(error, link)),
        None if link.stopping() => Err(Error::Stopped.into()),
        None => Ok(()),
    }
}

/// Somebody said what does not belong here.
fn out_of_step(link: &Link) -> Failure {
    let what = format!("{} gave an answer that does not belong here", link.name());
    Failure::new(ExitCode::PlanMismatch, what).with_peer(link.name())
}

/// The rows of each step, epoch after epoch.
#[derive(Default)]
struct Order(Option<(u32, Vec<Vec<usize>>)>);

impl Order {
    /// Those of a segment.
    fn rows(&mut self, plan: &TrainingPlan, piece: Piece) -> Vec<usize> {
        match piece {
            Piece::Step(step) => self.of(plan, step).to_vec(),
            Piece::Figure(batch) => match plan.reveals[batch.reveal].figure.judges() {
                true => plan.held_rows(batch.number).collect(),
                // those of the step that made these weights
                false => self.of(plan, batch.steps.saturating_sub(1)).to_vec(),
            },
        }
    }
    /// Those of a step, counted from 0.
    fn of(&mut self, plan: &TrainingPlan, step: u32) -> &[usize] {
        let an_epoch = plan.epoch().max(1) as u32;
        let (epoch, at) = (step / an_epoch, (step % an_epoch) as usize);
        if self.0.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.0 = Some((epoch, plan.order(epoch)));
        }
        self.0.as_ref().and_then(|(_, order)| order.get(at)).map_or(&[], |rows| rows)
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
