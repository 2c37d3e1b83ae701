//! Activations that are made of comparisons with public numbers, sums, and products with slopes.

use super::arithmetic::{MINUS, Term};
use super::call::{Call, Lowered, Stop, Value};
use crate::graph::{Op, Source};

pub(super) fn relu(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    call.push(Op::Relu, &[x])
}

pub(super) fn leaky_relu(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha"])?;
    let slope = call.float("alpha", 0.01)? as f64;
    let x = call.wire(0)?;
    Ok(Value::Wire(leaky(&mut call, x, slope)?))
}

/// `slope x + (1 - slope) relu(x)`, where the graph has no operation for the slope.
pub(super) fn leaky(call: &mut Call<'_>, x: Source, slope: f64) -> Result<Source, Stop> {
    let (op, inputs) = match slope {
        0.0 => (Op::Relu, vec![x]),
        1.0 => return Ok(x),
        0.0..=1.0 => (Op::LeakyRelu { slope }, vec![x]),
        _ => {
            let above = call.step(Op::Relu, &[x])?;
            (Op::Add, vec![times(call, x, slope)?, times(call, above, 1.0 - slope)?])
        }
    };
    Ok(call.draft.push(&call.node.name, op, &inputs)?)
}

fn times(call: &mut Call<'_>, x: Source, scale: f64) -> Result<Source, Stop> {
    call.step(Op::Affine { scale, shift: 0.0 }, &[x])
}

/// `x + (1 - slope) (relu(x) - x)`; the slopes are weights.
pub(super) fn prelu(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let (x, shape) = call.shaped(0)?;
    let above = call.step(Op::Relu, &[x])?;
    let below = call.step(Op::Sub, &[above, x])?;
    let bent = call.with_constant(below, 1, Term::TimesOneLess)?;
    if call.draft.shape(bent) != shape {
        return Err(Stop::Because(format!("slopes that do not fit {shape:?} per image")));
    }
    call.push(Op::Add, &[x, bent])
}

/// The limits are attributes before opset 11, operands since; the largest float stands for none.
pub(super) fn clip(mut call: Call<'_>) -> Lowered {
    call.knows(&["min", "max"])?;
    let (below, above) = (call.float("min", f32::MIN)?, call.float("max", f32::MAX)?);
    let operand = |i: usize, default: f32| -> Result<f32, Stop> {
        match call.optional(i)? {
            None => Ok(default),
            Some(t) => match t.floats()? {
                [v] => Ok(*v),
                all => Err(Stop::Because(format!("a limit of {} values, wanted one", all.len()))),
            },
        }
    };
    let limit = |v: f32| (v > f32::MIN && v < f32::MAX).then_some(v as f64);
    let (low, high) = (limit(operand(1, below)?), limit(operand(2, above)?));
    let x = call.wire(0)?;
    match (low, high) {
        (None, None) => Ok(Value::Wire(x)),
        (Some(0.0), None) => call.push(Op::Relu, &[x]),
        _ => call.push(Op::Clip { low, high }, &[x]),
    }
}

/// `clip(alpha x + beta, 0, 1)`.
pub(super) fn hard_sigmoid(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha", "beta"])?;
    let (alpha, beta) = (call.float("alpha", 0.2)? as f64, call.float("beta", 0.5)? as f64);
    let x = call.wire(0)?;
    Ok(Value::Wire(gate(&mut call, x, alpha, beta)?))
}

/// `x clip(x / 6 + 1 / 2, 0, 1)`.
pub(super) fn hard_swish(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    let gate = gate(&mut call, x, 1.0 / 6.0, 0.5)?;
    call.push(Op::Mul, &[x, gate])
}

fn gate(call: &mut Call<'_>, x: Source, scale: f64, shift: f64) -> Result<Source, Stop> {
    let line = call.step(Op::Affine { scale, shift }, &[x])?;
    Ok(call.draft.push(&call.node.name, Op::Clip { low: Some(0.0), high: Some(1.0) }, &[line])?)
}

/// `x` above alpha, else 0: with another alpha than 0 it jumps.
pub(super) fn thresholded_relu(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha"])?;
    let alpha = call.float("alpha", 1.0)?;
    let x = call.wire(0)?;
    match alpha {
        0.0 => call.push(Op::Relu, &[x]),
        _ => Err(Stop::Because(format!(
            "alpha={alpha}: it jumps there, and fixed-point values fall on either side of a jump"
        ))),
    }
}

/// `2 relu(x) - x`.
pub(super) fn abs(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    let above = call.step(Op::Relu, &[x])?;
    let twice = times(&mut call, above, 2.0)?;
    call.push(Op::Sub, &[twice, x])
}

pub(super) fn neg(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    call.push(MINUS, &[x])
}

/// Soft shrinking, `relu(x - lambda) - relu(-x - lambda)`; with another bias it jumps.
pub(super) fn shrink(mut call: Call<'_>) -> Lowered {
    call.knows(&["lambd", "bias"])?;
    let (lambda, bias) = (call.float("lambd", 0.5)? as f64, call.float("bias", 0.0)? as f64);
    if bias != lambda || lambda < 0.0 {
        return Err(Stop::Because(format!(
            "lambd={lambda} and bias={bias}: it jumps; only soft shrinking (bias = lambd) is possible"
        )));
    }
    let x = call.wire(0)?;
    let high = call.step(Op::Affine { scale: 1.0, shift: -lambda }, &[x])?;
    let low = call.step(Op::Affine { scale: -1.0, shift: -lambda }, &[x])?;
    let parts = [call.step(Op::Relu, &[high])?, call.step(Op::Relu, &[low])?];
    call.push(Op::Sub, &parts)
}
