//! MaxPool, AveragePool, and the pools over everything.

use super::call::{Call, Lowered, Stop};
use super::window::{Auto, Geometry, Plane, whole};
use crate::graph::Op;
use twoply_primitives::tensor::Window;

pub(super) fn max_pool(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["ceil_mode", "storage_order"])?;
    let (plane, mut window, overhang) = windows(&mut call, &geometry)?;
    (window.pad[2], window.pad[3]) = (window.pad[2] + overhang[0], window.pad[3] + overhang[1]);
    let y = call.draft.push(&call.node.name, Op::MaxPool(window), &[plane.x])?;
    plane.back(&mut call, y)
}

/// Padding counts as zeros if `count_include_pad`; what hangs over the padding never counts.
pub(super) fn average_pool(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["ceil_mode", "count_include_pad"])?;
    let mut count_include_pad = call.int("count_include_pad", 0)? != 0;
    let (mut plane, mut window, overhang) = windows(&mut call, &geometry)?;
    if count_include_pad && (overhang != [0; 2] || far(&window)) {
        let ([h, w], [top, left, bottom, right]) = (plane.size, window.pad);
        let around = |before: usize, n: usize, behind: usize| {
            let outside = |n| std::iter::repeat_n(None, n);
            Some(outside(before).chain((0..n).map(Some)).chain(outside(behind)).collect())
        };
        call.draft.count_places(h + w + top + left + bottom + right)?;
        plane.x =
            call.step(Op::Take(vec![None, around(top, h, bottom), around(left, w, right)]), &[plane.x])?;
        (window.pad, count_include_pad) = ([0; 4], false);
    }
    (window.pad[2], window.pad[3]) = (window.pad[2] + overhang[0], window.pad[3] + overhang[1]);
    let y = call.draft.push(&call.node.name, Op::AvgPool { window, count_include_pad }, &[plane.x])?;
    plane.back(&mut call, y)
}

/// Whether some window may cover nothing but padding.
fn far(window: &Window) -> bool {
    (0..2).any(|a| {
        let span = window.dilation[a] * (window.kernel[a] - 1) + 1;
        window.pad[a].max(window.pad[a + 2]) >= span || window.dilation[a] > 1
    })
}

fn windows(call: &mut Call<'_>, geometry: &Geometry) -> Result<(Plane, Window, [usize; 2]), Stop> {
    let ceil = call.int("ceil_mode", 0)? != 0;
    let kernel = geometry.kernel.as_ref().ok_or("attribute `kernel_shape` is missing")?;
    let plane = Plane::of(call)?;
    let kernel =
        plane.two(kernel, 1).ok_or_else(|| super::window::wrong("kernel_shape", kernel, plane.axes))?;
    let window = geometry.window(kernel, &plane)?;
    if ceil && geometry.auto == Auto::Valid {
        return Err("auto_pad VALID with ceil_mode, of which readers of ONNX files follow one or the other; leave one out".into());
    }
    let short = |a: usize| {
        (plane.size[a].div_ceil(window.stride[a]) - 1) * window.stride[a] + kernel[a] < plane.size[a]
    };
    if matches!(geometry.auto, Auto::Same(_)) && (short(0) || short(1)) {
        return Err("auto_pad SAME with a stride beyond the kernel, which some readers of ONNX files refuse and others begin at \
                    different places; export explicit pads"
            .into());
    }
    let overhang = if ceil && geometry.auto == Auto::Given { overhang(&window, plane.size) } else { [0; 2] };
    Ok((plane, window, overhang))
}

/// With ceil_mode a last window may hang over the end, as long as it starts before the end of the operand and its leading
/// padding: how far it does.
fn overhang(window: &Window, size: [usize; 2]) -> [usize; 2] {
    let mut beyond = [0; 2];
    for (a, &size) in size.iter().enumerate() {
        let (stride, span) = (window.stride[a], window.dilation[a] * (window.kernel[a] - 1) + 1);
        let padded = size + window.pad[a] + window.pad[a + 2];
        let start = padded.saturating_sub(span).div_ceil(stride) * stride;
        if start < size + window.pad[a] {
            beyond[a] = (start + span).saturating_sub(padded);
        }
    }
    beyond
}

/// GlobalAveragePool and GlobalMaxPool: one window as large as the operand.
pub(super) fn global_pool(mut call: Call<'_>, average: bool) -> Lowered {
    call.knows(&[])?;
    let plane = Plane::of(&mut call)?;
    let window = whole(plane.size[0], plane.size[1]);
    let op = if average { Op::AvgPool { window, count_include_pad: false } } else { Op::MaxPool(window) };
    let y = call.draft.push(&call.node.name, op, &[plane.x])?;
    plane.back(&mut call, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceil_mode() {
        assert_eq!(overhang(&Window::square(2, 2), [6, 6]), [0, 0]);
        assert_eq!(overhang(&Window::square(2, 2), [7, 6]), [1, 0]);
        // ResNet's pool: the 57th window starts at 112, which is in front of the trailing padding at 113.
        assert_eq!(overhang(&Window::square(3, 2).padded(1), [112, 111]), [1, 0]);
        // A second window would start at 3, in the trailing padding.
        assert_eq!(overhang(&Window { pad: [0, 0, 2, 2], ..Window::square(2, 3) }, [3, 3]), [0, 0]);
    }
}
