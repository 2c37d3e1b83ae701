//! Digit tables: the w bits of alpha split into digits, each shared as a one-hot table of its tiny domain.
//!
//! With public digits `y_i`: `e_i = T_i[y_i]` says equal, `l_i = parity(T_i[> y_i])` says smaller, and
//! `[y < alpha] = xor_i l_i prod_{j<i} e_j`. The parties open `l_i + a_i` and `e_j + b_j` and finish with dealt shares
//! of the products of the masks (Ohata, Nuida 2019). Digits and tables as in CrypTFlow2 and one-time truth tables.
//!
//! `a_i` and `b_j` are free: sums of both parties' expansions. Only products of two or more masks are stored, so P1
//! keeps `sum 2^m_i + 3 * 2^(k-1) - 2 - (2k - 1)` bits and P0 nothing.

use super::{Comparison, Outcome, Widths};
use crate::bits::Bits;
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, PartyId, Result};

/// Largest digit: a table of 128 bits.
const MAX_DIGIT: u32 = 7;
/// More digits than this make the merge (2^k terms) costlier than the tables it saves.
const MAX_DIGITS: usize = 10;

const TABLE: u32 = 0x1000;
const MASK_A: u32 = 0x2000;
const MASK_B: u32 = 0x3000;
/// Products of `b_j` over a set S are field `PROD_B + S`; with `a_i` before them, `PROD_A + (i << 16) + S`.
const PROD_B: u32 = 0x80_0000;
const PROD_A: u32 = 0x100_0000;

/// Comparison by digit tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Digit widths, highest first.
    split: Vec<u32>,
    /// First digit of the second predicate.
    low: Option<usize>,
}

/// Bits per element of the products that P1 stores for `k` digits.
fn product_bits(k: usize) -> u64 {
    3 * (1 << (k - 1)) - 2 - (2 * k as u64 - 1)
}

/// Bits per element that P1 stores for a split.
fn stored_bits(split: &[u32]) -> u64 {
    split.iter().map(|m| 1u64 << m).sum::<u64>() + product_bits(split.len())
}

/// The cheapest split of `w` bits into digits; with `low`, one that has a boundary at bit `low`.
fn best_split(widths: Widths) -> Vec<u32> {
    // For a given number of digits the sum of 2^m is least when they are as equal as possible.
    let even = |bits: u32, k: u32| (0..k).map(move |i| bits / k + (i < bits % k) as u32);
    let counts = |bits: u32| {
        let least = bits.div_ceil(MAX_DIGIT);
        least..=bits.min(least + 4)
    };
    let splits: Vec<Vec<u32>> = match widths.low {
        None => counts(widths.w).map(|k| even(widths.w, k).collect()).collect(),
        Some(low) => counts(widths.w - low)
            .flat_map(|hi| counts(low).map(move |lo| even(widths.w - low, hi).chain(even(low, lo)).collect()))
            .collect(),
    };
    let cheapest =
        splits.into_iter().filter(|s: &Vec<u32>| s.len() <= MAX_DIGITS).min_by_key(|s| stored_bits(s));
    cheapest.unwrap_or_else(|| vec![widths.w])
}

impl Digits {
    /// The cheapest split at these widths; `1 <= w <= 63`.
    pub fn new(widths: Widths) -> Self {
        let split = best_split(widths);
        let first = |low: u32| (0..split.len()).find(|&i| split[i..].iter().sum::<u32>() == low);
        let low = widths.low.and_then(first);
        Digits { split, low }
    }
    /// Digit widths, highest first.
    pub fn split(&self) -> &[u32] {
        &self.split
    }
    fn k(&self) -> usize {
        self.split.len()
    }
    /// `(digit, bits below it, width)`, highest first.
    fn digits(&self) -> Vec<(u32, u32, u32)> {
        let mut shift: u32 = self.split.iter().sum();
        let digit = |(i, &m): (usize, &u32)| {
            shift -= m;
            (i as u32, shift, m)
        };
        self.split.iter().enumerate().map(digit).collect()
    }
    /// Sets of two or more of the digits but the last, as bit masks.
    fn pairs(&self) -> impl Iterator<Item = u32> + use<> {
        (1..1u32 << (self.k() - 1)).filter(|s| s.count_ones() > 1)
    }
}

impl<B: Backend> Comparison<B> for Digits {
    type Pending = (TileKey<B>, Masks);

    fn fields(&self) -> [Vec<u32>; 2] {
        let tables = self.split.iter().map(|m| 1u32 << m);
        [vec![], tables.chain((0..product_bits(self.k())).map(|_| 1)).collect()]
    }

    fn message_bits(&self) -> usize {
        2 * self.k() - 1
    }

    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf) {
        for (i, shift, m) in self.digits() {
            let table = t.dev().one_hot(alpha, shift, m);
            t.table(TABLE + i, table, 1 << m);
        }
        let sum = |[x, y]: [Bits; 2]| x.xor(&y);
        let a: Vec<Bits> = (0..self.k() as u32).map(|i| sum(t.free_bits(MASK_A + i))).collect();
        let b: Vec<Bits> = (0..self.k() as u32 - 1).map(|j| sum(t.free_bits(MASK_B + j))).collect();
        let prod = subset_products(&b, t.range().len());
        for s in self.pairs() {
            t.bit(PROD_B + s, &prod[s as usize]);
        }
        for (i, a) in a.iter().enumerate() {
            for s in 1..1u32 << i {
                t.bit(PROD_A + ((i as u32) << 16) + s, &a.and(&prod[s as usize]));
            }
        }
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Bits, Self::Pending)> {
        let dev = t.dev().clone();
        let mut message = Bits::default();
        let mut masks = Masks { a: vec![], b: vec![] };
        for (i, shift, m) in self.digits() {
            let (equal, less) = dev.digit_lookup(&t.table(TABLE + i, 1 << m)?, x, shift);
            let mask = t.own_bits(MASK_A + i);
            message.append(&less.xor(&mask));
            masks.a.push(mask);
            if i as usize + 1 < self.k() {
                let mask = t.own_bits(MASK_B + i);
                message.append(&equal.xor(&mask));
                masks.b.push(mask);
            }
        }
        Ok((message, (t, masks)))
    }

    fn finish(&self, (mut t, masks): Self::Pending, opened: &Bits) -> Result<(Outcome, TileKey<B>)> {
        let (n, k) = (t.len(), self.k());
        let plane = |p: usize| opened.slice(p * n, n);
        // The empty product is the constant 1, which P0 holds.
        let one = if t.me() == PartyId::P0 { Bits::zeros(n).not() } else { Bits::zeros(n) };
        let mut b = vec![Bits::default(); 1 << (k - 1)];
        b[0] = one.clone();
        masks.b.into_iter().enumerate().for_each(|(j, mask)| b[1 << j] = mask);
        for s in self.pairs() {
            b[s as usize] = t.bit(PROD_B + s)?;
        }
        let mut a = Vec::with_capacity(k);
        for (i, mask) in masks.a.into_iter().enumerate() {
            let mut row = vec![mask];
            for s in 1..1u32 << i {
                row.push(t.bit(PROD_A + ((i as u32) << 16) + s)?);
            }
            a.push(row);
        }
        let merge = Merge {
            l: (0..k).map(|i| plane(2 * i)).collect(),
            e: (0..k - 1).map(|j| plane(2 * j + 1)).collect(),
            a,
            b,
        };
        let predicate = |from| merge.less(from, n).xor(&one); // from [x < alpha] to [alpha <= x]
        Ok((Outcome { full: predicate(0), low: self.low.map(predicate) }, t))
    }
}

/// One party's masks of a tile: of the `l_i` and of the `e_j`.
pub struct Masks {
    a: Vec<Bits>,
    b: Vec<Bits>,
}

/// `prod_{j in S} b_j` for every set S.
fn subset_products(b: &[Bits], len: usize) -> Vec<Bits> {
    let mut out = vec![Bits::zeros(len).not()];
    for b in b {
        let with: Vec<Bits> = out.iter().map(|p| p.and(b)).collect();
        out.extend(with);
    }
    out
}

/// What a party needs to multiply out `xor_i l_i prod_{j<i} e_j`: opened `L_i = l_i + a_i` and `E_j = e_j + b_j`, and
/// its shares of `a_i prod_{j in S} b_j` and of `prod_{j in S} b_j`.
struct Merge {
    l: Vec<Bits>,
    e: Vec<Bits>,
    a: Vec<Vec<Bits>>,
    b: Vec<Bits>,
}

impl Merge {
    /// Share of `[x < alpha]` over the digits `from..`.
    fn less(&self, from: usize, n: usize) -> Bits {
        Bits::from_words((0..n.div_ceil(64)).map(|w| self.word(w, from)).collect(), n)
    }

    /// 64 elements. With `l_i = L_i + a_i` and `e_j = E_j + b_j` the product is the sum over all sets S of
    /// `prod_{j not in S} E_j * (L_i prod_{j in S} b_j + a_i prod_{j in S} b_j)`.
    fn word(&self, w: usize, from: usize) -> u64 {
        let mut acc = 0;
        // public[S]: product of E_j over from <= j < i that are not in S; S counts from digit `from`.
        let mut public = vec![u64::MAX];
        for i in from..self.l.len() {
            let opened = self.l[i].words()[w];
            for (s, p) in public.iter().enumerate() {
                let set = s << from;
                acc ^= p & (opened & self.b[set].words()[w] ^ self.a[i][set].words()[w]);
            }
            if let Some(e) = self.e.get(i) {
                let e = e.words()[w];
                let mut next: Vec<u64> = public.iter().map(|p| p & e).collect();
                next.append(&mut public);
                public = next;
            }
        }
        acc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_the_cheapest() {
        let split = |w, low| Digits::new(Widths { w, low });
        assert_eq!(split(19, None).split(), [4, 4, 4, 4, 3]);
        assert_eq!(split(31, None).split(), [6, 5, 5, 5, 5, 5]);
        assert_eq!(stored_bits(split(19, None).split()), 72 + 37);
        for w in 1..=63 {
            assert_eq!(split(w, None).split().iter().sum::<u32>(), w);
            for low in 1..w {
                let d = split(w, Some(low));
                assert_eq!(d.split().iter().sum::<u32>(), w);
                assert_eq!(d.split().iter().skip(d.low.unwrap()).sum::<u32>(), low, "{w} {low}");
            }
        }
    }
}
