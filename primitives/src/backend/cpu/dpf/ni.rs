//! AES-NI on 128-bit registers, everything around it on AVX2: two keys in each register, eight in flight.
#![allow(unsafe_code)] // loads and stores; a detected instruction set
#![allow(clippy::needless_range_loop)] // registers have numbers

use super::{BLOCK, Block, Deal, counted};
use crate::prg::Rounds;
use std::arch::x86_64::*;

/// Pairs of keys in flight: one AES state per key fills the pipeline.
const PAIRS: usize = 4;
/// Pairs of keys that the dealer walks at once, with two states per key.
const DEALT: usize = 2;

/// This party's bits of the block, key `i` at bit `i`.
pub(super) fn evaluate(k: &Rounds, b: &Block) -> u64 {
    assert!(b.words.len() >= (b.w as usize - 7) * b.stride + b.n * 16 && b.n <= BLOCK);
    let mut out = 0;
    for first in (0..b.n).step_by(2 * PAIRS) {
        // SAFETY: `Kernel::Avx2` is made only where the rung is; the words reach as far as the assertion says.
        let bits = unsafe {
            match b.n - first >= 2 * PAIRS {
                true => evaluate_on::<true>(k, b, first),
                false => evaluate_on::<false>(k, b, first),
            }
        };
        out |= bits << first;
    }
    out
}

/// Correction words of the block, into all of `out`.
pub(super) fn generate(k: &Rounds, d: &Deal, out: &mut [u8]) {
    assert!(out.len() == (d.w as usize - 6) * d.n * 16 && d.n <= BLOCK);
    for first in (0..d.n).step_by(2 * DEALT) {
        // SAFETY: `Kernel::Avx2` is made only where the rung is; `out` has the length asserted.
        unsafe { generate_on(k, d, first, out.as_mut_ptr().wrapping_add(first * 16)) };
    }
}

/// A block, twice.
#[inline]
#[target_feature(enable = "avx2")]
fn two(v: u128) -> __m256i {
    _mm256_broadcastsi128_si256(_mm_set_epi64x((v >> 64) as i64, v as i64))
}

#[inline]
#[target_feature(enable = "avx2")]
fn keys(k: &Rounds) -> [__m256i; 11] {
    let mut out = [_mm256_setzero_si256(); 11];
    for i in 0..11 {
        out[i] = two(k.0[i]);
    }
    out
}

/// `sigma(hi||lo) = (hi xor lo)||hi`.
#[inline]
#[target_feature(enable = "avx2")]
fn sigma(s: __m256i) -> __m256i {
    let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(s);
    _mm256_unpackhi_epi64(s, _mm256_xor_si256(s, swapped))
}

/// All ones in both halves where the lowest bit of `s` is 1.
#[inline]
#[target_feature(enable = "avx2")]
fn control(s: __m256i) -> __m256i {
    let low = _mm256_and_si256(_mm256_unpacklo_epi64(s, s), _mm256_set1_epi64x(1));
    _mm256_sub_epi64(_mm256_setzero_si256(), low)
}

/// All ones in both halves where `x`, the same in both, has the bit `bit`.
#[inline]
#[target_feature(enable = "avx2")]
fn chosen(x: __m256i, bit: __m256i) -> __m256i {
    _mm256_cmpeq_epi64(_mm256_and_si256(x, bit), bit)
}

/// Numbers of two keys, each in both halves of its key.
#[inline]
#[target_feature(enable = "avx2")]
fn points(x: &[u64; BLOCK], at: usize) -> __m256i {
    let (a, b) = (x[at] as i64, x[at + 1] as i64);
    _mm256_set_epi64x(b, b, a, a)
}

/// Two keys' worth of blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn pair(v: &[u128; BLOCK], at: usize) -> __m256i {
    let (a, b) = (v[at], v[at + 1]);
    _mm256_set_epi64x((b >> 64) as i64, b as i64, (a >> 64) as i64, a as i64)
}

/// Halves of keys of a pair of which the first `n` keys exist.
#[inline]
#[target_feature(enable = "avx2")]
fn taken(n: usize) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(n.min(2) as i64), _mm256_set_epi64x(1, 1, 0, 0))
}

/// Nine rounds and the last one, whose keys differ, on both keys of every pair.
#[inline]
#[target_feature(enable = "avx2,aes")]
fn rounds<const N: usize>(k: &[__m256i; 11], t: &[__m256i; N], last: &[__m256i; N]) -> [__m256i; N] {
    let (mut low, mut high) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
    for r in 0..N {
        low[r] = _mm256_castsi256_si128(t[r]);
        high[r] = _mm256_extracti128_si256::<1>(t[r]);
    }
    for key in &k[1..10] {
        let key = _mm256_castsi256_si128(*key);
        for r in 0..N {
            low[r] = _mm_aesenc_si128(low[r], key);
            high[r] = _mm_aesenc_si128(high[r], key);
        }
    }
    let mut out = *t;
    for r in 0..N {
        let low = _mm_aesenclast_si128(low[r], _mm256_castsi256_si128(last[r]));
        let high = _mm_aesenclast_si128(high[r], _mm256_extracti128_si256::<1>(last[r]));
        out[r] = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
    }
    out
}

/// Hashes of `s`.
#[inline]
#[target_feature(enable = "avx2,aes")]
fn hash(k: &[__m256i; 11], s: &[__m256i; PAIRS]) -> [__m256i; PAIRS] {
    let (mut t, mut last) = (*s, *s);
    for r in 0..PAIRS {
        let fed = sigma(s[r]);
        t[r] = _mm256_xor_si256(fed, k[0]);
        last[r] = _mm256_xor_si256(fed, k[10]);
    }
    rounds(k, &t, &last)
}

/// Words of keys `first..first + 2` at a level.
///
/// # Safety
/// As of [`evaluate_on`]; `level <= w - 7`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn words<const FULL: bool>(b: &Block, level: u32, first: usize) -> __m256i {
    let at = b.words.as_ptr().wrapping_add(level as usize * b.stride + first * 16);
    // a pass over a block reads a piece of each level: it fetches the same pieces of the next block
    _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add((b.w as usize - 6) * b.stride).cast());
    // SAFETY: inside the words; where the pairs are not full, no further than the `n` keys.
    unsafe {
        match FULL {
            true => _mm256_loadu_si256(at.cast()),
            false => _mm256_maskload_epi64(at.cast(), taken(b.n.saturating_sub(first))),
        }
    }
}

/// Keys `first..` of a block, [`PAIRS`] pairs of them.
///
/// # Safety
/// The machine has the rung; `b.words` holds `w - 7` strides and 16 bytes for each of `b.n` keys.
#[target_feature(enable = "avx2,aes,popcnt")]
unsafe fn evaluate_on<const FULL: bool>(k: &Rounds, b: &Block, first: usize) -> u64 {
    let k = keys(k);
    let mut s = [_mm256_setzero_si256(); PAIRS];
    let (mut x, mut parity) = (s, s);
    for r in 0..PAIRS {
        s[r] = pair(&b.roots, first + 2 * r);
        x[r] = points(&b.x, first + 2 * r);
    }
    for level in 0..b.w - 8 {
        let bit = _mm256_set1_epi64x(1 << (b.w - 1 - level));
        let hashes = hash(&k, &s);
        for r in 0..PAIRS {
            // SAFETY: a level of this function's block.
            let word = unsafe { words::<FULL>(b, level, first + 2 * r) };
            let left = _mm256_xor_si256(hashes[r], _mm256_and_si256(control(s[r]), word));
            let right = chosen(x[r], bit);
            parity[r] = _mm256_xor_si256(parity[r], _mm256_and_si256(right, left));
            s[r] = _mm256_xor_si256(left, _mm256_and_si256(right, s[r]));
        }
    }
    let one = _mm256_set_epi64x(0, 1, 0, 1);
    let (mut input, mut leaf) = (s, s);
    for r in 0..PAIRS {
        let side = _mm256_and_si256(_mm256_srli_epi64::<7>(x[r]), one);
        input[r] = _mm256_or_si256(_mm256_andnot_si256(one, s[r]), side);
    }
    let hashes = hash(&k, &input);
    for r in 0..PAIRS {
        let at = first + 2 * r;
        // SAFETY: the two levels of the leaves.
        let sides = unsafe { [words::<FULL>(b, b.w - 8, at), words::<FULL>(b, b.w - 7, at)] };
        let word = _mm256_blendv_epi8(sides[0], sides[1], chosen(x[r], _mm256_set1_epi64x(128)));
        leaf[r] = _mm256_xor_si256(hashes[r], _mm256_and_si256(control(s[r]), word));
    }
    let (leaf, s, parity) = (blocks(leaf), blocks(s), blocks(parity));
    let mut out = 0;
    for i in 0..2 * PAIRS {
        out |= ((counted(leaf[i], s[i], b.x[first + i]) ^ parity[i] as u64) & 1) << i;
    }
    out
}

/// Registers as blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn blocks(v: [__m256i; PAIRS]) -> [u128; 2 * PAIRS] {
    let mut out = [0; 2 * PAIRS];
    for r in 0..PAIRS {
        // SAFETY: two blocks of `out`.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(2 * r).cast(), v[r]) };
    }
    out
}

/// Keys `first..` of a block, [`DEALT`] pairs of them, whose words begin at `out`.
///
/// # Safety
/// The machine has the rung; `out` holds `w - 6` levels of `d.n` words, less the `first` keys.
#[target_feature(enable = "avx2,aes")]
unsafe fn generate_on(k: &Rounds, d: &Deal, first: usize, out: *mut u8) {
    let k = keys(k);
    let mut s = [_mm256_setzero_si256(); DEALT];
    let (mut delta, mut alpha, mut kept) = (s, s, s);
    for r in 0..DEALT {
        let at = first + 2 * r;
        s[r] = pair(&d.roots[0], at);
        delta[r] = _mm256_xor_si256(s[r], pair(&d.roots[1], at));
        alpha[r] = points(&d.alpha, at);
        kept[r] = taken(d.n.saturating_sub(at));
    }
    for level in 0..d.w - 8 {
        let bit = _mm256_set1_epi64x(1 << (d.w - 1 - level));
        let hashes = both(&k, &s, &delta);
        for r in 0..DEALT {
            let right = chosen(alpha[r], bit);
            let word = _mm256_xor_si256(hashes[r], hashes[DEALT + r]);
            let word = _mm256_xor_si256(word, _mm256_andnot_si256(right, delta[r]));
            // SAFETY: no further than the `n` keys of a level.
            unsafe { put(out, (level as usize * d.n + 2 * r) * 16, kept[r], word) };
            let left = _mm256_xor_si256(hashes[r], _mm256_and_si256(control(s[r]), word));
            s[r] = _mm256_xor_si256(left, _mm256_and_si256(right, s[r]));
        }
    }
    let one = _mm256_set_epi64x(0, 1, 0, 1);
    for r in 0..DEALT {
        s[r] = _mm256_andnot_si256(one, s[r]);
        delta[r] = _mm256_andnot_si256(one, delta[r]);
    }
    for side in 0..2 {
        let hashes = both(&k, &s, &delta);
        for r in 0..DEALT {
            let low = _mm256_and_si256(alpha[r], _mm256_set1_epi64x(127));
            // shifts by 64 and more, negative counts among them, give zero
            let count = _mm256_sub_epi64(low, _mm256_set_epi64x(64, 0, 64, 0));
            let at = _mm256_sllv_epi64(_mm256_set1_epi64x(1), count);
            let here = _mm256_cmpeq_epi64(
                _mm256_and_si256(alpha[r], _mm256_set1_epi64x(128)),
                _mm256_set1_epi64x(128 * side as i64),
            );
            let word = _mm256_xor_si256(hashes[r], hashes[DEALT + r]);
            let word = _mm256_xor_si256(word, _mm256_and_si256(here, at));
            // SAFETY: as above.
            unsafe { put(out, ((d.w - 8 + side) as usize * d.n + 2 * r) * 16, kept[r], word) };
            s[r] = _mm256_or_si256(s[r], one);
        }
    }
}

/// # Safety
/// The elements of `kept` can be written at `out + at`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn put(out: *mut u8, at: usize, kept: __m256i, word: __m256i) {
    // SAFETY: the caller's.
    unsafe { _mm256_maskstore_epi64(out.wrapping_add(at).cast(), kept, word) }
}

/// The hashes of `s` and of `s xor delta`: one sigma serves both, since it is linear.
#[inline]
#[target_feature(enable = "avx2,aes")]
fn both(k: &[__m256i; 11], s: &[__m256i; DEALT], delta: &[__m256i; DEALT]) -> [__m256i; 2 * DEALT] {
    let mut t = [_mm256_setzero_si256(); 2 * DEALT];
    let mut last = t;
    for r in 0..DEALT {
        let (fed, apart) = (sigma(s[r]), sigma(delta[r]));
        t[r] = _mm256_xor_si256(fed, k[0]);
        t[DEALT + r] = _mm256_xor_si256(t[r], apart);
        last[r] = _mm256_xor_si256(fed, k[10]);
        last[DEALT + r] = _mm256_xor_si256(last[r], apart);
    }
    rounds(k, &t, &last)
}
