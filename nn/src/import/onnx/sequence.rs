//! Lists of values. PyTorch's exporters make some of `chunk` and `split`, and stack what a loop gathered; they are taken apart
//! again while importing, so places in them must be known.

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value, axis};
use super::proto::{Attribute, NodeProto, kind};
use super::tensor::Tensor;
use super::types::Type;
use super::{constant, select};
use std::rc::Rc;

/// Operators that read or give lists.
pub(super) const OPERATORS: [&str; 4] =
    ["SplitToSequence", "SequenceConstruct", "SequenceAt", "ConcatFromSequence"];

/// Longest list.
const LONGEST: usize = 1 << 12;

fn list(parts: Vec<Value>) -> Lowered {
    match parts.len() {
        0..=LONGEST => Ok(Value::Sequence(parts.into())),
        n => Err(Stop::Because(format!("a sequence of {n} parts; {LONGEST} is the most"))),
    }
}

fn listed(call: &Call<'_>) -> Result<Rc<[Value]>, Stop> {
    match call.operand(0) {
        Some(Value::Sequence(parts)) => Ok(parts.clone()),
        Some(Value::Lost) => Err(Stop::Upstream),
        _ => Err("operand 0 is no sequence; export again".into()),
    }
}

/// Parts of one size (the last may be shorter), of given sizes, or single places.
pub(super) fn split(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis", "keepdims"])?;
    let (at, keep) = (call.int("axis", 0)?, call.int("keepdims", 1)? != 0);
    let sizes = call.optional(1)?;
    let (x, shape) = call.shaped(0)?;
    let a = of_image(at, &shape)?;
    let equal = |size: i64| match usize::try_from(size) {
        Ok(size) if size > 0 && shape[a].div_ceil(size) <= LONGEST => {
            Ok((0..shape[a]).step_by(size).map(|from| size.min(shape[a] - from)).collect())
        }
        _ => Err(Stop::Because(format!("{} places into parts of {size}", shape[a]))),
    };
    let lengths: Vec<usize> = match &sizes {
        None => equal(1)?,
        Some(t) if t.dims.is_empty() => equal(t.integers()?[0])?,
        Some(t) => t.int_list()?.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect(),
    };
    let full: Vec<usize> = lengths.iter().copied().filter(|&n| n > 0).collect();
    let mut parts = select::pieces(&mut call, x, a, &full)?.into_iter();
    let mut dims = [&[1], &shape[..]].concat();
    if sizes.is_none() && !keep {
        dims.remove(a + 1);
        return list(parts.map(|part| call.shown(part, dims[1..].to_vec())).collect::<Result<_, _>>()?);
    }
    // PyTorch gives `chunk` a last part that may be empty, and never reads it.
    dims[a + 1] = 0;
    let nothing = Value::Const(Rc::new(Tensor::reals(Type::Float, dims, std::iter::empty())));
    let next = |&n: &usize| if n > 0 { parts.next().map(Value::Wire) } else { Some(nothing.clone()) };
    list(lengths.iter().filter_map(next).collect())
}

pub(super) fn construct(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    list(call.operands.into_iter().flatten().collect())
}

pub(super) fn at(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let (parts, place) = (listed(&call)?, call.constant(1)?);
    let &[place] = place.integers()? else { return Err("several places in a sequence".into()) };
    let i = axis(place, parts.len());
    let i = i.map_err(|_| Stop::Because(format!("place {place} of a sequence of {}", parts.len())))?;
    Ok(parts[i].clone())
}

/// Concat, or stacking along an axis that they do not have yet.
pub(super) fn concat(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis", "new_axis"])?;
    let (i, stacked) = (call.int("axis", 0)?, call.int("new_axis", 0)? != 0);
    let mut operands: Vec<Option<Value>> = listed(&call)?.iter().cloned().map(Some).collect();
    if stacked {
        operands.iter_mut().flatten().try_for_each(|part| unsqueeze(&mut call, part, i))?;
    }
    let along = Attribute { name: "axis".into(), kind: kind::INT, i, ..Default::default() };
    let node = NodeProto { op_type: "Concat".into(), attribute: vec![along], ..call.node.clone() };
    let Call { draft, beside, .. } = call;
    let mut call = Call { node: &node, operands, draft, beside };
    match constant::fold(&mut call) {
        Some(folded) => Ok(Value::Several(folded?.into_iter().map(|t| Value::Const(t.into())).collect())),
        None => super::lower(call),
    }
}

fn unsqueeze(call: &mut Call<'_>, part: &mut Value, at: i64) -> Result<(), Stop> {
    if let Value::Const(t) = part {
        let mut dims = t.dims.clone();
        dims.insert(axis(at, dims.len() + 1)?, 1);
        call.draft.spend(t.len())?;
        *t = Rc::new(t.reshaped(dims)?);
        return Ok(());
    }
    let x = part.wire(0)?;
    let mut dims = call.draft.shape(x).to_vec();
    dims.push(1);
    let a = of_image(at, &dims)?;
    dims.pop();
    dims.insert(a, 1);
    *part = Value::Wire(call.view(x, &dims)?);
    Ok(())
}
