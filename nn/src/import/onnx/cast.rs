//! What changes nothing: Identity, Dropout after training, and casts of wires between floats. An import for training keeps Dropout.

use super::call::{Call, Lowered, Stop, Value};
use super::types::{self, Type};
use crate::graph::Op;

/// Share that a Dropout takes away if the file does not say.
const RATIO: f32 = 0.5;

/// Of anything.
pub(super) fn identity(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    same(&call)
}

pub(super) fn dropout(mut call: Call<'_>) -> Lowered {
    call.knows(&["ratio", "seed", "is_test"])?;
    let ratio = match call.optional(1)? {
        Some(ratio) if ratio.len() == 1 => ratio.real(0),
        Some(ratio) => return Err(format!("{} ratios, wanted one", ratio.len()).into()),
        None => f64::from(call.float("ratio", RATIO)?),
    };
    let training =
        call.optional(2)?.map_or(Ok(false), |t| Ok::<_, Stop>(t.integers()?.iter().any(|&v| v != 0)))?;
    match (call.draft.keep_dropout, call.operand(0)) {
        (true, Some(&Value::Wire(x))) if ratio != 0.0 => call.push(Op::Dropout { ratio }, &[x]),
        (false, _) if training => {
            Err("in training mode; export in eval mode, or keep it and train with it".into())
        }
        _ => same(&call),
    }
}

fn same(call: &Call<'_>) -> Lowered {
    match call.operand(0) {
        None => Err("operand 0 is missing".into()),
        Some(Value::Lost) => Err(Stop::Upstream),
        Some(value) => Ok(value.clone()),
    }
}

pub(super) fn cast(call: Call<'_>) -> Lowered {
    call.knows(&["to", "saturate", "round_mode"])?;
    let to = call.int("to", 0)?;
    let x = call.wire(0)?;
    match Type::numbered(to) {
        Some(kind) if kind.is_float() => Ok(Value::Wire(x)),
        _ => Err(Stop::Because(format!(
            "of a value that depends on the input to {}; there is no gate that rounds: export the network in floats",
            types::name(to)
        ))),
    }
}

/// To the type of operand 1; wires are floats.
pub(super) fn cast_like(call: Call<'_>) -> Lowered {
    call.knows(&["saturate", "round_mode"])?;
    let x = call.wire(0)?;
    let floats = match call.operand(1) {
        Some(Value::Wire(_)) => true,
        _ => call.exact(1)?.kind().is_float(),
    };
    let refuse = "of a value that depends on the input to integers; there is no gate that rounds: export the network in floats";
    if floats { Ok(Value::Wire(x)) } else { Err(refuse.into()) }
}
