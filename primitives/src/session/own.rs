//! What a party can do before a run has its input: its own randomness and corrections, no peer.

use super::tile::{Source, groups};
use crate::deal::FRESH;
use crate::pool;
use crate::prg::{Origin, Streams, owner_key};
use crate::{Backend, Form, KeySource, Local, Masked, PartyId, Result, Seed, Site};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// One party's randomness and stored words of some images at one gate.
#[derive(Clone)]
pub struct Own<'a, B: Backend> {
    /// The device.
    pub dev: &'a B,
    /// Which party this is.
    pub me: PartyId,
    /// This party's seed of the segment.
    pub seed: &'a Seed,
    /// Key set and segment.
    pub origin: Origin,
    /// Images of the segment.
    pub images: Range<usize>,
    /// Key tiles of the segment.
    pub keys: &'a dyn KeySource,
    /// Number of the gate.
    pub gate: u32,
}

impl<B: Backend> Own<'_, B> {
    /// Elements of a wire that belong to one image of the run. A step of training is one image: sums over its batch, of no
    /// batch themselves, are addressed like everything else.
    pub fn per_image(&self, form: &Form) -> usize {
        form.len() / self.images.len().max(1)
    }
    /// This party's share of the mask that [`crate::Deal::fresh`] drew.
    pub fn fresh(&self, part: u32, form: &Form) -> B::Buf {
        let (from, streams) = (self.images.start * self.per_image(form), self.streams(part));
        self.dev.expand(streams.field(FRESH), from, form.len(), form.bits)
    }
    /// The keys of its shares of an input mask, one per image, for the owner.
    pub fn owner_keys(&self) -> Vec<[u8; 16]> {
        self.images.clone().map(|i| owner_key(self.seed, self.origin, self.gate, i as u64)).collect()
    }
    /// This party's share of an input mask: image by image, each from its own key.
    pub fn input(&self, form: &Form) -> B::Buf {
        self.dev.expand_each(&self.owner_keys(), form.shape.row(), form.bits)
    }
    fn streams(&self, part: u32) -> Streams {
        Streams::new(self.seed, self.origin, Site { gate: self.gate, part })
    }
    /// Where the keys of a part come from.
    pub(crate) fn source<'d>(&self, dev: &'d B, part: u32, fields: &'d [u32]) -> Source<'d, B> {
        Source {
            dev,
            me: self.me,
            streams: Arc::new(self.streams(part)),
            origin: self.origin,
            site: Site { gate: self.gate, part },
            fields,
            ahead: None,
        }
    }
    /// This party's shares of the one correction word that part 0 of this gate stores for each of `per_image` elements.
    pub(crate) fn words(
        &self,
        name: &'static str,
        field: u32,
        bits: u32,
        per_image: usize,
    ) -> Result<B::Buf> {
        let run = self.images.start * per_image..self.images.end * per_image;
        let fields = [vec![], vec![bits]];
        let source = self.source(self.dev, 0, &fields[self.me.index()]);
        let word = |slots: Range<usize>| source.key(name, slots, self.keys)?.word(field, bits);
        let groups = groups::<B>(&run);
        let words: Result<Vec<B::Buf>> = match B::GRAIN.threads {
            true => pool::each(groups, word),
            false => groups.into_iter().map(word).collect(),
        };
        Ok(self.dev.concat(words?))
    }
}

/// An operand before a run: a party's share of its mask; weights are known altogether.
#[derive(Clone)]
pub struct Early<'a, B: Backend> {
    pub(crate) form: Cow<'a, Form>,
    pub(crate) share: Cow<'a, B::Buf>,
    pub(crate) weight: Option<&'a Masked<B>>,
}

impl<'a, B: Backend> Early<'a, B> {
    /// A wire whose value is still to come.
    pub fn mask(form: Form, share: B::Buf) -> Self {
        Early { form: Cow::Owned(form), share: Cow::Owned(share), weight: None }
    }
    /// A wire whose value is there, seen without it.
    pub(crate) fn of(x: &'a Masked<B>) -> Self {
        Early { form: Cow::Borrowed(&x.form), share: Cow::Borrowed(&x.share), weight: None }
    }
    /// A weight.
    pub fn weight(w: &'a Masked<B>) -> Self {
        Early { weight: Some(w), ..Early::of(w) }
    }
    /// Shape and width of the wire.
    pub fn form(&self) -> &Form {
        &self.form
    }
    /// The homogeneous part of `f` on this party's shares.
    pub fn local(dev: &B, f: &Local, x: &[&Self]) -> Result<Self> {
        let forms: Vec<&Form> = x.iter().map(|x| x.form()).collect();
        let form = f.output(&forms)?;
        let shares: Vec<&B::Buf> = x.iter().map(|x| x.share.as_ref()).collect();
        let share = dev.local(&f.homogeneous(), &form, &forms, &shares);
        Ok(Early::mask(form, share))
    }
}
