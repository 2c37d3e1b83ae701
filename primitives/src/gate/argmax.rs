//! Argmax as a tournament with a value lane and an index lane (protocols, section 7).
//!
//! Ties go to the lower index: the earlier operand wins where the difference is zero. Both lanes use one masked sign.
//! The last level opens only the index. Values are compared on all n bits, so logits need no truncation.

use super::predicate::{Decided, Predicate};
use super::select::{Selection, choose};
use super::{Coins, Cost, Gate, take};
use crate::backend::Term;
use crate::compare::Scheme;
use crate::deal::TileDeal;
use crate::session::{Early, Own, Stored};
use crate::{Backend, Deal, Error, Form, Local, Mask, Masked, Part, Result, Ring, Session, Shape, Share};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Fields and fresh masks of the index lane are numbered apart from those of the value lane.
const INDEX_RHO: u32 = 0x10;
const INDEX_RHO_R: u32 = 0x11;
const INDEX_PART: u32 = 0x1000;

/// Index of the largest of `[batch, k]`, in `ceil(log2 k)` bits; result `[batch, 1]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argmax {
    /// Comparison of the differences' signs.
    pub scheme: Scheme,
}

/// Bits of an index below `k`.
fn index_bits(k: usize) -> u32 {
    (k - 1).ilog2() + 1
}

/// `select` on an index lane of `kappa` bits, `X` and `R` being the indices' difference and its mask.
struct Lanes {
    value: Option<Selection>,
    kappa: u32,
    /// Whether the indices are still public, so that their difference has no mask.
    public: bool,
}

impl Lanes {
    fn words(&self) -> Vec<u32> {
        let mut w = self.value.map_or_else(|| vec![self.kappa], |v| v.words());
        if !self.public {
            w.push(self.kappa);
        }
        w
    }
}

impl Argmax {
    /// The level that leaves `k` candidates to `ceil(k / 2)`: forms of the pairs, lanes, stored part.
    fn level(&self, n: u32, batch: usize, k: usize, first: usize) -> (Form, Form, Lanes, Part) {
        let pairs = Shape::from([batch, k / 2]);
        let kappa = index_bits(first);
        let value = (k > 2).then_some(Selection::by_own_sign(n, n, true));
        let lanes = Lanes { value, kappa, public: k == first };
        let part = Part { elements: pairs.len(), fields: self.predicate(n).fields(&lanes.words()) };
        (Form { shape: pairs.clone(), bits: n }, Form { shape: pairs, bits: kappa }, lanes, part)
    }
    fn predicate(&self, n: u32) -> Predicate {
        Predicate::sign(self.scheme, n)
    }
    /// Candidates of every level, down to 2.
    fn sizes(k: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(k), |k| Some(k.div_ceil(2))).take_while(|&k| k > 1)
    }
}

/// Places of the first and second of each pair among `k`, and of the one left over behind `k / 2` winners.
fn pairs(k: usize) -> (Arc<[usize]>, Arc<[usize]>) {
    ((0..k / 2).map(|i| 2 * i).collect(), (0..k / 2).map(|i| 2 * i + 1).collect())
}
/// Winners, then the one without a partner: places among the `k` candidates followed by the winners.
fn next(k: usize) -> Local {
    Local::Gather((k..k + k / 2).chain((k % 2 == 1).then_some(k - 1)).collect())
}

impl Gate for Argmax {
    const NAME: &'static str = "argmax";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        let &[batch, k] = &x.shape.0[..] else {
            return Err(Error::shape(Self::NAME, format!("wants [batch, k], got {:?}", x.shape)));
        };
        if k < 2 || x.bits != n {
            return Err(Error::shape(
                Self::NAME,
                format!("{k} candidates of {} bits in a ring of {n}", x.bits),
            ));
        }
        Ok(Form::new([batch, 1], index_bits(k)))
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        let k = forms[0].shape.row();
        let first = |row: &[R]| (0..k).max_by_key(|&i| (row[i].signed(), k - i)).unwrap_or(0);
        x[0].chunks_exact(k).map(|row| R::from_u64(first(row) as u64)).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [x] = take(Self::NAME, r)?;
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let (dev, n, first) = (d.dev.clone(), B::Ring::BITS, x.form.shape.row());
        let zero = dev.upload(&vec![B::Ring::ZERO; x.form.len()]);
        let index_form = Form { bits: form.bits, ..x.form.clone() };
        let mut value = x.clone();
        let mut index = Mask { form: index_form, shares: [zero.clone(), zero] };
        for (part, k) in Self::sizes(first).enumerate() {
            let part = part as u32;
            let (value_form, pair_form, lanes, layout) = self.level(n, form.shape.batch(), k, first);
            let (a, b) = pairs(k);
            let of = |m: &Mask<B>| -> Result<(Mask<B>, Mask<B>)> {
                let b = Mask::local(&dev, &Local::Gather(b.clone()), &[m])?;
                let a = Mask::local(&dev, &Local::Gather(a.clone()), &[m])?;
                Ok((Mask::local(&dev, &Local::Sub, &[&a, &b])?, b))
            };
            let ((dv, bv), (di, bi)) = (of(&value)?, of(&index)?);
            let (sum, index_sum) = (dv.sum(&dev), di.sum(&dev));
            let predicate = self.predicate(n);
            d.tiles(Self::NAME, part, &layout, |t| {
                let big = t.part_of(&sum);
                predicate.deal(t, &big);
                lanes.deal(t, &big, &t.part_of(&index_sum), &Predicate::sign_mask(t, &big, n));
            })?;
            let fresh = d.fresh(INDEX_PART + part, &pair_form);
            let winners = Mask::local(&dev, &Local::Add, &[&bi, &fresh])?;
            if k == 2 {
                return Ok(Mask { form, shares: winners.shares });
            }
            index = Mask::local(&dev, &next(k), &[&index, &winners])?;
            let fresh = d.fresh(part, &value_form);
            value = Mask::local(&dev, &next(k), &[&value, &Mask::local(&dev, &Local::Add, &[&bv, &fresh])?])?;
        }
        Err(Error::shape(Self::NAME, "no level"))
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let form = self.output(B::Ring::BITS, &[x.form()])?;
        let (dev, first) = (s.dev.clone(), x.form.shape.row());
        let ids: Vec<B::Ring> = (0..x.form.len()).map(|e| B::Ring::from_u64((e % first) as u64)).collect();
        let mut value = x.clone();
        let zero = dev.upload(&vec![B::Ring::ZERO; ids.len()]);
        let mut index = Masked::new(Form { bits: form.bits, ..x.form.clone() }, dev.upload(&ids), zero);
        for (part, k) in Self::sizes(first).enumerate() {
            let mut shares = self.round(s, part as u32, (k, first), &value, &index)?;
            if k == 2 {
                let last = shares.pop().ok_or_else(|| Error::shape(Self::NAME, "no index"))?;
                return Ok(Share { form, ..last });
            }
            let opened = s.open_together(shares)?;
            value = Masked::local(&dev, &next(k), &[&value, &opened[0]])?;
            index = Masked::local(&dev, &next(k), &[&index, &opened[1]])?;
        }
        Err(Error::shape(Self::NAME, "no level"))
    }

    fn mask<B: Backend>(&self, own: &Own<B>, x: &[&Early<B>]) -> Result<B::Buf> {
        let [x] = take(Self::NAME, x)?;
        let (form, dev) = (self.output(B::Ring::BITS, &[x.form()])?, own.dev);
        let zero = dev.upload(&vec![B::Ring::ZERO; x.form().len()]);
        let mut index = Early::mask(Form { bits: form.bits, ..x.form().clone() }, zero);
        for (part, k) in Self::sizes(x.form().shape.row()).enumerate() {
            let b = Early::local(dev, &Local::Gather(pairs(k).1), &[&index])?;
            let fresh = own.fresh(INDEX_PART + part as u32, b.form());
            let winners = Early::local(dev, &Local::Add, &[&b, &Early::mask(b.form().clone(), fresh)])?;
            if k == 2 {
                return Ok(winners.share.into_owned());
            }
            index = Early::local(dev, &next(k), &[&index, &winners])?;
        }
        Err(Error::shape(Self::NAME, "no level"))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let (mut cost, first) = (Cost::default(), x[0].shape.row());
        for k in Self::sizes(first) {
            let (value, index, lanes, part) = self.level(n, form.shape.batch(), k, first);
            self.predicate(n).bill(&mut cost, part.elements);
            cost.result(&index);
            if lanes.value.is_some() {
                // one message for both lanes
                cost.bytes += value.packed_bytes();
                cost.opened += value.len() as u64;
            }
            cost.parts.push(part);
        }
        Ok(cost)
    }
}

/// A level's operands: the difference of the pairs, and the second of each.
fn compare_pairs<B: Backend>(dev: &B, k: usize, x: &Masked<B>) -> Result<(Masked<B>, Masked<B>)> {
    let (a, b) = pairs(k);
    let a = Masked::local(dev, &Local::Gather(a), &[x])?;
    let b = Masked::local(dev, &Local::Gather(b), &[x])?;
    Ok((Masked::local(dev, &Local::Sub, &[&a, &b])?, b))
}

impl Argmax {
    /// One level: shares of the winners' values (but for the last level) and of their indices.
    fn round<B: Backend>(
        &self,
        s: &mut Session<B>,
        part: u32,
        (k, first): (usize, usize),
        value: &Masked<B>,
        index: &Masked<B>,
    ) -> Result<Vec<Share<B>>> {
        let (dev, n, one) = (s.dev.clone(), B::Ring::BITS, B::Ring::ONE);
        let (value_form, index_form, lanes, layout) = self.level(n, s.batch(), k, first);
        let ((dv, bv), (di, bi)) = (compare_pairs(&dev, k, value)?, compare_pairs(&dev, k, index)?);
        let at = Stored { name: Self::NAME, part, fields: layout.fields, per_image: k / 2 };
        let (mut values, mut indices) = (vec![], vec![]);
        self.predicate(n).eval(
            s,
            &at,
            &dv.value,
            |d| lanes.eval(d, &dv, &di),
            |_, (value, index)| {
                values.push(value);
                indices.push(index);
                Ok(())
            },
        )?;
        let public = if s.me.is_p0() { one } else { B::Ring::ZERO };
        let share = |form: Form, part, z: Vec<B::Buf>, b: &Masked<B>| {
            let fresh = s.fresh(part, &form);
            let buf = dev.lin(&[(one, &dev.concat(z)), (one, &fresh), (public, &b.value)], form.bits);
            let mask = dev.lin(&[(one, &b.share), (one, &fresh)], form.bits);
            Share { form, buf, mask, begun: None }
        };
        let mut out = Vec::with_capacity(2);
        if lanes.value.is_some() {
            out.push(share(value_form, part, values, &bv));
        }
        out.push(share(index_form, INDEX_PART + part, indices, &bi));
        Ok(out)
    }
}

impl Lanes {
    fn deal<B: Backend>(&self, t: &mut TileDeal<B>, r: &B::Buf, index: &B::Buf, rho: &B::Bits) {
        let dev = t.dev().clone();
        match &self.value {
            Some(v) => v.deal(t, r, Some([r, r]), rho),
            None => t.word(INDEX_RHO, &dev.of_bits(rho), self.kappa),
        }
        if !self.public {
            let product = dev.sum(dev.len(index), &[Term::of(B::Ring::ONE, index).when(rho)], self.kappa);
            t.word(INDEX_RHO_R, &product, self.kappa);
        }
    }

    /// One tile: shares of the winners' values and indices relative to the second of each pair, without masks.
    fn eval<B: Backend>(
        &self,
        mut d: Decided<B>,
        dv: &Masked<B>,
        di: &Masked<B>,
    ) -> Result<(B::Buf, B::Buf)> {
        let dev = d.key.dev().clone();
        let (range, sign) = (d.range.clone(), d.sign());
        let part = |v: &B::Buf| dev.slice(v, range.start, range.len());
        let (rho, value) = match &self.value {
            Some(v) => {
                let rho = v.rho(&mut d.key)?;
                let z = v.eval(&mut d.key, &rho, &part(&dv.value), Some(&part(&dv.share)), &sign, vec![])?;
                (rho, z)
            }
            None => (d.key.word(INDEX_RHO, self.kappa)?, dev.upload(&[])),
        };
        let rho_r = if self.public { None } else { Some(d.key.word(INDEX_RHO_R, self.kappa)?) };
        let shares = (rho_r.as_ref(), &part(&di.share));
        Ok((value, choose(&d.key, &sign, &rho, &part(&di.value), shares, self.kappa)))
    }
}
