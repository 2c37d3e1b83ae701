//! What a run may reveal, if its plan lists it: figures of the weights at public steps, to named owners; nothing by default.
//!
//! A figure is a few numbers, each a sum over a batch and then over batches, which leaves as two shares for its owners alone. It is
//! computed in segments of its own, after the step and its checkpoint (training, sections 9 to 11). An attempt that starts from a
//! checkpoint begins with the figures due there: none is lost, and after a restart there may be another one of that step, of other
//! coins and perhaps of other weights. So a figure is named by attempt and step, and a plan bounds how many there may be in all.

use super::audit::Audited;
use super::{Brings, Loss, Moment, State, Step, TrainingPlan};
use crate::engine::{Learn, Planner};
use crate::plan::Totals;
use crate::program::check_bill;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use twoply_preprocessing::Layout;
use twoply_primitives::Form;

/// How often restarts may repeat a figure, over the whole run.
const SPARE: u32 = 16;

/// What is revealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// How many held-out rows the network gets right.
    Accuracy,
    /// The loss over the held-out rows.
    Loss,
    /// How many values of each wire that is cut come near the end of their range, in a step on rows that are trained on.
    RangeCounts,
}

impl Figure {
    /// All there are.
    pub const ALL: [Figure; 3] = [Figure::Accuracy, Figure::Loss, Figure::RangeCounts];

    /// Its name in plans and flags.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Accuracy => "accuracy",
            Figure::Loss => "loss",
            Figure::RangeCounts => "range-counts",
        }
    }
    /// Whether it is about rows that are held out.
    pub fn judges(self) -> bool {
        self != Figure::RangeCounts
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A listed reveal: which figure, to whom, how often.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reveal {
    /// What.
    pub figure: Figure,
    /// The shares whose owners get it.
    pub to: Vec<String>,
    /// Steps from one to the next; there is one after the last step too.
    pub every: u32,
    /// The most there may be in all attempts: those of the plan, and what restarts repeat.
    pub most: u32,
    /// What one costs. Recomputed when a plan is read; a difference is an error.
    pub cost: Totals,
}

/// A reveal that is wanted: `every` is an epoch, unless it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What.
    pub figure: Figure,
    /// The share whose owner is to get it.
    pub to: String,
    /// Steps from one to the next.
    pub every: Option<u32>,
}

/// One segment of an attempt, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A training step, counted from 0.
    Step(u32),
    /// One batch of a figure.
    Figure(Batch),
}

/// One batch of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Which of the plan's reveals.
    pub reveal: usize,
    /// Steps that the weights have behind them.
    pub steps: u32,
    /// Its number, from 0.
    pub number: u32,
    /// Whether the figure is complete with it.
    pub last: bool,
}

impl Reveal {
    fn due(&self, steps: u32, all: u32) -> bool {
        steps > 0 && (steps == all || steps.checked_rem(self.every) == Some(0))
    }
    /// How many there are in a run of so many steps, without restarts.
    pub fn count(&self, steps: u64) -> u64 {
        steps.div_ceil(u64::from(self.every.max(1)))
    }
}

impl TrainingPlan {
    /// The same run with these reveals.
    ///
    /// # Errors
    /// [`Error::Data`] for owners that bring nothing, rows that fill no batch, or a network without that figure.
    pub fn revealing(self, wanted: &[Wanted]) -> Result<Self> {
        let mut plan = self;
        for Wanted { figure, to, every } in wanted {
            let usual = if figure.judges() { plan.epoch() as u32 } else { plan.checkpoint };
            let every = every.unwrap_or(usual.min(plan.steps() as u32));
            match plan.reveals.iter_mut().find(|r| r.figure == *figure) {
                Some(known) if known.every == every => known.to.push(to.clone()),
                Some(known) => {
                    let why = format!(
                        "{figure} every {every} steps for `{to}`, and every {} for `{}`: choose one rhythm for all",
                        known.every,
                        known.to.join("`, `")
                    );
                    return Err(Error::data("training plan", why));
                }
                None => {
                    let (to, cost) = (vec![to.clone()], Totals::default());
                    plan.reveals.push(Reveal { figure: *figure, to, every, most: 0, cost });
                }
            }
        }
        let steps = plan.steps();
        for reveal in &mut plan.reveals {
            reveal.most = u32::try_from(reveal.count(steps)).unwrap_or(u32::MAX).saturating_add(SPARE);
        }
        plan.check_reveals()?;
        let costs = plan.reveal_costs()?;
        plan.reveals.iter_mut().zip(costs).for_each(|(reveal, cost)| reveal.cost = cost);
        Ok(plan)
    }
    /// Rows that are held out: they stand behind those that are trained on.
    pub fn held(&self) -> u64 {
        self.shares.iter().map(|s| if let Brings::Held(rows) = s.brings { rows } else { 0 }).sum()
    }
    /// Held-out rows that figures are about: those that fill batches.
    pub fn judged(&self) -> u64 {
        self.held_batches() * self.recipe.batch as u64
    }
    fn held_batches(&self) -> u64 {
        self.held() / self.recipe.batch.max(1) as u64
    }
    /// Batches of a figure: all that are held out, or one of those that are trained on.
    fn batches(&self, figure: Figure) -> u64 {
        if figure.judges() { self.held_batches() } else { 1 }
    }
    /// Rows that a figure is about.
    pub fn figure_rows(&self, figure: Figure) -> u64 {
        self.batches(figure) * self.recipe.batch as u64
    }
    /// The rows of one batch of a figure that judges.
    pub fn held_rows(&self, number: u32) -> Range<usize> {
        let first = self.rows as usize + number as usize * self.recipe.batch;
        first..first + self.recipe.batch
    }
    /// Whether this share may have this figure.
    pub fn reveals_to(&self, reveal: usize, share: usize) -> bool {
        let named = self.shares.get(share).map(|s| &s.owner);
        self.reveals.get(reveal).zip(named).is_some_and(|(reveal, name)| reveal.to.contains(name))
    }
    /// How many figures a run without restarts computes.
    pub fn figures(&self) -> u64 {
        self.reveals.iter().map(|reveal| reveal.count(self.steps())).sum()
    }
    /// The segments of an attempt that starts from the state after `from` steps: figures that are due there, then step after step
    /// with the figures behind it.
    pub fn pieces(&self, from: u32) -> impl Iterator<Item = Piece> + '_ {
        let steps = self.steps() as u32;
        self.figures_at(from).chain((from..steps).flat_map(|step| {
            std::iter::once(Piece::Step(step)).chain(self.figures_at(step.saturating_add(1)))
        }))
    }
    fn figures_at(&self, steps: u32) -> impl Iterator<Item = Piece> + '_ {
        let all = self.steps() as u32;
        let due = self.reveals.iter().enumerate().filter(move |(_, r)| r.due(steps, all));
        due.flat_map(move |(reveal, Reveal { figure, .. })| {
            let batches = self.batches(*figure) as u32;
            (0..batches).map(move |number| {
                Piece::Figure(Batch { reveal, steps, number, last: number + 1 == batches })
            })
        })
    }
    /// What the reveals of the whole run cost.
    pub(super) fn revealed(&self) -> Totals {
        let mut total = Totals::default();
        for reveal in &self.reveals {
            total.add(&reveal.cost, reveal.count(self.steps()));
        }
        total
    }
    /// What one figure of each reveal costs.
    pub(super) fn reveal_costs(&self) -> Result<Vec<Totals>> {
        let step = self.program()?;
        let cost = |reveal: &Reveal| -> Result<Totals> {
            let gates = step.planned_figure(reveal.figure)?.gates;
            check_bill(&gates)?;
            let (mut batch, mut all) = (Totals::default(), Totals::default());
            batch.add_gates(&gates);
            all.add(&batch, self.batches(reveal.figure));
            Ok(all)
        };
        self.reveals.iter().map(cost).collect()
    }
    /// What a plan's digest says of its reveals: all of them, and the gates that compute them.
    pub(super) fn revealing_digest(&self) -> Result<serde_json::Value> {
        let (step, mut all) = (self.program()?, vec![]);
        for reveal in &self.reveals {
            let gates = step.planned_figure(reveal.figure)?.gates;
            let gates: Vec<_> = gates.into_iter().map(|g| (g.gate, g.with, g.output)).collect();
            all.push((reveal, gates));
        }
        serde_json::to_value(&all).map_err(|e| Error::data("training plan", e.to_string()))
    }
    pub(super) fn check_reveals(&self) -> Result<()> {
        let fault = |why: String| Err(Error::data("training plan", why));
        let (held, batch) = (self.held(), self.recipe.batch as u64);
        if held > 0 && !self.reveals.iter().any(|reveal| reveal.figure.judges()) {
            return fault(format!(
                "{held} rows are held out, and nothing about them is revealed: list a reveal (accuracy, loss), or leave them out"
            ));
        }
        let names: Vec<&str> = self.shares.iter().map(|s| s.owner.as_str()).collect();
        for (at, Reveal { figure, to, every, most, .. }) in self.reveals.iter().enumerate() {
            if self.reveals[..at].iter().any(|r| r.figure == *figure) {
                return fault(format!("{figure} is listed twice"));
            }
            if to.is_empty() || (1..to.len()).any(|i| to[..i].contains(&to[i])) {
                return fault(format!("{figure} is revealed to nobody, or to somebody twice"));
            }
            if let Some(name) = to.iter().find(|name| !names.contains(&name.as_str())) {
                return fault(format!(
                    "`{name}` is to have the {figure} and brings nothing, so that nobody knows its key: choose from {}",
                    names.join(", ")
                ));
            }
            if *every == 0 || u64::from(*every) > self.steps() {
                return fault(format!(
                    "{figure} every {every} steps: choose 1 to {}, those of the run",
                    self.steps()
                ));
            }
            if *most == 0 {
                return fault(format!("{figure} at most 0 times: leave it out"));
            }
            if figure.judges() && held < batch {
                return fault(format!(
                    "{figure} is about held-out rows, and the plan's {held} fill no batch of {batch}: have an owner bring as many \
                     or more, as the share NAME=held:ROWS"
                ));
            }
            self.program()?.offers(*figure)?;
        }
        Ok(())
    }
}

impl Step {
    /// Whether the figure means something for this network and its loss.
    ///
    /// # Errors
    /// [`Error::Data`] with the reason and another choice.
    pub fn offers(&self, figure: Figure) -> Result<()> {
        match figure {
            Figure::Accuracy => self.offers_accuracy(),
            Figure::Loss if self.recipe.loss == Loss::BinaryCrossEntropy => {
                let why = "the loss of binary cross-entropy is not computed privately: reveal accuracy, or leave loss out";
                Err(Error::data("training plan", why))
            }
            Figure::Loss | Figure::RangeCounts => Ok(()),
        }
    }
    /// A figure of one batch: for each number its name and its sum over the batch, a wire of one element.
    ///
    /// # Errors
    /// What gates and engine report.
    pub fn figure<E: Learn>(
        &self,
        figure: Figure,
        e: &mut E,
        state: &State<E::Value>,
        (x, targets): (E::Value, E::Value),
    ) -> Result<Vec<(String, E::Value)>> {
        if figure == Figure::RangeCounts {
            let mut audited = Audited::new(e, self.recipe.compare, self.recipe.n);
            let mut run = self.begin(&mut audited, Moment::default(), state, x);
            let logits = run.forward(self.recipe.loss.fraction(&self.recipe.fractions))?;
            let gradient = run.loss(logits, targets)?;
            run.backward(gradient)?;
            return Ok(audited.counts);
        }
        let mut run = self.begin(e, Moment::default(), state, x);
        run.judges = true;
        let number = match figure {
            Figure::Loss => run.loss_sum(targets)?,
            _ => run.right(targets)?,
        };
        Ok(vec![(figure.name().into(), number)])
    }
    /// The gates of a batch of a figure, with their bills.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn planned_figure(&self, figure: Figure) -> Result<Planner> {
        let mut planner = Planner::new(self.recipe.n);
        self.on_shapes(figure, &mut planner)?;
        Ok(planner)
    }
    fn on_shapes(&self, figure: Figure, planner: &mut Planner) -> Result<Vec<(String, Form)>> {
        let params = self.params();
        let state = State { weights: params.clone(), velocity: params, accumulators: self.accumulators() };
        self.figure(figure, planner, &state, (self.input(), self.targets()))
    }
    /// What a batch of a figure stores at each party, tile by tile.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn figure_layout(&self, figure: Figure) -> Result<Layout> {
        Ok(crate::plan::layout(&self.planned_figure(figure)?.gates))
    }
    /// Names and forms of a figure's numbers.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn numbers(&self, figure: Figure) -> Result<Vec<(String, Form)>> {
        self.on_shapes(figure, &mut Planner::new(self.recipe.n))
    }
    /// What the loss of a row is, if they add up to this over so many.
    pub fn mean_loss(&self, sum: i64, rows: u64) -> f64 {
        let twice = if self.recipe.loss == Loss::SquaredError { 2.0 } else { 1.0 };
        let unit = (-f64::from(self.recipe.fractions.gradients)).exp2();
        sum as f64 * unit / twice / rows.max(1) as f64
    }
}
