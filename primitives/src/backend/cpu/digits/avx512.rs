//! Lookup with AVX-512: 16 tables of at most 32 bits, or 8 of more, per vector; shift, population count, test.

#![allow(unsafe_code)] // loads of vectors

use super::{BLOCK, size};
use crate::Ring;
use crate::ring::ones;
use std::arch::x86_64::*;

/// Whole blocks: `T[y]` and the parity of `T[> y]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,bmi2,popcnt")]
pub fn lookup<R: Ring>(tables: &[u8], x: &[R], shift: u32, bits: u32, out: [&mut [u64]; 2]) {
    match bits {
        1 => blocks::<R, 1>(tables, x, shift, out),
        2 => blocks::<R, 2>(tables, x, shift, out),
        3 => blocks::<R, 3>(tables, x, shift, out),
        4 => blocks::<R, 4>(tables, x, shift, out),
        5 => blocks::<R, 5>(tables, x, shift, out),
        6 => blocks::<R, 6>(tables, x, shift, out),
        _ => blocks::<R, 7>(tables, x, shift, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,bmi2,popcnt")]
fn blocks<R: Ring, const BITS: u32>(tables: &[u8], x: &[R], shift: u32, [equal, less]: [&mut [u64]; 2]) {
    let tables = tables.chunks_exact(size(BITS));
    let out = equal.iter_mut().zip(less);
    for ((x, table), (equal, less)) in x.as_chunks::<BLOCK>().0.iter().zip(tables).zip(out) {
        let mut y = [0; BLOCK];
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.shr(shift).low() as u32 & ones(BITS) as u32;
        }
        let (e, parity) = if BITS < 6 { narrow::<BITS>(table, &y) } else { wide::<BITS>(table, &y) };
        *equal = e;
        *less = e ^ parity;
    }
}

/// One block of digits of at most 5 bits: `T[y]` and the parity of `T[>= y]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
fn narrow<const BITS: u32>(tables: &[u8], y: &[u32; BLOCK]) -> (u64, u64) {
    let (mut equal, mut parity) = (0, 0);
    let one = _mm512_set1_epi32(1);
    for (q, y) in y.as_chunks::<16>().0.iter().enumerate() {
        let table = &tables[q * size(BITS) / 4..][..size(BITS) / 4];
        // SAFETY: `y` is an array of 64 bytes.
        let y = unsafe { _mm512_loadu_si512(y.as_ptr().cast()) };
        let v = _mm512_srlv_epi32(load::<BITS>(table), y);
        equal |= (_mm512_test_epi32_mask(v, one) as u64) << (16 * q);
        parity |= (_mm512_test_epi32_mask(_mm512_popcnt_epi32(v), one) as u64) << (16 * q);
    }
    (equal, parity)
}

/// 16 tables of at most 32 bits in lanes of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load<const BITS: u32>(table: &[u8]) -> __m512i {
    assert!(table.len() == size(BITS) / 4);
    let p = table.as_ptr();
    match BITS {
        // SAFETY: 64 bytes, as asserted.
        5 => unsafe { _mm512_loadu_si512(p.cast()) },
        // SAFETY: 32 bytes, as asserted.
        4 => _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(p.cast()) }),
        // SAFETY: 16 bytes, as asserted.
        3 => _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(p.cast()) }),
        2 => {
            let half = |i: usize| i32::from_le_bytes([table[i], table[i + 1], table[i + 2], table[i + 3]]);
            let both = _mm512_inserti64x4(_mm512_set1_epi32(half(0)), _mm256_set1_epi32(half(4)), 1);
            let by = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
            _mm512_and_si512(_mm512_srlv_epi32(both, by), _mm512_set1_epi32(15))
        }
        _ => {
            let all = i32::from_le_bytes([table[0], table[1], table[2], table[3]]);
            let by = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
            _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32(all), by), _mm512_set1_epi32(3))
        }
    }
}

/// The same for 6 and 7 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
fn wide<const BITS: u32>(tables: &[u8], y: &[u32; BLOCK]) -> (u64, u64) {
    let (mut equal, mut parity) = (0, 0);
    let one = _mm512_set1_epi64(1);
    let tables = tables.as_chunks::<64>().0;
    for (q, y) in y.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: `y` is an array of 32 bytes, each piece of `tables` one of 64.
        let (y, first) = unsafe {
            let table = &tables[q << (BITS - 6)];
            (_mm256_loadu_si256(y.as_ptr().cast()), _mm512_loadu_si512(table.as_ptr().cast()))
        };
        let y = _mm512_cvtepu32_epi64(y);
        let (v, rest) = if BITS == 6 {
            let v = _mm512_srlv_epi64(first, y);
            (v, v)
        } else {
            // SAFETY: as above; tables of 128 bits take two pieces for 8 elements.
            let second = unsafe { _mm512_loadu_si512(tables[2 * q + 1].as_ptr().cast()) };
            let even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
            let odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
            let low = _mm512_permutex2var_epi64(first, even, second);
            let high = _mm512_permutex2var_epi64(first, odd, second);
            // the half that y is in, and the other one if it lies above
            let upper = _mm512_test_epi64_mask(y, _mm512_set1_epi64(64));
            let half = _mm512_mask_blend_epi64(upper, low, high);
            let v = _mm512_srlv_epi64(half, _mm512_and_si512(y, _mm512_set1_epi64(63)));
            (v, _mm512_mask_xor_epi64(v, !upper, v, high))
        };
        equal |= (_mm512_test_epi64_mask(v, one) as u64) << (8 * q);
        parity |= (_mm512_test_epi64_mask(_mm512_popcnt_epi64(rest), one) as u64) << (8 * q);
    }
    (equal, parity)
}
