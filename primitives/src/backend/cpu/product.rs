//! Linear layers and convolutions as jobs of matrix products.

mod source;

use super::Isa;
use super::matmul::{Job, dots};
use crate::backend::Product;
use crate::{Form, Ring, Window};
use source::{Columns, Taps};

/// Up to this many images a linear layer is computed by inner products: it is bound by reading the weights.
const FEW: usize = 4;

pub fn product<R: Ring>(p: &Product, forms: [&Form; 2], x: &[R], w: &[R]) -> Vec<R> {
    let isa = Isa::current();
    match p {
        Product::Elementwise => {
            let mut z = x.to_vec();
            R::mul_each(&mut z, w);
            z
        }
        Product::Linear => {
            let [batch, k, n] = [forms[0].shape.batch(), forms[0].shape.row(), forms[1].shape.batch()];
            linear(isa, [batch, k, n], x, w)
        }
        Product::Conv { window, groups } => conv(isa, window, *groups, forms, x, w),
    }
}

/// `x [batch, k]` times the transpose of `w [n, k]`: the weights are the rows, the images the columns.
fn linear<R: Ring>(isa: Isa, [batch, k, n]: [usize; 3], x: &[R], w: &[R]) -> Vec<R> {
    if batch <= FEW {
        return dots(isa, x, w, batch, k);
    }
    Job { groups: vec![(w, Columns { x, k })], m: n, k, images: batch, positions: 1 }.product(isa)
}

fn conv<R: Ring>(isa: Isa, window: &Window, groups: usize, forms: [&Form; 2], x: &[R], w: &[R]) -> Vec<R> {
    let (&[images, _, h, wd], &[oc, cg, kh, kw]) = (&forms[0].shape.0[..], &forms[1].shape.0[..]) else {
        return vec![];
    };
    let Ok([oh, ow]) = window.output(h, wd) else { return vec![] };
    let (m, k) = (oc / groups, cg * kh * kw);
    let taps = Taps::new(window, x, [groups * cg, h, wd], [oh, ow]);
    let group = |g| (&w[g * m * k..][..m * k], taps.channels(g * cg));
    Job { groups: (0..groups).map(group).collect(), m, k, images, positions: oh * ow }.product(isa)
}

#[cfg(test)]
mod tests;
