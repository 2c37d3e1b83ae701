//! Max and Min of any number of wires and constants: `max(a, b) = b + relu(a - b)`, `min(a, b) = a - relu(a - b)`.

use super::arithmetic::{MINUS, Term};
use super::call::{Call, Lowered, Stop, Value};
use crate::graph::{Op, Source};

pub(super) fn extreme(mut call: Call<'_>, max: bool) -> Lowered {
    call.knows(&[])?;
    let (wires, constants) = call.sorted()?;
    let mut y = wires[0];
    for &x in &wires[1..] {
        let apart = call.both(Op::Sub, [y, x])?;
        let apart = call.step(Op::Relu, &[apart])?;
        y = if max { call.both(Op::Add, [x, apart])? } else { call.both(Op::Sub, [y, apart])? };
    }
    for i in constants {
        y = with_constant(&mut call, y, i, max)?;
    }
    Ok(Value::Wire(y))
}

fn with_constant(call: &mut Call<'_>, x: Source, i: usize, max: bool) -> Result<Source, Stop> {
    let t = call.constant(i)?;
    let rank = call.draft.shape(x).len() + 1;
    if let &[limit] = t.floats()?
        && t.dims.len() <= rank
    {
        return limited(call, x, f64::from(limit), max);
    }
    let mut y = call.with_constant(x, i, Term::Minus)?;
    if !max {
        y = call.step(MINUS, &[y])?;
    }
    y = call.step(Op::Relu, &[y])?;
    if !max {
        y = call.step(MINUS, &[y])?;
    }
    call.with_constant(y, i, Term::Plus)
}

/// One limit for all places.
pub(super) fn limited(call: &mut Call<'_>, x: Source, limit: f64, max: bool) -> Result<Source, Stop> {
    let op = match (max, limit) {
        (true, 0.0) => Op::Relu,
        (true, low) => Op::Clip { low: Some(low), high: None },
        (false, high) => Op::Clip { low: None, high: Some(high) },
    };
    Ok(call.draft.push(&call.node.name, op, &[x])?)
}
