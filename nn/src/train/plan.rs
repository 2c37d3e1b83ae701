//! The plan of a training run: what all roles agree on before anything runs, as readable JSON.

use super::norm::GATHERED;
use super::{Brings, Recipe, Reveal, Schedule, Share, Step, batches};
use crate::engine::PlannedGate;
use crate::plan::{PROTOCOL, Totals};
use crate::program::check_bill;
use crate::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use twoply_preprocessing::PlanDigest;
use twoply_preprocessing::run::Schedule as Checkpoints;
use twoply_primitives::prg::PRG_VERSION;

/// Largest number of rows: a step's rows are named by 32 bits.
const MOST_ROWS: u64 = 1 << 32;
/// Steps from one checkpoint to the next, unless the plan says otherwise.
const CHECKPOINT: u32 = 100;

/// The plan of a training run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPlan {
    /// Version of the software that made it.
    pub twoply: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of the randomness.
    pub prg: String,
    /// The network that is trained.
    pub graph: Graph,
    /// How.
    pub recipe: Recipe,
    /// Rows of training data.
    pub rows: u64,
    /// How often all rows are used; what fills no batch is left out of an epoch.
    pub epochs: u32,
    /// Public seed of initial weights, of the order of the data, and of what the steps draw.
    pub seed: u64,
    /// Who brings data, and perhaps the weights to begin with.
    pub shares: Vec<Share>,
    /// Digest of the order of rows that their owners agree on, where their columns are aligned by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Steps from one checkpoint to the next.
    pub checkpoint: u32,
    /// What one step costs. Recomputed when a plan is read; a difference is an error.
    pub step: Totals,
    /// What one costs from later epochs on, at the rates of the recipe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub later: BTreeMap<u32, Totals>,
    /// What is revealed, and to whom: nothing unless it is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reveals: Vec<Reveal>,
}

impl TrainingPlan {
    /// Plans a run on the data of one owner, called `data`; [`TrainingPlan::shared`] names others.
    ///
    /// # Errors
    /// As [`Step::new`], and [`Error::Data`] for a run without a step.
    pub fn new(graph: Graph, recipe: Recipe, (rows, epochs): (u64, u32), seed: u64) -> Result<Self> {
        let mut plan = TrainingPlan {
            twoply: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            prg: PRG_VERSION.into(),
            graph,
            recipe,
            rows,
            epochs,
            seed,
            shares: vec![Share { owner: "data".into(), brings: Brings::Rows(rows) }],
            index: None,
            checkpoint: CHECKPOINT,
            step: Totals::default(),
            later: BTreeMap::new(),
            reveals: vec![],
        };
        (plan.step, plan.later) = plan.bill()?;
        Ok(plan)
    }
    /// Reads a plan and checks that it says what this version would compute.
    ///
    /// # Errors
    /// [`Error::Data`] for another version's plan or a changed one, and as [`TrainingPlan::new`].
    pub fn from_json(text: &str) -> Result<Self> {
        let fault = |why: String| Error::data("training plan", why);
        #[derive(Deserialize)]
        struct Versions {
            protocol: u32,
            prg: String,
        }
        let made: Versions = serde_json::from_str(text).map_err(|e| fault(e.to_string()))?;
        if made.protocol != PROTOCOL || made.prg != PRG_VERSION {
            let found = format!("protocol {}, {}", made.protocol, made.prg);
            return Err(fault(format!("made for another version: {found}; plan again")));
        }
        let plan: TrainingPlan = serde_json::from_str(text).map_err(|e| fault(e.to_string()))?;
        plan.check_shares()?;
        let bill = plan.bill()?;
        plan.check_reveals()?;
        let costs = plan.reveal_costs()?;
        match bill == (plan.step, plan.later.clone()) && plan.reveals.iter().map(|r| r.cost).eq(costs) {
            true => Ok(plan),
            false => Err(fault("its bill is not that of its graph and recipe; plan again".into())),
        }
    }
    /// As JSON.
    ///
    /// # Errors
    /// [`Error::Data`], which cannot happen for a plan that was made or read here.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::data("training plan", e.to_string()))
    }
    /// The first step.
    ///
    /// # Errors
    /// As [`Step::new`].
    pub fn program(&self) -> Result<Step> {
        Step::new(&self.graph, &self.recipe)
    }
    /// The steps of the run: as many programs as it has rates.
    ///
    /// # Errors
    /// As [`Step::new`].
    pub fn schedule(&self) -> Result<Schedule> {
        Ok(Schedule::new(&self.program()?, self.epoch(), self.seed))
    }
    /// The gates of a step, in the first epoch.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn gates(&self) -> Result<Vec<PlannedGate>> {
        Ok(self.program()?.planned()?.gates)
    }
    /// What a step costs in the first epoch, and from later ones on.
    fn bill(&self) -> Result<(Totals, BTreeMap<u32, Totals>)> {
        let rows = self.rows.saturating_add(self.held());
        if rows > MOST_ROWS || self.steps() == 0 || self.steps() > u32::MAX.into() {
            let why = format!(
                "{rows} rows in batches of {}, {} epochs: choose at least one batch and one epoch, at most {MOST_ROWS} rows and {} \
                 steps",
                self.recipe.batch,
                self.epochs,
                u32::MAX
            );
            return Err(Error::data("training plan", why));
        }
        if let Some((epoch, _)) = self.recipe.later.range(self.epochs..).next() {
            let why = format!(
                "a rate from epoch {epoch} on, and the last of {} is {}",
                self.epochs,
                self.epochs - 1
            );
            return Err(Error::data("training plan", why));
        }
        let schedule = self.schedule()?;
        let cost = |epoch: u32| -> Result<Totals> {
            let gates = schedule.at(u64::from(epoch) * self.epoch()).0.planned()?.gates;
            check_bill(&gates)?;
            let mut step = Totals::default();
            step.add_gates(&gates);
            Ok(step)
        };
        let later = self.recipe.later.keys().map(|epoch| Ok((*epoch, cost(*epoch)?)));
        Ok((cost(0)?, later.collect::<Result<_>>()?))
    }
    /// Steps of an epoch.
    pub fn epoch(&self) -> u64 {
        self.rows / self.recipe.batch.max(1) as u64
    }
    /// What the whole run costs, what it reveals included.
    pub fn total(&self) -> Totals {
        let ends = self.later.keys().copied().chain([self.epochs]);
        let costs = std::iter::once((&0, &self.step)).chain(&self.later);
        let mut total = Totals::default();
        for ((from, step), end) in costs.zip(ends) {
            total.add(step, self.epoch().saturating_mul(u64::from(end.saturating_sub(*from))));
        }
        total.add(&self.revealed(), 1);
        total
    }
    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.epoch() * u64::from(self.epochs)
    }
    /// Its steps and checkpoints, as ledgers know them.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints { steps: self.steps() as u32, every: self.checkpoint }
    }
    /// The rows of each step of an epoch, in order.
    pub fn order(&self, epoch: u32) -> Vec<Vec<usize>> {
        batches(self.seed, epoch, self.rows as usize, self.recipe.batch)
    }
    /// Steps at the end of the run whose statistics batch normalisations are given.
    pub fn gathered(&self) -> u64 {
        self.steps().min(GATHERED as u64)
    }
    /// Digest of the order of rows, which follows from the plan's seed.
    pub fn order_digest(&self) -> [u8; 32] {
        let what = [self.seed, self.rows, self.recipe.batch as u64, self.epochs.into()];
        let bytes: Vec<u8> = what.iter().flat_map(|v| v.to_le_bytes()).collect();
        blake3::derive_key("twoply 2026-11 order of training rows v1", &bytes)
    }
    /// Digest of everything that a run does.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn digest(&self) -> Result<PlanDigest> {
        let schedule = self.schedule()?;
        let planned: Vec<_> = schedule.programs().iter().map(Step::planned).collect::<Result<_>>()?;
        let gates = planned.iter().flat_map(|p| &p.gates);
        let gates: Vec<_> = gates.map(|g| (&g.gate, &g.with, &g.output)).collect();
        let run = (self.rows, self.epochs, self.seed, &self.shares, &self.index, self.checkpoint);
        let what = (self.protocol, &self.prg, self.graph.digest(), &self.recipe, run, gates);
        // a plan that reveals nothing has the digest that it had when plans could not
        let json = match self.reveals.is_empty() {
            true => serde_json::to_vec(&what),
            false => serde_json::to_vec(&(what, self.revealing_digest()?)),
        };
        let json = json.map_err(|e| Error::data("training plan", e.to_string()))?;
        Ok(PlanDigest(blake3::derive_key("twoply 2026-11 training plan digest v1", &json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Loss;
    use crate::zoo::{self, Seeded};

    fn plan(rows: u64) -> Result<TrainingPlan> {
        plan_of("network-1", rows)
    }

    fn plan_of(network: &str, rows: u64) -> Result<TrainingPlan> {
        let graph = zoo::named(network)?.build(&mut Seeded::default())?.graph;
        let recipe = Recipe::usual(32, 128, Loss::CrossEntropy);
        let graph = crate::train::trunk(&graph, recipe.loss)?.0;
        TrainingPlan::new(graph, recipe, (rows, 15), 1)
    }

    #[test]
    fn a_plan_is_what_it_says() {
        let made = plan(60_000).unwrap();
        assert_eq!(made.steps(), 468 * 15);
        let json = made.to_json().unwrap();
        let read = TrainingPlan::from_json(&json).unwrap();
        assert_eq!((&read, read.digest().unwrap()), (&made, made.digest().unwrap()));
        let other = TrainingPlan { epochs: 14, ..made.clone() };
        assert_ne!(other.digest().unwrap(), made.digest().unwrap());
        let bill = json.replace(&format!("\"rounds\": {}", made.step.rounds), "\"rounds\": 1");
        assert!(TrainingPlan::from_json(&bill).unwrap_err().to_string().contains("plan again"));
        let version = json.replace(PRG_VERSION, "other");
        assert!(TrainingPlan::from_json(&version).unwrap_err().to_string().contains("another version"));
        assert!(TrainingPlan::from_json("{").is_err());
        assert!(plan(127).unwrap_err().to_string().contains("at least one batch"));
    }

    /// A rate has a cut, and so a bill, of its own; the run's is the sum over its epochs.
    #[test]
    fn every_rate_has_its_bill() {
        let one = plan(60_000).unwrap();
        let at = |shift| crate::train::Rate { factor: 1, shift };
        let later = |later| {
            let recipe = Recipe { later, ..one.recipe.clone() };
            TrainingPlan::new(one.graph.clone(), recipe, (one.rows, one.epochs), one.seed)
        };
        let made = later([(5, at(8)), (12, at(6))].into()).unwrap();
        assert_eq!((made.step, made.later[&12]), (one.step, one.step));
        let cut = &made.later[&5];
        // an update that loses two bits more opens two bits less, and lifts them with two bits more
        assert!(cut.bytes < one.step.bytes && cut.key_bytes[1] > one.step.key_bytes[1], "{cut:?}");
        let steps = one.steps() / 15;
        assert_eq!(one.total().bytes, 15 * steps * one.step.bytes);
        let total = made.total();
        assert_eq!(total.bytes, steps * (8 * one.step.bytes + 7 * cut.bytes));
        assert_eq!(total.key_bytes[1], steps * (8 * one.step.key_bytes[1] + 7 * cut.key_bytes[1]));
        assert_eq!((total.rounds, made.schedule().unwrap().programs().len()), (one.total().rounds, 2));
        let json = made.to_json().unwrap();
        assert_eq!(TrainingPlan::from_json(&json).unwrap(), made);
        assert_ne!(made.digest().unwrap(), one.digest().unwrap());
        let bill = json.replace(&format!("\"bytes\": {}", cut.bytes), "\"bytes\": 1");
        assert!(TrainingPlan::from_json(&bill).unwrap_err().to_string().contains("plan again"));
        assert!(!one.to_json().unwrap().contains("later"));
        assert!(later([(15, at(8))].into()).unwrap_err().to_string().contains("the last of 15 is 14"));
    }

    /// The design's bill (training, section 13): corrections at P1, bytes one way, messages in sequence; and what both parties
    /// store.
    #[test]
    fn a_step_costs_what_the_bill_of_its_design_says() {
        let near = |found: u64, wanted: f64| (found as f64 / wanted - 1.0).abs() < 0.05;
        let bill = [
            ("network-1", 2.39e6, 1.17e6, 31),
            ("network-2", 36.8e6, 13.5e6, 53),
            ("lenet", 57.7e6, 22.3e6, 53),
        ];
        for (network, keys, bytes, rounds) in bill {
            let step = plan_of(network, 60_000).unwrap().step;
            let [common, all] = step.key_bytes;
            assert!(near(all - common, keys) && near(common, 0.2e6), "{network}: {step:?}");
            // gates without dependence open in one message, or there would be more
            assert!(near(step.bytes, bytes) && step.rounds == rounds, "{network}: {step:?}");
        }
    }
}
