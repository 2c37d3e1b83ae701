//! Tiles of whole words: plain code, compiled once for each rung and vectorised by the compiler.
//!
//! Plain loops throughout: a closure would be compiled without its caller's instruction set, eight times slower.

#![allow(unsafe_code)] // calls into code compiled for the instruction set of a rung

use super::kernel::{Kernel, Left};
use crate::Ring;
use std::ops::Range;

/// Any machine.
pub struct Plain;
/// AVX2.
pub struct Narrow;
/// AVX-512.
pub struct Wide;
/// AVX-512, of words twice as wide: with eight rows the accumulators alone would fill all registers.
pub struct Wide64;

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
words!(Wide64, 4, 16, [1 2 3 4], "avx512f,avx512dq,avx512vl");

/// `M` rows and `N` columns of the product, held in registers over the whole depth.
#[inline(always)]
fn product<R: Ring, const M: usize, const N: usize>(a: Left<R>, b: &[R], k: usize, out: &mut [R]) {
    let mut acc = [[R::ZERO; N]; M];
    let mut rows = [a.words; M];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &a.words[i * a.stride..][..k];
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
