//! An owner of figures: takes both parties' shares as they come, and joins them here and nowhere else.

use super::wire::{Named, ToOwner, ToService};
use super::{TICK, out_of_step};
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::Link;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use twoply_nn::train::roles::{figure_bytes, join_figure};
use twoply_nn::train::{Figure, Step, TrainingPlan};
use twoply_preprocessing::run::{CheckpointId, RunId};
use twoply_primitives::Channel;
use zeroize::Zeroizing;

/// A figure, joined.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The run.
    pub run: String,
    /// What it is.
    pub figure: Figure,
    /// Steps that the weights have behind them.
    pub step: u32,
    /// Epochs that are complete then.
    pub epoch: u64,
    /// The attempt that computed it: after a restart there may be another one of the same step.
    pub attempt: u32,
    /// How often this reveal was delivered so far, in all attempts.
    pub count: u32,
    /// Rows that it is about: held-out ones, of range counts those of a batch that is trained on.
    pub rows: u64,
    /// Of them, how many the network gets right; null for other figures.
    pub right: Option<i64>,
    /// Mean loss of a row; null for other figures.
    pub loss: Option<f64>,
    /// Layers and gates of range counts that found values near the end of their range, with how many; null for other figures.
    pub large: Option<BTreeMap<String, i64>>,
}

/// What tells figures apart: run, attempt, step, and the reveal's number.
type Key = (RunId, u32, u32, u8);

/// What one party said of a figure.
type Half = (Named, Zeroizing<Vec<u8>>);

/// What an owner has heard of a run, over all its calls.
pub struct Watch<'a> {
    plan: &'a TrainingPlan,
    share: usize,
    step: Step,
    /// Figures of which one party has said its share, or both.
    halves: BTreeMap<Key, [Option<Half>; 2]>,
    /// Those that are complete, in the order in which they became so.
    pub shown: Vec<Shown>,
}

impl<'a> Watch<'a> {
    /// Nothing yet, for the owner of a share.
    ///
    /// # Errors
    /// Those of the plan.
    pub fn new(plan: &'a TrainingPlan, share: usize) -> Result<Self, Failure> {
        Ok(Watch { plan, share, step: plan.program()?, halves: BTreeMap::new(), shown: vec![] })
    }
    /// Takes figures until the run has ended. `told` hears each one once, over all calls.
    ///
    /// # Errors
    /// 6 where the parties speak of different ends; 11 for shares that do not belong together; what ends the links.
    pub fn take(
        &mut self,
        parties: &mut Parties,
        told: impl FnMut(&Shown) -> Result<(), Failure>,
    ) -> Result<CheckpointId, Failure> {
        self.talk(parties, told).map_err(|f| f.during(Phase::Output))
    }

    fn talk(
        &mut self,
        parties: &mut Parties,
        mut told: impl FnMut(&Shown) -> Result<(), Failure>,
    ) -> Result<CheckpointId, Failure> {
        let (plan, share) = (self.plan.digest()?.0, self.share as u8);
        parties.both(|l| Ok(l.say(&ToService::Watch { plan, share })?))?;
        let mut ends = [None, None];
        while ends.contains(&None) {
            let mut party = 0..;
            let heard = parties.both(|l| {
                let at = party.next().unwrap_or_default();
                let mut within = TICK;
                while ends[at].is_none() && l.waiting(within)? {
                    ends[at] = self.hear(at, l)?;
                    within = Duration::ZERO;
                }
                Ok(())
            });
            heard.map_err(|f| parties.refusal(f))?;
            self.join(&mut told)?;
        }
        match ends {
            [Some(a), Some(b)] if a == b => {
                // it is here, whether they hear it or not; each of them, whether the other one is there or not
                let _ = parties.both(|l| {
                    let _ = l.say(&ToService::Done);
                    Ok(())
                });
                Ok(a)
            }
            _ => {
                let what = "the parties say that the run has ended with different checkpoints";
                let failure = Failure::new(ExitCode::PlanMismatch, what);
                Err(failure.remedy("see `twoply train status` at both parties"))
            }
        }
    }

    /// A party's next word; the end, if it is that.
    fn hear(&mut self, at: usize, link: &mut Link) -> Result<Option<CheckpointId>, Failure> {
        match link.hear()? {
            ToOwner::Ended(id) => Ok(Some(id)),
            ToOwner::Figure(named) if self.plan.reveals_to(named.reveal.into(), self.share) => {
                let figure = self.plan.reveals[usize::from(named.reveal)].figure;
                let bytes = Zeroizing::new(link.recv(figure_bytes(&self.step, figure)? as usize)?);
                let key = (named.run, named.attempt, named.step, named.reveal);
                self.halves.entry(key).or_default()[at] = Some((named, bytes));
                Ok(None)
            }
            _ => Err(out_of_step(link)),
        }
    }

    /// What range counts found, by layer and gate.
    fn large(&self, figure: Figure, numbers: Vec<i64>) -> Result<BTreeMap<String, i64>, Failure> {
        let mut large = BTreeMap::new();
        for ((name, _), count) in self.step.numbers(figure)?.into_iter().zip(numbers).filter(|(_, n)| *n > 0)
        {
            *large.entry(name).or_insert(0) += count;
        }
        Ok(large)
    }

    /// Joins what both parties have said.
    fn join(&mut self, told: &mut impl FnMut(&Shown) -> Result<(), Failure>) -> Result<(), Failure> {
        let known = |shown: &[Shown], named: &Named| {
            let this = (named.run.to_string(), named.attempt, named.step);
            let figure = self.plan.reveals[usize::from(named.reveal)].figure;
            shown.iter().any(|s| (&s.run, s.attempt, s.step, s.figure) == (&this.0, this.1, this.2, figure))
        };
        for halves in self.halves.values() {
            let [Some((named, a)), Some((other, b))] = halves else { continue };
            if known(&self.shown, named) {
                continue;
            }
            let figure = self.plan.reveals[usize::from(named.reveal)].figure;
            let numbers = join_figure((&self.step, figure), [a, b])?;
            let rows = self.plan.figure_rows(figure);
            let first = numbers.first().copied();
            let shown = Shown {
                run: named.run.to_string(),
                figure,
                step: named.step,
                epoch: u64::from(named.step) / self.plan.epoch().max(1),
                attempt: named.attempt,
                count: named.count.max(other.count),
                rows,
                right: first.filter(|_| figure == Figure::Accuracy),
                loss: first.filter(|_| figure == Figure::Loss).map(|sum| self.step.mean_loss(sum, rows)),
                large: match figure {
                    Figure::RangeCounts => Some(self.large(figure, numbers)?),
                    _ => None,
                },
            };
            told(&shown)?;
            self.shown.push(shown);
        }
        Ok(())
    }
}
