//! One party alone, with a peer that says what it hears: the party's own work, without a second thread.

use crate::memory::Memory;
use crate::{ORIGIN, cpu, seeds};
use std::sync::Arc;
use twoply_primitives::channel::Channel;
use twoply_primitives::compare::{AnyComparison, Comparison};
use twoply_primitives::session::Setup;
use twoply_primitives::{Cost, Cpu, Deal, NoClock, Part, PartyId, Result, Ring, Session};

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
pub struct Compared<R> {
    how: AnyComparison,
    part: Part,
    alpha: Vec<R>,
    memory: Arc<Memory>,
}

impl<R: Ring> Compared<R> {
    /// Deals keys for `alpha`.
    pub fn new(how: AnyComparison, alpha: Vec<R>) -> Result<Self> {
        let part = Part { elements: alpha.len(), fields: Comparison::<Cpu<R>>::fields(&how) };
        let cost = Cost { parts: vec![part.clone()], ..Cost::default() };
        let mut memory = Memory::new([&cost].into_iter());
        let mut deal = Deal::new(cpu::<R>(), seeds(), ORIGIN, 1, &mut memory);
        deal.tiles("compare", 0, &part, |t| how.deal(t, &t.part_of(&alpha)))?;
        Ok(Compared { how, part, alpha, memory: Arc::new(memory) })
    }
    /// The dealer's work again; tiles are thrown away.
    pub fn deal(&self) -> Result<()> {
        let mut sink = crate::memory::Discard;
        let mut deal = Deal::new(cpu::<R>(), seeds(), ORIGIN, 1, &mut sink);
        deal.tiles("compare", 0, &self.part, |t| self.how.deal(t, &t.part_of(&self.alpha)))
    }
    /// One party's answers on `x`, message and merge included, the exchange left out.
    pub fn evaluate(&self, me: PartyId, x: &[R]) -> Result<()> {
        let (dev, mut peer) = (cpu::<R>(), Echo::default());
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
        for (key, range) in session.keys("compare", 0, &self.part.fields, x.len())? {
            let (message, pending) = self.how.begin(key, &x[range].to_vec())?;
            self.how.finish(pending, message.as_ref())?;
        }
        Ok(())
    }
}
