//! The definition, in plain code: what the other rungs are checked against.

use super::{BLOCK, Block, Deal, counted};
use crate::prg::TreeHash;

/// All ones if the lowest bit is 1, else zero; no branch.
#[inline(always)]
pub(super) fn mask(bit: u64) -> u128 {
    (bit as u128 & 1).wrapping_neg()
}

#[inline(always)]
pub(super) fn word(words: &[u8], i: usize) -> u128 {
    let mut b = [0; 16];
    b.copy_from_slice(&words[i * 16..i * 16 + 16]);
    u128::from_le_bytes(b)
}

pub(super) fn generate(hash: &TreeHash, d: &Deal, out: &mut [u8]) {
    let (w, n) = (d.w, d.n);
    let [mut a, mut b] = d.roots;
    let mut levels = out.chunks_exact_mut(n * 16);
    let mut put = |word: &dyn Fn(usize) -> u128| {
        let level = levels.next().unwrap_or_default();
        level.chunks_exact_mut(16).enumerate().for_each(|(i, o)| o.copy_from_slice(&word(i).to_le_bytes()));
    };
    for level in 0..w - 8 {
        let (mut ha, mut hb) = (a, b);
        hash.apply(&mut ha[..n]);
        hash.apply(&mut hb[..n]);
        let right = |i: usize| mask(d.alpha[i] >> (w - 1 - level));
        // Delta is a xor b at the root and stays so on alpha's path.
        let word = |i: usize| ha[i] ^ hb[i] ^ (!right(i) & (d.roots[0][i] ^ d.roots[1][i]));
        put(&word);
        for i in 0..n {
            let left = [ha[i] ^ (mask(a[i] as u64) & word(i)), hb[i] ^ (mask(b[i] as u64) & word(i))];
            a[i] = left[0] ^ (right(i) & a[i]);
            b[i] = left[1] ^ (right(i) & b[i]);
        }
    }
    for side in 0..2u64 {
        let input = |s: [u128; BLOCK]| s.map(|s| s & !1 | side as u128);
        let (mut ha, mut hb) = (input(a), input(b));
        hash.apply(&mut ha[..n]);
        hash.apply(&mut hb[..n]);
        let here = |i: usize| mask(d.alpha[i] >> 7 & 1 ^ side ^ 1);
        put(&|i| ha[i] ^ hb[i] ^ here(i) & 1 << (d.alpha[i] & 127));
    }
}

pub(super) fn evaluate(hash: &TreeHash, b: &Block) -> u64 {
    let (w, n) = (b.w, b.n);
    let (mut s, mut parity) = (b.roots, 0);
    for l in 0..w - 8 {
        let mut h = s;
        hash.apply(&mut h[..n]);
        let words = b.level(l);
        for i in 0..n {
            let left = h[i] ^ (mask(s[i] as u64) & word(words, i));
            let right = b.x[i] >> (w - 1 - l) & 1;
            parity ^= (left as u64 & right) << i;
            s[i] = left ^ (mask(right) & s[i]);
        }
    }
    let side = |i: usize| b.x[i] >> 7 & 1;
    let mut h = s;
    (0..n).for_each(|i| h[i] = s[i] & !1 | side(i) as u128);
    hash.apply(&mut h[..n]);
    for i in 0..n {
        // x is public: choosing its side's word by its bit reveals nothing.
        let word = word(b.level(w - 8 + side(i) as u32), i);
        let leaf = h[i] ^ (mask(s[i] as u64) & word);
        parity ^= (counted(leaf, s[i], b.x[i]) & 1) << i;
    }
    parity
}
