//! Shapes of wires and the geometry of windows. Row-major; axis 0 is the batch.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Extents, row-major. On an activation wire axis 0 counts the images of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Extent of axis 0.
    pub fn batch(&self) -> usize {
        self.0.first().copied().unwrap_or(1)
    }
    /// Elements per image: the product of all axes but the first.
    pub fn row(&self) -> usize {
        self.0.iter().skip(1).product()
    }
    /// The same batch with other extents per image.
    pub fn with_row(&self, row: &[usize]) -> Shape {
        Shape(std::iter::once(self.batch()).chain(row.iter().copied()).collect())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(v: [usize; N]) -> Self {
        Shape(v.to_vec())
    }
}

/// What a plan knows of a wire: its shape, and the width of the ring Z_2^bits it lives in
/// (n, or m = n - f after a truncation).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Form {
    /// Extents; axis 0 is the batch.
    pub shape: Shape,
    /// Width of the wire.
    pub bits: u32,
}

impl Form {
    /// A wire of this shape and width.
    pub fn new(shape: impl Into<Shape>, bits: u32) -> Self {
        Form { shape: shape.into(), bits }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }
    /// Bytes of an opening: elements packed at the width of the wire.
    pub fn packed_bytes(&self) -> u64 {
        (self.len() as u64 * self.bits as u64).div_ceil(8)
    }
}

/// A sliding window over the last two axes of `[batch, channels, height, width]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step in each direction.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pad: [usize; 4],
    /// Distance between neighbouring taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// A square window without padding or dilation.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Window { kernel: [kernel; 2], stride: [stride; 2], pad: [0; 4], dilation: [1; 2] }
    }
    /// The same with `pad` on all four sides.
    pub fn padded(self, pad: usize) -> Self {
        Window { pad: [pad; 4], ..self }
    }

    /// Height and width of the result on an image of `h` x `w`; an error if no window fits.
    pub fn output(&self, h: usize, w: usize) -> Result<[usize; 2]> {
        let mut out = [0; 2];
        for (axis, size) in [h, w].into_iter().enumerate() {
            let (k, s, d) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            if k == 0 || s == 0 || d == 0 {
                return Err(Error::shape("window", "kernel, stride and dilation must be at least 1"));
            }
            let span = d * (k - 1) + 1;
            let padded = size + self.pad[axis] + self.pad[axis + 2];
            if padded < span {
                return Err(Error::shape(
                    "window",
                    format!("a kernel spanning {span} does not fit an extent of {padded} (padding included)"),
                ));
            }
            out[axis] = (padded - span) / s + 1;
        }
        Ok(out)
    }

    /// Taps inside a plane of `h` x `w`, by row and by column of the result: at (`y`, `x`) there are as many as the product
    /// of the two. What they leave out is padding.
    pub fn inside(&self, h: usize, w: usize) -> Result<[Vec<usize>; 2]> {
        let out = self.output(h, w)?;
        let axis = |a: usize, size: usize| {
            let tap =
                |at: usize, i: usize| (at * self.stride[a] + i * self.dilation[a]).checked_sub(self.pad[a]);
            let real =
                |at: usize| (0..self.kernel[a]).filter(|&i| tap(at, i).is_some_and(|p| p < size)).count();
            (0..out[a]).map(real).collect()
        };
        Ok([axis(0, h), axis(1, w)])
    }

    /// Where tap `i` of an axis (0: rows, 1: columns) lies inside an extent of `size`: at which of `out` positions, and on
    /// which element of the extent at the first of them. Neighbouring positions are a stride apart.
    pub fn reach(&self, axis: usize, i: usize, size: usize, out: usize) -> (Range<usize>, usize) {
        let (step, at, pad) = (self.stride[axis], i * self.dilation[axis], self.pad[axis]);
        let first = pad.saturating_sub(at).div_ceil(step);
        let end = (size + pad).saturating_sub(at).div_ceil(step).min(out);
        (first.min(end)..end, (first * step + at).saturating_sub(pad).min(size))
    }

    /// Offsets into a plane of `h` x `w` that output position (`y`, `x`) reads; padded taps are left out.
    pub fn taps(&self, h: usize, w: usize, y: usize, x: usize) -> impl Iterator<Item = usize> {
        let win = *self;
        (0..win.kernel[0]).flat_map(move |i| {
            (0..win.kernel[1]).filter_map(move |j| {
                let r = (y * win.stride[0] + i * win.dilation[0]).checked_sub(win.pad[0])?;
                let c = (x * win.stride[1] + j * win.dilation[1]).checked_sub(win.pad[1])?;
                (r < h && c < w).then_some(r * w + c)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_and_clip() {
        let w = Window::square(3, 2).padded(1);
        assert_eq!(w.output(5, 6).unwrap(), [3, 3]);
        assert_eq!(w.taps(5, 6, 0, 0).collect::<Vec<_>>(), [0, 1, 6, 7]);
        assert_eq!(w.taps(5, 6, 1, 1).count(), 9);
        let odd = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
        for (w, h, wd) in [(w, 5, 6), (odd, 4, 7)] {
            let ([oh, ow], [rows, columns]) = (w.output(h, wd).unwrap(), w.inside(h, wd).unwrap());
            let same = |(y, x): (usize, usize)| w.taps(h, wd, y, x).count() == rows[y] * columns[x];
            assert!((0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))).all(same));
        }
        let d = Window { dilation: [2, 2], ..Window::square(3, 1) };
        let far = Window { kernel: [4, 3], stride: [3, 2], pad: [4, 5, 3, 6], dilation: [2, 3] };
        for (w, h, wd) in [(w, 5, 6), (odd, 4, 7), (d, 6, 5), (far, 3, 2)] {
            let [oh, ow] = w.output(h, wd).unwrap();
            let mut reached: Vec<[usize; 2]> = vec![];
            for (i, j) in (0..w.kernel[0]).flat_map(|i| (0..w.kernel[1]).map(move |j| (i, j))) {
                let ((rows, top), (columns, left)) = (w.reach(0, i, h, oh), w.reach(1, j, wd, ow));
                for (y, x) in rows.enumerate().flat_map(|y| columns.clone().enumerate().map(move |x| (y, x)))
                {
                    let at = (top + y.0 * w.stride[0]) * wd + left + x.0 * w.stride[1];
                    reached.push([y.1 * ow + x.1, at]);
                }
            }
            let read = |y, x| w.taps(h, wd, y, x).map(move |at| [y * ow + x, at]);
            let mut want: Vec<[usize; 2]> =
                (0..oh).flat_map(|y| (0..ow).flat_map(move |x| read(y, x))).collect();
            reached.sort();
            want.sort();
            assert_eq!(reached, want, "{w:?}");
        }
        assert_eq!(d.output(5, 5).unwrap(), [1, 1]);
        assert_eq!(d.taps(5, 5, 0, 0).collect::<Vec<_>>(), [0, 2, 4, 10, 12, 14, 20, 22, 24]);
        assert!(Window::square(6, 1).output(5, 5).is_err());
    }
}
