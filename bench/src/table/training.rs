//! Steps of training in one process: dealer, then both parties on threads, no TLS and no disk.

use super::Row;
use crate::network::{of_zoo, pixels};
use twoply_nn::plan::Totals;
use twoply_nn::train::{Loss, Moment, Recipe, Rehearsal, Step, trunk};
use twoply_nn::{Result, with_ring};
use twoply_primitives::Cpu;

/// Steps; medians are reported.
const STEPS: usize = 9;
/// Rows of MNIST's training set.
const ROWS: usize = 60_000;

/// AriaNN's three networks for MNIST, batch 128, cross-entropy, digits.
pub fn rows(out: &mut Vec<Row>, say: &mut dyn FnMut(&str)) -> Result<()> {
    for (name, zoo) in [("Network-1", "network-1"), ("Network-2", "network-2"), ("LeNet", "lenet")] {
        for n in [32, 64] {
            say(&format!("training {name}, ring of {n} bits"));
            out.push(row(name, zoo, n)?);
        }
    }
    Ok(())
}

fn row(name: &str, zoo: &str, n: u32) -> Result<Row> {
    let recipe = Recipe::usual(n, 128, Loss::CrossEntropy);
    let (graph, weights) = of_zoo(zoo);
    let step = Step::new(&trunk(&graph, recipe.loss)?.0, &recipe)?;
    let mut totals = Totals::default();
    totals.add_gates(&step.planned()?.gates);
    let inputs = pixels(&graph, recipe.batch);
    let outputs = step.targets().shape.row();
    let hot = |i: usize| f32::from(i % outputs == i / outputs % outputs);
    let targets: Vec<f32> = (0..recipe.batch * outputs).map(hot).collect();
    let times = with_ring!(n, R => times::<R>(&step, &weights, &inputs, &targets))?;
    let [dealing_ms, running_ms] = times.map(|mut of| {
        of.sort_by(f64::total_cmp);
        of[STEPS / 2]
    });
    Ok(Row::Training {
        name: name.into(),
        n,
        batch: recipe.batch,
        key_bytes: totals.key_bytes,
        sent: totals.bytes,
        rounds: totals.rounds,
        dealing_ms,
        running_ms,
        epoch_s: (dealing_ms + running_ms) / 1e3 * (ROWS / recipe.batch) as f64,
    })
}

/// Milliseconds of each step: of the dealer, and of the parties.
fn times<R: twoply_primitives::Ring>(
    step: &Step,
    weights: &twoply_nn::Weights,
    inputs: &[f32],
    targets: &[f32],
) -> Result<[Vec<f64>; 2]> {
    let mut both = Rehearsal::new(Cpu::<R>::new(), step, weights, inputs, targets)?;
    let rows: Vec<usize> = (0..step.recipe().batch).collect();
    let mut times = [vec![], vec![]];
    for at in 0..=STEPS {
        let played = both.run((step, Moment::default()), &rows)?;
        if at > 0 {
            times[0].push(played.dealing.as_secs_f64() * 1e3);
            times[1].push(played.running.as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}
