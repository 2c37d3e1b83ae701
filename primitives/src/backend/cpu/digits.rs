//! One-hot tables of a digit, made and looked up without any address or branch that depends on a secret.

use crate::Ring;
use crate::backend::Packed;
use crate::bits::{Bits, pack, read_word};
use crate::ring::ones;

/// A table of `2^bits` bits per element with the bit of its digit set; `bits <= 7`.
pub fn one_hot<R: Ring>(x: &[R], shift: u32, bits: u32) -> Vec<u8> {
    let digit = |v: &R| v.low() >> shift & ones(bits);
    if bits == 7 {
        return x.iter().flat_map(|v| (1u128 << digit(v)).to_le_bytes()).collect();
    }
    pack(x.iter().map(|v| 1u64 << digit(v)), 1 << bits)
}

/// `(T[y], parity of T[> y])` for the public digit `y` of every element.
pub fn lookup<R: Ring>(tables: &Packed, x: &[R], shift: u32) -> (Bits, Bits) {
    let bits = tables.width.ilog2();
    let mut out = [Vec::with_capacity(x.len() / 64 + 1), Vec::with_capacity(x.len() / 64 + 1)];
    for (c, chunk) in x.chunks(64).enumerate() {
        let (mut equal, mut less) = (0, 0);
        for (j, v) in chunk.iter().enumerate() {
            let y = (v.low() >> shift & ones(bits)) as u32;
            let at = tables.at + (c * 64 + j) * tables.width as usize;
            let (e, l) = if bits == 7 {
                let low = read_word(&tables.bytes, at, 64) as u128;
                let t = low | (read_word(&tables.bytes, at + 64, 64) as u128) << 64;
                let above = (t >> y) >> 1;
                ((t >> y) as u64 & 1, above.count_ones() as u64 & 1)
            } else {
                let t = read_word(&tables.bytes, at, tables.width);
                let above = (t >> y) >> 1;
                (t >> y & 1, above.count_ones() as u64 & 1)
            };
            equal |= e << j;
            less |= l << j;
        }
        out[0].push(equal);
        out[1].push(less);
    }
    let [e, l] = out;
    (Bits::from_words(e, x.len()), Bits::from_words(l, x.len()))
}
