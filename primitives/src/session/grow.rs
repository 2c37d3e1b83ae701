//! A gate's result while it grows: if both parties open it, what is there leaves before the rest is computed.

use super::{Outlet, Round, Talk};
use crate::backend::Packet;
use crate::{Backend, Form, Result, Share};

/// Some elements of a result: this party's share, its share of their masks, and what the peer is to see.
pub(crate) struct Piece<B: Backend> {
    share: B::Buf,
    mask: B::Buf,
    packed: Option<B::Packet>,
}

/// Where the pieces of a result go, known before the first is computed.
#[derive(Clone)]
pub(crate) struct Target {
    form: Form,
    outlet: Outlet,
}

impl Target {
    /// A result of this form.
    pub fn new(form: Form, outlet: Outlet) -> Self {
        Target { form, outlet }
    }
    /// The next elements, from the thread that computed them: packing is most of what is left to do.
    pub fn piece<B: Backend>(&self, dev: &B, share: B::Buf, mask: B::Buf) -> Piece<B> {
        let packed = (self.outlet == Outlet::Open).then(|| dev.pack(&share, self.form.bits));
        Piece { share, mask, packed }
    }
    /// Begins the result.
    pub fn grow<B: Backend>(&self, talk: &mut Talk) -> Growing<B> {
        let bits = self.form.len() * self.form.bits as usize;
        let begun = (self.outlet == Outlet::Open).then(|| talk.round(bits));
        Growing { form: self.form.clone(), parts: vec![], masks: vec![], begun }
    }
}

/// A result, piece by piece in order.
pub(crate) struct Growing<B: Backend> {
    form: Form,
    parts: Vec<B::Buf>,
    masks: Vec<B::Buf>,
    begun: Option<Round>,
}

impl<B: Backend> Growing<B> {
    /// Takes the next piece; what the peer is to see of it leaves.
    pub fn push(&mut self, dev: &B, talk: &mut Talk, p: Piece<B>) -> Result<()> {
        if let (Some(round), Some(packed)) = (&mut self.begun, p.packed) {
            talk.say(round, &packed.wait()?, dev.len(&p.share) * self.form.bits as usize)?;
        }
        self.parts.push(p.share);
        self.masks.push(p.mask);
        Ok(())
    }
    /// The whole.
    pub fn whole(self, dev: &B) -> Share<B> {
        let (buf, mask) = (dev.concat(self.parts), dev.concat(self.masks));
        Share { form: self.form, buf, mask, begun: self.begun }
    }
}
