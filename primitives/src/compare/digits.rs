//! Digit tables: the w bits of alpha split into digits, each shared as a one-hot table of its tiny domain.
//!
//! With public digits `y_i`: `e_i = T_i[y_i]` says equal, `l_i = parity(T_i[> y_i])` says smaller, and
//! `[y < alpha] = xor_i l_i prod_{j<i} e_j`. The parties open `l_i + a_i` and `e_j + b_j` and finish with dealt shares
//! of the products of the masks (Ohata, Nuida 2019). Digits and tables as in CrypTFlow2 and one-time truth tables.
//!
//! `a_i` and `b_j` are free: sums of both parties' expansions. Only products of two or more masks are stored, so P1
//! keeps `sum 2^m_i + 3 * 2^(k-1) - 2 - (2k - 1)` bits and P0 nothing.

use super::{Comparison, Outcome, Widths};
use crate::backend::Merge;
use crate::bits::{Bits, Planes, clear_past};
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
    /// Fields of the masks of the message's planes: `a_0, b_0, a_1, ..`.
    fn masks(&self) -> impl Iterator<Item = u32> + use<> {
        let k = self.k() as u32;
        (0..2 * k - 1).map(|p| if p % 2 == 0 { MASK_A + p / 2 } else { MASK_B + p / 2 })
    }
    /// Fields of the products, in the order in which they are stored.
    fn products(&self) -> impl Iterator<Item = u32> + use<> {
        let a = |i: u32| (1..1u32 << i).map(move |s| PROD_A + (i << 16) + s);
        self.pairs().map(|s| PROD_B + s).chain((0..self.k() as u32).flat_map(a))
    }
    /// Sets of two or more of the digits but the last, as bit masks.
    fn pairs(&self) -> impl Iterator<Item = u32> + use<> {
        (1..1u32 << (self.k() - 1)).filter(|s| s.count_ones() > 1)
    }
}

impl<B: Backend> Comparison<B> for Digits {
    type Pending = (TileKey<B>, Planes);

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
        let (k, len) = (self.k(), t.range().len());
        let mut masks = Planes::zeros(2 * k - 1, len);
        masks.iter_mut().zip(self.masks()).for_each(|(plane, field)| t.free_sum(field, plane));
        let prod = subset_products(&masks, k, len);
        for s in self.pairs() {
            t.bits(PROD_B + s, prod.plane(s as usize));
        }
        let mut both = vec![0; len.div_ceil(64)];
        for i in 0..k as u32 {
            for s in 1..1u32 << i {
                let factors = masks.plane(2 * i as usize).iter().zip(prod.plane(s as usize));
                both.iter_mut().zip(factors).for_each(|(z, (a, b))| *z = a & b);
                t.bits(PROD_A + (i << 16) + s, &both);
            }
        }
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Bits, Self::Pending)> {
        let (dev, n) = (t.dev().clone(), t.len());
        let mut message = Planes::zeros(2 * self.k() - 1, n);
        let mut masks = Planes::zeros(2 * self.k() - 1, n);
        // of the last digit it does not matter whether it is equal
        let mut unused = vec![0; n.div_ceil(64)];
        let mut planes = message.iter_mut();
        for (i, shift, m) in self.digits() {
            let less = planes.next().unwrap_or_default();
            let equal = planes.next().unwrap_or(&mut unused);
            dev.digit_lookup(&t.table(TABLE + i, 1 << m)?, x, shift, [equal, less]);
        }
        drop(planes);
        for ((plane, mask), field) in message.iter_mut().zip(masks.iter_mut()).zip(self.masks()) {
            t.own_bits_into(field, mask);
            plane.iter_mut().zip(&*mask).for_each(|(p, m)| *p ^= m);
            clear_past(plane, n);
        }
        Ok((message.join(), (t, masks)))
    }

    fn finish(&self, (mut t, masks): Self::Pending, opened: &Bits) -> Result<(Outcome, TileKey<B>)> {
        let (n, k) = (t.len(), self.k());
        let opened = Planes::split(opened, n);
        let mut products = Planes::zeros(product_bits(k) as usize + 1, n);
        let mut stored = products.iter_mut();
        // The empty product is the constant 1, which P0 holds.
        let one = stored.next().unwrap_or_default();
        if t.me() == PartyId::P0 {
            one.fill(u64::MAX);
            clear_past(one, n);
        }
        for (field, plane) in self.products().zip(stored) {
            t.bit_into(field, plane)?;
        }
        // In the order of `products`: sets of two or more, then for every digit the sets that are not empty.
        let mut next = 1;
        let mut product = || {
            next += 1;
            products.plane(next - 1)
        };
        let b = (0..1usize << (k - 1)).map(|s| match s.count_ones() {
            0 => products.plane(0),
            1 => masks.plane(2 * s.ilog2() as usize + 1),
            _ => product(),
        });
        let b = b.collect();
        let a = (0..k).flat_map(|i| (0..1 << i).map(move |s| (i, s)));
        let a = a.map(|(i, s)| if s == 0 { masks.plane(2 * i) } else { product() });
        let merge = Merge {
            l: (0..k).map(|i| opened.plane(2 * i)).collect(),
            e: (0..k - 1).map(|j| opened.plane(2 * j + 1)).collect(),
            a: a.collect(),
            b,
        };
        let predicate = |from| {
            let mut z = t.dev().digit_merge(&merge, from);
            // from [x < alpha] to [alpha <= x]
            z.iter_mut().zip(merge.b[0]).for_each(|(z, one)| *z ^= one);
            Bits::from_words(z, n)
        };
        Ok((Outcome { full: predicate(0), low: self.low.map(predicate) }, t))
    }
}

/// `prod_{j in S} b_j` for every set S of digits but the last, from the masks of all planes of the message.
fn subset_products(masks: &Planes, k: usize, len: usize) -> Planes {
    let mut out = Planes::zeros(1 << (k - 1), len);
    out.iter_mut().take(1).for_each(|one| {
        one.fill(u64::MAX);
        clear_past(one, len);
    });
    for j in 0..k - 1 {
        for s in 0..1 << j {
            let [from, to] = out.pair(s, s | 1 << j);
            let factors = from.iter().zip(masks.plane(2 * j + 1));
            to.iter_mut().zip(factors).for_each(|(z, (p, b))| *z = p & b);
        }
    }
    out
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
