//! The backend of any CPU. Hot loops are in the files below; this one holds the element-wise maps.

mod digits;
mod dpf;
mod isa;
mod kernels;
mod matmul;
mod packing;
mod product;
mod rungs;
mod words;

pub use isa::Isa;
pub use kernels::Kernels;
pub use matmul::{Multiply, spin};

use super::{Backend, DpfTile, Merge, Packed, Product, Term};
use crate::bits::Bits;
use crate::prg::{Roots, Stream, TreeHash};
use crate::{Form, Local, Ring};
use std::marker::PhantomData;
use zeroize::Zeroize;

/// The CPU, for one ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu<R>(PhantomData<R>);

impl<R> Cpu<R> {
    /// The CPU.
    pub fn new() -> Self {
        Cpu(PhantomData)
    }
}

impl<R: Ring> Backend for Cpu<R> {
    type Ring = R;
    type Buf = Vec<R>;

    fn upload(&self, v: &[R]) -> Vec<R> {
        v.to_vec()
    }
    fn download(&self, b: &Vec<R>) -> Vec<R> {
        b.clone()
    }
    fn wipe(&self, b: &mut Vec<R>) {
        b.zeroize();
    }
    fn len(&self, b: &Vec<R>) -> usize {
        b.len()
    }
    fn slice(&self, b: &Vec<R>, from: usize, len: usize) -> Vec<R> {
        b[from..from + len].to_vec()
    }
    fn concat(&self, parts: Vec<Vec<R>>) -> Vec<R> {
        parts.concat()
    }

    fn expand(&self, stream: Stream, from: usize, len: usize, bits: u32) -> Vec<R> {
        R::expand(stream, from, len, bits)
    }

    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&Vec<R>]) -> Vec<R> {
        let mask = R::ones(out.bits);
        let map = |f: &dyn Fn(R) -> R| x[0].iter().map(|&a| f(a).and(mask)).collect();
        let zip = |f: &dyn Fn(R, R) -> R| x[0].iter().zip(x[1]).map(|(&a, &b)| f(a, b).and(mask)).collect();
        match f {
            Local::Add => zip(&R::add),
            Local::Sub => zip(&R::sub),
            Local::Scale(c) => map(&|a| a.mul(R::from_i64(*c))),
            Local::AddPublic(c) => map(&|a| a.add(R::from_i64(*c))),
            Local::Reshape(_) | Local::Reduce(_) => map(&|a| a),
            Local::Gather(index) => gather(index, forms, x, mask),
            Local::SumPool(w) => {
                let &[_, _, h, wd] = &forms[0].shape.0[..] else { return vec![] };
                let &[.., oh, ow] = &out.shape.0[..] else { return vec![] };
                let mut z = Vec::with_capacity(out.len());
                for plane in x[0].chunks_exact(h * wd) {
                    for (y, xx) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                        z.push(w.taps(h, wd, y, xx).fold(R::ZERO, |a, i| a.add(plane[i])).and(mask));
                    }
                }
                z
            }
            Local::ScaleEach(c) => {
                x[0].iter().zip(c.iter().cycle()).map(|(a, &c)| a.mul(R::from_i64(c)).and(mask)).collect()
            }
        }
    }

    fn sum(&self, len: usize, terms: &[Term<R, Vec<R>>], bits: u32) -> Vec<R> {
        // a plain first term is copied, the rest added to it
        let (mut z, rest) = match terms {
            [Term { c, when: None, x: Some(x) }, rest @ ..] if *c == R::ONE => (x.to_vec(), rest),
            all => (vec![R::ZERO; len], all),
        };
        R::sum(&mut z, rest, R::ones(bits));
        z
    }

    fn mul(&self, a: &Vec<R>, b: &Vec<R>) -> Vec<R> {
        debug_assert_eq!(a.len(), b.len());
        let mut z = a.clone();
        R::mul_each(&mut z, b);
        z
    }

    fn product(&self, p: &Product, forms: [&Form; 2], x: &Vec<R>, w: &Vec<R>) -> Vec<R> {
        R::product(p, forms, x, w)
    }

    fn add_row(&self, x: &Vec<R>, row: &Vec<R>, span: usize) -> Vec<R> {
        let wide = row.iter().flat_map(|r| std::iter::repeat_n(*r, span));
        x.iter().zip(wide.cycle()).map(|(x, r)| x.add(r)).collect()
    }

    fn shift(&self, x: &Vec<R>, add: u64, by: u32, bits: u32) -> Vec<R> {
        let mut z = x.clone();
        R::shift(&mut z, add, by, bits);
        z
    }

    fn bit(&self, x: &Vec<R>, i: u32) -> Bits {
        let mut out = vec![0; x.len().div_ceil(64)];
        R::bit(&mut out, x, i);
        Bits::from_words(out, x.len())
    }
    fn pack(&self, x: &Vec<R>, bits: u32) -> Vec<u8> {
        R::pack(x, bits)
    }
    fn unpack(&self, p: &Packed) -> Vec<R> {
        R::unpack(p)
    }

    fn add_packed(&self, x: &mut Vec<R>, from: usize, p: &Packed) {
        R::add_each(&mut x[from..from + p.len], &R::unpack(p), R::ones(p.width));
    }

    fn dpf_generate(&self, hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &Vec<R>, out: &mut [u8]) {
        R::dpf_generate(hash, w, roots, alpha, out)
    }
    fn dpf_evaluate(&self, hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &Vec<R>) -> Bits {
        R::dpf_evaluate(hash, w, roots, tile, x)
    }
    fn one_hot(&self, x: &Vec<R>, shift: u32, bits: u32) -> Vec<u8> {
        R::one_hot(x, shift, bits)
    }
    fn digit_lookup(&self, tables: &Packed, x: &Vec<R>, shift: u32, out: [&mut [u64]; 2]) {
        R::lookup(tables, x, shift, out)
    }
    fn digit_merge(&self, m: &Merge, from: usize) -> Vec<u64> {
        digits::merge(Isa::current(), m, from)
    }
}

fn gather<R: Ring>(index: &[usize], forms: &[&Form], x: &[&Vec<R>], mask: R) -> Vec<R> {
    let rows: Vec<usize> = forms.iter().map(|f| f.shape.row()).collect();
    // (operand, element) for every place, once for all images
    let places: Vec<(usize, usize)> = index
        .iter()
        .map(|&i| {
            let (mut op, mut at) = (0, i);
            while at >= rows[op] {
                at -= rows[op];
                op += 1;
            }
            (op, at)
        })
        .collect();
    let batch = forms[0].shape.batch();
    let mut z = Vec::with_capacity(batch * index.len());
    for b in 0..batch {
        z.extend(places.iter().map(|&(op, at)| x[op][b * rows[op] + at].and(mask)));
    }
    z
}
