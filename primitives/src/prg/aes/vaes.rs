//! VAES on 512-bit registers: 32 blocks in flight.
#![allow(unsafe_code)] // stores; a detected instruction set
#![allow(clippy::needless_range_loop)] // registers have numbers

use super::Rounds;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Registers of four blocks that hide the latency of a round.
const WIDE: usize = 8;

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn keys(k: &Rounds) -> [__m512i; 11] {
    let mut out = [_mm512_setzero_si512(); 11];
    for i in 0..11 {
        out[i] = four(k.0[i]);
    }
    out
}

/// A block, four times.
#[inline]
#[target_feature(enable = "avx512f")]
fn four(v: u128) -> __m512i {
    _mm512_broadcast_i32x4(_mm_set_epi64x((v >> 64) as i64, v as i64))
}

/// Encrypts registers, none of which waits for another.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn registers<const N: usize>(k: &[__m512i; 11], b: &mut [__m512i; N]) {
    for b in b.iter_mut() {
        *b = _mm512_xor_si512(*b, k[0]);
    }
    for key in &k[1..10] {
        for b in b.iter_mut() {
            *b = _mm512_aesenc_epi128(*b, *key);
        }
    }
    for b in b {
        *b = _mm512_aesenclast_epi128(*b, k[10]);
    }
}

/// The encryptions of `high << 64 | first`, `.. first + 1` and so on, anded with `mask`, into all of `out`.
#[target_feature(enable = "avx512f,avx512bw,vaes")]
pub(super) fn keystream(k: &Rounds, high: u64, first: u64, mask: u128, out: &mut [MaybeUninit<u8>]) {
    let (k, mask) = (keys(k), four(mask));
    let low = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0);
    let mut at = _mm512_add_epi64(four((high as u128) << 64 | first as u128), low);
    let step = four(4);
    let mut whole = out.chunks_exact_mut(64 * WIDE);
    for chunk in &mut whole {
        let mut b = [at; WIDE];
        for b in &mut b {
            *b = at;
            at = _mm512_add_epi64(at, step);
        }
        registers(&k, &mut b);
        for j in 0..WIDE {
            // SAFETY: register j of a chunk of `WIDE` registers; the store needs no alignment.
            unsafe {
                _mm512_storeu_si512(chunk.as_mut_ptr().cast::<__m512i>().add(j), _mm512_and_si512(b[j], mask))
            };
        }
    }
    for chunk in whole.into_remainder().chunks_mut(128) {
        let mut b = [at, _mm512_add_epi64(at, step)];
        at = _mm512_add_epi64(b[1], step);
        registers(&k, &mut b);
        for (out, b) in chunk.chunks_mut(64).zip(b) {
            let bytes = u64::MAX >> (64 - out.len());
            // SAFETY: as many bytes as there are, 1 to 64.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), bytes, _mm512_and_si512(b, mask)) };
        }
    }
}

/// See [`super::Cipher::ceiling`].
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn ceiling(k: &Rounds, blocks: usize) -> u128 {
    let k = keys(k);
    let mut b = [_mm512_set1_epi64(1); WIDE];
    for _ in 0..blocks.div_ceil(4 * WIDE) {
        registers(&k, &mut b);
    }
    let mut sum = b[0];
    for b in &b[1..] {
        sum = _mm512_xor_si512(sum, *b);
    }
    _mm512_reduce_add_epi64(sum) as u64 as u128
}
