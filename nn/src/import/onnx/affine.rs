//! BatchNormalization, and sums and products of a wire with constants: a factor and a term per channel.

use super::call::{Call, Lowered, Stop, Value};
use super::tensor::Tensor;
use crate::graph::Op;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, all per channel and known after training.
pub(super) fn batch_normalization(call: Call<'_>) -> Lowered {
    call.knows(&["epsilon", "momentum", "training_mode", "spatial"])?;
    let epsilon = call.float("epsilon", 1e-5)? as f64;
    if call.int("training_mode", 0)? != 0 {
        return Err("training_mode=1: it would use the statistics of the batch; export in eval mode".into());
    }
    if call.int("spatial", 1)? != 1 {
        return Err("spatial=0: one value per channel is wanted".into());
    }
    let (x, shape) = call.shaped(0)?;
    let mut stats = Vec::new();
    for i in 1..5 {
        let t = call.constant(i)?;
        if t.dims != shape[..1] {
            return Err(Stop::Because(format!("operand {i} of shape {:?} on {shape:?} per image", t.dims)));
        }
        stats.push(t.floats()?.iter().map(|&v| v as f64).collect::<Vec<_>>());
    }
    let [gamma, beta, mean, variance] = &stats[..] else { return Err("operands are missing".into()) };
    if variance.iter().any(|v| v + epsilon <= 0.0) {
        return Err("variance + epsilon is not positive".into());
    }
    let scale: Vec<f64> = gamma.iter().zip(variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift: Vec<f64> = (0..scale.len()).map(|c| beta[c] - mean[c] * scale[c]).collect();
    Ok(Value::Wire(call.draft.affine(&call.node.name, x, &scale, &shift)?))
}

/// Add, Sub, Mul, Div.
pub(super) fn arithmetic(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let op = call.node.op_type.as_str();
    let (wire, constant) = match (call.operand(0), call.operand(1)) {
        (Some(Value::Wire(a)), Some(Value::Wire(b))) if op == "Add" || op == "Sub" => {
            let inputs = [*a, *b];
            return call.push(if op == "Add" { Op::Add } else { Op::Sub }, &inputs);
        }
        (Some(Value::Wire(_)), Some(Value::Wire(_))) => {
            return Err("of two wires; only their sum and their difference are possible".into());
        }
        (Some(Value::Const(_)), Some(Value::Const(_))) => {
            return Err("of two constants; fold them before export".into());
        }
        (Some(Value::Const(_)), _) => (1, 0),
        _ => (0, 1),
    };
    let (x, shape) = call.shaped(wire)?;
    let c = per_channel(&*call.constant(constant)?, &shape)?;
    let negated: Vec<f64> = c.iter().map(|v| -v).collect();
    let (scale, shift) = match (op, wire) {
        ("Add", _) => (vec![1.0], c),
        ("Sub", 0) => (vec![1.0], negated),
        ("Sub", _) => (vec![-1.0], c),
        ("Mul", _) => (c, vec![0.0]),
        ("Div", 0) => (c.iter().map(|v| 1.0 / v).collect(), vec![0.0]),
        _ => return Err("a wire as the divisor".into()),
    };
    Ok(Value::Wire(call.draft.affine(&call.node.name, x, &scale, &shift)?))
}

/// The values of a constant that broadcasts along everything but the channels; one value if along them too.
fn per_channel(t: &Tensor, shape: &[usize]) -> Result<Vec<f64>, Stop> {
    let rank = shape.len() + 1;
    let refuse = || {
        Stop::Because(format!("a constant of shape {:?} on {shape:?}; wanted one value per channel", t.dims))
    };
    let missing = rank.checked_sub(t.dims.len()).ok_or_else(refuse)?;
    // Broadcasting aligns shapes at their ends; axis 1 holds the channels.
    let extent = |a: usize| if a < missing { 1 } else { t.dims[a - missing] };
    if (0..rank).any(|a| extent(a) != 1 && (a != 1 || extent(a) != shape[0])) {
        return Err(refuse());
    }
    Ok(t.floats()?.iter().map(|&v| v as f64).collect())
}
