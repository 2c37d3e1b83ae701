//! How long a run will take: steps rehearsed on this machine, then put on a link by arithmetic, as `plan --time` does for inference.

use crate::cli::plan::forecast::{KEYS, PROCESSES, in_flight, median};
use crate::exit::Failure;
use crate::transport::Shape;
use serde::Serialize;
use std::collections::BTreeMap;
use twoply_nn::train::{Moment, Rate, Recipe, Rehearsal, Step, TrainingPlan, initial};
use twoply_nn::with_ring;
use twoply_primitives::{Cpu, Ring};

/// Steps that are timed, after one that is not.
const STEPS: usize = 3;

/// A run with dealer and both parties on this machine, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Forecast {
    pub link: String,
    /// The dealer's compute of a step.
    pub dealing: f64,
    /// Both parties' compute of a step.
    pub computing: f64,
    /// What messages and bytes of a step take on the link.
    pub waiting: f64,
    /// A step: both computes, as three processes share this machine, and the link.
    pub step: f64,
    /// All steps and figures; neither the start nor what checkpoints wait for a disk.
    pub run: f64,
}

/// Rehearses some steps.
///
/// # Errors
/// What the dealer or a party of the rehearsal reports.
pub(super) fn forecast(plan: &TrainingPlan, link: &Shape) -> Result<Forecast, Failure> {
    let [dealing, computing] = with_ring!(plan.recipe.n, R => rehearsed::<R>(plan))?;
    let (one, steps, all) = (&plan.step, plan.steps(), plan.total());
    let waiting = in_flight(one.rounds, one.bytes, link);
    let compute = PROCESSES * (dealing + computing);
    // gates of figures take as long as those of steps with as many bytes of keys
    let bytes = |t: &twoply_nn::plan::Totals| (t.key_bytes[0] + t.key_bytes[1]) as f64;
    let work = bytes(&all) / bytes(one).max(1.0);
    Ok(Forecast {
        link: link.to_string(),
        dealing,
        computing,
        waiting,
        step: compute + waiting,
        run: compute * work.max(steps as f64) + in_flight(all.rounds, all.bytes, link),
    })
}

/// Seconds of a step: the dealer's, and both parties' together; medians, on values of zero, which take as long as any others.
fn rehearsed<R: Ring>(plan: &TrainingPlan) -> Result<[f64; 2], Failure> {
    let (recipe, parts) = fewer(plan);
    let step = Step::new(&plan.graph, &recipe)?;
    let zeros = |row: usize| vec![0.0; recipe.batch * row];
    let (inputs, targets) = (zeros(step.input().shape.row()), zeros(step.targets().shape.row()));
    let weights = initial(&plan.graph, plan.seed);
    let mut both = Rehearsal::new(Cpu::<R>::new(), &step, &weights, &inputs, &targets)?;
    let rows: Vec<usize> = (0..recipe.batch).collect();
    let mut times = [vec![], vec![]];
    for number in 0..=STEPS {
        let moment = Moment { seed: plan.seed, step: number as u64, before: None };
        let played = both.run((&step, moment), &rows)?;
        if number > 0 {
            times[0].push(played.dealing.as_secs_f64());
            times[1].push(played.running.as_secs_f64());
        }
    }
    Ok(times.map(|times| median(times) * parts as f64))
}

/// The recipe with the batch in so many parts that a step's keys have room in memory: its gates are the same, with fewer rows.
fn fewer(plan: &TrainingPlan) -> (Recipe, u64) {
    let keys: u64 = plan.step.key_bytes.iter().sum();
    let halvings = keys.div_ceil(KEYS).next_power_of_two().ilog2().min(plan.recipe.batch.ilog2());
    if halvings == 0 {
        return (plan.recipe.clone(), 1);
    }
    // the update loses as many bits as before
    let rate = Rate { shift: plan.recipe.rate.shift + halvings, ..plan.recipe.rate };
    let batch = plan.recipe.batch >> halvings;
    let (later, decay) = (BTreeMap::new(), 0.0);
    (Recipe { batch, rate, later, decay, ..plan.recipe.clone() }, 1 << halvings)
}
