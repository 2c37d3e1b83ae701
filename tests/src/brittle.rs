//! A device that breaks: it computes as the CPU does until it is told how much more it may say. Then it fails as an
//! accelerator does, in what leaves it and in everything that leaves it later.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use twoply_primitives::backend::{
    Digit, Field, Fields, Grain, Hot, Lookup, Merge, Merging, Packed, Packet, Product, Slots, Stored, Term,
    Trees,
};
use twoply_primitives::prg::{Roots, Stream, Streams};
use twoply_primitives::{Backend, Cpu, Error, Form, Local, Result, TileBytes};

type Inner = Cpu<u32>;
type Buf = <Inner as Backend>::Buf;
type Bits = <Inner as Backend>::Bits;
type Planes = <Inner as Backend>::Planes;
type Keys = <Inner as Backend>::Keys;

/// What it says when it is broken.
pub const BROKEN: &str = "cuda:0: the kernel stopped";

/// The device. Clones break together.
#[derive(Clone, Debug)]
pub struct Brittle {
    cpu: Inner,
    left: Arc<AtomicI64>,
}

impl Brittle {
    /// One that works.
    #[allow(clippy::new_without_default)] // a default device should not break
    pub fn new() -> Brittle {
        Brittle { cpu: Cpu::new(), left: Arc::new(AtomicI64::new(i64::MAX)) }
    }
    /// Breaks after so many packets more.
    pub fn break_after(&self, packets: i64) {
        self.left.store(packets, Ordering::SeqCst);
    }
    fn leaves(&self, bytes: Vec<u8>) -> Torn {
        let whole = self.left.fetch_sub(1, Ordering::SeqCst) > 0;
        Torn(whole.then_some(bytes))
    }
}

fn broken() -> Error {
    Error::Device(format!("{BROKEN}; restart the machine"))
}

/// Bytes that left the device, or not.
pub struct Torn(Option<Vec<u8>>);

impl Packet for Torn {
    fn wait(self) -> Result<Vec<u8>> {
        self.0.ok_or_else(broken)
    }
}

/// Methods that the CPU has with the same arguments.
macro_rules! as_the_cpu {
    ($(fn $name:ident($($x:ident: $t:ty),*) $(-> $out:ty)?;)*) => {
        $(fn $name(&self, $($x: $t),*) $(-> $out)? {
            self.cpu.$name($($x),*)
        })*
    };
}

/// The same, of methods whose result leaves.
macro_rules! leaving {
    ($(fn $name:ident($($x:ident: $t:ty),*);)*) => {
        $(fn $name(&self, $($x: $t),*) -> Torn {
            self.leaves(self.cpu.$name($($x),*))
        })*
    };
}

impl Backend for Brittle {
    type Ring = u32;
    type Buf = Buf;
    type Bits = Bits;
    type Planes = Planes;
    type Keys = Keys;
    type Packet = Torn;

    const GRAIN: Grain = Inner::GRAIN;

    fn health(&self) -> Result<()> {
        (self.left.load(Ordering::SeqCst) > 0).then_some(()).ok_or_else(broken)
    }

    as_the_cpu! {
        fn upload(v: &[u32]) -> Buf;
        fn download(b: &Buf) -> Vec<u32>;
        fn wipe(b: &mut Buf);
        fn len(b: &Buf) -> usize;
        fn slice(b: &Buf, from: usize, len: usize) -> Buf;
        fn concat(parts: Vec<Buf>) -> Buf;
        fn expand(stream: Stream, from: usize, len: usize, bits: u32) -> Buf;
        fn expand_each(keys: &[[u8; 16]], row: usize, bits: u32) -> Buf;
        fn local(f: &Local, out: &Form, forms: &[&Form], x: &[&Buf]) -> Buf;
        fn mul(a: &Buf, b: &Buf) -> Buf;
        fn product(p: &Product, forms: [&Form; 2], x: &Buf, w: &Buf) -> Buf;
        fn add_row(x: &Buf, row: &Buf, span: usize) -> Buf;
        fn shift(x: &Buf, add: u64, by: u32, bits: u32) -> Buf;
        fn unpack(p: &Packed) -> Buf;
        fn add_packed(x: &mut Buf, from: usize, p: &Packed);
        fn bit(x: &Buf, i: u32) -> Bits;
        fn count(b: &Bits) -> usize;
        fn xor(a: &Bits, b: &Bits) -> Bits;
        fn and(a: &Bits, b: &Bits) -> Bits;
        fn not(a: &Bits) -> Bits;
        fn planes(bits: Vec<Bits>) -> Planes;
        fn plane(p: &Planes, i: usize) -> Bits;
        fn xor_planes(a: Planes, b: &Planes) -> Planes;
        fn open(mine: &Planes, theirs: &Packed, slots: &Slots) -> Planes;
        fn load(tiles: Vec<TileBytes>, fields: &[u32], slots: &Slots) -> Keys;
        fn word(field: Field<Keys>, slots: &Slots, bits: u32) -> Buf;
        fn bit_fields(fields: Fields<Keys>, slots: &Slots) -> Planes;
        fn dpf_bits(tree: &Trees, w: u32, roots: Roots, words: Stored<Keys>, x: &Buf, slots: &Slots) -> Bits;
        fn at_most(table: Field<Keys>, w: u32, x: &Buf, slots: &Slots) -> Bits;
        fn look_up(table: Lookup, hot: Hot<Keys>, x: &Buf, slots: &Slots) -> Buf;
        fn digit_planes(tables: Vec<(Digit, Field<Keys>)>, masks: &Planes, x: &Buf, slots: &Slots) -> Planes;
    }
    leaving! {
        fn pack(x: &Buf, bits: u32);
        fn say(p: &Planes, slots: &Slots);
        fn correction(x: &Buf, stream: Stream, slots: &Slots, bits: u32);
        fn dpf_keys(tree: &Trees, w: u32, roots: [Roots; 2], alpha: &Buf, slots: &Slots);
        fn digit_tables(x: &Buf, digit: Digit, stream: Stream, slots: &Slots);
        fn digit_products(merge: &Merge, masks: &Planes, other: (&Streams, &[u32]), slots: &Slots);
    }

    fn sum(&self, len: usize, terms: &[Term<Self>], bits: u32) -> Buf {
        let terms: Vec<_> = terms.iter().map(|&Term { c, when, x }| Term { c, when, x }).collect();
        self.cpu.sum(len, &terms, bits)
    }
    fn digit_merge(&self, merge: &Merge, from: usize, p: Merging<Self>) -> Bits {
        let Merging { opened, masks, products, one } = p;
        self.cpu.digit_merge(merge, from, Merging { opened, masks, products, one })
    }
}
