//! A public function of a short value, by its table: `T[t]` for t masked mod 2^w.
//!
//! The parties share, by exclusive or, the one-hot of the mask R: up to 8 bits as a table of 2^w bits, of which P1 stores
//! the correction, from 9 to 13 as a half-tree key, all of whose leaves are the one-hot. Bit i of `T[X - R]` is the parity
//! over j of `hot_j` and `T[X - j]_i`, of which each party computes its share; every entry is touched for every element. The
//! `a` bits of the entry are opened under free bits beta, of which P1 stores each as a word, and
//!
//! `z_b = sum of 2^i ([b=0] y^_i + (1 - 2 y^_i) [beta_i]_b) + [r_out]_b`,
//!
//! `[beta_i]` mod 2^(n - i). Two rounds (training, section 4). At w = 8, a = 15, n = 32 P1 stores 79 bytes.
//!
//! On an open wire `shift` bits may be dropped first: `X = x^ >> shift` is masked by `R = r >> shift` up to a public coin, as
//! in [`super::Relu`]. Only the dealer needs R, so neither the shift nor the reduction mod 2^w costs anything.

use super::opening::{Decided, Opening, Undecided, Weight};
use super::{Coins, Cost, Gate, cut_open, take};
use crate::backend::{Digit, Hot, Lookup, Term};
use crate::deal::TileDeal;
use crate::ring::ones;
use crate::session::{Stored, Target, TileKey};
use crate::{Backend, Deal, Error, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// The one-hot, or the roots of its key.
const HOT: u32 = 1;
/// Masks of the entry's bits, and their words.
const BETA: u32 = 0x100;
const WORD: u32 = 0x200;

/// Widest place whose one-hot is dealt as it is.
const DEALT: u32 = 8;
/// Widest place of all: a half-tree of 64 leaves.
const WIDEST: u32 = 13;

/// `entries[(x >> shift) mod 2^width]`, in n bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Bits w of a place, 1 to 13.
    pub width: u32,
    /// Bits dropped from an open wire first, by a public coin; 0 for none.
    pub shift: u32,
    /// Bits a of an entry, 1 to 32 and no more than n.
    pub bits: u32,
    /// `2^width` numbers below `2^bits`, public and part of the plan.
    pub entries: Arc<[u32]>,
}

impl Table {
    fn part(&self, n: u32, x: &Form) -> Part {
        let words = (0..self.bits).map(|i| n - i);
        let fields = match self.width {
            ..=DEALT => [vec![], std::iter::once(1 << self.width).chain(words).collect()],
            w => {
                let key = 128 * (w - 6);
                [vec![key], std::iter::once(key).chain(words).collect()]
            }
        };
        Part { elements: x.len(), fields }
    }
    /// Fields of the masks of the entry's bits.
    fn betas(&self) -> Vec<u32> {
        (0..self.bits).map(|i| BETA + i).collect()
    }
    /// Dealer: shares of the one-hot of `r`.
    fn deal_hot<B: Backend>(&self, t: &mut TileDeal<B>, r: &B::Buf) {
        match self.width {
            ..=DEALT => t.table(HOT, r, Digit { shift: 0, bits: self.width }),
            w => t.dpf(HOT, 0, w, r),
        }
    }
    /// Party: its shares of the entries' bits at `x`.
    fn look_up<B: Backend>(&self, key: &mut TileKey<B>, x: &B::Buf) -> Result<B::Planes> {
        let dev = key.dev().clone();
        let table = Lookup { width: self.width, bits: self.bits, entries: &self.entries };
        let found = match self.width {
            ..=DEALT => {
                let place = key.correction(1 << self.width)?;
                dev.look_up(table, Hot::Table(key.field(HOT, place)?), x, key.slots())
            }
            w => {
                let place = key.common(128 * (w - 6))?;
                let (trees, roots, words) = (&key.trees(0), key.own_roots(HOT), key.stored(place)?);
                dev.look_up(table, Hot::Tree { trees, roots, words }, x, key.slots())
            }
        };
        key.compared();
        Ok(dev.planes((0..self.bits).map(|i| dev.bit(&found, i)).collect()))
    }
}

impl Gate for Table {
    const NAME: &'static str = "table";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        let why = if !(1..=WIDEST).contains(&self.width) {
            format!("places have {} bits, 1 to {WIDEST} can be looked up", self.width)
        } else if u64::from(self.width) + u64::from(self.shift) > u64::from(x.bits) {
            format!("cannot take {} bits above {} of a wire of {}", self.width, self.shift, x.bits)
        } else if !(1..=n.min(32)).contains(&self.bits) {
            format!("entries have {} bits, the result {n}", self.bits)
        } else if self.entries.len() != 1 << self.width {
            format!("{} entries for places of {} bits", self.entries.len(), self.width)
        } else if let Some(e) = self.entries.iter().find(|&&e| u64::from(e) > ones(self.bits)) {
            format!("the entry {e} has more than {} bits", self.bits)
        } else {
            return Ok(Form { bits: n, ..x.clone() });
        };
        Err(Error::shape(Self::NAME, why))
    }

    fn ideal<R: Ring>(&self, _: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        let value = |(i, v): (usize, &R)| {
            let t = cut_open(*v, self.shift, coins.map(|c| c[i])) as u64 & ones(self.width);
            R::from_u64(self.entries[t as usize].into())
        };
        x[0].iter().enumerate().map(value).collect()
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let n = B::Ring::BITS;
        let form = self.output(n, &[r.form()])?;
        let (dev, out) = (d.dev.clone(), d.fresh(0, &form));
        let big = dev.shift(&r.sum(&dev), 0, self.shift, self.width);
        d.tiles(Self::NAME, 0, &self.part(n, r.form()), |t| {
            self.deal_hot(t, &t.part_of(&big));
            let beta = t.free_bits(&self.betas());
            for i in 0..self.bits {
                t.word(WORD + i, &dev.of_bits(&dev.plane(&beta, i as usize)), n - i);
            }
        })?;
        Ok(out)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let (n, one) = (B::Ring::BITS, B::Ring::ONE);
        let form = self.output(n, &[x.form()])?;
        let (dev, shift) = (s.dev.clone(), self.shift);
        if !s.me.is_p0() && shift > 0 {
            s.coin(|dev| dev.download(&x.value).iter().map(|v| v.low() & ones(shift)).collect());
        }
        let big = dev.shift(&x.value, 0, shift, self.width);
        let fields = self.part(n, x.form()).fields;
        let at = Stored { name: Self::NAME, part: 0, fields, per_image: s.per_image(&form) };
        let look_up = |mut key: TileKey<B>, range: Range<usize>| {
            let found = self.look_up(&mut key, &dev.slice(&big, range.start, range.len()))?;
            let masked = dev.xor_planes(found, &key.own_planes(&self.betas()));
            Ok(Undecided::new(masked, key, range))
        };
        let mut opening = Opening::new(&mut s.talk, form.len(), self.bits as usize);
        s.tiles(&at, look_up, |talk, masked| opening.say(talk, masked))?;
        let weight = |i: u32| Weight { c: one.shl(i), field: WORD + i, width: n - i };
        let weights: Vec<_> = (0..self.bits).map(weight).collect();
        let target = Target::new(form, s.outlet());
        let mut out = target.grow(&mut s.talk);
        let tile = |mut d: Decided<B>| {
            let mask = d.key.fresh(n);
            let z = d.weighted(&[Term::of(one, &mask)], &weights, n)?;
            Ok(target.piece(&dev, z, mask))
        };
        opening.each(&dev, &mut s.talk, tile, |talk, piece| out.push(&dev, talk, piece))?;
        Ok(out.whole(&dev))
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let form = self.output(n, x)?;
        let mut cost = Cost { parts: vec![self.part(n, x[0])], ..Cost::default() };
        cost.message(form.len() * self.bits as usize, 1);
        cost.result(&form);
        Ok(cost)
    }
}
