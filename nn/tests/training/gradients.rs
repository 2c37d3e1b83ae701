//! Gradients of a step, recovered from its velocities, against those of floating point.

use super::common::build::{LAST, Model, Rng, random};
use super::{everything, oracle, recipe, small, targets};
use twoply_nn::engine::Clear;
use twoply_nn::train::{Fractions, Loss, Moment, Rate, Recipe, Reference, Step};
use twoply_primitives::Ring;

/// Fraction bits of everything but logits.
const BITS: u32 = 20;

/// Many fraction bits, so that gradients are those of floating point but for small roundings.
fn fine(loss: Loss) -> Recipe {
    let fractions = Fractions { activations: BITS, weights: BITS, gradients: BITS, logits: 9 };
    Recipe { fractions, rate: Rate { factor: 1, shift: 1 }, ..recipe(64, 8, loss) }
}

/// Gradients of a batch by fixed point and by floating point. After one step from rest the velocity is
/// the rate times the gradient.
struct Both {
    fixed: Vec<Vec<f64>>,
    float: Vec<Vec<f64>>,
}

fn both(model: &Model, step: &Step) -> Both {
    let rows = step.recipe().batch;
    let targets = targets(step, rows, &mut Rng(3));
    let inputs = model.inputs[..rows * model.graph.input.row()].to_vec();
    let state = step.clear::<u64>(&model.weights).unwrap();
    let (all, moment): (Vec<usize>, _) = ((0..rows).collect(), Moment::default());
    let next = oracle((step, moment), Clear::simulated(3), &state, (&inputs, &targets), &all);
    let float = Reference::new(step, &model.weights).unwrap().gradients(&inputs, &targets).unwrap();
    let unit = f64::from(BITS).exp2() * step.recipe().rate.real();
    let fixed = next.velocity.iter().map(|v| v.1.iter().map(|v| v.signed() as f64 / unit).collect());
    Both { fixed: fixed.collect(), float }
}

/// For all losses: with 20 fraction bits 2^-20 of the largest gradient per cut on the way would be 2^-16.
pub fn agree(model: &Model, loss: Loss) {
    let step = Step::new(&model.graph, &fine(loss)).unwrap();
    let Both { fixed, float } = both(model, &step);
    // what tables of logits at 9 bits add
    let tables = if loss == Loss::SquaredError { 0.0 } else { 4e-3 };
    for (p, (found, wanted)) in fixed.iter().zip(&float).enumerate() {
        let most = wanted.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        for (v, g) in found.iter().zip(wanted) {
            assert!(
                (v - g).abs() < 2e-4 * most.max(0.1) + tables * most.max(1.0),
                "{} {}: {v} instead of {g}",
                model.graph.name,
                model.graph.params[p].name
            );
        }
    }
}

#[test]
fn gradients_are_those_of_floating_point() {
    for loss in [Loss::SquaredError, Loss::CrossEntropy, Loss::BinaryCrossEntropy] {
        agree(&small(), loss);
        agree(&everything(), loss);
    }
}

/// What has no place in training is refused by name; everything else is right, whatever comes last.
#[test]
fn gradients_of_random_graphs() {
    let (mut trained, mut refused) = (0, 0);
    for seed in 0..240 {
        let model = random(seed, seed as usize % LAST.len(), 8).before_argmax().scale_to(2.0);
        match Step::new(&model.graph, &recipe(64, 8, Loss::SquaredError)) {
            Ok(_) => {
                agree(&model, Loss::SquaredError);
                trained += 1;
            }
            Err(e) => {
                let why =
                    ["does not train", "round the data", "rounds the data", "could learn", "would be run as"];
                assert!(why.iter().any(|why| e.to_string().contains(why)), "{e}");
                refused += 1;
            }
        }
    }
    assert!(trained >= 100, "{trained} graphs trained, {refused} were refused");
}
