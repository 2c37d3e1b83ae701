//! Wires under another shape: nothing is computed.

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value, axis};
use super::constant::BATCH;
use super::rows;

pub(super) fn flatten(mut call: Call<'_>) -> Lowered {
    call.knows(&["axis"])?;
    let at = call.int("axis", 1)?;
    let (x, shape) = call.shaped(0)?;
    // Behind the last axis of an image there is one more place to cut, which leaves nothing of an image together.
    if at == shape.len() as i64 + 1 || of_image(at, &shape)? != 0 {
        return Err(Stop::Because(format!("axis {at} would mix images; wanted 1")));
    }
    call.shown(x, vec![shape.iter().product()])
}

pub(super) fn reshape(mut call: Call<'_>) -> Lowered {
    call.knows(&["allowzero"])?;
    let allow_zero = call.int("allowzero", 0)? != 0;
    let target = call.constant(1)?;
    let (x, shape) = call.shaped(0)?;
    let target = target.int_list()?;
    match (per_image(target, &shape, allow_zero, true), rows::of(target, &shape)) {
        (Ok(dims), _) => call.shown(x, dims),
        (Err(_), Some(dims)) => Ok(Value::Rows(call.view(x, &dims)?)),
        (Err(why), None) => Err(why.into()),
    }
}

/// Extents per image of a Reshape to `target`, whose first entry is the batch. 0 copies the extent at the same place
/// and -1 stands for what is left. Only a constant (`wire` false) may become a scalar.
pub(super) fn per_image(
    target: &[i64],
    shape: &[usize],
    allow_zero: bool,
    wire: bool,
) -> Result<Vec<usize>, String> {
    let mixes = || format!("to {} would mix images of {shape:?}", show(target));
    let Some((first, rest)) = target.split_first() else { return Err(mixes()) };
    let copies = |v: i64| v == 0 && !allow_zero;
    if !(matches!(*first, BATCH | -1 | 1) || copies(*first)) || wire && rest.is_empty() {
        return Err(mixes());
    }
    if target.iter().filter(|&&v| v == -1).count() > 1 {
        return Err(format!("to {} leaves more than one extent open", show(target)));
    }
    let all = crate::graph::elements(shape).ok_or_else(mixes)?;
    let mut dims = Vec::new();
    for (i, &v) in rest.iter().enumerate() {
        dims.push(match v {
            -1 => 1,
            v if copies(v) => *shape.get(i).ok_or_else(mixes)?,
            v => usize::try_from(v).ok().filter(|&d| d > 0).ok_or_else(mixes)?,
        });
    }
    let known = crate::graph::elements(&dims).filter(|&n| n > 0).ok_or_else(mixes)?;
    if let Some(open) = rest.iter().position(|&v| v == -1) {
        dims[open] = all / known;
    }
    if crate::graph::elements(&dims) == Some(all) { Ok(dims) } else { Err(mixes()) }
}

fn show(target: &[i64]) -> String {
    let one = |&v: &i64| if v == BATCH { "batch".into() } else { v.to_string() };
    format!("[{}]", target.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Squeeze and Unsqueeze; the axes are an attribute before opset 13 and an operand since.
pub(super) fn squeeze(mut call: Call<'_>, unsqueeze: bool) -> Lowered {
    call.knows(&["axes"])?;
    let given = call.ints("axes")?;
    let axes: Option<Vec<i64>> = match (given, call.optional(1)?) {
        (Some(a), _) => Some(a.to_vec()),
        (None, Some(t)) => Some(t.int_list()?.to_vec()),
        (None, None) => None,
    };
    let (x, shape) = call.shaped(0)?;
    // The batch counts as an axis of another extent than 1, which may not go.
    let full = [&[usize::MAX], &shape[..]].concat();
    match squeezed(&full, axes, unsqueeze)?.split_first() {
        Some((&usize::MAX, dims)) => {
            let dims = dims.to_vec();
            call.shown(x, dims)
        }
        _ => Err("would put an axis in front of the batch".into()),
    }
}

/// Extents without those axes, or with axes of extent 1 in those places.
pub(super) fn squeezed(dims: &[usize], axes: Option<Vec<i64>>, unsqueeze: bool) -> Result<Vec<usize>, Stop> {
    let axes = match (axes, unsqueeze) {
        (Some(axes), _) => axes,
        (None, true) => return Err("axes are missing".into()),
        (None, false) => (0..dims.len()).filter(|&a| dims[a] == 1).map(|a| a as i64).collect(),
    };
    if axes.len() > crate::graph::MAX_RANK {
        return Err("too many axes".into());
    }
    let rank = if unsqueeze { dims.len() + axes.len() } else { dims.len() };
    let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    if !unsqueeze {
        if let Some(a) = axes.iter().find(|&&a| dims[a] != 1) {
            return Err(Stop::Because(format!("axis {a} has another extent than 1")));
        }
        return Ok((0..rank).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect());
    }
    let mut old = dims.iter();
    let new = (0..rank).map(|a| if axes.contains(&a) { Some(1) } else { old.next().copied() });
    new.collect::<Option<Vec<_>>>()
        .filter(|_| old.next().is_none())
        .ok_or_else(|| "axes stand there twice".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_targets() {
        let shape = [4, 3, 2];
        for (target, want) in [
            (&[-1, 24][..], Ok(vec![24])),
            (&[0, -1], Ok(vec![24])),
            (&[BATCH, 12, -1], Ok(vec![12, 2])),
            (&[1, 0, 6], Ok(vec![4, 6])),
            (&[0, 0, 0, 0], Ok(vec![4, 3, 2])),
            (&[-1, -1], Err("more than one")),
            (&[-1], Err("mix")),
            (&[], Err("mix")),
            (&[-1, 12], Err("mix")),
            (&[2, 24], Err("mix")),
            (&[24, -1], Err("mix")),
            (&[0, 5, -1], Err("mix")),
            (&[0, -7, -1], Err("mix")),
            (&[0, i64::MAX, i64::MAX], Err("mix")),
            (&[0, 24, 1, 1, 0], Err("mix")),
            (&[-1, BATCH], Err("mix")),
        ] {
            match (per_image(target, &shape, false, true), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(why), Err(want)) => assert!(why.contains(want), "{why}"),
                (got, want) => panic!("{target:?}: {got:?}, wanted {want:?}"),
            }
        }
        assert!(per_image(&[0, 24], &shape, true, true).is_err());
        assert!(per_image(&[-1, 0, 6], &shape, true, true).is_err());
    }

    #[test]
    fn squeezes() {
        let ok =
            |dims: &[usize], axes: Option<&[i64]>, un| squeezed(dims, axes.map(<[i64]>::to_vec), un).ok();
        assert_eq!(ok(&[9, 4, 1, 1], Some(&[2, -1]), false), Some(vec![9, 4]));
        assert_eq!(ok(&[9, 4, 1, 1], None, false), Some(vec![9, 4]));
        assert_eq!(ok(&[9, 4, 1, 1], Some(&[1]), false), None);
        assert_eq!(ok(&[9, 4], Some(&[1, -1]), true), Some(vec![9, 1, 4, 1]));
        assert_eq!(ok(&[9], Some(&[0, 0]), true), None);
        assert_eq!(ok(&[9], Some(&[5]), true), None);
        assert_eq!(ok(&[9], None, true), None);
        assert_eq!(ok(&[1], Some(&[i64::MIN]), false), None);
    }
}
