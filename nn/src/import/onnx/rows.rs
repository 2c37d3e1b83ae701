//! Values whose first axis is not the batch alone: rows of all images, one image's behind another's. Keras writes a Dense layer
//! along the last of several axes so, and what has one number per image and no axis for it is such too.
//!
//! The graph keeps the rows of an image together: `[rows, ..]` for ONNX's `[batch * rows, ..]`.

use super::call::{Call, Lowered, Stop, Value};
use super::constant::BATCH;
use super::view::{per_image, squeezed};
use crate::graph::{Op, Source, elements};

/// Operators that work on each row alone.
pub(super) const EACH: &[&str] = &[
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Dropout",
    "Gemm",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Relu",
    "Shrink",
    "Sub",
    "Sum",
];

/// Extents per image, rows first, of a Reshape to `target` that puts images behind one another.
pub(super) fn of(target: &[i64], shape: &[usize]) -> Option<Vec<usize>> {
    let (first, rest) = target.split_first()?;
    let rest: Option<Vec<usize>> = rest.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect();
    let (rest, all) = (rest?, elements(shape)?);
    let row = elements(&rest)?;
    // Any number, or that of a single image.
    let rows = all / row;
    (all % row == 0 && (*first == -1 || *first == rows as i64)).then(|| [&[rows], &rest[..]].concat())
}

/// One row per image is the batch again, if the row has an axis.
fn value(call: &mut Call<'_>, x: Source, dims: Vec<usize>) -> Lowered {
    match &dims[..] {
        [1, rest @ ..] if !rest.is_empty() => call.shown(x, rest.to_vec()),
        _ => Ok(Value::Rows(call.view(x, &dims)?)),
    }
}

/// A node that reads rows. `one_by_one` is the usual way to lower a node.
pub(super) fn lower(mut call: Call<'_>, one_by_one: fn(Call<'_>) -> Lowered) -> Lowered {
    let op = call.node.op_type.as_str();
    let rows = |v: &Value| if let Value::Rows(x) = v { Some(*x) } else { None };
    let Some(x) = call.operands.iter().flatten().find_map(rows) else { return Err(Stop::Upstream) };
    let shape = call.draft.shape(x).to_vec();
    match op {
        "Reshape" => reshape(call, x, &shape),
        "Squeeze" | "Unsqueeze" => squeeze(call, x, &shape),
        _ if !EACH.contains(&op) => Err(refusal()),
        _ => {
            let behind = shape.len() - 1;
            for (i, operand) in call.operands.iter_mut().enumerate() {
                match operand {
                    Some(Value::Rows(y)) if call.draft.shape(*y) == shape => *operand = Some(Value::Wire(*y)),
                    Some(Value::Const(_)) if i == 0 && matches!(op, "MatMul" | "Gemm") => {
                        return Err(refusal());
                    }
                    Some(Value::Const(t)) if op != "MatMul" && op != "Gemm" => {
                        let extra = t.dims.len().saturating_sub(behind);
                        if t.dims[..extra].iter().any(|&d| d != 1) {
                            return Err(refusal());
                        }
                    }
                    Some(Value::Const(_)) if behind > 0 => {}
                    None => {}
                    _ => return Err(refusal()),
                }
            }
            match one_by_one(call)? {
                Value::Wire(y) => Ok(Value::Rows(y)),
                other => Ok(other),
            }
        }
    }
}

fn refusal() -> Stop {
    "on an axis that images share (a Reshape to [-1, ..] made it): it would mix images".into()
}

/// Back to images, or to other rows.
fn reshape(mut call: Call<'_>, x: Source, shape: &[usize]) -> Lowered {
    call.knows(&["allowzero"])?;
    let target = call.constant(1)?;
    let target = target.int_list()?;
    let images = matches!(target.first(), Some(&(BATCH | -1 | 1)));
    match (per_image(target, shape, true, true), of(target, shape)) {
        (Ok(dims), _) if images => call.shown(x, dims),
        (_, Some(dims)) => value(&mut call, x, dims),
        (Err(why), None) => Err(why.into()),
        (Ok(_), None) => Err(refusal()),
    }
}

fn squeeze(mut call: Call<'_>, x: Source, shape: &[usize]) -> Lowered {
    call.knows(&["axes"])?;
    let axes = match (call.ints("axes")?, call.optional(1)?) {
        (Some(a), _) => Some(a.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let full = [&[usize::MAX], &shape[1..]].concat();
    match squeezed(&full, axes, call.node.op_type == "Unsqueeze")?.split_first() {
        Some((&usize::MAX, rest)) => value(&mut call, x, [&shape[..1], rest].concat()),
        _ => Err(refusal()),
    }
}

/// What a network gives for an image may as well be rows: their values stand in one axis.
pub(super) fn output(call: &mut crate::import::draft::Draft, x: Source) -> Result<Source, String> {
    let row = call.shape(x).iter().product();
    call.push("", Op::Reshape(vec![row]), &[x])
}
