//! Constants out of nothing, of shapes, and in another type.

use super::super::call::{Call, Stop, Value};
use super::super::decode;
use super::super::proto::kind;
use super::super::tensor::{Data, Tensor};
use super::super::types::{self, Type};
use super::{BATCH, Folded, extents, spend};

pub(super) fn constant(call: &mut Call<'_>) -> Folded {
    call.knows(&["value", "value_float", "value_floats", "value_int", "value_ints", "sparse_value"])?;
    let t = if let Some(t) = call.attribute("value", kind::TENSOR)?.and_then(|a| a.t.as_ref()) {
        decode::tensor(t, call.beside)?
    } else if let Some(v) = call.ints("value_ints")? {
        Tensor::ints(v.to_vec())
    } else if let Some(a) = call.attribute("value_int", kind::INT)? {
        Tensor { dims: vec![], data: Data::Int(vec![a.i]) }
    } else if let Some(a) = call.attribute("value_floats", kind::FLOATS)? {
        Tensor { dims: vec![a.floats.len()], data: Data::Float(a.floats.clone()) }
    } else if let Some(a) = call.attribute("value_float", kind::FLOAT)? {
        Tensor { dims: vec![], data: Data::Float(vec![a.f]) }
    } else if let Some(t) = call.attribute("sparse_value", kind::SPARSE)?.and_then(|a| a.sparse.as_ref()) {
        let t = decode::sparse(t, call.beside, call.draft.room())?;
        spend(call, &t.dims)?;
        t
    } else {
        return Err("attribute `value` is missing".into());
    };
    call.draft.make_room(super::AGAIN * t.len());
    Ok(vec![t])
}

pub(super) fn constant_of_shape(call: &mut Call<'_>) -> Folded {
    call.knows(&["value"])?;
    let value = match call.attribute("value", kind::TENSOR)?.and_then(|a| a.t.as_ref()) {
        Some(t) => decode::tensor(t, call.beside)?,
        None => Tensor { dims: vec![1], data: Data::Float(vec![0.0]) },
    };
    let dims = extents(call.exact(0)?.int_list()?)?;
    if value.len() != 1 {
        return Err(Stop::Because(format!("a value of shape {:?}, wanted one number", value.dims)));
    }
    spend(call, &dims)?;
    let count = dims.iter().product();
    Ok(vec![value.picked(dims, std::iter::repeat_n(0, count))])
}

pub(super) fn range(call: &mut Call<'_>) -> Folded {
    call.knows(&["stash_type"])?;
    let [start, limit, delta] = [call.exact(0)?, call.exact(1)?, call.exact(2)?];
    let kind = start.kind();
    if [&start, &limit, &delta].iter().any(|t| t.len() != 1 || t.kind() != kind) {
        return Err("from, to and step must be single numbers of one type".into());
    }
    if [&start, &limit, &delta].iter().any(|t| t.integers().is_ok_and(|v| v[0] == BATCH)) {
        return Err(
            "counts the images, and how many there are is open; only their own axis may depend on it".into(),
        );
    }
    let (from, to, step) = (start.real(0), limit.real(0), delta.real(0));
    let count = ((to - from) / step).ceil().max(0.0);
    if !count.is_finite() {
        return Err(Stop::Because(format!("from {from} to {to} in steps of {step} has no end")));
    }
    // As far as it goes beyond the room there is, that says so.
    let count = count as usize;
    spend(call, &[count])?;
    Ok(vec![if kind.is_float() {
        Tensor::reals(kind, vec![count], (0..count).map(|i| from + i as f64 * step))
    } else {
        let (from, step) = (start.integers()?[0], delta.integers()?[0]);
        Tensor::wholes(kind, vec![count], (0..count).map(|i| from.wrapping_add(step.wrapping_mul(i as i64))))
    }])
}

/// Extents of a constant, or of a wire with the images in front.
fn dims(call: &Call<'_>) -> Result<Vec<i64>, Stop> {
    Ok(match call.operand(0) {
        Some(Value::Const(t)) => t.dims.iter().map(|&d| d as i64).collect(),
        _ => [BATCH].into_iter().chain(call.shaped(0)?.1.iter().map(|&d| d as i64)).collect(),
    })
}

pub(super) fn shape(call: &mut Call<'_>) -> Folded {
    call.knows(&["start", "end"])?;
    let (start, end) = (call.int("start", 0)?, call.int("end", i64::MAX)?);
    let dims = dims(call)?;
    let rank = dims.len() as i64;
    let clamp = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    Ok(vec![Tensor::ints(dims.get(clamp(start)..clamp(end)).unwrap_or(&[]).to_vec())])
}

pub(super) fn size(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let dims = dims(call)?;
    if dims.contains(&BATCH) {
        return Err("counts elements over all images, and how many there are is open".into());
    }
    Ok(vec![Tensor { dims: vec![], data: Data::Int(vec![dims.iter().product()]) }])
}

pub(super) fn cast(call: &mut Call<'_>) -> Folded {
    call.knows(&["to", "saturate", "round_mode"])?;
    let to = call.int("to", 0)?;
    let kind = Type::numbered(to)
        .ok_or_else(|| format!("to {}; wanted floats, integers or BOOL", types::name(to)))?;
    converted(call, kind)
}

pub(super) fn cast_like(call: &mut Call<'_>) -> Folded {
    call.knows(&["saturate", "round_mode"])?;
    let kind = call.exact(1)?.kind();
    converted(call, kind)
}

fn converted(call: &mut Call<'_>, kind: Type) -> Folded {
    let t = call.exact(0)?;
    spend(call, &t.dims)?;
    if t.kind() == kind {
        return Ok(vec![Tensor::clone(&t)]);
    }
    let dims = t.dims.clone();
    Ok(vec![match (t.integers(), kind) {
        (Ok(v), kind) if kind.is_float() => {
            if v.contains(&BATCH) {
                return Err("makes a float of the number of images, which is open".into());
            }
            Tensor::reals(kind, dims, v.iter().map(|&v| v as f64))
        }
        // The number of images stays what it is in any width.
        (Ok(v), Type::Int(32) | Type::Uint(32)) if v.contains(&BATCH) => {
            Tensor { dims, data: Data::Narrow(kind, v.to_vec()) }
        }
        (Ok(v), kind) => Tensor::wholes(kind, dims, v.iter().copied()),
        (Err(_), Type::Bool) => Tensor::wholes(kind, dims, (0..t.len()).map(|i| i64::from(t.real(i) != 0.0))),
        (Err(_), kind) if kind.is_float() => Tensor::reals(kind, dims, (0..t.len()).map(|i| t.real(i))),
        (Err(_), kind) => {
            let whole = |v: f64| (-9.3e18 < v && v < 9.2e18).then_some(v as i64);
            let values = (0..t.len()).map(|i| whole(t.real(i))).collect::<Option<Vec<_>>>();
            let values = values.ok_or("of a float beyond all integers")?;
            Tensor::wholes(kind, dims, values.into_iter())
        }
    }])
}
