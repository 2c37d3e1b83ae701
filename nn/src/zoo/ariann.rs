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

/// What AriaNN's paper reports for one image.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Published {
    /// The network's name in the zoo.
    pub name: &'static str,
    /// Bytes one party sends, at 8 per element, argmax left out.
    pub online_bytes: f64,
    /// Seconds at batch 128 (smaller for the largest), one process on 16 vCPUs, no network.
    pub lan_seconds: f64,
    /// Seconds over 70 ms one way.
    pub wan_seconds: f64,
    /// Key bytes of one party, at 920 per comparison.
    pub key_bytes: f64,
}

const fn published(name: &'static str, mb: f64, lan: f64, wan: f64, keys: f64) -> Published {
    Published { name, online_bytes: mb * 1e6, lan_seconds: lan, wan_seconds: wan, key_bytes: keys * 1e6 }
}

/// The columns of its evaluation (Ryffel et al., PETS 2022).
pub const PUBLISHED: [Published; 8] = [
    published("network-1", 0.022, 0.004, 0.043, 0.36),
    published("network-2", 0.28, 0.041, 0.133, 9.98),
    published("lenet", 0.43, 0.055, 0.143, 14.7),
    published("alexnet-cifar10", 0.95, 0.15, 0.34, 24.6),
    published("alexnet-64x64", 1.75, 0.33, 0.48, 88.4),
    published("vgg16-cifar10", 12.59, 1.75, 1.99, 277.0),
    published("vgg16-64x64", 53.11, 7.51, 8.00, 1124.0),
    published("resnet18-2", 148.0, 19.88, 24.07, 3254.0),
];

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
