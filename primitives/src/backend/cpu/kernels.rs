//! Where what is generic in the ring ends: every kernel once for each ring, compiled with this crate. A crate that names a
//! backend would otherwise compile all of them again.

use super::{digits, dpf, lookup, packing, words};
use crate::Ring;
use crate::backend::{Cpu, DpfTile, Isa, Lookup, Packed, Term};
use crate::bits::Bits;
use crate::prg::{Roots, Stream, TreeHash};

/// The rings that there are kernels for; each method is that of [`crate::Backend`] on the rung of this process.
pub trait Kernels: Sized + 'static {
    #![allow(missing_docs)] // see above
    fn expand(stream: Stream, from: usize, len: usize, bits: u32) -> Vec<Self>;
    fn sum(z: &mut [Self], terms: &[Term<Cpu<Self>>], mask: Self)
    where
        Self: Ring;
    fn add_each(z: &mut [Self], x: &[Self], mask: Self);
    fn mul_each(z: &mut [Self], x: &[Self]);
    fn shift(z: &mut [Self], add: u64, by: u32, bits: u32);
    fn bit(out: &mut [u64], x: &[Self], i: u32);
    fn pack(x: &[Self], bits: u32) -> Vec<u8>;
    fn unpack(p: &Packed) -> Vec<Self>;
    fn dpf_generate(hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &[Self], out: &mut [u8]);
    fn dpf_evaluate(hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &[Self]) -> Bits;
    fn look_up(table: &Lookup, hot: &Packed, x: &[Self]) -> Vec<Self>;
    fn look_up_tree(table: &Lookup, hash: &TreeHash, roots: Roots, tile: DpfTile, x: &[Self]) -> Vec<Self>;
    fn one_hot(x: &[Self], shift: u32, bits: u32) -> Vec<u8>;
    fn lookup(tables: &Packed, x: &[Self], shift: u32, out: [&mut [u64]; 2]);
}

macro_rules! kernels {
    ($($ring:ty),*) => {$(
        impl Kernels for $ring {
            fn expand(stream: Stream, from: usize, len: usize, bits: u32) -> Vec<$ring> {
                stream.words(from, len, bits)
            }
            fn sum(z: &mut [$ring], terms: &[Term<Cpu<$ring>>], mask: $ring) {
                words::sum(Isa::current(), z, terms, mask)
            }
            fn add_each(z: &mut [$ring], x: &[$ring], mask: $ring) {
                words::add(Isa::current(), z, x, mask)
            }
            fn mul_each(z: &mut [$ring], x: &[$ring]) {
                words::mul(Isa::current(), z, x)
            }
            fn shift(z: &mut [$ring], add: u64, by: u32, bits: u32) {
                words::shift(Isa::current(), z, add, by, bits)
            }
            fn bit(out: &mut [u64], x: &[$ring], i: u32) {
                packing::bit(Isa::current(), out, x, i)
            }
            fn pack(x: &[$ring], bits: u32) -> Vec<u8> {
                packing::pack(Isa::current(), x, bits)
            }
            fn unpack(p: &Packed) -> Vec<$ring> {
                packing::unpack(Isa::current(), p)
            }
            fn dpf_generate(hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &[$ring], out: &mut [u8]) {
                dpf::generate(hash, w, roots, alpha, out)
            }
            fn dpf_evaluate(hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &[$ring]) -> Bits {
                dpf::evaluate(hash, w, roots, tile, x)
            }
            fn look_up(table: &Lookup, hot: &Packed, x: &[$ring]) -> Vec<$ring> {
                lookup::Planes::new(table).look_up(Isa::current(), &lookup::hots(hot), x)
            }
            fn look_up_tree(table: &Lookup, hash: &TreeHash, roots: Roots, tile: DpfTile, x: &[$ring]) -> Vec<$ring> {
                let (planes, mut out) = (lookup::Planes::new(table), Vec::with_capacity(x.len()));
                dpf::domain(hash, table.width, roots, tile, x.len(), |from, hot| {
                    let here = &x[from..from + hot.len() / lookup::words(table.width)];
                    out.extend(planes.look_up(Isa::current(), hot, here));
                });
                out
            }
            fn one_hot(x: &[$ring], shift: u32, bits: u32) -> Vec<u8> {
                digits::one_hot(Isa::current(), x, shift, bits)
            }
            fn lookup(tables: &Packed, x: &[$ring], shift: u32, out: [&mut [u64]; 2]) {
                digits::lookup(Isa::current(), tables, x, shift, out)
            }
        }
    )*};
}
kernels!(u32, u64);
