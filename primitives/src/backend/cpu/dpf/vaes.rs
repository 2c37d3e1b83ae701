//! VAES on 512-bit registers: four keys in each, a block of 32 in flight, words streamed from the tile.
//!
//! An AES round occupies one of the two ports that vectors have, so what counts is the work around the ten rounds: the
//! hash's feed-forward rides in the last round's key, masks of secret bits are computed (never used as predicates of
//! memory accesses), and the bits of the public point are predicates.
#![allow(unsafe_code)] // loads and stores; a detected instruction set
#![allow(clippy::needless_range_loop)] // registers have numbers

use super::{BLOCK, Block, Deal};
use crate::prg::Rounds;
use std::arch::x86_64::*;

/// Registers of a block of keys.
const REGISTERS: usize = BLOCK / 4;
/// How far ahead of a word the tile is fetched, in bytes, into the second-level cache: keys in memory take 36 ns where
/// they took 50 (w = 31, on a machine whose memory allows 30), keys in cache no longer.
const AHEAD: usize = 6 << 10;
/// Registers of keys that the dealer walks at once, twice as many AES states.
const DEALT: usize = 4;

/// This party's bits of the block, key `i` at bit `i`.
pub(super) fn evaluate(k: &Rounds, b: &Block) -> u64 {
    assert!(b.words.len() >= (b.w as usize - 7) * b.stride + b.n * 16 && b.n <= BLOCK);
    // SAFETY: `Kernel::Avx512` is made only where the rung is; the words reach as far as the assertion says.
    unsafe {
        match b.n {
            BLOCK => evaluate_on::<true>(k, b),
            _ => evaluate_on::<false>(k, b),
        }
    }
}

/// Correction words of the block, into all of `out`.
pub(super) fn generate(k: &Rounds, d: &Deal, out: &mut [u8]) {
    assert!(out.len() == (d.w as usize - 6) * d.n * 16 && d.n <= BLOCK);
    for first in (0..d.n).step_by(4 * DEALT) {
        // SAFETY: `Kernel::Avx512` is made only where the rung is; `out` has the length asserted.
        unsafe { generate_on(k, d, first, out) };
    }
}

/// A block, four times.
#[inline]
#[target_feature(enable = "avx512f")]
fn four(v: u128) -> __m512i {
    _mm512_broadcast_i32x4(_mm_set_epi64x((v >> 64) as i64, v as i64))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn keys(k: &Rounds) -> [__m512i; 11] {
    let mut out = [_mm512_setzero_si512(); 11];
    for i in 0..11 {
        out[i] = four(k.0[i]);
    }
    out
}

/// `sigma(hi||lo) = (hi xor lo)||hi`, the high half being the odd element.
#[inline]
#[target_feature(enable = "avx512f")]
fn sigma(s: __m512i) -> __m512i {
    let high = _mm512_set_epi64(-1, 0, -1, 0, -1, 0, -1, 0);
    xor_and(_mm512_shuffle_epi32::<0b01_00_11_10>(s), s, high)
}

/// All ones in both halves where the lowest bit of `s` is 1.
#[inline]
#[target_feature(enable = "avx512f")]
fn control(s: __m512i) -> __m512i {
    let low = _mm512_and_si512(_mm512_unpacklo_epi64(s, s), _mm512_set1_epi64(1));
    _mm512_sub_epi64(_mm512_setzero_si512(), low)
}

/// Truth table of `a ? b : c`, as of all three below: bit `4 a + 2 b + c`.
const CHOOSE: i32 = 0xca;
/// `a xor (b and not c)`.
const XOR_AND_NOT: i32 = 0xb4;

/// `a xor (b and c)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn xor_and(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x78>(a, b, c)
}

/// Four points, each in both halves of a key.
///
/// # Safety
/// Four elements can be read at `x`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn points(x: *const u64) -> __m512i {
    let twice = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    // SAFETY: the caller's.
    let four = _mm512_castsi256_si512(unsafe { _mm256_loadu_si256(x.cast()) });
    _mm512_permutexvar_epi64(twice, four)
}

/// Elements (halves of keys) of register `r` that belong to the first `n` keys.
#[inline(always)]
fn taken(n: usize, r: usize) -> __mmask8 {
    (0xffu32 >> (8 - 2 * n.saturating_sub(4 * r).min(4))) as u8
}

/// The `low`th and all lower bits of a leaf, `low` in both halves of each key.
#[inline]
#[target_feature(enable = "avx512f")]
fn upto(low: __m512i) -> __m512i {
    // shifts by 64 and more, negative counts among them, give zero
    let even = _mm512_sub_epi64(_mm512_sllv_epi64(_mm512_set1_epi64(2), low), _mm512_set1_epi64(1));
    let ones = _mm512_set1_epi64(-1);
    let odd = _mm512_srlv_epi64(ones, _mm512_sub_epi64(_mm512_set1_epi64(127), low));
    _mm512_mask_mov_epi64(even, 0xaa, odd)
}

/// Words of register `r` at a level.
///
/// # Safety
/// As of [`evaluate_on`]; `level <= w - 7`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn words<const FULL: bool>(b: &Block, level: u32, r: usize) -> __m512i {
    // SAFETY: inside the words; where the block is not full, no further than its `n` keys.
    unsafe {
        let at = b.words.as_ptr().wrapping_add(level as usize * b.stride + r * 64);
        _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(AHEAD).cast());
        let at = at.cast();
        if FULL { _mm512_loadu_epi64(at) } else { _mm512_maskz_loadu_epi64(taken(b.n, r), at) }
    }
}

/// All ones in the keys whose bits are set in the index.
static MASKS: Masks = masks();

#[repr(align(64))]
struct Masks([[u64; 8]; 16]);

const fn masks() -> Masks {
    let mut out = [[0; 8]; 16];
    let mut i = 0;
    while i < 128 {
        out[i / 8][i % 8] = 0u64.wrapping_sub((i as u64 / 8) >> (i % 8 / 2) & 1);
        i += 1;
    }
    Masks(out)
}

/// The bits of 32 public points as places in [`MASKS`], in units of 8 bytes: one per bit and register.
struct Chosen([[u8; REGISTERS]; 64]);

impl Chosen {
    /// The mask of the points in register `r` that have bit `bit`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn mask(&self, bit: u32, r: usize) -> __m512i {
        let at = self.0[bit as usize % 64][r] as usize;
        // SAFETY: places are `8 * i` with `i < 16`, and all of them the start of a row.
        unsafe { _mm512_load_si512(MASKS.0.as_ptr().cast::<u64>().add(at).cast()) }
    }

    /// Transposes the points: bytes of one place next to each other, then 8 by 8 bits by the field's affine map, then
    /// four bits to a byte.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
    fn new(x: &[u64; BLOCK]) -> Chosen {
        const BYTES: [u8; 64] = bytes_of_a_place();
        const GROUPS: [u8; 64] = groups_of_a_bit();
        // SAFETY: a register of 64 constant bytes, of 8 of 32 points.
        let (bytes, groups, v) = unsafe {
            let load = |at: usize| _mm512_loadu_si512(x.as_ptr().add(8 * at).cast());
            let index = |i: &[u8; 64]| _mm512_loadu_si512(i.as_ptr().cast());
            (index(&BYTES), index(&GROUPS), [load(0), load(1), load(2), load(3)])
        };
        let powers = _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64);
        let nibbles = _mm512_set1_epi64(0x1915_110d_0905_013d);
        let mut out = Chosen([[0; REGISTERS]; 64]);
        for half in 0..2 {
            let index = _mm512_add_epi8(bytes, _mm512_set1_epi8(4 * half));
            let low = _mm512_permutex2var_epi8(v[0], index, v[1]);
            let high = _mm512_permutex2var_epi8(v[2], index, v[3]);
            let low = _mm512_gf2p8affine_epi64_epi8::<0>(powers, low);
            let high = _mm512_gf2p8affine_epi64_epi8::<0>(powers, high);
            for place in 0..4 {
                let index = _mm512_add_epi8(groups, _mm512_set1_epi8(16 * place));
                let bits = _mm512_permutex2var_epi8(low, index, high);
                // eight times each four bits, shifted left by 3
                let places =
                    _mm512_and_si512(_mm512_multishift_epi64_epi8(nibbles, bits), _mm512_set1_epi8(0x78));
                let at = (4 * half + place) as usize * 8;
                // SAFETY: eight rows of eight bytes.
                unsafe { _mm512_storeu_si512(out.0[at..at + 8].as_mut_ptr().cast(), places) };
            }
        }
        out
    }
}

/// Of 16 points: byte `p` of each, the points of an eight in reverse (the affine map counts rows from the end), for
/// `p = 0..4`.
const fn bytes_of_a_place() -> [u8; 64] {
    let mut out = [0; 64];
    let mut i = 0;
    while i < 64 {
        let (place, eight, point) = (i / 16, i / 8 % 2, 7 - i % 8);
        out[i] = (64 * eight + 8 * point + place) as u8;
        i += 1;
    }
    out
}

/// Of the bits of two times 16 points at one place: bit by bit, four bytes for 32 points, then four of no matter.
const fn groups_of_a_bit() -> [u8; 64] {
    let mut out = [0; 64];
    let mut i = 0;
    while i < 64 {
        let (bit, eight) = (i / 8, i % 4);
        out[i] = (64 * (eight / 2) + 8 * (eight % 2) + bit) as u8;
        i += 1;
    }
    out
}

/// Nine rounds and the last one, whose keys differ.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn rounds(k: &[__m512i; 11], t: &mut [__m512i; 8], last: &[__m512i; 8]) {
    for key in &k[1..10] {
        for t in t.iter_mut() {
            *t = _mm512_aesenc_epi128(*t, *key);
        }
    }
    for r in 0..8 {
        t[r] = _mm512_aesenclast_epi128(t[r], last[r]);
    }
}

/// Hashes of `s`.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn hash(k: &[__m512i; 11], s: &[__m512i; REGISTERS]) -> [__m512i; REGISTERS] {
    let (mut t, mut last) = (*s, *s);
    for r in 0..REGISTERS {
        let fed = sigma(s[r]);
        t[r] = _mm512_xor_si512(fed, k[0]);
        last[r] = _mm512_xor_si512(fed, k[10]);
    }
    rounds(k, &mut t, &last);
    t
}

/// # Safety
/// The machine has the rung; `b.words` holds `w - 7` strides and 16 bytes for each of `b.n` keys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vpopcntdq,gfni,vaes,bmi2")]
unsafe fn evaluate_on<const FULL: bool>(k: &Rounds, b: &Block) -> u64 {
    let (k, chosen) = (keys(k), Chosen::new(&b.x));
    let mut s = [_mm512_setzero_si512(); REGISTERS];
    let mut parity = s;
    for r in 0..REGISTERS {
        // SAFETY: register r of 32 roots.
        s[r] = unsafe { _mm512_loadu_si512(b.roots.as_ptr().add(4 * r).cast()) };
    }
    for level in 0..b.w - 8 {
        let hashes = hash(&k, &s);
        for r in 0..REGISTERS {
            // SAFETY: a level of this function's block.
            let word = unsafe { words::<FULL>(b, level, r) };
            let left = xor_and(hashes[r], control(s[r]), word);
            let right = chosen.mask(b.w - 1 - level, r);
            parity[r] = xor_and(parity[r], left, right);
            s[r] = xor_and(left, s[r], right);
        }
    }
    let one = _mm512_set_epi64(0, 1, 0, 1, 0, 1, 0, 1);
    let mut input = s;
    for r in 0..REGISTERS {
        // the lowest bit becomes the side
        input[r] = _mm512_ternarylogic_epi64::<CHOOSE>(one, chosen.mask(7, r), s[r]);
    }
    let hashes = hash(&k, &input);
    let mut out = 0;
    for r in 0..REGISTERS {
        let side = chosen.mask(7, r);
        // SAFETY: the two levels of the leaves, register r of 32 points.
        let (left, right, x) = unsafe {
            (words::<FULL>(b, b.w - 8, r), words::<FULL>(b, b.w - 7, r), points(b.x.as_ptr().add(4 * r)))
        };
        let word = _mm512_ternarylogic_epi64::<CHOOSE>(side, right, left);
        let leaf = xor_and(hashes[r], control(s[r]), word);
        let upto = upto(_mm512_and_si512(x, _mm512_set1_epi64(127)));
        let counted = _mm512_popcnt_epi64(_mm512_and_si512(leaf, _mm512_xor_si512(upto, side)));
        // on the right: the whole left leaf, and the right one but for its end
        let rest = _mm512_and_si512(xor_and(parity[r], s[r], side), one);
        let sum = _mm512_xor_si512(counted, rest);
        out |= (_mm512_test_epi64_mask(sum, _mm512_set1_epi64(1)) as u64) << (8 * r);
    }
    // both halves of a key count
    _pext_u64(out ^ out >> 1, 0x5555_5555_5555_5555)
}

/// Keys `first..` of a block, [`DEALT`] registers of them.
///
/// # Safety
/// The machine has the rung; `out` holds `w - 6` levels of `d.n` words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes")]
unsafe fn generate_on(k: &Rounds, d: &Deal, first: usize, out: &mut [u8]) {
    let k = keys(k);
    let mut s = [_mm512_setzero_si512(); DEALT];
    let (mut delta, mut alpha) = (s, s);
    for r in 0..DEALT {
        let at = first + 4 * r;
        // SAFETY: register `at / 4` of 32 roots of either party, of 32 secrets.
        unsafe {
            s[r] = _mm512_loadu_si512(d.roots[0].as_ptr().add(at).cast());
            delta[r] = _mm512_xor_si512(s[r], _mm512_loadu_si512(d.roots[1].as_ptr().add(at).cast()));
            alpha[r] = points(d.alpha.as_ptr().add(at));
        }
    }
    let out = out.as_mut_ptr().wrapping_add(first * 16);
    let kept: [__mmask8; DEALT] = [0, 1, 2, 3].map(|r| taken(d.n - first, r));
    for level in 0..d.w - 8 {
        let bit = _mm512_set1_epi64(1 << (d.w - 1 - level));
        let hashes = both(&k, &s, &delta);
        for r in 0..DEALT {
            let right = _mm512_movm_epi64(_mm512_test_epi64_mask(alpha[r], bit));
            let word = _mm512_xor_si512(hashes[r], hashes[DEALT + r]);
            let word = _mm512_ternarylogic_epi64::<XOR_AND_NOT>(word, delta[r], right);
            // SAFETY: no further than the `n` keys of a level.
            unsafe { put(out, (level as usize * d.n + 4 * r) * 16, kept[r], word) };
            let left = xor_and(hashes[r], control(s[r]), word);
            s[r] = xor_and(left, s[r], right);
        }
    }
    let one = _mm512_set_epi64(0, 1, 0, 1, 0, 1, 0, 1);
    for r in 0..DEALT {
        s[r] = _mm512_andnot_si512(one, s[r]);
        delta[r] = _mm512_andnot_si512(one, delta[r]);
    }
    for side in 0..2 {
        let hashes = both(&k, &s, &delta);
        let wanted = _mm512_set1_epi64(128 * side as i64);
        for r in 0..DEALT {
            let low = _mm512_and_si512(alpha[r], _mm512_set1_epi64(127));
            // shifts by 64 and more, negative counts among them, give zero
            let count = _mm512_sub_epi64(low, _mm512_set_epi64(64, 0, 64, 0, 64, 0, 64, 0));
            let at = _mm512_sllv_epi64(_mm512_set1_epi64(1), count);
            let here = _mm512_cmpeq_epi64_mask(_mm512_and_si512(alpha[r], _mm512_set1_epi64(128)), wanted);
            let word = _mm512_xor_si512(hashes[r], hashes[DEALT + r]);
            let word = xor_and(word, at, _mm512_movm_epi64(here));
            // SAFETY: as above.
            unsafe { put(out, ((d.w - 8 + side) as usize * d.n + 4 * r) * 16, kept[r], word) };
            s[r] = _mm512_or_si512(s[r], one);
        }
    }
}

/// # Safety
/// The elements of `kept` can be written at `out + at`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn put(out: *mut u8, at: usize, kept: __mmask8, word: __m512i) {
    // SAFETY: the caller's.
    unsafe { _mm512_mask_storeu_epi64(out.wrapping_add(at).cast(), kept, word) }
}

/// The hashes of `s` and of `s xor delta`: one sigma serves both, since it is linear.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn both(k: &[__m512i; 11], s: &[__m512i; DEALT], delta: &[__m512i; DEALT]) -> [__m512i; 2 * DEALT] {
    let mut t = [_mm512_setzero_si512(); 2 * DEALT];
    let mut last = t;
    for r in 0..DEALT {
        let (fed, apart) = (sigma(s[r]), sigma(delta[r]));
        t[r] = _mm512_xor_si512(fed, k[0]);
        t[DEALT + r] = _mm512_xor_si512(t[r], apart);
        last[r] = _mm512_xor_si512(fed, k[10]);
        last[DEALT + r] = _mm512_xor_si512(last[r], apart);
    }
    rounds(k, &mut t, &last);
    t
}
