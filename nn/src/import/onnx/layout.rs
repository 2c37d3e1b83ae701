//! Whether the pictures of a file have their channels last. Graphs have them first; what the file reads is then a transpose of
//! the input, which is free and mostly meets its opposite.

use super::call::Value;
use super::proto::{GraphProto, NodeProto};
use crate::graph::{Input, Layout, Op, Source};
use crate::import::draft::Draft;
use std::collections::HashSet;

/// Operators that have channels at axis 1.
const CHANNELS_FIRST: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MaxPool",
    "SpaceToDepth",
];
/// Operators that leave axes where they are.
const NEUTRAL: &[&str] =
    &["Add", "Cast", "Clip", "Div", "Dropout", "Identity", "Mul", "Pad", "Relu", "Slice", "Sub"];

/// The layout of an input `[a, b, c]`: what its first readers say, or else what extents pictures have.
pub(super) fn of(graph: &GraphProto, input: &str, shape: &[usize]) -> Layout {
    let &[first, middle, last] = shape else { return Layout::ChannelsFirst };
    let mut same = HashSet::from([input]);
    let (mut turned, mut straight) = (false, false);
    for node in &graph.node {
        if !node.input.iter().any(|name| same.contains(name.as_str())) {
            continue;
        }
        match node.op_type.as_str() {
            "Transpose" if to_channels_first(node) => turned = true,
            op if CHANNELS_FIRST.contains(&op) => straight = true,
            op if NEUTRAL.contains(&op) => same.extend(node.output.iter().map(String::as_str)),
            _ => {}
        }
    }
    let channels = |extent: usize| matches!(extent, 1 | 3 | 4);
    match (turned, straight) {
        (true, false) => Layout::ChannelsLast,
        (false, false) if channels(last) && !channels(first) && last < first.min(middle) => {
            Layout::ChannelsLast
        }
        _ => Layout::ChannelsFirst,
    }
}

fn to_channels_first(node: &NodeProto) -> bool {
    node.attribute.iter().any(|a| a.name == "perm" && a.ints == [0, 3, 1, 2])
}

impl Draft {
    /// The input as the file reads it.
    pub(super) fn input_in(&mut self, layout: Layout) -> Value {
        let (Input { shape, .. }, Layout::ChannelsLast) = (&mut self.input, layout) else {
            return Value::Wire(Source::Input);
        };
        shape.rotate_right(1);
        self.input.layout = layout;
        self.push("", Op::Transpose(vec![1, 2, 0]), &[Source::Input]).map_or(Value::Lost, Value::Wire)
    }
}
