//! Pad: zeros, another number, or the wire's own elements around it; a negative pad cuts off.

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value, axis};
use crate::graph::Op;

/// Largest number around a wire: it is taken off and added again, which costs its precision.
const LARGEST: f64 = 1024.0;

/// What stands outside.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

pub(super) fn pad(call: Call<'_>) -> Lowered {
    call.knows(&["mode", "pads", "paddings", "value"])?;
    let mode = match call.text("mode")?.as_deref() {
        None | Some("constant") => Mode::Constant,
        Some("reflect") => Mode::Reflect,
        Some("edge") => Mode::Edge,
        Some("wrap") => Mode::Wrap,
        Some(other) => return Err(Stop::Because(format!("unknown mode {}", other.escape_debug()))),
    };
    let value = match call.optional(2)? {
        Some(t) => match t.floats()? {
            [v] => f64::from(*v),
            all => return Err(Stop::Because(format!("with {} values, wanted one", all.len()))),
        },
        None => f64::from(call.float("value", 0.0)?),
    };
    let pads = match (call.ints("pads")?, call.optional(1)?) {
        (Some(list), _) => list.to_vec(),
        (None, Some(t)) => t.int_list()?.to_vec(),
        (None, None) => return Err("says not how far".into()),
    };
    let (x, shape) = call.shaped(0)?;
    let rank = shape.len() as i64 + 1;
    let axes = call.optional(3)?.map(|t| t.int_list().map(<[i64]>::to_vec)).transpose()?;
    let axes = axes.unwrap_or_else(|| (0..rank).collect());
    if pads.len() != 2 * axes.len() {
        return Err(Stop::Because(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut lists = vec![None; shape.len()];
    for (i, &at) in axes.iter().enumerate() {
        let (before, behind) = (pads[i], pads[i + axes.len()]);
        if (before, behind) == (0, 0) && axis(at, shape.len() + 1)? == 0 {
            continue;
        }
        let a = of_image(at, &shape)?;
        let too_far =
            || Stop::Because(format!("{before} and {behind} along axis {at} of {shape:?} per image"));
        let extent = shape[a] as i64;
        let end = extent.checked_add(behind).filter(|_| before != i64::MIN).ok_or_else(too_far)?;
        let length = end.checked_add(before).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        call.draft.count_places(length.ok_or_else(too_far)?)?;
        if mode == Mode::Reflect && before.max(behind) >= extent {
            return Err(Stop::Because(format!("mirrors {} places of {extent}", before.max(behind))));
        }
        let places = (-before..end).map(|at| outside(mode, at, extent));
        if lists[a].replace(places.collect()).is_some() {
            return Err("an axis stands there twice".into());
        }
    }
    if value.abs() > LARGEST {
        return Err(Stop::Because(format!("with {value}; wanted {LARGEST} at most")));
    }
    let name = &call.node.name;
    if mode != Mode::Constant || value == 0.0 {
        return Ok(Value::Wire(call.draft.push(name, Op::Take(lists), &[x])?));
    }
    // Zeros around x - v, and v added again.
    let low = call.draft.push("", Op::Affine { scale: 1.0, shift: -value }, &[x])?;
    let padded = call.draft.push(name, Op::Take(lists), &[low])?;
    Ok(Value::Wire(call.draft.push("", Op::Affine { scale: 1.0, shift: value }, &[padded])?))
}

/// The place that stands at `at`, which may lie in front of an axis of `extent` or behind it.
fn outside(mode: Mode, at: i64, extent: i64) -> Option<usize> {
    let inside = match mode {
        Mode::Constant => at,
        Mode::Edge => at.clamp(0, extent - 1),
        Mode::Wrap => at.rem_euclid(extent),
        Mode::Reflect => {
            let period = (2 * (extent - 1)).max(1);
            let at = at.rem_euclid(period);
            if at < extent { at } else { period - at }
        }
    };
    (0..extent).contains(&inside).then_some(inside as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_outside() {
        let all = |mode| (-3..7).map(|at| outside(mode, at, 4)).collect::<Option<Vec<_>>>();
        assert_eq!(all(Mode::Reflect), Some(vec![3, 2, 1, 0, 1, 2, 3, 2, 1, 0]));
        assert_eq!(all(Mode::Edge), Some(vec![0, 0, 0, 0, 1, 2, 3, 3, 3, 3]));
        assert_eq!(all(Mode::Wrap), Some(vec![1, 2, 3, 0, 1, 2, 3, 0, 1, 2]));
        assert_eq!((outside(Mode::Constant, -1, 4), outside(Mode::Constant, 3, 4)), (None, Some(3)));
    }
}
