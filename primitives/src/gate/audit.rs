//! How many elements of a wire are as large as a public threshold: counts per image, for the data owner alone.
//!
//! `[|t| >= theta] = [t >= theta] + 1 - [t >= 1 - theta]` for the signed value t of a wire of m bits: a staircase of two
//! steps. One comparison key, of `R_low` with m - 1 bits, is evaluated at the two public points `X - theta` and
//! `X - (1 - theta)`; both signs are opened together, each under a free bit of its own, `rho = e_0 xor e_1 xor msb(R)`.
//! With shares of rho and rho' as integers mod 2^w (P1 stores two words of w bits) the count is a local sum,
//!
//! `z_b = sum over elements of [b=0] (d^ + 1 - d'^) + (1 - 2 d^) [rho]_b - (1 - 2 d'^) [rho']_b`,
//!
//! w being wide enough that a count never wraps. It is given to the owner as shares; neither party sees it. What both see
//! beside the masked wire are two fresh bits per element.
//!
//! **What it tells.** Values live mod 2^m: the gate sees t in `[-2^(m-1), 2^(m-1))`, whatever the value was before. With
//! a threshold below `2^(m-1)`, all values from there to `2^(m-1)` are counted. Beyond, a value has wrapped and is counted
//! unless it happens to fall within theta of zero, which a value without any relation to the ring does with probability
//! `theta / 2^(m-1)`. So a single wrapped value can be missed, and a layer in which many wrapped cannot. Within theta of
//! the ring's ends `t - theta` or `t - 1 + theta` wraps as well and the element counts as two: right for "not 0", and for a
//! size; a count is at most twice the number of elements.

use super::opening::Weight;
use super::predicate::{Decided, Predicate};
use super::{Coins, Cost, Gate, take};
use crate::backend::{Product, Term};
use crate::compare::Scheme;
use crate::ring::sign_extend;
use crate::session::Stored;
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

const RHO: u32 = 1;
const RHO_LATER: u32 = 2;

/// Number of elements with `|t| >= theta`, image by image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Comparison of the signs.
    pub scheme: Scheme,
    /// Smallest magnitude that counts, in steps of the wire: from 1 to `2^(m-2)`.
    pub theta: u64,
}

impl Audit {
    /// The signs of `t - theta` and, `2 theta - 1` further on, of `t - (1 - theta)`.
    fn predicate(&self, x: &Form) -> Predicate {
        Predicate::signs(self.scheme, x.bits, vec![2 * self.theta - 1])
    }
    /// Bits of a count: an element counts twice at most.
    fn width(x: &Form) -> u32 {
        (2 * x.shape.row()).ilog2() + 1
    }
    fn part(&self, x: &Form) -> Part {
        let width = Self::width(x);
        Part { elements: x.len(), fields: self.predicate(x).fields(&[width, width]) }
    }
    /// Shares of every element's count, one group's.
    fn counted<B: Backend>(mut d: Decided<B>, width: u32) -> Result<B::Buf> {
        let one = B::Ring::ONE;
        let own = if d.key.me().is_p0() { vec![Term::one(one)] } else { vec![] };
        let weights = [(one, RHO), (B::Ring::ZERO.sub(one), RHO_LATER)];
        d.weighted(&own, &weights.map(|(c, field)| Weight { c, field, width }), width)
    }
}

impl Gate for Audit {
    const NAME: &'static str = "audit";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        let width = if x.shape.row() == 0 { 0 } else { Self::width(x) };
        let fits = (3..=n).contains(&x.bits) && (1..=1 << (x.bits - 2)).contains(&self.theta);
        if !fits || width == 0 || width > n.min(32) {
            return Err(Error::shape(
                Self::NAME,
                format!("cannot count {} elements of {} bits from {} on", x.shape.row(), x.bits, self.theta),
            ));
        }
        Ok(Form::new([x.shape.batch(), 1], width))
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        let m = forms[0].bits;
        let at_least = |t: u64, limit: u64| (sign_extend(t.wrapping_sub(limit), m) >= 0) as u64;
        let beyond = |v: &R| {
            let t = v.low();
            at_least(t, self.theta) + 1 - at_least(t, 1u64.wrapping_sub(self.theta))
        };
        x[0].chunks_exact(forms[0].shape.row()).map(|row| R::from_u64(row.iter().map(beyond).sum())).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let form = self.output(B::Ring::BITS, &[r.form()])?;
        let (dev, out, predicate) = (d.dev.clone(), d.fresh(0, &form), self.predicate(r.form()));
        let (sum, m) = (r.sum(&dev), r.form().bits);
        d.tiles(Self::NAME, 0, &self.part(r.form()), |t| {
            let big = t.part_of(&sum);
            predicate.deal(t, &big);
            let masks = [0, 1].map(|point| Predicate::sign_mask_at(t, &big, m, point));
            for (field, mask) in [RHO, RHO_LATER].into_iter().zip(&masks) {
                t.word(field, &dev.of_bits(mask), form.bits);
            }
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let (dev, one, row) = (s.dev.clone(), B::Ring::ONE, x.form().shape.row());
        let at = Stored {
            name: Self::NAME,
            part: 0,
            fields: self.part(x.form()).fields,
            per_image: s.per_image(x.form()),
        };
        let below = B::Ring::ZERO.sub(B::Ring::from_u64(self.theta));
        let first = dev.sum(x.form().len(), &[Term::of(one, &x.value), Term::one(below)], x.form().bits);
        let mut counted = vec![];
        self.predicate(x.form()).eval(
            s,
            &at,
            &first,
            |d| Self::counted(d, form.bits),
            |_, piece| {
                counted.push(piece);
                Ok(())
            },
        )?;
        // the sum over an image is a product with ones
        let forms = [Form::new([form.shape.batch(), row], B::Ring::BITS), Form::new([1, row], B::Ring::BITS)];
        let ones = dev.upload(&vec![one; row]);
        let sums = dev.product(&Product::Linear, [&forms[0], &forms[1]], &dev.concat(counted), &ones);
        let mask = s.fresh(0, &form);
        let buf = dev.lin(&[(one, &sums), (one, &mask)], form.bits);
        Ok(Share { form, buf, mask, begun: None })
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(x[0])], ..Cost::default() };
        self.predicate(x[0]).bill(&mut cost, x[0].len());
        cost.result(&form);
        Ok(cost)
    }
}
