//! Transposes of linear layers and convolutions: what a gradient is multiplied with on its way back, and what weights get of it.
//!
//! Each takes as many multiplications as the layer itself, whatever its stride: a gradient goes back to the taps of every
//! position, which are then added where they lie; the weights' gradient has the positions as its depth.

use super::source::{Across, Taps};
use crate::backend::cpu::Isa;
use crate::backend::cpu::matmul::Job;
use crate::{Ring, Shape, Window};
use rayon::prelude::*;

/// Elements of taps at once, unless one image has more: they are added up while they are in the cache.
const SCRATCH: usize = 1 << 17;
/// Positions at once, unless one image has more.
const DEPTH: usize = 1 << 12;

/// `g [batch, n]` times `w [n, k]`: the rows of `w` as channels of one image, in windows of one element.
pub fn linear_dx<R: Ring>(isa: Isa, [batch, n, k]: [usize; 3], g: &[R], w: &[R]) -> Vec<R> {
    let columns = Taps::new(&Window::square(1, 1), w, [n, 1, k], [1, k]);
    let threads = rayon::current_num_threads();
    Job { groups: vec![(g, columns)], m: batch, k: n, images: 1, positions: k, threads }.product(isa)
}

/// The transpose of `g [batch, n]` times `x [batch, k]`.
pub fn linear_dw<R: Ring>(isa: Isa, [batch, n, k]: [usize; 3], g: &[R], x: &[R]) -> Vec<R> {
    linear_dx(isa, [n, batch, k], &transpose(g, n), x)
}

/// The transpose of a matrix, some of its rows at a time: of every column a cache line is read.
fn transpose<R: Ring>(x: &[R], columns: usize) -> Vec<R> {
    const LINES: usize = 16;
    let mut z = vec![R::ZERO; x.len()];
    let rows = x.len() / columns.max(1);
    z.par_chunks_mut(LINES * rows.max(1)).enumerate().for_each(|(part, z)| {
        for (r, row) in x.chunks_exact(columns).enumerate() {
            z[r..].iter_mut().step_by(rows).zip(&row[part * LINES..]).for_each(|(z, x)| *z = *x);
        }
    });
    z
}

/// Images in pieces of at most `most`, as many as there are threads or more: images of a piece, and threads that share it.
fn pieces(images: usize, most: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    let piece = images.div_ceil(threads).min(most).max(1);
    (piece, threads.div_ceil(images.div_ceil(piece).max(1)))
}

/// `g [images, oc, oh, ow]` back to `[images, c, h, w]`.
pub fn conv_dx<R: Ring>(
    isa: Isa,
    window: &Window,
    (groups, [h, wd]): (usize, [usize; 2]),
    [g_shape, w_shape]: [&Shape; 2],
    g: &[R],
    w: &[R],
) -> Vec<R> {
    let (&[images, oc, oh, ow], &[_, cg, kh, kw]) = (&g_shape.0[..], &w_shape.0[..]) else {
        return vec![];
    };
    let (m, k, image) = (cg * kh * kw, oc / groups, groups * cg * h * wd);
    let mut dx = vec![R::ZERO; images * image];
    if dx.is_empty() || g.is_empty() {
        return dx;
    }
    let kernels: Vec<Vec<R>> = w.chunks_exact(k * m).map(|w| transpose(w, m)).collect();
    let (piece, threads) = pieces(images, SCRATCH / (groups * m * oh * ow));
    let each = dx.par_chunks_mut(piece * image).zip(g.par_chunks(piece * oc * oh * ow));
    each.for_each(|(dx, g)| {
        let g = Taps::new(&Window::square(1, 1), g, [oc, oh, ow], [oh, ow]);
        let groups = kernels.iter().enumerate().map(|(i, w)| (&w[..], g.channels(i * k))).collect();
        let job = Job { groups, m, k, images: dx.len() / image, positions: oh * ow, threads };
        let taps = job.product(isa);
        let planes = dx.par_chunks_mut(h * wd).zip(taps.par_chunks(kh * kw * oh * ow));
        let least = 1 + (SCRATCH >> 3) / (kh * kw * oh * ow);
        planes.with_min_len(least).for_each(|(dx, taps)| scatter(window, [h, wd], [oh, ow], taps, dx));
    });
    dx
}

/// Adds what came back to every tap of a channel, `[kh, kw, oh, ow]`, where it lies in the plane; nothing to the padding.
fn scatter<R: Ring>(window: &Window, [h, w]: [usize; 2], [oh, ow]: [usize; 2], taps: &[R], plane: &mut [R]) {
    let ([_, kw], [down, along]) = (window.kernel, window.stride);
    for (l, taps) in taps.chunks_exact(oh * ow).enumerate() {
        let (rows, top) = window.reach(0, l / kw, h, oh);
        let (columns, left) = window.reach(1, l % kw, w, ow);
        for (y, row) in rows.enumerate() {
            let (taps, to) =
                (&taps[row * ow..][columns.clone()], &mut plane[(top + y * down) * w..][left..w]);
            match along {
                1 => to.iter_mut().zip(taps).for_each(|(z, t)| *z = z.add(*t)),
                _ => to.iter_mut().step_by(along).zip(taps).for_each(|(z, t)| *z = z.add(*t)),
            }
        }
    }
}

/// `g [images, oc, oh, ow]` with `x [images, c, h, w]`: `[oc, c / groups, kh, kw]`.
pub fn conv_dw<R: Ring>(
    isa: Isa,
    window: &Window,
    groups: usize,
    [g_shape, x_shape]: [&Shape; 2],
    g: &[R],
    x: &[R],
) -> Vec<R> {
    let (&[images, oc, oh, ow], &[_, c, h, wd]) = (&g_shape.0[..], &x_shape.0[..]) else {
        return vec![];
    };
    let (m, cg, plane) = (oc / groups, c / groups, oh * ow);
    let columns = cg * window.kernel[0] * window.kernel[1];
    let none = || vec![R::ZERO; oc * columns];
    if g.is_empty() || x.is_empty() {
        return none();
    }
    let (piece, threads) = pieces(images, DEPTH / plane);
    let part = |(g, x): (&[R], &[R])| {
        let k = g.len() / oc;
        let row = |o| g.chunks_exact(plane).skip(o).step_by(oc);
        let rows = (0..oc).flat_map(row).collect::<Vec<&[R]>>().concat();
        let taps = Taps::new(window, x, [c, h, wd], [oh, ow]);
        let group = |i| (&rows[i * m * k..][..m * k], Across(taps.channels(i * cg)));
        Job { groups: (0..groups).map(group).collect(), m, k, images: 1, positions: columns, threads }
            .product(isa)
    };
    let parts = g.par_chunks(piece * oc * plane).zip(x.par_chunks(piece * c * h * wd)).map(part);
    let sum = |mut a: Vec<R>, b: Vec<R>| {
        R::add_each(&mut a, &b, R::ones(R::BITS));
        a
    };
    parts.reduce_with(sum).unwrap_or_else(none)
}

#[cfg(test)]
mod tests;
