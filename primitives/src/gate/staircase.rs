//! A function that is constant between public thresholds: `base + sum of c_i [t >= theta_i]`.
//!
//! With `t = X - R` on m bits, `[t >= theta_i]` is the sign of `t - theta_i`: one comparison key, of `R_low` with m - 1
//! bits, is evaluated at every public point `X - theta_i`. All signs are opened together, each under a free bit of its own,
//! `rho_i = e_0 xor e_1 xor msb(R)`; P1 stores each rho_i as a word of n bits, so that what is left is a local sum,
//!
//! `z_b = [b=0] base + sum of c_i ([b=0] d^_i + (1 - 2 d^_i) [rho_i]_b) + [r_out]_b`.
//!
//! Any number of points is safe: a party only ever computes its share of a bit, and what leaves is masked afresh for each
//! (training, section 4). It normalises and looks up at once: thresholds in a geometric row give a reciprocal or an inverse
//! square root of which their ratio is the error.

use super::opening::Weight;
use super::predicate::{Decided, MOST_POINTS, Predicate};
use super::{Coins, Cost, Gate, take};
use crate::backend::Term;
use crate::compare::Scheme;
use crate::ring::sign_extend;
use crate::session::{Stored, Target};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Words of the signs' masks, by number.
const RHO: u32 = 0x2_0000;

/// One step of a staircase: from `at` on, values are larger by `by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Threshold, in steps of the operand.
    pub at: i64,
    /// What it adds, mod 2^n.
    pub by: i64,
}

/// `base`, and on top of it the steps whose threshold `t` has reached, in n bits.
///
/// The signed value t of a wire of m bits is compared by the sign of `t - at` mod 2^m: right wherever the difference lies
/// in `-2^(m-1)..2^(m-1)`, so for all `|t| < 2^(m-2)` if thresholds are as small, and for all `t >= 0` if they are positive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staircase {
    /// Comparison of the signs.
    pub scheme: Scheme,
    /// Value below all thresholds, mod 2^n.
    pub base: i64,
    /// The steps, by ascending threshold; at least one, at most 2^16. Thresholds lie in `-2^(m-1)..2^(m-1)`.
    pub steps: Arc<[Step]>,
}

impl Staircase {
    /// The signs at the first threshold and, further on by its distance, at every other.
    fn predicate(&self, m: u32) -> Predicate {
        let ones = crate::ring::ones(m);
        let ahead = self.steps.windows(2).scan(0u64, |sum, pair| {
            *sum = sum.wrapping_add(pair[0].at.wrapping_sub(pair[1].at) as u64) & ones;
            Some(*sum)
        });
        Predicate::signs(self.scheme, m, ahead.collect())
    }
    fn part(&self, n: u32, x: &Form) -> Part {
        Part { elements: x.len(), fields: self.predicate(x.bits).fields(&vec![n; self.steps.len()]) }
    }
    /// Why the steps do not fit a wire of `m` bits.
    fn misfit(&self, n: u32, m: u32) -> Option<String> {
        let within = |s: &Step| (2..=n).contains(&m) && sign_extend(s.at as u64, m) == s.at;
        match &self.steps[..] {
            [] => Some("has no threshold".into()),
            all if all.len() > MOST_POINTS => {
                Some(format!("has {} thresholds, {MOST_POINTS} is the most", all.len()))
            }
            all if !all.is_sorted_by(|a, b| a.at < b.at) => Some("has thresholds that do not ascend".into()),
            all => all.iter().find(|s| !within(s)).map(|s| format!("cannot compare {m} bits with {}", s.at)),
        }
    }
}

impl Gate for Staircase {
    const NAME: &'static str = "staircase";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        match self.misfit(n, x.bits) {
            Some(why) => Err(Error::shape(Self::NAME, why)),
            None => Ok(Form { bits: n, ..x.clone() }),
        }
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        let m = forms[0].bits;
        let reached = |t: u64, s: &&Step| sign_extend(t.wrapping_sub(s.at as u64), m) >= 0;
        let value = |v: &R| {
            let steps = self.steps.iter().filter(|s| reached(v.low(), s));
            steps.fold(R::from_i64(self.base), |z, s| z.add(R::from_i64(s.by)))
        };
        x[0].iter().map(value).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let (n, m) = (B::Ring::BITS, r.form().bits);
        let form = self.output(n, &[r.form()])?;
        let (dev, out, predicate) = (d.dev.clone(), d.fresh(0, &form), self.predicate(m));
        let sum = r.sum(&dev);
        d.tiles(Self::NAME, 0, &self.part(n, r.form()), |t| {
            let big = t.part_of(&sum);
            predicate.deal(t, &big);
            for i in 0..self.steps.len() {
                let rho = Predicate::sign_mask_at(t, &big, m, i);
                t.word(RHO + i as u32, &dev.of_bits(&rho), n);
            }
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let (n, m, one) = (B::Ring::BITS, x.form().bits, B::Ring::ONE);
        let form = self.output(n, &[x.form()])?;
        let dev = s.dev.clone();
        let fields = self.part(n, x.form()).fields;
        let at = Stored { name: Self::NAME, part: 0, fields, per_image: s.per_image(&form) };
        let below = B::Ring::ZERO.sub(B::Ring::from_i64(self.steps[0].at));
        let first = dev.sum(form.len(), &[Term::of(one, &x.value), Term::one(below)], m);
        let weight =
            |(i, s): (usize, &Step)| Weight { c: B::Ring::from_i64(s.by), field: RHO + i as u32, width: n };
        let weights: Vec<_> = self.steps.iter().enumerate().map(weight).collect();
        let target = Target::new(form, s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |mut d: Decided<B>| {
            let mask = d.key.fresh(n);
            let mut own = vec![Term::of(one, &mask)];
            own.extend(d.key.me().is_p0().then(|| Term::one(B::Ring::from_i64(self.base))));
            let z = d.weighted(&own, &weights, n)?;
            Ok(target.piece(&dev, z, mask))
        };
        self.predicate(m).eval(s, &at, &first, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(n, x[0])], ..Cost::default() };
        self.predicate(x[0].bits).bill(&mut cost, form.len());
        cost.result(&form);
        Ok(cost)
    }
}
