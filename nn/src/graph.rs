//! A network as data: public, readable JSON, without any weight. Nodes stand in the order they run; the last one is the output.

mod check;
mod input;
mod moves;
mod norm;

use crate::{Error, Result};
pub use input::{Input, Layout, Normalise};
pub(crate) use norm::Norm;
use serde::{Deserialize, Serialize};
use twoply_primitives::tensor::Window;

/// Most elements one wire (per image) or one parameter may have.
pub const MAX_ELEMENTS: usize = 1 << 30;
/// Most axes of a shape.
pub const MAX_RANK: usize = 8;
/// Most nodes, and most parameters, of a graph.
pub const MAX_NODES: usize = 1 << 16;
/// Largest kernel extent, stride, padding and dilation.
pub const MAX_WINDOW: usize = 1 << 12;
/// Longest name, in bytes.
pub const MAX_NAME: usize = 256;
/// Largest graph file, in bytes.
const MAX_JSON: usize = 64 << 20;
/// Domain of [`Graph::digest`]; changes whenever the serialization does.
const DIGEST_DOMAIN: &str = "twoply 2026 graph digest v1";

/// A network: public structure, no weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// What to call it in reports.
    pub name: String,
    /// The private input.
    pub input: Input,
    /// Names, shapes and roles of the weights.
    pub params: Vec<Param>,
    /// Operations in running order; the last one is the output.
    pub nodes: Vec<Node>,
}

/// One weight or bias tensor: its form, not its values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Name, unique in the graph; the tensor's name in the weights file.
    pub name: String,
    /// Extents, row-major.
    pub shape: Vec<usize>,
    /// How it is used.
    pub role: Role,
}

/// How a parameter enters a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Multiplied with a wire, or added to every image element by element; f fraction bits.
    Weight,
    /// Added to a product, one value per output channel; 2f fraction bits.
    Bias,
    /// What a batch normalisation multiplies a channel with.
    Factor,
    /// Mean of a channel over data, which a batch normalisation keeps beside what is learnt.
    Mean,
    /// Variance of a channel over data, likewise.
    Variance,
}

impl Role {
    /// Whether a gradient changes it.
    pub fn is_learnt(self) -> bool {
        !matches!(self, Role::Mean | Role::Variance)
    }
}

/// One operation and where its operands come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Name, unique in the graph.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<Source>,
}

/// Where an operand comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The network's input.
    Input,
    /// The result of an earlier node.
    Node(usize),
}

/// Operations. `weight` and `bias` are indexes into [`Graph::params`]; shapes are per image. Numbers in an operation are
/// public, as all of the graph.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// `y = W x + b` on `[in]`; weight `[out, in]`, bias `[out]`.
    Linear {
        /// Index of the weight.
        weight: usize,
        /// Index of the bias.
        bias: Option<usize>,
    },
    /// Cross-correlation over `[c, h, w]`, zero padding; weight `[oc, c / groups, kh, kw]`, bias `[oc]`.
    Conv2d {
        /// Index of the weight.
        weight: usize,
        /// Index of the bias.
        bias: Option<usize>,
        /// Geometry; its kernel repeats the weight's last two extents.
        window: Window,
        /// Channel groups; `groups = c` is a depthwise convolution.
        groups: usize,
    },
    /// `gamma (x - mean) / sqrt(variance + epsilon) + beta`, each per channel, which is the first axis: in training with mean and
    /// variance of the batch. Kept for training only; [`crate::import::folded`] makes layers of it that inference has gates for.
    BatchNorm {
        /// Index of the factors `[c]`.
        gamma: usize,
        /// Index of the addends `[c]`, a bias.
        beta: usize,
        /// Index of the means over data `[c]`.
        mean: usize,
        /// Index of the variances over data `[c]`, unbiased.
        variance: usize,
        /// Added to a variance; positive.
        epsilon: f64,
    },
    /// Sum of two wires of one shape.
    Add,
    /// Difference of two wires of one shape.
    Sub,
    /// Product of two wires of one shape, element by element.
    Mul,
    /// `x + w`: every element of an image has its own addend, of the operand's shape.
    Offset {
        /// Index of the addends, a weight.
        weight: usize,
    },
    /// `scale * x + shift`, numbers that are public (those of a private layer are weights).
    Affine {
        /// Factor, not zero.
        scale: f64,
        /// Addend.
        shift: f64,
    },
    /// Wires one behind the other along the first axis; the other extents are alike.
    Concat,
    /// Zeros around each plane of `[c, h, w]`: top, left, bottom, right.
    Pad([usize; 4]),
    /// Axes in another order: axis `i` of the result is axis `perm[i]` of the operand.
    Transpose(Vec<usize>),
    /// Along each axis, the elements at these places, in this order; zeros where there is none. An axis without a list stays
    /// as it is. Slices, shuffles, flips, repetitions and every kind of padding are such.
    Take(Vec<Option<Vec<Option<usize>>>>),
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0) + slope * min(x, 0)`, `0 <= slope <= 1`.
    LeakyRelu {
        /// Slope below zero.
        slope: f64,
    },
    /// `min(max(x, low), high)`; ReLU6 is 0 to 6. A limit that is left out does not apply.
    Clip {
        /// Smallest result.
        low: Option<f64>,
        /// Largest result, above the smallest.
        high: Option<f64>,
    },
    /// Largest element under each window; padding never wins (it counts as minus infinity).
    MaxPool(Window),
    /// Sum under each window; padding adds nothing.
    SumPool(Window),
    /// Mean under each window.
    AvgPool {
        /// Geometry.
        window: Window,
        /// Whether padded taps count in the divisor (as zeros) or are left out of it.
        count_include_pad: bool,
    },
    /// What training with dropout does to its operand, which is nothing to inference: some elements become 0, others `1 / (1 - ratio)`
    /// times as large.
    Dropout {
        /// Share that becomes 0, from 0 to below 1.
        ratio: f64,
    },
    /// The same elements under another shape.
    Reshape(Vec<usize>),
    /// Index of the largest element of `[k]`, ties to the lower index; result `[1]`. Only as the last node.
    Argmax,
}

impl Op {
    /// Name of the operation, as in the JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Linear { .. } => "linear",
            Op::Conv2d { .. } => "conv2d",
            Op::BatchNorm { .. } => "batch_norm",
            Op::Add => "add",
            Op::Sub => "sub",
            Op::Mul => "mul",
            Op::Offset { .. } => "offset",
            Op::Affine { .. } => "affine",
            Op::Concat => "concat",
            Op::Pad(_) => "pad",
            Op::Transpose(_) => "transpose",
            Op::Take(_) => "take",
            Op::Relu => "relu",
            Op::LeakyRelu { .. } => "leaky_relu",
            Op::Clip { .. } => "clip",
            Op::MaxPool(_) => "max_pool",
            Op::SumPool(_) => "sum_pool",
            Op::AvgPool { .. } => "avg_pool",
            Op::Dropout { .. } => "dropout",
            Op::Reshape(_) => "reshape",
            Op::Argmax => "argmax",
        }
    }
    /// The function of an activation, which is monotone; `None` for other operations.
    pub fn activation(&self) -> Option<impl Fn(f32) -> f32 + Copy + use<>> {
        let (slope, low, high) = match self {
            Op::Relu => (1.0, 0.0, f32::INFINITY),
            Op::LeakyRelu { slope } => (*slope as f32, f32::NEG_INFINITY, f32::INFINITY),
            Op::Clip { low, high } => {
                (1.0, low.map_or(f32::NEG_INFINITY, |v| v as f32), high.map_or(f32::INFINITY, |v| v as f32))
            }
            _ => return None,
        };
        Some(move |v: f32| (if v < 0.0 { v * slope } else { v }).max(low).min(high))
    }
    /// Indexes of the parameters it uses.
    pub fn params(&self) -> impl Iterator<Item = usize> {
        let all = match self {
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
                [Some(*weight), *bias, None, None]
            }
            Op::Offset { weight } => [Some(*weight), None, None, None],
            Op::BatchNorm { gamma, beta, mean, variance, .. } => {
                [gamma, beta, mean, variance].map(|p| Some(*p))
            }
            _ => [None; 4],
        };
        all.into_iter().flatten()
    }
    /// Gives the parameters it uses other indexes.
    pub(crate) fn renumber(&mut self, index: impl Fn(usize) -> usize) {
        match self {
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
                (*weight, *bias) = (index(*weight), bias.map(&index));
            }
            Op::Offset { weight } => *weight = index(*weight),
            Op::BatchNorm { gamma, beta, mean, variance, .. } => {
                [gamma, beta, mean, variance].into_iter().for_each(|p| *p = index(*p));
            }
            _ => {}
        }
    }
}

impl Graph {
    /// Reads and validates a graph; never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`Error::Graph`] with the place of a syntax error, or with all faults of [`Graph::validate`].
    pub fn from_json(json: &[u8]) -> Result<Graph> {
        let fault = |why: String| Error::Graph { graph: "?".into(), faults: vec![why] };
        if json.len() > MAX_JSON {
            return Err(fault(format!("{} bytes of JSON, more than the {MAX_JSON} allowed", json.len())));
        }
        let graph: Graph = serde_json::from_slice(json).map_err(|e| fault(format!("JSON: {e}")))?;
        graph.validate()?;
        Ok(graph)
    }

    /// The graph as indented JSON.
    pub fn to_json(&self) -> String {
        // Numbers, strings, sequences and string-keyed maps only: this cannot fail (NaN becomes null, and is refused on reading).
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// BLAKE3 of the graph's compact JSON under its own domain. Covers structure, names and normalisation; not the weights.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_DOMAIN);
        hasher.update(&serde_json::to_vec(self).unwrap_or_default());
        *hasher.finalize().as_bytes()
    }

    /// For each node, which nodes read it (a node that reads it twice stands there twice).
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for source in &node.inputs {
                if let Source::Node(j) = source
                    && let Some(readers) = out.get_mut(*j)
                {
                    readers.push(i);
                }
            }
        }
        out
    }
}

/// Number of elements of a shape; `None` beyond [`MAX_ELEMENTS`].
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::check::tests::small;
    use super::*;

    #[test]
    fn json_roundtrip_keeps_the_digest_and_refuses_surprises() {
        let mut g = small();
        // A value whose shortest decimal form a fast parser misreads by one ulp.
        g.input.normalise =
            Normalise { scale: 1.0 / 255.0, mean: vec![0.130_660_491_3], std: vec![1.0 / 3.7] };
        let json = g.to_json();
        let back = Graph::from_json(json.as_bytes()).unwrap();
        assert_eq!(back, g);
        assert_eq!(back.digest(), g.digest());
        let extra = json.replacen("\"name\"", "\"colour\": 1, \"name\"", 1);
        assert!(Graph::from_json(extra.as_bytes()).unwrap_err().to_string().contains("colour"));
        for cut in 0..json.len() {
            assert!(Graph::from_json(&json.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn digest_sees_every_part() {
        let g = small();
        let mut changed = vec![g.clone(); 5];
        changed[0].name.push('x');
        changed[1].input.normalise.scale = 0.5;
        changed[2].params[0].name.push('x');
        changed[3].nodes[0].name.push('x');
        changed[4].nodes[1].inputs[0] = Source::Input;
        for c in changed {
            assert_ne!(c.digest(), g.digest());
        }
    }
}
