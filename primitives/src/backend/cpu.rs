//! The backend of any CPU. Hot loops are in the files below; this one joins them.

mod digits;
mod dpf;
mod fields;
mod isa;
mod kernels;
mod local;
mod lookup;
mod matmul;
mod packing;
mod product;
mod rungs;
mod words;

pub use isa::Isa;
pub use kernels::Kernels;
pub use matmul::{Multiply, spin};

use super::{Backend, DpfTile, Packed, Product, Term};
use super::{Digit, Field, Fields, Grain, Hot, Lookup, Merge, Merging, Slots, Stored, Trees};
use crate::bits::{Bits, Planes};
use crate::prg::{Roots, Stream, Streams, TreeHash};
use crate::{Form, Local, Ring, TileBytes};
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

/// Kernels on the keys of one tile.
impl<R: Ring> Cpu<R> {
    /// Half-tree keys of `w` bits for `alpha`, whose roots begin as `roots` do: writes all of `out`, `16 (w - 6)` bytes per
    /// element in blocks of [`super::DPF_BLOCK`].
    pub fn dpf_generate(&self, hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &[R], out: &mut [u8]) {
        R::dpf_generate(hash, w, roots, alpha, out)
    }
    /// This party's bits of `[alpha <= x]` on elements `from..` of a tile whose first root is that of `roots`.
    pub fn dpf_evaluate(&self, hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &[R]) -> Bits {
        R::dpf_evaluate(hash, w, roots, tile, x)
    }
    /// One-hot tables of the digit of `x` at bit `shift`, `bits` wide, packed at `2^bits`.
    pub fn one_hot(&self, x: &[R], shift: u32, bits: u32) -> Vec<u8> {
        R::one_hot(x, shift, bits)
    }
    /// Looks the same digit up in shared tables: `T[digit]` and the parity of T above digit, as bits. Both places have a
    /// word for every 64 elements begun; bits past the last element are left undefined.
    pub fn digit_lookup(&self, tables: &Packed, x: &[R], shift: u32, out: [&mut [u64]; 2]) {
        R::lookup(tables, x, shift, out)
    }
}

impl<R: Ring> Backend for Cpu<R> {
    type Ring = R;
    type Buf = Vec<R>;
    type Bits = Bits;
    type Planes = Planes;
    type Keys = Vec<TileBytes>;
    type Packet = Vec<u8>;

    // a tile's working set stays in the caches of the core that computes it
    const GRAIN: Grain = Grain { tiles: 1, wave: 16, threads: true, opened: 1 << 16, ahead: 0 };

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
    fn concat(&self, mut parts: Vec<Vec<R>>) -> Vec<R> {
        if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat() }
    }

    fn expand(&self, stream: Stream, from: usize, len: usize, bits: u32) -> Vec<R> {
        R::expand(stream, from, len, bits)
    }

    fn expand_each(&self, keys: &[[u8; 16]], row: usize, bits: u32) -> Vec<R> {
        let mut z = Vec::with_capacity(keys.len() * row);
        for key in keys {
            z.extend_from_slice(&R::expand(Streams::from_key(key).field(0), 0, row, bits));
        }
        z
    }
    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&Vec<R>]) -> Vec<R> {
        let x: Vec<&[R]> = x.iter().map(|x| &x[..]).collect();
        local::local(f, out, forms, &x)
    }

    fn sum(&self, len: usize, terms: &[Term<Self>], bits: u32) -> Vec<R> {
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
        local::each_row(x.len(), span, |i, z| {
            let (from, add) = (i * span, row[i % row.len()]);
            z.iter_mut().zip(&x[from..]).for_each(|(z, x)| *z = x.add(add));
        })
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

    fn count(&self, b: &Bits) -> usize {
        b.len()
    }
    fn xor(&self, a: &Bits, b: &Bits) -> Bits {
        a.xor(b)
    }
    fn and(&self, a: &Bits, b: &Bits) -> Bits {
        a.and(b)
    }
    fn not(&self, a: &Bits) -> Bits {
        a.not()
    }
    fn planes(&self, bits: Vec<Bits>) -> Planes {
        Planes::of(bits)
    }
    fn plane(&self, p: &Planes, i: usize) -> Bits {
        p.bits(i)
    }
    fn xor_planes(&self, a: Planes, b: &Planes) -> Planes {
        a.xor(b)
    }
    fn say(&self, p: &Planes, _: &Slots) -> Vec<u8> {
        p.join().to_bytes()
    }
    fn open(&self, mine: &Planes, theirs: &Packed, slots: &Slots) -> Planes {
        fields::open(mine, theirs, slots)
    }

    fn load(&self, tiles: Vec<TileBytes>, _: &[u32], _: &Slots) -> Vec<TileBytes> {
        tiles
    }
    fn word(&self, field: Field<Vec<TileBytes>>, slots: &Slots, bits: u32) -> Vec<R> {
        match field {
            Field::Own(stream) => R::expand(stream, slots.range.start, slots.len(), bits),
            Field::Stored(s) => R::unpack(&fields::packed(&s, slots)),
        }
    }
    fn bit_fields(&self, from: Fields<Vec<TileBytes>>, slots: &Slots) -> Planes {
        fields::bits(from, slots)
    }
    fn correction(&self, x: &Vec<R>, stream: Stream, slots: &Slots, bits: u32) -> Vec<u8> {
        let e0 = R::expand(stream, slots.range.start, slots.len(), bits);
        R::pack(&self.lin(&[(R::ONE, x), (R::ZERO.sub(R::ONE), &e0)], bits), bits)
    }

    fn dpf_keys(&self, trees: &Trees, w: u32, roots: [Roots; 2], alpha: &Vec<R>, slots: &Slots) -> Vec<u8> {
        let mut out = vec![0; crate::record::packed_len(128 * (w - 6), slots.len())];
        R::dpf_generate(&trees.hash(slots.tiles().start), w, roots, alpha, &mut out);
        out
    }
    fn dpf_bits(
        &self,
        trees: &Trees,
        w: u32,
        roots: Roots,
        words: Stored<Vec<TileBytes>>,
        x: &Vec<R>,
        slots: &Slots,
    ) -> Bits {
        let (hash, words) = (trees.hash(slots.tiles().start), fields::bytes(&words, slots));
        let tile = DpfTile { words, tile_len: slots.tile_len(), from: slots.skipped() };
        R::dpf_evaluate(&hash, w, roots, tile, x)
    }
    fn at_most(&self, table: Field<Vec<TileBytes>>, w: u32, x: &Vec<R>, slots: &Slots) -> Bits {
        fields::at_most(&fields::table(&table, Digit { shift: 0, bits: w }, slots), x)
    }

    fn look_up(&self, table: Lookup, hot: Hot<Vec<TileBytes>>, x: &Vec<R>, slots: &Slots) -> Vec<R> {
        match hot {
            Hot::Table(field) => {
                let digit = Digit { shift: 0, bits: table.width };
                R::look_up(&table, &fields::table(&field, digit, slots), x)
            }
            Hot::Tree { trees, roots, words } => {
                let (hash, words) = (trees.hash(slots.tiles().start), fields::bytes(&words, slots));
                let tile = DpfTile { words, tile_len: slots.tile_len(), from: slots.skipped() };
                R::look_up_tree(&table, &hash, roots, tile, x)
            }
        }
    }

    fn digit_tables(&self, x: &Vec<R>, digit: Digit, stream: Stream, slots: &Slots) -> Vec<u8> {
        let mut tables = R::one_hot(x, digit.shift, digit.bits);
        fields::correct(&mut tables, stream, 1 << digit.bits, slots);
        tables
    }
    fn digit_products(
        &self,
        merge: &Merge,
        masks: &Planes,
        other: (&Streams, &[u32]),
        slots: &Slots,
    ) -> Vec<u8> {
        fields::products(merge, masks, other, slots)
    }
    fn digit_planes(
        &self,
        tables: Vec<(Digit, Field<Vec<TileBytes>>)>,
        masks: &Planes,
        x: &Vec<R>,
        slots: &Slots,
    ) -> Planes {
        fields::lookups(tables, masks, x, slots)
    }
    fn digit_merge(&self, merge: &Merge, from: usize, p: Merging<Self>) -> Bits {
        fields::merge(merge, from, &p)
    }
}
