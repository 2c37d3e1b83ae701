//! Half-tree point functions, [`BATCH`] keys at a time: one AES call per level and batch.

use crate::Ring;
use crate::backend::DpfTile;
use crate::bits::Bits;
use crate::prg::{BATCH, TreeHash};

/// All ones if `bit` is 1, else zero; no branch.
#[inline(always)]
fn mask(bit: u64) -> u128 {
    (bit as u128 & 1).wrapping_neg()
}

/// Correction words for `alpha`, in blocks of [`BATCH`] keys, each block level by level.
pub fn generate<R: Ring>(hash: &TreeHash, w: u32, roots: [&[u128]; 2], alpha: &[R]) -> Vec<u8> {
    let mut out = Vec::with_capacity(alpha.len() * 16 * (w as usize - 6));
    for (block, alpha) in alpha.chunks(BATCH).enumerate() {
        let at = block * BATCH..block * BATCH + alpha.len();
        generate_block(hash, w, [&roots[0][at.clone()], &roots[1][at]], alpha, &mut out);
    }
    out
}

fn generate_block<R: Ring>(hash: &TreeHash, w: u32, roots: [&[u128]; 2], alpha: &[R], out: &mut Vec<u8>) {
    let n = alpha.len();
    let (mut a, mut b) = ([0u128; BATCH], [0u128; BATCH]);
    a[..n].copy_from_slice(roots[0]);
    b[..n].copy_from_slice(roots[1]);
    let (mut ha, mut hb) = (a, b);
    for level in 0..w - 8 {
        (ha, hb) = (a, b);
        hash.apply(&mut ha[..n]);
        hash.apply(&mut hb[..n]);
        for i in 0..n {
            // Delta is a xor b at the root and stays so on alpha's path.
            let right = mask(alpha[i].low() >> (w - 1 - level));
            let word = ha[i] ^ hb[i] ^ (!right & (roots[0][i] ^ roots[1][i]));
            out.extend_from_slice(&word.to_le_bytes());
            let left = (ha[i] ^ (mask(a[i] as u64) & word), hb[i] ^ (mask(b[i] as u64) & word));
            a[i] = left.0 ^ (right & a[i]);
            b[i] = left.1 ^ (right & b[i]);
        }
    }
    for side in 0..2u64 {
        for i in 0..n {
            ha[i] = (a[i] & !1) | side as u128;
            hb[i] = (b[i] & !1) | side as u128;
        }
        hash.apply(&mut ha[..n]);
        hash.apply(&mut hb[..n]);
        for i in 0..n {
            let here = mask((alpha[i].low() >> 7 & 1) ^ side ^ 1);
            let leaf = 1u128 << (alpha[i].low() & 127);
            out.extend_from_slice(&(ha[i] ^ hb[i] ^ (here & leaf)).to_le_bytes());
        }
    }
}

/// Shares of `[alpha <= x]`, by the parity of left siblings on the path of `x`.
pub fn evaluate<R: Ring>(hash: &TreeHash, w: u32, roots: &[u128], tile: DpfTile, x: &[R]) -> Bits {
    let (levels, mut done) = (w as usize - 6, 0);
    let mut out = Bits::default();
    while done < x.len() {
        let from = tile.from + done;
        let block = from / BATCH * BATCH;
        let block_len = BATCH.min(tile.tile_len - block);
        let n = (block + block_len - from).min(x.len() - done);
        let words = &tile.words[block * levels * 16..][..block_len * levels * 16];
        let level = |l: usize| &words[(l * block_len + from - block) * 16..][..n * 16];
        out.append(&evaluate_block(hash, w, &roots[done..done + n], level, &x[done..done + n]));
        done += n;
    }
    out
}

fn evaluate_block<'a, R: Ring>(
    hash: &TreeHash,
    w: u32,
    roots: &[u128],
    level: impl Fn(usize) -> &'a [u8],
    x: &[R],
) -> Bits {
    let n = x.len();
    let (mut s, mut h, mut parity) = ([0u128; BATCH], [0u128; BATCH], [0u64; BATCH]);
    s[..n].copy_from_slice(roots);
    for l in 0..w - 8 {
        h[..n].copy_from_slice(&s[..n]);
        hash.apply(&mut h[..n]);
        let words = level(l as usize);
        for i in 0..n {
            let left = h[i] ^ (mask(s[i] as u64) & correction(words, i));
            let right = x[i].low() >> (w - 1 - l) & 1;
            parity[i] ^= left as u64 & right;
            s[i] = left ^ (mask(right) & s[i]);
        }
    }
    for i in 0..n {
        h[i] = (s[i] & !1) | (x[i].low() >> 7 & 1) as u128;
    }
    hash.apply(&mut h[..n]);
    let sides = [level(w as usize - 8), level(w as usize - 7)];
    let bit = |i: usize| {
        let (t, side, low) = (s[i] as u64 & 1, x[i].low() >> 7 & 1, (x[i].low() & 127) as u32);
        // x is public: choosing its side's word by its bit reveals nothing.
        let leaf = h[i] ^ (mask(t) & correction(sides[side as usize], i));
        let upto = leaf & (u128::MAX >> (127 - low));
        let above = (leaf >> low) >> 1;
        let in_left = upto.count_ones() as u64;
        let in_right = t ^ above.count_ones() as u64; // the whole left leaf, and the right one but for its end
        parity[i] ^ ((in_left & (side ^ 1)) | (in_right & side)) & 1
    };
    Bits::from_fn(n, bit)
}

#[inline(always)]
fn correction(words: &[u8], i: usize) -> u128 {
    let mut b = [0; 16];
    b.copy_from_slice(&words[i * 16..i * 16 + 16]);
    u128::from_le_bytes(b)
}
