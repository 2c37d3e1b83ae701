//! Concat of wires, and of wires with constants.

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value};
use super::tensor::Tensor;
use crate::graph::{Op, Source};
use crate::import::draft::{Map, inverse};

pub(super) fn concat(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis"])?;
    let at = call.int("axis", 1)?;
    let mut first = None;
    for i in 0..call.operands.len() {
        match call.operand(i) {
            Some(Value::Const(_)) => {}
            _ => {
                let x = call.wire(i)?;
                first = first.or(Some(x));
            }
        }
    }
    let x = first.ok_or("of no wire")?;
    let shape = call.draft.shape(x).to_vec();
    let a = of_image(at, &shape)?;
    // The graph joins along the first axis.
    let rest = (0..shape.len()).filter(|&other| other != a);
    let perm: Vec<usize> = std::iter::once(a).chain(rest).collect();
    let mut parts = Vec::new();
    for i in 0..call.operands.len() {
        let part = match call.operand(i).cloned() {
            Some(Value::Wire(part)) => part,
            _ => constant(&mut call, i, x)?,
        };
        if call.draft.shape(part).len() != shape.len() {
            let other = call.draft.shape(part);
            return Err(Stop::Because(format!("of {shape:?} and {other:?} per image")));
        }
        parts.push(call.step(Op::Transpose(perm.clone()), &[part])?);
    }
    let name = &call.node.name;
    let joined = call.draft.push(name, Op::Concat, &parts)?;
    Ok(Value::Wire(call.step(Op::Transpose(inverse(&perm)), &[joined])?))
}

/// A constant as a wire: zeros, and its values as private addends.
fn constant(call: &mut Call<'_>, i: usize, like: Source) -> Result<Source, Stop> {
    let t: &Tensor = &*call.constant(i)?;
    let (Some((1, dims)), false) = (t.dims.split_first(), t.dims.contains(&0)) else {
        return Err(Stop::Because(format!(
            "with a constant of shape {:?}; wanted 1 in place of the batch",
            t.dims
        )));
    };
    if dims.is_empty() {
        return Err("with a constant that has no axis behind the batch".into());
    }
    let row = call.draft.shape(like).iter().product();
    let values: Vec<f64> = t.floats()?.iter().map(|&v| f64::from(v)).collect();
    call.draft.count_places(values.len())?;
    let flat = call.view(like, &[row])?;
    let zeros = call.step(Op::Take(vec![Some(vec![None; values.len()])]), &[flat])?;
    let map = Map { dims: vec![values.len()], scale: vec![1.0; values.len()], shift: values };
    let filled = call.draft.map("", zeros, map)?;
    call.view(filled, dims)
}
