//! Comparisons as AriaNN counts them, to compare with its tables: one per ReLU, `k - 1` for a window of `k` taps whether
//! they lie in the padding or not, and an argmax of all pairs, `c * c` for `c` classes.

use crate::Result;
use crate::graph::{Graph, Op};
use serde::Serialize;

/// Comparisons per image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Of ReLUs.
    pub relu: u64,
    /// Of max pools.
    pub max_pool: u64,
    /// Of the argmax.
    pub argmax: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.relu + self.max_pool + self.argmax
    }
}

/// Counts the comparisons of a classifier's graph: an argmax is counted whether it is in the graph or not.
///
/// # Errors
/// [`crate::Error::Graph`] if the graph is not valid.
pub fn count(graph: &Graph) -> Result<Counts> {
    let shapes = graph.shapes()?;
    let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let mut counts = Counts::default();
    for (node, shape) in graph.nodes.iter().zip(&shapes) {
        match &node.op {
            Op::Relu => counts.relu += elements(shape),
            Op::MaxPool(window) => {
                counts.max_pool += elements(shape) * (window.kernel[0] * window.kernel[1] - 1) as u64;
            }
            _ => {}
        }
    }
    // what the argmax reads: the last wire, or the one before it
    let classes = match graph.nodes.last().map(|n| (&n.op, n.inputs.first())) {
        Some((Op::Argmax, Some(crate::Source::Node(i)))) => elements(&shapes[*i]),
        _ => shapes.last().map_or(0, |s| elements(s)),
    };
    counts.argmax = classes * classes;
    Ok(counts)
}
