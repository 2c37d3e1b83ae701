//! BatchNormalization: a factor and an addend per channel.

use super::call::{Call, Lowered, Stop, Value};

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
