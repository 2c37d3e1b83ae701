//! Sums, means, norms and extremes of constants along axes.

use super::super::call::{Call, Stop};
use super::super::tensor::{Places, Tensor, steps};
use super::{BATCH, Folded, axes, spend};

pub(super) fn reduce(call: &mut Call<'_>) -> Folded {
    call.knows(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let op = call.node.op_type.as_str();
    let (keep, noop) = (call.int("keepdims", 1)? != 0, call.int("noop_with_empty_axes", 0)? != 0);
    let t = call.exact(0)?;
    let rank = t.dims.len();
    let axes = match axes(call, rank)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes,
        None if noop => Vec::new(),
        None => (0..rank).collect(),
    };
    spend(call, &t.dims)?;
    if axes.is_empty() {
        return Ok(vec![Tensor::clone(&t)]);
    }
    let along = |a: usize| axes.contains(&a);
    let all = steps(&t.dims);
    // The kept axes outside, the others inside.
    let part = |inside: bool| -> (Vec<usize>, Vec<isize>) {
        (0..rank).filter(|&a| along(a) == inside).map(|a| (t.dims[a], all[a])).unzip()
    };
    let ((outer, outer_walk), (inner, inner_walk)) = (part(false), part(true));
    let dims = match keep {
        true => (0..rank).map(|a| if along(a) { 1 } else { t.dims[a] }).collect(),
        false => outer.clone(),
    };
    spend(call, &dims)?;
    let firsts = Places::new(&outer, &outer_walk, 0);
    let places = |first: usize| Places::new(&inner, &inner_walk, first as isize);
    if let Ok(v) = t.integers() {
        if v.contains(&BATCH) {
            return Err(
                "over a shape with the number of images, which is open; only their own axis may depend on it"
                    .into(),
            );
        }
        let values = firsts.map(|first| whole(op, places(first).map(|i| v[i]))).collect::<Option<Vec<_>>>();
        let values = values.ok_or("of integers")?;
        return Ok(vec![Tensor::wholes(t.kind(), dims, values.into_iter())]);
    }
    let values = firsts.map(|first| real(op, places(first).map(|i| t.real(i)))).collect::<Option<Vec<f64>>>();
    let values = values.ok_or_else(|| Stop::Because("of nothing".into()))?;
    Ok(vec![Tensor::reals(t.kind(), dims, values.into_iter())])
}

fn real(op: &str, values: impl Iterator<Item = f64>) -> Option<f64> {
    Some(match op {
        "ReduceSum" => values.sum(),
        "ReduceProd" => values.product(),
        "ReduceMean" => {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
            sum / count
        }
        "ReduceMax" => return values.reduce(f64::max),
        "ReduceMin" => return values.reduce(f64::min),
        "ReduceL1" => values.map(f64::abs).sum(),
        "ReduceL2" => values.map(|v| v * v).sum::<f64>().sqrt(),
        "ReduceSumSquare" => values.map(|v| v * v).sum(),
        _ => return None,
    })
}

fn whole(op: &str, mut values: impl Iterator<Item = i64>) -> Option<i64> {
    Some(match op {
        "ReduceSum" => values.fold(0, i64::wrapping_add),
        "ReduceProd" => values.fold(1, i64::wrapping_mul),
        "ReduceMax" => return values.max(),
        "ReduceMin" => return values.min(),
        "ReduceMean" => {
            let (sum, count) = values.by_ref().fold((0i64, 0), |(sum, n), v| (sum.wrapping_add(v), n + 1));
            return sum.checked_div(count);
        }
        _ => return None,
    })
}
