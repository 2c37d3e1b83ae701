//! The plan of a training run: what all roles agree on before anything runs, as readable JSON.

use super::{Brings, Recipe, Share, Step, batches};
use crate::engine::PlannedGate;
use crate::plan::{PROTOCOL, Totals};
use crate::program::check_bill;
use crate::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use twoply_preprocessing::run::Schedule;
use twoply_preprocessing::{Layout, PlanDigest};
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
    /// Public seed of initial weights and of the order of the data.
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
        };
        plan.step = plan.bill()?;
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
        match plan.bill()? == plan.step {
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
    /// The step.
    ///
    /// # Errors
    /// As [`Step::new`].
    pub fn program(&self) -> Result<Step> {
        Step::new(&self.graph, &self.recipe)
    }
    /// The gates of a step.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn gates(&self) -> Result<Vec<PlannedGate>> {
        Ok(self.program()?.planned()?.gates)
    }
    fn bill(&self) -> Result<Totals> {
        if self.rows > MOST_ROWS || self.steps() == 0 || self.steps() > u32::MAX.into() {
            let why = format!(
                "{} rows in batches of {}, {} epochs: choose at least one batch and one epoch, at most {MOST_ROWS} rows and {} \
                 steps",
                self.rows,
                self.recipe.batch,
                self.epochs,
                u32::MAX
            );
            return Err(Error::data("training plan", why));
        }
        let mut step = Totals::default();
        let gates = self.gates()?;
        check_bill(&gates)?;
        step.add_gates(&gates);
        Ok(step)
    }
    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps_an_epoch() * u64::from(self.epochs)
    }
    /// Steps of an epoch.
    pub fn steps_an_epoch(&self) -> u64 {
        self.rows / self.recipe.batch.max(1) as u64
    }
    /// Its steps and checkpoints, as ledgers know them.
    pub fn schedule(&self) -> Schedule {
        Schedule { steps: self.steps() as u32, every: self.checkpoint }
    }
    /// The rows of each step of an epoch, in order.
    pub fn order(&self, epoch: u32) -> Vec<Vec<usize>> {
        batches(self.seed, epoch, self.rows as usize, self.recipe.batch)
    }
    /// Digest of the order of rows, which follows from the plan's seed.
    pub fn order_digest(&self) -> [u8; 32] {
        let what = [self.seed, self.rows, self.recipe.batch as u64, self.epochs.into()];
        let bytes: Vec<u8> = what.iter().flat_map(|v| v.to_le_bytes()).collect();
        blake3::derive_key("twoply 2026-11 order of training rows v1", &bytes)
    }
    /// What one step stores at each party, tile by tile.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn layout(&self) -> Result<Layout> {
        Ok(crate::plan::layout(&self.gates()?))
    }
    /// Digest of everything that a run does.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn digest(&self) -> Result<PlanDigest> {
        let gates = self.gates()?;
        let gates: Vec<_> = gates.iter().map(|g| (&g.gate, &g.with, &g.output)).collect();
        let run = (self.rows, self.epochs, self.seed, &self.shares, &self.index, self.checkpoint);
        let what = (self.protocol, &self.prg, self.graph.digest(), &self.recipe, run, gates);
        let json = serde_json::to_vec(&what).map_err(|e| Error::data("training plan", e.to_string()))?;
        Ok(PlanDigest(blake3::derive_key("twoply 2026-11 training plan digest v1", &json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Loss;
    use crate::zoo::{self, Seeded};

    fn plan(rows: u64) -> Result<TrainingPlan> {
        let graph = zoo::named("network-1")?.build(&mut Seeded::default())?.graph;
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

    /// The design's bill of Network-1 (training, section 13): 2.39 MB of corrections at P1, .2 MB that both store, 1.17 MB one
    /// way.
    #[test]
    fn keys_of_a_step_are_those_of_the_bill() {
        let step = plan(60_000).unwrap().step;
        let near = |found: u64, wanted: f64| (found as f64 / wanted - 1.0).abs() < 0.05;
        let [common, all] = step.key_bytes;
        assert!(near(all - common, 2.39e6) && near(common, 0.2e6) && near(step.bytes, 1.17e6), "{step:?}");
    }
}
