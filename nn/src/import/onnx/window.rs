//! Geometry of everything that slides a window: Conv, ConvTranspose and the pools, along one axis or two. The graph knows
//! planes only; what lies along one axis is a plane of height 1.

use super::call::{Call, Lowered, Stop, Value};
use crate::graph::{MAX_WINDOW, Source};
use twoply_primitives::tensor::Window;

/// Attributes that all of them share.
const GEOMETRY: [&str; 5] = ["auto_pad", "dilations", "kernel_shape", "pads", "strides"];

/// A wire as `[c, h, w]`.
pub(super) struct Plane {
    pub(super) x: Source,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// 1 or 2: along how many axes windows slide.
    pub(super) axes: usize,
}

impl Plane {
    /// Operand 0.
    pub(super) fn of(call: &mut Call<'_>) -> Result<Plane, Stop> {
        let (x, shape) = call.shaped(0)?;
        match shape[..] {
            [channels, h, w] => Ok(Plane { x, channels, size: [h, w], axes: 2 }),
            [channels, l] => {
                let x = call.view(x, &[channels, 1, l])?;
                Ok(Plane { x, channels, size: [1, l], axes: 1 })
            }
            _ => Err(Stop::Because(format!(
                "windows slide along one axis or two of [c, l] or [c, h, w]; here {shape:?} per image"
            ))),
        }
    }
    /// A result under as many axes as the operand had.
    pub(super) fn back(&self, call: &mut Call<'_>, y: Source) -> Lowered {
        match call.draft.shape(y) {
            &[c, 1, l] if self.axes == 1 => Ok(Value::Wire(call.view(y, &[c, l])?)),
            _ => Ok(Value::Wire(y)),
        }
    }
    /// One number per axis as two; `one` for the axis that is not there.
    pub(super) fn two(&self, list: &[usize], one: usize) -> Option<[usize; 2]> {
        match (list, self.axes) {
            (&[h, w], 2) => Some([h, w]),
            (&[l], 1) => Some([one, l]),
            _ => None,
        }
    }
    /// Beginnings and ends of all axes as top, left, bottom, right.
    fn four(&self, list: &[usize]) -> Option<[usize; 4]> {
        let (before, behind) = list.split_at(list.len() / 2);
        let ([top, left], [bottom, right]) = (self.two(before, 0)?, self.two(behind, 0)?);
        Some([top, left, bottom, right])
    }
}

/// What the attributes say.
pub(super) struct Geometry {
    pub(super) kernel: Option<Vec<usize>>,
    stride: Option<Vec<usize>>,
    dilation: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    pub(super) auto: Auto,
}

/// How padding is found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Auto {
    Given,
    Valid,
    /// As many outputs as the stride leaves room for; an odd rest goes to the end (`true`) or the beginning.
    Same(bool),
}

impl Geometry {
    pub(super) fn read(call: &Call<'_>, others: &[&str]) -> Result<Geometry, Stop> {
        call.knows(&[&GEOMETRY, others].concat())?;
        let kernel = extents(call, "kernel_shape")?;
        let stride = extents(call, "strides")?;
        let dilation = extents(call, "dilations")?;
        let pads = extents(call, "pads")?;
        let numbers = || [&kernel, &stride, &dilation].into_iter().flatten().flatten();
        if numbers().any(|&v| v == 0) || numbers().chain(pads.iter().flatten()).any(|&v| v > MAX_WINDOW) {
            return Err(Stop::Because(format!("window extents must be 1 to {MAX_WINDOW}")));
        }
        let auto = match call.text("auto_pad")?.as_deref() {
            None | Some("NOTSET" | "") => Auto::Given,
            // The specification forbids both; zeros do no harm.
            Some(_) if pads.iter().flatten().any(|&p| p != 0) => return Err("both auto_pad and pads".into()),
            Some("VALID") => Auto::Valid,
            Some("SAME_UPPER") => Auto::Same(true),
            Some("SAME_LOWER") => Auto::Same(false),
            Some(other) => return Err(Stop::Because(format!("unknown auto_pad `{}`", other.escape_debug()))),
        };
        Ok(Geometry { kernel, stride, dilation, pads, auto })
    }

    /// The window with explicit padding; none where padding has to be found yet.
    pub(super) fn given(&self, kernel: [usize; 2], plane: &Plane) -> Result<Window, Stop> {
        let two = |list: &Option<Vec<usize>>, name: &str| match list {
            None => Ok([1; 2]),
            Some(list) => plane.two(list, 1).ok_or_else(|| wrong(name, list, plane.axes)),
        };
        let pad = match &self.pads {
            None => [0; 4],
            Some(list) => plane.four(list).ok_or_else(|| wrong("pads", list, 2 * plane.axes))?,
        };
        let (stride, dilation) = (two(&self.stride, "strides")?, two(&self.dilation, "dilations")?);
        Ok(Window { kernel, stride, pad, dilation })
    }

    /// The window on a plane.
    pub(super) fn window(&self, kernel: [usize; 2], plane: &Plane) -> Result<Window, Stop> {
        let mut window = self.given(kernel, plane)?;
        if let Auto::Same(upper) = self.auto {
            for (a, size) in plane.size.into_iter().enumerate() {
                (window.pad[a], window.pad[a + 2]) = same(&window, a, size, upper)?;
            }
        }
        Ok(window)
    }
}

/// Padding along one axis for as many outputs as the stride leaves room for. Where readers of such files start at different
/// rows, there is no right answer.
fn same(window: &Window, a: usize, size: usize, upper: bool) -> Result<(usize, usize), Stop> {
    let (kernel, stride) = (window.kernel[a], window.stride[a]);
    if window.dilation[a] != 1 {
        return Err("auto_pad SAME with dilations, which readers of ONNX files understand differently; export explicit pads"
            .into());
    }
    let needed = (size.div_ceil(stride) - 1) * stride + kernel;
    let total = needed.saturating_sub(size);
    // TensorFlow starts at row 0; ONNX Runtime splits a negative padding like any other, or refuses it.
    if needed + 1 < size {
        return Err("auto_pad SAME with a stride beyond the kernel, which TensorFlow and ONNX Runtime begin at different \
                    rows; export explicit pads"
            .into());
    }
    let (less, more) = (total / 2, total - total / 2);
    Ok(if upper { (less, more) } else { (more, less) })
}

fn extents(call: &Call<'_>, name: &str) -> Result<Option<Vec<usize>>, Stop> {
    let Some(list) = call.ints(name)? else { return Ok(None) };
    let extents: Option<Vec<usize>> = list.iter().map(|&v| usize::try_from(v).ok()).collect();
    match extents {
        Some(extents) => Ok(Some(extents)),
        None => Err(Stop::Because(format!("attribute `{name}` is {list:?}, wanted numbers, none negative"))),
    }
}

pub(super) fn wrong(name: &str, list: &[usize], wanted: usize) -> Stop {
    Stop::Because(format!("attribute `{name}` is {list:?}, wanted {wanted} numbers"))
}

/// One window as large as the last two extents of `[c, h, w]`.
pub(super) fn whole(h: usize, w: usize) -> Window {
    Window { kernel: [h, w], ..Window::square(1, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding() {
        let pad = |size, kernel, stride, upper| {
            let window = Window { kernel: [kernel; 2], ..Window::square(1, stride) };
            same(&window, 0, size, upper)
                .ok()
                .map(|(before, behind)| Window { pad: [before, before, behind, behind], ..window })
        };
        for (size, kernel, stride) in (1..200).map(|i| (1 + i % 12, 1 + i % 5, 1 + i % 3)) {
            let (upper, lower) = (pad(size, kernel, stride, true), pad(size, kernel, stride, false));
            let (Some(upper), Some(lower)) = (upper, lower) else {
                assert!(stride > kernel + 1, "{size} {kernel} {stride}");
                continue;
            };
            assert_eq!(
                upper.output(size, size).unwrap(),
                [size.div_ceil(stride); 2],
                "{size} {kernel} {stride}"
            );
            assert_eq!([upper.pad[0], upper.pad[2]], [lower.pad[2], lower.pad[0]]);
            assert!(upper.pad[2] - upper.pad[0] <= 1);
        }
        // The 1x1 convolutions of stride 2 that every residual network has start at row 0 everywhere.
        assert_eq!(pad(8, 1, 2, true).unwrap().pad, [0; 4]);
        assert!(pad(12, 1, 4, true).is_none());
    }
}
