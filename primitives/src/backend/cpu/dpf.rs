//! Half-tree point functions, [`BLOCK`] keys at a time: as many as the widest kernel holds in registers.
//!
//! The words of a block lie level by level, so a kernel reads a tile from front to end. With `sigma` linear and
//! `b = a xor Delta` on alpha's path, the dealer walks one state for both parties.

use crate::Ring;
use crate::backend::{DPF_BLOCK as BLOCK, DpfTile};
use crate::bits::Bits;
use crate::prg::{Kernel, Roots, TreeHash};

mod domain;
#[cfg(target_arch = "x86_64")]
mod ni;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vaes;

/// Some keys of a block, and a point for each. Elements from `n` on are zero.
struct Block<'a> {
    /// Bits of a point, 8 to 63.
    w: u32,
    n: usize,
    roots: [u128; BLOCK],
    x: [u64; BLOCK],
    /// Words of level 0 from the first of the keys on, `w - 6` levels `stride` bytes apart.
    words: &'a [u8],
    stride: usize,
}

impl Block<'_> {
    /// The words of a level, 16 bytes per key.
    #[inline(always)]
    fn level(&self, level: u32) -> &[u8] {
        &self.words[level as usize * self.stride..][..self.n * 16]
    }
}

/// Keys of a block while they are dealt: both parties' roots, and alpha. Elements from `n` on are zero.
struct Deal {
    w: u32,
    n: usize,
    roots: [[u128; BLOCK]; 2],
    alpha: [u64; BLOCK],
}

/// Correction words for `alpha`, into all of `out`.
pub fn generate<R: Ring>(hash: &TreeHash, w: u32, roots: [Roots; 2], alpha: &[R], out: &mut [u8]) {
    let each = (w as usize - 6) * 16;
    assert_eq!(out.len(), alpha.len() * each);
    let mut d = Deal { w, n: 0, roots: [[0; BLOCK]; 2], alpha: [0; BLOCK] };
    for (i, (alpha, out)) in alpha.chunks(BLOCK).zip(out.chunks_mut(BLOCK * each)).enumerate() {
        d.n = alpha.len();
        if d.n < BLOCK {
            (d.roots, d.alpha) = ([[0; BLOCK]; 2], [0; BLOCK]);
        }
        for (roots, out) in roots.iter().zip(&mut d.roots) {
            roots.fill(i * BLOCK, &mut out[..alpha.len()]);
        }
        d.alpha.iter_mut().zip(alpha).for_each(|(to, from)| *to = from.low());
        match hash.cipher().kernel() {
            Kernel::Portable(_) => portable::generate(hash, &d, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(k) => ni::generate(k, &d, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(k) => vaes::generate(k, &d, out),
        }
    }
}

/// Shares of `[alpha <= x]`, by the parity of left siblings on the path of `x`.
pub fn evaluate<R: Ring>(hash: &TreeHash, w: u32, roots: Roots, tile: DpfTile, x: &[R]) -> Bits {
    let mut out = vec![0; x.len().div_ceil(64)];
    blocks(w, roots, tile, x.len(), |b, done| {
        let n = b.n;
        b.x.iter_mut().zip(&x[done..done + n]).for_each(|(to, from)| *to = from.low());
        let bits = match hash.cipher().kernel() {
            Kernel::Portable(_) => portable::evaluate(hash, b),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(k) => ni::evaluate(k, b),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(k) => vaes::evaluate(k, b),
        };
        let bits = bits & u64::MAX >> (64 - n);
        out[done / 64] |= bits << (done % 64);
        if done % 64 + n > 64 {
            out[done / 64 + 1] |= bits >> (64 - done % 64);
        }
    });
    Bits::from_words(out, x.len())
}

/// All leaves of `len` keys, `2^w` bits each in words of 64, handed to `f` block by block with the number of the first key.
pub fn domain(
    hash: &TreeHash,
    w: u32,
    roots: Roots,
    tile: DpfTile,
    len: usize,
    mut f: impl FnMut(usize, &[u64]),
) {
    blocks(w, roots, tile, len, |b, done| f(done, &domain::leaves(hash, b)));
}

/// Hands `len` keys of a tile to `f`, block by block, with the number of the first; points are zero.
#[inline(always)]
fn blocks<'a>(w: u32, roots: Roots, tile: DpfTile<'a>, len: usize, mut f: impl FnMut(&mut Block<'a>, usize)) {
    let levels = w as usize - 6;
    assert_eq!(tile.words.len(), tile.tile_len * levels * 16);
    assert!(tile.from + len <= tile.tile_len);
    let mut b = Block { w, n: 0, roots: [0; BLOCK], x: [0; BLOCK], words: &[], stride: 0 };
    let mut done = 0;
    while done < len {
        let from = tile.from + done;
        let first = from / BLOCK * BLOCK;
        let width = BLOCK.min(tile.tile_len - first);
        let n = (first + width - from).min(len - done);
        if n < BLOCK {
            (b.roots, b.x) = ([0; BLOCK], [0; BLOCK]);
        }
        (b.n, b.stride) = (n, width * 16);
        b.words = &tile.words[(first * levels + from - first) * 16..(first + width) * levels * 16];
        roots.fill(from, &mut b.roots[..n]);
        f(&mut b, done);
        done += n;
    }
}

/// The lowest bit counts the bits of the leaf that `x` reaches, and on the right the whole left leaf, which is the
/// control bit of their parent `s` less the part of the right leaf above `x`.
#[inline(always)]
fn counted(leaf: u128, s: u128, x: u64) -> u64 {
    let side = x >> 7 & 1;
    let upto = u128::MAX >> (127 - (x & 127));
    let bits = leaf & (upto ^ (side as u128).wrapping_neg());
    bits.count_ones() as u64 ^ (s as u64 & side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Isa;
    use crate::prg::Streams;
    use crate::ring::ones;
    use crate::{KeySetId, Origin, PartyId, Site, TILE};

    const ORIGIN: Origin = Origin { set: KeySetId([4; 16]), segment: 1 };
    const AT: Site = Site { gate: 2, part: 3 };

    /// Keys of some secrets and both parties' answers on some points, on one rung.
    struct Case<R> {
        w: u32,
        from: usize,
        alpha: Vec<R>,
        x: Vec<R>,
    }

    impl<R: Ring> Case<R> {
        /// `len` keys; points for `n` of them from key `from` on: equal to alpha, next to it, at the ends, anywhere.
        fn new(w: u32, len: usize, from: usize, n: usize) -> Self {
            let draw = |field, len| Streams::from_key(&[w as u8; 16]).field(field).words::<u64>(0, len, 64);
            let secret = |v: &u64| if v.is_multiple_of(7) { ones(w) * (v >> 8 & 1) } else { *v };
            let alpha: Vec<u64> = draw(0, len).iter().map(secret).collect();
            let point = |(i, v): (usize, &u64)| {
                let a = alpha[from + i];
                match v % 6 {
                    0 => a,
                    1 => (a & ones(w)).saturating_sub(1),
                    2 => a.wrapping_add(1),
                    3 => a ^ (1 << ((v >> 8) % w as u64)),
                    4 => ones(w) * (v >> 8 & 1),
                    _ => *v,
                }
            };
            let x: Vec<u64> = draw(1, n).iter().enumerate().map(point).collect();
            // what lies above the w bits is of no account
            let ring = |v: Vec<u64>| v.into_iter().map(R::from_u64).collect();
            Case { w, from, x: ring(x), alpha: ring(alpha) }
        }
        fn roots(streams: &[Streams; 2]) -> [Roots<'_>; 2] {
            PartyId::BOTH.map(|p| Roots::new(streams[p.index()].field(9), p, 77))
        }
        fn play(&self, isa: Isa) -> (Vec<u8>, [Bits; 2]) {
            let streams = [1, 2].map(|b| Streams::on(isa, &[b; 16]));
            let (roots, hash) = (Self::roots(&streams), TreeHash::on(isa, ORIGIN, AT, 5));
            let mut words = vec![0; self.alpha.len() * (self.w as usize - 6) * 16];
            generate(&hash, self.w, roots, &self.alpha, &mut words);
            let tile = DpfTile { words: &words, tile_len: self.alpha.len(), from: self.from };
            let bits = roots.map(|r| evaluate(&hash, self.w, r, tile, &self.x));
            (words, bits)
        }
        fn check(&self) {
            let (words, bits) = self.play(Isa::Portable);
            let of = |v: R| v.low() & ones(self.w);
            let wanted = |i: usize| (of(self.alpha[self.from + i]) <= of(self.x[i])) as u64;
            assert_eq!(bits[0].xor(&bits[1]), Bits::from_fn(self.x.len(), wanted), "w = {}", self.w);
            for isa in Isa::here() {
                let (fast, answers) = self.play(isa);
                assert!(fast == words, "{isa:?}, w = {}: words of {} keys", self.w, self.alpha.len());
                assert!(answers == bits, "{isa:?}, w = {}: {} from {}", self.w, self.x.len(), self.from);
            }
        }
    }

    #[test]
    fn every_rung_gives_the_same_words_and_the_right_answers() {
        for w in 8..=63 {
            Case::<u64>::new(w, 70, 0, 70).check();
            if w <= 32 {
                Case::<u32>::new(w, 70, 0, 70).check();
            }
        }
        Case::<u32>::new(31, TILE, 0, TILE).check();
        Case::<u64>::new(19, TILE, 0, TILE).check();
    }

    /// Both parties' leaves add up to the one-hot of alpha, for any part of a tile.
    #[test]
    fn all_leaves_are_the_one_hot() {
        for isa in Isa::here() {
            for (w, len, from, n) in [(8, 40, 0, 40), (9, 70, 5, 64), (10, 33, 32, 1), (13, 9, 2, 7)] {
                let case = Case::<u32>::new(w, len, from, n);
                let streams = [1, 2].map(|b| Streams::on(isa, &[b; 16]));
                let (roots, hash) = (Case::<u32>::roots(&streams), TreeHash::on(isa, ORIGIN, AT, 5));
                let (words, _) = case.play(isa);
                let tile = DpfTile { words: &words, tile_len: len, from };
                let [a, b] = roots.map(|r| {
                    let mut all = vec![];
                    domain(&hash, w, r, tile, n, |done, leaves| {
                        assert_eq!(done << w, all.len() * 64);
                        all.extend_from_slice(leaves);
                    });
                    all
                });
                let found: Vec<u64> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
                assert_eq!(found.len() * 64, n << w);
                for (i, one) in found.chunks(1 << (w - 6)).enumerate() {
                    let alpha = (case.alpha[from + i].low() & ones(w)) as usize;
                    let wanted = |k: usize| if k == alpha / 64 { 1 << (alpha % 64) } else { 0 };
                    assert!((0..one.len()).all(|k| one[k] == wanted(k)), "{isa:?}, w = {w}, key {i}");
                }
            }
        }
    }

    #[test]
    fn any_part_of_a_tile_can_be_evaluated() {
        for len in [1, 2, 3, 5, 8, 31, 32, 33, 47, 64, 100] {
            for from in [0, 1, 4, 13, 31, 32, 33, 63, 90] {
                for n in [0, 1, 2, 7, 8, 9, 17, 32, 33, 100] {
                    if from + n <= len {
                        Case::<u32>::new(21, len, from, n).check();
                        Case::<u64>::new(8, len, from, n).check();
                    }
                }
            }
        }
    }
}
