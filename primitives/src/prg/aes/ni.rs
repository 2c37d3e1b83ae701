//! AES-NI: the key schedule, and eight blocks in flight.
#![allow(unsafe_code)] // stores; a detected instruction set
#![allow(clippy::needless_range_loop)] // registers have numbers

use super::Rounds;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Blocks that hide the latency of a round on every processor with AES-NI.
const WIDE: usize = 8;

/// Round keys of `key`.
#[target_feature(enable = "aes")]
pub(super) fn schedule(key: &[u8; 16]) -> Rounds {
    let mut k = Rounds([u128::from_le_bytes(*key); 11]);
    macro_rules! round {
        ($($i:literal $constant:literal),*) => {$(
            let last = of(k.0[$i - 1]);
            // every word but the last one rotates and substitutes away
            let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
            let mut sum = last;
            for _ in 0..3 {
                sum = _mm_xor_si128(last, _mm_slli_si128::<4>(sum));
            }
            k.0[$i] = to(_mm_xor_si128(sum, word));
        )*};
    }
    round!(1 0x01, 2 0x02, 3 0x04, 4 0x08, 5 0x10, 6 0x20, 7 0x40, 8 0x80, 9 0x1b, 10 0x36);
    k
}

/// A block as a register.
#[inline]
#[target_feature(enable = "aes")]
fn of(v: u128) -> __m128i {
    _mm_set_epi64x((v >> 64) as i64, v as i64)
}

/// A register as a block.
#[inline]
#[target_feature(enable = "aes")]
fn to(v: __m128i) -> u128 {
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(v, v)) as u64;
    (high as u128) << 64 | _mm_cvtsi128_si64(v) as u64 as u128
}

/// Encrypts registers, none of which waits for another.
#[inline]
#[target_feature(enable = "aes")]
fn registers(k: &[__m128i; 11], b: &mut [__m128i; WIDE]) {
    for b in b.iter_mut() {
        *b = _mm_xor_si128(*b, k[0]);
    }
    for key in &k[1..10] {
        for b in b.iter_mut() {
            *b = _mm_aesenc_si128(*b, *key);
        }
    }
    for b in b {
        *b = _mm_aesenclast_si128(*b, k[10]);
    }
}

#[inline]
#[target_feature(enable = "aes")]
fn keys(k: &Rounds) -> [__m128i; 11] {
    let mut out = [_mm_setzero_si128(); 11];
    for i in 0..11 {
        out[i] = of(k.0[i]);
    }
    out
}

/// Encrypts every block in place.
#[target_feature(enable = "aes")]
pub(super) fn encrypt(k: &Rounds, blocks: &mut [u128]) {
    let k = keys(k);
    for chunk in blocks.chunks_mut(WIDE) {
        let mut b = [_mm_setzero_si128(); WIDE];
        for i in 0..chunk.len() {
            b[i] = of(chunk[i]);
        }
        registers(&k, &mut b);
        for i in 0..chunk.len() {
            chunk[i] = to(b[i]);
        }
    }
}

/// The encryptions of `high << 64 | first`, `.. first + 1` and so on, anded with `mask`, into all of `out`.
#[target_feature(enable = "aes")]
pub(super) fn keystream(k: &Rounds, high: u64, first: u64, mask: u128, out: &mut [MaybeUninit<u8>]) {
    let (k, mask) = (keys(k), of(mask));
    let mut i = first;
    let mut whole = out.chunks_exact_mut(16 * WIDE);
    for chunk in &mut whole {
        let mut b = [_mm_setzero_si128(); WIDE];
        for j in 0..WIDE {
            b[j] = _mm_set_epi64x(high as i64, i.wrapping_add(j as u64) as i64);
        }
        registers(&k, &mut b);
        for j in 0..WIDE {
            // SAFETY: block j of a chunk of `WIDE` blocks; the store needs no alignment.
            unsafe {
                _mm_storeu_si128(chunk.as_mut_ptr().cast::<__m128i>().add(j), _mm_and_si128(b[j], mask))
            };
        }
        i = i.wrapping_add(WIDE as u64);
    }
    let rest = whole.into_remainder();
    let mut b = [_mm_setzero_si128(); WIDE];
    for j in 0..WIDE {
        b[j] = _mm_set_epi64x(high as i64, i.wrapping_add(j as u64) as i64);
    }
    if !rest.is_empty() {
        registers(&k, &mut b);
    }
    for (out, b) in rest.chunks_mut(16).zip(b) {
        let bytes = to(_mm_and_si128(b, mask)).to_le_bytes();
        for (o, b) in out.iter_mut().zip(bytes) {
            o.write(b);
        }
    }
}

/// See [`super::Cipher::ceiling`].
#[target_feature(enable = "aes")]
pub(super) fn ceiling(k: &Rounds, blocks: usize) -> u128 {
    let k = keys(k);
    let mut b = [_mm_set1_epi64x(1); WIDE];
    for _ in 0..blocks.div_ceil(WIDE) {
        registers(&k, &mut b);
    }
    b.iter().fold(0, |a, b| a ^ to(*b))
}
