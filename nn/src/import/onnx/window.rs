//! Conv and the pools: everything that slides a window.

use super::call::{Call, Lowered, Stop, axis};
use crate::graph::{MAX_WINDOW, Op, Role};
use twoply_primitives::tensor::Window;

/// Attributes that Conv and the pools share.
const GEOMETRY: [&str; 5] = ["auto_pad", "dilations", "kernel_shape", "pads", "strides"];

/// What the attributes say; `SAME` padding needs the operand's extents.
struct Geometry {
    kernel: Option<[usize; 2]>,
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

enum Padding {
    Given([usize; 4]),
    /// As many outputs as the stride leaves room for; an odd rest goes to the end (`true`) or the beginning.
    Same(bool),
}

impl Geometry {
    fn read(call: &Call<'_>, others: &[&str]) -> Result<Geometry, Stop> {
        call.knows(&[&GEOMETRY, others].concat())?;
        let kernel = call.extents::<2>("kernel_shape")?;
        let stride = call.extents::<2>("strides")?.unwrap_or([1; 2]);
        let dilation = call.extents::<2>("dilations")?.unwrap_or([1; 2]);
        let pads = call.extents::<4>("pads")?;
        let numbers = kernel.iter().flatten().chain(&stride).chain(&dilation);
        if numbers.clone().any(|&v| v == 0) || numbers.chain(pads.iter().flatten()).any(|&v| v > MAX_WINDOW) {
            return Err(Stop::Because(format!("window extents must be 1 to {MAX_WINDOW}")));
        }
        let padding = match call.text("auto_pad")?.as_deref() {
            None | Some("NOTSET" | "") => Padding::Given(pads.unwrap_or([0; 4])),
            // The specification forbids both; zeros do no harm.
            Some(_) if pads.is_some_and(|p| p != [0; 4]) => return Err("both auto_pad and pads".into()),
            Some("VALID") => Padding::Given([0; 4]),
            Some("SAME_UPPER") => Padding::Same(true),
            Some("SAME_LOWER") => Padding::Same(false),
            Some(other) => return Err(Stop::Because(format!("unknown auto_pad `{}`", other.escape_debug()))),
        };
        Ok(Geometry { kernel, stride, dilation, padding })
    }

    fn window(&self, kernel: [usize; 2], [h, w]: [usize; 2]) -> Window {
        let pad = match self.padding {
            Padding::Given(pad) => pad,
            Padding::Same(upper) => {
                let mut pad = [0; 4];
                for (a, size) in [h, w].into_iter().enumerate() {
                    let span = self.dilation[a] * (kernel[a] - 1) + 1;
                    let needed = (size.div_ceil(self.stride[a]) - 1) * self.stride[a] + span;
                    let total = needed.saturating_sub(size);
                    let (less, more) = (total / 2, total - total / 2);
                    (pad[a], pad[a + 2]) = if upper { (less, more) } else { (more, less) };
                }
                pad
            }
        };
        Window { kernel, stride: self.stride, pad, dilation: self.dilation }
    }
}

pub(super) fn conv(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["group"])?;
    let groups = call.int("group", 1)?;
    let groups = usize::try_from(groups).map_err(|_| format!("{groups} groups"))?;
    let (x, shape) = call.shaped(0)?;
    let (weight, bias) = (call.constant(1)?, call.optional(2)?);
    let (&[_, h, w], &[_, _, kh, kw]) = (&shape[..], &weight.dims[..]) else {
        return Err(Stop::Because(format!(
            "only two-dimensional convolutions; here a weight of shape {:?} on {shape:?} per image",
            weight.dims
        )));
    };
    if geometry.kernel.is_some_and(|k| k != [kh, kw]) || kh == 0 || kw == 0 {
        return Err(Stop::Because(format!("kernel_shape differs from the weight's shape {:?}", weight.dims)));
    }
    let window = geometry.window([kh, kw], [h, w]);
    let names = &call.node.input;
    let w = call.draft.param(&names[1], &weight.dims, Role::Weight, weight.floats()?.to_vec())?;
    let b = match bias {
        Some(bias) => Some(call.draft.param(&names[2], &bias.dims, Role::Bias, bias.floats()?.to_vec())?),
        None => None,
    };
    call.push(Op::Conv2d { weight: w, bias: b, window, groups }, &[x])
}

pub(super) fn max_pool(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["ceil_mode", "storage_order"])?;
    let (x, window) = pool_window(&call, &geometry)?;
    call.push(Op::MaxPool(window), &[x])
}

pub(super) fn average_pool(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["ceil_mode", "count_include_pad"])?;
    let count_include_pad = call.int("count_include_pad", 0)? != 0;
    let (x, window) = pool_window(&call, &geometry)?;
    call.push(Op::AvgPool { window, count_include_pad }, &[x])
}

fn pool_window(call: &Call<'_>, geometry: &Geometry) -> Result<(crate::graph::Source, Window), Stop> {
    let ceil = call.int("ceil_mode", 0)? != 0;
    let kernel = geometry.kernel.ok_or("attribute `kernel_shape` is missing")?;
    let (x, shape) = call.shaped(0)?;
    let &[_, h, w] = &shape[..] else {
        return Err(Stop::Because(format!("only two-dimensional pools; here on {shape:?} per image")));
    };
    let window = geometry.window(kernel, [h, w]);
    if ceil && let Some(why) = ceil_differs(&window, [h, w]) {
        return Err(Stop::Because(why));
    }
    Ok((x, window))
}

/// With ceil_mode a last window may hang over the end, as long as it starts before the end of the operand and its leading
/// padding. Returns why that gives other extents, if it does.
fn ceil_differs(window: &Window, size: [usize; 2]) -> Option<String> {
    let floor = window.output(size[0], size[1]).ok()?;
    let mut ceil = floor;
    for (a, &size) in size.iter().enumerate() {
        let (stride, span) = (window.stride[a], window.dilation[a] * (window.kernel[a] - 1) + 1);
        let padded = size + window.pad[a] + window.pad[a + 2];
        let rest = (padded - span) % stride;
        if rest != 0 && floor[a] * stride < size + window.pad[a] {
            ceil[a] += 1;
        }
    }
    (ceil != floor)
        .then(|| format!("ceil_mode=1 gives {ceil:?} instead of {floor:?}; export with ceil_mode=False"))
}

/// Zeros around the planes; into nothing else may be padded.
pub(super) fn pad(mut call: Call<'_>) -> Lowered {
    call.knows(&["mode", "pads", "value"])?;
    if let Some(mode) = call.text("mode")?
        && mode != "constant"
    {
        return Err(Stop::Because(format!("mode {}: only zeros", mode.escape_debug())));
    }
    let filled = match call.optional(2)? {
        Some(t) => t.floats()?.iter().any(|v| *v != 0.0),
        None => call.float("value", 0.0)? != 0.0,
    };
    if filled {
        return Err("with another value than zero".into());
    }
    let pads = match (call.ints("pads")?, call.optional(1)?) {
        (Some(list), _) => list.to_vec(),
        (None, Some(t)) => t.int_list()?.to_vec(),
        (None, None) => return Err("says not how far".into()),
    };
    let (x, shape) = call.shaped(0)?;
    let rank = shape.len() + 1;
    let axes = match call.optional(3)? {
        Some(t) => t.int_list()?.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if rank != 4 || pads.len() != 2 * axes.len() {
        return Err(Stop::Because(format!("{} pads on {shape:?} per image; wanted [c, h, w]", pads.len())));
    }
    let mut around = [0; 4];
    for (i, &at) in axes.iter().enumerate() {
        for (side, &p) in [pads[i], pads[i + axes.len()]].iter().enumerate() {
            match (usize::try_from(p), at) {
                (Ok(0), _) => {}
                (Ok(p), 2 | 3) => around[2 * side + at - 2] = p,
                (Ok(_), _) => return Err(Stop::Because(format!("along axis {at}; wanted the planes"))),
                (Err(_), _) => return Err(Stop::Because(format!("a negative pad, {p}"))),
            }
        }
    }
    call.push(Op::Pad(around), &[x])
}

/// GlobalAveragePool and GlobalMaxPool: one window as large as the operand.
pub(super) fn global_pool(mut call: Call<'_>, average: bool) -> Lowered {
    call.knows(&[])?;
    let (x, shape) = call.shaped(0)?;
    let window = whole(&shape)?;
    let op = if average { Op::AvgPool { window, count_include_pad: false } } else { Op::MaxPool(window) };
    call.push(op, &[x])
}

/// ReduceMean over height and width, which is how some exporters write a global average pool.
pub(super) fn reduce_mean(mut call: Call<'_>) -> Lowered {
    call.knows(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let keep = call.int("keepdims", 1)? != 0;
    let given = call.ints("axes")?;
    let (x, shape) = call.shaped(0)?;
    let axes: Vec<i64> = match (given, call.optional(1)?) {
        (Some(axes), None) => axes.to_vec(),
        (None, Some(axes)) => axes.int_list()?.to_vec(),
        _ => Vec::new(),
    };
    let rank = shape.len() + 1;
    let mut axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes != [2, 3] || rank != 4 {
        return Err(Stop::Because(format!(
            "only the mean over height and width; here axes {axes:?} of {rank}"
        )));
    }
    let op = Op::AvgPool { window: whole(&shape)?, count_include_pad: false };
    let mean = call.draft.push(&call.node.name, op, &[x])?;
    match keep {
        true => Ok(super::call::Value::Wire(mean)),
        false => call.push(Op::Reshape(vec![shape[0]]), &[mean]),
    }
}

fn whole(shape: &[usize]) -> Result<Window, Stop> {
    match shape {
        &[_, h, w] => Ok(Window { kernel: [h, w], ..Window::square(1, 1) }),
        _ => Err(Stop::Because(format!("takes [c, h, w] per image, found {shape:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_and_ceil_mode() {
        let geometry = |stride, upper| Geometry {
            kernel: None,
            stride: [stride; 2],
            dilation: [1; 2],
            padding: Padding::Same(upper),
        };
        for (size, kernel, stride) in (1..60).map(|i| (1 + i % 12, 1 + i % 5, 1 + i % 3)) {
            let upper = geometry(stride, true).window([kernel; 2], [size; 2]);
            let lower = geometry(stride, false).window([kernel; 2], [size; 2]);
            assert_eq!(
                upper.output(size, size).unwrap(),
                [size.div_ceil(stride); 2],
                "{size} {kernel} {stride}"
            );
            assert_eq!([upper.pad[0], upper.pad[2]], [lower.pad[2], lower.pad[0]]);
            assert!(upper.pad[2] - upper.pad[0] <= 1);
        }
        assert_eq!(ceil_differs(&Window::square(2, 2), [6, 6]), None);
        assert!(ceil_differs(&Window::square(2, 2), [7, 6]).unwrap().contains("[4, 3] instead of [3, 3]"));
        // ResNet's pool: the 57th window starts at 112, which is in front of the trailing padding at 113.
        assert!(ceil_differs(&Window::square(3, 2).padded(1), [112, 112]).is_some());
        // A second window would start at 3, in the trailing padding.
        assert_eq!(ceil_differs(&Window { pad: [0, 0, 2, 2], ..Window::square(2, 3) }, [3, 3]), None);
    }
}
