//! Operators on constants. Exporters leave whole subgraphs of them: of weights (weight normalisation, stacked padding) and
//! of shapes. They are computed here as ONNX Runtime would, in the types that the file says, and never reach the network.

mod arithmetic;
mod make;
mod moves;
mod reduce;

use super::call::{Call, Stop, Value, axis};
use super::tensor::Tensor;

/// Stands for the number of images in a computed shape. Nothing else has a use for this number.
pub(super) const BATCH: i64 = i64::MIN + 0x0062_6174_6368;

/// How many elements may be computed for each that the file holds.
pub(super) const AGAIN: usize = 4;

/// The outputs of a node.
type Folded = Result<Vec<Tensor>, Stop>;

/// The node's values, if it computes on nothing but constants (or reads a shape); `None` if the operator is another, or a
/// wire takes part.
pub(super) fn fold(call: &mut Call<'_>) -> Option<Folded> {
    let compute = operator(call.node.op_type.as_str())?;
    let known = |v: &Value| matches!(v, Value::Const(_));
    let fit = reads_shape(&call.node.op_type) || call.operands.iter().flatten().all(known);
    fit.then(|| compute(call))
}

fn reads_shape(op: &str) -> bool {
    matches!(op, "Shape" | "Size")
}

/// Whether [`fold`] knows an operator.
pub(super) fn known(op: &str) -> bool {
    operator(op).is_some()
}

fn operator(name: &str) -> Option<Compute> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, compute)| *compute)
}

type Compute = fn(&mut Call<'_>) -> Folded;

/// The table of operators on constants.
pub(super) const TABLE: &[(&str, Compute)] = &[
    ("Constant", make::constant),
    ("ConstantOfShape", make::constant_of_shape),
    ("Range", make::range),
    ("Shape", make::shape),
    ("Size", make::size),
    ("Cast", make::cast),
    ("CastLike", make::cast_like),
    ("Reshape", moves::reshape),
    ("Flatten", moves::flatten),
    ("Squeeze", |call| moves::squeeze(call, false)),
    ("Unsqueeze", |call| moves::squeeze(call, true)),
    ("Transpose", moves::transpose),
    ("Slice", moves::slice),
    ("Gather", moves::gather),
    ("Concat", moves::concat),
    ("Split", moves::split),
    ("Expand", moves::expand),
    ("Tile", moves::tile),
    ("Pad", moves::pad),
    ("Add", arithmetic::binary),
    ("Sub", arithmetic::binary),
    ("Mul", arithmetic::binary),
    ("Div", arithmetic::binary),
    ("Mod", arithmetic::binary),
    ("Pow", arithmetic::binary),
    ("Min", arithmetic::binary),
    ("Max", arithmetic::binary),
    ("Equal", arithmetic::binary),
    ("Less", arithmetic::binary),
    ("LessOrEqual", arithmetic::binary),
    ("Greater", arithmetic::binary),
    ("GreaterOrEqual", arithmetic::binary),
    ("And", arithmetic::binary),
    ("Or", arithmetic::binary),
    ("Xor", arithmetic::binary),
    ("Neg", arithmetic::unary),
    ("Abs", arithmetic::unary),
    ("Sign", arithmetic::unary),
    ("Sqrt", arithmetic::unary),
    ("Reciprocal", arithmetic::unary),
    ("Exp", arithmetic::unary),
    ("Log", arithmetic::unary),
    ("Sin", arithmetic::unary),
    ("Cos", arithmetic::unary),
    ("Floor", arithmetic::unary),
    ("Ceil", arithmetic::unary),
    ("Round", arithmetic::unary),
    ("Not", arithmetic::unary),
    ("Where", arithmetic::choose),
    ("Clip", arithmetic::clip),
    ("MatMul", arithmetic::matmul),
    ("ReduceSum", reduce::reduce),
    ("ReduceProd", reduce::reduce),
    ("ReduceMean", reduce::reduce),
    ("ReduceMax", reduce::reduce),
    ("ReduceMin", reduce::reduce),
    ("ReduceL1", reduce::reduce),
    ("ReduceL2", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
];

/// Extents from a list of integers; the number of images counts as one, as for any image alone.
fn extents(list: &[i64]) -> Result<Vec<usize>, String> {
    let extent = |&v: &i64| if v == BATCH { Some(1) } else { usize::try_from(v).ok() };
    let extents = list.iter().map(extent).collect::<Option<Vec<_>>>();
    extents
        .filter(|d| d.len() <= crate::graph::MAX_RANK && crate::graph::elements(d).is_some())
        .ok_or_else(|| format!("shape {list:?} is not usable"))
}

/// Accounts for a result of this shape.
fn spend(call: &mut Call<'_>, dims: &[usize]) -> Result<(), String> {
    call.draft.spend(crate::graph::elements(dims).unwrap_or(usize::MAX))
}

/// The axes that a node names in its attribute `axes`, or in operand 1 since opset 13.
fn axes(call: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>, Stop> {
    let list = match (call.ints("axes")?, call.optional(1)?) {
        (Some(list), _) => list.to_vec(),
        (None, Some(t)) => t.int_list()?.to_vec(),
        (None, None) => return Ok(None),
    };
    if list.len() > crate::graph::MAX_RANK {
        return Err("too many axes".into());
    }
    list.into_iter().map(|a| axis(a, rank)).collect::<Result<_, _>>().map(Some)
}
