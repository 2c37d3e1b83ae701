//! Where the places of a resized axis lie in the operand. Which element is nearest depends on how the file maps places, on
//! rounding, and on the precision of the reader.

use super::{Axis, Stop};
use std::ops::{Add, Div, Mul, Sub};

/// How places of the result are mapped to places of the operand.
pub(super) struct Rule {
    pub(super) transform: String,
    pub(super) rounding: String,
    /// Between two places, and not the nearest.
    pub(super) linear: bool,
}

impl Rule {
    /// The nearest place of the operand to place `to` of the result; refused where single and double precision differ.
    pub(super) fn nearest(&self, to: usize, axis: &Axis) -> Result<Option<usize>, Stop> {
        let &Axis { from, to: size, scale, .. } = axis;
        let wide = self.map([to as f64, size as f64, from as f64, f64::from(scale)])?;
        let narrow = self.map([to as f32, size as f32, from as f32, scale])?;
        let inside = |v: f64| v.clamp(0.0, from as f64 - 1.0) as usize;
        let (a, b) = (inside(self.round(wide, scale)?), inside(self.round(f64::from(narrow), scale)?));
        match a == b {
            true => Ok(Some(a)),
            false => Err(Stop::Because(format!(
                "by {scale} the nearest element of place {to} depends on rounding; resize to a whole multiple"
            ))),
        }
    }

    /// The two places of the operand around place `to` of the result, and their weights.
    pub(super) fn between(&self, to: usize, axis: &Axis) -> Result<[(usize, f32); 2], Stop> {
        let &Axis { from, to: size, scale, .. } = axis;
        let at = self.map([to as f64, size as f64, from as f64, f64::from(scale)])?;
        let at = at.clamp(0.0, from as f64 - 1.0);
        let left = at.floor() as usize;
        let right = (left + 1).min(from - 1);
        Ok([(left, 1.0 - at.fract() as f32), (right, at.fract() as f32)])
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
