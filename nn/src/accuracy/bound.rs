//! How far fixed point can be from float32 by rounding alone: what each operation rounds itself, and what its operands bring,
//! pushed through the magnitudes of its weights.
//!
//! Let a wire be at most `x` in float32 and off by at most `e`. Weights are encoded to half an ulp, a truncation is off by less than
//! one ulp in either direction, and float32 itself by its relative error for each operation; an operand that still is a product may be
//! truncated before it is used. So a product with rows of `k` weights, of magnitude `m` together, is off by at most
//! `m e + k (x + e) / 2 + 2` ulp, a product of two wires by `e y + d x + e d + 2` ulp, and so on. One bound holds for all elements of
//! a wire. Where parameters have fraction bits of their own, half an ulp of theirs stands for the `/ 2`. It is no estimate, and errors
//! of different signs cancel in practice: most are far below it.
//!
//! It holds as long as no value leaves the contract of fixed point, whatever the coins and in both roundings.

use crate::graph::{Graph, Node, Op, Source};
use crate::{Plan, Weights};

/// Relative error of one float32 operation.
const FLOAT: f64 = 1.0 / (1 << 24) as f64;

/// Relative error of a sum of `n` products in float32, in any order (Higham, Accuracy and Stability, lemma 3.1).
fn float_sum(n: usize) -> f64 {
    let n = n as f64 * FLOAT;
    if n < 1.0 { n / (1.0 - n) } else { f64::INFINITY }
}

/// For every node, the largest difference that its value in fixed point may have from that in float32, in real terms. `peaks` holds
/// the largest magnitude in float32 of the input, then of every node. An argmax has that of its operand.
pub fn bounds(plan: &Plan, weights: &Weights, peaks: &[f64]) -> Vec<f64> {
    let scale = plan.options.scale();
    let [ulp, weight_ulp, bias_ulp] =
        [scale.fixed.f, scale.weights(), scale.biases()].map(|f| (-f64::from(f)).exp2());
    let mut out = Vec::with_capacity(plan.graph.nodes.len());
    for (i, node) in plan.graph.nodes.iter().enumerate() {
        let reach = peaks[i + 1];
        let planned = plan.ranges.as_ref().map_or(0.0, |r| r.nodes[i].observed * plan.options.margin);
        let layer = Layer { graph: &plan.graph, weights, node, ulp, weight_ulp, bias_ulp, reach, planned };
        let error = layer.error(&layer.operands(&out, peaks));
        out.push(error);
    }
    out
}

/// An operand: how far it is off as it is, how far once it is truncated, and its largest magnitude.
struct Operand {
    kept: f64,
    cut: f64,
    peak: f64,
}

struct Layer<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    node: &'a Node,
    ulp: f64,
    weight_ulp: f64,
    bias_ulp: f64,
    /// Largest magnitude of its result.
    reach: f64,
    /// Largest magnitude that the plan allows for; 0 if it says nothing.
    planned: f64,
}

impl Layer<'_> {
    fn operands(&self, before: &[f64], peaks: &[f64]) -> Vec<Operand> {
        let operand = |s: &Source| match s {
            Source::Input => Operand { kept: self.ulp / 2.0, cut: self.ulp / 2.0, peak: peaks[0] },
            Source::Node(j) => Operand { kept: before[*j], cut: before[*j] + self.ulp, peak: peaks[j + 1] },
        };
        self.node.inputs.iter().map(operand).collect()
    }

    fn error(&self, operands: &[Operand]) -> f64 {
        let (ulp, reach) = (self.ulp, self.reach);
        let &Operand { kept, cut: e, peak: x } = &operands[0];
        match &self.node.op {
            Op::Linear { weight, .. } | Op::Conv2d { weight, .. } => self.product(*weight, (e, x)),
            Op::Add | Op::Sub => e + operands[1].cut + FLOAT * reach,
            Op::Mul => {
                let &Operand { cut: d, peak: y, .. } = &operands[1];
                e * y + d * x + e * d + 2.0 * ulp + FLOAT * reach
            }
            Op::Offset { .. } => e + ulp.max(self.weight_ulp) + FLOAT * reach,
            // The factor is rounded too, in both.
            Op::Affine { scale, .. } => {
                let float = FLOAT * (3.0 * scale.abs() * x + 2.0 * reach);
                scale.abs() * e + ulp / 2.0 * (x + e) + 2.0 * ulp + float
            }
            Op::SumPool(window) => {
                let count = window.kernel[0] * window.kernel[1];
                count as f64 * (e + float_sum(count) * x)
            }
            // The slope is rounded too, in both.
            Op::LeakyRelu { .. } => e + ulp / 2.0 * (x + e) + ulp + 2.0 * FLOAT * x,
            // Two activations, each off by a step, and two limits.
            Op::Clip { low, high } => {
                let limit = low.iter().chain(high).fold(0.0, |m: f64, v| m.max(v.abs()));
                e + 4.0 * ulp + FLOAT * limit
            }
            // Four ulp whatever the window, as plans promise for means that they allow for; three of them grow with the mean.
            Op::AvgPool { window, .. } => {
                let beyond = if self.planned > 0.0 { ((reach + e) / self.planned).max(1.0) } else { 1.0 };
                let count = window.kernel[0] * window.kernel[1];
                e + (1.0 + 3.0 * beyond) * ulp + float_sum(count + 1) * x
            }
            Op::Relu | Op::MaxPool(_) => e,
            // no plan of inference holds one
            Op::BatchNorm { .. } => f64::INFINITY,
            Op::Concat
            | Op::Reshape(_)
            | Op::Pad(_)
            | Op::Transpose(_)
            | Op::Take(_)
            | Op::Dropout { .. }
            | Op::Argmax => operands.iter().fold(kept, |most, operand| most.max(operand.kept)),
        }
    }

    /// A linear layer or a convolution.
    fn product(&self, weight: usize, (e, x): (f64, f64)) -> f64 {
        let w = &self.weights.0[weight];
        let taps = w.len() / self.graph.params[weight].shape[0];
        let norm = |row: &[f32]| row.iter().map(|v| f64::from(v.abs())).sum::<f64>();
        let most = w.chunks(taps).map(norm).fold(0.0, f64::max);
        let float = float_sum(taps + 2) * (most * x + self.reach);
        let encoded = self.weight_ulp / 2.0 * taps as f64 * (x + e) + self.bias_ulp / 2.0;
        most * e + encoded + 2.0 * self.ulp + float
    }
}
