//! Both parties, dealer and owners in one process, on public data: what a real run would give, before there is one.
//!
//! Seeds come from the operating system and every batch has keys of its own, as in a real run; channels are queues in
//! memory, and nothing is written to a disk. Not private: one process sees everything.

mod memory;

pub use memory::Memory;

use crate::program::RangeAudit;
use crate::roles::{self, Ran};
use crate::{Program, Result, Weights};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use twoply_preprocessing::SeedSource;
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::session::{GateStats, Setup};
use twoply_primitives::{
    Backend, Channel, Deal, KeySetId, Mask, Masked, Origin, PartyId, Ring, Seed, Session, WallClock,
};

/// P1's coins of stochastic roundings, by gate number.
pub type Coins = Vec<(u32, Vec<u64>)>;

/// A network provisioned to two parties of this process, which compute on one device.
pub struct Rehearsal<'p, B: Backend> {
    dev: B,
    program: &'p Program,
    set: KeySetId,
    masks: Vec<Mask<B>>,
    weights: [Vec<Masked<B>>; 2],
    segments: u32,
}

/// What a rehearsed run gave.
pub struct Played<R> {
    /// What the data owner joins.
    pub answer: Vec<R>,
    /// Counts of too large values, if the plan has an audit.
    pub audit: RangeAudit,
    /// P1's coins, for the oracle.
    pub coins: Coins,
    /// Each party's gates, with their times: both parties share this machine.
    pub gates: [Vec<GateStats>; 2],
    /// The dealer's time.
    pub dealing: Duration,
}

/// One segment of keys.
struct Dealt {
    origin: Origin,
    seeds: [Seed; 2],
    keys: Arc<Memory>,
    batch: usize,
}

impl<'p, B: Backend> Rehearsal<'p, B> {
    /// Deals the weight masks and opens the masked weights to both parties.
    ///
    /// # Errors
    /// What the roles report: weights out of range, no randomness, or a device that failed.
    pub fn new(dev: B, program: &'p Program, weights: &Weights) -> Result<Self> {
        let set = SeedSource::Os.key_set()?;
        let seeds = seeds(None)?;
        let masks = roles::weight_masks(&dev, program, set, &seeds);
        let keys = PartyId::BOTH.map(|p| roles::weight_keys(program, set, &seeds[p.index()]));
        let packed = roles::mask_weights::<B::Ring>(program, weights, [&keys[0], &keys[1]])?;
        let side = |p: usize| roles::masked_weights(&dev, program, set, &seeds[p], &packed);
        let weights = [side(0)?, side(1)?];
        Ok(Rehearsal { dev, program, set, masks, weights, segments: 0 })
    }

    /// On weights that both parties hold under a mask already: that of the dealer, and their wires.
    ///
    /// # Errors
    /// No randomness.
    pub fn on(
        dev: B,
        program: &'p Program,
        (masks, weights): (Vec<Mask<B>>, [Vec<Masked<B>>; 2]),
    ) -> Result<Self> {
        Ok(Rehearsal { dev, program, set: SeedSource::Os.key_set()?, masks, weights, segments: 0 })
    }

    /// Runs whole images, encoded.
    ///
    /// # Errors
    /// What the dealer, a party or the owner reports.
    pub fn run(&mut self, inputs: &[B::Ring]) -> Result<Played<B::Ring>> {
        let began = Instant::now();
        let dealt = self.deal(inputs.len() / self.program.graph().input.row())?;
        let dealing = began.elapsed();
        let ((p0, p1), (o0, mut a0), (o1, mut a1)) = (pair(), pair(), pair());
        let (this, dealt) = (&*self, &dealt);
        thread::scope(|scope| {
            let party = |me, peer, owner| scope.spawn(move || this.party(dealt, me, [peer, owner]));
            let parties = [party(PartyId::P0, p0, o0), party(PartyId::P1, p1, o1)];
            let answer = this.owner(inputs, dealt.batch, [&mut a0, &mut a1]);
            // An owner that gave up must not leave the parties waiting.
            drop((a0, a1));
            let [p0, p1] = parties.map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            let (p0, p1) = (p0?, p1?);
            let (answer, audit) = answer?;
            Ok(Played { answer, audit, coins: p1.coins, gates: [p0.stats, p1.stats], dealing })
        })
    }

    fn deal(&mut self, batch: usize) -> Result<Dealt> {
        let (segment, seeds) = (self.segments, seeds(Some(self.segments))?);
        self.segments += 1;
        let origin = Origin { set: self.set, segment };
        let mut planner = crate::engine::Planner::new(B::Ring::BITS);
        self.program.run(&mut planner, &self.program.params(), batch)?;
        let mut keys = Memory::new(planner.gates.iter().map(|g| &g.cost));
        let mut deal = Deal::new(self.dev.clone(), seeds.clone(), origin, batch, &mut keys);
        self.program.run(&mut deal, &self.masks, batch)?;
        drop(deal);
        Ok(Dealt { origin, seeds, keys: Arc::new(keys), batch })
    }

    fn party(&self, dealt: &Dealt, me: PartyId, [mut peer, mut owner]: [Loopback; 2]) -> Result<Ran> {
        let session = Session::new(Setup {
            me,
            dev: self.dev.clone(),
            seed: dealt.seeds[me.index()].clone(),
            origin: dealt.origin,
            images: 0..dealt.batch,
            peer: &mut peer,
            keys: dealt.keys.half(me),
            clock: Arc::new(WallClock::default()),
        });
        // Both halves come from one deal: any name that they share will do.
        let half = [0; 16];
        roles::run(self.program, &self.weights[me.index()], session, (&mut owner, Some(half)), true)
    }

    /// What the owner joins, and its counts of too large values.
    fn owner(
        &self,
        inputs: &[B::Ring],
        batch: usize,
        parties: [&mut Loopback; 2],
    ) -> Result<(Vec<B::Ring>, RangeAudit)> {
        let [a, b] = parties;
        let keys =
            |p: &mut Loopback| -> Result<Vec<[u8; 16]>> { Ok(p.recv(16 * batch)?.as_chunks().0.to_vec()) };
        let keys = [keys(a)?, keys(b)?];
        let packed = roles::mask_input(self.program, inputs, [&keys[0], &keys[1]])?;
        a.send(&packed)?;
        b.send(&packed)?;
        let reply = self.program.reply(batch)?;
        let shares = [a.recv(reply.bytes())?, b.recv(reply.bytes())?];
        let mut joined = reply.join::<B::Ring>([&shares[0], &shares[1]])?;
        let audit = self.program.range_audit(&reply, &joined);
        Ok((joined.swap_remove(0), audit))
    }
}

fn seeds(segment: Option<u32>) -> Result<[Seed; 2]> {
    Ok([SeedSource::Os.seed(PartyId::P0, segment)?, SeedSource::Os.seed(PartyId::P1, segment)?])
}
