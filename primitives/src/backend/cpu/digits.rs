//! Digit tables: made, looked up and multiplied out without any address or branch that depends on a secret.
//!
//! Elements come in blocks of 64, a word of result bits. A digit's table is shifted right by the public digit `y`: its
//! lowest bit is `T[y]`, and the parity of the rest says whether `y` is smaller. 64 shifts and parities per block are
//! vector shifts and population counts where the rung has them.

#![allow(unsafe_code)] // vector instructions, and calls into code compiled for the rung

use super::rungs::rungs;
use super::words::gather;
use crate::Ring;
use crate::backend::{Isa, Packed};
use crate::bits::read_bits;
use crate::ring::ones;

#[cfg(target_arch = "x86_64")]
mod avx512;

/// Elements of a block.
const BLOCK: usize = 64;
/// The largest digit that is compared, in bits.
const MAX: u32 = 7;

/// Bytes of a block of tables for digits of `bits` bits.
const fn size(bits: u32) -> usize {
    BLOCK << bits >> 3
}

/// A table of `2^bits` bits per element with the bit of its digit set; `bits <= 8`.
pub fn one_hot<R: Ring>(isa: Isa, x: &[R], shift: u32, bits: u32) -> Vec<u8> {
    let mut out = vec![0; x.len().div_ceil(BLOCK) * size(bits)];
    one_hot_blocks(isa, x, shift, bits, &mut out);
    out.truncate((x.len() << bits).div_ceil(8));
    // the last byte of narrow tables may hold those of elements that are not there
    let used = (x.len() << bits) % 8;
    if let (1.., Some(last)) = (used, out.last_mut()) {
        *last &= ones(used as u32) as u8;
    }
    out
}

rungs! {
    fn one_hot_blocks<R: Ring>(x: &[R], shift: u32, bits: u32, out: &mut [u8]) {
        for (x, out) in x.chunks(BLOCK).zip(out.chunks_exact_mut(size(bits))) {
            let mut y = [0u32; BLOCK];
            for (y, x) in y.iter_mut().zip(x) {
                *y = x.shr(shift).low() as u32 & ones(bits) as u32;
            }
            match bits {
                8 => {
                    for (out, y) in out.as_chunks_mut::<32>().0.iter_mut().zip(y) {
                        for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                            // all ones in the word that y is in: there alone the difference is 0
                            let here = (((y as i64 >> 6 ^ k as i64) - 1) >> 63) as u64;
                            *out = (1u64 << (y & 63) & here).to_le_bytes();
                        }
                    }
                }
                7 => {
                    for (out, y) in out.as_chunks_mut::<16>().0.iter_mut().zip(y) {
                        let (one, high) = (1u64 << (y & 63), 0u64.wrapping_sub(y as u64 >> 6));
                        let (low, high) = (one & !high, one & high);
                        *out = (low as u128 | (high as u128) << 64).to_le_bytes();
                    }
                }
                6 => {
                    for (out, y) in out.as_chunks_mut().0.iter_mut().zip(y) {
                        *out = (1u64 << y).to_le_bytes();
                    }
                }
                5 => {
                    for (out, y) in out.as_chunks_mut().0.iter_mut().zip(y) {
                        *out = (1u32 << y).to_le_bytes();
                    }
                }
                4 => {
                    for (out, y) in out.as_chunks_mut().0.iter_mut().zip(y) {
                        *out = (1u32 << y).to_le_bytes().split_at(2).0.try_into().unwrap_or([0; 2]);
                    }
                }
                _ => {
                    // 8, 4 or 2 bits: as many elements as fill a byte
                    let each = 8 >> bits;
                    for (out, y) in out.iter_mut().zip(y.chunks_exact(each)) {
                        *out = 0;
                        for (i, y) in y.iter().enumerate() {
                            *out |= (1u32 << (y + ((i as u32) << bits))) as u8;
                        }
                    }
                }
            }
        }
    }
}

/// `T[y]` and the parity of `T[> y]` for the public digit `y` of every element, a bit each.
pub fn lookup<R: Ring>(isa: Isa, tables: &Packed, x: &[R], shift: u32, out: [&mut [u64]; 2]) {
    let bits = tables.width.ilog2();
    debug_assert!(bits <= MAX && tables.len == x.len());
    let (first, len) = (tables.at / 8, x.len() << bits);
    if tables.at.is_multiple_of(8) {
        return blocks(isa, &tables.bytes[first..first + len.div_ceil(8)], x, shift, bits, out);
    }
    // narrow tables that begin within a byte: only of a run that begins within a tile
    let mut moved = vec![0; len.div_ceil(64)];
    read_bits(&tables.bytes, tables.at, len, &mut moved);
    let bytes: Vec<u8> = moved.iter().flat_map(|w| w.to_le_bytes()).collect();
    blocks(isa, &bytes, x, shift, bits, out)
}

/// Whole blocks by the rung's kernel; the last one, if short, filled up with zeros.
fn blocks<R: Ring>(isa: Isa, tables: &[u8], x: &[R], shift: u32, bits: u32, [equal, less]: [&mut [u64]; 2]) {
    let whole = x.len() / BLOCK;
    run(isa, &tables[..whole * size(bits)], &x[..whole * BLOCK], shift, bits, [&mut *equal, &mut *less]);
    let rest = &x[whole * BLOCK..];
    if !rest.is_empty() {
        let (mut last, mut table) = ([R::ZERO; BLOCK], [0; size(MAX)]);
        last[..rest.len()].copy_from_slice(rest);
        let bytes = (rest.len() << bits).div_ceil(8);
        table[..bytes].copy_from_slice(&tables[whole * size(bits)..][..bytes]);
        run(isa, &table[..size(bits)], &last, shift, bits, [&mut equal[whole..], &mut less[whole..]]);
    }
}

fn run<R: Ring>(isa: Isa, tables: &[u8], x: &[R], shift: u32, bits: u32, out: [&mut [u64]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        // SAFETY: the rung is only ever named where its instruction sets were detected.
        return unsafe { avx512::lookup(tables, x, shift, bits, out) };
    }
    lookup_blocks(isa, tables, x, shift, bits, out)
}

rungs! {
    fn lookup_blocks<R: Ring>(tables: &[u8], x: &[R], shift: u32, bits: u32, out: [&mut [u64]; 2]) {
        let [equal, less] = out;
        let (whole, _) = x.as_chunks::<BLOCK>();
        for (i, x) in whole.iter().enumerate() {
            let table = &tables[i * size(bits)..][..size(bits)];
            let (e, above) = if bits < 6 { narrow(table, x, shift, bits) } else { wide(table, x, shift, bits) };
            equal[i] = e;
            less[i] = e ^ above;
        }
    }
}

/// One block of digits of at most 5 bits: `T[y]` and the parity of `T[>= y]`.
#[inline(always)]
fn narrow<R: Ring>(tables: &[u8], x: &[R; BLOCK], shift: u32, bits: u32) -> (u64, u64) {
    let mut t = [0u32; BLOCK];
    match bits {
        5 => {
            for (t, b) in t.iter_mut().zip(tables.as_chunks().0) {
                *t = u32::from_le_bytes(*b);
            }
        }
        4 => {
            for (t, b) in t.iter_mut().zip(tables.as_chunks().0) {
                *t = u16::from_le_bytes(*b) as u32;
            }
        }
        3 => {
            for (t, b) in t.iter_mut().zip(tables) {
                *t = *b as u32;
            }
        }
        _ => {
            let each = 8 >> bits;
            for (t, b) in t.chunks_exact_mut(each).zip(tables) {
                for (i, t) in t.iter_mut().enumerate() {
                    *t = (*b as u32 >> (i << bits)) & ones(1 << bits) as u32;
                }
            }
        }
    }
    let (mut equal, mut parity) = ([0; BLOCK], [0; BLOCK]);
    for j in 0..BLOCK {
        let y = x[j].shr(shift).low() as u32 & ones(bits) as u32;
        let v = t[j] >> y;
        equal[j] = v as u8 & 1;
        parity[j] = v.count_ones() as u8 & 1;
    }
    (gather(&equal), gather(&parity))
}

/// The same for 6 and 7 bits.
#[inline(always)]
fn wide<R: Ring>(tables: &[u8], x: &[R; BLOCK], shift: u32, bits: u32) -> (u64, u64) {
    let (mut equal, mut parity) = ([0; BLOCK], [0; BLOCK]);
    let (words, _) = tables.as_chunks::<8>();
    for j in 0..BLOCK {
        let y = x[j].shr(shift).low();
        let (low, high) = match bits {
            7 => (u64::from_le_bytes(words[2 * j]), u64::from_le_bytes(words[2 * j + 1])),
            _ => (u64::from_le_bytes(words[j]), 0),
        };
        // the half that y is in, and the other one if it lies above
        let upper = 0u64.wrapping_sub(y >> 6 & (bits as u64 & 1));
        let v = (low & !upper | high & upper) >> (y & 63);
        equal[j] = v as u8 & 1;
        parity[j] = (v ^ high & !upper).count_ones() as u8 & 1;
    }
    (gather(&equal), gather(&parity))
}

/// What a party multiplies out at the end of a comparison by k digits: bit vectors of the same number of words.
///
/// A set S of digits is a bit mask: bit j stands for digit j.
pub struct Factors<'a> {
    /// Opened `L_i = l_i + a_i` of every digit.
    pub l: Vec<&'a [u64]>,
    /// Opened `E_j = e_j + b_j` of every digit but the last.
    pub e: Vec<&'a [u64]>,
    /// Shares of `a_i prod_{j in S} b_j` for every set S of digits before `i`, at `2^i - 1 + S`.
    pub a: Vec<&'a [u64]>,
    /// Shares of `prod_{j in S} b_j` for every set S of digits but the last.
    pub b: Vec<&'a [u64]>,
}

/// Words of a vector that are multiplied out together.
const WIDE: usize = 8;

/// This party's share of `[x < alpha]` on the digits `from..`.
///
/// With `l_i = L_i + a_i` and `e_j = E_j + b_j`, the sum of `l_i prod_{j<i} e_j` is the sum over all i and all sets S of
/// digits before i of `prod_{j not in S} E_j * (L_i prod_{j in S} b_j + a_i prod_{j in S} b_j)`.
pub fn merge(isa: Isa, m: &Factors, from: usize) -> Vec<u64> {
    let mut out = vec![0; m.l[0].len()];
    merge_words(isa, m, from, &mut out);
    out
}

rungs! {
    fn merge_words(m: &Factors<'_>, from: usize, out: &mut [u64]) {
        let whole = out.len() / WIDE * WIDE;
        let mut public = vec![[0; WIDE]; m.b.len() >> from];
        for at in (0..whole).step_by(WIDE) {
            merge_at(m, from, at, &mut public, &mut out[at..at + WIDE]);
        }
        let mut public = vec![[0; 1]; m.b.len() >> from];
        for at in whole..out.len() {
            merge_at(m, from, at, &mut public, &mut out[at..at + 1]);
        }
    }
}

/// `N` words from `at` on. `public[S]` is the product of the `E_j` over `from <= j < i` that are not in S; its sets count
/// from digit `from`.
#[inline(always)]
fn merge_at<const N: usize>(m: &Factors, from: usize, at: usize, public: &mut [[u64; N]], out: &mut [u64]) {
    let mut sum = [0; N];
    public[0] = [u64::MAX; N];
    for i in from..m.l.len() {
        let sets = 1 << (i - from);
        let opened = words::<N>(m.l[i], at);
        let products = &m.a[(1 << i) - 1..];
        for (s, p) in public[..sets].iter().enumerate() {
            let (b, a) = (words::<N>(m.b[s << from], at), words::<N>(products[s << from], at));
            for n in 0..N {
                sum[n] ^= p[n] & (opened[n] & b[n] ^ a[n]);
            }
        }
        if let Some(e) = m.e.get(i) {
            let e = words::<N>(e, at);
            let (without, with) = public.split_at_mut(sets);
            for (p, q) in without.iter_mut().zip(with) {
                *q = *p;
                for n in 0..N {
                    p[n] &= e[n];
                }
            }
        }
    }
    out.copy_from_slice(&sum);
}

#[inline(always)]
fn words<const N: usize>(plane: &[u64], at: usize) -> [u64; N] {
    let mut out = [0; N];
    out.copy_from_slice(&plane[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::words::tests::noise;
    use crate::bits::read_word;

    /// Odd lengths, with and without whole blocks.
    const LENGTHS: [usize; 7] = [1, 63, 64, 65, 200, 1000, 4096];

    fn digit<R: Ring>(x: R, shift: u32, bits: u32) -> usize {
        (x.low() >> shift & ones(bits)) as usize
    }

    fn tables_and_lookups<R: Ring>() {
        for (isa, bits) in Isa::here().flat_map(|i| (1..=MAX + 1).map(move |b| (i, b))) {
            for (len, shift) in LENGTHS.into_iter().zip([0, 1, 5, R::BITS - bits, 11, 3, 20]) {
                let x: Vec<R> = noise(len, len as u64);
                let width = 1 << bits;
                let made = one_hot(isa, &x, shift, bits);
                assert_eq!(made.len(), (len * width).div_ceil(8));
                let bit = |t: &[u8], at: usize| read_word(t, at, 1);
                for (i, x) in x.iter().enumerate() {
                    let want = |at| (at == digit(*x, shift, bits)) as u64;
                    assert!(
                        (0..width).all(|at| bit(&made, i * width + at) == want(at)),
                        "{isa:?} {bits} {i}"
                    );
                }
                assert!((len * width..made.len() * 8).all(|at| bit(&made, at) == 0));
                if bits <= MAX {
                    lookups(isa, bits, &x, shift);
                }
            }
        }
    }

    /// Tables that begin anywhere in their bytes, as those of a run that begins within a tile do.
    fn lookups<R: Ring>(isa: Isa, bits: u32, x: &[R], shift: u32) {
        let (width, first) = (1 << bits, x.len() % 7);
        let bytes: Vec<u64> = noise((first + x.len()) * width / 64 + 2, 5);
        let bytes: Vec<u8> = bytes.iter().flat_map(|w| w.to_le_bytes()).collect();
        let tables = Packed { bytes: (&bytes).into(), at: first * width, width: width as u32, len: x.len() };
        let [mut equal, mut less] = [0, 1].map(|_| vec![0; x.len().div_ceil(64)]);
        lookup(isa, &tables, x, shift, [&mut equal, &mut less]);
        for (i, x) in x.iter().enumerate() {
            let (y, t) = (digit(*x, shift, bits), |at| read_word(&bytes, (first + i) * width + at, 1));
            assert_eq!(equal[i / 64] >> (i % 64) & 1, t(y), "{isa:?} {bits} {i}");
            let above = (y + 1..width).fold(0, |p, at| p ^ t(at));
            assert_eq!(less[i / 64] >> (i % 64) & 1, above, "{isa:?} {bits} {i}");
        }
    }

    #[test]
    fn every_rung_makes_tables_and_looks_digits_up() {
        tables_and_lookups::<u32>();
        tables_and_lookups::<u64>();
    }

    /// The definition, bit by bit: with consistent masks the shares add up to `xor_i l_i prod_{from <= j < i} e_j`.
    #[test]
    fn every_rung_multiplies_digits_out() {
        for (isa, k) in Isa::here().flat_map(|i| (1..=10).map(move |k| (i, k))) {
            let len = 64 * [1, 8, 13][k % 3];
            let planes = |seed: u64, n: usize| -> Vec<Vec<u64>> {
                (0..n).map(|i| noise(len / 64, seed + i as u64)).collect()
            };
            let (l, e, a, b) = (planes(1, k), planes(100, k - 1), planes(200, k), planes(300, k - 1));
            let and = |x: &[u64], y: &[u64]| x.iter().zip(y).map(|(x, y)| x & y).collect::<Vec<_>>();
            let xor = |x: &[u64], y: &[u64]| x.iter().zip(y).map(|(x, y)| x ^ y).collect::<Vec<_>>();
            let one = vec![u64::MAX; len / 64];
            let product =
                |s: usize| (0..k - 1).filter(|j| s >> j & 1 == 1).fold(one.clone(), |z, j| and(&z, &b[j]));
            let products: Vec<_> = (0..1 << (k - 1)).map(product).collect();
            let with_a: Vec<_> = (0..k)
                .flat_map(|i| (0..1 << i).map(move |s| (i, s)))
                .map(|(i, s)| and(&a[i], &products[s]))
                .collect();
            let opened =
                |x: &[Vec<u64>], m: &[Vec<u64>]| x.iter().zip(m).map(|(x, m)| xor(x, m)).collect::<Vec<_>>();
            let (big_l, big_e) = (opened(&l, &a), opened(&e, &b));
            let share = |which: usize, seed: u64, all: &[Vec<u64>]| -> Vec<Vec<u64>> {
                let other = planes(seed, all.len());
                if which == 0 { other } else { all.iter().zip(&other).map(|(x, y)| xor(x, y)).collect() }
            };
            for from in [0, k / 2, k - 1] {
                let halves = [0, 1].map(|which| {
                    let (a, b) = (share(which, 5000, &with_a), share(which, 9000, &products));
                    fn refs(v: &[Vec<u64>]) -> Vec<&[u64]> {
                        v.iter().map(|p| &p[..]).collect()
                    }
                    merge(isa, &Factors { l: refs(&big_l), e: refs(&big_e), a: refs(&a), b: refs(&b) }, from)
                });
                let mut want = vec![0; len / 64];
                let mut prefix = one.clone();
                for i in from..k {
                    want = xor(&want, &and(&l[i], &prefix));
                    prefix = if i + 1 < k { and(&prefix, &e[i]) } else { prefix };
                }
                assert_eq!(xor(&halves[0], &halves[1]), want, "{isa:?} {k} {from}");
            }
        }
    }
}
