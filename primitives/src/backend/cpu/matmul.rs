//! `C = A B` over Z_2^n: register-tiled, compiled once per instruction set and chosen at run time.
//!
//! B's rows are padded with zeros to a multiple of [`PAD`] columns, so that no kernel has a ragged edge.

#![allow(unsafe_code)] // calls into code compiled for instruction sets that are checked for here

use crate::Ring;
use rayon::prelude::*;

/// B's and C's row length is a multiple of this.
pub const PAD: usize = 8;

/// Rows of A handled together.
const ROWS: usize = 4;

/// `n` rounded up to a multiple of [`PAD`].
pub const fn padded(n: usize) -> usize {
    n.div_ceil(PAD) * PAD
}

/// `A [m, k]` times `B [k, n]`, both row-major, `n` a multiple of [`PAD`]; result `[m, n]`.
pub fn matmul<R: Ring>(a: &[R], b: &[R], m: usize, k: usize, n: usize) -> Vec<R> {
    debug_assert!(n.is_multiple_of(PAD) && a.len() == m * k && b.len() == k * n);
    let mut c = vec![R::ZERO; m * n];
    if m * n * k == 0 {
        return c;
    }
    // Blocks of whole register tiles, several per thread, so that small products stay on one.
    let rows = (1usize << 18).div_ceil(n * k).next_multiple_of(ROWS);
    c.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k)).for_each(|(c, a)| dispatch(a, b, c, k, n));
    c
}

fn dispatch<R: Ring>(a: &[R], b: &[R], c: &mut [R], k: usize, n: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the features the function is compiled for were detected on this machine just above.
            return unsafe { avx512(a, b, c, k, n) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature the function is compiled for was detected on this machine just above.
            return unsafe { avx2(a, b, c, k, n) };
        }
    }
    block(a, b, c, k, n)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn avx512<R: Ring>(a: &[R], b: &[R], c: &mut [R], k: usize, n: usize) {
    block(a, b, c, k, n)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<R: Ring>(a: &[R], b: &[R], c: &mut [R], k: usize, n: usize) {
    block(a, b, c, k, n)
}

/// All rows of one block; [`ROWS`] at a time, the rest one by one.
#[inline(always)]
fn block<R: Ring>(a: &[R], b: &[R], c: &mut [R], k: usize, n: usize) {
    let whole = a.len() / k / ROWS * ROWS;
    for i in (0..whole).step_by(ROWS) {
        columns::<R, ROWS>(&a[i * k..(i + ROWS) * k], b, &mut c[i * n..(i + ROWS) * n], k, n);
    }
    for i in whole..a.len() / k {
        columns::<R, 1>(&a[i * k..(i + 1) * k], b, &mut c[i * n..(i + 1) * n], k, n);
    }
}

#[inline(always)]
fn columns<R: Ring, const M: usize>(a: &[R], b: &[R], c: &mut [R], k: usize, n: usize) {
    // Plain loops: a closure here would be compiled without the caller's instruction set, eight times slower.
    // 128 bytes of a row for each of 4 rows: as many accumulators as fit the 16 or 32 vector registers.
    let step = if R::BITS == 64 { 16 } else { 32 };
    let wide = n / step * step;
    for j in (0..wide).step_by(step) {
        match R::BITS {
            64 => tile::<R, M, 16>(a, b, c, k, n, j),
            _ => tile::<R, M, 32>(a, b, c, k, n, j),
        }
    }
    let half = wide + (n - wide) / 16 * 16;
    for j in (wide..half).step_by(16) {
        tile::<R, M, 16>(a, b, c, k, n, j);
    }
    for j in (half..n).step_by(PAD) {
        tile::<R, M, PAD>(a, b, c, k, n, j);
    }
}

/// `M` rows and `N` columns of C, held in registers over the whole of k.
#[inline(always)]
fn tile<R: Ring, const M: usize, const N: usize>(
    a: &[R],
    b: &[R],
    c: &mut [R],
    k: usize,
    n: usize,
    j: usize,
) {
    let mut acc = [[R::ZERO; N]; M];
    for l in 0..k {
        let row = &b[l * n + j..][..N];
        for i in 0..M {
            let x = a[i * k + l];
            for (z, b) in acc[i].iter_mut().zip(row) {
                *z = z.add(x.mul(*b));
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        c[i * n + j..][..N].copy_from_slice(acc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<R: Ring>() {
        for (m, k, n) in [(1, 1, 8), (4, 3, 32), (5, 7, 40), (9, 100, 72), (33, 17, 8), (64, 300, 64)] {
            let v = |s: u64, i: usize| R::from_u64((i as u64 + s).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 3);
            let a: Vec<R> = (0..m * k).map(|i| v(1, i)).collect();
            let b: Vec<R> = (0..k * n).map(|i| v(99, i)).collect();
            let want =
                |i: usize, j: usize| (0..k).fold(R::ZERO, |z, l| z.add(a[i * k + l].mul(b[l * n + j])));
            let plain: Vec<R> = (0..m * n).map(|e| want(e / n, e % n)).collect();
            assert_eq!(matmul(&a, &b, m, k, n), plain, "{m} {k} {n}");
            let mut c = vec![R::ZERO; m * n];
            block(&a, &b, &mut c, k, n);
            assert_eq!(c, plain, "portable {m} {k} {n}");
        }
    }

    #[test]
    fn every_path_equals_the_definition() {
        check::<u32>();
        check::<u64>();
    }
}
