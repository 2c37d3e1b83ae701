//! Operators on constants. Exporters leave whole subgraphs of them: of weights (weight normalisation, stacked padding) and
//! of shapes. They are computed here as ONNX Runtime would, in the types that the file says, and never reach the network.

mod arithmetic;
mod make;
mod moves;
mod reduce;

use super::call::{Call, Stop, Value, axis};
use super::tensor::Tensor;

/// Stands for the number of images in a computed shape. Nothing else has a use for this number.
pub(super) const BATCH: i64 = i64::MIN + 0x6261_7463_68;

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

/// The table of operators on constants.
fn operator(name: &str) -> Option<fn(&mut Call<'_>) -> Folded> {
    Some(match name {
        "Constant" => make::constant,
        "ConstantOfShape" => make::constant_of_shape,
        "Range" => make::range,
        "Shape" => make::shape,
        "Size" => make::size,
        "Cast" => make::cast,
        "CastLike" => make::cast_like,
        "Reshape" => moves::reshape,
        "Flatten" => moves::flatten,
        "Squeeze" => |call| moves::squeeze(call, false),
        "Unsqueeze" => |call| moves::squeeze(call, true),
        "Transpose" => moves::transpose,
        "Slice" => moves::slice,
        "Gather" => moves::gather,
        "Concat" => moves::concat,
        "Split" => moves::split,
        "Expand" => moves::expand,
        "Tile" => moves::tile,
        "Pad" => moves::pad,
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "Equal" | "Less" | "LessOrEqual"
        | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => arithmetic::binary,
        "Neg" | "Abs" | "Sign" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Sin" | "Cos" | "Floor" | "Ceil"
        | "Round" | "Not" => arithmetic::unary,
        "Where" => arithmetic::choose,
        "Clip" => arithmetic::clip,
        "MatMul" => arithmetic::matmul,
        "ReduceSum" | "ReduceProd" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2"
        | "ReduceSumSquare" => reduce::reduce,
        _ => return None,
    })
}

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
