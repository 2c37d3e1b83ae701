//! A public table under a secret one-hot: `T[x - alpha]` is the exclusive or over all j of `hot_j` and `T[x - j]`.
//!
//! Instead of the table the one-hot is turned, by the public x, so that it meets the same words for every element: bit i of
//! the entry is the parity of the turned one-hot and of bit i of all entries `T[-j]`. Elements lie side by side in
//! [`LANES`], word by word, and a body without any branch or address that depends on them becomes vectors on every rung.

#![allow(unsafe_code)] // calls into code compiled for the rung

use super::rungs::rungs;
use crate::backend::{Cpu, Isa, Lookup, Packed};
use crate::bits::{read_bits, read_word};
use crate::ring::ones;
use crate::{Backend, Ring};

/// Elements that are looked up together.
const LANES: usize = 8;
/// Bits of the widest place.
const MOST: u32 = 13;

/// Words of a one-hot of `2^width` bits: at least one.
pub const fn words(width: u32) -> usize {
    (1 << width) / 64 + (width < 6) as usize
}

/// A table, bit by bit.
pub struct Planes {
    width: u32,
    /// Bit i of `T[-j]` at bit j of plane i, [`words`] each.
    words: Vec<u64>,
}

impl Planes {
    /// Of a table.
    pub fn new(table: &Lookup) -> Self {
        assert!(table.width <= MOST && table.entries.len() == 1 << table.width);
        let (first, rest) = table.entries.split_at(1);
        let turned: Vec<u32> = first.iter().chain(rest.iter().rev()).copied().collect();
        let plane = |i| Cpu::<u32>::new().bit(&turned, i).words().to_vec();
        Planes { width: table.width, words: (0..table.bits).flat_map(plane).collect() }
    }
    /// This party's share of every element's entry, from its share of the one-hots, [`words`] each.
    pub fn look_up<R: Ring>(&self, isa: Isa, hot: &[u64], x: &[R]) -> Vec<R> {
        assert_eq!(hot.len(), x.len() * words(self.width));
        let mut out = vec![R::ZERO; x.len()];
        run(isa, &self.words, self.width, hot, x, &mut out);
        out
    }
}

/// One-hots as they lie packed, each in [`words`] of its own.
pub fn hots(p: &Packed) -> Vec<u64> {
    if p.width < 64 {
        return (0..p.len).map(|i| read_word(&p.bytes, p.at + i * p.width as usize, p.width)).collect();
    }
    let bits = p.len * p.width as usize;
    let mut out = vec![0; bits / 64];
    read_bits(&p.bytes, p.at, bits, &mut out);
    out
}

rungs! {
    fn run<R: Ring>(planes: &[u64], width: u32, hot: &[u64], x: &[R], out: &mut [R]) {
        let n = words(width);
        let mut turned = [[0; LANES]; words(MOST)];
        for ((x, hot), out) in x.chunks(LANES).zip(hot.chunks(LANES * n)).zip(out.chunks_mut(LANES)) {
            for (lane, (x, hot)) in x.iter().zip(hot.chunks_exact(n)).enumerate() {
                turn(&mut turned, lane, width, hot, x.low());
            }
            let mut found = [0u64; LANES];
            for (i, plane) in planes.chunks_exact(n).enumerate() {
                let mut sum = [0; LANES];
                for (hot, plane) in turned.iter().zip(plane) {
                    for lane in 0..LANES {
                        sum[lane] ^= hot[lane] & plane;
                    }
                }
                for lane in 0..LANES {
                    found[lane] |= (sum[lane].count_ones() as u64 & 1) << i;
                }
            }
            for (out, found) in out.iter_mut().zip(found) {
                *out = R::from_u64(found);
            }
        }
    }
}

/// Turns a one-hot by x, bit x to bit 0, into a lane. One of less than 64 bits is repeated until it fills its word: the
/// planes take the lowest.
#[inline(always)]
fn turn(out: &mut [[u64; LANES]], lane: usize, width: u32, hot: &[u64], x: u64) {
    let (n, by) = (hot.len(), x as u32 & 63);
    if n == 1 {
        let period = if width < 6 { ones(1 << width) } else { u64::MAX };
        out[0][lane] = hot[0].wrapping_mul(u64::MAX / period).rotate_right(by);
        return;
    }
    let first = (x >> 6) as usize;
    for (k, out) in out[..n].iter_mut().enumerate() {
        let (low, high) = (hot[(first + k) & (n - 1)], hot[(first + k + 1) & (n - 1)]);
        // two shifts, as none by 64 bits is one
        out[lane] = low >> by | high << 1 << (63 - by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::words::tests::noise;

    /// The definition, bit by bit, for any bits in the place of a one-hot.
    fn defined<R: Ring>(table: &Lookup, hot: &[u64], x: &[R]) -> Vec<R> {
        let (n, size) = (words(table.width), 1usize << table.width);
        let one = |(x, hot): (&R, &[u64])| {
            let entry = |j: usize| table.entries[(x.low() as usize).wrapping_sub(j) % size];
            (0..size).filter(|j| hot[j / 64] >> (j % 64) & 1 == 1).fold(0, |z, j| z ^ entry(j))
        };
        x.iter().zip(hot.chunks(n)).map(one).map(|z| R::from_u64(z as u64)).collect()
    }

    fn every_width<R: Ring>(isa: Isa) {
        for width in 1..=MOST {
            for (bits, len) in [(1, 1), (7, 8), (15, 67), (32, 9)] {
                let entries: Vec<u32> =
                    noise::<u32>(1 << width, 3).iter().map(|v| v.and(u32::ones(bits))).collect();
                let table = Lookup { width, bits, entries: &entries };
                let hot = noise::<u64>(len * words(width), 4 + width as u64);
                let hot: Vec<u64> = hot.iter().map(|h| h & ones(1 << width.min(6))).collect();
                let x = noise::<R>(len, 5);
                assert_eq!(
                    Planes::new(&table).look_up(isa, &hot, &x),
                    defined(&table, &hot, &x),
                    "{isa:?} {width} {bits}"
                );
            }
        }
    }

    #[test]
    fn every_rung_looks_up_what_the_definition_says() {
        for isa in Isa::here() {
            every_width::<u32>(isa);
            every_width::<u64>(isa);
        }
    }
}
