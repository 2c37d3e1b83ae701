//! Truncation of an open wire, with the lift back to n bits inside.
//!
//! Public coin: `X = x^ >> f` is masked by `R = r >> f` up to a carry of +1, whose coin `[x_low > x^_low]` is public. Floor:
//! subtract the borrow `[x^_low < r_low]`, a comparison of f bits (protocols, section 4). Exact for
//! `|x| <= 2^(n-2) - 2^f`.

use super::lift::extend;
use super::predicate::{Decided, Predicate};
use super::{Coins, Cost, Gate, Mode, cut_open, take};
use crate::backend::Term;
use crate::ring::ones;
use crate::session::{Stored, Target, TileKey};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

const R: u32 = 1;
const MSB: u32 = 2;
const BORROW: u32 = 3;

/// `x / 2^cut`, rounded as `mode` says, n bits wide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncate {
    /// Bits cut off, at least 1.
    pub cut: u32,
    /// How the value is rounded.
    pub mode: Mode,
}

impl Truncate {
    fn predicate(&self) -> Option<Predicate> {
        match self.mode {
            Mode::PublicCoin => None,
            Mode::Floor(scheme) => Some(Predicate::borrow(scheme, self.cut)),
        }
    }
    fn part(&self, x: &Form) -> Part {
        let mut words = vec![x.bits, self.cut];
        let fields = match self.predicate() {
            None => [vec![], words],
            Some(p) => {
                words.push(x.bits);
                p.fields(&words)
            }
        };
        Part { elements: x.len(), fields }
    }
    /// One group's share of `t`, less the borrow if one was opened, masked by `mask`.
    fn rounded<B: Backend>(
        &self,
        key: &mut TileKey<B>,
        x: &B::Buf,
        borrow: Option<&B::Bits>,
        mask: &B::Buf,
    ) -> Result<B::Buf> {
        let (n, one, m) = (B::Ring::BITS, B::Ring::ONE, B::Ring::BITS - self.cut);
        let minus = B::Ring::ZERO.sub(one);
        let (r, msb) = (key.word(R, n)?, key.word(MSB, self.cut)?);
        let mut own = vec![Term::of(one, mask), Term::of(minus, &r)];
        let hidden = borrow.map(|_| key.word(BORROW, n)).transpose()?;
        if let (Some(c), Some(hidden)) = (borrow, &hidden) {
            // the borrow is c^ + (1 - 2 c^) hidden
            own.extend([Term::of(minus, hidden), Term::of(one.add(one), hidden).when(c)]);
            if key.me().is_p0() {
                own.push(Term::one(minus).when(c));
            }
        }
        Ok(extend(key, &key.dev().shift(x, 0, self.cut, m), m, &msb, own))
    }
}

impl Gate for Truncate {
    const NAME: &'static str = "truncate";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        if x.bits != n || self.cut == 0 || self.cut + 3 > n {
            return Err(Error::shape(
                Self::NAME,
                format!("cannot cut {} of {} bits in a ring of {n}", self.cut, x.bits),
            ));
        }
        Ok(x.clone())
    }

    fn ideal<Z: Ring>(&self, _: &[&Form], x: &[&[Z]], coins: Coins) -> Vec<Z> {
        let coin = |i: usize| if self.mode == Mode::PublicCoin { coins.map(|c| c[i]) } else { None };
        x[0].iter().enumerate().map(|(i, v)| Z::from_i64(cut_open(*v, self.cut, coin(i)))).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        self.deal_as(Self::NAME, d, r)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        self.eval_as(Self::NAME, s, x)
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(&form)], ..Cost::default() };
        if let Some(p) = self.predicate() {
            p.bill(&mut cost, form.len());
        }
        cost.result(&form);
        Ok(cost)
    }
}

impl Truncate {
    /// Deals keys under the name of the gate that this truncation is a part of.
    pub(super) fn deal_as<B: Backend>(
        &self,
        name: &'static str,
        d: &mut Deal<B>,
        r: &Mask<B>,
    ) -> Result<Mask<B>> {
        let n = B::Ring::BITS;
        let form = self.output(n, &[r.form()])?;
        let (dev, out, predicate) = (d.dev.clone(), d.fresh(0, &form), self.predicate());
        let r = r.sum(&dev);
        d.tiles(name, 0, &self.part(&form), |t| {
            let r = t.part_of(&r);
            let borrow = predicate.as_ref().map(|p| {
                p.deal(t, &r);
                Predicate::borrow_mask(t)
            });
            t.word(R, &dev.shift(&r, 0, self.cut, n - self.cut), n);
            t.word(MSB, &dev.of_bits(&dev.bit(&r, n - 1)), self.cut);
            if let Some(borrow) = borrow {
                t.word(BORROW, &dev.of_bits(&borrow), n);
            }
        })?;
        Ok(out)
    }

    /// Evaluates with keys dealt under this name.
    pub(super) fn eval_as<B: Backend>(
        &self,
        name: &'static str,
        s: &mut Session<B>,
        x: &Masked<B>,
    ) -> Result<Share<B>> {
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let (dev, cut) = (s.dev.clone(), self.cut);
        let at = Stored { name, part: 0, fields: self.part(&form).fields, per_image: s.per_image(&form) };
        let part = |r: &std::ops::Range<usize>| dev.slice(&x.value, r.start, r.len());
        let target = Target::new(form.clone(), s.outlet());
        let mut out = target.grow(&mut s.talk);
        match self.predicate() {
            Some(p) => {
                let tile = |mut d: Decided<B>| {
                    let (borrow, mask) = (d.borrow(), d.key.fresh(form.bits));
                    let z = self.rounded(&mut d.key, &part(&d.range), Some(&borrow), &mask)?;
                    Ok(target.piece(&dev, z, mask))
                };
                p.eval(s, &at, &x.value, tile, |talk, piece| out.push(&dev, talk, piece))?;
            }
            None => {
                if !s.me.is_p0() {
                    s.coin(|dev| dev.download(&x.value).iter().map(|v| v.low() & ones(cut)).collect());
                }
                let tile = |mut key: TileKey<B>, range| {
                    let mask = key.fresh(form.bits);
                    let z = self.rounded(&mut key, &part(&range), None, &mask)?;
                    Ok(target.piece(&dev, z, mask))
                };
                s.tiles(&at, tile, |talk, piece| out.push(&dev, talk, piece))?;
            }
        }
        Ok(out.whole(&dev))
    }
}
