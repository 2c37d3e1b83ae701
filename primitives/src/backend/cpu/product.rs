//! Linear and convolution products as matrix products, image by image.

use super::matmul::{matmul, padded};
use crate::backend::Product;
use crate::{Form, Ring, Window};
use rayon::prelude::*;

/// Below this many images a linear product is computed row by row instead of transposing the batch.
const FEW: usize = 4;

pub fn product<R: Ring>(p: &Product, forms: [&Form; 2], x: &[R], w: &[R]) -> Vec<R> {
    match p {
        Product::Elementwise => x.iter().zip(w).map(|(a, b)| a.mul(*b)).collect(),
        Product::Linear => linear(forms[0].shape.batch(), forms[0].shape.row(), forms[1].shape.batch(), x, w),
        Product::Conv { window, groups } => conv(window, *groups, forms, x, w),
    }
}

/// `x [batch, k]` times the transpose of `w [n, k]`.
fn linear<R: Ring>(batch: usize, k: usize, n: usize, x: &[R], w: &[R]) -> Vec<R> {
    if batch < FEW {
        let dot = |e: usize| {
            let (x, w) = (&x[e / n * k..][..k], &w[e % n * k..][..k]);
            x.iter().zip(w).fold(R::ZERO, |z, (a, b)| z.add(a.mul(*b)))
        };
        return (0..batch * n).into_par_iter().with_min_len(1 + (1 << 16) / k.max(1)).map(dot).collect();
    }
    let cols = padded(batch);
    let mut xt = vec![R::ZERO; k * cols];
    for (i, row) in x.chunks_exact(k).enumerate() {
        row.iter().enumerate().for_each(|(l, v)| xt[l * cols + i] = *v);
    }
    let z = matmul(w, &xt, n, k, cols);
    (0..batch * n).map(|e| z[e % n * cols + e / n]).collect()
}

fn conv<R: Ring>(win: &Window, groups: usize, forms: [&Form; 2], x: &[R], w: &[R]) -> Vec<R> {
    let (&[_, c, h, wd], &[oc, cg, ..]) = (&forms[0].shape.0[..], &forms[1].shape.0[..]) else {
        return vec![];
    };
    let Ok([oh, ow]) = win.output(h, wd) else { return vec![] };
    let (k, pos, og) = (cg * win.kernel[0] * win.kernel[1], oh * ow, oc / groups);
    let cols = padded(pos);
    let image = |img: &[R]| {
        let mut z = Vec::with_capacity(oc * pos);
        for g in 0..groups {
            let b = im2col(win, &img[g * cg * h * wd..][..cg * h * wd], [cg, h, wd], [oh, ow]);
            let c = matmul(&w[g * og * k..][..og * k], &b, og, k, cols);
            c.chunks_exact(cols).for_each(|row| z.extend_from_slice(&row[..pos]));
        }
        z
    };
    x.par_chunks(c * h * wd).flat_map_iter(image).collect()
}

/// `[c * kh * kw, padded(oh * ow)]`: the input element every tap reads at every position, zero in the padding.
fn im2col<R: Ring>(win: &Window, img: &[R], [c, h, w]: [usize; 3], [oh, ow]: [usize; 2]) -> Vec<R> {
    let cols = padded(oh * ow);
    let mut out = vec![R::ZERO; c * win.kernel[0] * win.kernel[1] * cols];
    let mut rows = out.chunks_exact_mut(cols);
    for plane in img.chunks_exact(h * w) {
        for (i, j) in (0..win.kernel[0]).flat_map(|i| (0..win.kernel[1]).map(move |j| (i, j))) {
            let Some(row) = rows.next() else { return out };
            for (y, dst) in row[..oh * ow].chunks_exact_mut(ow).enumerate() {
                let Some(r) = (y * win.stride[0] + i * win.dilation[0]).checked_sub(win.pad[0]) else {
                    continue;
                };
                if r >= h {
                    continue;
                }
                for (xx, d) in dst.iter_mut().enumerate() {
                    let col = (xx * win.stride[1] + j * win.dilation[1]).wrapping_sub(win.pad[1]);
                    if col < w {
                        *d = plane[r * w + col];
                    }
                }
            }
        }
    }
    out
}
