//! Which graphs train: by the operations, by their numbers, by what is cut, and by size.

use super::Recipe;
use super::dropout::Kept;
use super::forward::whole;
use super::recipe::COARSEST;
use crate::graph::{Graph, Op, Source};
use crate::{Error, Node, Options, Program, Result};
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

/// What is decided of every node before anything runs; why it cannot be, by name, becomes one of the faults.
pub(super) fn each<T>(
    graph: &Graph,
    faults: &mut Vec<String>,
    of: impl Fn(&Node) -> Result<Option<T>>,
) -> Vec<Option<T>> {
    let one = |node: &Node| {
        of(node).unwrap_or_else(|e| {
            faults.push(format!("`{}`: {}", node.name, why(e)));
            None
        })
    };
    graph.nodes.iter().map(one).collect()
}

/// A fault without the words that all of them have in common.
pub(super) fn why(e: Error) -> String {
    match e {
        Error::Data { why, .. } => why,
        e => e.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::super::{Loss, Step};
    use super::*;
    use crate::graph::{Input, Normalise, Param, Role};
    use twoply_primitives::Window;

    /// A convolution, and behind it a mean that is too coarse, a normalisation of one place per channel, a private addend per
    /// element, and more classes than a softmax has.
    fn hopeless() -> Graph {
        let param =
            |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
        let nodes = [
            ("conv", Op::Conv2d { weight: 0, bias: None, window: Window::square(1, 1), groups: 1 }),
            ("mean", Op::AvgPool { window: Window::square(60, 60), count_include_pad: true }),
            ("norm", Op::BatchNorm { gamma: 1, beta: 2, mean: 3, variance: 4, epsilon: 1e-5 }),
            ("flat", Op::Reshape(vec![1])),
            ("classes", Op::Linear { weight: 5, bias: None }),
            ("addend", Op::Offset { weight: 6 }),
        ];
        let source = |at: usize| at.checked_sub(1).map_or(Source::Input, Source::Node);
        let node =
            |(at, (name, op)): (usize, (&str, Op))| Node { name: name.into(), op, inputs: vec![source(at)] };
        Graph {
            name: "hopeless".into(),
            input: Input {
                name: "x".into(),
                shape: vec![1, 60, 60],
                normalise: Normalise::default(),
                layout: Default::default(),
            },
            params: vec![
                param("w", &[1, 1, 1, 1], Role::Weight),
                param("gamma", &[1], Role::Factor),
                param("beta", &[1], Role::Bias),
                param("mean", &[1], Role::Mean),
                param("variance", &[1], Role::Variance),
                param("v", &[200, 1], Role::Weight),
                param("c", &[200], Role::Weight),
            ],
            nodes: nodes.into_iter().enumerate().map(node).collect(),
        }
    }

    #[test]
    fn everything_that_does_not_train_is_named_at_once() {
        let recipe = Recipe::usual(32, 1, Loss::CrossEntropy);
        let refused = Step::new(&hopeless(), &recipe).map(drop).unwrap_err().to_string();
        for fault in [
            "`mean`: a mean over so many elements is too coarse in 32 bits",
            "`norm`: one place per channel has no variance",
            "`addend`: a private addend per element does not train",
            "cross-entropy of 200 classes",
        ] {
            assert!(refused.contains(fault), "no {fault:?} in {refused}");
        }
        assert_eq!(refused.matches("`norm`").count(), 1, "{refused}");
    }
}
