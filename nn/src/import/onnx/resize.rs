//! Resize and Upsample: to the nearest element, which moves elements, and linearly, which is a product along each axis.

mod places;

use super::axes::of_image;
use super::call::{Call, Lowered, Stop, Value, axis};
use super::linear::along;
use super::tensor::{Data, Tensor};
use crate::graph::Source;
use places::Rule;

/// One axis that changes.
struct Axis {
    at: usize,
    from: usize,
    to: usize,
    scale: f32,
}

pub(super) fn upsample(call: Call<'_>) -> Lowered {
    call.knows(&["mode", "scales"])?;
    let mode = call.text("mode")?;
    let scales = match call.attribute("scales", super::proto::kind::FLOATS)? {
        Some(a) => a.floats.clone(),
        None => call.constant(1)?.floats()?.to_vec(),
    };
    let (x, shape) = call.shaped(0)?;
    let rule =
        Rule { transform: "asymmetric".into(), rounding: "simple".into(), linear: linear(mode.as_deref())? };
    let axes: Vec<i64> = (0..=shape.len() as i64).collect();
    let axes = changes(&shape, (&axes, &scales, None))?;
    resized(call, x, &axes, &rule)
}

pub(super) fn resize(call: Call<'_>) -> Lowered {
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
    let rule = Rule {
        transform: text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?,
        rounding: text("nearest_mode", if old { "simple" } else { "round_prefer_floor" })?,
        linear: linear(mode.as_deref())?,
    };
    let smooth = call.int("antialias", 0)? != 0;
    let policy = text("keep_aspect_ratio_policy", "stretch")?;
    let axes = call.ints("axes")?.map(<[i64]>::to_vec);
    let (x, shape) = call.shaped(0)?;
    let given = |i: usize| Ok::<_, Stop>(call.optional(i)?.filter(|t| !t.dims.contains(&0)));
    let (scales, sizes) = (given(if old { 1 } else { 2 })?, given(3)?);
    if policy != "stretch" {
        return Err(Stop::Because(format!(
            "keep_aspect_ratio_policy {}; only stretch",
            policy.escape_debug()
        )));
    }
    let axes = axes.unwrap_or_else(|| (0..=shape.len() as i64).collect());
    let axes = match (scales, sizes) {
        (Some(scales), None) => changes(&shape, (&axes, scales.floats()?, None))?,
        (None, Some(sizes)) => changes(&shape, (&axes, &[], Some(sizes.int_list()?)))?,
        _ => return Err("wanted either scales or sizes".into()),
    };
    if smooth && rule.linear && axes.iter().any(|axis| axis.scale < 1.0) {
        return Err("antialias=1 to a smaller size; export it without".into());
    }
    resized(call, x, &axes, &rule)
}

fn linear(mode: Option<&str>) -> Result<bool, Stop> {
    match mode {
        None | Some("nearest") => Ok(false),
        Some("linear" | "bilinear") => Ok(true),
        Some(other) => Err(Stop::Because(format!("mode {}; only nearest and linear", other.escape_debug()))),
    }
}

/// What changes, by sizes or factors, one per axis named.
fn changes(
    shape: &[usize],
    (axes, scales, sizes): (&[i64], &[f32], Option<&[i64]>),
) -> Result<Vec<Axis>, Stop> {
    let count = sizes.map_or(scales.len(), <[i64]>::len);
    if count != axes.len() {
        return Err(Stop::Because(format!("{count} factors for {} axes", axes.len())));
    }
    let mut changed = Vec::new();
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
        if scale != 1.0 || size != shape[a] {
            changed.push(Axis { at: a, from: shape[a], to: size, scale });
        }
    }
    Ok(changed)
}

/// Nearest elements on which readers agree. A factor that gives no whole extent is another one to those who go by extents;
/// towards fewer places operator set 10 was never clear.
fn one_sided(axis: &Axis, rule: &Rule) -> Result<(), Stop> {
    let extent = axis.from as f32 * axis.scale;
    let uneven = (extent - extent.round()).abs() > 1e-3;
    let by_factor = rule.transform == "asymmetric" && matches!(rule.rounding.as_str(), "floor" | "simple");
    if uneven && !by_factor || axis.scale < 1.0 && rule.rounding == "simple" {
        return Err(Stop::Because(format!(
            "by {} from {} places, which readers of ONNX files understand differently; resize to sizes, or by whole factors",
            axis.scale, axis.from
        )));
    }
    Ok(())
}

fn resized(mut call: Call<'_>, x: Source, axes: &[Axis], rule: &Rule) -> Lowered {
    let mut y = x;
    for axis in axes {
        call.draft.count_places(axis.to)?;
        if !rule.linear {
            one_sided(axis, rule)?;
            let places: Result<Vec<_>, Stop> = (0..axis.to).map(|to| rule.nearest(to, axis)).collect();
            y = call.pick(y, axis.at, places?)?;
            continue;
        }
        let mut weight = vec![0.0; call.draft.matrix(axis.to, axis.from)?];
        for (to, row) in weight.chunks_exact_mut(axis.from).enumerate() {
            let [(a, left), (b, right)] = rule.between(to, axis)?;
            row[a] += left;
            row[b] += right;
        }
        let weight = Tensor { dims: vec![axis.to, axis.from], data: Data::Float(weight) };
        let name = format!("{}.weight", call.node.name);
        y = along(&mut call, (y, axis.at), (&name, weight), None)?;
    }
    Ok(Value::Wire(y))
}
