//! Kernels by themselves, and leaks planted on purpose.

use crate::valgrind::{public, secret};
use std::hint::black_box;
use twoply_primitives::backend::{DpfTile, Isa, Packed};
use twoply_primitives::bits::Bits;
use twoply_primitives::prg::{Roots, Streams, TreeHash};
use twoply_primitives::{Cpu, KeySetId, Origin, PartyId, Ring, Site};

/// Where everything lies.
pub const ORIGIN: Origin = Origin { set: KeySetId([6; 16]), segment: 0 };

/// Streams under a secret key.
fn streams(isa: Isa, byte: u8) -> Streams {
    let mut key = [byte; 16];
    secret(&mut key);
    Streams::on(isa, &key)
}

/// Numbers that only depend on their place.
pub fn numbers<R: Ring>(len: usize, bits: u32) -> Vec<R> {
    let number = |i: u64| R::from_u64(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7).and(R::ones(bits));
    (0..len as u64).map(number).collect()
}

fn assert_bits(found: &Bits, wanted: impl Fn(usize) -> bool) {
    public(found.words());
    assert!((0..found.len()).all(|i| (found.bit(i) == 1) == wanted(i)), "the result is right");
}

pub fn expansion(isa: Isa) {
    // against the highest rung, so that software AES is checked against the instructions
    let (secret, known) = (streams(isa, 3), Streams::on(Isa::detected(), &[3; 16]));
    let (s, k) = (secret.field(5), known.field(5));
    let words = s.words::<u32>(3, 500, 20);
    public(&words);
    assert_eq!(words, k.words::<u32>(3, 500, 20));
    let words = s.words::<u64>(1, 77, 64);
    public(&words);
    assert_eq!(words, k.words::<u64>(1, 77, 64));
    let bits = s.bits(13..700);
    public(bits.words());
    assert_eq!(bits, k.bits(13..700));
}

fn point_function<R: Ring>(isa: Isa, w: u32) {
    const KEYS: usize = 75;
    let dev = Cpu::<R>::new();
    let streams = [1, 2].map(|b| streams(isa, b));
    let roots = PartyId::BOTH.map(|p| Roots::new(streams[p.index()].field(1), p, 0));
    let hash = TreeHash::on(isa, ORIGIN, Site { gate: 1, part: 0 }, 0);
    let known = numbers::<R>(KEYS, w);
    let mut alpha = known.clone();
    secret(&mut alpha);
    let mut words = vec![0; KEYS * (w as usize - 6) * 16];
    dev.dpf_generate(&hash, w, roots, &alpha, &mut words);
    let x: Vec<R> = known.iter().skip(5).rev().copied().collect();
    let tile = DpfTile { words: &words, tile_len: KEYS, from: 5 };
    let [a, b] = roots.map(|r| dev.dpf_evaluate(&hash, w, r, tile, &x));
    assert_bits(&a.xor(&b), |i| known[5 + i].low() <= x[i].low());
}

pub fn point_functions(isa: Isa) {
    point_function::<u32>(isa, 8);
    point_function::<u32>(isa, 19);
    point_function::<u32>(isa, 31);
    point_function::<u64>(isa, 63);
}

pub fn digit_tables(isa: Isa) {
    let dev = Cpu::<u32>::new();
    for width in 1..=7 {
        let known = numbers::<u32>(150, 20);
        let mut alpha = known.clone();
        secret(&mut alpha);
        let mut table = dev.one_hot(&alpha, 4, width);
        let mask = streams(isa, 8).field(width).bytes(0, table.len());
        table.iter_mut().zip(mask).for_each(|(t, m)| *t ^= m);
        let x: Vec<u32> = known.iter().rev().copied().collect();
        let packed = Packed { bytes: table.into(), at: 0, width: 1 << width, len: x.len() };
        let (mut equal, mut above) = ([0; 3], [0; 3]);
        dev.digit_lookup(&packed, &x, 4, [&mut equal, &mut above]);
        public(&equal);
        public(&above);
    }
}

/// A branch that hangs on a secret bit.
pub fn planted_branch() {
    #[inline(never)]
    fn count(v: u64) -> u64 {
        black_box(v) + 1
    }
    let mut key = [1u64];
    secret(&mut key);
    black_box(if black_box(key[0]) & 1 == 1 { count(3) } else { count(4).rotate_left(7) });
}

/// A table read at a secret index.
pub fn planted_index() {
    let mut key = [7u8];
    secret(&mut key);
    let table: [u8; 256] = std::array::from_fn(|i| i as u8);
    black_box(black_box(&table)[black_box(key[0]) as usize]);
}
