//! Element-wise arithmetic: sums of gated terms, products, shifts, bits.
//!
//! Every body is plain code that the compiler vectorises once per rung. A bit gates a term as a mask of zeros or ones,
//! never as a branch: see [`masks`].

#![allow(unsafe_code)] // calls into code compiled for the rung

use super::rungs::rungs;
use crate::Ring;
use crate::backend::{Cpu, Term};
use std::hint::black_box;

/// Elements summed at once: they stay in the first-level cache over all terms. A multiple of 64.
const BLOCK: usize = 1024;

/// How a coefficient is applied; almost all are powers of two or their negatives.
#[derive(Clone, Copy)]
enum Factor<R> {
    Plus(u32),
    Minus(u32),
    Times(R),
}

#[inline(always)]
fn factor<R: Ring>(c: R) -> Factor<R> {
    let minus = R::ZERO.sub(c);
    if c.low().is_power_of_two() {
        Factor::Plus(c.low().trailing_zeros())
    } else if minus.low().is_power_of_two() {
        Factor::Minus(minus.low().trailing_zeros())
    } else {
        Factor::Times(c)
    }
}

/// `a = f(a, b)` for every `a` of `z` with its `b` of `x`.
macro_rules! plain {
    ($z:expr, $x:expr, |$a:ident, $b:ident| $f:expr) => {
        for ($a, &$b) in $z.iter_mut().zip($x) {
            *$a = $f;
        }
    };
}

/// All ones where the bit is 1, and zeros. What they are is kept from the compiler: where it knew, it made branches on
/// the bits in loops that do not become vectors (constant-time/ found them).
#[inline(always)]
fn masks<R: Ring>(bits: u32) -> [R; 32] {
    let bits = R::from_u64(bits as u64);
    let mut out = [R::ZERO; 32];
    for (j, m) in out.iter_mut().enumerate() {
        *m = R::ZERO.sub(bits.shr(j as u32).and(R::ONE));
    }
    black_box(out)
}

/// The same with zero for `b` where its bit of `when` is 0; `z` begins at a word of `when`.
macro_rules! gated {
    ($z:expr, $when:expr, $x:expr, |$a:ident, $b:ident| $f:expr) => {
        // 32 elements at a time: the length must be known for the loop to become vectors
        for (i, (z, x)) in $z.chunks_mut(32).zip($x.chunks(32)).enumerate() {
            let masks = masks::<R>(($when[i / 2] >> (i % 2 * 32)) as u32);
            match (<&mut [R; 32]>::try_from(&mut *z), <&[R; 32]>::try_from(x)) {
                (Ok(z), Ok(x)) => gated!(in z, x, masks, |$a, $b| $f),
                _ => gated!(in z, x, masks, |$a, $b| $f),
            }
        }
    };
    (in $z:expr, $x:expr, $masks:expr, |$a:ident, $b:ident| $f:expr) => {
        for (($a, x), m) in $z.iter_mut().zip($x).zip($masks) {
            let $b = x.and(m);
            *$a = $f;
        }
    };
}

/// Adds one term to a block of at most [`BLOCK`] elements.
#[inline(always)]
fn add_term<R: Ring>(z: &mut [R], c: R, when: Option<&[u64]>, x: &[R]) {
    match (factor(c), when) {
        (Factor::Plus(s), None) => plain!(z, x, |z, x| z.add(x.shl(s))),
        (Factor::Minus(s), None) => plain!(z, x, |z, x| z.sub(x.shl(s))),
        (Factor::Times(c), None) => plain!(z, x, |z, x| z.add(x.mul(c))),
        (Factor::Plus(s), Some(w)) => {
            gated!(z, w, x, |z, x| z.add(x.shl(s)));
        }
        (Factor::Minus(s), Some(w)) => {
            gated!(z, w, x, |z, x| z.sub(x.shl(s)));
        }
        (Factor::Times(c), Some(w)) => {
            gated!(z, w, x, |z, x| z.add(x.mul(c)));
        }
    }
}

rungs! {
    /// Adds all terms to `z`, then takes it mod `mask + 1`.
    pub fn sum<R: Ring>(z: &mut [R], terms: &[Term<'_, Cpu<R>>], mask: R) {
        let ones = [R::ONE; BLOCK];
        for (i, z) in z.chunks_mut(BLOCK).enumerate() {
            let at = i * BLOCK;
            for t in terms {
                let x = match t.x {
                    Some(x) => &x[at..at + z.len()],
                    None => &ones[..z.len()],
                };
                add_term(z, t.c, t.when.map(|b| &b.words()[at / 64..]), x);
            }
            if mask != R::ones(R::BITS) {
                for z in z.iter_mut() {
                    *z = z.and(mask);
                }
            }
        }
    }
}

rungs! {
    /// `z += x` mod `mask + 1`, element by element.
    pub fn add<R: Ring>(z: &mut [R], x: &[R], mask: R) {
        for (z, x) in z.iter_mut().zip(x) {
            *z = z.add(*x).and(mask);
        }
    }
}

rungs! {
    /// `z *= x`, element by element.
    pub fn mul<R: Ring>(z: &mut [R], x: &[R]) {
        for (z, x) in z.iter_mut().zip(x) {
            *z = z.mul(*x);
        }
    }
}

rungs! {
    /// `z = floor((z + add) / 2^by) mod 2^bits`, the sum taken without wrapping; `by < n`, `add < 2^n`.
    pub fn shift<R: Ring>(z: &mut [R], add: u64, by: u32, bits: u32) {
        // the high parts are added, and the carry of the low ones
        let (add, low, mask) = (R::from_u64(add), R::ones(by), R::ones(bits));
        let (high, rest) = (add.shr(by), add.and(low));
        for z in z.iter_mut() {
            *z = z.shr(by).add(high).add(z.and(low).add(rest).shr(by)).and(mask);
        }
    }
}

rungs! {
    /// Bit `i` of every element, 64 to a word; `out` has a word for each 64 elements begun.
    pub fn bit<R: Ring>(out: &mut [u64], x: &[R], i: u32) {
        let (whole, rest) = x.as_chunks::<64>();
        let mut last = [R::ZERO; 64];
        for (last, x) in last.iter_mut().zip(rest) {
            *last = *x;
        }
        for (out, x) in out.iter_mut().zip(whole.iter().chain([&last])) {
            let mut bytes = [0; 64];
            for j in 0..64 {
                bytes[j] = x[j].shr(i).low() as u8 & 1;
            }
            *out = gather(&bytes);
        }
    }
}

/// 64 bytes of value 0 or 1 as a word.
#[inline(always)]
pub fn gather(bytes: &[u8; 64]) -> u64 {
    let mut out = 0;
    for (i, b) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // byte j goes to bit 56 + j: no two of the product's terms meet
        out |= (u64::from_le_bytes(*b).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::Isa;
    use crate::bits::Bits;

    /// Reproducible noise.
    pub fn noise<R: Ring>(len: usize, seed: u64) -> Vec<R> {
        let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            s
        };
        (0..len).map(|_| R::from_u64(next() ^ next() << 32)).collect()
    }

    fn maps<R: Ring>() {
        let top = R::BITS - 1;
        for (isa, len) in Isa::here().flat_map(|i| [0, 1, 31, 64, 65, 1000, 1024, 2500].map(|l| (i, l))) {
            let (x, y): (Vec<R>, Vec<R>) = (noise(len, 1), noise(len, 2));
            let bits = Bits::from_words(noise(len.div_ceil(64), 3), len);
            let coefficients = [0, 1, 2, 8, 3, u64::MAX, u64::MAX - 1, 1 << top].map(R::from_u64);
            for (c, narrow) in coefficients.into_iter().flat_map(|c| [(c, R::BITS), (c, 20)]) {
                let terms = [
                    Term::of(R::ONE, &x),
                    Term::of(c, &y).when(&bits),
                    Term::one(c).when(&bits),
                    Term::of(c, &x),
                    Term::one(c),
                ];
                let mut z = vec![R::ZERO; len];
                sum(isa, &mut z, &terms, R::ones(narrow));
                for i in 0..len {
                    let gated = c.mul(R::from_u64(bits.bit(i)));
                    let want =
                        [x[i], gated.mul(y[i]), gated, c.mul(x[i]), c].into_iter().fold(R::ZERO, R::add);
                    assert_eq!(z[i], want.and(R::ones(narrow)), "{isa:?} {len} {c:?} {i}");
                }
            }
            let mut z = x.clone();
            mul(isa, &mut z, &y);
            assert!((0..len).all(|i| z[i] == x[i].mul(y[i])));
            let q = R::ones(top).low();
            for (add, by, bits) in
                [(0, 0, 20), (0, 12, top - 11), (q, 0, R::BITS), (q, 1, top), (4095, 12, 9), (q, top, 1)]
            {
                let mut z = x.clone();
                shift(isa, &mut z, add, by, bits);
                for (z, x) in z.iter().zip(&x) {
                    let want = (x.low() as u128 + add as u128) >> by;
                    assert_eq!(*z, R::from_u64(want as u64).and(R::ones(bits)), "{isa:?} {add} {by}");
                }
            }
            for i in [0, 7, top] {
                let mut out = vec![0; len.div_ceil(64)];
                bit(isa, &mut out, &x, i);
                let want = Bits::from_fn(len, |j| x[j].low() >> i);
                assert_eq!(out, want.words(), "{isa:?} {len} {i}");
            }
        }
    }

    #[test]
    fn every_rung_computes_the_definition() {
        maps::<u32>();
        maps::<u64>();
    }
}
