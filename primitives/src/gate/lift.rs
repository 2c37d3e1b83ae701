//! From m bits back to n: `X' = (X + q) mod 2^m`, `q = 2^(m-2)`; `t = X' - R_sel - q` with `R_sel = R` if `msb(X') = 1`, else
//! R sign-extended. Exact for `-q <= t <= q` (protocols, section 4). The choice depends on a public bit.
//!
//! Both parties hold `[R]_b` mod 2^m from their seeds; P1 stores the carry of the two as integers and `msb(R)`, `n - m`
//! bits each.

use super::{Coins, Cost, Gate, take};
use crate::backend::Term;
use crate::ring::sign_extend;
use crate::session::{Stored, Target, TileKey};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

const WRAP: u32 = 1;
const MSB: u32 = 2;

/// The same value in `n` bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lift;

impl Lift {
    fn part(n: u32, x: &Form) -> Part {
        Part { elements: x.len(), fields: [vec![], vec![n - x.bits, n - x.bits]] }
    }
}

/// The part of this party's share that depends on `X'`, and `own` terms: `[b=0] (X' - q) + 2^m (1 - msb(X')) [msb R]_b`,
/// mod 2^n.
pub(super) fn extend<B: Backend>(
    key: &TileKey<B>,
    x: &B::Buf,
    m: u32,
    msb: &B::Buf,
    own: Vec<Term<B>>,
) -> B::Buf {
    let (dev, one, q) = (key.dev(), B::Ring::ONE, 1u64 << (m - 2));
    let up = dev.shift(x, q, 0, m);
    let mu = dev.not(&dev.bit(&up, m - 1));
    let mut terms = own;
    terms.push(Term::of(one.shl(m), msb).when(&mu));
    if key.me().is_p0() {
        terms.extend([Term::of(one, &up), Term::one(B::Ring::ZERO.sub(B::Ring::from_u64(q)))]);
    }
    dev.sum(dev.len(x), &terms, B::Ring::BITS)
}

impl Gate for Lift {
    const NAME: &'static str = "lift";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        if x.bits >= n || x.bits < 3 {
            return Err(Error::shape(Self::NAME, format!("cannot lift {} bits to {n}", x.bits)));
        }
        Ok(Form { bits: n, ..x.clone() })
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        x[0].iter().map(|v| R::from_i64(sign_extend(v.low(), forms[0].bits))).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let (n, m, one) = (B::Ring::BITS, r.form.bits, B::Ring::ONE);
        let form = self.output(n, &[r.form()])?;
        let (dev, out) = (d.dev.clone(), d.fresh(0, &form));
        let sum = dev.lin(&[(one, &r.shares[0]), (one, &r.shares[1])], n);
        d.tiles(Self::NAME, 0, &Self::part(n, r.form()), |t| {
            let sum = t.part_of(&sum);
            t.word(WRAP, &dev.shift(&sum, 0, m, n - m), n - m);
            t.word(MSB, &dev.of_bits(&dev.bit(&sum, m - 1)), n - m);
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let (n, m, one) = (B::Ring::BITS, x.form.bits, B::Ring::ONE);
        let form = self.output(n, &[x.form()])?;
        let (dev, minus) = (s.dev.clone(), B::Ring::ZERO.sub(one));
        let fields = Self::part(n, x.form()).fields;
        let at = Stored { name: Self::NAME, part: 0, fields, per_image: s.per_image(&form) };
        let target = Target::new(form, s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |mut key: TileKey<B>, range: std::ops::Range<usize>| {
            let part = |v: &B::Buf| dev.slice(v, range.start, range.len());
            let (wrap, msb) = (key.word(WRAP, n - m)?, key.word(MSB, n - m)?);
            let (share, mask) = (part(&x.share), key.fresh(n));
            let own = vec![Term::of(minus, &share), Term::of(one.shl(m), &wrap), Term::of(one, &mask)];
            let z = extend(&key, &part(&x.value), m, &msb, own);
            Ok(target.piece(&dev, z, mask))
        };
        s.tiles(&at, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![Self::part(n, x[0])], ..Cost::default() };
        cost.result(&form);
        Ok(cost)
    }
}
