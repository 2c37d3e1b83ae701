//! One party alone, with a peer that says what it hears: the party's own work, without a second thread.

use crate::memory::{Dealt, Discard, Home, Memory};
use crate::{ORIGIN, seeds};
use std::sync::Arc;
use twoply_primitives::channel::Channel;
use twoply_primitives::compare::{AnyComparison, Comparison};
use twoply_primitives::session::Setup;
use twoply_primitives::{Backend, Cost, Deal, KeySource, NoClock, Part, PartyId, Result, Session};

/// Returns every message to its sender, as if the peer's share were the same. What is opened is garbage of the right
/// length, which takes as long as anything else.
#[derive(Default)]
pub struct Echo(std::collections::VecDeque<Vec<u8>>);

impl Channel for Echo {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.push_back(bytes.to_vec());
        Ok(())
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        Ok(self.0.pop_front().unwrap_or_else(|| vec![0; len]))
    }
}

/// A comparison of `len` elements, dealt once.
pub struct Compared<B: Backend> {
    dev: B,
    how: AnyComparison,
    part: Part,
    alpha: B::Buf,
    memory: Arc<Memory>,
}

impl<B: Backend> Compared<B> {
    /// Deals keys for `alpha` and brings them home.
    pub fn new(dev: B, how: AnyComparison, alpha: &[B::Ring], home: Home) -> Result<Self> {
        let part = Part { elements: alpha.len(), fields: Comparison::<B>::fields(&how) };
        let cost = Cost { parts: vec![part.clone()], ..Cost::default() };
        let mut dealt = Dealt::new([&cost].into_iter());
        let alpha = dev.upload(alpha);
        let mut deal = Deal::new(dev.clone(), seeds(), ORIGIN, 1, &mut dealt);
        deal.tiles("compare", 0, &part, |t| how.deal(t, &t.part_of(&alpha)))?;
        Ok(Compared { dev, how, part, alpha, memory: dealt.at_home(home)? })
    }
    /// The dealer's work again; tiles are thrown away.
    pub fn deal(&self) -> Result<()> {
        let mut sink = Discard;
        let mut deal = Deal::new(self.dev.clone(), seeds(), ORIGIN, 1, &mut sink);
        deal.tiles("compare", 0, &self.part, |t| self.how.deal(t, &t.part_of(&self.alpha))).map(drop)
    }
    /// One party's answers on `x`, message and merge included, the exchange left out.
    pub fn evaluate(&self, me: PartyId, x: &B::Buf) -> Result<()> {
        let (dev, mut peer) = (self.dev.clone(), Echo::default());
        let session = Session::new(Setup {
            me,
            dev,
            seed: seeds()[me.index()].clone(),
            origin: ORIGIN,
            images: 0..1,
            peer: &mut peer,
            keys: self.memory.half(me),
            clock: Arc::new(NoClock),
        });
        for (key, range) in session.keys("compare", 0, &self.part.fields, self.part.elements)? {
            let (message, pending) = self.how.begin(key, &self.dev.slice(x, range.start, range.len()))?;
            self.how.finish(pending, message.as_ref())?;
        }
        Ok(())
    }
    /// Its part of the deal.
    pub fn part(&self) -> &Part {
        &self.part
    }
    /// A party's keys.
    pub fn keys(&self, me: PartyId) -> Arc<dyn KeySource> {
        self.memory.half(me)
    }
    /// Bytes that a party stores.
    pub fn key_bytes(&self, me: PartyId) -> usize {
        self.memory.bytes(me)
    }
}
