//! Operators on constants: weights stored in another form, and the shape arithmetic some exporters leave in front of a Reshape.

use super::call::{Call, Lowered, Stop, Value, axis};
use super::proto::{data_type, kind};
use super::tensor::{Data, Tensor};
use super::view::per_image;
use std::rc::Rc;

/// Stands for the batch's extent in a computed shape. No reshape has a use for this number otherwise.
pub(super) const BATCH: i64 = i64::MIN + 1;
/// Longest list in shape arithmetic.
const MAX_LIST: usize = 64;

/// Identity, and Dropout after training.
pub(super) fn identity(call: Call<'_>) -> Lowered {
    if call.node.op_type == "Dropout" {
        call.knows(&["ratio", "seed", "is_test"])?;
        if let Some(training) = call.optional(2)?
            && training.int_list()?.iter().any(|&v| v != 0)
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

fn constant(call: &mut Call<'_>, t: Tensor) -> Lowered {
    call.draft.spend(crate::graph::elements(&t.dims).unwrap_or(usize::MAX))?;
    Ok(Value::Const(Rc::new(t)))
}

pub(super) fn reshape(mut call: Call<'_>) -> Lowered {
    call.knows(&["allowzero"])?;
    let allow_zero = call.int("allowzero", 0)? != 0;
    let (t, target) = (call.constant(0)?, call.constant(1)?);
    // The whole constant is one "image": nothing in front of it to keep apart.
    let mut with_batch = vec![1];
    with_batch.extend(target.int_list()?);
    let dims = per_image(&with_batch, &t.dims, allow_zero, false)?;
    constant(&mut call, t.reshaped(dims)?)
}

/// Squeeze and Unsqueeze; the axes are an attribute before opset 13 and an operand since.
pub(super) fn squeeze(mut call: Call<'_>, unsqueeze: bool) -> Lowered {
    call.knows(&["axes"])?;
    let given = call.ints("axes")?;
    let axes: Option<Vec<i64>> = match (given, call.optional(1)?) {
        (Some(a), _) => Some(a.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let t = call.constant(0)?;
    let dims = squeezed(&t.dims, axes, unsqueeze)?;
    constant(&mut call, t.reshaped(dims)?)
}

pub(super) fn squeezed(dims: &[usize], axes: Option<Vec<i64>>, unsqueeze: bool) -> Result<Vec<usize>, Stop> {
    let axes = match (axes, unsqueeze) {
        (Some(axes), _) => axes,
        (None, true) => return Err("axes are missing".into()),
        (None, false) => (0..dims.len()).filter(|&a| dims[a] == 1).map(|a| a as i64).collect(),
    };
    if axes.len() > crate::graph::MAX_RANK {
        return Err("too many axes".into());
    }
    let rank = if unsqueeze { dims.len() + axes.len() } else { dims.len() };
    let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    if !unsqueeze {
        if let Some(a) = axes.iter().find(|&&a| dims[a] != 1) {
            return Err(Stop::Because(format!("axis {a} has another extent than 1")));
        }
        return Ok((0..rank).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect());
    }
    let mut old = dims.iter();
    let new = (0..rank).map(|a| if axes.contains(&a) { Some(1) } else { old.next().copied() });
    new.collect::<Option<Vec<_>>>()
        .filter(|_| old.next().is_none())
        .ok_or_else(|| "axes stand there twice".into())
}

/// Weights stored the other way round.
pub(super) fn transpose(mut call: Call<'_>) -> Lowered {
    call.knows(&["perm"])?;
    let t = call.constant(0)?;
    let order: Vec<usize> = match call.ints("perm")? {
        Some(p) => p.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect(),
        None => (0..t.dims.len()).rev().collect(),
    };
    let moved = t.transposed(&order)?;
    constant(&mut call, moved)
}

pub(super) fn constant_node(mut call: Call<'_>) -> Lowered {
    call.knows(&["value", "value_float", "value_floats", "value_int", "value_ints"])?;
    let t = if let Some(t) = call.attribute("value", kind::TENSOR)?.and_then(|a| a.t.as_ref()) {
        Tensor::decode(t)?
    } else if let Some(v) = call.ints("value_ints")? {
        Tensor::ints(v.to_vec())
    } else if let Some(a) = call.attribute("value_int", kind::INT)? {
        Tensor { dims: vec![], data: Data::Int(vec![a.i]) }
    } else if let Some(a) = call.attribute("value_floats", kind::FLOATS)? {
        Tensor { dims: vec![a.floats.len()], data: Data::Float(a.floats.clone()) }
    } else if call.attribute("value_float", kind::FLOAT)?.is_some() {
        Tensor { dims: vec![], data: Data::Float(vec![call.float("value_float", 0.0)?]) }
    } else {
        return Err("attribute `value` is missing".into());
    };
    match &t.data {
        Data::Float(v) if !v.iter().all(|x| x.is_finite()) => Err("holds NaN or infinity".into()),
        _ => constant(&mut call, t),
    }
}

/// The shape of a value as a constant.
pub(super) fn shape(mut call: Call<'_>) -> Lowered {
    call.knows(&["start", "end"])?;
    let (start, end) = (call.int("start", 0)?, call.int("end", i64::MAX)?);
    let dims: Vec<i64> = match call.operand(0) {
        Some(Value::Const(t)) => t.dims.iter().map(|&d| d as i64).collect(),
        _ => {
            let (_, shape) = call.shaped(0)?;
            [BATCH].into_iter().chain(shape.iter().map(|&d| d as i64)).collect()
        }
    };
    let clamp = |v: i64| {
        (if v < 0 { v.saturating_add(dims.len() as i64) } else { v }).clamp(0, dims.len() as i64) as usize
    };
    let part = dims.get(clamp(start)..clamp(end)).unwrap_or(&[]).to_vec();
    constant(&mut call, Tensor::ints(part))
}

/// From a constant list.
pub(super) fn gather(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis"])?;
    let at = call.int("axis", 0)?;
    let (list, indices) = (call.constant(0)?, call.constant(1)?);
    let (list, at_ok) = (list.int_list()?, at == 0 || at == -1);
    let wanted = indices.int_list()?;
    if !at_ok || wanted.len() > MAX_LIST {
        return Err("only from a short list, along its one axis".into());
    }
    let picked =
        wanted.iter().map(|&i| axis(i, list.len()).map(|i| list[i])).collect::<Result<Vec<_>, _>>()?;
    constant(&mut call, Tensor { dims: indices.dims.clone(), data: Data::Int(picked) })
}

/// Short lists of shape arithmetic.
pub(super) fn concat(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis"])?;
    let at = call.int("axis", 0)?;
    let mut all = Vec::new();
    for i in 0..call.operands.len() {
        all.extend_from_slice(call.constant(i)?.int_list()?);
        if all.len() > MAX_LIST || (at != 0 && at != -1) {
            return Err("only of short lists, along their one axis".into());
        }
    }
    constant(&mut call, Tensor::ints(all))
}

/// Of constants, between types that are one here.
pub(super) fn cast(call: Call<'_>) -> Lowered {
    call.knows(&["to", "saturate"])?;
    let to = i32::try_from(call.int("to", 0)?).unwrap_or(-1);
    let t = call.constant(0)?;
    match (&t.data, to) {
        (Data::Float(_), data_type::FLOAT | data_type::DOUBLE) | (Data::Int(_), data_type::INT64) => {
            Ok(Value::Const(t))
        }
        _ => Err(Stop::Because(format!("of a constant to {}", data_type::name(to)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squeezes() {
        let ok =
            |dims: &[usize], axes: Option<&[i64]>, un| squeezed(dims, axes.map(<[i64]>::to_vec), un).ok();
        assert_eq!(ok(&[9, 4, 1, 1], Some(&[2, -1]), false), Some(vec![9, 4]));
        assert_eq!(ok(&[9, 4, 1, 1], None, false), Some(vec![9, 4]));
        assert_eq!(ok(&[9, 4, 1, 1], Some(&[1]), false), None);
        assert_eq!(ok(&[9, 4], Some(&[1, -1]), true), Some(vec![9, 1, 4, 1]));
        assert_eq!(ok(&[9], Some(&[0, 0]), true), None);
        assert_eq!(ok(&[9], Some(&[5]), true), None);
        assert_eq!(ok(&[9], None, true), None);
        assert_eq!(ok(&[1], Some(&[i64::MIN]), false), None);
    }
}
