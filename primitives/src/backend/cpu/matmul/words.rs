//! Tiles of whole words: plain code, compiled once for each rung and vectorised by the compiler.
//!
//! Plain loops throughout: a closure would be compiled without its caller's instruction set, eight times slower.

#![allow(unsafe_code)] // calls into code compiled for the instruction set of a rung

use super::kernel::{Kernel, Left};
use crate::Ring;
use crate::backend::Isa;
use rayon::prelude::*;
use std::ops::Range;

/// Any machine.
pub struct Plain;
/// AVX2.
pub struct Narrow;
/// AVX-512.
pub struct Wide;

macro_rules! words {
    ($kernel:ty, $rows:literal, $half:literal, [$($m:literal)*], $features:literal) => {
        impl<R: Ring> Kernel<R> for $kernel {
            const ROWS: usize = $rows;
            const COLUMNS: usize = 2 * $half;
            const PAIR: usize = 2;

            fn right(&self, _: usize, _: usize, _: &mut [R]) {}
            fn left<'a>(
                &self,
                a: &'a [R],
                stride: usize,
                rows: Range<usize>,
                k: Range<usize>,
                _: &'a mut Vec<R>,
            ) -> Left<'a, R> {
                Left { words: &a[rows.start * stride + k.start..], stride }
            }
            fn tile(&self, a: Left<R>, rows: usize, b: &[R], width: usize, k: usize, out: &mut [R]) {
                #[cfg_attr(target_arch = "x86_64", target_feature(enable = $features))]
                fn tile<R: Ring, const M: usize, const N: usize>(a: Left<R>, b: &[R], k: usize, out: &mut [R]) {
                    product::<R, M, N>(a, b, k, out)
                }
                match (rows, width) {
                    // SAFETY: a kernel of a rung is chosen only on machines that have it.
                    $(($m, $half) => unsafe { tile::<R, $m, $half>(a, b, k, out) },
                    // SAFETY: as above.
                    ($m, _) => unsafe { tile::<R, $m, { 2 * $half }>(a, b, k, out) },)*
                    _ => unreachable!("no tile of {rows} rows"),
                }
            }
        }
    };
}
words!(Plain, 4, 4, [1 2 3 4], "sse2");
words!(Narrow, 4, 8, [1 2 3 4], "avx2");
words!(Wide, 8, 16, [1 2 3 4 5 6 7 8], "avx512f,avx512dq,avx512vl");

/// `M` rows and `N` columns of the product, held in registers over the whole depth.
#[inline(always)]
fn product<R: Ring, const M: usize, const N: usize>(a: Left<R>, b: &[R], k: usize, out: &mut [R]) {
    let mut acc = [[R::ZERO; N]; M];
    let mut rows = [a.words; M];
    for i in 0..M {
        rows[i] = &a.words[i * a.stride..][..k];
    }
    let b = &b[..k * N];
    for l in 0..k {
        let row = &b[l * N..][..N];
        for i in 0..M {
            let x = rows[i][l];
            for (z, b) in acc[i].iter_mut().zip(row) {
                *z = z.add(x.mul(*b));
            }
        }
    }
    for i in 0..M {
        out[i * N..][..N].copy_from_slice(&acc[i]);
    }
}

/// Rows of the longer operand that pass together.
const TALL: usize = 2;
/// Rows of the shorter operand that pass together.
const FEW: usize = 4;
/// Multiplications that are worth a task of their own.
const TASK: usize = 1 << 17;

/// `x [batch, k]` times the transpose of `w [n, k]` as inner products, for a few rows of `x`: reads `w` once, as it
/// lies, which is all that can be asked for where memory is the bound.
pub fn dots<R: Ring>(isa: Isa, x: &[R], w: &[R], batch: usize, k: usize) -> Vec<R> {
    if k == 0 || batch == 0 {
        return vec![];
    }
    let n = w.len() / k;
    let mut z = vec![R::ZERO; n * batch];
    let rows = (TASK / (k * batch)).max(1).next_multiple_of(TALL);
    z.par_chunks_mut(rows * batch).zip(w.par_chunks(rows * k)).for_each(|(z, w)| {
        for (z, w) in z.chunks_mut(TALL * batch).zip(w.chunks(TALL * k)) {
            for (j, x) in x.chunks(FEW * k).enumerate() {
                block(isa, x, w, k, &mut z[j * FEW..], batch);
            }
        }
    });
    if batch == 1 {
        return z;
    }
    (0..batch * n).map(|e| z[e % n * batch + e / n]).collect()
}

/// Up to [`FEW`] rows of `x` with up to [`TALL`] of `w`; the results of a row of `w` lie together, `stride` apart.
fn block<R: Ring>(isa: Isa, x: &[R], w: &[R], k: usize, z: &mut [R], stride: usize) {
    match isa {
        // SAFETY: a batch is given a rung that this machine has.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { wide(x, w, k, z, stride) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { narrow(x, w, k, z, stride) },
        _ => sizes(x, w, k, z, stride),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn wide<R: Ring>(x: &[R], w: &[R], k: usize, z: &mut [R], stride: usize) {
    sizes(x, w, k, z, stride)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn narrow<R: Ring>(x: &[R], w: &[R], k: usize, z: &mut [R], stride: usize) {
    sizes(x, w, k, z, stride)
}

#[inline(always)]
fn sizes<R: Ring>(x: &[R], w: &[R], k: usize, z: &mut [R], stride: usize) {
    match (w.len() / k, x.len() / k) {
        (1, 1) => inner::<R, 1, 1>(x, w, k, z, stride),
        (1, 2) => inner::<R, 1, 2>(x, w, k, z, stride),
        (1, 3) => inner::<R, 1, 3>(x, w, k, z, stride),
        (1, _) => inner::<R, 1, FEW>(x, w, k, z, stride),
        (_, 1) => inner::<R, TALL, 1>(x, w, k, z, stride),
        (_, 2) => inner::<R, TALL, 2>(x, w, k, z, stride),
        (_, 3) => inner::<R, TALL, 3>(x, w, k, z, stride),
        _ => inner::<R, TALL, FEW>(x, w, k, z, stride),
    }
}

#[inline(always)]
fn inner<R: Ring, const I: usize, const J: usize>(x: &[R], w: &[R], k: usize, z: &mut [R], stride: usize) {
    /// Lanes of an accumulator: 64 bytes of u32, two of u64.
    const L: usize = 16;
    let mut acc = [[[R::ZERO; L]; J]; I];
    let mut at = 0;
    while at + L <= k {
        for i in 0..I {
            let w = &w[i * k + at..][..L];
            for j in 0..J {
                let x = &x[j * k + at..][..L];
                for l in 0..L {
                    acc[i][j][l] = acc[i][j][l].add(w[l].mul(x[l]));
                }
            }
        }
        at += L;
    }
    for i in 0..I {
        for j in 0..J {
            let mut sum = R::ZERO;
            for l in 0..L {
                sum = sum.add(acc[i][j][l]);
            }
            for l in at..k {
                sum = sum.add(w[i * k + l].mul(x[j * k + l]));
            }
            z[i * stride + j] = sum;
        }
    }
}
