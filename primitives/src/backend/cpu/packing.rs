//! Words packed without gaps, and a bit of every word, with AVX-512 where it is there; elsewhere plain code does it.
//!
//! Both ways 8 lanes of 64 bits (or 16 of 32) take a whole number of bytes, at most a vector. Where each lane begins is the
//! same in every step, so bytes move by one permutation and lanes are shifted in place.

#![allow(unsafe_code)] // vector loads and stores, and calls into code compiled for the rung

use super::words;
use crate::Ring;
use crate::backend::{Isa, Packed};
use crate::bits;

/// Packs words at `width <= n` bits; see [`bits::pack`].
pub fn pack<R: Ring>(isa: Isa, x: &[R], width: u32) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && (1..R::BITS).contains(&width) {
        // SAFETY: the rung is only ever named where its instruction sets were detected.
        return unsafe { avx512::pack(x, width) };
    }
    let _ = isa;
    bits::pack(x, width)
}

/// The inverse; see [`bits::unpack`].
pub fn unpack<R: Ring>(isa: Isa, p: &Packed) -> Vec<R> {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && (1..R::BITS).contains(&p.width) {
        // SAFETY: the rung is only ever named where its instruction sets were detected.
        return unsafe { avx512::unpack(&p.bytes, p.at, p.width, p.len) };
    }
    let _ = isa;
    bits::unpack(&p.bytes, p.at, p.width, p.len)
}

/// Bit `i` of every element, 64 to a word; `out` has a word for each 64 elements begun.
pub fn bit<R: Ring>(isa: Isa, out: &mut [u64], x: &[R], i: u32) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        done = x.len() / 64;
        // SAFETY: the rung is only ever named where its instruction sets were detected.
        unsafe { avx512::bit(&mut out[..done], &x[..done * 64], i) };
    }
    words::bit(isa, &mut out[done..], &x[done * 64..], i);
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::*;
    use crate::ring::ones;
    use std::arch::x86_64::*;

    const LANES: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
    pub fn pack<R: Ring>(x: &[R], width: u32) -> Vec<u8> {
        // pairs, pairs of pairs .. until a lane holds at least 32 bits: then at most three lanes meet in one
        match width {
            32.. => pairings::<R, 0>(x, width),
            16.. => pairings::<R, 1>(x, width),
            8.. => pairings::<R, 2>(x, width),
            4.. => pairings::<R, 3>(x, width),
            2.. => pairings::<R, 4>(x, width),
            _ => pairings::<R, 5>(x, width),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
    fn pairings<R: Ring, const P: u32>(x: &[R], width: u32) -> Vec<u8> {
        let (step, bytes) = (LANES << P, (width << P) as usize);
        let whole = x.len() / step;
        // every step writes a vector, of which the next one overwrites what is not meant
        let mut out = vec![0u8; whole * bytes + 64];
        let join = Join::new(width << P);
        let mask = _mm512_set1_epi64(ones(width) as i64);
        let even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
        let odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
        // words of 32 bits come in pairs as they are
        let first = if R::BITS == 32 { 1 } else { 0 };
        for (i, x) in x.chunks_exact(step).enumerate() {
            let mut lanes = [_mm512_setzero_si512(); 32];
            for j in 0..1 << (P - first) {
                let v = load(&x[(LANES << first) * j..][..LANES << first]);
                lanes[j] = _mm512_and_si512(v, mask);
                if R::BITS == 32 {
                    let high = _mm512_and_si512(_mm512_srli_epi64(v, 32), mask);
                    lanes[j] = _mm512_or_si512(lanes[j], _mm512_sll_epi64(high, by(width)));
                }
            }
            for p in first..P {
                for j in 0..1 << (P - p - 1) {
                    let (a, b) = (lanes[2 * j], lanes[2 * j + 1]);
                    let low = _mm512_permutex2var_epi64(a, even, b);
                    let high = _mm512_permutex2var_epi64(a, odd, b);
                    lanes[j] = _mm512_or_si512(low, _mm512_sll_epi64(high, by(width << p)));
                }
            }
            join.store(lanes[0], &mut out[i * bytes..]);
        }
        out.truncate(whole * bytes);
        out.extend(bits::pack(&x[whole * step..], width));
        out
    }

    /// A shift by a number of bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn by(bits: u32) -> __m128i {
        _mm_cvtsi32_si128(bits as i32)
    }

    /// Bit `i` of every element of whole words of bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn bit<R: Ring>(out: &mut [u64], x: &[R], i: u32) {
        let lanes = 512 / R::BITS as usize;
        for (out, x) in out.iter_mut().zip(x.chunks_exact(64)) {
            *out = 0;
            for (j, x) in x.chunks_exact(lanes).enumerate() {
                let mask = match R::BITS {
                    32 => _mm512_test_epi32_mask(load(x), _mm512_set1_epi32(1 << i)) as u64,
                    _ => _mm512_test_epi64_mask(load(x), _mm512_set1_epi64(1 << i)) as u64,
                };
                *out |= mask << (j * lanes);
            }
        }
    }

    /// A vector of ring elements as they lie.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load<R: Ring>(x: &[R]) -> __m512i {
        assert!(size_of_val(x) == 64 && size_of::<R>() * 8 == R::BITS as usize);
        // SAFETY: 64 bytes, as asserted; ring elements are integers without padding.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    /// How 8 lanes of 32 to 63 bits become one run of bits: word q of the result begins in lane `first[q]`, `by[0][q]` bits
    /// above its lowest; the next two lanes begin `by[1][q]` and `by[2][q]` bits into the word.
    struct Join {
        first: __m512i,
        by: [__m512i; 3],
    }

    impl Join {
        #[target_feature(enable = "avx512f")]
        fn new(width: u32) -> Self {
            let (mut first, mut by) = ([0; LANES], [[0; LANES]; 3]);
            for q in 0..LANES {
                let at = 64 * q as u64;
                let lane = at / width as u64;
                let skip = at - lane * width as u64;
                first[q] = lane;
                by[0][q] = skip;
                by[1][q] = width as u64 - skip;
                by[2][q] = 2 * width as u64 - skip;
            }
            Join { first: vector(&first), by: [vector(&by[0]), vector(&by[1]), vector(&by[2])] }
        }

        #[inline]
        #[target_feature(enable = "avx512f")]
        fn store(&self, v: __m512i, out: &mut [u8]) {
            let Some(out) = out.first_chunk_mut::<64>() else { return };
            let one = _mm512_set1_epi64(1);
            let second = _mm512_add_epi64(self.first, one);
            let third = _mm512_add_epi64(second, one);
            // A lane past the last wraps round to the first, but only beyond the bits of this step. A shift by 64 or more
            // gives nothing.
            let a = _mm512_srlv_epi64(_mm512_permutexvar_epi64(self.first, v), self.by[0]);
            let b = _mm512_sllv_epi64(_mm512_permutexvar_epi64(second, v), self.by[1]);
            let c = _mm512_sllv_epi64(_mm512_permutexvar_epi64(third, v), self.by[2]);
            let z = _mm512_or_si512(_mm512_or_si512(a, b), c);
            // SAFETY: `out` is an array of 64 bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), z) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn vector(words: &[u64; LANES]) -> __m512i {
        // SAFETY: an array of 64 bytes.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
    pub fn unpack<R: Ring>(bytes: &[u8], at: usize, width: u32, len: usize) -> Vec<R> {
        let lanes = 512 / R::BITS as usize;
        let step = lanes * width as usize / 8;
        let bytes = &bytes[..(at + len * width as usize).div_ceil(8)];
        // whole vectors of words whose load of 64 bytes stays within the array
        let inner = bytes.len().saturating_sub(at / 8 + 64).checked_div(step).map_or(0, |n| n + 1);
        let whole = (len / lanes).min(if bytes.len() >= at / 8 + 64 { inner } else { 0 });
        let mut out = vec![R::ZERO; len];
        let split = Split::new(at % 8, width, R::BITS);
        for (i, out) in out[..whole * lanes].chunks_exact_mut(lanes).enumerate() {
            split.load(&bytes[at / 8 + i * step..], out);
        }
        let done = whole * lanes;
        let rest = bits::unpack(bytes, at + done * width as usize, width, len - done);
        out[done..].copy_from_slice(&rest);
        out
    }

    /// How packed words become lanes of the ring: the bytes in which each begins, the ones behind them, and the bits to drop.
    struct Split {
        low: __m512i,
        high: __m512i,
        by: __m512i,
        mask: __m512i,
    }

    impl Split {
        /// Words of `width` bits from bit `at < 8` of the first byte on, into lanes of `lane` bits.
        #[target_feature(enable = "avx512f")]
        fn new(at: usize, width: u32, lane: u32) -> Self {
            let (mut low, mut high, mut by, mut mask) = ([0u8; 64], [0u8; 64], [0u8; 64], [0u8; 64]);
            let bytes = lane as usize / 8;
            for j in 0..64 / bytes {
                let begin = at + j * width as usize;
                by[j * bytes] = (begin % 8) as u8;
                for b in 0..bytes {
                    // past the vector only for bits past the word
                    low[j * bytes + b] = (begin / 8 + b) as u8 & 63;
                    high[j * bytes + b] = (begin / 8 + bytes + b) as u8 & 63;
                    mask[j * bytes + b] = (ones(width) >> (8 * b)) as u8;
                }
            }
            // SAFETY: arrays of 64 bytes.
            let load = |a: &[u8; 64]| unsafe { _mm512_loadu_si512(a.as_ptr().cast()) };
            Split { low: load(&low), high: load(&high), by: load(&by), mask: load(&mask) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vbmi,avx512vbmi2")]
        fn load<R: Ring>(&self, bytes: &[u8], out: &mut [R]) {
            assert!(size_of_val(out) == 64 && size_of::<R>() * 8 == R::BITS as usize);
            let Some(bytes) = bytes.first_chunk::<64>() else { return };
            // SAFETY: an array of 64 bytes.
            let v = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            let low = _mm512_permutexvar_epi8(self.low, v);
            let high = _mm512_permutexvar_epi8(self.high, v);
            let z = match R::BITS {
                32 => _mm512_shrdv_epi32(low, high, self.by),
                _ => _mm512_shrdv_epi64(low, high, self.by),
            };
            // SAFETY: 64 bytes, as asserted; any bits are a ring element.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_and_si512(z, self.mask)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::words::tests::noise;
    use crate::bits::read_word;
    use crate::ring::ones;

    fn round_trips<R: Ring>() {
        for (isa, width) in Isa::here().flat_map(|i| (1..=R::BITS).map(move |w| (i, w))) {
            for len in [0, 1, 7, 8, 9, 31, 64, 255, 600] {
                let x: Vec<R> = noise(len, width as u64);
                let packed = pack(isa, &x, width);
                assert_eq!(packed.len(), (len * width as usize).div_ceil(8), "{isa:?} {width} {len}");
                for (i, x) in x.iter().enumerate() {
                    let word = read_word(&packed, i * width as usize, width);
                    assert_eq!(word, x.low() & ones(width), "{isa:?} {width} {len} {i}");
                }
                // bits past the last word are zero
                assert_eq!(packed, bits::pack(&x, width));
                for skip in [0, 1, 5, 8, 77].into_iter().filter(|s| *s <= len) {
                    let (at, len) = (skip * width as usize, len - skip);
                    let p = Packed { bytes: (&packed).into(), at, width, len };
                    let back: Vec<R> = unpack(isa, &p);
                    let want: Vec<R> = x[skip..].iter().map(|x| x.and(R::ones(width))).collect();
                    assert_eq!(back, want, "{isa:?} {width} {len} {skip}");
                }
            }
        }
    }

    fn bits_of<R: Ring>() {
        for (isa, len) in Isa::here().flat_map(|i| [0, 1, 63, 64, 65, 1000].map(|l| (i, l))) {
            let x: Vec<R> = noise(len, len as u64);
            for i in 0..R::BITS {
                let mut out = vec![0; len.div_ceil(64)];
                bit(isa, &mut out, &x, i);
                let want = bits::Bits::from_fn(len, |j| x[j].low() >> i);
                assert_eq!(out, want.words(), "{isa:?} {len} {i}");
            }
        }
    }

    #[test]
    fn every_rung_takes_a_bit_of_every_word() {
        bits_of::<u32>();
        bits_of::<u64>();
    }

    #[test]
    fn every_rung_packs_and_unpacks() {
        round_trips::<u32>();
        round_trips::<u64>();
    }
}
