//! Gradients of a step, recovered from its velocities, against those of floating point.

use super::common::build::{Builder, LAST, Model, Rng, random};
use super::rounding::{self, Arithmetic};
use super::{everything, oracle, recipe, small, targets};
use std::collections::BTreeSet;
use twoply_nn::engine::Clear;
use twoply_nn::graph::Source;
use twoply_nn::train::{Fractions, Loss, Moment, Rate, Recipe, Reference, Step};
use twoply_primitives::Ring;

/// Fraction bits of everything but logits.
pub const BITS: u32 = 20;

/// Many fraction bits, so that gradients are those of floating point but for small roundings.
pub fn fine(loss: Loss) -> Recipe {
    let fractions = Fractions { activations: BITS, weights: BITS, gradients: BITS, logits: 9 };
    Recipe { fractions, rate: Rate { factor: 1, shift: 1 }, ..recipe(64, 8, loss) }
}

/// Gradients of a batch by fixed point and by floating point, with its inputs and targets. After one step from rest the velocity is
/// the rate times the gradient.
struct Both {
    inputs: Vec<f32>,
    targets: Vec<f32>,
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
    let float = Reference::new(step, &model.weights).unwrap().gradients(moment, &inputs, &targets).unwrap();
    let unit = f64::from(BITS).exp2() * step.recipe().rate.real();
    let fixed = next.velocity.iter().map(|v| v.1.iter().map(|v| v.signed() as f64 / unit).collect());
    Both { inputs, targets, fixed: fixed.collect(), float }
}

/// For all losses: with 20 fraction bits 2^-20 of the largest gradient per cut on the way would be 2^-16.
pub fn agree(model: &Model, loss: Loss) {
    let step = Step::new(&model.graph, &fine(loss)).unwrap();
    let Both { fixed, float, .. } = both(model, &step);
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

/// Random graphs of all operations that train, each element of each parameter's gradient within what rounding can do.
///
/// The bound is computed for every element by [`rounding`], which goes through the graph forward and back with what exact
/// arithmetic gives and how far each side can be from it. *Fixed point*, with `u = 2^-20`: inputs, targets, weights and limits are
/// within `u / 2` of theirs; every cut (products, and public factors that are no whole numbers) within `u`; such a factor within
/// `2^-25`; at the end the update's cut is within `u` of rate times gradient, `2 u` of the gradient at a rate of 1/2. *The
/// reference*, single precision forward and double backward: a sum of `k` products is within `(k + 1) 2^-23` of the sum of their
/// magnitudes (Higham, section 3.1, twice its bound), one operation within `2^-23` of its result. The two may be apart by the sum of
/// both bounds. What has no place in training is refused by name.
#[test]
fn gradients_of_random_graphs() {
    let wanted = if std::env::var("TWOPLY_FULL").is_ok_and(|v| v == "1") { 100 } else { 12 };
    let u = (-f64::from(BITS)).exp2();
    let fixed = Arithmetic { cut: u, encoding: u / 2.0, factor: (-25f64).exp2(), relative: 0.0 };
    let single = (-23f64).exp2();
    let float = Arithmetic { cut: 0.0, encoding: 0.0, factor: single, relative: single };
    let (mut trained, mut sharp, mut kinds, mut tightest) = (0, 0, BTreeSet::new(), 0.0f64);
    for seed in 0.. {
        if trained == wanted {
            break;
        }
        let model = random(seed, seed as usize % LAST.len(), 8).before_argmax().scale_to(2.0);
        let step = match Step::new(&model.graph, &fine(Loss::SquaredError)) {
            Ok(step) => step,
            Err(e) => {
                let why =
                    ["does not train", "round the data", "rounds the data", "could learn", "would be run as"];
                assert!(why.iter().any(|why| e.to_string().contains(why)), "{e}");
                continue;
            }
        };
        trained += 1;
        kinds.extend(model.graph.nodes.iter().map(|n| n.op.kind()));
        let found = both(&model, &step);
        let bounds = [fixed, float].map(|a| rounding::gradients(&model, a, &found.inputs, &found.targets));
        for (p, param) in model.graph.params.iter().enumerate() {
            let most = found.float[p].iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            let mut largest = 0.0f64;
            for (i, (v, g)) in found.fixed[p].iter().zip(&found.float[p]).enumerate() {
                let bound = bounds[0][p][i].error + bounds[1][p][i].error + 2.0 * u;
                let apart = (v - g).abs();
                assert!(
                    apart <= bound,
                    "{} {}[{i}]: {v} instead of {g}, bound {bound:e}",
                    model.graph.name,
                    param.name
                );
                (largest, tightest) = (largest.max(bound), tightest.max(apart / bound));
            }
            sharp += usize::from(most > 0.0 && largest < 0.01 * most);
        }
    }
    assert!(
        sharp >= trained,
        "bounds that nothing could break: {sharp} of {trained} graphs' parameters are sharp"
    );
    assert!(tightest > 0.5, "bounds that are never near: apart by up to {tightest} of one");
    let missing: Vec<_> =
        ["linear", "conv2d", "relu", "max_pool", "add"].into_iter().filter(|k| !kinds.contains(k)).collect();
    assert!(missing.is_empty() && (wanted < 100 || kinds.len() == 17), "{missing:?} of {kinds:?}");
}

/// The plant: a gradient that is off by a hundredth of its largest element leaves the bounds.
#[test]
fn a_wrong_gradient_leaves_its_bounds() {
    let mut b = Builder::new("planted", &[6], 2);
    let x = b.linear(Source::Input, 6);
    let x = b.relu(x);
    b.linear(x, 3);
    let model = b.finish(8);
    let step = Step::new(&model.graph, &fine(Loss::SquaredError)).unwrap();
    let found = both(&model, &step);
    let u = (-f64::from(BITS)).exp2();
    let fixed = Arithmetic { cut: u, encoding: u / 2.0, factor: 0.0, relative: 0.0 };
    let bounds = rounding::gradients(&model, fixed, &found.inputs, &found.targets);
    for (g, bound) in found.float.iter().zip(&bounds) {
        let most = g.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        assert!(bound.iter().all(|b| b.error < 0.01 * most), "{bound:?}");
        assert!(g.iter().zip(bound).all(|(g, b)| (g - b.value).abs() < b.error + 1e-5));
    }
}
