//! Digit tables: the w bits of alpha split into digits, each shared as a one-hot table of its tiny domain.
//!
//! With public digits `y_i`: `e_i = T_i[y_i]` says equal, `l_i = parity(T_i[> y_i])` says smaller, and
//! `[y < alpha] = xor_i l_i prod_{j<i} e_j`. The parties open `l_i + a_i` and `e_j + b_j` and finish with dealt shares
//! of the products of the masks (Ohata, Nuida 2019). Digits and tables as in CrypTFlow2 and one-time truth tables.
//!
//! `a_i` and `b_j` are free: sums of both parties' expansions. Only products of two or more masks are stored, so P1
//! keeps `sum 2^m_i + 3 * 2^(k-1) - 2 - (2k - 1)` bits and P0 nothing.

use super::{Comparison, Outcome, Widths};
use crate::backend::{Digit, Merge, Merging};
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Error, Result};

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

/// Bits per element that P1 stores for a split.
fn stored_bits(split: &[u32]) -> u64 {
    split.iter().map(|m| 1u64 << m).sum::<u64>() + Merge { k: split.len() }.stored() as u64
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
    /// The digits with their numbers, highest first.
    fn digits(&self) -> Vec<(u32, Digit)> {
        let mut shift: u32 = self.split.iter().sum();
        let digit = |(i, &bits): (usize, &u32)| {
            shift -= bits;
            (i as u32, Digit { shift, bits })
        };
        self.split.iter().enumerate().map(digit).collect()
    }
    /// Fields of the masks of the message's planes: `a_0, b_0, a_1, ..`.
    fn masks(&self) -> Vec<u32> {
        let field = |p: u32| if p.is_multiple_of(2) { MASK_A + p / 2 } else { MASK_B + p / 2 };
        (0..self.merge().planes() as u32).map(field).collect()
    }
    fn merge(&self) -> Merge {
        Merge { k: self.k() }
    }
    /// Fields of the products, in the order in which they are stored.
    fn products(&self) -> Vec<u32> {
        let (pairs, with_a) = (self.merge().pairs(), self.merge().with_a());
        let field = |(i, s): (usize, usize)| PROD_A + ((i as u32) << 16) + s as u32;
        pairs.map(|s| PROD_B + s as u32).chain(with_a.map(field)).collect()
    }
}

impl<B: Backend> Comparison<B> for Digits {
    type Pending = (TileKey<B>, B::Planes);

    fn fields(&self) -> [Vec<u32>; 2] {
        let tables = self.split.iter().map(|m| 1u32 << m);
        [vec![], tables.chain(std::iter::repeat_n(1, self.merge().stored())).collect()]
    }

    fn message_bits(&self) -> usize {
        self.merge().planes()
    }

    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf) {
        for (i, digit) in self.digits() {
            t.table(TABLE + i, alpha, digit);
        }
        let masks = t.free_bits(&self.masks());
        t.products(&self.merge(), &masks, &self.products());
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Option<B::Planes>, Self::Pending)> {
        let masks = t.own_planes(&self.masks());
        let mut places = Vec::with_capacity(self.k());
        for (_, digit) in self.digits() {
            places.push(t.correction(1 << digit.bits)?);
        }
        let table = |((i, digit), place)| Ok((digit, t.field(TABLE + i, place)?));
        let tables: Result<Vec<_>> = self.digits().into_iter().zip(places).map(table).collect();
        let message = t.dev().digit_planes(tables?, &masks, x, t.slots());
        Ok((Some(message), (t, masks)))
    }

    fn finish(
        &self,
        (mut t, masks): Self::Pending,
        opened: Option<&B::Planes>,
    ) -> Result<(Outcome<B>, TileKey<B>)> {
        let opened = opened.ok_or_else(|| Error::shape("digits", "nothing was opened"))?;
        let products = &t.bits(&self.products())?;
        let (masks, one) = (&masks, t.me().is_p0());
        let at_most =
            |from| t.dev().digit_merge(&self.merge(), from, Merging { opened, masks, products, one });
        Ok((Outcome { full: at_most(0), low: self.low.map(at_most) }, t))
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
