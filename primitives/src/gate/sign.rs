//! The sign of every element as a masked bit that is kept: `d^ = [t >= 0] xor rho`, opened, and shares of `rho` mod 2^n.
//!
//! The comparison's own last message opens `d^`; `rho` is free (protocols, section 6), and P1 stores one word of n bits for
//! its share of it. [`Select`](super::Select) multiplies a wire by such a bit as often as wanted: forward and backward of a
//! training step use the same one (training, section 3).

use super::Cost;
use super::predicate::{Decided, Predicate};
use crate::compare::Scheme;
use crate::ring::sign_extend;
use crate::session::Stored;
use crate::{Backend, BitMask, Deal, Error, Form, Mask, Masked, MaskedBit, Part, Result, Ring, Session};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const RHO: u32 = 1;

/// `[t >= 0]` of a wire `t` of any width. Its result is no wire, so it is no [`Gate`](super::Gate); a session counts it like
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// Comparison of the sign.
    pub scheme: Scheme,
}

impl Sign {
    /// Name in plans, key files and reports.
    pub const NAME: &'static str = "sign";

    fn predicate(&self, x: &Form) -> Predicate {
        Predicate::sign(self.scheme, x.bits)
    }
    fn part(&self, n: u32, x: &Form) -> Part {
        Part { elements: x.len(), fields: self.predicate(x).fields(&[n]) }
    }

    /// Form of the bits of a wire `x` in a ring of `n` bits: its shape, width 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has less than 2 bits or more than `n`.
    pub fn output(&self, n: u32, x: &Form) -> Result<Form> {
        if x.bits < 2 || x.bits > n {
            let why = format!("a wire of {} bits has no sign in a ring of {n}", x.bits);
            return Err(Error::shape(Self::NAME, why));
        }
        Ok(Form { bits: 1, ..x.clone() })
    }

    /// The ideal functionality on clear values: 1 where `t >= 0`, else 0.
    pub fn ideal<R: Ring>(&self, form: &Form, x: &[R]) -> Vec<R> {
        x.iter().map(|t| R::from_u64((sign_extend(t.low(), form.bits) >= 0) as u64)).collect()
    }

    /// Dealer: stores keys for a wire masked by `r`, returns the masks of the bits.
    ///
    /// # Errors
    /// As [`Sign::output`], and those of the store.
    pub fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &Mask<B>) -> Result<BitMask<B>> {
        let (n, x) = (B::Ring::BITS, r.form());
        let form = self.output(n, x)?;
        let (dev, predicate, sum) = (d.dev.clone(), self.predicate(x), r.sum(&d.dev));
        let rho = d.tiles(Self::NAME, 0, &self.part(n, x), |t| {
            let big = t.part_of(&sum);
            predicate.deal(t, &big);
            let rho = dev.of_bits(&Predicate::sign_mask(t, &big, x.bits));
            t.word(RHO, &rho, n);
            rho
        })?;
        Ok(BitMask { form, rho: Arc::new(dev.concat(rho)) })
    }

    /// Party: opens the masked bits of `x`.
    ///
    /// # Errors
    /// As [`Sign::output`], and those of peer, keys and device.
    pub fn eval<B: Backend>(&self, s: &mut Session<B>, x: &Masked<B>) -> Result<MaskedBit<B>> {
        let n = B::Ring::BITS;
        let form = self.output(n, x.form())?;
        let fields = self.part(n, x.form()).fields;
        let at = Stored { name: Self::NAME, part: 0, fields, per_image: s.per_image(&form) };
        let (mut opened, mut shares) = (vec![], vec![]);
        let work = |mut d: Decided<B>| Ok((d.sign(), d.key.word(RHO, n)?, d.range));
        self.predicate(x.form()).eval(s, &at, &x.value, work, |_, (bits, rho, range)| {
            opened.push((range, bits));
            shares.push(rho);
            Ok(())
        })?;
        Ok(MaskedBit { form, opened: opened.into(), share: Arc::new(s.dev.concat(shares)) })
    }

    /// The bill.
    ///
    /// # Errors
    /// As [`Sign::output`].
    pub fn cost(&self, n: u32, x: &Form) -> Result<Cost> {
        self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(n, x)], ..Cost::default() };
        self.predicate(x).bill(&mut cost, x.len());
        Ok(cost)
    }
}
