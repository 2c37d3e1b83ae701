//! Digit tables: the w bits of alpha split into digits, each shared as a one-hot table of its tiny domain.
//!
//! With public digits `y_i`: `e_i = T_i[y_i]` says equal, `l_i = parity(T_i[> y_i])` says smaller, and
//! `[y < alpha] = xor_i l_i prod_{j<i} e_j`. The parties open `l_i + a_i` and `e_j + b_j` and finish with dealt shares
//! of the products of the masks (Ohata, Nuida 2019). Digits and tables as in CrypTFlow2 and one-time truth tables.
//!
//! `a_i` and `b_j` are free: sums of both parties' expansions. Only products of two or more masks are stored, so P1
//! keeps `sum 2^m_i + 3 * 2^(k-1) - 2 - (2k - 1)` bits and P0 nothing.
//!
//! Tables are linear in their shares, so they may be looked up at any number of public points. What a point opens needs
//! masks of its own, with their products: under the first point's masks `L + L'` would show `l + l'`. Only the tables serve
//! more than once.

use super::{Comparison, Outcome, Widths};
use crate::backend::{Digit, Merge, Merging, Place};
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Error, Result};
use std::ops::Range;

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
/// Masks and products of the second point are numbered apart; those of a further one follow each other.
const SECOND_MASK: u32 = 0x800;
const SECOND_PROD: u32 = 0x40_0000;
const FURTHER: u32 = 0x200_0000;
/// Numbers for a further point: 19 masks and 1,515 products of [`MAX_DIGITS`] digits.
const POINT: u32 = 0x800;
const FURTHER_PROD: u32 = 0x20;

/// Comparison by digit tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Digit widths, highest first.
    split: Vec<u32>,
    /// First digit of the second predicate.
    low: Option<usize>,
    /// How far the further points are from the first.
    ahead: Vec<u64>,
}

/// Bits per element that P1 stores for a split that is looked up at so many points.
fn stored_bits(split: &[u32], points: usize) -> u64 {
    split.iter().map(|m| 1u64 << m).sum::<u64>() + (points * Merge { k: split.len() }.stored()) as u64
}

/// The cheapest split of `w` bits into digits; with `low`, one that has a boundary at bit `low`.
fn best_split(widths: Widths, points: usize) -> Vec<u32> {
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
    let cheapest = splits
        .into_iter()
        .filter(|s: &Vec<u32>| s.len() <= MAX_DIGITS)
        .min_by_key(|s| stored_bits(s, points));
    cheapest.unwrap_or_else(|| vec![widths.w])
}

impl Digits {
    /// The cheapest split at these widths; `1 <= w <= 63`.
    pub fn new(widths: Widths) -> Self {
        let split = best_split(widths, 1);
        let first = |low: u32| (0..split.len()).find(|&i| split[i..].iter().sum::<u32>() == low);
        let low = widths.low.and_then(first);
        Digits { split, low, ahead: vec![] }
    }
    /// The cheapest split of `w` bits, to be looked up at `x` and, for each of `ahead`, so much further on.
    pub fn at_points(w: u32, ahead: &[u64]) -> Self {
        let split = best_split(Widths { w, low: None }, 1 + ahead.len());
        Digits { split, low: None, ahead: ahead.to_vec() }
    }
    /// The points, by number.
    fn points(&self) -> Range<u32> {
        0..1 + self.ahead.len() as u32
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
    /// Fields of the masks of the planes of a point's message: `a_0, b_0, a_1, ..`.
    fn masks(&self, point: u32) -> Vec<u32> {
        let field = |p: u32| if p.is_multiple_of(2) { MASK_A + p / 2 } else { MASK_B + p / 2 };
        let planes = 0..self.merge().planes() as u32;
        match point {
            0 | 1 => planes.map(|p| field(p) + point * SECOND_MASK).collect(),
            _ => planes.map(|p| FURTHER + (point - 2) * POINT + p).collect(),
        }
    }
    fn merge(&self) -> Merge {
        Merge { k: self.k() }
    }
    /// Fields of a point's products, in the order in which they are stored.
    fn products(&self, point: u32) -> Vec<u32> {
        if point > 1 {
            let first = FURTHER + (point - 2) * POINT + FURTHER_PROD;
            return (first..first + self.merge().stored() as u32).collect();
        }
        let (pairs, with_a) = (self.merge().pairs(), self.merge().with_a());
        let field = |(i, s): (usize, usize)| PROD_A + ((i as u32) << 16) + s as u32;
        let fields = pairs.map(|s| PROD_B + s as u32).chain(with_a.map(field));
        fields.map(|field| field + point * SECOND_PROD).collect()
    }
}

impl<B: Backend> Comparison<B> for Digits {
    type Pending = (TileKey<B>, Vec<B::Planes>);

    fn fields(&self) -> [Vec<u32>; 2] {
        let tables = self.split.iter().map(|m| 1u32 << m);
        let products = self.points().len() * self.merge().stored();
        [vec![], tables.chain(std::iter::repeat_n(1, products)).collect()]
    }

    fn message_bits(&self) -> usize {
        self.points().len() * self.merge().planes()
    }

    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf) {
        for (i, digit) in self.digits() {
            t.table(TABLE + i, alpha, digit);
        }
        for point in self.points() {
            let masks = t.free_bits(&self.masks(point));
            t.products(&self.merge(), &masks, &self.products(point));
        }
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Option<B::Planes>, Self::Pending)> {
        let mut places = Vec::with_capacity(self.k());
        for (_, digit) in self.digits() {
            places.push(t.correction(1 << digit.bits)?);
        }
        let further = |by: &u64| t.dev().shift(x, *by, 0, self.split.iter().sum());
        let later: Vec<B::Buf> = self.ahead.iter().map(further).collect();
        let (mut masks, mut said) = (vec![], vec![]);
        for (point, x) in self.points().zip(std::iter::once(x).chain(&later)) {
            let table = |((i, digit), place): (_, &Option<Place>)| Ok((digit, t.field(TABLE + i, *place)?));
            let tables: Result<Vec<_>> = self.digits().into_iter().zip(&places).map(table).collect();
            let own = t.own_planes(&self.masks(point));
            said.push(t.dev().digit_planes(tables?, &own, x, t.slots()));
            masks.push(own);
        }
        let message = if said.len() == 1 { said.pop() } else { Some(self.together(t.dev(), &said)) };
        Ok((message, (t, masks)))
    }

    fn finish(
        &self,
        (mut t, masks): Self::Pending,
        opened: Option<&B::Planes>,
    ) -> Result<(Outcome<B>, TileKey<B>)> {
        let opened = opened.ok_or_else(|| Error::shape("digits", "nothing was opened"))?;
        let (one, mut out) = (t.me().is_p0(), vec![]);
        for (point, masks) in self.points().zip(&masks) {
            let products = &t.bits(&self.products(point))?;
            let own = (!self.ahead.is_empty()).then(|| self.of_point(t.dev(), opened, point as usize));
            let opened = own.as_ref().unwrap_or(opened);
            let merging = || Merging { opened, masks, products, one };
            let firsts = std::iter::once(0).chain(self.low);
            out.extend(firsts.map(|from| t.dev().digit_merge(&self.merge(), from, merging())));
        }
        Ok((out, t))
    }
}

impl Digits {
    /// The points' planes, one point behind the other.
    fn together<B: Backend>(&self, dev: &B, said: &[B::Planes]) -> B::Planes {
        let planes = self.merge().planes();
        dev.planes(said.iter().flat_map(|p| (0..planes).map(|i| dev.plane(p, i))).collect())
    }
    /// One point's planes of what was opened.
    fn of_point<B: Backend>(&self, dev: &B, opened: &B::Planes, point: usize) -> B::Planes {
        let planes = self.merge().planes();
        dev.planes((0..planes).map(|i| dev.plane(opened, point * planes + i)).collect())
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
        assert_eq!(stored_bits(split(19, None).split(), 1), 72 + 37);
        // two points: the products count twice, so digits are fewer and wider
        assert_eq!(Digits::at_points(19, &[5]).split(), [5, 5, 5, 4]);
        assert_eq!(stored_bits(&[5, 5, 5, 4], 2), 112 + 2 * 15);
        for w in 1..=63 {
            assert_eq!(split(w, None).split().iter().sum::<u32>(), w);
            for low in 1..w {
                let d = split(w, Some(low));
                assert_eq!(d.split().iter().sum::<u32>(), w);
                assert_eq!(d.split().iter().skip(d.low.unwrap()).sum::<u32>(), low, "{w} {low}");
            }
        }
    }
    /// Under one field number two words would show their difference: no field serves twice, with the gate's own among them.
    #[test]
    fn every_point_has_fields_of_its_own() {
        for w in [1, 7, 19, 63] {
            let digits = Digits::at_points(w, &[1; 299]);
            let mut all: Vec<u32> = (0..digits.k() as u32).map(|i| TABLE + i).collect();
            digits.points().for_each(|p| all.extend([digits.masks(p), digits.products(p)].concat()));
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{w} bits");
            // what gates number themselves
            assert!(all.iter().all(|f| (0x1000..0x4000).contains(f) || *f >= PROD_B));
        }
        let most = Digits { split: vec![1; MAX_DIGITS], low: None, ahead: vec![] };
        assert!(most.masks(2).len() as u32 <= FURTHER_PROD);
        assert!(FURTHER_PROD + most.products(2).len() as u32 <= POINT);
    }
}
