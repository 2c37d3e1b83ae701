//! Conv and ConvTranspose.

use super::call::{Call, Lowered, Stop};
use super::window::{Auto, Geometry, Plane, wrong};
use crate::graph::{MAX_WINDOW, Op, Role};
use twoply_primitives::tensor::Window;

/// Weight and bias, whose shapes were looked at.
struct Kernel {
    size: [usize; 2],
    groups: usize,
    /// First two extents of the weight.
    outer: [usize; 2],
    values: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Kernel {
    fn read(call: &Call<'_>, geometry: &Geometry, plane: &Plane, groups: i64) -> Result<Kernel, Stop> {
        let groups = usize::try_from(groups).map_err(|_| format!("{groups} groups"))?;
        let (weight, bias) = (call.constant(1)?, call.optional(2)?);
        let Some((&[a, b], spatial)) = weight.dims.split_first_chunk::<2>() else {
            return Err(Stop::Because(format!("a weight of shape {:?}", weight.dims)));
        };
        let Some(size) = plane.two(spatial, 1) else {
            return Err(Stop::Because(format!(
                "a weight of shape {:?} on windows along {} axes",
                weight.dims, plane.axes
            )));
        };
        if geometry.kernel.as_ref().is_some_and(|k| k != spatial) || size.contains(&0) || a * b == 0 {
            return Err(Stop::Because(format!(
                "kernel_shape differs from the weight's shape {:?}",
                weight.dims
            )));
        }
        let bias = bias.map(|t| t.floats().map(<[f32]>::to_vec)).transpose()?;
        Ok(Kernel { size, groups, outer: [a, b], values: weight.floats()?.to_vec(), bias })
    }

    /// The convolution with a weight `[outputs, channels / groups, ..]`.
    fn convolve(self, call: &mut Call<'_>, plane: &Plane, window: Window) -> Lowered {
        let [outputs, inputs] = self.outer;
        let names = &call.node.input;
        let shape = [outputs, inputs, self.size[0], self.size[1]];
        let weight = call.draft.param(&names[1], &shape, Role::Weight, self.values)?;
        let bias = match self.bias {
            Some(bias) => Some(call.draft.param(&names[2], &[bias.len()], Role::Bias, bias)?),
            None => None,
        };
        let op = Op::Conv2d { weight, bias, window, groups: self.groups };
        let y = call.draft.push(&call.node.name, op, &[plane.x])?;
        plane.back(call, y)
    }
}

pub(super) fn conv(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["group"])?;
    let groups = call.int("group", 1)?;
    let plane = Plane::of(&mut call)?;
    let kernel = Kernel::read(&call, &geometry, &plane, groups)?;
    let window = geometry.window(kernel.size, &plane)?;
    kernel.convolve(&mut call, &plane, window)
}

/// Zeros between the places of the operand and around them, and then a convolution with the kernel turned round.
pub(super) fn conv_transpose(mut call: Call<'_>) -> Lowered {
    let geometry = Geometry::read(&call, &["group", "output_padding", "output_shape"])?;
    let groups = call.int("group", 1)?;
    let (extra, wanted) = (call.ints("output_padding")?, call.ints("output_shape")?);
    let mut plane = Plane::of(&mut call)?;
    let mut kernel = Kernel::read(&call, &geometry, &plane, groups)?;
    let list = |name: &str, given: Option<&[i64]>, one: usize| match given {
        None => Ok(None),
        Some(list) => {
            let list: Vec<usize> = list.iter().map(|&v| usize::try_from(v).unwrap_or(usize::MAX)).collect();
            plane.two(&list, one).map(Some).ok_or_else(|| wrong(name, &list, plane.axes))
        }
    };
    let extra = list("output_padding", extra, 0)?.unwrap_or([0; 2]);
    let wanted = list("output_shape", wanted, 1)?;
    let stretched = geometry.given(kernel.size, &plane)?;
    let most = MAX_WINDOW * (MAX_WINDOW + 1);
    let mut lists = vec![None];
    for a in 0..2 {
        let (size, stride) = (plane.size[a], stretched.stride[a]);
        let span = stretched.dilation[a] * (kernel.size[a] - 1) + 1;
        if extra[a] > MAX_WINDOW || wanted.is_some_and(|w| w[a] > most) || size > most {
            return Err("a result that is too large".into());
        }
        // The whole result, from which padding is cut.
        let mut all = stride * (size - 1) + span + extra[a];
        let mut cut = [stretched.pad[a], stretched.pad[a + 2]];
        let target = match geometry.auto {
            Auto::Same(_) if all < size * stride => {
                return Err(
                    "auto_pad SAME with a stride beyond the kernel, which readers of ONNX files understand \
                            differently; export explicit pads"
                        .into(),
                );
            }
            Auto::Same(_) => Some(wanted.map_or(size * stride, |w| w[a])),
            _ => wanted.map(|w| w[a]),
        };
        if let Some(target) = target {
            let total = all.saturating_sub(target);
            let (less, more) = (total / 2, total - total / 2);
            cut = if geometry.auto == Auto::Same(true) { [less, more] } else { [more, less] };
            all = all.max(target);
        }
        if all <= cut[0] + cut[1] {
            return Err("its padding leaves no place".into());
        }
        // A window that ends at place `at` of the result begins at this place of the stretched operand.
        let length = all - cut[0] - cut[1] + span - 1;
        call.draft.count_places(length)?;
        let place = |i: usize| {
            let at = (i + cut[0]).checked_sub(span - 1)?;
            (at % stride == 0 && at / stride < size).then_some(at / stride)
        };
        lists.push(Some((0..length).map(place).collect()));
    }
    plane.x = call.step(Op::Take(lists), &[plane.x])?;
    kernel.turn(plane.channels)?;
    let window = Window { stride: [1; 2], pad: [0; 4], ..stretched };
    kernel.convolve(&mut call, &plane, window)
}

impl Kernel {
    /// From `[channels, outputs / groups, kh, kw]` to `[outputs, channels / groups, kh, kw]`, turned by half a circle.
    fn turn(&mut self, channels: usize) -> Result<(), Stop> {
        let ([c, per_group], groups) = (self.outer, self.groups);
        if c != channels || groups == 0 || c % groups != 0 {
            return Err(Stop::Because(format!("a weight for {c} channels in {groups} groups on {channels}")));
        }
        let (taps, inputs) = (self.size[0] * self.size[1], c / groups);
        let mut turned = Vec::with_capacity(self.values.len());
        for (group, output, input) in
            (0..groups).flat_map(|g| (0..per_group).flat_map(move |o| (0..inputs).map(move |i| (g, o, i))))
        {
            let from = ((group * inputs + input) * per_group + output) * taps;
            turned.extend(self.values[from..from + taps].iter().rev());
        }
        self.outer = [per_group * groups, inputs];
        self.values = turned;
        Ok(())
    }
}
