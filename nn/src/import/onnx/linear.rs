//! Gemm and MatMul become linear layers.

use super::call::{Call, Lowered};
use super::tensor::Tensor;
use crate::graph::{Op, Role};

/// `alpha A B + beta C`, A the wire.
pub(super) fn gemm(mut call: Call<'_>) -> Lowered {
    call.knows(&["alpha", "beta", "transA", "transB"])?;
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let transposed = call.int("transB", 0)? != 0;
    if call.int("transA", 0)? != 0 {
        return Err("transA would mix images".into());
    }
    let x = call.wire(0)?;
    let weight = call.constant(1)?;
    let weight =
        if transposed { scaled(&weight, alpha)? } else { scaled(&transpose(&mut call, &weight)?, alpha)? };
    let bias = call.optional(2)?;
    let w = add_weight(&mut call, weight)?;
    let b = match bias {
        Some(bias) => Some(add_bias(&mut call, &bias, beta, w)?),
        None => None,
    };
    call.push(Op::Linear { weight: w, bias: b }, &[x])
}

/// `A B`, A the wire. A bias added behind it is folded in later.
pub(super) fn matmul(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let x = call.wire(0)?;
    let weight = call.constant(1)?;
    let weight = transpose(&mut call, &weight)?;
    let weight = add_weight(&mut call, weight)?;
    call.push(Op::Linear { weight, bias: None }, &[x])
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
    Ok(Tensor { dims: t.dims.clone(), data: super::tensor::Data::Float(values) })
}

fn add_weight(call: &mut Call<'_>, weight: Tensor) -> Result<usize, String> {
    if weight.dims.len() != 2 {
        return Err(format!("weight of shape {:?}, wanted two axes", weight.dims));
    }
    call.draft.param(&call.node.input[1], &weight.dims, Role::Weight, weight.floats()?.to_vec())
}

/// C of a Gemm: one value per output, or one for all; leading axes of extent 1 do not matter.
fn add_bias(call: &mut Call<'_>, bias: &Tensor, beta: f32, weight: usize) -> Result<usize, String> {
    let outputs = call.draft.params[weight].shape[0];
    let values = bias.floats()?;
    let (last, leading) = bias.dims.split_last().unwrap_or((&1, &[]));
    if leading.iter().any(|&d| d != 1) || (*last != outputs && *last != 1) {
        return Err(format!("C of shape {:?}, wanted one value per output ({outputs})", bias.dims));
    }
    let values = (0..outputs).map(|i| beta * values[i % last]).collect();
    call.draft.param(&call.node.input[2], &[outputs], Role::Bias, values)
}
