//! ReLU fused with an exact truncation: `max(floor(x / 2^f), 0)` of an open wire of n bits.
//!
//! The sign is that of `x` itself, not of a rounded `t`; subtracting the borrow after a public-coin ReLU is wrong
//! (protocols, section 6). One comparison of `n - 1` bits yields `d = [x >= 0]`, its low part the borrow
//! `c = [x^_low < r_low]`; both are opened masked. Words: rho (n), `-d R - d c` for the four openings (4n), and
//! `d msb(r)` for both openings of d (f bits each, used if `msb(x^) = 0`).

use super::predicate::{Decided, Predicate};
use super::{Coins, Cost, Gate, take};
use crate::backend::Term;
use crate::compare::Scheme;
use crate::session::{Stored, Target};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

const RHO: u32 = 1;
const TERM: u32 = 2;
const TOP: u32 = 6;

/// `max(floor(x / 2^cut), 0)`, n bits wide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReluFloor {
    /// Comparison of the sign and of the borrow.
    pub scheme: Scheme,
    /// Bits cut off, at least 1.
    pub cut: u32,
}

impl ReluFloor {
    fn part(&self, x: &Form) -> Part {
        let words = [x.bits, x.bits, x.bits, x.bits, x.bits, self.cut, self.cut];
        Part { elements: x.len(), fields: self.predicate(x).fields(&words) }
    }
    fn predicate(&self, x: &Form) -> Predicate {
        Predicate::both(self.scheme, x.bits, self.cut)
    }
}

/// `bits` if `want` is 1, their complement if it is 0: which elements were opened as `want`.
fn opened_as<B: Backend>(dev: &B, bits: &B::Bits, want: u32) -> B::Bits {
    if want == 1 { bits.clone() } else { dev.not(bits) }
}

impl Gate for ReluFloor {
    const NAME: &'static str = "relu-floor";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        if x.bits != n || self.cut == 0 || self.cut + 2 > n {
            return Err(Error::shape(
                Self::NAME,
                format!("cannot cut {} of {} bits in a ring of {n}", self.cut, x.bits),
            ));
        }
        Ok(x.clone())
    }

    fn ideal<R: Ring>(&self, _: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        x[0].iter().map(|v| R::from_i64((v.signed() >> self.cut).max(0))).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let (n, one) = (B::Ring::BITS, B::Ring::ONE);
        let form = self.output(n, &[r.form()])?;
        let (dev, out, minus) = (d.dev.clone(), d.fresh(0, &form), B::Ring::ZERO.sub(one));
        let (r, predicate) = (r.sum(&dev), self.predicate(&form));
        d.tiles(Self::NAME, 0, &self.part(&form), |t| {
            let r = t.part_of(&r);
            predicate.deal(t, &r);
            let (sign, borrow) = (Predicate::sign_mask(t, &r, n), Predicate::borrow_mask(t));
            let big = dev.shift(&r, 0, self.cut, n - self.cut);
            let msb = dev.bit(&r, n - 1);
            t.word(RHO, &dev.of_bits(&sign), n);
            let clear = |opened: u32, mask: &B::Bits| opened_as(&dev, mask, 1 - opened); // opened xor mask
            for (dh, ch) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (d, c) = (clear(dh, &sign), clear(ch, &borrow));
                let both = dev.and(&d, &c);
                let terms = [Term::of(minus, &big).when(&d), Term::one(minus).when(&both)];
                t.word(TERM + 2 * dh + ch, &dev.sum(dev.len(&r), &terms, n), n);
            }
            (0..2).for_each(|dh| t.word(TOP + dh, &dev.of_bits(&dev.and(&clear(dh, &sign), &msb)), self.cut));
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let dev = s.dev.clone();
        let at = Stored {
            name: Self::NAME,
            part: 0,
            fields: self.part(&form).fields,
            per_image: s.per_image(&form),
        };
        let target = Target::new(form.clone(), s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |d: Decided<B>| {
            let mask = d.key.fresh(form.bits);
            let z = self.tile(&dev.slice(&x.value, d.range.start, d.range.len()), d, &mask)?;
            Ok(target.piece(&dev, z, mask))
        };
        self.predicate(&form).eval(s, &at, &x.value, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(&form)], ..Cost::default() };
        self.predicate(&form).bill(&mut cost, form.len());
        cost.result(&form);
        Ok(cost)
    }
}

impl ReluFloor {
    /// One group's share, masked by `mask`.
    fn tile<B: Backend>(&self, x: &B::Buf, mut d: Decided<B>, mask: &B::Buf) -> Result<B::Buf> {
        let (dev, n, one) = (d.key.dev().clone(), B::Ring::BITS, B::Ring::ONE);
        let (sign, borrow) = (d.sign(), d.borrow());
        let big = dev.shift(x, 0, self.cut, n - self.cut);
        let rho = d.key.word(RHO, n)?;
        // share of d = d^ + (1 - 2 d^) rho, times X
        let minus_two = B::Ring::ZERO.sub(one.add(one));
        let mut bit = vec![Term::of(one, &rho), Term::of(minus_two, &rho).when(&sign)];
        if d.key.me().is_p0() {
            bit.push(Term::one(one).when(&sign));
        }
        let chosen = dev.mul(&dev.sum(dev.len(x), &bit, n), &big);
        let low_half = dev.not(&dev.bit(x, n - 1));
        // the words for what was opened: (coefficient, where, word)
        let mut words = Vec::with_capacity(6);
        for (dh, ch) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let here = dev.and(&opened_as(&dev, &sign, dh), &opened_as(&dev, &borrow, ch));
            words.push((one, here, d.key.word(TERM + 2 * dh + ch, n)?));
        }
        for dh in 0..2 {
            let here = dev.and(&opened_as(&dev, &sign, dh), &low_half);
            words.push((one.shl(n - self.cut), here, d.key.word(TOP + dh, self.cut)?));
        }
        let words = words.iter().map(|(c, here, word)| Term::of(*c, word).when(here));
        let terms: Vec<_> = [Term::of(one, &chosen), Term::of(one, mask)].into_iter().chain(words).collect();
        Ok(dev.sum(dev.len(x), &terms, n))
    }
}
