//! Inner products, for the few rows of a small batch: the weights are read once, as they lie, which is all that can be
//! asked for where memory is the bound.

#![allow(unsafe_code)] // loads from slices, and calls into code compiled for the instruction set of a rung

use crate::Ring;
use crate::backend::Isa;
use rayon::prelude::*;

/// Rows of weights that pass together.
const TALL: usize = 2;
/// Rows of the batch that pass together.
const FEW: usize = 4;
/// Multiplications that are worth a task of their own.
const TASK: usize = 1 << 17;

/// `x [batch, k]` times the transpose of `w [n, k]`.
pub fn dots<R: Ring>(isa: Isa, x: &[R], w: &[R], batch: usize, k: usize) -> Vec<R> {
    if k == 0 || batch == 0 {
        return vec![];
    }
    let (n, isa) = (w.len() / k, isa.min(Isa::detected()));
    let mut z = vec![R::ZERO; n * batch];
    let rows = (TASK / (k * batch)).max(1).next_multiple_of(TALL);
    z.par_chunks_mut(rows * batch).zip(w.par_chunks(rows * k)).for_each(|(z, w)| {
        for (z, w) in z.chunks_mut(TALL * batch).zip(w.chunks(TALL * k)) {
            for (j, x) in x.chunks(FEW * k).enumerate() {
                R::dot(isa, Rows { x, w, k }, &mut z[j * FEW..], batch);
            }
        }
    });
    if batch == 1 {
        return z;
    }
    (0..batch * n).map(|e| z[e % n * batch + e / n]).collect()
}

/// The inner product of two rows of one length, at least one element.
pub fn inner<R: Ring>(isa: Isa, x: &[R], w: &[R]) -> R {
    let mut z = [R::ZERO];
    R::dot(isa.min(Isa::detected()), Rows { x, w, k: x.len() }, &mut z, 1);
    z[0]
}

/// At most [`FEW`] rows of `x` and at most [`TALL`] of `w`, `k` long each.
#[derive(Clone, Copy)]
pub struct Rows<'a, R> {
    x: &'a [R],
    w: &'a [R],
    k: usize,
}

/// The inner product of two rows from element `from` on.
fn tail<R: Ring>(r: Rows<R>, (i, j): (usize, usize), from: usize) -> R {
    (from..r.k).fold(R::ZERO, |z, l| z.add(r.w[i * r.k + l].mul(r.x[j * r.k + l])))
}

/// Any machine.
pub fn plain<R: Ring>(r: Rows<R>, z: &mut [R], stride: usize) {
    for (i, j) in (0..r.w.len() / r.k).flat_map(|i| (0..r.x.len() / r.k).map(move |j| (i, j))) {
        z[i * stride + j] = tail(r, (i, j), 0);
    }
}

/// The same on vectors of `$lanes` elements.
macro_rules! dot {
    ($name:ident, $ring:ty, $features:literal, $lanes:literal, $zero:ident, $load:ident, $store:ident, $mul:ident, $add:ident) => {
        pub fn $name(r: Rows<$ring>, z: &mut [$ring], stride: usize) {
            use std::arch::x86_64::*;

            #[target_feature(enable = $features)]
            fn block<const I: usize, const J: usize>(r: Rows<$ring>, z: &mut [$ring], stride: usize) {
                assert!(I * r.k <= r.w.len() && J * r.k <= r.x.len());
                let (whole, mut acc) = (r.k / $lanes * $lanes, [[$zero(); J]; I]);
                let (w, x) = (r.w.as_ptr(), r.x.as_ptr());
                for at in (0..whole).step_by($lanes) {
                    let mut xs = [$zero(); J];
                    for j in 0..J {
                        // SAFETY: within row j of x, by the assertion.
                        xs[j] = unsafe { $load(x.add(j * r.k + at).cast()) };
                    }
                    for i in 0..I {
                        // SAFETY: within row i of w, by the assertion.
                        let w = unsafe { $load(w.add(i * r.k + at).cast()) };
                        for j in 0..J {
                            acc[i][j] = $add(acc[i][j], $mul(w, xs[j]));
                        }
                    }
                }
                for i in 0..I {
                    for j in 0..J {
                        let mut lanes = [0; $lanes];
                        // SAFETY: the array is as long as the vector.
                        unsafe { $store(lanes.as_mut_ptr().cast(), acc[i][j]) };
                        let sum = lanes.iter().fold(tail(r, (i, j), whole), |z, l| z.add(*l));
                        z[i * stride + j] = sum;
                    }
                }
            }
            // SAFETY: a batch is given a rung that this machine has.
            unsafe {
                match (r.w.len() / r.k, r.x.len() / r.k) {
                    (1, 1) => block::<1, 1>(r, z, stride),
                    (1, 2) => block::<1, 2>(r, z, stride),
                    (1, 3) => block::<1, 3>(r, z, stride),
                    (1, _) => block::<1, FEW>(r, z, stride),
                    (_, 1) => block::<TALL, 1>(r, z, stride),
                    (_, 2) => block::<TALL, 2>(r, z, stride),
                    (_, 3) => block::<TALL, 3>(r, z, stride),
                    _ => block::<TALL, FEW>(r, z, stride),
                }
            }
        }
    };
}

/// `a b` mod 2^64 from products of halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn mul64(a: std::arch::x86_64::__m256i, b: std::arch::x86_64::__m256i) -> std::arch::x86_64::__m256i {
    use std::arch::x86_64::*;
    let cross = _mm256_mullo_epi32(a, _mm256_shuffle_epi32::<0xB1>(b));
    let cross = _mm256_add_epi32(cross, _mm256_srli_epi64::<32>(cross));
    _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64::<32>(cross))
}

#[cfg(target_arch = "x86_64")]
mod simd {
    use super::*;
    // 32 bits twice as wide are slower: Intel multiplies 256 bits on two ports, 512 on one.
    dot!(
        wide64,
        u64,
        "avx512f,avx512dq",
        8,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_mullo_epi64,
        _mm512_add_epi64
    );
    dot!(
        narrow32,
        u32,
        "avx2",
        8,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_mullo_epi32,
        _mm256_add_epi32
    );
    dot!(
        narrow64,
        u64,
        "avx2",
        4,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        mul64,
        _mm256_add_epi64
    );
}
#[cfg(target_arch = "x86_64")]
pub use simd::{narrow32, narrow64, wide64};
