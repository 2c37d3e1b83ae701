//! A wire times a masked bit: `d t` of [`Sign`](super::Sign)'s `d`, in as many bits as its use wants.
//!
//! ReLU is this on the compared wire; backward it is this on the gradient, by the bit of the forward pass; a level of a
//! MaxPool is `b + d (a - b)`, and backward `g_a = d g`, `g_b = g - g_a` (training, section 3). A bit may be used several times,
//! each time with fresh words and a fresh mask of the result.

mod selection;

pub(super) use selection::{Selection, choose};

use super::Cost;
use crate::backend::Term;
use crate::ring::sign_extend;
use crate::session::{Stored, Target, TileKey};
use crate::{
    Backend, BitMask, Deal, Error, Form, Mask, Masked, MaskedBit, Part, Result, Ring, Session, Share,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What is known of the chosen values of a wire of m bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `t >= 0` wherever the bit is set: the bit is t's own sign. `out >= m`; of `out = m` nothing need be known.
    Relu,
    /// `abs(t) <= 2^(m-2)`, of either sign: a gradient. `out >= m`; of `out = m` nothing need be known.
    Signed,
    /// `d t` lies in `[0, 2^out)`, `out < m`: the index of a table. Other values come out mod 2^out.
    Narrow,
}

/// `d t` in `out` bits. It takes a bit and a wire, so it is no [`Gate`](super::Gate); a session counts it like one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// What is known of `d t`.
    pub lift: Kind,
    /// Width of the result.
    pub out: u32,
}

impl Select {
    /// Name in plans, key files and reports.
    pub const NAME: &'static str = "select";

    fn selection(&self, x: &Form) -> Selection {
        let signed = self.lift == Kind::Signed;
        Selection { m: x.bits, out: self.out, free: true, rho: false, signed }
    }
    fn part(&self, x: &Form) -> Part {
        Part { elements: x.len(), fields: [vec![], self.selection(x).words()] }
    }

    /// Form of the result in a ring of `n` bits, for a bit and a wire `x` of its shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ, `bit` is not one bit wide, or the kind does not allow these widths.
    pub fn output(&self, n: u32, bit: &Form, x: &Form) -> Result<Form> {
        if bit.bits != 1 || bit.shape != x.shape {
            let (a, b) = (&bit.shape.0, &x.shape.0);
            let why = format!("wants a bit for every element of {b:?}, got {a:?} of {} bits", bit.bits);
            return Err(Error::shape(Self::NAME, why));
        }
        let fits = match self.lift {
            Kind::Relu | Kind::Signed => (x.bits..=n).contains(&self.out),
            Kind::Narrow => (1..x.bits).contains(&self.out),
        };
        if !fits || !(2..=n).contains(&x.bits) {
            let (kind, m, out) = (self.lift, x.bits, self.out);
            return Err(Error::shape(Self::NAME, format!("{kind:?} cannot go from {m} bits to {out}")));
        }
        Ok(Form { bits: self.out, ..x.clone() })
    }

    /// The ideal functionality on clear values: `d t` mod 2^out, `form` being that of the wire `x`.
    pub fn ideal<R: Ring>(&self, form: &Form, bit: &[R], x: &[R]) -> Vec<R> {
        let value = |(d, t): (&R, &R)| d.mul(R::from_i64(sign_extend(t.low(), form.bits)));
        bit.iter().zip(x).map(|v| value(v).and(R::ones(self.out))).collect()
    }

    /// Dealer: stores keys for bits masked by `bit` and a wire masked by `r`, returns the mask of the result.
    ///
    /// # Errors
    /// As [`Select::output`], and those of the store.
    pub fn deal<B: Backend>(&self, d: &mut Deal<B>, bit: &BitMask<B>, r: &Mask<B>) -> Result<Mask<B>> {
        let form = self.output(B::Ring::BITS, bit.form(), r.form())?;
        let (dev, out, sum) = (d.dev.clone(), d.fresh(0, &form), r.sum(&d.dev));
        d.tiles(Self::NAME, 0, &self.part(r.form()), |t| {
            let shares = [t.part_of(&r.shares[0]), t.part_of(&r.shares[1])];
            let rho = dev.bit(&t.part_of(&bit.rho), 0);
            let free = Some([&shares[0], &shares[1]]);
            self.selection(r.form()).deal(t, &t.part_of(&sum), free, &rho);
        })?;
        Ok(out)
    }

    /// Party: a share of the masked result. [`Session::open`] opens it.
    ///
    /// # Errors
    /// As [`Select::output`], [`Error::Shape`] if the bits were decided in another run, and those of peer, keys and device.
    pub fn eval<B: Backend>(
        &self,
        s: &mut Session<B>,
        bit: &MaskedBit<B>,
        x: &Masked<B>,
    ) -> Result<Share<B>> {
        let form = self.output(B::Ring::BITS, bit.form(), x.form())?;
        let (dev, selection) = (s.dev.clone(), self.selection(x.form()));
        let fields = self.part(x.form()).fields;
        let at = Stored { name: Self::NAME, part: 0, fields, per_image: s.per_image(&form) };
        let target = Target::new(form.clone(), s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |mut key: TileKey<B>, range: Range<usize>| {
            let part = |v: &B::Buf| dev.slice(v, range.start, range.len());
            let (rho, share, mask) = (part(&bit.share), part(&x.share), key.fresh(form.bits));
            let own = vec![Term::of(B::Ring::ONE, &mask)];
            let z = selection.eval(&mut key, &rho, &part(&x.value), Some(&share), bit.at(&range)?, own)?;
            Ok(target.piece(&dev, z, mask))
        };
        s.tiles(&at, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    /// The bill.
    ///
    /// # Errors
    /// As [`Select::output`].
    pub fn cost(&self, n: u32, bit: &Form, x: &Form) -> Result<Cost> {
        let form = self.output(n, bit, x)?;
        let mut cost = Cost { parts: vec![self.part(x)], ..Cost::default() };
        cost.result(&form);
        Ok(cost)
    }
}
