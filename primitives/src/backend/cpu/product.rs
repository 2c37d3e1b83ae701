//! Layers, and what their gradients are made of, as jobs of matrix products.

mod adjoint;
mod source;

use super::Isa;
use super::matmul::{Job, dots, inner};
use crate::backend::Product;
use crate::{Form, Ring, Shape, Window};
use rayon::prelude::*;
use source::{Columns, Taps};

/// Up to this many images a linear layer is computed by inner products: it is bound by reading the weights.
const FEW: usize = 4;

pub fn product<R: Ring>(p: &Product, forms: [&Form; 2], x: &[R], w: &[R]) -> Vec<R> {
    let (isa, shapes) = (Isa::current(), forms.map(|f| &f.shape));
    match p {
        Product::Elementwise => {
            let mut z = x.to_vec();
            R::mul_each(&mut z, w);
            z
        }
        Product::Linear => linear(isa, [shapes[0].batch(), shapes[0].row(), shapes[1].batch()], x, w),
        Product::Conv { window, groups } => conv(isa, window, *groups, shapes, x, w),
        Product::LinearDx => {
            adjoint::linear_dx(isa, [shapes[0].batch(), shapes[0].row(), shapes[1].row()], x, w)
        }
        Product::LinearDw => {
            adjoint::linear_dw(isa, [shapes[0].batch(), shapes[0].row(), shapes[1].row()], x, w)
        }
        Product::ConvDx { window, groups, input } => {
            adjoint::conv_dx(isa, window, (*groups, *input), shapes, x, w)
        }
        Product::ConvDw { window, groups } => adjoint::conv_dw(isa, window, *groups, shapes, x, w),
        Product::Dot { block } => dot(isa, *block, shapes[0], x, w),
    }
}

/// `x [batch, k]` times the transpose of `w [n, k]`: the weights are the rows, the images the columns.
fn linear<R: Ring>(isa: Isa, [batch, k, n]: [usize; 3], x: &[R], w: &[R]) -> Vec<R> {
    if batch <= FEW {
        return dots(isa, x, w, batch, k);
    }
    let threads = rayon::current_num_threads();
    Job { groups: vec![(w, Columns { x, k })], m: n, k, images: batch, positions: 1, threads }.product(isa)
}

fn conv<R: Ring>(
    isa: Isa,
    window: &Window,
    groups: usize,
    [x_shape, w_shape]: [&Shape; 2],
    x: &[R],
    w: &[R],
) -> Vec<R> {
    let (&[images, _, h, wd], &[oc, cg, kh, kw]) = (&x_shape.0[..], &w_shape.0[..]) else {
        return vec![];
    };
    let Ok([oh, ow]) = window.output(h, wd) else { return vec![] };
    let (m, k, threads) = (oc / groups, cg * kh * kw, rayon::current_num_threads());
    let taps = Taps::new(window, x, [groups * cg, h, wd], [oh, ow]);
    let group = |g| (&w[g * m * k..][..m * k], taps.channels(g * cg));
    Job { groups: (0..groups).map(group).collect(), m, k, images, positions: oh * ow, threads }.product(isa)
}

/// Inner products per channel of `x` and `y`, `[images, channels, ...]`, over blocks of places.
fn dot<R: Ring>(isa: Isa, block: usize, shape: &Shape, x: &[R], y: &[R]) -> Vec<R> {
    let (images, channels, plane) = (shape.batch(), shape.0[1], shape.0[2..].iter().product::<usize>());
    let places = images * plane;
    let sum = |(i, z): (usize, &mut R)| {
        let (mut at, end) = (i / channels * block, places.min((i / channels + 1) * block));
        while at < end {
            let len = (plane - at % plane).min(end - at);
            let run = (at / plane * channels + i % channels) * plane + at % plane;
            *z = z.add(inner(isa, &x[run..][..len], &y[run..][..len]));
            at += len;
        }
    };
    let mut z = vec![R::ZERO; places.div_ceil(block) * channels];
    z.par_iter_mut().enumerate().with_min_len(DOT.div_ceil(block)).for_each(sum);
    z
}

/// Places that are worth a task of their own.
const DOT: usize = 1 << 14;

#[cfg(test)]
mod tests;
