//! Figures of a run at a party, and an owner's call for them: those that are there, then every one as it comes, until the run
//! has ended. A figure's delivery was recorded before its share came here.

use super::lobby::Lobby;
use super::wire::{Named, ToOwner, ToService};
use super::{COMPUTING, on, out_of_step};
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::{Error, Link};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use twoply_nn::train::TrainingPlan;
use twoply_preprocessing::run::{CheckpointId, FigureShare, RunId};
use twoply_primitives::{Channel, KeySetId};
use zeroize::Zeroizing;

/// What owners may hear of a run.
pub struct Figures {
    /// The run.
    pub run: RunId,
    /// Data key sets of the plan's shares: a figure goes to whoever brought the rows.
    sets: Vec<KeySetId>,
    /// This party's shares, in the order in which they came.
    pub all: Vec<FigureShare>,
    ended: Option<CheckpointId>,
    /// Whether the party waits at the end until their owners have them.
    pub waited: bool,
    /// Shares of the plan whose owners have all there will be.
    taken: BTreeSet<usize>,
}

impl Figures {
    /// Those that are kept of a run.
    pub fn new(run: RunId, sets: &[KeySetId], all: Vec<FigureShare>, ended: Option<CheckpointId>) -> Figures {
        Figures { run, sets: sets.to_vec(), all, ended, waited: true, taken: BTreeSet::new() }
    }
    /// Takes what is new of the same run; those that were said keep their places.
    pub fn update(&mut self, newer: Figures) {
        let Figures { all, ended, .. } = newer;
        let fresh =
            |f: &FigureShare| !self.all.iter().any(|known| (known.id, known.reveal) == (f.id, f.reveal));
        let fresh: Vec<_> = all.into_iter().filter(fresh).collect();
        self.all.extend(fresh);
        self.ended = ended;
    }
    /// Names of those that have not heard the end.
    pub fn waiting(&self, plan: &TrainingPlan) -> Vec<String> {
        let to = |at: &usize| (0..plan.reveals.len()).any(|reveal| plan.reveals_to(reveal, *at));
        let shares = (0..plan.shares.len()).filter(|at| self.waited && to(at) && !self.taken.contains(at));
        shares.map(|at| plan.shares[at].owner.clone()).collect()
    }
}

/// What an owner hears next.
enum News {
    Figure(Named, Zeroizing<Vec<u8>>, KeySetId),
    Ended(CheckpointId),
    /// Nothing for this owner.
    Other,
}

/// How far an owner has heard.
#[derive(Default)]
struct Place {
    run: Option<RunId>,
    next: usize,
}

impl Place {
    fn news(&mut self, plan: &TrainingPlan, share: usize, all: &Figures) -> Option<News> {
        if self.run != Some(all.run) {
            *self = Place { run: Some(all.run), next: 0 };
        }
        let Some(figure) = all.all.get(self.next) else { return Some(News::Ended(all.ended?)) };
        self.next += 1;
        if !plan.reveals_to(figure.reveal as usize, share) {
            return Some(News::Other);
        }
        let (step, attempt, count) = (figure.id.step, figure.id.attempt, figure.count);
        let named = Named { run: all.run, step, attempt, reveal: figure.reveal as u8, count };
        Some(News::Figure(named, figure.share.clone(), *all.sets.get(share)?))
    }
}

/// Serves the owner of a share until it has all figures of a run that has ended.
pub fn serve(lobby: &Lobby, link: &mut Link, share: usize) -> Result<(), Failure> {
    talk(lobby, link, share).map_err(|failure| failure.during(Phase::Output))
}

fn talk(lobby: &Lobby, link: &mut Link, share: usize) -> Result<(), Failure> {
    let (plan, mut place) = (lobby.plan, Place::default());
    let name = &plan.shares[share].owner;
    if !(0..plan.reveals.len()).any(|reveal| plan.reveals_to(reveal, share)) {
        let what = format!("the plan reveals nothing to `{name}`");
        return Err(Failure::new(ExitCode::Identity, what)
            .remedy("plan with --reveal FIGURE=NAME, for all who take part"));
    }
    link.set_patience(COMPUTING);
    loop {
        if let Some(gone) = link.gone() {
            return Err(Failure::on_link(gone, link));
        }
        match lobby.news(|all| place.news(plan, share, all))? {
            Some(News::Figure(named, bytes, set)) => {
                // names of shares may come again in other plans, for others: rows are whose they were first
                lobby.belongs(set, link.peer())?;
                link.say(&ToOwner::Figure(named)).map_err(on(link))?;
                link.send(&bytes).map_err(|e| Failure::on_link(e, link))?;
            }
            Some(News::Ended(id)) => {
                link.say(&ToOwner::Ended(id)).map_err(on(link))?;
                break;
            }
            Some(News::Other) => {}
            None if link.stopping() || lobby.stop.load(Ordering::SeqCst) => return Err(Error::Stopped.into()),
            None => {}
        }
    }
    match link.hear().map_err(on(link))? {
        ToService::Done => {
            lobby.figures(|all| all.iter_mut().for_each(|all| _ = all.taken.insert(share)));
            (lobby.say)(&format!("`{name}` has all figures that the plan reveals to it"));
            Ok(())
        }
        _ => Err(out_of_step(link)),
    }
}
