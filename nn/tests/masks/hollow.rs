//! A device on which nothing is computed: vectors are their lengths. With it a dealer goes through the largest networks in
//! a moment, and what it expands can be noted all the same.

use std::marker::PhantomData;
use twoply_primitives::backend::{
    Digit, Field, Fields, Grain, Hot, Lookup, Merge, Merging, Packed, Product, Slots, Stored, Term, Trees,
};
use twoply_primitives::prg::{Roots, Stream, Streams};
use twoply_primitives::record::packed_len;
use twoply_primitives::{Backend, Form, Local, Ring, TileBytes};

/// No device, for one ring.
#[derive(Clone, Copy, Default)]
pub struct Hollow<R>(PhantomData<R>);

impl<R: Ring> Backend for Hollow<R> {
    type Ring = R;
    type Buf = usize;
    type Bits = usize;
    /// How many, and how long.
    type Planes = [usize; 2];
    type Keys = ();
    type Packet = Vec<u8>;
    const GRAIN: Grain = Grain { tiles: 1, wave: 16, threads: true, opened: 1 << 16, ahead: 0 };

    fn upload(&self, v: &[R]) -> usize {
        v.len()
    }
    fn download(&self, b: &usize) -> Vec<R> {
        vec![R::ZERO; *b]
    }
    fn wipe(&self, _: &mut usize) {}
    fn len(&self, b: &usize) -> usize {
        *b
    }
    fn slice(&self, _: &usize, _: usize, len: usize) -> usize {
        len
    }
    fn concat(&self, parts: Vec<usize>) -> usize {
        parts.iter().sum()
    }
    fn expand(&self, _: Stream, _: usize, len: usize, _: u32) -> usize {
        len
    }
    fn expand_each(&self, keys: &[[u8; 16]], row: usize, _: u32) -> usize {
        keys.len() * row
    }
    fn local(&self, _: &Local, out: &Form, _: &[&Form], _: &[&usize]) -> usize {
        out.len()
    }
    fn sum(&self, len: usize, _: &[Term<Self>], _: u32) -> usize {
        len
    }
    fn mul(&self, a: &usize, _: &usize) -> usize {
        *a
    }
    fn product(&self, p: &Product, forms: [&Form; 2], _: &usize, _: &usize) -> usize {
        p.shape(&forms[0].shape, &forms[1].shape).unwrap().len()
    }
    fn add_row(&self, x: &usize, _: &usize, _: usize) -> usize {
        *x
    }
    fn shift(&self, x: &usize, _: u64, _: u32, _: u32) -> usize {
        *x
    }
    fn pack(&self, x: &usize, bits: u32) -> Vec<u8> {
        vec![0; packed_len(bits, *x)]
    }
    fn unpack(&self, p: &Packed) -> usize {
        p.len
    }
    fn add_packed(&self, _: &mut usize, _: usize, _: &Packed) {}
    fn bit(&self, x: &usize, _: u32) -> usize {
        *x
    }
    fn count(&self, b: &usize) -> usize {
        *b
    }
    fn xor(&self, a: &usize, _: &usize) -> usize {
        *a
    }
    fn and(&self, a: &usize, _: &usize) -> usize {
        *a
    }
    fn not(&self, a: &usize) -> usize {
        *a
    }
    fn planes(&self, bits: Vec<usize>) -> [usize; 2] {
        [bits.len(), bits[0]]
    }
    fn plane(&self, p: &[usize; 2], _: usize) -> usize {
        p[1]
    }
    fn xor_planes(&self, a: [usize; 2], _: &[usize; 2]) -> [usize; 2] {
        a
    }
    fn say(&self, p: &[usize; 2], _: &Slots) -> Vec<u8> {
        vec![0; packed_len(1, p[0] * p[1])]
    }
    fn open(&self, mine: &[usize; 2], _: &Packed, _: &Slots) -> [usize; 2] {
        *mine
    }
    fn load(&self, _: Vec<TileBytes>, _: &[u32], _: &Slots) {}
    fn word(&self, _: Field<()>, slots: &Slots, _: u32) -> usize {
        slots.len()
    }
    fn bit_fields(&self, fields: Fields<()>, slots: &Slots) -> [usize; 2] {
        match fields {
            Fields::Own(_, fields) => [fields.len(), slots.len()],
            Fields::Stored(_, count) => [count, slots.len()],
        }
    }
    fn correction(&self, _: &usize, _: Stream, slots: &Slots, bits: u32) -> Vec<u8> {
        vec![0; packed_len(bits, slots.len())]
    }
    fn dpf_keys(&self, _: &Trees, w: u32, _: [Roots; 2], _: &usize, slots: &Slots) -> Vec<u8> {
        vec![0; packed_len(128 * (w - 6), slots.len())]
    }
    fn dpf_bits(&self, _: &Trees, _: u32, _: Roots, _: Stored<()>, _: &usize, slots: &Slots) -> usize {
        slots.len()
    }
    fn at_most(&self, _: Field<()>, _: u32, _: &usize, slots: &Slots) -> usize {
        slots.len()
    }
    fn look_up(&self, _: Lookup, _: Hot<()>, _: &usize, slots: &Slots) -> usize {
        slots.len()
    }
    fn digit_tables(&self, _: &usize, digit: Digit, _: Stream, slots: &Slots) -> Vec<u8> {
        vec![0; packed_len(1 << digit.bits, slots.len())]
    }
    fn digit_products(
        &self,
        _: &Merge,
        _: &[usize; 2],
        (_, fields): (&Streams, &[u32]),
        slots: &Slots,
    ) -> Vec<u8> {
        vec![0; fields.len() * packed_len(1, slots.len())]
    }
    fn digit_planes(
        &self,
        _: Vec<(Digit, Field<()>)>,
        masks: &[usize; 2],
        _: &usize,
        _: &Slots,
    ) -> [usize; 2] {
        *masks
    }
    fn digit_merge(&self, _: &Merge, _: usize, p: Merging<Self>) -> usize {
        p.opened[1]
    }
}
