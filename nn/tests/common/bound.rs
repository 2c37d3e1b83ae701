//! How far a fixed-point run may be from the float evaluator: rounding errors carried through the graph.

use twoply_nn::graph::{Op, Source};
use twoply_nn::{Plan, Weights};

/// Relative error of one float32 operation.
const FLOAT: f64 = 1.0 / (1 << 24) as f64;

/// For every node, the largest difference between its value in fixed point (inputs and weights rounded to nearest, every
/// truncation off by less than one step in either direction) and in float32, given the plan's ranges.
pub fn errors(plan: &Plan, weights: &Weights) -> Vec<f64> {
    let ulp = (-(plan.options.fixed.f as f64)).exp2();
    let ranges = plan.ranges.as_ref().unwrap();
    let mut out: Vec<f64> = Vec::new();
    for (i, node) in plan.graph.nodes.iter().enumerate() {
        // An operand that is a product still may be truncated before use.
        let operand = |k: usize| match node.inputs[k] {
            Source::Input => (ulp / 2.0 + ulp, ranges.input.observed),
            Source::Node(j) => (out[j] + ulp, ranges.nodes[j].observed),
        };
        let (e, x) = operand(0);
        let range = ranges.nodes[i].observed;
        let error = match &node.op {
            Op::Linear { weight, .. } | Op::Conv2d { weight, .. } => {
                let rows = plan.graph.params[*weight].shape[0];
                let w = &weights.0[*weight];
                let taps = w.len() / rows;
                let norm = |row: &[f32]| row.iter().map(|v| v.abs() as f64).sum::<f64>();
                let most = w.chunks(taps).map(norm).fold(0.0, f64::max);
                let float = FLOAT * (taps + 2) as f64 * (most * x + range);
                most * e + taps as f64 * ulp / 2.0 * (x + e) + 2.0 * ulp + float
            }
            Op::Add | Op::Sub => e + operand(1).0 + FLOAT * range,
            Op::Mul => {
                let (d, y) = operand(1);
                e * (y + d) + d * (x + e) + 2.0 * ulp + FLOAT * range
            }
            Op::Offset { .. } => e + ulp + FLOAT * range,
            // the factor is rounded too
            Op::Affine { scale, .. } => scale.abs() * e + ulp / 2.0 * (x + e) + 2.0 * ulp + FLOAT * range,
            Op::SumPool(window) => {
                let count = (window.kernel[0] * window.kernel[1]) as f64;
                count * (e + FLOAT * count * x)
            }
            Op::Concat => (0..node.inputs.len()).map(|k| operand(k).0).fold(0.0, f64::max),
            // the slope is rounded too
            Op::LeakyRelu { .. } => e + ulp / 2.0 * (x + e) + ulp + FLOAT * x,
            // two activations, each off by a step, and two limits
            Op::Clip { .. } => e + 4.0 * ulp + FLOAT * x,
            // whatever the window: that is what plans promise
            Op::AvgPool { window, .. } => {
                let count = window.kernel[0] * window.kernel[1];
                e + 4.0 * ulp + FLOAT * (count + 1) as f64 * x
            }
            Op::Relu | Op::MaxPool(_) | Op::Reshape(_) | Op::Pad(_) | Op::Transpose(_) | Op::Take(_) => e,
            Op::Argmax => out.last().copied().unwrap_or(ulp),
        };
        out.push(error);
    }
    out
}
