//! What this machine's multipliers allow: the instructions of a tile, without its loads.

#![allow(unsafe_code)] // calls into code compiled for the instruction set of a rung

use super::kernel::Path;
use crate::Ring;
use crate::backend::Isa;
use std::hint::black_box;

/// Chains of dependent operations: more than latency times throughput of any multiply here.
const CHAINS: usize = 12;

/// Does `rounds` of the multiply-adds that matrix products on a rung consist of, in registers, and returns how many
/// multiplications of ring elements these stand for. Timed, this is the bound of any product on one core.
pub fn spin<R: Ring>(isa: Isa, rounds: usize) -> u64 {
    let per_round = match (Path::of(isa), R::BITS) {
        // SAFETY: a path is chosen only on machines that have its instructions.
        #[cfg(target_arch = "x86_64")]
        (Path::Limbs, 32) => unsafe { limbs16(rounds) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Path::Limbs, _) => unsafe { limbs52(rounds) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Path::Words(Isa::Avx512), _) => unsafe { wide::<R>(rounds) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Path::Words(Isa::Avx2), 64) => unsafe { limbs32(rounds) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Path::Words(Isa::Avx2), _) => unsafe { narrow::<R>(rounds) },
        _ => words::<R, 4>(rounds),
    };
    (rounds * per_round) as u64
}

/// `CHAINS` vectors of `L` words.
#[inline(always)]
fn words<R: Ring, const L: usize>(rounds: usize) -> usize {
    let (mut z, by) = ([[R::ONE; L]; CHAINS], black_box(R::from_u64(0x9E37_79B9_7F4A_7C15)));
    for _ in 0..rounds {
        for z in &mut z {
            for z in z {
                *z = z.add(z.mul(by));
            }
        }
    }
    black_box(z);
    CHAINS * L
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn wide<R: Ring>(rounds: usize) -> usize {
    match R::BITS {
        64 => words::<R, 8>(rounds),
        _ => words::<R, 16>(rounds),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn narrow<R: Ring>(rounds: usize) -> usize {
    words::<R, 8>(rounds)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn limbs32(rounds: usize) -> usize {
    use std::arch::x86_64::*;
    let by = black_box(_mm256_set1_epi32(0x9E37_79B9u32 as i32));
    // Half the chains of the others: there are sixteen registers.
    let (mut full, mut cross) = ([by; CHAINS / 2], [by; CHAINS / 2]);
    for _ in 0..rounds {
        for (f, c) in full.iter_mut().zip(&mut cross) {
            *f = _mm256_add_epi64(*f, _mm256_mul_epu32(*f, by));
            *c = _mm256_add_epi32(*c, _mm256_mullo_epi32(*c, by));
        }
    }
    black_box((full, cross));
    4 * CHAINS / 2
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn limbs16(rounds: usize) -> usize {
    use std::arch::x86_64::*;
    let by = black_box(_mm512_set1_epi32(0x9E37_79B9u32 as i32));
    let mut z = [by; CHAINS];
    for _ in 0..rounds {
        for z in &mut z {
            *z = _mm512_dpwssd_epi32(*z, *z, by);
        }
    }
    black_box(z);
    // three for two steps of sixteen columns
    CHAINS / 3 * 32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512ifma,avx512vnni")]
fn limbs52(rounds: usize) -> usize {
    use std::arch::x86_64::*;
    let by = black_box(_mm512_set1_epi32(0x9E37_79B9u32 as i32));
    let (mut low, mut high, mut cross) = ([by; CHAINS], [by; CHAINS], [by; CHAINS / 2]);
    for _ in 0..rounds {
        for (l, h) in low.iter_mut().zip(&mut high) {
            *l = _mm512_madd52lo_epu64(*l, *l, by);
            *h = _mm512_madd52hi_epu64(*h, *h, by);
        }
        for c in &mut cross {
            *c = _mm512_dpwssd_epi32(*c, *c, by);
        }
    }
    black_box((low, high, cross));
    CHAINS * 8
}
