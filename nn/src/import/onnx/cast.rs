//! What changes nothing: Identity, Dropout after training, and casts of wires between floats.

use super::call::{Call, Lowered, Stop, Value};
use super::types::{self, Type};

/// Of anything.
pub(super) fn identity(call: Call<'_>) -> Lowered {
    if call.node.op_type == "Dropout" {
        call.knows(&["ratio", "seed", "is_test"])?;
        if let Some(training) = call.optional(2)?
            && training.integers()?.iter().any(|&v| v != 0)
        {
            return Err("in training mode; export in eval mode".into());
        }
    } else {
        call.knows(&[])?;
    }
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
