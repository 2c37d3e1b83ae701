//! Resize and Upsample to the nearest element. Which one is nearest depends on how the file maps places, on rounding, and on the
//! precision of the reader; where readers may differ the node is refused.

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value, axis};
use crate::graph::{Op, Source};
use std::ops::{Add, Div, Mul, Sub};

/// How places of the result are mapped, and rounded, to places of the operand.
struct Nearest {
    transform: String,
    rounding: String,
}

pub(super) fn upsample(mut call: Call<'_>) -> Lowered {
    call.knows(&["mode", "scales"])?;
    let mode = call.text("mode")?;
    let scales = match call.attribute("scales", super::proto::kind::FLOATS)? {
        Some(a) => a.floats.clone(),
        None => call.constant(1)?.floats()?.to_vec(),
    };
    let (x, shape) = call.shaped(0)?;
    nearest(mode.as_deref())?;
    let rule = Nearest { transform: "asymmetric".into(), rounding: "simple".into() };
    let axes: Vec<i64> = (0..=shape.len() as i64).collect();
    resized(&mut call, x, &shape, &rule, (&axes, &scales, None))
}

pub(super) fn resize(mut call: Call<'_>) -> Lowered {
    call.knows(&[
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ])?;
    // Opset 10 has two operands, and a rule of its own.
    let old = call.operands.len() == 2;
    let text = |name: &str, default: &str| Ok::<_, Stop>(call.text(name)?.unwrap_or_else(|| default.into()));
    let mode = call.text("mode")?;
    let rule = Nearest {
        transform: text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?,
        rounding: text("nearest_mode", if old { "simple" } else { "round_prefer_floor" })?,
    };
    let policy = text("keep_aspect_ratio_policy", "stretch")?;
    let axes = call.ints("axes")?.map(<[i64]>::to_vec);
    let (x, shape) = call.shaped(0)?;
    let given = |i: usize| Ok::<_, Stop>(call.optional(i)?.filter(|t| !t.dims.contains(&0)));
    let (scales, sizes) = (given(if old { 1 } else { 2 })?, given(3)?);
    nearest(mode.as_deref())?;
    if policy != "stretch" {
        return Err(Stop::Because(format!(
            "keep_aspect_ratio_policy {}; only stretch",
            policy.escape_debug()
        )));
    }
    let axes = axes.unwrap_or_else(|| (0..=shape.len() as i64).collect());
    match (scales, sizes) {
        (Some(scales), None) => {
            let scales = scales.floats()?.to_vec();
            resized(&mut call, x, &shape, &rule, (&axes, &scales, None))
        }
        (None, Some(sizes)) => {
            let sizes = sizes.int_list()?.to_vec();
            resized(&mut call, x, &shape, &rule, (&axes, &[], Some(&sizes)))
        }
        _ => Err("wanted either scales or sizes".into()),
    }
}

fn nearest(mode: Option<&str>) -> Result<(), Stop> {
    match mode {
        None | Some("nearest") => Ok(()),
        Some(other) => {
            Err(Stop::Because(format!("mode {}; only nearest, which moves elements", other.escape_debug())))
        }
    }
}

/// Sizes, or factors, one per axis named.
fn resized(
    call: &mut Call<'_>,
    x: Source,
    shape: &[usize],
    rule: &Nearest,
    (axes, scales, sizes): (&[i64], &[f32], Option<&[i64]>),
) -> Lowered {
    let count = sizes.map_or(scales.len(), <[i64]>::len);
    if count != axes.len() {
        return Err(Stop::Because(format!("{count} factors for {} axes", axes.len())));
    }
    let mut lists = vec![None; shape.len()];
    for (i, &at) in axes.iter().enumerate() {
        if axis(at, shape.len() + 1)? == 0 {
            let same = match sizes {
                Some(sizes) => sizes[i] == 1 || sizes[i] == super::constant::BATCH,
                None => scales[i] == 1.0,
            };
            if same {
                continue;
            }
        }
        let a = of_image(at, shape)?;
        let size = match sizes {
            Some(sizes) => usize::try_from(sizes[i]).ok(),
            None => Some((shape[a] as f32 * scales[i]).floor()).filter(|s| *s < 1e9).map(|s| s as usize),
        };
        let size =
            size.filter(|&n| n > 0).ok_or_else(|| Stop::Because(format!("to nothing along axis {at}")))?;
        let scale = sizes.map_or(scales.get(i).copied().unwrap_or(1.0), |_| size as f32 / shape[a] as f32);
        call.draft.count_places(size)?;
        let places: Result<Vec<_>, Stop> =
            (0..size).map(|to| rule.place(to, size, shape[a], scale)).collect();
        lists[a] = Some(places?);
    }
    Ok(Value::Wire(call.draft.push(&call.node.name, Op::Take(lists), &[x])?))
}

impl Nearest {
    /// The place of the operand for place `to` of the result; refused where single and double precision differ.
    fn place(&self, to: usize, size: usize, extent: usize, scale: f32) -> Result<Option<usize>, Stop> {
        let wide = self.map([to as f64, size as f64, extent as f64, f64::from(scale)])?;
        let narrow = self.map([to as f32, size as f32, extent as f32, scale])?;
        let inside = |v: f64| v.clamp(0.0, extent as f64 - 1.0) as usize;
        let (a, b) = (inside(self.round(wide, scale)?), inside(self.round(f64::from(narrow), scale)?));
        match a == b {
            true => Ok(Some(a)),
            false => Err(Stop::Because(format!(
                "by {scale} the nearest element of place {to} depends on rounding; resize to a whole multiple"
            ))),
        }
    }

    /// Where place `x` of a result of `size` lies in an operand of `extent`.
    fn map<T>(&self, [x, size, extent, scale]: [T; 4]) -> Result<T, Stop>
    where
        T: Copy + PartialOrd + From<f32>,
        T: Add<Output = T> + Sub<Output = T> + Mul<Output = T> + Div<Output = T>,
    {
        let (zero, half, one) = (T::from(0.0), T::from(0.5), T::from(1.0));
        Ok(match self.transform.as_str() {
            "align_corners" | "pytorch_half_pixel" if size <= one => zero,
            "half_pixel" | "pytorch_half_pixel" => (x + half) / scale - half,
            "asymmetric" => x / scale,
            "align_corners" => x * (extent - one) / (size - one),
            "tf_half_pixel_for_nn" => (x + half) / scale,
            other => {
                return Err(Stop::Because(format!(
                    "coordinate_transformation_mode {}, which readers of ONNX files understand differently",
                    other.escape_debug()
                )));
            }
        })
    }

    fn round(&self, v: f64, scale: f32) -> Result<f64, Stop> {
        Ok(match self.rounding.as_str() {
            "round_prefer_floor" => (v - 0.5).ceil(),
            "round_prefer_ceil" => (v + 0.5).floor(),
            "floor" => v.floor(),
            "ceil" => v.ceil(),
            "simple" if scale < 1.0 => v.ceil(),
            "simple" => v.floor(),
            other => return Err(Stop::Because(format!("nearest_mode {}", other.escape_debug()))),
        })
    }
}
