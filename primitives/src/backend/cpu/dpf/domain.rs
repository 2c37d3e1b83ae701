//! All leaves of half-tree keys: shares, by exclusive or, of the one-hot of alpha. Level by level for a block of keys at
//! once, so that the hash is asked for many blocks of AES together, which makes one text fast on every rung.

use super::portable::{mask, word};
use super::{BLOCK, Block};
use crate::prg::TreeHash;

/// The leaves of the keys of a block, key behind key: `2^w` bits each, in words of 64.
pub(super) fn leaves(hash: &TreeHash, b: &Block) -> Vec<u64> {
    // node by node, each of all keys
    let mut states = b.roots[..b.n].to_vec();
    for level in 0..b.w - 8 {
        let left = corrected(hash, b, level, &states, states.clone());
        let mut children = vec![0; 2 * states.len()];
        let nodes = left.chunks_exact(b.n).zip(states.chunks_exact(b.n));
        for (both, (left, states)) in children.chunks_exact_mut(2 * b.n).zip(nodes) {
            let (to_left, to_right) = both.split_at_mut(b.n);
            to_left.copy_from_slice(left);
            to_right.iter_mut().zip(left.iter().zip(states)).for_each(|(r, (l, s))| *r = l ^ s);
        }
        states = children;
    }
    let each = 4 * states.len() / b.n;
    let mut out = vec![0; each * b.n];
    for side in 0..2 {
        let inputs = states.iter().map(|s| s & !1 | side as u128).collect();
        let leaves = corrected(hash, b, b.w - 8 + side as u32, &states, inputs);
        for (node, leaves) in leaves.chunks_exact(b.n).enumerate() {
            for (leaf, out) in leaves.iter().zip(out.chunks_exact_mut(each)) {
                let at = 4 * node + 2 * side;
                (out[at], out[at + 1]) = (*leaf as u64, (leaf >> 64) as u64);
            }
        }
    }
    out
}

/// Hashes of `inputs`, with the word of a level added where the control bit of the node's state says so.
fn corrected(hash: &TreeHash, b: &Block, level: u32, states: &[u128], mut inputs: Vec<u128>) -> Vec<u128> {
    hash.apply(&mut inputs);
    let (bytes, mut words) = (b.level(level), [0; BLOCK]);
    words[..b.n].iter_mut().enumerate().for_each(|(i, to)| *to = word(bytes, i));
    for (hashes, states) in inputs.chunks_exact_mut(b.n).zip(states.chunks_exact(b.n)) {
        for ((h, s), word) in hashes.iter_mut().zip(states).zip(&words) {
            *h ^= mask(*s as u64) & word;
        }
    }
    inputs
}
