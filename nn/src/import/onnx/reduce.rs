//! ReduceMean, ReduceSum, ReduceMax and ReduceMin: a pool with one window over the axes that go.

use super::axes::of_images;
use super::call::{Call, Lowered, Stop, Value};
use super::window::whole;
use crate::graph::{MAX_WINDOW, Op, Source};

/// The axes are an attribute before opset 18 (13 for sums) and an operand since.
pub(super) fn reduce(mut call: Call<'_>) -> Lowered {
    call.knows(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let keep = call.int("keepdims", 1)? != 0;
    let idle = call.int("noop_with_empty_axes", 0)? != 0;
    let axes = match (call.ints("axes")?, call.optional(1)?) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(axes)) => axes.int_list()?.to_vec(),
        (None, None) => Vec::new(),
    };
    let (x, shape) = call.shaped(0)?;
    if axes.is_empty() && idle {
        return Ok(Value::Wire(x));
    }
    if axes.is_empty() {
        return Err("over all axes, which would mix images".into());
    }
    let gone = of_images(&axes, &shape)?;
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !gone.contains(a)).collect();
    let dims: Vec<usize> = match keep {
        true => (0..shape.len()).map(|a| if gone.contains(&a) { 1 } else { shape[a] }).collect(),
        false => kept.iter().map(|&a| shape[a]).collect(),
    };
    let x = call.step(Op::Transpose([kept.clone(), gone.clone()].concat()), &[x])?;
    let extents = |axes: &[usize]| axes.iter().map(|&a| shape[a]).collect::<Vec<_>>();
    let [h, w] = halves(&extents(&gone))?;
    let x = call.view(x, &[extents(&kept).iter().product(), h, w])?;
    let y = pooled(&mut call, x, whole(h, w))?;
    call.shown(y, dims)
}

fn pooled(call: &mut Call<'_>, x: Source, window: twoply_primitives::Window) -> Result<Source, Stop> {
    let name = &call.node.name;
    let minus = Op::Affine { scale: -1.0, shift: 0.0 };
    Ok(match call.node.op_type.as_str() {
        "ReduceMean" => call.draft.push(name, Op::AvgPool { window, count_include_pad: false }, &[x])?,
        "ReduceSum" => call.draft.push(name, Op::SumPool(window), &[x])?,
        "ReduceMax" => call.draft.push(name, Op::MaxPool(window), &[x])?,
        _ => {
            let low = call.draft.push("", minus.clone(), &[x])?;
            let most = call.draft.push(name, Op::MaxPool(window), &[low])?;
            call.draft.push("", minus, &[most])?
        }
    })
}

/// The axes under a window as two, neither too long for one.
fn halves(extents: &[usize]) -> Result<[usize; 2], Stop> {
    let product = |s: &[usize]| s.iter().product::<usize>();
    let cut = |at: usize| [product(&extents[..at]), product(&extents[at..])];
    let fits = |halves: &[usize; 2]| halves.iter().all(|&n| n <= MAX_WINDOW);
    // As they are if they are two.
    let natural = extents.len() - extents.len().min(1);
    std::iter::once(natural).chain(0..=extents.len()).map(cut).find(fits).ok_or_else(|| {
        Stop::Because(format!("over {extents:?} places, more than {MAX_WINDOW} along one axis"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_over_any_axes() {
        assert_eq!(halves(&[7]).ok(), Some([1, 7]));
        assert_eq!(halves(&[7, 5]).ok(), Some([7, 5]));
        assert_eq!(halves(&[2, 3, 5]).ok(), Some([6, 5]));
        assert_eq!(halves(&[4000, 2, 2000]).ok(), Some([4000, 4000]));
        assert!(halves(&[5000]).is_err());
    }
}
