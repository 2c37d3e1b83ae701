//! Where the columns of a product come from: images as they lie, and the taps of windows on them.

use crate::backend::cpu::matmul::{Panel, Source};
use crate::{Ring, Window};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Images of `k` elements as columns.
pub struct Columns<'a, R> {
    /// `[images, k]`.
    pub x: &'a [R],
    /// Elements of an image.
    pub k: usize,
}

impl<R: Ring> Source<R> for Columns<'_, R> {
    fn fill(&self, k: Range<usize>, columns: Range<usize>, panel: &mut Panel<R>) {
        let rows = &self.x[columns.start * self.k..columns.end * self.k];
        for (i, l) in k.enumerate() {
            let out = panel.row(i).iter_mut();
            out.zip(rows[l..].iter().step_by(self.k)).for_each(|(o, x)| *o = *x);
        }
    }
}

/// Elements under the taps of a window: rows are taps (channel, row, column of the kernel), columns are positions of
/// the result, image by image. The matrix of these ("im2col") is never formed; images are padded once, so that no tap
/// need ask whether it lies inside.
#[derive(Clone)]
pub struct Taps<'a, R: Ring> {
    x: Arc<Cow<'a, [R]>>,
    window: Window,
    /// Elements of an image.
    image: usize,
    /// Height and width of a channel.
    plane: [usize; 2],
    /// Height and width of the result.
    out: [usize; 2],
    /// First channel.
    from: usize,
}

/// Neighbouring positions of one row of the result: where their first tap lies, and how many they are.
#[derive(Clone, Copy, Default)]
struct Run {
    first: usize,
    len: usize,
}

/// Elements copied at a time.
const CHUNK: usize = 8;

impl<'a, R: Ring> Taps<'a, R> {
    /// Taps of `window` on `x [images, channels, h, w]`, whose result is `out` high and wide.
    pub fn new(window: &Window, x: &'a [R], [c, h, w]: [usize; 3], mut out: [usize; 2]) -> Self {
        let [top, left, bottom, right] = window.pad;
        let mut plane = [h + top + bottom, w + left + right];
        let x = match window.pad {
            [0, 0, 0, 0] => Cow::Borrowed(x),
            _ => Cow::Owned(padded(x, [h, w], plane, [top, left])),
        };
        if [window.kernel, window.stride] == [[1; 2]; 2] {
            // a product channel by channel: rows need not be told apart
            (plane, out) = ([1, plane[0] * plane[1]], [1, plane[0] * plane[1]]);
        }
        Taps { x: Arc::new(x), window: *window, image: c * plane[0] * plane[1], plane, out, from: 0 }
    }
    /// The same, of the channels from `from` on.
    pub fn channels(&self, from: usize) -> Self {
        Taps { from, ..self.clone() }
    }

    /// The columns as runs; a panel has at most 64.
    fn runs(&self, mut columns: Range<usize>) -> ([Run; 64], usize) {
        let ([oh, ow], [down, along], mut runs, mut n) =
            (self.out, self.window.stride, [Run::default(); 64], 0);
        while !columns.is_empty() {
            let (image, p) = (columns.start / (oh * ow), columns.start % (oh * ow));
            let len = (ow - p % ow).min(columns.len());
            let first = image * self.image + p / ow * down * self.plane[1] + p % ow * along;
            runs[n] = Run { first, len };
            n += 1;
            columns.start += len;
        }
        (runs, n)
    }
}

/// Every plane of `h` x `w` within one of `to`, zero around it.
fn padded<R: Ring>(x: &[R], [h, w]: [usize; 2], to: [usize; 2], [top, left]: [usize; 2]) -> Vec<R> {
    let size = to[0] * to[1];
    let mut z = vec![R::ZERO; x.len() / (h * w) * size];
    z.par_chunks_mut(size).zip(x.par_chunks(h * w)).with_min_len(1 + (1 << 14) / size).for_each(|(z, x)| {
        let rows = z.chunks_exact_mut(to[1]).skip(top);
        rows.zip(x.chunks_exact(w)).for_each(|(z, x)| z[left..left + w].copy_from_slice(x));
    });
    z
}

/// Copies `len` elements in chunks of a fixed size where both slices are long enough: what is too much is overwritten
/// by what comes behind, and a call for a few bytes costs more than they do.
#[inline]
fn copy<R: Copy>(from: &[R], to: &mut [R], len: usize) {
    let whole = len.next_multiple_of(CHUNK);
    if whole > from.len() || whole > to.len() {
        return to[..len].copy_from_slice(&from[..len]);
    }
    let chunks = to[..whole].as_chunks_mut::<CHUNK>().0.iter_mut();
    chunks.zip(from[..whole].as_chunks::<CHUNK>().0).for_each(|(t, f)| *t = *f);
}

impl<R: Ring> Source<R> for Taps<'_, R> {
    fn fill(&self, k: Range<usize>, columns: Range<usize>, panel: &mut Panel<R>) {
        let (runs, n) = self.runs(columns);
        let ([kh, kw], [h, w], [down, along]) = (self.window.kernel, self.plane, self.window.dilation);
        let (mut c, mut i, mut j) = (self.from + k.start / (kh * kw), k.start / kw % kh, k.start % kw);
        for l in 0..k.len() {
            let taps = &self.x[(c * h + i * down) * w + j * along..];
            let mut out = panel.row(l);
            for run in &runs[..n] {
                match self.window.stride[1] {
                    1 => copy(&taps[run.first..], out, run.len),
                    step => {
                        let taps = taps[run.first..].iter().step_by(step);
                        out[..run.len].iter_mut().zip(taps).for_each(|(o, x)| *o = *x);
                    }
                }
                out = &mut out[run.len..];
            }
            j += 1;
            if j == kw {
                (i, j) = (i + 1, 0);
            }
            if i == kh {
                (c, i) = (c + 1, 0);
            }
        }
    }
}
