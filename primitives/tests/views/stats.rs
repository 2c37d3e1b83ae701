//! One test function for everything a party sees: every bit, and the exclusive or of pairs of bits, against chance and
//! against every bit of a secret (reliability.md, rule 12).
//!
//! A *plane* is one bit of the view over all samples, 64 samples to a word; a count over a plane that is independent
//! of everything secret is binomial, so its deviation in units of `sqrt(samples)` is a z-score.

use crate::common::random;
use rayon::prelude::*;

/// Scores above this do not happen by chance: 2.6e-12 each.
pub const LIMIT: f64 = 7.0;

/// One bit of the view, sample after sample.
pub type Plane = Vec<u64>;

/// What one party sees, and what it must not learn.
#[derive(Default, Clone)]
pub struct View {
    planes: Vec<(String, Plane)>,
    groups: Vec<Vec<usize>>,
    secrets: Vec<(String, Plane)>,
    /// Bits of which all pairs are tested even where the view is large.
    stressed: Vec<usize>,
    /// Bits of which all triples are tested.
    edges: Vec<usize>,
    /// Secrets that pairs and triples are held against; all if empty.
    for_pairs: Vec<usize>,
}

/// The largest score found, and where.
#[derive(Clone, Debug)]
pub struct Finding {
    pub z: f64,
    pub what: String,
}

/// Bits of `values`, lowest first: with `lanes` values per sample, all bits of lane 0, then of lane 1, ...
pub fn planes(values: &[u128], width: u32, lanes: usize) -> Vec<Plane> {
    assert_eq!(values.len() % (64 * lanes), 0, "whole words of samples");
    let bit = |lane: usize, k: u32| {
        let word = |w: &[u128]| (0..64).fold(0, |acc, j| acc | ((w[j * lanes + lane] >> k) as u64 & 1) << j);
        values.chunks_exact(64 * lanes).map(word).collect()
    };
    (0..lanes)
        .flat_map(|l| (0..width).map(move |k| (l, k)))
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(l, k)| bit(l, k))
        .collect()
}

/// Bitwise exclusive or of two planes.
pub fn xor(a: &[u64], b: &[u64]) -> Plane {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

impl View {
    /// Adds bits; the range of their numbers.
    pub fn see(&mut self, name: &str, planes: Vec<Plane>) -> std::ops::Range<usize> {
        let from = self.planes.len();
        self.planes.extend(planes.into_iter().enumerate().map(|(i, p)| (format!("{name}[{i}]"), p)));
        from..self.planes.len()
    }
    /// Adds bits of which all pairs are tested too.
    pub fn see_paired(&mut self, name: &str, planes: Vec<Plane>) {
        let range = self.see(name, planes);
        self.pair(range);
    }
    /// All pairs of these bits are tested.
    pub fn pair(&mut self, bits: impl IntoIterator<Item = usize>) {
        self.groups.push(bits.into_iter().collect());
    }
    /// All pairs of all bits seen so far are tested.
    pub fn pair_all(&mut self) {
        self.pair(0..self.planes.len());
    }
    /// Marks bits for [`View::pair_stressed`].
    pub fn stress(&mut self, bits: std::ops::Range<usize>) {
        self.stressed.extend(bits);
    }
    /// All pairs of the marked bits are tested.
    pub fn pair_stressed(&mut self) {
        self.groups.push(self.stressed.clone());
    }
    /// All triples of the lowest and highest bits of such values of `width` bits are tested: a mask that serves twice may
    /// show only together with a bit that all know.
    pub fn triple(&mut self, bits: std::ops::Range<usize>, width: u32) {
        self.edges.extend(bits.step_by(width as usize).flat_map(|low| [low, low + width as usize - 1]));
        self.edges.dedup();
    }
    /// Tests triples of the last so many edges only.
    pub fn thin_triples(&mut self, last: usize) {
        self.edges.drain(..self.edges.len().saturating_sub(last));
    }
    /// Adds bits of a secret.
    pub fn keep(&mut self, name: &str, planes: Vec<Plane>) {
        self.secrets.extend(planes.into_iter().enumerate().map(|(i, p)| (format!("{name}[{i}]"), p)));
    }
    /// Holds pairs against every `step`-th secret only (and the last), to bound the time of large views.
    pub fn thin(&mut self, step: usize) {
        self.for_pairs =
            (0..self.secrets.len()).filter(|i| i % step == 0 || i + 1 == self.secrets.len()).collect();
    }
    /// Number of bits seen.
    pub fn len(&self) -> usize {
        self.planes.len()
    }
    fn samples(&self) -> usize {
        self.planes[0].1.len() * 64
    }

    /// The largest score of any bit, pair and triple, alone and against the secrets.
    pub fn worst(&self) -> Finding {
        let all: Vec<usize> = (0..self.secrets.len()).collect();
        let some = if self.for_pairs.is_empty() { &all } else { &self.for_pairs };
        let single = |i: usize| self.against(&self.planes[i].1, &all, [i; 3]);
        let singles = (0..self.planes.len()).into_par_iter().map(single);
        let firsts: Vec<(&Vec<usize>, usize)> =
            self.groups.iter().flat_map(|g| (0..g.len()).map(move |i| (g, i))).collect();
        let pairs = firsts.into_par_iter().flat_map_iter(|(g, i)| {
            let pair = move |&j: &usize| {
                self.against(&xor(&self.planes[g[i]].1, &self.planes[j].1), some, [g[i], j, j])
            };
            g[i + 1..].iter().map(pair)
        });
        let edges = &self.edges;
        let seconds: Vec<[usize; 2]> = (0..edges.len()).flat_map(|i| (0..i).map(move |j| [i, j])).collect();
        let triples = seconds.into_par_iter().flat_map_iter(|[i, j]| {
            let two = xor(&self.planes[edges[i]].1, &self.planes[edges[j]].1);
            let triple =
                move |&k: &usize| self.against(&xor(&two, &self.planes[k].1), some, [edges[i], edges[j], k]);
            edges[..j].iter().map(triple)
        });
        let best = |a: Score, b: Score| if b.count > a.count { b } else { a };
        let found = singles.chain(pairs).chain(triples).reduce(Score::default, best);
        let mut bits = found.bits.to_vec();
        bits.dedup();
        let names: Vec<&str> = bits.iter().map(|&b| &self.planes[b].0[..]).collect();
        let secret = found.secret.map_or("a fair coin", |s| &self.secrets[s].0);
        Finding { z: self.z(found.count), what: format!("{} against {secret}", names.join(" xor ")) }
    }
    fn z(&self, count: u64) -> f64 {
        count as f64 / (self.samples() as f64).sqrt()
    }
    /// Largest `|2 ones - samples|` of a plane, made of `bits`, alone and against secrets.
    fn against(&self, p: &[u64], secrets: &[usize], bits: [usize; 3]) -> Score {
        let off = |ones: u64| (2 * ones).abs_diff(self.samples() as u64);
        let alone = Score { count: off(ones(p)), bits, secret: None };
        secrets.iter().fold(alone, |best, &s| {
            let count = off(disagreements(p, &self.secrets[s].1));
            if count > best.count { Score { count, bits, secret: Some(s) } } else { best }
        })
    }
    /// The score of one pair of bits against one secret.
    pub fn score(&self, [i, j]: [usize; 2], secret: usize) -> f64 {
        let p = xor(&xor(&self.planes[i].1, &self.planes[j].1), &self.secrets[secret].1);
        self.z((2 * ones(&p)).abs_diff(self.samples() as u64))
    }
    /// Largest score of the difference of any bit or pair between two views made alike.
    pub fn worst_difference(&self, other: &View) -> Finding {
        assert_eq!(self.len(), other.len());
        let scale = (self.samples() as f64 / 2.0).sqrt();
        let z = |i: usize| ones(&self.planes[i].1).abs_diff(ones(&other.planes[i].1)) as f64 / scale;
        let worst = (0..self.len()).map(|i| (z(i), i)).max_by(|a, b| a.0.total_cmp(&b.0)).expect("not empty");
        Finding { z: worst.0, what: format!("{} between two inputs", self.planes[worst.1].0) }
    }
}

#[derive(Clone, Copy, Default)]
struct Score {
    count: u64,
    /// Bits of the view; repeated where there are fewer.
    bits: [usize; 3],
    secret: Option<usize>,
}

impl Finding {
    /// Nothing beyond chance.
    #[track_caller]
    pub fn clean(&self, what: &str) {
        eprintln!("{what}: worst |z| = {:.2}, {}", self.z, self.what);
        assert!(self.z < LIMIT, "{what}: |z| = {:.1}, {}", self.z, self.what);
    }
    /// The leak that was planted is found.
    #[track_caller]
    pub fn caught(&self, what: &str) {
        eprintln!("{what}: caught with |z| = {:.1}, {}", self.z, self.what);
        assert!(self.z >= LIMIT, "{what} was not noticed: |z| = {:.1}, {}", self.z, self.what);
    }
}

/// Full adder on 64 columns: (sum, carry).
#[inline(always)]
fn add(a: u64, b: u64, c: u64) -> (u64, u64) {
    let u = a ^ b;
    (u ^ c, (a & b) | (u & c))
}

fn ones(a: &[u64]) -> u64 {
    a.iter().map(|w| w.count_ones() as u64).sum()
}

/// Samples in which two planes differ. Carry-save adders leave one software popcount per eight words (Harley and Seal).
fn disagreements(a: &[u64], b: &[u64]) -> u64 {
    let (mut x, mut y) = (a.chunks_exact(8), b.chunks_exact(8));
    let (mut o, mut t, mut f, mut eights) = (0, 0, 0, 0);
    for (a, b) in x.by_ref().zip(y.by_ref()) {
        let (s1, t1) = add(o, a[0] ^ b[0], a[1] ^ b[1]);
        let (s2, t2) = add(s1, a[2] ^ b[2], a[3] ^ b[3]);
        let (s3, t3) = add(s2, a[4] ^ b[4], a[5] ^ b[5]);
        let (s4, t4) = add(s3, a[6] ^ b[6], a[7] ^ b[7]);
        let (u1, f1) = add(t, t1, t2);
        let (u2, f2) = add(u1, t3, t4);
        let (v, e) = add(f, f1, f2);
        (o, t, f) = (s4, u2, v);
        eights += e.count_ones() as u64;
    }
    let rest = ones(&xor(x.remainder(), y.remainder()));
    8 * eights + 4 * ones(&[f]) + 2 * ones(&[t]) + ones(&[o]) + rest
}

#[test]
fn counts_and_scores_are_right() {
    let (a, b) = (random(1, 100), random(2, 100));
    assert_eq!(disagreements(&a, &b), ones(&xor(&a, &b)));
    assert_eq!(planes(&(0..64).collect::<Vec<_>>(), 1, 1), [vec![0xaaaa_aaaa_aaaa_aaaa]]);
    assert_eq!(
        planes(&(0..128).collect::<Vec<_>>(), 2, 2)[2..],
        [vec![u64::MAX], vec![0xaaaa_aaaa_aaaa_aaaa]]
    );
    let mut v = View::default();
    v.see("fair", vec![a.clone(), b.clone()]);
    v.keep("other", vec![random(3, 100)]);
    v.worst().clean("independent bits");
    let mut equal = v.clone();
    equal.keep("same", vec![a.clone()]);
    assert_eq!(equal.worst().z, 80.0, "6,400 samples, all the same");
    let mut pair = v.clone();
    pair.keep("xor", vec![xor(&a, &b)]);
    pair.worst().clean("a pair that is not tested");
    pair.pair_all();
    pair.worst().caught("a secret shared between two bits");
    let mut triple = v.clone();
    let third = triple.see("third", vec![xor(&random(3, 100), &xor(&a, &b))]);
    triple.pair_all();
    triple.worst().clean("a triple that is not tested");
    triple.triple(0..2, 2);
    triple.triple(third, 1);
    triple.worst().caught("a secret shared between three bits");
}
