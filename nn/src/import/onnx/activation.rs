//! Relu, LeakyRelu, and Clip, which ReLU6 is exported as.

use super::call::{Call, Lowered, Stop};
use crate::graph::Op;

pub(super) fn relu(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    call.push(Op::Relu, &[x])
}

pub(super) fn leaky_relu(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha"])?;
    let slope = call.float("alpha", 0.01)? as f64;
    if !(0.0..=1.0).contains(&slope) {
        return Err(Stop::Because(format!("alpha={slope}: wanted 0 to 1")));
    }
    let x = call.wire(0)?;
    call.push(Op::LeakyRelu { slope }, &[x])
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
        (None, None) => Ok(super::call::Value::Wire(x)),
        (Some(0.0), None) => call.push(Op::Relu, &[x]),
        _ => call.push(Op::Clip { low, high }, &[x]),
    }
}
