//! Which graphs train: by the operations, by their numbers, by what is cut, and by size.

use super::Recipe;
use super::dropout::Kept;
use super::forward::whole;
use super::recipe::COARSEST;
use crate::graph::{Graph, Op, Source};
use crate::{Node, Options, Program, Result};
use twoply_primitives::Fixed;

/// What a graph has against being trained, node by node.
pub(super) fn faults(graph: &Graph, recipe: &Recipe) -> Vec<String> {
    let mut fresh: Vec<bool> = vec![];
    let mut faults = vec![];
    for node in &graph.nodes {
        let of = |s: &Source| matches!(s, Source::Node(j) if fresh[*j]);
        faults.extend(refused(node, recipe).map(|why| format!("`{}`: {why}", node.name)));
        if cuts(node, recipe.n) && !node.inputs.iter().all(of) {
            faults.push(format!(
                "`{}` rounds the data themselves, which are masked once for all epochs: apply it to the data before, or behind a \
                 layer",
                node.name
            ));
        }
        fresh.push(match &node.op {
            Op::Add | Op::Sub => node.inputs.iter().any(of),
            op => cuts(node, recipe.n) || is_gate(op) || node.inputs.iter().all(of),
        });
    }
    // logits that no product cuts are cut for the loss
    let cut = recipe.loss.fraction(&recipe.fractions) < recipe.fractions.activations;
    if cut && fresh.last() == Some(&false) {
        faults.push(
            "the loss rounds the data themselves, which are part of the output: put them behind a layer"
                .into(),
        );
    }
    faults
}

/// Whether the result of an operation has a mask of its own.
fn is_gate(op: &Op) -> bool {
    match op {
        Op::Linear { .. }
        | Op::Conv2d { .. }
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::MaxPool(_) => true,
        Op::Clip { low, high } => low.is_some() || high.is_some(),
        _ => false,
    }
}

/// Whether a node cuts an operand that is open: whose coins are its mask's lowest bits, the same ones in every epoch unless
/// the mask is fresh.
fn cuts(node: &Node, n: u32) -> bool {
    match &node.op {
        Op::AvgPool { .. } | Op::BatchNorm { .. } => true,
        Op::Affine { scale, .. } => whole(*scale, n).1 > 0,
        Op::Dropout { ratio } => Kept::of(*ratio, n).by > 0,
        _ => false,
    }
}

/// Why an operation, or a number of it, does not train.
fn refused(node: &Node, recipe: &Recipe) -> Option<String> {
    let coarse = |number: f64| {
        let (whole, by) = whole(number, recipe.n);
        let run = whole as f64 / f64::from(by).exp2();
        let most = f64::from(recipe.n - 2 - recipe.fractions.activations).exp2();
        match (run - number).abs() > COARSEST * number.abs() || number.abs() > most {
            true => Some(format!("the factor {number} would be run as {run}")),
            false => None,
        }
    };
    let large = |number: f64| {
        (number.abs() >= recipe.limit()).then(|| format!("{number} is not below {}", recipe.limit()))
    };
    match &node.op {
        Op::Offset { .. } => Some("a private addend per element does not train".into()),
        Op::Argmax => Some("an argmax has no gradient; train what is before it".into()),
        Op::LeakyRelu { slope } => coarse(*slope),
        Op::Dropout { ratio } => {
            let kept = Kept::of(*ratio, recipe.n).real();
            let why = || format!("what stays is {kept} times as large, and the limit is {}", recipe.limit());
            (kept >= recipe.limit()).then(why)
        }
        Op::Affine { scale, shift } => coarse(*scale).or_else(|| large(*shift)),
        Op::Clip { low, high } => low.iter().chain(high).find_map(|limit| large(*limit)),
        _ => None,
    }
}

/// Refuses what no plan could run, as inference does.
pub(super) fn sizes(graph: &Graph, n: u32) -> Result<()> {
    let fixed = Fixed { n, f: if n == 64 { 16 } else { 12 } };
    Program::new(graph, &Options { fixed, ..Options::default() }, &[]).map(drop)
}
