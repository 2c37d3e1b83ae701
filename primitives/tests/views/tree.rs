//! Half-tree keys as a party holds them, and a plain generator of them, one key at a time, into which faults can be built.

use crate::common::{ORIGIN, Store, random, seeds};
use rayon::prelude::*;
use twoply_primitives::backend::DPF_BLOCK;
use twoply_primitives::compare::{Comparison, Widths, dpf::Dpf};
use twoply_primitives::prg::{Streams, TreeHash};
use twoply_primitives::*;

/// Field of the roots in `compare/dpf.rs`; `parties_reach_the_same_leaf` fails if it is another.
const ROOTS: u32 = 0x1000;
/// Where the keys are dealt.
const AT: Site = Site { gate: 0, part: 0 };

/// Half-tree keys of `w` bits for many secrets.
pub struct Keys {
    pub w: u32,
    pub alpha: Vec<u64>,
    /// Both parties' roots.
    pub roots: [Vec<u128>; 2],
    /// Correction words, level by level; the last two are those of the leaves.
    pub words: Vec<Vec<u128>>,
}

/// Faults of generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// The right child is the left one.
    EqualChildren,
    /// The correction word does not carry the difference of the parties' seeds.
    NoDelta,
    /// The correction of the control bit is sent in the open.
    OpenControlBit,
}

/// `len` secrets of `w` bits.
pub fn secrets(w: u32, len: usize, entropy: u64) -> Vec<u64> {
    random(entropy, len).into_iter().map(|v| v & ring::ones(w)).collect()
}

fn hash(tile: usize) -> TreeHash {
    TreeHash::new(ORIGIN, AT, tile as u64 * 2)
}

impl Keys {
    /// Dealt as a gate deals them.
    pub fn deal(w: u32, alpha: Vec<u64>, entropy: u64) -> Self {
        let (comparison, seeds, dev) = (Dpf::new(Widths { w, low: None }), seeds(entropy), Cpu::<u64>::new());
        let part = Part { elements: alpha.len(), fields: Comparison::<Cpu<u64>>::fields(&comparison) };
        let mut store = Store::default();
        let mut d = Deal::new(dev, seeds.clone(), ORIGIN, 1, &mut store);
        d.tiles("keys", 0, &part, |t| comparison.deal(t, &t.part_of(&alpha))).unwrap();
        let roots = [0u8, 1].map(|p| {
            let streams = Streams::new(&seeds[p as usize], ORIGIN, AT);
            let bytes = streams.field(ROOTS).bytes(0, alpha.len() * 16);
            bytes.chunks_exact(16).map(|c| word(c) & !1 | p as u128).collect()
        });
        let mut words = vec![vec![]; w as usize - 6];
        for tile in 0..part.tiles() {
            let [p0, p1] = PartyId::BOTH.map(|p| store.bytes(AT, tile, p));
            assert_eq!(p0, p1, "correction words are common");
            for block in p0.chunks(DPF_BLOCK * words.len() * 16) {
                let each = block.len() / words.len();
                words
                    .iter_mut()
                    .zip(block.chunks(each))
                    .for_each(|(l, b)| l.extend(b.chunks_exact(16).map(word)));
            }
        }
        Keys { w, alpha, roots, words }
    }

    /// The same by the definition, with a fault.
    pub fn plain(w: u32, alpha: Vec<u64>, roots: [Vec<u128>; 2], fault: Fault) -> Self {
        let tiles: Vec<usize> = (0..alpha.len().div_ceil(TILE)).collect();
        let tile = |t: &usize| {
            let hash = hash(*t);
            let one = |i| generate(&hash, w, [roots[0][i], roots[1][i]], alpha[i], fault);
            (t * TILE..alpha.len().min((t + 1) * TILE)).map(one).collect::<Vec<_>>()
        };
        let keys: Vec<Vec<u128>> = tiles.par_iter().flat_map_iter(tile).collect();
        let words = (0..w as usize - 6).map(|l| keys.iter().map(|k| k[l]).collect()).collect();
        Keys { w, alpha, roots, words }
    }

    /// What one party computes on the paths of `x`, one per key: its seeds at every level, and its leaf.
    pub fn walk(&self, party: usize, x: impl Fn(usize) -> u64 + Sync) -> Vec<Vec<u128>> {
        let tiles: Vec<usize> = (0..self.alpha.len().div_ceil(TILE)).collect();
        let tile = |t: &usize| {
            let hash = hash(*t);
            let range = t * TILE..self.alpha.len().min((t + 1) * TILE);
            range.map(|i| self.path(&hash, party, i, x(i))).collect::<Vec<_>>()
        };
        let paths: Vec<Vec<u128>> = tiles.par_iter().flat_map_iter(tile).collect();
        (0..paths[0].len()).map(|l| paths.iter().map(|p| p[l]).collect()).collect()
    }

    fn path(&self, hash: &TreeHash, party: usize, key: usize, x: u64) -> Vec<u128> {
        let (mut s, mut out) = (self.roots[party][key], vec![]);
        for level in 0..self.w as usize - 8 {
            let left = apply(hash, s) ^ (mask(s) & self.words[level][key]);
            let right = left ^ s;
            assert_ne!(left, right, "children of a node must differ: level {level} of key {key}");
            s = if x >> (self.w as usize - 1 - level) & 1 == 1 { right } else { left };
            out.push(s);
        }
        let side = (x >> 7 & 1) as usize;
        out.push(
            apply(hash, s & !1 | side as u128) ^ (mask(s) & self.words[self.w as usize - 8 + side][key]),
        );
        out
    }
}

fn generate(hash: &TreeHash, w: u32, roots: [u128; 2], alpha: u64, fault: Fault) -> Vec<u128> {
    let delta = roots[0] ^ roots[1];
    let (mut s, mut out) = (roots, vec![]);
    for level in 0..w - 8 {
        let right = alpha >> (w - 1 - level) & 1 == 1;
        let h = s.map(|s| apply(hash, s));
        let correction = if right || fault == Fault::NoDelta { 0 } else { delta };
        let mut word = h[0] ^ h[1] ^ correction;
        if fault == Fault::OpenControlBit {
            word = word & !1 | (!right) as u128;
        }
        out.push(word);
        for p in [0, 1] {
            let left = h[p] ^ (mask(s[p]) & word);
            s[p] = if right && fault != Fault::EqualChildren { left ^ s[p] } else { left };
        }
    }
    for side in [0, 1] {
        let h = s.map(|s| apply(hash, s & !1 | side));
        let here = alpha as u128 >> 7 & 1 == side;
        out.push(h[0] ^ h[1] ^ if here { 1 << (alpha & 127) } else { 0 });
    }
    out
}

fn apply(hash: &TreeHash, s: u128) -> u128 {
    let mut one = [s];
    hash.apply(&mut one);
    one[0]
}

fn mask(s: u128) -> u128 {
    (s & 1).wrapping_neg()
}

fn word(bytes: &[u8]) -> u128 {
    u128::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

#[test]
fn the_plain_generator_gives_the_same_keys() {
    for w in [8, 9, 19, 31, 63] {
        let alpha = secrets(w, TILE + 77, 40);
        let keys = Keys::deal(w, alpha.clone(), 41);
        assert!(keys.words == Keys::plain(w, alpha, keys.roots.clone(), Fault::None).words, "w = {w}");
    }
}

#[test]
fn parties_reach_the_same_leaf() {
    let keys = Keys::deal(19, secrets(19, 2 * TILE, 42), 43);
    let leaves = |x: &(dyn Fn(usize) -> u64 + Sync)| -> Vec<u128> {
        let [a, b] = [0, 1].map(|p| keys.walk(p, x).pop().unwrap());
        a.iter().zip(&b).map(|(a, b)| a ^ b).collect()
    };
    let off = leaves(&|i| keys.alpha[i] ^ (1 << (7 + i % 12)));
    assert!(off.iter().all(|&leaf| leaf == 0), "equal leaves off the path");
    let on = leaves(&|i| keys.alpha[i]);
    assert!(on.iter().zip(&keys.alpha).all(|(leaf, a)| *leaf == 1 << (a & 127)), "one bit on it");
}
