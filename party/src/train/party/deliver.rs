//! The end of a run at a party: the model goes to its owner, the last figures to theirs.

use super::Party;
use crate::exit::{ExitCode, Failure};
use crate::train::point::{Point, reached};
use crate::train::wire::{ToOwner, ToService};
use crate::train::{COMPUTING, GOODBYE, TICK, leave, present};
use std::sync::atomic::Ordering;
use std::time::Instant;
use twoply_nn::train::roles::Learner;
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::run::PartyRun;
use twoply_primitives::{Backend, Channel};

impl<B: Backend> Party<'_, B> {
    /// Hands the model to its owner, if there is one, and the last figures to theirs.
    pub(super) fn deliver(&mut self, run: &mut PartyRun<FileFolder>) -> Result<Wait, Failure> {
        let (lobby, mut since) = (self.bench.lobby, Instant::now());
        let wanted = !self.setup.guests.model_owners.is_empty();
        let readers = || lobby.figures(|all| all.as_ref().map_or(vec![], |all| all.waiting(lobby.plan)));
        let waits = |delivered: bool| match (wanted && !delivered, readers()) {
            (true, _) => Some("waits for the model's owner (`twoply train fetch`)".to_owned()),
            (false, names) if !names.is_empty() => {
                Some(format!("waits for {} to take figures (`twoply train watch`)", names.join(", ")))
            }
            (false, _) => (self.others != Others::Know)
                .then(|| "waits for the others to know that the run has ended".to_owned()),
        };
        let (Some(id), Some(mut what)) = (self.ended, waits(self.delivered)) else { return Ok(Wait::Over) };
        (lobby.say)(&what);
        let learner = Learner::at(self.bench.dev.clone(), lobby.step, vec![], &run.state(id)?)?;
        let mark = run.held().iter().find(|mark| mark.id == id).copied();
        let mark = mark.ok_or_else(|| Failure::new(ExitCode::Internal, "the result is not held"))?;
        while !lobby.stop.load(Ordering::SeqCst) {
            if lobby.dealer_waits() {
                return Ok(Wait::Called);
            }
            let Some(now) = waits(self.delivered) else { break };
            let patience = match self.others {
                // whoever only fetches again need not wait longer for a call that hardly comes
                Others::MayKnow if wanted && readers().is_empty() => GOODBYE,
                _ => self.setup.patience,
            };
            if (self.delivered || !wanted) && since.elapsed() > patience {
                break;
            }
            if now != what {
                (lobby.say)(&now);
                what = now;
            }
            let Some(mut link) = lobby.fetcher(TICK)? else { continue };
            if link.gone().is_some() {
                continue;
            }
            link.stop_with(lobby.stop.clone());
            run.provisioned(id, "the model's owner")?;
            let shares = learner.for_owner(self.setup.me)?;
            let said = link.say(&ToOwner::Model(mark)).map_err(Failure::from);
            let sent = said.and_then(|()| Ok(link.send(&shares)?));
            let said = sent.and_then(|()| {
                reached(Point::SharesSent);
                let until = Instant::now() + COMPUTING;
                while Instant::now() < until && !lobby.dealer_waits() && !link.waiting(TICK)? {
                    present(&mut link)?;
                }
                if lobby.dealer_waits() {
                    return Err(Failure::new(
                        ExitCode::Unreachable,
                        "the other party has to end the run first",
                    ));
                }
                Ok(link.hear()?)
            });
            match said {
                Ok(ToService::Done) => {
                    let _ = link.close(GOODBYE);
                    (self.delivered, since) = (true, Instant::now());
                }
                Ok(_) => {
                    leave(link, &Failure::new(ExitCode::PlanMismatch, "the model's owner is out of step"))
                }
                Err(e) => {
                    (lobby.say)(&format!("{}: {}", link.name(), e.content().what));
                    leave(link, &e);
                }
            }
        }
        Ok(Wait::Over)
    }
}

/// Whether the others know that the run has ended: a dealer that does not calls again, and needs both parties.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// They do.
    Know,
    /// They did, or this process was killed just before.
    MayKnow,
    /// The dealer was not there.
    DoNot,
}

/// How waiting for the model's owner came out.
pub(super) enum Wait {
    /// Everybody has what is theirs, or nobody comes for it.
    Over,
    /// A dealer wants another meeting.
    Called,
}
