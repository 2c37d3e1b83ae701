//! Where the columns of a product come from: images as they lie, and the taps of windows on them.

use crate::backend::cpu::matmul::{Panel, Source};
use crate::{Ring, Window};
use std::ops::Range;

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
/// the result, image by image. The matrix of these ("im2col") is never formed.
#[derive(Clone)]
pub struct Taps<'a, R> {
    x: &'a [R],
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

/// Neighbouring positions of one row of the result.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Where the image begins.
    image: usize,
    y: usize,
    x: usize,
    len: usize,
}

/// Elements copied at a time.
const CHUNK: usize = 8;

impl<'a, R: Ring> Taps<'a, R> {
    /// Taps of `window` on `x [images, channels, h, w]`, whose result is `out` high and wide.
    pub fn new(window: &Window, x: &'a [R], [c, h, w]: [usize; 3], out: [usize; 2]) -> Self {
        let mut taps = Taps { x, window: *window, image: c * h * w, plane: [h, w], out, from: 0 };
        if [window.kernel, window.stride] == [[1; 2]; 2] && window.pad == [0; 4] {
            // a product channel by channel: rows need not be told apart
            (taps.plane, taps.out) = ([1, h * w], [1, h * w]);
        }
        taps
    }
    /// The same, of the channels from `from` on.
    pub fn channels(&self, from: usize) -> Self {
        Taps { from, ..self.clone() }
    }

    /// The columns as runs; a panel has at most 64.
    fn runs(&self, mut columns: Range<usize>) -> ([Run; 64], usize) {
        let ([oh, ow], mut runs, mut n) = (self.out, [Run::default(); 64], 0);
        while !columns.is_empty() {
            let (image, p) = (columns.start / (oh * ow), columns.start % (oh * ow));
            let len = (ow - p % ow).min(columns.len());
            runs[n] = Run { image: image * self.image, y: p / ow, x: p % ow, len };
            n += 1;
            columns.start += len;
        }
        (runs, n)
    }

    /// One tap along a run: what lies in the padding is zero. Writes beyond the run, but not beyond the slack.
    #[inline]
    fn copy(&self, run: Run, channel: usize, [i, j]: [usize; 2], out: &mut [R]) {
        let ([h, w], win) = (self.plane, &self.window);
        let y = (run.y * win.stride[0] + i * win.dilation[0]).wrapping_sub(win.pad[0]);
        if y >= h {
            return out[..run.len].fill(R::ZERO);
        }
        let row = run.image + channel * h * w + y * w;
        let (step, right, pad) = (win.stride[1], j * win.dilation[1], win.pad[1]);
        // positions whose tap lies in the row: 0 <= (x + t) step + right - pad < w
        let from = pad.saturating_sub(right).div_ceil(step).saturating_sub(run.x).min(run.len);
        let to = (w + pad).saturating_sub(right).div_ceil(step).saturating_sub(run.x).clamp(from, run.len);
        out[..from].fill(R::ZERO);
        if from < to {
            let first = row + (run.x + from) * step + right - pad;
            match step {
                1 => copy(&self.x[first..], &mut out[from..], to - from),
                _ => {
                    let taps = self.x[first..].iter().step_by(step);
                    out[from..to].iter_mut().zip(taps).for_each(|(o, x)| *o = *x);
                }
            }
        }
        out[to..run.len].fill(R::ZERO);
    }
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
        let [kh, kw] = self.window.kernel;
        for (l, tap) in k.enumerate() {
            let (channel, at) = (self.from + tap / (kh * kw), [tap / kw % kh, tap % kw]);
            let mut out = panel.row(l);
            for run in &runs[..n] {
                self.copy(*run, channel, at, out);
                out = &mut out[run.len..];
            }
        }
    }
}
