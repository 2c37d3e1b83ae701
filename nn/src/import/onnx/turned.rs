//! Values whose images lie along another axis than the first. PyTorch takes places of an axis (`x[:, [2, 0, 3]]`) by moving
//! it in front of the batch, taking them there, and moving it back.
//!
//! The wire stays one image's; what differs is which of ONNX's axes is the batch.

use super::call::{Call, Lowered, Stop, Value, axis};
use super::proto::{Attribute, NodeProto, kind};
use super::rows;
use super::view::squeezed;
use crate::graph::{Op, Source};

/// A wire whose images lie along ONNX's axis `batch`.
fn value(x: Source, batch: usize) -> Value {
    if batch == 0 { Value::Wire(x) } else { Value::Turned(x, batch) }
}

/// Operand 0, and where its images lie.
fn turned(call: &Call<'_>) -> Result<(Source, usize), Stop> {
    match call.operand(0) {
        Some(&Value::Turned(x, batch)) => Ok((x, batch)),
        _ => call.wire(0).map(|x| (x, 0)),
    }
}

pub(super) fn transpose(call: Call<'_>) -> Lowered {
    call.knows(&["perm"])?;
    let perm = call.ints("perm")?;
    let (x, batch) = turned(&call)?;
    let rank = call.draft.shape(x).len() + 1;
    let order: Vec<usize> = match perm {
        Some(p) => p.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect(),
        None => (0..rank).rev().collect(),
    };
    let place = order.iter().position(|&a| a == batch);
    let place =
        place.ok_or_else(|| Stop::Because(format!("{order:?} is no order of {rank} axes; export again")))?;
    let perm = order.iter().filter(|&&a| a != batch).map(|&a| a - usize::from(a > batch)).collect();
    Ok(value(call.draft.push(&call.node.name, Op::Transpose(perm), &[x])?, place))
}

/// A node that reads turned values. `on_wires` is the usual way to lower a node.
pub(super) fn lower(mut call: Call<'_>, on_wires: fn(Call<'_>) -> Lowered) -> Lowered {
    let place = |v: &Value| if let Value::Turned(x, batch) = v { Some((*x, *batch)) } else { None };
    let Some((x, batch)) = call.operands.iter().flatten().find_map(place) else {
        return Err(Stop::Upstream);
    };
    let shape = call.draft.shape(x).to_vec();
    match call.node.op_type.as_str() {
        "Transpose" => transpose(call),
        "Squeeze" | "Unsqueeze" => squeeze(call, x, batch),
        "Gather" | "Split" => along(call, x, batch, on_wires),
        "GatherND" => gather_nd(call),
        op if !rows::EACH.contains(&op) || matches!(op, "MatMul" | "Gemm") => Err(refusal(batch)),
        _ => {
            for operand in call.operands.iter_mut().flatten() {
                match operand {
                    Value::Turned(y, b) if *b == batch && call.draft.shape(*y) == shape => {
                        *operand = Value::Wire(*y);
                    }
                    Value::Const(t) if t.len() == 1 => {}
                    _ => return Err(refusal(batch)),
                }
            }
            Ok(again(on_wires(call)?, batch))
        }
    }
}

/// Gather and Split along an axis of the image: counted as if the batch were in front of it.
fn along(call: Call<'_>, x: Source, batch: usize, on_wires: fn(Call<'_>) -> Lowered) -> Lowered {
    let at = axis(call.int("axis", 0)?, call.draft.shape(x).len() + 1)?;
    if at == batch || !matches!(call.operand(0), Some(Value::Turned(..))) {
        return Err(refusal(batch));
    }
    let Call { node, mut operands, draft, beside } = call;
    let front = at < batch;
    let i = (at + usize::from(front)) as i64;
    let mut node: NodeProto = node.clone();
    node.attribute.retain(|a| a.name != "axis");
    node.attribute.push(Attribute { name: "axis".into(), kind: kind::INT, i, ..Default::default() });
    // Indices take the place of the axis, with as many axes as they have.
    let added = match operands.get(1) {
        Some(Some(Value::Const(t))) if node.op_type == "Gather" => t.dims.len(),
        _ => 1,
    };
    operands[0] = Some(Value::Wire(x));
    let batch = if front { batch + added - 1 } else { batch };
    Ok(again(on_wires(Call { node: &node, operands, draft, beside })?, batch))
}

/// Elements at places that are known now, given for some of the first axes together. These lie in front of the images.
pub(super) fn gather_nd(mut call: Call<'_>) -> Lowered {
    call.knows(&["batch_dims"])?;
    if call.int("batch_dims", 0)? != 0 {
        return Err("with batch_dims; take places along one axis at a time".into());
    }
    let (x, batch) = turned(&call)?;
    let shape = call.draft.shape(x).to_vec();
    let indices = call.constant(1)?;
    let Some((&taken, outer)) = indices.dims.split_last().filter(|(n, _)| (1..=batch).contains(*n)) else {
        return Err(refusal(batch));
    };
    let (front, rest) = shape.split_at(taken);
    call.draft.count_places(outer.iter().product())?;
    let place = |index: &[i64]| {
        let along = |at: usize, (&i, &extent): (&i64, &usize)| axis(i, extent).map(|i| at * extent + i);
        index.iter().zip(front).try_fold(0, along)
    };
    let places = indices.integers()?.chunks(taken).map(place).collect::<Result<Vec<_>, _>>();
    let places = places.map_err(|_| Stop::Because(format!("a place outside {front:?}")))?;
    let flat = call.view(x, &[&[front.iter().product()], rest].concat())?;
    let y = call.pick(flat, 0, places.into_iter().map(Some).collect())?;
    let dims = [outer, rest].concat();
    Ok(again(call.shown(y, dims)?, batch - taken + outer.len()))
}

fn squeeze(mut call: Call<'_>, x: Source, batch: usize) -> Lowered {
    call.knows(&["axes"])?;
    let axes = match (call.ints("axes")?, call.optional(1)?) {
        (Some(a), _) => Some(a.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let mut full = call.draft.shape(x).to_vec();
    full.insert(batch, usize::MAX);
    let mut dims = squeezed(&full, axes, call.node.op_type == "Unsqueeze")?;
    let place = dims.iter().position(|&d| d == usize::MAX).ok_or_else(|| refusal(batch))?;
    dims.remove(place);
    Ok(again(call.shown(x, dims)?, place))
}

/// What was computed image by image, with the images where they lie.
fn again(found: Value, batch: usize) -> Value {
    match found {
        Value::Wire(x) => value(x, batch),
        Value::Several(parts) => Value::Several(parts.into_iter().map(|v| again(v, batch)).collect()),
        other => other,
    }
}

pub(super) fn refusal(batch: usize) -> Stop {
    if batch == 0 {
        return "along axis 0, which would mix images".into();
    }
    Stop::Because(format!(
        "its images lie along axis {batch}, where a Transpose moved them, and not along the first: it would mix images; \
         move the batch in front again before this node"
    ))
}
