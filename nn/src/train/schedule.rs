//! Which program a step runs, and what else follows from its number: all of it public, the same in every engine.

use super::{Rate, Recipe, Step};
use std::collections::BTreeMap;

/// What is public of one step and differs from that of the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Public seed of the run.
    pub seed: u64,
    /// Number of the step, the first being 0.
    pub step: u64,
    /// Learning rate of the step before, where it was another.
    pub before: Option<Rate>,
}

/// The programs of a run: one for each rate, as each has a cut and so a bill of its own.
#[derive(Clone, Debug)]
pub struct Schedule {
    programs: Vec<Step>,
    /// From which step on which of them runs.
    from: BTreeMap<u64, usize>,
    seed: u64,
}

impl Schedule {
    /// The schedule of a step's recipe, with so many steps to an epoch, in a run of this seed. The step is the first program.
    pub fn new(step: &Step, epoch: u64, seed: u64) -> Schedule {
        let (mut programs, mut from) = (vec![step.clone()], BTreeMap::from([(0, 0)]));
        for (&at, &rate) in &step.recipe.later {
            let known = programs.iter().position(|p| p.recipe.rate == rate);
            from.insert(u64::from(at).saturating_mul(epoch), known.unwrap_or(programs.len()));
            if known.is_none() {
                programs.push(step.at(rate));
            }
        }
        Schedule { programs, from, seed }
    }
    /// All programs, each with a rate of its own; the first step's is the first.
    pub fn programs(&self) -> &[Step] {
        &self.programs
    }
    /// Number of a step's program.
    pub fn program(&self, step: u64) -> usize {
        self.from.range(..=step).next_back().map_or(0, |f| *f.1)
    }
    /// The program of a step, and what else is public of it.
    pub fn at(&self, step: u64) -> (&Step, Moment) {
        let this = &self.programs[self.program(step)];
        let last = self.programs[self.program(step.saturating_sub(1))].recipe.rate;
        (this, Moment { seed: self.seed, step, before: (last != this.recipe.rate).then_some(last) })
    }
}

impl Recipe {
    /// The rates of a run, each with the epoch from which on it serves.
    pub fn rates(&self) -> impl Iterator<Item = (u32, Rate)> {
        std::iter::once((0, self.rate)).chain(self.later.iter().map(|(epoch, rate)| (*epoch, *rate)))
    }
}

impl Step {
    /// The same step at another rate of its recipe.
    fn at(&self, rate: Rate) -> Step {
        Step { recipe: Recipe { rate, ..self.recipe.clone() }, ..self.clone() }
    }
}
