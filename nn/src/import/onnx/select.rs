//! Parts of wires: Slice, Split, Gather, and repetition by Expand and Tile. All of them say, for each axis, which places are
//! taken.

use super::axes::{aligned, broadcast, of_image};
use super::call::{Call, Lowered, Stop, Value, axis};
use super::constant::BATCH;
use crate::graph::{Op, Source};

/// Places along one axis, none of them left empty.
fn some(places: impl IntoIterator<Item = usize>) -> Vec<Option<usize>> {
    places.into_iter().map(Some).collect()
}

/// Starts, ends, axes and steps are attributes before opset 10, operands since.
pub(super) fn slice(call: Call<'_>) -> Lowered {
    call.knows(&["starts", "ends", "axes"])?;
    let mut given = Vec::new();
    for (i, name) in [(1, Some("starts")), (2, Some("ends")), (3, Some("axes")), (4, None)] {
        let attribute = name.map_or(Ok(None), |name| call.ints(name))?.map(<[i64]>::to_vec);
        given.push(match attribute {
            Some(list) => Some(list),
            None => call.optional(i)?.map(|t| t.int_list().map(<[i64]>::to_vec)).transpose()?,
        });
    }
    let (x, shape) = call.shaped(0)?;
    let steps = given.pop().flatten();
    let axes = given.pop().flatten();
    let (Some(ends), Some(starts)) = (given.pop().flatten(), given.pop().flatten()) else {
        return Err("says not from where to where".into());
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return Err("as many starts as ends, axes and steps are wanted".into());
    }
    let mut lists = vec![None; shape.len()];
    for (i, &at) in axes.iter().enumerate() {
        let (start, end, step) = (starts[i], ends[i], steps[i]);
        // All images, whatever their number.
        if axis(at, shape.len() + 1)? == 0
            && start == 0
            && step == 1
            && (end == BATCH || end >= i32::MAX as i64)
        {
            continue;
        }
        let a = of_image(at, &shape)?;
        call.draft.count_places(shape[a])?;
        let places = some(range(start, end, step, shape[a])?);
        if places.is_empty() || lists[a].replace(places).is_some() {
            return Err(Stop::Because(format!(
                "{start} to {end} by {step} along axis {at} of {shape:?} per image"
            )));
        }
    }
    Ok(Value::Wire(call.draft.push(&call.node.name, Op::Take(lists), &[x])?))
}

/// Places from `start` to `end`, both counted from behind if negative and moved into the axis if beyond.
fn range(start: i64, end: i64, step: i64, extent: usize) -> Result<Vec<usize>, Stop> {
    let n = extent as i64;
    let inside = |v: i64, low: i64, high: i64| (if v < 0 { v.saturating_add(n) } else { v }).clamp(low, high);
    let (mut at, end) = match step {
        0 => return Err("a step of 0".into()),
        1.. => (inside(start, 0, n), inside(end, 0, n)),
        _ => (inside(start, -1, n - 1), inside(end, -1, n - 1)),
    };
    let mut places = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        places.push(at as usize);
        at = at.saturating_add(step);
    }
    Ok(places)
}

/// Sizes are an attribute before opset 13 and an operand since; without any, all parts are alike, or the last one is shorter.
pub(super) fn split(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis", "split", "num_outputs"])?;
    let at = call.int("axis", 0)?;
    let count = call.int("num_outputs", call.node.output.len() as i64)?;
    let sizes = match (call.ints("split")?, call.optional(1)?) {
        (Some(list), _) => Some(list.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let (x, shape) = call.shaped(0)?;
    let a = of_image(at, &shape)?;
    let extent = shape[a];
    let sizes = match sizes {
        Some(sizes) => sizes.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect(),
        None => {
            let count = usize::try_from(count).ok().filter(|n| (1..=extent).contains(n));
            let part = extent.div_ceil(count.ok_or_else(|| format!("into {count:?} parts of {extent}"))?);
            (0..extent).step_by(part).map(|from| part.min(extent - from)).collect::<Vec<_>>()
        }
    };
    if sizes.len() != call.node.output.len() {
        let outputs = call.node.output.len();
        return Err(Stop::Because(format!("{outputs} outputs for parts of {sizes:?}")));
    }
    let parts = pieces(&mut call, x, a, &sizes)?;
    Ok(Value::Several(parts.into_iter().map(Value::Wire).collect()))
}

/// A wire cut along an axis of the image into parts of these sizes.
pub(super) fn pieces(call: &mut Call<'_>, x: Source, a: usize, sizes: &[usize]) -> Result<Vec<Source>, Stop> {
    let extent = call.draft.shape(x)[a];
    let total = sizes.iter().try_fold(0usize, |n, &size| n.checked_add(size));
    if total != Some(extent) || sizes.contains(&0) {
        return Err(Stop::Because(format!("{extent} places into parts of {sizes:?}")));
    }
    call.draft.count_places(extent)?;
    let mut from = 0;
    let mut next = |&size: &usize| {
        from += size;
        call.pick(x, a, some(from - size..from))
    };
    sizes.iter().map(&mut next).collect()
}

/// Places that are known now, along an axis of a wire; their shape takes the place of the axis.
pub(super) fn gather(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis"])?;
    let at = call.int("axis", 0)?;
    let (x, shape) = call.shaped(0)?;
    let indices = call.constant(1)?;
    let a = of_image(at, &shape)?;
    let flat = indices.reshaped(vec![indices.dims.iter().product()])?;
    let list = flat.int_list()?;
    call.draft.count_places(list.len())?;
    let places = list.iter().map(|&i| axis(i, shape[a])).collect::<Result<Vec<_>, _>>();
    let places =
        places.map_err(|_| Stop::Because(format!("a place outside {} along axis {at}", shape[a])))?;
    let dims = [&shape[..a], &indices.dims, &shape[a + 1..]].concat();
    let y = call.pick(x, a, some(places))?;
    call.shown(y, dims)
}

/// Repeats the wire along axes of extent 1 as broadcasting does.
pub(super) fn expand(mut call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let (x, shape) = call.shaped(0)?;
    let target = call.constant(1)?;
    let target = aligned(target.int_list()?, shape.len(), 1, |v| v == 1 || v == BATCH)?;
    let dims: Option<Vec<usize>> = target.iter().map(|&v| usize::try_from(v).ok()).collect();
    let dims = dims.ok_or_else(|| Stop::Because(format!("to {target:?} per image")))?;
    let to = broadcast(&shape, &dims)?;
    Ok(Value::Wire(call.spread(x, &to)?))
}

pub(super) fn tile(call: Call<'_>) -> Lowered {
    call.knows(&[])?;
    let (x, shape) = call.shaped(0)?;
    let repeats = call.constant(1)?;
    let repeats = repeats.int_list()?;
    let Some((1, rest)) = repeats.split_first().filter(|(_, rest)| rest.len() == shape.len()) else {
        return Err(Stop::Because(format!(
            "{repeats:?} times; wanted 1 for the batch and one number per axis"
        )));
    };
    let mut lists = Vec::new();
    for (&times, &extent) in rest.iter().zip(&shape) {
        let times = usize::try_from(times).ok().filter(|&n| n > 0);
        let times = times.ok_or_else(|| Stop::Because(format!("{repeats:?} times")))?;
        call.draft.count_places(times.saturating_mul(extent))?;
        lists.push((times > 1).then(|| some((0..times).flat_map(|_| 0..extent))));
    }
    Ok(Value::Wire(call.draft.push(&call.node.name, Op::Take(lists), &[x])?))
}
