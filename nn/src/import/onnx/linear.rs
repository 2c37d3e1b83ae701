//! Gemm and MatMul become linear layers; along one axis of several, convolutions of one place.

use super::axes::broadcast;
use super::call::{Call, Lowered, Stop, Value};
use super::tensor::{Data, Tensor};
use crate::graph::{Op, Role, Source};
use crate::import::draft::inverse;
use twoply_primitives::tensor::Window;

/// `alpha A B + beta C`, A the wire.
pub(super) fn gemm(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha", "beta", "transA", "transB"])?;
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let transposed = call.int("transB", 0)? != 0;
    if call.int("transA", 0)? != 0 {
        return Err("transA would mix images".into());
    }
    let (x, shape) = call.shaped(0)?;
    let weight = call.constant(1)?;
    let weight =
        if transposed { scaled(&weight, alpha)? } else { scaled(&transpose(&mut call, &weight)?, alpha)? };
    let bias = call.optional(2)?;
    // Rows of images that were put behind one another have more axes than one.
    let (Some(last), &[outputs, _]) = (shape.len().checked_sub(1), &weight.dims[..]) else {
        return Err(Stop::Because(format!("a weight of shape {:?} on {shape:?} per image", weight.dims)));
    };
    let bias = bias.map(|c| bias_of(&c, beta, outputs)).transpose()?;
    let named = &call.node.input[1];
    Ok(Value::Wire(along(&mut call, (x, last), (named, weight), bias)?))
}

/// C of a Gemm: one value per output, or one for all; leading axes of extent 1 do not matter.
fn bias_of(bias: &Tensor, beta: f32, outputs: usize) -> Result<Vec<f32>, String> {
    let values = bias.floats()?;
    let (last, leading) = bias.dims.split_last().unwrap_or((&1, &[]));
    if leading.iter().any(|&d| d != 1) || (*last != outputs && *last != 1) {
        return Err(format!("C of shape {:?}, wanted one value per output ({outputs})", bias.dims));
    }
    Ok((0..outputs).map(|i| beta * values[i % last]).collect())
}

/// `A B`, one of them a wire. A bias added behind it is folded in later.
pub(super) fn matmul(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    match (call.operand(0), call.operand(1)) {
        (Some(Value::Wire(_)), Some(Value::Wire(_))) => {
            Err("of two wires; one of them must be a constant".into())
        }
        (Some(Value::Const(_)), _) => from_left(call),
        _ => from_right(call),
    }
}

/// `x W` along the last axis. A weight of one axis takes it away; one of several is a matrix for each of the others.
fn from_right(mut call: Call<'_>) -> Lowered {
    let (x, shape) = call.shaped(0)?;
    let weight = call.constant(1)?;
    let ones = weight.dims.iter().take_while(|&&d| d == 1).count();
    let inner = ones.min(weight.dims.len().saturating_sub(2));
    if weight.dims.is_empty() || weight.dims.len() > shape.len() + 1 {
        return Err(Stop::Because(format!("a weight of shape {:?} on {shape:?} per image", weight.dims)));
    }
    let (row, last) = (weight.dims.len() == 1, shape.len() - 1);
    let named = &call.node.input[1];
    let y = match weight.dims.len() - inner {
        1 | 2 => {
            let dims = if row { vec![weight.dims[0], 1] } else { weight.dims[inner..].to_vec() };
            let weight = weight.reshaped(dims)?;
            let weight = transpose(&mut call, &weight)?;
            along(&mut call, (x, last), (named, weight), None)?
        }
        _ => grouped(&mut call, x, &shape, &weight)?,
    };
    if !row {
        return Ok(Value::Wire(y));
    }
    call.shown(y, shape[..last].to_vec())
}

/// `W x` along the last axis but one.
fn from_left(mut call: Call<'_>) -> Lowered {
    let (x, shape) = call.shaped(1)?;
    let weight = call.constant(0)?;
    let ones = weight.dims.iter().take_while(|&&d| d == 1).count();
    let inner = &weight.dims[ones.min(weight.dims.len().saturating_sub(2))..];
    if shape.len() < 2 {
        return Err("a constant times a wire of one axis per image would mix images".into());
    }
    if weight.dims.len() > shape.len() + 1 || !(1..=2).contains(&inner.len()) {
        return Err(Stop::Because(format!("a weight of shape {:?} before {shape:?} per image", weight.dims)));
    }
    let row = inner.len() == 1;
    let named = &call.node.input[0];
    let dims = if row { vec![1, inner[0]] } else { inner.to_vec() };
    let y = along(&mut call, (x, shape.len() - 2), (named, weight.reshaped(dims)?), None)?;
    match row {
        false => Ok(Value::Wire(y)),
        true => {
            let rest = [&shape[..shape.len() - 2], &shape[shape.len() - 1..]].concat();
            call.shown(y, rest)
        }
    }
}

/// A weight `[out, in]` times the wire along one axis.
pub(super) fn along(
    call: &mut Call<'_>,
    (x, axis): (Source, usize),
    (named, weight): (&str, Tensor),
    bias: Option<Vec<f32>>,
) -> Result<Source, Stop> {
    let shape = call.draft.shape(x).to_vec();
    let &[outputs, inputs] = &weight.dims[..] else {
        return Err(Stop::Because(format!("a weight of shape {:?}, wanted two axes", weight.dims)));
    };
    if shape[axis] != inputs {
        return Err(Stop::Because(format!(
            "a weight from {inputs} to {outputs} along an axis of {}, in {shape:?} per image",
            shape[axis]
        )));
    }
    let alone = shape.iter().product::<usize>() == inputs;
    let dims = if alone { vec![outputs, inputs] } else { vec![outputs, inputs, 1, 1] };
    let values = weight.floats()?.to_vec();
    let weight = call.draft.param(named, &dims, Role::Weight, values)?;
    let bias = match bias {
        Some(values) => {
            let name = call.node.input.get(2).cloned().unwrap_or_default();
            Some(call.draft.param(&name, &[outputs], Role::Bias, values)?)
        }
        None => None,
    };
    let name = &call.node.name;
    let mut result = shape.clone();
    result[axis] = outputs;
    if alone {
        let flat = call.draft.push("", Op::Reshape(vec![inputs]), &[x])?;
        let y = call.draft.push(name, Op::Linear { weight, bias }, &[flat])?;
        return call.view(y, &result);
    }
    let rest = (0..shape.len()).filter(|&a| a != axis);
    let perm: Vec<usize> = std::iter::once(axis).chain(rest).collect();
    let conv = Op::Conv2d { weight, bias, window: Window::square(1, 1), groups: 1 };
    let turned = call.step(Op::Transpose(perm.clone()), &[x])?;
    let extents = call.draft.shape(turned).to_vec();
    let plane = match extents[..] {
        [_, h, w] => vec![inputs, h, w],
        _ => vec![inputs, 1, extents[1..].iter().product()],
    };
    let up = call.view(turned, &plane)?;
    let y = call.draft.push(&call.node.name, conv, &[up])?;
    let down = call.view(y, &[&[outputs], &extents[1..]].concat())?;
    call.step(Op::Transpose(inverse(&perm)), &[down])
}

/// `x W` with a matrix for each place of the leading axes: a convolution in groups.
fn grouped(call: &mut Call<'_>, x: Source, shape: &[usize], weight: &Tensor) -> Result<Source, Stop> {
    let refuse = || Stop::Because(format!("a weight of shape {:?} on {shape:?} per image", weight.dims));
    let dims = match weight.dims.len() == shape.len() + 1 {
        true if weight.dims[0] == 1 => &weight.dims[1..],
        true => return Err(refuse()),
        false => &weight.dims[..],
    };
    let (leading, &[inputs, outputs]) = dims.split_last_chunk::<2>().ok_or_else(refuse)?;
    let (own, &[rows, last]) = shape.split_last_chunk::<2>().ok_or_else(refuse)?;
    if last != inputs || leading.len() != own.len() {
        return Err(refuse());
    }
    let joined = broadcast(own, leading)?;
    if joined != leading {
        return Err(refuse());
    }
    let x = call.spread(x, &[&joined[..], &[rows, inputs]].concat())?;
    let groups: usize = joined.iter().product();
    let values = weight.floats()?;
    call.draft.spend(values.len())?;
    let at = |g: usize, o: usize, i: usize| values[(g * inputs + i) * outputs + o];
    let turned = (0..groups)
        .flat_map(|g| (0..outputs).flat_map(move |o| (0..inputs).map(move |i| at(g, o, i))))
        .collect();
    let dims = [groups * outputs, inputs, 1, 1];
    let weight = call.draft.param(&call.node.input[1], &dims, Role::Weight, turned)?;
    let x = call.view(x, &[groups, rows, inputs])?;
    let x = call.step(Op::Transpose(vec![0, 2, 1]), &[x])?;
    let x = call.view(x, &[groups * inputs, 1, rows])?;
    let conv = Op::Conv2d { weight, bias: None, window: Window::square(1, 1), groups };
    let y = call.draft.push(&call.node.name, conv, &[x])?;
    let y = call.view(y, &[groups, outputs, rows])?;
    let y = call.step(Op::Transpose(vec![0, 2, 1]), &[y])?;
    call.view(y, &[&joined[..], &[rows, outputs]].concat())
}

fn transpose(call: &mut Call<'_>, t: &Tensor) -> Result<Tensor, String> {
    if t.dims.len() != 2 {
        return Err(format!("weight of shape {:?}, wanted two axes", t.dims));
    }
    call.draft.spend(t.dims[0] * t.dims[1])?;
    t.transposed(&[1, 0])
}

fn scaled(t: &Tensor, factor: f32) -> Result<Tensor, String> {
    let values = t.floats()?.iter().map(|v| v * factor).collect();
    Ok(Tensor { dims: t.dims.clone(), data: Data::Float(values) })
}
