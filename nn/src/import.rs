//! Networks from other people's files.

pub(crate) mod draft;
mod folded;
pub mod onnx;

pub use folded::folded;

use crate::{Graph, Weights};

/// What an import gives: the public structure and the private values.
#[derive(Clone, PartialEq, Debug)]
pub struct Imported {
    /// Structure, without weights.
    pub graph: Graph,
    /// Values, parallel to the graph's parameters.
    pub weights: Weights,
}
