//! ReLU, fused with a public-coin truncation and with the lift back to n bits.
//!
//! On a wire of m bits (its product was cut when it was opened) it opens one masked sign bit and the result. On an open
//! wire of n bits it may first drop `shift` bits: `X = x^ >> shift` is masked by `R = r >> shift` up to a public coin
//! (protocols, sections 4 and 6). Exact for `-2^(m-1) <= t < 2^(m-1)`.

use super::predicate::{Decided, Predicate};
use super::select::Selection;
use super::{Coins, Cost, Gate, cut_open, take};
use crate::backend::Term;
use crate::compare::Scheme;
use crate::ring::{ones, sign_extend};
use crate::session::{Stored, Target};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

/// `max(x >> shift, 0)`, in `out` bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relu {
    /// Comparison of the sign.
    pub scheme: Scheme,
    /// Bits dropped from an open wire first; 0 for a wire that was cut before.
    pub shift: u32,
    /// Width of the result.
    pub out: u32,
}

impl Relu {
    fn inner(&self, x: &Form) -> (Predicate, Selection) {
        let m = x.bits - self.shift;
        (Predicate::sign(self.scheme, m), Selection::by_own_sign(m, self.out, self.shift == 0))
    }
    fn part(&self, x: &Form) -> Part {
        let (predicate, select) = self.inner(x);
        Part { elements: x.len(), fields: predicate.fields(&select.words()) }
    }
}

impl Gate for Relu {
    const NAME: &'static str = "relu";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        if self.shift + 2 > x.bits || self.out > n || self.out < x.bits - self.shift {
            return Err(Error::shape(
                Self::NAME,
                format!("cannot go from {} bits, less {}, to {}", x.bits, self.shift, self.out),
            ));
        }
        Ok(Form { bits: self.out, ..x.clone() })
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        let value = |(i, v): (usize, &R)| {
            let t = match self.shift {
                0 => sign_extend(v.low(), forms[0].bits),
                s => cut_open(*v, s, coins.map(|c| c[i])),
            };
            R::from_i64(t.max(0)).and(R::ones(self.out))
        };
        x[0].iter().enumerate().map(value).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let form = self.output(B::Ring::BITS, &[r[0].form()])?;
        let (predicate, select) = self.inner(r[0].form());
        let (dev, out) = (d.dev.clone(), d.fresh(0, &form));
        let big = dev.shift(&r[0].sum(&dev), 0, self.shift, select.m);
        d.tiles(Self::NAME, 0, &self.part(r[0].form()), |t| {
            let big = t.part_of(&big);
            let shares = [t.part_of(&r[0].shares[0]), t.part_of(&r[0].shares[1])];
            predicate.deal(t, &big);
            let free = select.free.then_some([&shares[0], &shares[1]]);
            select.deal(t, &big, free, &Predicate::sign_mask(t, &big, select.m));
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let (predicate, select) = self.inner(x.form());
        let (dev, shift) = (s.dev.clone(), self.shift);
        if !s.me.is_p0() && shift > 0 {
            s.coin(|dev| dev.download(&x.value).iter().map(|v| v.low() & ones(shift)).collect());
        }
        let big = dev.shift(&x.value, 0, shift, select.m);
        let at = Stored {
            name: Self::NAME,
            part: 0,
            fields: self.part(x.form()).fields,
            per_image: s.per_image(&form),
        };
        let target = Target::new(form.clone(), s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |mut d: Decided<B>| {
            let part = |v: &B::Buf| dev.slice(v, d.range.start, d.range.len());
            let share = select.free.then(|| part(&x.share));
            let (sign, rho) = (d.sign(), select.rho(&mut d.key)?);
            let mask = d.key.fresh(form.bits);
            let own = vec![Term::of(B::Ring::ONE, &mask)];
            let z = select.eval(&mut d.key, &rho, &part(&big), share.as_ref(), &sign, own)?;
            Ok(target.piece(&dev, z, mask))
        };
        predicate.eval(s, &at, &big, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(x[0])], ..Cost::default() };
        self.inner(x[0]).0.bill(&mut cost, form.len());
        cost.result(&form);
        Ok(cost)
    }
}
