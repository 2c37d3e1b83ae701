//! The backend of any CPU. Hot loops are in the files below; this one holds the element-wise maps.

mod digits;
mod dpf;
mod isa;
mod matmul;
mod product;

pub use isa::Isa;

use super::{Backend, DpfTile, Packed, Product};
use crate::bits::{Bits, pack, read_word};
use crate::prg::{Stream, TreeHash};
use crate::{Form, Local, Ring};
use std::marker::PhantomData;

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
    fn len(&self, b: &Vec<R>) -> usize {
        b.len()
    }
    fn slice(&self, b: &Vec<R>, from: usize, len: usize) -> Vec<R> {
        b[from..from + len].to_vec()
    }
    fn concat(&self, parts: Vec<Vec<R>>) -> Vec<R> {
        parts.concat()
    }

    fn expand(&self, stream: &Stream, from: usize, len: usize, bits: u32) -> Vec<R> {
        let (size, mask) = (R::BITS as usize / 8, R::ones(bits));
        let bytes = stream.bytes(from * size, len * size);
        bytes.chunks_exact(size).map(|c| word::<R>(c).and(mask)).collect()
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

    fn lin(&self, terms: &[(R, &Vec<R>)], bits: u32) -> Vec<R> {
        let (mask, len) = (R::ones(bits), terms.first().map_or(0, |t| t.1.len()));
        let mut z = vec![R::ZERO; len];
        for (c, x) in terms {
            debug_assert_eq!(x.len(), len);
            match *c {
                c if c == R::ONE => z.iter_mut().zip(*x).for_each(|(z, x)| *z = z.add(*x)),
                c if c == R::ZERO.sub(R::ONE) => z.iter_mut().zip(*x).for_each(|(z, x)| *z = z.sub(*x)),
                c => z.iter_mut().zip(*x).for_each(|(z, x)| *z = z.add(x.mul(c))),
            }
        }
        if bits < R::BITS {
            z.iter_mut().for_each(|z| *z = z.and(mask));
        }
        z
    }

    fn mul(&self, a: &Vec<R>, b: &Vec<R>) -> Vec<R> {
        debug_assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.mul(*b)).collect()
    }

    fn product(&self, p: &Product, forms: [&Form; 2], x: &Vec<R>, w: &Vec<R>) -> Vec<R> {
        product::product(p, forms, x, w)
    }

    fn add_row(&self, x: &Vec<R>, row: &Vec<R>, span: usize) -> Vec<R> {
        let wide = row.iter().flat_map(|r| std::iter::repeat_n(*r, span));
        x.iter().zip(wide.cycle()).map(|(x, r)| x.add(r)).collect()
    }

    fn shift(&self, x: &Vec<R>, add: u64, by: u32, bits: u32) -> Vec<R> {
        let mask = crate::ring::ones(bits) as u128;
        x.iter().map(|x| R::from_u64((((x.low() as u128 + add as u128) >> by) & mask) as u64)).collect()
    }

    fn bit(&self, x: &Vec<R>, i: u32) -> Bits {
        let word = |c: &[R]| c.iter().enumerate().fold(0, |acc, (j, x)| acc | (x.low() >> i & 1) << j);
        Bits::from_words(x.chunks(64).map(word).collect(), x.len())
    }
    fn of_bits(&self, b: &Bits) -> Vec<R> {
        (0..b.len()).map(|i| R::from_u64(b.bit(i))).collect()
    }
    fn pack(&self, x: &Vec<R>, bits: u32) -> Vec<u8> {
        pack(x.iter().map(|v| v.low()), bits)
    }
    fn unpack(&self, p: &Packed) -> Vec<R> {
        let word = |i| R::from_u64(read_word(&p.bytes, p.at + i * p.width as usize, p.width));
        (0..p.len).map(word).collect()
    }

    fn add_packed(&self, x: &mut Vec<R>, from: usize, p: &Packed) {
        let mask = R::ones(p.width);
        let part = &mut x[from..from + p.len];
        part.iter_mut().zip(self.unpack(p)).for_each(|(x, y)| *x = x.add(y).and(mask));
    }

    fn dpf_generate(&self, hash: &TreeHash, w: u32, roots: [&[u128]; 2], alpha: &Vec<R>) -> Vec<u8> {
        dpf::generate(hash, w, roots, alpha)
    }
    fn dpf_evaluate(&self, hash: &TreeHash, w: u32, roots: &[u128], tile: DpfTile, x: &Vec<R>) -> Bits {
        dpf::evaluate(hash, w, roots, tile, x)
    }
    fn one_hot(&self, x: &Vec<R>, shift: u32, bits: u32) -> Vec<u8> {
        digits::one_hot(x, shift, bits)
    }
    fn digit_lookup(&self, tables: &Packed, x: &Vec<R>, shift: u32) -> (Bits, Bits) {
        digits::lookup(tables, x, shift)
    }
}

fn word<R: Ring>(bytes: &[u8]) -> R {
    let mut b = [0; 8];
    b[..bytes.len()].copy_from_slice(bytes);
    R::from_u64(u64::from_le_bytes(b))
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
