//! Operators that move the elements of constants.

use super::super::call::{Call, Stop, axis};
use super::super::tensor::{Places, Tensor, steps};
use super::super::view::squeezed;
use super::arithmetic::broadcast;
use super::{BATCH, Folded, extents, spend};
use std::rc::Rc;

/// The operand under other extents.
fn under(call: &mut Call<'_>, t: &Tensor, dims: Vec<usize>) -> Folded {
    spend(call, &dims)?;
    Ok(vec![t.reshaped(dims)?])
}

pub(super) fn reshape(call: &mut Call<'_>) -> Folded {
    call.knows(&["allowzero"])?;
    let zero = call.int("allowzero", 0)? != 0;
    let (t, target) = (call.exact(0)?, call.exact(1)?);
    let target = target.int_list()?;
    let open = target.iter().filter(|&&v| v == -1).count();
    let extent = |(i, &v): (usize, &i64)| match v {
        -1 => Some(1),
        BATCH => Some(1),
        0 if !zero => t.dims.get(i).copied(),
        v => usize::try_from(v).ok(),
    };
    let refuse = || format!("a constant of shape {:?} cannot become {target:?}", t.dims);
    let mut dims = target.iter().enumerate().map(extent).collect::<Option<Vec<_>>>().ok_or_else(refuse)?;
    if let (Some(at), Some(known)) = (target.iter().position(|&v| v == -1), crate::graph::elements(&dims)) {
        dims[at] = t.len().checked_div(known).filter(|_| open == 1).ok_or_else(refuse)?;
    }
    under(call, &t, dims)
}

pub(super) fn flatten(call: &mut Call<'_>) -> Folded {
    call.knows(&["axis"])?;
    let t = call.exact(0)?;
    let at = axis(call.int("axis", 1)?, t.dims.len() + 1)?;
    let (front, behind) = t.dims.split_at(at);
    let dims = vec![front.iter().product(), behind.iter().product()];
    under(call, &t, dims)
}

pub(super) fn squeeze(call: &mut Call<'_>, unsqueeze: bool) -> Folded {
    call.knows(&["axes"])?;
    let axes = match (call.ints("axes")?, call.optional(1)?) {
        (Some(a), _) => Some(a.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let t = call.exact(0)?;
    let dims = squeezed(&t.dims, axes, unsqueeze)?;
    under(call, &t, dims)
}

pub(super) fn transpose(call: &mut Call<'_>) -> Folded {
    call.knows(&["perm"])?;
    let t = call.exact(0)?;
    let perm: Vec<usize> = match call.ints("perm")? {
        Some(p) => p.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect(),
        None => (0..t.dims.len()).rev().collect(),
    };
    spend(call, &t.dims)?;
    Ok(vec![t.transposed(&perm)?])
}

/// Bounds are attributes before opset 10, operands since.
pub(super) fn slice(call: &mut Call<'_>) -> Folded {
    call.knows(&["starts", "ends", "axes"])?;
    let list = |name: &str, i: usize| -> Result<Option<Vec<i64>>, Stop> {
        match (call.ints(name)?, call.optional(i)?) {
            (Some(list), _) => Ok(Some(list.to_vec())),
            (None, Some(t)) => Ok(Some(t.int_list()?.to_vec())),
            (None, None) => Ok(None),
        }
    };
    let starts = list("starts", 1)?.ok_or("has no `starts`")?;
    let ends = list("ends", 2)?.ok_or("has no `ends`")?;
    let t = call.exact(0)?;
    let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let strides = list("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), strides.len()] != [starts.len(); 3] {
        return Err("`starts`, `ends`, `axes` and `steps` are not of one length".into());
    }
    let (mut dims, mut walk, mut first) = (t.dims.clone(), steps(&t.dims), 0);
    let whole = t.dims.clone();
    for (i, &a) in axes.iter().enumerate() {
        let a = axis(a, whole.len())?;
        let (from, count, step) = span(whole[a], starts[i], ends[i], strides[i])?;
        first += steps(&whole)[a] * from as isize;
        (dims[a], walk[a]) = (count, steps(&whole)[a] * step);
    }
    spend(call, &dims)?;
    Ok(vec![t.picked(dims.clone(), Places::new(&dims, &walk, first))])
}

/// First place, number of places and the step between them: `start..end` of an axis, both clamped to it.
fn span(extent: usize, start: i64, end: i64, step: i64) -> Result<(usize, usize, isize), Stop> {
    if start == BATCH || end == BATCH || step == 0 {
        return Err("its bounds are not known, or its step is 0".into());
    }
    let n = extent as i64;
    let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (from, to) = (wrap(start).clamp(low.max(0), high.max(0)), wrap(end).clamp(low, high.max(low)));
    let distance = if step > 0 { to - from } else { from - to };
    let count = if n == 0 { 0 } else { (distance.max(0) as u64).div_ceil(step.unsigned_abs()) };
    // With one place or none the step does not matter, and may be beyond everything.
    let step = if count > 1 { step as isize } else { 0 };
    Ok((if count == 0 { 0 } else { from as usize }, count as usize, step))
}

pub(super) fn gather(call: &mut Call<'_>) -> Folded {
    call.knows(&["axis"])?;
    let (t, indices) = (call.exact(0)?, call.exact(1)?);
    let at = axis(call.int("axis", 0)?, t.dims.len())?;
    let extent = t.dims[at];
    let wanted = indices.integers()?.iter().map(|&i| axis(i, extent)).collect::<Result<Vec<_>, _>>()?;
    let dims = [&t.dims[..at], &indices.dims, &t.dims[at + 1..]].concat();
    if dims.len() > crate::graph::MAX_RANK {
        return Err("has too many axes".into());
    }
    spend(call, &dims)?;
    let (before, behind): (usize, usize) = (t.dims[..at].iter().product(), t.dims[at + 1..].iter().product());
    let places = (0..before)
        .flat_map(|b| wanted.iter().map(move |i| (b * extent + i) * behind))
        .flat_map(|first| first..first + behind);
    Ok(vec![t.picked(dims, places)])
}

pub(super) fn concat(call: &mut Call<'_>) -> Folded {
    call.knows(&["axis"])?;
    let at = call.int("axis", 0)?;
    let parts = (0..call.operands.len()).map(|i| call.exact(i)).collect::<Result<Vec<_>, _>>()?;
    let first = parts.first().ok_or("operand 0 is missing")?;
    let at = axis(at, first.dims.len())?;
    let alike = |t: &Rc<Tensor>| {
        t.kind() == first.kind()
            && t.dims.len() == first.dims.len()
            && (0..t.dims.len()).all(|a| a == at || t.dims[a] == first.dims[a])
    };
    if !parts.iter().all(alike) {
        return Err("of constants whose types or shapes do not fit".into());
    }
    let mut dims = first.dims.clone();
    dims[at] = parts.iter().fold(0, |n: usize, t| n.saturating_add(t.dims[at]));
    spend(call, &dims)?;
    // Piece by piece of each part, as they stand in the result.
    let before: usize = dims[..at].iter().product();
    let piece = |t: &Tensor| t.dims[at..].iter().product::<usize>();
    let order = (0..before).flat_map(|b| parts.iter().map(move |t| (t, b * piece(t)..(b + 1) * piece(t))));
    let order = order.flat_map(|(t, range)| range.map(move |i| (t, i)));
    Ok(vec![if first.kind().is_float() {
        Tensor::reals(first.kind(), dims, order.map(|(t, i)| t.real(i)))
    } else {
        let whole = |(t, i): (&Rc<Tensor>, usize)| t.integers().map_or(0, |v| v[i]);
        // Kept as they are: one may stand for the number of images.
        let values: Vec<i64> = order.map(whole).collect();
        first.like(dims, values)
    }])
}

pub(super) fn split(call: &mut Call<'_>) -> Folded {
    call.knows(&["axis", "split", "num_outputs"])?;
    let t = call.exact(0)?;
    let at = axis(call.int("axis", 0)?, t.dims.len())?;
    let outputs = call.node.output.len().max(1);
    let sizes: Vec<usize> = match (call.ints("split")?, call.optional(1)?) {
        (Some(list), _) => extents(list)?,
        (None, Some(list)) => extents(list.int_list()?)?,
        (None, None) => {
            let each = t.dims[at].div_ceil(outputs);
            (0..outputs).map(|i| each.min(t.dims[at].saturating_sub(i * each))).collect()
        }
    };
    if sizes.len() != outputs || sizes.iter().sum::<usize>() != t.dims[at] {
        return Err(Stop::Because(format!("into {sizes:?} of an axis of {}", t.dims[at])));
    }
    spend(call, &t.dims)?;
    let walk = steps(&t.dims);
    let mut first = 0;
    let part = |size: usize| {
        let mut dims = t.dims.clone();
        dims[at] = size;
        let part = t.picked(dims.clone(), Places::new(&dims, &walk, first));
        first += walk[at] * size as isize;
        part
    };
    Ok(sizes.into_iter().map(part).collect())
}

pub(super) fn expand(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let (t, target) = (call.exact(0)?, call.exact(1)?);
    let target = extents(target.int_list()?)?;
    let dims = broadcast(&[&t.dims, &target])?;
    spend(call, &dims)?;
    let walk = super::arithmetic::stretched(&t.dims, dims.len());
    Ok(vec![t.picked(dims.clone(), Places::new(&dims, &walk, 0))])
}

pub(super) fn tile(call: &mut Call<'_>) -> Folded {
    call.knows(&[])?;
    let (t, repeats) = (call.exact(0)?, call.exact(1)?);
    let repeats = extents(repeats.int_list()?)?;
    if repeats.len() != t.dims.len() {
        return Err(Stop::Because(format!("{} repeats for shape {:?}", repeats.len(), t.dims)));
    }
    let dims: Option<Vec<usize>> = t.dims.iter().zip(&repeats).map(|(d, r)| d.checked_mul(*r)).collect();
    let dims = dims.ok_or("is too large")?;
    spend(call, &dims)?;
    // Each axis twice: which repetition, and where in it.
    let twice: Vec<usize> = repeats.iter().zip(&t.dims).flat_map(|(r, d)| [*r, *d]).collect();
    let walk: Vec<isize> = steps(&t.dims).into_iter().flat_map(|s| [0, s]).collect();
    Ok(vec![t.picked(dims, Places::new(&twice, &walk, 0))])
}

/// With one value around; pads are an attribute before opset 11, an operand since.
pub(super) fn pad(call: &mut Call<'_>) -> Folded {
    call.knows(&["mode", "pads", "value"])?;
    if let Some(mode) = call.text("mode")?
        && mode != "constant"
    {
        return Err(Stop::Because(format!("mode {} of a constant", mode.escape_debug())));
    }
    let t = call.exact(0)?;
    let rank = t.dims.len();
    let pads = match (call.ints("pads")?, call.optional(1)?) {
        (Some(list), _) => list.to_vec(),
        (None, Some(list)) => list.int_list()?.to_vec(),
        (None, None) => return Err("says not how far".into()),
    };
    if pads.len() != 2 * rank || call.operand(3).is_some() {
        return Err(Stop::Because(format!("{} pads for shape {:?}", pads.len(), t.dims)));
    }
    let fill = match call.operand(2) {
        Some(_) => call.exact(2)?,
        None => Rc::new(Tensor::reals(t.kind(), vec![], [f64::from(call.float("value", 0.0)?)].into_iter())),
    };
    let pads = extents_of_pads(&pads)?;
    let dims: Vec<usize> = (0..rank).map(|a| t.dims[a] + pads[a] + pads[a + rank]).collect();
    spend(call, &dims)?;
    let (walk, inner) = (steps(&dims), steps(&t.dims));
    let place = |at: usize| {
        let mut from = 0;
        for a in 0..rank {
            let i = (at / walk[a] as usize % dims[a]).checked_sub(pads[a]).filter(|&i| i < t.dims[a])?;
            from += i * inner[a] as usize;
        }
        Some(from)
    };
    let count = dims.iter().product();
    Ok(vec![match t.integers() {
        Err(_) => Tensor::reals(
            t.kind(),
            dims.clone(),
            (0..count).map(|at| place(at).map_or(fill.real(0), |i| t.real(i))),
        ),
        Ok(v) => {
            let fill = call.operand(2).map_or(Ok(0), |_| fill.integers().map(|v| v[0]))?;
            t.like(dims.clone(), (0..count).map(|at| place(at).map_or(fill, |i| v[i])).collect())
        }
    }])
}

fn extents_of_pads(pads: &[i64]) -> Result<Vec<usize>, String> {
    let list: Option<Vec<usize>> = pads.iter().map(|&p| usize::try_from(p).ok()).collect();
    list.filter(|p| p.iter().all(|&p| p <= crate::graph::MAX_ELEMENTS))
        .ok_or_else(|| format!("pads {pads:?}"))
}
