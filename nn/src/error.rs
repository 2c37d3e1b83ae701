//! What makes a model or its data unusable. Each message lists everything that is wrong, not only the first thing.

use serde::Serialize;
use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of graphs, import, weights, data and the engines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A graph that breaks its own rules; every fault is listed.
    #[error("graph `{graph}` is not usable:{}", list(faults))]
    Graph {
        /// Name of the graph.
        graph: String,
        /// One sentence per fault.
        faults: Vec<String>,
    },
    /// An ONNX model that cannot be taken as it is; every obstacle is listed.
    #[error("this ONNX model cannot be imported as it is:{}", list(obstacles))]
    Import {
        /// What stands in the way, in file order.
        obstacles: Vec<Obstacle>,
    },
    /// Bytes that are no ONNX model.
    #[error("not an ONNX model: {0}")]
    Onnx(String),
    /// Weights that do not belong to the graph; every mismatch is listed.
    #[error("weights do not fit graph `{graph}`:{}", list(faults))]
    Weights {
        /// Name of the graph.
        graph: String,
        /// One sentence per mismatch.
        faults: Vec<String>,
    },
    /// Images or labels that cannot be read, or do not fit the graph.
    #[error("{format}: {why}")]
    Data {
        /// File format, or the step that refused.
        format: &'static str,
        /// What was found and what was wanted.
        why: String,
    },
    /// Ranges that do not fit the fixed-point contract; every layer is listed.
    #[error(
        "values would leave the range of n={n}, f={f}:{}; use --ring 64, or fewer fraction bits",
        list(faults)
    )]
    Ranges {
        /// Ring bits.
        n: u32,
        /// Fraction bits.
        f: u32,
        /// One sentence per layer.
        faults: Vec<String>,
    },
    /// Shares of a result from parties that did not see the same run.
    #[error(
        "the two parties saw different messages of this run, so their answer is none: one of the messages was changed on \
         the way, or one of the machines computed something else; ask again, and check both machines if it comes back"
    )]
    Answers,
    /// Keys, key files or the ledger refused.
    #[error(transparent)]
    Keys(#[from] twoply_preprocessing::Error),
    /// A gate or a map refused.
    #[error(transparent)]
    Gate(#[from] twoply_primitives::Error),
}

impl Error {
    /// A data error of `format`.
    pub fn data(format: &'static str, why: impl Into<String>) -> Self {
        Error::Data { format, why: why.into() }
    }
}

/// One kind of thing in a foreign model file that this crate cannot take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Obstacle {
    /// The first node (or initializer, input, output) by its name in the file; its place (`#3`) where it has none.
    pub node: String,
    /// Operator type, or `initializer`, `input`, `output`, `model`.
    pub op: String,
    /// How often it stands there.
    pub times: usize,
    /// Why.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Obstacle { node, op, times, reason, remedy } = self;
        match times {
            1 => write!(f, "{op} `{node}`: {reason}; {remedy}"),
            _ => write!(f, "{op}, {times} times, first at `{node}`: {reason}; {remedy}"),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}
