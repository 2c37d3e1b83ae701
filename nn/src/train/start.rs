//! What a run begins with: a graph that trains, public weights from a seed, and the order of the data.

use super::Loss;
use crate::graph::{Graph, Op, Param, Role};
use crate::{Error, Result, Weights};
use std::collections::BTreeSet;

/// The part of a graph that trains under `loss`: without a final argmax, and for a loss that looks logits up without a ReLU
/// behind them, whose gradient would die. The second value says what was left out.
///
/// # Errors
/// [`Error::Data`] if nothing is left.
pub fn trunk(graph: &Graph, loss: Loss) -> Result<(Graph, Vec<String>)> {
    let (mut graph, mut left) = (graph.clone(), vec![]);
    let ends = |op: &Op| *op == Op::Argmax || (*op == Op::Relu && loss != Loss::SquaredError);
    while graph.nodes.last().is_some_and(|n| ends(&n.op)) {
        left.extend(graph.nodes.pop().map(|n| format!("`{}` ({})", n.name, n.op.kind())));
    }
    match graph.nodes.is_empty() {
        true => Err(Error::data("training", format!("graph `{}` has no layer to train", graph.name))),
        false => Ok((graph, left)),
    }
}

/// All layers with parameters but the last `count`: what stays as it is where only those are trained.
///
/// # Errors
/// [`Error::Data`] if there are not so many, or none is to be trained.
pub fn all_but_last(graph: &Graph, count: usize) -> Result<BTreeSet<String>> {
    let layers: Vec<_> = graph.nodes.iter().filter(|n| n.op.params().next().is_some()).collect();
    let most = layers.len();
    match most.checked_sub(count).filter(|_| count > 0) {
        Some(first) => Ok(layers[..first].iter().map(|n| n.name.clone()).collect()),
        None => {
            let what = format!(
                "the last {count} layers are to train, and `{}` has {most} with parameters",
                graph.name
            );
            Err(Error::data("training", what))
        }
    }
}

/// Uniform numbers of a public seed, for `what`.
pub(super) fn stream(seed: u64, what: &str, len: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * len];
    let mut hasher = blake3::Hasher::new_derive_key("twoply 2026-11 public start of training v1");
    hasher.update(&seed.to_le_bytes()).update(what.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// Public weights: uniform within `1 / sqrt(fan-in)`, weights and biases alike, as PyTorch's layers begin; batch normalisations
/// with the factor 1 and nothing added, of data of mean 0 and variance 1.
pub fn initial(graph: &Graph, seed: u64) -> Weights {
    let same = |p: &Param| {
        let value = f32::from(matches!(p.role, Role::Factor | Role::Variance));
        vec![value; p.shape.iter().product()]
    };
    let mut values: Vec<Vec<f32>> = graph.params.iter().map(same).collect();
    for node in &graph.nodes {
        let (Op::Linear { weight, .. } | Op::Conv2d { weight, .. }) = &node.op else { continue };
        let fan_in: usize = graph.params[*weight].shape[1..].iter().product();
        let most = 1.0 / (fan_in.max(1) as f32).sqrt();
        for p in node.op.params() {
            let param = &graph.params[p];
            let numbers = stream(seed, &param.name, param.shape.iter().product());
            let unit = |v: u32| (v >> 8) as f32 / (1 << 23) as f32 - 1.0;
            values[p] = numbers.into_iter().map(|v| most * unit(v)).collect();
        }
    }
    Weights(values)
}

/// The rows of each step of an epoch, in an order that follows from a public seed; rows that fill no batch are left out.
pub fn batches(seed: u64, epoch: u32, rows: usize, batch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..rows).collect();
    let numbers = stream(seed, &format!("epoch {epoch}"), 2 * rows);
    for (at, pair) in (1..rows).rev().zip(numbers.as_chunks::<2>().0) {
        let number = u64::from(pair[0]) << 32 | u64::from(pair[1]);
        order.swap(at, (number % (at as u64 + 1)) as usize);
    }
    order.chunks_exact(batch).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layers_but_the_last_stay() {
        let graph =
            crate::zoo::named("lenet").unwrap().build(&mut crate::zoo::Seeded::default()).unwrap().graph;
        let stays = |count| all_but_last(&graph, count).map(|s| s.len());
        let layers = stays(1).unwrap() + 1;
        assert_eq!(stays(layers).unwrap(), 0);
        assert!(!all_but_last(&graph, 2).unwrap().contains(&graph.nodes[graph.nodes.len() - 1].name));
        assert!(stays(0).is_err());
        assert!(stays(layers + 1).unwrap_err().to_string().contains("layers are to train"));
    }

    #[test]
    fn every_row_is_used_once_an_epoch() {
        let mut seen: Vec<usize> = batches(1, 0, 64, 8).concat();
        assert_ne!(seen[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..64));
        assert_ne!(batches(1, 0, 64, 8), batches(1, 1, 64, 8));
        assert_ne!(batches(1, 0, 64, 8), batches(2, 0, 64, 8));
        assert_eq!(batches(1, 0, 70, 8).len(), 8);
        assert!(batches(1, 0, 7, 8).is_empty());
    }
}
