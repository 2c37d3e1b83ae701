//! BatchNormalization: a factor and an addend per channel, or a layer of its own that trains.

use super::call::{Call, Lowered, Value};
use crate::graph::{Norm, Op, Role};

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, all per channel and known after training.
pub(super) fn batch_normalization(mut call: Call<'_>) -> Lowered {
    call.knows(&["epsilon", "momentum", "training_mode", "spatial"])?;
    let epsilon = call.float("epsilon", 1e-5)? as f64;
    if call.int("training_mode", 0)? != 0 && !call.draft.keeps_norms {
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
            return Err(format!("operand {i} of shape {:?} on {shape:?} per image", t.dims).into());
        }
        stats.push(t.floats()?.to_vec());
    }
    let [gamma, beta, mean, variance] = &stats[..] else { return Err("operands are missing".into()) };
    let (scale, shift) = Norm { gamma, beta, mean, variance, epsilon }.affine()?;
    if !call.draft.keeps_norms {
        return Ok(Value::Wire(call.draft.affine(&call.node.name, x, &scale, &shift)?));
    }
    let mut params = [0; 4];
    let roles = [Role::Factor, Role::Bias, Role::Mean, Role::Variance];
    for (i, (values, role)) in stats.into_iter().zip(roles).enumerate() {
        params[i] = call.draft.param(&call.node.input[i + 1], &shape[..1], role, values)?;
    }
    let [gamma, beta, mean, variance] = params;
    call.push(Op::BatchNorm { gamma, beta, mean, variance, epsilon }, &[x])
}
