//! MaxPool as a tree: `max(a, b) = b + relu(a - b)`, level by level, on the wire's own bits (protocols, section 7).
//!
//! Nothing is opened for the operands: the difference of two masked values is masked by the difference of their masks.
//! A result is masked by `R_b + r_out`, so it feeds the next level as it is. Padded positions are left out of the tree
//! (shapes are public): they count as minus infinity. Exact while `|a - b| < 2^(bits-1)`.

mod tree;

use super::predicate::{Decided, Predicate};
use super::select::Selection;
use super::{Coins, Cost, Gate, take};
use crate::backend::Term;
use crate::compare::Scheme;
use crate::ring::sign_extend;
use crate::session::{Early, Outlet, Own, Stored, Target};
use crate::{
    Backend, Deal, Error, Form, Local, Mask, Masked, Part, Result, Ring, Session, Shape, Share, Window,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
pub use tree::{Level, Tree, of as tree};

/// Maximum over a window of `[batch, channels, height, width]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Comparison of the differences' signs.
    pub scheme: Scheme,
    /// The window.
    pub window: Window,
}

impl MaxPool {
    /// Extents of the image and of the result.
    fn extents(&self, x: &Form) -> Result<([usize; 3], [usize; 2])> {
        let &[_, c, h, w] = &x.shape.0[..] else {
            return Err(Error::shape(Self::NAME, format!("wants [batch, c, h, w], got {:?}", x.shape)));
        };
        Ok(([c, h, w], self.window.output(h, w)?))
    }
    fn tree(&self, x: &Form) -> Result<(Shape, Arc<Tree>)> {
        let (image, out) = self.extents(x)?;
        Ok((x.shape.with_row(&[image[0], out[0], out[1]]), tree::of(self.window, image, out)?))
    }
    /// Comparisons of every level, per image: what plans and bills need, without the tree.
    fn sizes(&self, x: &Form) -> Result<Vec<usize>> {
        let (image, out) = self.extents(x)?;
        tree::sizes(self.window, image, out)
    }

    fn inner(&self, bits: u32) -> (Predicate, Selection) {
        (Predicate::sign(self.scheme, bits), Selection::by_own_sign(bits, bits, true))
    }
    fn part(&self, elements: usize, bits: u32) -> Part {
        let (predicate, select) = self.inner(bits);
        Part { elements, fields: predicate.fields(&select.words()) }
    }
}

impl Gate for MaxPool {
    const NAME: &'static str = "max-pool";

    fn output(&self, _: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        let ([c, ..], [oh, ow]) = self.extents(x)?;
        self.sizes(x)?;
        Ok(Form { shape: x.shape.with_row(&[c, oh, ow]), bits: x.bits })
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], _: Coins) -> Vec<R> {
        let (&[_, _, h, w], Ok(out)) = (&forms[0].shape.0[..], self.output(R::BITS, forms)) else {
            return vec![];
        };
        let &[.., oh, ow] = &out.shape.0[..] else { return vec![] };
        let signed = |v: &R| sign_extend(v.low(), forms[0].bits);
        let planes = x[0].chunks_exact(h * w);
        let best = |plane: &[R], p: usize| {
            self.window.taps(h, w, p / ow, p % ow).map(|t| plane[t]).max_by_key(signed).unwrap_or(R::ZERO)
        };
        planes.flat_map(|plane| (0..oh * ow).map(move |p| best(plane, p))).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [x] = take(Self::NAME, r)?;
        let (bits, dev) = (x.form.bits, d.dev.clone());
        let (shape, tree) = self.tree(x.form())?;
        let (predicate, select) = self.inner(bits);
        let mut wires = vec![x.clone()];
        for (part, level) in tree.iter().enumerate() {
            let all: Vec<&Mask<B>> = wires.iter().collect();
            let a = Mask::local(&dev, &Local::Gather(level.a.clone()), &all)?;
            let b = Mask::local(&dev, &Local::Gather(level.b.clone()), &all)?;
            let diff = Mask::local(&dev, &Local::Sub, &[&a, &b])?;
            let (fresh, sum) = (d.fresh(part as u32, diff.form()), diff.sum(&dev));
            d.tiles(Self::NAME, part as u32, &self.part(diff.form.len(), bits), |t| {
                let big = t.part_of(&sum);
                predicate.deal(t, &big);
                select.deal(t, &big, Some([&big, &big]), &Predicate::sign_mask(t, &big, bits));
            })?;
            wires.push(Mask::local(&dev, &Local::Add, &[&b, &fresh])?);
        }
        let last = wires.pop().ok_or_else(|| Error::shape(Self::NAME, "no level"))?;
        Ok(Mask { form: Form { shape, bits }, shares: last.shares })
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let (shape, tree) = self.tree(x.form())?;
        let mut wires = vec![x.clone()];
        for (part, level) in tree.iter().enumerate() {
            let last = part + 1 == tree.len();
            let outlet = if last { s.outlet() } else { Outlet::Open };
            let share = self.level(s, part as u32, level, &wires, outlet)?;
            if last {
                return Ok(Share { form: Form { shape, bits: x.form.bits }, ..share });
            }
            wires.push(s.open(share)?);
        }
        Err(Error::shape(Self::NAME, "no level"))
    }

    fn mask<B: Backend>(&self, own: &Own<B>, x: &[&Early<B>]) -> Result<B::Buf> {
        let [x] = take(Self::NAME, x)?;
        let (dev, mut wires) = (own.dev, vec![x.clone()]);
        for (part, level) in self.tree(x.form())?.1.iter().enumerate() {
            let b = Early::local(dev, &Local::Gather(level.b.clone()), &wires.iter().collect::<Vec<_>>())?;
            let fresh = Early::mask(b.form().clone(), own.fresh(part as u32, b.form()));
            wires.push(Early::local(dev, &Local::Add, &[&b, &fresh])?);
        }
        wires.pop().map(|w| w.share.into_owned()).ok_or_else(|| Error::shape(Self::NAME, "no level"))
    }

    fn cost(&self, _: u32, x: &[&Form]) -> Result<Cost> {
        let [x] = take(Self::NAME, x)?;
        let mut cost = Cost::default();
        for pairs in self.sizes(x)? {
            let form = Form { shape: x.shape.with_row(&[pairs]), bits: x.bits };
            self.inner(x.bits).0.bill(&mut cost, form.len());
            cost.parts.push(self.part(form.len(), x.bits));
            cost.result(&form);
        }
        Ok(cost)
    }
}

impl MaxPool {
    fn level<B: Backend>(
        &self,
        s: &mut Session<B>,
        part: u32,
        level: &Level,
        wires: &[Masked<B>],
        outlet: Outlet,
    ) -> Result<Share<B>> {
        let (dev, one, bits) = (s.dev.clone(), B::Ring::ONE, wires[0].form.bits);
        let all: Vec<&Masked<B>> = wires.iter().collect();
        let a = Masked::local(&dev, &Local::Gather(level.a.clone()), &all)?;
        let b = Masked::local(&dev, &Local::Gather(level.b.clone()), &all)?;
        let diff = Masked::local(&dev, &Local::Sub, &[&a, &b])?;
        let (predicate, select) = self.inner(bits);
        let at = Stored {
            name: Self::NAME,
            part,
            fields: self.part(0, bits).fields,
            per_image: s.per_image(&diff.form),
        };
        let public = s.me.is_p0();
        let target = Target::new(diff.form.clone(), outlet);
        let mut out = target.grow(&mut s.talk);
        let tile = |mut d: Decided<B>| {
            let part = |v: &B::Buf| dev.slice(v, d.range.start, d.range.len());
            let (sign, rho) = (d.sign(), select.rho(&mut d.key)?);
            let (fresh, second) = (d.key.fresh(bits), part(&b.value));
            let mut own = vec![Term::of(one, &fresh)];
            own.extend(public.then(|| Term::of(one, &second)));
            let r = part(&diff.share);
            let z = select.eval(&mut d.key, &rho, &part(&diff.value), Some(&r), &sign, own)?;
            Ok(target.piece(&dev, z, dev.lin(&[(one, &part(&b.share)), (one, &fresh)], bits)))
        };
        predicate.eval(s, &at, &diff.value, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }
}
