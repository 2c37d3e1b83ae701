//! Both comparisons against an independent implementation: the distributed comparison function of `fss-rs` with
//! exclusive-or output, with our half-tree hash plugged in as its generator.
//!
//! Of that crate only this part is right: its own generators give alpha away (see `views`), and its comparison is wrong
//! for integer groups. Inputs are big-endian, and with a bit filter they are left-aligned.

use crate::common::{ORIGIN, deal_at, full, random};
use fss_rs::Prg;
use fss_rs::dcf::{BoundState, CmpFn, Dcf, DcfImpl};
use fss_rs::group::Group;
use fss_rs::group::byte::ByteGroup;
use rayon::prelude::*;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Relu;
use twoply_primitives::prg::{Streams, TreeHash};
use twoply_primitives::ring::ones;
use twoply_primitives::*;

/// Five blocks of our hash: two children, two values, one block for the control bits.
struct Ours(TreeHash);

impl Prg<16, 2> for Ours {
    fn r#gen(&self, seed: &[u8; 16]) -> [([[u8; 16]; 2], bool); 2] {
        let s = u128::from_le_bytes(*seed);
        let mut h: [u128; 5] = std::array::from_fn(|i| s ^ i as u128);
        self.0.apply(&mut h);
        let side = |i: usize| ([h[i].to_le_bytes(), h[2 + i].to_le_bytes()], h[4] >> i & 1 == 1);
        [side(0), side(1)]
    }
}

/// `[x < alpha]` by the oracle, from both parties' evaluations of its keys.
fn oracle(w: u32, alpha: u64, x: u64, entropy: u64) -> bool {
    let dcf = DcfImpl::<8, 16, _>::new_with_filter(
        Ours(TreeHash::new(ORIGIN, Site { gate: 7, part: 7 }, 7)),
        w as usize,
    );
    let aligned = |v: u64| (v << (64 - w)).to_be_bytes();
    let roots = random(entropy, 4);
    let root = |p: usize| ((roots[2 * p] as u128) << 64 | roots[2 * p + 1] as u128).to_le_bytes();
    let f = CmpFn { alpha: aligned(alpha), beta: ByteGroup([1; 16]), bound: BoundState::LtAlpha };
    let key = dcf.r#gen(&f, [&root(0), &root(1)]);
    let shares = [0, 1].map(|p| {
        let (mut y, mut half) = (ByteGroup::zero(), key.clone());
        half.s0s = vec![key.s0s[p]];
        dcf.eval(p == 1, &half, &[&aligned(x)], &mut [&mut y]);
        y
    });
    let [a, b] = shares;
    let y = (a + b).0;
    assert!(y == [0; 16] || y == [1; 16]);
    y[0] == 1
}

/// Random pairs, equal and neighbouring ones, pairs that differ in one bit only, both ends.
fn pairs(w: u32, len: usize) -> Vec<(u64, u64)> {
    let (v, top) = (random(w as u64, 3 * len), ones(w));
    let pair = |i: usize| {
        let (a, x, kind) = (v[3 * i] & top, v[3 * i + 1] & top, v[3 * i + 2]);
        match kind % 8 {
            0 => (a, a),
            1 => (a, a.wrapping_add(1) & top),
            2 => (a, a.wrapping_sub(1) & top),
            3 => (a, a ^ 1 << (kind / 8 % w as u64)),
            4 => ([0, 1, top, top - 1, 127, 128][kind as usize / 8 % 6] & top, x),
            5 => (a, [0, 1, top, top - 1, 127, 128][kind as usize / 8 % 6] & top),
            6 => ([0, top][kind as usize / 8 % 2], [0, top][kind as usize / 16 % 2]),
            _ => (a, x),
        }
    };
    (0..len).map(pair).collect()
}

/// `[alpha <= x]` by our comparison, read off the sign that a ReLU opens: `[t >= 0] = msb X xor msb R xor [R_low <= X_low]`.
fn ours<R: Ring>(scheme: Scheme, w: u32, pairs: &[(u64, u64)]) -> Vec<bool> {
    let (m, top) = (w + 1, random(5, 2 * pairs.len()));
    let word = |low: u64, i: usize| low | (top[i] & 1) << w;
    let r: Vec<R> = pairs.iter().enumerate().map(|(i, p)| R::from_u64(word(p.0, 2 * i))).collect();
    let x: Vec<R> = pairs.iter().enumerate().map(|(i, p)| R::from_u64(word(p.1, 2 * i + 1))).collect();
    let gate = Relu { scheme, shift: 0, out: R::BITS };
    let dealt = deal_at(&gate, &r, m, 9 + w as u64);
    let log = &dealt.play_masked(&gate, std::slice::from_ref(&x)).logs[0];
    let (sent, received) = (log.sent.concat(), log.received.concat());
    // before the result and the transcript
    let at = sent.len() - 32 - pairs.len() * R::BITS as usize / 8 - pairs.len().div_ceil(8);
    // the parties' own bits of the field that masks the sign, `gate/predicate.rs`
    let own = [0, 1].map(|p| {
        let streams = Streams::new(&dealt.seeds[p], ORIGIN, Site { gate: dealt.gate, part: 0 });
        streams.field(0x100).bytes(0, pairs.len().div_ceil(8))
    });
    let bit = |b: &[u8], i: usize| b[i / 8] >> (i % 8) & 1;
    let sign = |i: usize| {
        let rho = bit(&own[0], i) ^ bit(&own[1], i) ^ (r[i].low() >> w) as u8;
        bit(&sent[at..], i) ^ bit(&received[at..], i) ^ rho
    };
    (0..pairs.len()).map(|i| sign(i) ^ (x[i].low() >> w) as u8 ^ (r[i].low() >> w) as u8 == 1).collect()
}

fn agree<R: Ring>(w: u32) {
    let pairs = pairs(w, if full() { 40_000 } else { 3_000 });
    let wanted: Vec<bool> =
        pairs.par_iter().enumerate().map(|(i, &(alpha, x))| !oracle(w, alpha, x, i as u64)).collect();
    assert!(pairs.iter().zip(&wanted).all(|(&(alpha, x), &w)| w == (alpha <= x)), "the oracle itself");
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let got = ours::<R>(scheme, w, &pairs);
        let wrong = (0..pairs.len()).find(|&i| got[i] != wanted[i]);
        assert_eq!(wrong.map(|i| pairs[i]), None, "{scheme} of {w} bits differs from the oracle");
    }
}

#[test]
fn both_comparisons_agree_with_the_oracle() {
    agree::<u32>(8);
    agree::<u32>(19);
    agree::<u32>(31);
    agree::<u64>(63);
}
