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

/// The transpose: rows are positions, columns are taps. Of several images one behind the other.
pub struct Across<'a, R: Ring>(pub Taps<'a, R>);

/// Neighbours in a row of the result or of the kernel: where the first lies, and how many they are.
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

    /// These positions: where their first tap lies.
    fn positions(&self, mut range: Range<usize>) -> impl Iterator<Item = Run> {
        let ([oh, ow], [down, along], [_, w]) = (self.out, self.window.stride, self.plane);
        std::iter::from_fn(move || {
            let (image, p) = (range.start / (oh * ow), range.start % (oh * ow));
            let run = Run {
                first: image * self.image + p / ow * down * w + p % ow * along,
                len: (ow - p % ow).min(range.len()),
            };
            range.start += run.len;
            (run.len > 0).then_some(run)
        })
    }
    /// These taps: where they lie at the first position.
    fn taps(&self, mut range: Range<usize>) -> impl Iterator<Item = Run> {
        let ([kh, kw], [down, along], [h, w]) = (self.window.kernel, self.window.dilation, self.plane);
        std::iter::from_fn(move || {
            let (c, i, j) = (self.from + range.start / (kh * kw), range.start / kw % kh, range.start % kw);
            let run = Run { first: (c * h + i * down) * w + j * along, len: (kw - j).min(range.len()) };
            range.start += run.len;
            (run.len > 0).then_some(run)
        })
    }
}

/// Elements of runs, `step` apart.
fn each(runs: impl Iterator<Item = Run>, step: usize) -> impl Iterator<Item = usize> {
    runs.flat_map(move |run| (0..run.len).map(move |i| run.first + i * step))
}

/// Rows that begin at `rows`, in each the elements of `columns`, `step` apart; a panel has at most 64.
fn write<R: Ring>(
    x: &[R],
    rows: impl Iterator<Item = usize>,
    columns: impl Iterator<Item = Run>,
    step: usize,
    panel: &mut Panel<R>,
) {
    let (mut runs, mut n) = ([Run::default(); 64], 0);
    for run in columns {
        runs[n] = run;
        n += 1;
    }
    for (l, first) in rows.enumerate() {
        let (x, mut out) = (&x[first..], panel.row(l));
        for run in &runs[..n] {
            let x = &x[run.first..];
            match step {
                1 => copy(x, out, run.len),
                step => out[..run.len].iter_mut().zip(x.iter().step_by(step)).for_each(|(o, x)| *o = *x),
            }
            out = &mut out[run.len..];
        }
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
        let ([_, step], [_, along]) = (self.window.stride, self.window.dilation);
        write(&self.x, each(self.taps(k), along), self.positions(columns), step, panel);
    }
}

impl<R: Ring> Source<R> for Across<'_, R> {
    fn fill(&self, k: Range<usize>, columns: Range<usize>, panel: &mut Panel<R>) {
        let Across(taps) = self;
        let ([_, along], [_, step]) = (taps.window.stride, taps.window.dilation);
        write(&taps.x, each(taps.positions(k), along), taps.taps(columns), step, panel);
    }
}
