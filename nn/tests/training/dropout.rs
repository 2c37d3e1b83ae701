//! Dropout: what it does, that all engines do the same, and that inference does without.

use super::common::build::{Builder, Model};
use super::{gradients, oracle, recipe, same_as_oracle};
use std::collections::BTreeSet;
use twoply_nn::engine::Clear;
use twoply_nn::graph::{Op, Source};
use twoply_nn::train::{Loss, Moment, Recipe, Step};
use twoply_nn::{Options, Plan};
use twoply_primitives::{Ring, Window};

/// Dropouts behind a ReLU, behind a product that is not lifted, behind a pool, with whole factors and others.
fn model(ratios: [f64; 3]) -> Model {
    let mut b = Builder::new("dropout", &[1, 6, 6], 5);
    let x = b.conv(Source::Input, 4, Window::square(3, 1), 1);
    let x = b.dropout(x, ratios[0]);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.relu(x);
    let x = b.dropout(x, ratios[1]);
    let x = b.linear(x, 8);
    let x = b.relu(x);
    let x = b.dropout(x, ratios[2]);
    b.linear(x, 3);
    b.finish(16)
}

#[test]
fn two_parties_drop_what_the_oracle_drops() {
    same_as_oracle::<u32>(&model([0.5, 0.25, 0.75]), &recipe(32, 4, Loss::CrossEntropy), 3);
    same_as_oracle::<u64>(&model([0.1, 0.5, 0.2]), &recipe(64, 4, Loss::SquaredError), 2);
}

#[test]
fn gradients_are_those_of_floating_point() {
    for ratios in [[0.5, 0.25, 0.75], [0.1, 0.5, 0.2]] {
        gradients::agree(&model(ratios), Loss::SquaredError);
    }
}

/// Behind a linear layer of one input, all of whose targets are 0, a weight's gradient is the sum of `factor^2 w x^2` over the rows
/// of the batch that stay: it says which did. Every row, element and step draws anew.
#[test]
fn rows_and_steps_drop_their_own() {
    let mut b = Builder::new("mask", &[1], 1);
    let x = b.linear(Source::Input, 64);
    b.dropout(x, 0.5);
    let mut model = b.finish(1);
    model.weights.0[0].fill(1.0);
    model.weights.0[1..].iter_mut().for_each(|b| b.fill(0.0));
    let step = Step::new(&model.graph, &recipe(32, 4, Loss::SquaredError)).unwrap();
    let state = step.clear::<u32>(&model.weights).unwrap();
    // powers of four, so that a sum of some of their squares says of which
    let x = [0.25, 0.5, 1.0, 2.0].map(|x: f32| x);
    let stays = |moment: Moment| -> Vec<u32> {
        let data = (&x[..], &[0.0; 4 * 64][..]);
        let next = oracle((&step, moment), Clear::simulated(1), &state, data, &[0, 1, 2, 3]);
        let unit = (x[0] * x[0]) as f64 * 4.0 * step.recipe().rate.real() / 4.0;
        let sums = next.velocity[0].1.iter().map(|v| v.signed() as f64 / f64::from(1 << 16) / unit);
        sums.map(|s| s.round() as u32).collect()
    };
    let at = |step| stays(Moment { step, ..Moment::default() });
    let first = at(0);
    let digits = |v: u32| (0..4).map(|row| v >> (2 * row) & 3).collect::<Vec<_>>();
    assert!(first.iter().all(|v| digits(*v).iter().all(|d| *d < 2)), "each 0 or twice as large: {first:?}");
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 8, "rows of a batch have masks of their own");
    let kept = first.iter().flat_map(|v| digits(*v)).sum::<u32>();
    // of 256 fair draws, five standard deviations
    assert!((88..=168).contains(&kept), "{kept} of 256 stay");
    assert_ne!(first, at(1), "another step");
    assert_ne!(first, stays(Moment { seed: 1, ..Moment::default() }), "another seed");
}

/// A whole factor costs nothing at all; another one a cut and a lift, forward and back.
#[test]
fn the_bill_is_the_same_at_every_step() {
    let bill = |ratio: f64| {
        let mut b = Builder::new("bill", &[8], 5);
        let x = b.linear(Source::Input, 8);
        let x = b.relu(x);
        let x = if ratio > 0.0 { b.dropout(x, ratio) } else { x };
        b.linear(x, 3);
        let step = Step::new(&b.finish(1).graph, &recipe(32, 4, Loss::SquaredError)).unwrap();
        let gates = step.planned().unwrap().gates;
        gates.iter().map(|g| g.gate.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bill(0.5), bill(0.0));
    let count = |gates: &[String], name: &str| gates.iter().filter(|g| *g == name).count();
    let (free, cut) = (bill(0.5), bill(0.25));
    assert_eq!(count(&cut, "truncate") - count(&free, "truncate"), 2);
    assert!(cut.len() <= free.len() + 4, "{cut:?}");
}

#[test]
fn inference_does_without() {
    let model = model([0.5, 0.25, 0.75]);
    let mut plain = model.graph.clone();
    plain.nodes.iter_mut().zip(model.graph.shapes().unwrap()).for_each(|(node, shape)| {
        if matches!(node.op, Op::Dropout { .. }) {
            node.op = Op::Reshape(shape);
        }
    });
    let gates = |graph| {
        let plan = Plan::new(graph, Options::default(), None).unwrap();
        plan.gates.iter().map(|g| (g.layer.clone(), g.gate.clone(), g.cost.clone())).collect::<Vec<_>>()
    };
    assert_eq!(gates(model.graph.clone()), gates(plain));
}

#[test]
fn what_is_out_of_reach_is_refused_by_name() {
    let why = |ratio: f64| {
        let mut b = Builder::new("refused", &[8], 5);
        let x = b.dropout(Source::Input, ratio);
        b.linear(x, 3);
        let recipe: Recipe = recipe(32, 4, Loss::SquaredError);
        Step::new(&b.finish(1).graph, &recipe).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(why(0.5), Ok(()), "a whole factor rounds nothing");
    assert!(why(0.1).unwrap_err().contains("`0-dropout` rounds the data"));
    assert!(why(0.99).unwrap_err().contains("`0-dropout`: what stays is 100 times as large"));
    let far = Op::Dropout { ratio: 1.0 };
    let mut graph = model([0.5; 3]).graph;
    graph.nodes[1].op = far;
    assert!(graph.validate().unwrap_err().to_string().contains("a ratio of 1, wanted 0 to below 1"));
}
