//! Tiles of limbs: words cut into pieces that the widest multiply-adds take.
//!
//! [`Limbs16`], 32 bits: `a = a0 + 2^16 a1` with `a0` signed, so `a b = a0 b0 + 2^16 (a0 b1 + a1 b0)` mod 2^32. One
//! `vpdpwssd` adds a product of this kind for two steps of depth, three do it all.
//! [`Limbs52`], 64 bits: `a = a0 + 2^52 a1`; `a0 b0` by the two halves of a 52-bit multiply-add, whose upper one is
//! wanted mod 2^12 as is `a0 b1 + a1 b0`: one `vpdpwssd` does that for two steps.
//! [`Limbs32`], 64 bits without AVX-512: `a0 b0` in full, `a0 b1` and `a1 b0` mod 2^32 by one `vpmulld`.

#![allow(unsafe_code)] // loads from slices, and calls into code compiled for the instruction set of a rung

use super::kernel::{Kernel, Left};
use std::arch::x86_64::*;
use std::ops::Range;

/// 32-bit words by 16-bit dot products.
pub struct Limbs16;
/// 64-bit words by 52-bit multiply-adds.
pub struct Limbs52;
/// 64-bit words by 32-bit products, on AVX2.
pub struct Limbs32;

/// The kernel's tile of as many rows as there are, and of as many vectors.
macro_rules! by_size {
    ($tile:ident, $rows:expr, $wide:expr, [$($m:literal)*], $args:tt) => {
        match ($rows, $wide) {
            // SAFETY: a kernel of a rung is chosen only on machines that have it, and the caller checked the lengths
            // for this many rows and columns.
            $(($m, false) => unsafe { by_size!(@ $tile, $m, 1, $args) },
            // SAFETY: as above.
            ($m, true) => unsafe { by_size!(@ $tile, $m, 2, $args) },)*
            (rows, _) => unreachable!("no tile of {rows} rows"),
        }
    };
    (@ $tile:ident, $m:literal, $v:literal, ($($arg:expr),*)) => { $tile::<$m, $v>($($arg),*) };
}

/// What every tile relies on: `rows` rows of `row` words, a panel of `panel` words, room for the result.
fn check<R>(a: Left<R>, rows: usize, row: usize, b: (&[R], usize), out: (&[R], usize)) {
    assert!(rows > 0 && (rows - 1) * a.stride + row <= a.words.len(), "rows of A");
    assert!(b.1 <= b.0.len() && out.1 <= out.0.len(), "panel of B, room for the result");
}

impl Kernel<u32> for Limbs16 {
    const ROWS: usize = 6;
    const COLUMNS: usize = 32;
    const PAIR: usize = 2;

    fn right(&self, k: usize, width: usize, panel: &mut [u32]) {
        // SAFETY: a kernel of a rung is chosen only on machines that have it.
        unsafe { right16(k, width, panel) }
    }
    fn left<'a>(
        &self,
        a: &'a [u32],
        stride: usize,
        rows: Range<usize>,
        k: Range<usize>,
        space: &'a mut Vec<u32>,
    ) -> Left<'a, u32> {
        let even = k.len().next_multiple_of(2);
        space.resize(rows.len() * even, 0);
        for (row, out) in rows.zip(space.chunks_exact_mut(even)) {
            // SAFETY: as above.
            unsafe { left16(&a[row * stride..][k.clone()], stride, out) }
        }
        Left { words: space, stride: even }
    }
    fn tile(&self, a: Left<u32>, rows: usize, b: &[u32], width: usize, k: usize, out: &mut [u32]) {
        let pairs = k.div_ceil(2);
        check(a, rows, 2 * pairs, (b, 2 * pairs * width), (out, rows * width));
        by_size!(tile16, rows, width == Self::COLUMNS, [1 2 3 4 5 6], (a, b.as_ptr(), pairs, out))
    }
}

/// The high limb once the low one is taken as signed lies in the upper half of this.
#[inline(always)]
fn carried(x: u32) -> u32 {
    x.wrapping_add((x & 0x8000) << 1)
}

/// Rows `x` and `y` of a pair become `(x0, y0)` and `(x1, y1)`.
#[target_feature(enable = "avx512f,avx512bw")]
fn right16(k: usize, width: usize, panel: &mut [u32]) {
    for p in 0..k.div_ceil(2) {
        let (x, y) = panel[2 * p * width..][..2 * width].split_at_mut(width);
        if 2 * p + 1 == k {
            y.fill(0);
        }
        for (x, y) in x.iter_mut().zip(y) {
            let (cx, cy) = (carried(*x), carried(*y));
            (*x, *y) = (cx & 0xFFFF | cy << 16, cx >> 16 | cy & 0xFFFF_0000);
        }
    }
}

/// The same for neighbours in a row of A; fetches what lies `ahead`, the next row, which no prefetcher would guess.
#[target_feature(enable = "avx512f,avx512bw")]
fn left16(row: &[u32], ahead: usize, out: &mut [u32]) {
    // words (x0, x1, y0, y1) of a pair to (x0, y0, x1, y1)
    let (low, high) = (0x0706_0302_0504_0100, 0x0F0E_0B0A_0D0C_0908);
    let order = _mm512_set4_epi64(high, low, high, low);
    let top = _mm512_set1_epi32(0x8000);
    for (row, out) in row.chunks(16).zip(out.chunks_mut(16)) {
        let (some, all) = (u16::MAX >> (16 - row.len()), u16::MAX >> (16 - out.len()));
        // SAFETY: the masks cover the slices, no more.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(ahead).cast());
            let v = _mm512_maskz_loadu_epi32(some, row.as_ptr().cast());
            let carried = _mm512_add_epi32(v, _mm512_slli_epi32::<1>(_mm512_and_si512(v, top)));
            let v = _mm512_shuffle_epi8(carried, order);
            _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), all, v);
        }
    }
}

/// # Safety
/// `a` has `M` rows of `2 pairs` words, `b` points to `32 V pairs` words, `out` has room for `16 M V`.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile16<const M: usize, const V: usize>(a: Left<u32>, b: *const u32, pairs: usize, out: &mut [u32]) {
    let zero = _mm512_setzero_si512();
    let (mut full, mut cross) = ([[zero; V]; M], [[zero; V]; M]);
    let a_words = a.words.as_ptr();
    for p in 0..pairs {
        let (mut b0, mut b1) = ([zero; V], [zero; V]);
        for v in 0..V {
            // SAFETY: within the panel, of which the caller vouches for 2 rows of 16 V words for each pair.
            unsafe {
                b0[v] = _mm512_loadu_si512(b.add((2 * p * V + v) * 16).cast());
                b1[v] = _mm512_loadu_si512(b.add(((2 * p + 1) * V + v) * 16).cast());
            }
        }
        for i in 0..M {
            // SAFETY: within row i, of which the caller vouches for 2 pairs words.
            let (a0, a1) = unsafe {
                let at = a_words.add(i * a.stride + 2 * p).cast::<i32>();
                (_mm512_set1_epi32(*at), _mm512_set1_epi32(*at.add(1)))
            };
            for v in 0..V {
                full[i][v] = _mm512_dpwssd_epi32(full[i][v], a0, b0[v]);
                cross[i][v] = _mm512_dpwssd_epi32(cross[i][v], a0, b1[v]);
                cross[i][v] = _mm512_dpwssd_epi32(cross[i][v], a1, b0[v]);
            }
        }
    }
    for i in 0..M {
        for v in 0..V {
            let sum = _mm512_add_epi32(full[i][v], _mm512_slli_epi32::<16>(cross[i][v]));
            // SAFETY: the caller vouches for 16 M V words.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add((i * V + v) * 16).cast(), sum) }
        }
    }
}

impl Kernel<u64> for Limbs52 {
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const PAIR: usize = 3;

    fn right(&self, k: usize, width: usize, panel: &mut [u64]) {
        // SAFETY: a kernel of a rung is chosen only on machines that have it.
        unsafe { right52(k, width, panel) }
    }
    fn left<'a>(
        &self,
        a: &'a [u64],
        stride: usize,
        rows: Range<usize>,
        k: Range<usize>,
        space: &'a mut Vec<u64>,
    ) -> Left<'a, u64> {
        let long = 3 * k.len().div_ceil(2);
        space.resize(rows.len() * long, 0);
        for (row, out) in rows.zip(space.chunks_exact_mut(long)) {
            // SAFETY: as above.
            unsafe { left52(&a[row * stride..][k.clone()], stride, out) }
        }
        Left { words: space, stride: long }
    }
    fn tile(&self, a: Left<u64>, rows: usize, b: &[u64], width: usize, k: usize, out: &mut [u64]) {
        let pairs = k.div_ceil(2);
        check(a, rows, 3 * pairs, (b, 3 * pairs * width), (out, rows * width));
        by_size!(tile52, rows, width == Self::COLUMNS, [1 2 3 4], (a, b.as_ptr(), pairs, out))
    }
}

/// Behind rows `x` and `y` of a pair comes `(x1, x0, y1, y0)`, 16 bits each.
#[target_feature(enable = "avx512f,avx512bw")]
fn right52(k: usize, width: usize, panel: &mut [u64]) {
    for p in 0..k.div_ceil(2) {
        let (x, rest) = panel[3 * p * width..][..3 * width].split_at_mut(width);
        let (y, c) = rest.split_at_mut(width);
        if 2 * p + 1 == k {
            y.fill(0);
        }
        for ((x, y), c) in x.iter().zip(y.iter()).zip(c) {
            *c = x >> 52 | (x & 0xFFFF) << 16 | y >> 52 << 32 | y << 48;
        }
    }
}

/// A row of A, then `(x0, x1, y0, y1)` for each pair; fetches the next row like [`left16`].
#[target_feature(enable = "avx512f,avx512bw")]
fn left52(row: &[u64], ahead: usize, out: &mut [u64]) {
    let (words, cross) = out.split_at_mut(out.len() / 3 * 2);
    let (even, odd) =
        (_mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1));
    let low = _mm512_set1_epi64(0xFFFF);
    for ((row, words), cross) in row.chunks(16).zip(words.chunks_mut(16)).zip(cross.chunks_mut(8)) {
        let (some, all) = (u16::MAX >> (16 - row.len()), u16::MAX >> (16 - words.len()));
        let next = row.as_ptr().wrapping_add(ahead);
        // SAFETY: the masks cover the slices, no more; of the crosses there are half as many as of the words.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(next.cast());
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(8).cast());
            let a = _mm512_maskz_loadu_epi64(some as u8, row.as_ptr().cast());
            let b = _mm512_maskz_loadu_epi64((some >> 8) as u8, row.as_ptr().wrapping_add(8).cast());
            _mm512_mask_storeu_epi64(words.as_mut_ptr().cast(), all as u8, a);
            _mm512_mask_storeu_epi64(words.as_mut_ptr().wrapping_add(8).cast(), (all >> 8) as u8, b);
            let (x, y) = (_mm512_permutex2var_epi64(a, even, b), _mm512_permutex2var_epi64(a, odd, b));
            let half = _mm512_or_si512(
                _mm512_and_si512(x, low),
                _mm512_slli_epi64::<16>(_mm512_srli_epi64::<52>(x)),
            );
            let rest = _mm512_or_si512(
                _mm512_and_si512(y, low),
                _mm512_slli_epi64::<16>(_mm512_srli_epi64::<52>(y)),
            );
            let both = _mm512_or_si512(half, _mm512_slli_epi64::<32>(rest));
            _mm512_mask_storeu_epi64(cross.as_mut_ptr().cast(), u8::MAX >> (8 - cross.len()), both);
        }
    }
}

/// # Safety
/// `a` has `M` rows of `3 pairs` words, `b` points to `24 V pairs` words, `out` has room for `8 M V`.
#[target_feature(enable = "avx512f,avx512ifma,avx512vnni")]
unsafe fn tile52<const M: usize, const V: usize>(a: Left<u64>, b: *const u64, pairs: usize, out: &mut [u64]) {
    let zero = _mm512_setzero_si512();
    let (mut low, mut high, mut cross) = ([[zero; V]; M], [[zero; V]; M], [[zero; V]; M]);
    let a_words = a.words.as_ptr();
    for p in 0..pairs {
        let mut rows = [[zero; V]; 3];
        for (r, row) in rows.iter_mut().enumerate() {
            for (v, b_v) in row.iter_mut().enumerate() {
                // SAFETY: within the panel, of which the caller vouches for 3 rows of 8 V words for each pair.
                *b_v = unsafe { _mm512_loadu_si512(b.add(((3 * p + r) * V + v) * 8).cast()) };
            }
        }
        let [x, y, c] = rows;
        for i in 0..M {
            // SAFETY: within row i, of which the caller vouches for 3 pairs words.
            let (ax, ay, ac) = unsafe {
                let at = a_words.add(i * a.stride).cast::<i64>();
                let (x, c) = (at.add(2 * p), at.add(2 * pairs + p));
                (_mm512_set1_epi64(*x), _mm512_set1_epi64(*x.add(1)), _mm512_set1_epi64(*c))
            };
            for v in 0..V {
                low[i][v] = _mm512_madd52lo_epu64(low[i][v], ax, x[v]);
                high[i][v] = _mm512_madd52hi_epu64(high[i][v], ax, x[v]);
                low[i][v] = _mm512_madd52lo_epu64(low[i][v], ay, y[v]);
                high[i][v] = _mm512_madd52hi_epu64(high[i][v], ay, y[v]);
                cross[i][v] = _mm512_dpwssd_epi32(cross[i][v], ac, c[v]);
            }
        }
    }
    for i in 0..M {
        for v in 0..V {
            let both = _mm512_add_epi64(cross[i][v], _mm512_srli_epi64::<32>(cross[i][v]));
            let top = _mm512_slli_epi64::<52>(_mm512_add_epi64(high[i][v], both));
            let sum = _mm512_add_epi64(low[i][v], top);
            // SAFETY: the caller vouches for 8 M V words.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add((i * V + v) * 8).cast(), sum) }
        }
    }
}

impl Kernel<u64> for Limbs32 {
    const ROWS: usize = 2;
    const COLUMNS: usize = 8;
    const PAIR: usize = 2;

    fn right(&self, _: usize, _: usize, _: &mut [u64]) {}
    fn left<'a>(
        &self,
        a: &'a [u64],
        stride: usize,
        rows: Range<usize>,
        k: Range<usize>,
        _: &'a mut Vec<u64>,
    ) -> Left<'a, u64> {
        Left { words: &a[rows.start * stride + k.start..], stride }
    }
    fn tile(&self, a: Left<u64>, rows: usize, b: &[u64], width: usize, k: usize, out: &mut [u64]) {
        check(a, rows, k, (b, k * width), (out, rows * width));
        by_size!(tile32, rows, width == Self::COLUMNS, [1 2], (a, b.as_ptr(), k, out))
    }
}

/// # Safety
/// `a` has `M` rows of `k` words, `b` points to `4 V k` words, `out` has room for `4 M V`.
#[target_feature(enable = "avx2")]
unsafe fn tile32<const M: usize, const V: usize>(a: Left<u64>, b: *const u64, k: usize, out: &mut [u64]) {
    let zero = _mm256_setzero_si256();
    let (mut full, mut cross) = ([[zero; V]; M], [[zero; V]; M]);
    let a_words = a.words.as_ptr();
    for l in 0..k {
        let (mut x, mut swapped) = ([zero; V], [zero; V]);
        for v in 0..V {
            // SAFETY: within the panel, of which the caller vouches for k rows of 4 V words.
            x[v] = unsafe { _mm256_loadu_si256(b.add((l * V + v) * 4).cast()) };
            swapped[v] = _mm256_shuffle_epi32::<0xB1>(x[v]);
        }
        for i in 0..M {
            // SAFETY: within row i, of which the caller vouches for k words.
            let a = unsafe { _mm256_set1_epi64x(*a_words.add(i * a.stride + l).cast()) };
            for v in 0..V {
                full[i][v] = _mm256_add_epi64(full[i][v], _mm256_mul_epu32(a, x[v]));
                cross[i][v] = _mm256_add_epi32(cross[i][v], _mm256_mullo_epi32(a, swapped[v]));
            }
        }
    }
    for i in 0..M {
        for v in 0..V {
            let both = _mm256_add_epi64(cross[i][v], _mm256_srli_epi64::<32>(cross[i][v]));
            let sum = _mm256_add_epi64(full[i][v], _mm256_slli_epi64::<32>(both));
            // SAFETY: the caller vouches for 4 M V words.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add((i * V + v) * 4).cast(), sum) }
        }
    }
}
