//! What may be known of a wire, as types. Fields are private to this crate: only gates see inside.
//!
//! A [`Mask`] is the dealer's; a [`Masked`] is a party's, and so are a [`BitMask`] and a [`MaskedBit`] of a decision. A
//! [`Share`] and a [`BitShare`] exist only between a gate's computation and its opening. Neither share is `Clone` nor
//! readable:
//!
//! ```compile_fail
//! fn twice<B: twoply_primitives::Backend>(s: twoply_primitives::Share<B>) {
//!     let (_a, _b) = (s.clone(), s);
//! }
//! ```
//! ```compile_fail
//! fn peek<B: twoply_primitives::Backend>(s: &twoply_primitives::Share<B>) -> &B::Buf {
//!     &s.buf
//! }
//! ```

use crate::backend::Slots;
use crate::session::Round;
use crate::{Backend, Error, Form, Local, Result, Ring, Shape};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// One of the two parties. Never a `bool`: the roles differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PartyId {
    /// Holds seeds only, or common words; adds public terms to its share.
    P0,
    /// Stores the corrections.
    P1,
}

impl PartyId {
    /// Both, in order.
    pub const BOTH: [PartyId; 2] = [PartyId::P0, PartyId::P1];

    /// 0 or 1.
    pub fn index(self) -> usize {
        self as usize
    }
    /// The other one.
    pub fn peer(self) -> PartyId {
        PartyId::BOTH[1 - self.index()]
    }
    /// Whether this is P0, who adds public terms.
    pub fn is_p0(self) -> bool {
        self == PartyId::P0
    }
}

impl std::fmt::Display for PartyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(["P0", "P1"][self.index()])
    }
}

/// Dealer side: the mask of one wire, as the two shares the parties hold of it; `r` is their sum mod 2^bits.
///
/// A wire may feed several gates, so a mask can be cloned; new ones come from [`crate::Deal`] only.
#[derive(Clone)]
pub struct Mask<B: Backend> {
    pub(crate) form: Form,
    pub(crate) shares: [B::Buf; 2],
}

impl<B: Backend> Mask<B> {
    /// Shape and width of the wire.
    pub fn form(&self) -> &Form {
        &self.form
    }
    /// The mask of a public wire: none.
    pub fn none(dev: &B, form: &Form) -> Self {
        let zero = || dev.upload(&vec![B::Ring::ZERO; form.len()]);
        Mask { form: form.clone(), shares: [zero(), zero()] }
    }
    /// The mask itself, mod 2^bits.
    pub(crate) fn sum(&self, dev: &B) -> B::Buf {
        dev.lin(&[(B::Ring::ONE, &self.shares[0]), (B::Ring::ONE, &self.shares[1])], self.form.bits)
    }
    /// The mask of `f` applied to wires with masks `x`: the homogeneous part of `f` on each share.
    pub fn local(dev: &B, f: &Local, x: &[&Self]) -> Result<Self> {
        let forms: Vec<&Form> = x.iter().map(|m| &m.form).collect();
        let form = f.output(&forms)?;
        let f = f.homogeneous();
        let side =
            |p: usize| dev.local(&f, &form, &forms, &x.iter().map(|m| &m.shares[p]).collect::<Vec<_>>());
        Ok(Mask { shares: [side(0), side(1)], form })
    }
}

/// Party side: the public value `x + r` mod 2^bits, and this party's own share of `r`. Local maps move both.
#[derive(Clone)]
pub struct Masked<B: Backend> {
    pub(crate) form: Form,
    pub(crate) value: B::Buf,
    pub(crate) share: B::Buf,
    /// P0's additive share of the value, if it was wanted: weights stay, and so does this.
    additive: OnceLock<Arc<B::Buf>>,
}

impl<B: Backend> Masked<B> {
    /// A public value and this party's share of its mask.
    pub(crate) fn new(form: Form, value: B::Buf, share: B::Buf) -> Self {
        Masked { form, value, share, additive: OnceLock::new() }
    }
    /// `x^ - [r]_0`, computed once; P1's additive share is `-[r]_1`.
    pub(crate) fn additive(&self, dev: &B) -> &B::Buf {
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        self.additive.get_or_init(|| {
            Arc::new(dev.lin(&[(B::Ring::ONE, &self.value), (minus, &self.share)], self.form.bits))
        })
    }
    /// A value that both parties know, under no mask.
    pub fn public(dev: &B, form: &Form, value: &[B::Ring]) -> Self {
        let share = dev.upload(&vec![B::Ring::ZERO; value.len()]);
        Masked::new(form.clone(), dev.upload(value), share)
    }
    /// Overwrites what this party alone knows of the wire: its share of the mask, and what was computed from it.
    pub fn wipe(&mut self, dev: &B) {
        dev.wipe(&mut self.share);
        if let Some(additive) = self.additive.get_mut().and_then(Arc::get_mut) {
            dev.wipe(additive);
        }
    }
    /// Shape and width of the wire.
    pub fn form(&self) -> &Form {
        &self.form
    }
    /// `f` on the public values, its homogeneous part on this party's mask shares.
    pub fn local(dev: &B, f: &Local, x: &[&Self]) -> Result<Self> {
        let forms: Vec<&Form> = x.iter().map(|m| &m.form).collect();
        let form = f.output(&forms)?;
        let value = dev.local(f, &form, &forms, &x.iter().map(|m| &m.value).collect::<Vec<_>>());
        let share =
            dev.local(&f.homogeneous(), &form, &forms, &x.iter().map(|m| &m.share).collect::<Vec<_>>());
        Ok(Masked::new(form, value, share))
    }
}

/// One party's additive share, mod 2^bits, of a gate's masked result, with its share of the result's mask.
///
/// Opened by [`crate::Session::open`] or addressed to an owner by [`crate::Session::for_owner`]; both take it by value.
pub struct Share<B: Backend> {
    pub(crate) form: Form,
    pub(crate) buf: B::Buf,
    pub(crate) mask: B::Buf,
    /// The opening that has begun already, if the gate let its result leave while it grew.
    pub(crate) begun: Option<Round>,
}

/// One party's XOR shares of masked bits, one or several for each of some slots; travels at one bit each.
pub struct BitShare<B: Backend> {
    pub(crate) planes: B::Planes,
    pub(crate) slots: Slots,
}

/// Dealer side: the masks `rho` of one bit per element, as the ring elements 0 and 1.
///
/// Made by [`crate::gate::Sign`]; may serve several [`crate::gate::Select`], so it can be cloned.
#[derive(Clone)]
pub struct BitMask<B: Backend> {
    pub(crate) form: Form,
    pub(crate) rho: Arc<B::Buf>,
}

impl<B: Backend> BitMask<B> {
    /// Shape of the bits; width 1.
    pub fn form(&self) -> &Form {
        &self.form
    }
    /// The same bits in another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if it has another number of elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        Ok(BitMask { form: reshaped(&self.form, shape.into())?, ..self.clone() })
    }
}

/// Party side: the opened bit `d^ = d xor rho` of every element, which both parties hold, and this party's share of `rho`.
#[derive(Clone)]
pub struct MaskedBit<B: Backend> {
    pub(crate) form: Form,
    /// `d^`, a group of tiles at a time, in order, with the run's elements it covers.
    pub(crate) opened: Arc<[(Range<usize>, B::Bits)]>,
    /// `[rho]_b` mod 2^n.
    pub(crate) share: Arc<B::Buf>,
}

impl<B: Backend> MaskedBit<B> {
    /// Shape of the bits; width 1.
    pub fn form(&self) -> &Form {
        &self.form
    }
    /// The same bits in another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if it has another number of elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        Ok(MaskedBit { form: reshaped(&self.form, shape.into())?, ..self.clone() })
    }
    /// `d^` of one group of tiles: wires of one number of elements are cut into the same groups all through a run.
    pub(crate) fn at(&self, group: &Range<usize>) -> Result<&B::Bits> {
        let found = self.opened.binary_search_by_key(&group.start, |o| o.0.start).map(|i| &self.opened[i]);
        match found {
            Ok((range, bits)) if range == group => Ok(bits),
            _ => Err(Error::shape("bit", format!("elements {group:?} were decided in another run"))),
        }
    }
}

fn reshaped(from: &Form, shape: Shape) -> Result<Form> {
    if shape.len() != from.len() {
        return Err(Error::shape("bit", format!("cannot reshape {:?} into {:?}", from.shape.0, shape.0)));
    }
    Ok(Form { shape, ..from.clone() })
}
