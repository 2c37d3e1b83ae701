//! A training run of both parties and the dealer in one process, on public data: what a real run gives, before there is one.
//!
//! Seeds come from the operating system, every step's keys are its own. Not private: one process sees everything.

use super::data::{Held, Stored};
use super::roles::{
    Dealer, Delivered, Learner, Learnt, Tally, data_keys, data_origin, join, join_figure, joined, mask_rows,
    mask_start,
};
use super::{Figure, Moment, Slice, State, Step};
use crate::engine::PlannedGate;
use crate::rehearsal::{Coins, Memory};
use crate::{Error, Result, Weights};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use twoply_preprocessing::SeedSource;
use twoply_preprocessing::run::{Masks, Snapshot};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::session::{GateStats, Setup};
use twoply_primitives::{Backend, KeySetId, Origin, PartyId, Seed, Session, WallClock};

/// Two parties and a dealer between two steps.
pub struct Rehearsal<'s, B: Backend> {
    dev: B,
    step: &'s Step,
    set: KeySetId,
    dealer: Dealer<B>,
    parties: [Learner<B>; 2],
    segments: u32,
}

/// A checkpoint of all three.
pub struct Checkpoint {
    /// Both parties' shares of all masks, as the dealer keeps them.
    pub masks: Masks,
    /// P0's state and P1's.
    pub snapshots: [Snapshot; 2],
}

/// What a rehearsed step gave.
pub struct Played {
    /// P1's coins, for the oracle.
    pub coins: Coins,
    /// Each party's gates, with their times: both parties share this machine.
    pub gates: [Vec<GateStats>; 2],
    /// The dealer's time.
    pub dealing: Duration,
    /// The parties' time.
    pub running: Duration,
}

impl Played {
    /// Gates that counted something else than planned, of both parties.
    pub fn miscounted(&self, planned: &[PlannedGate]) -> usize {
        self.gates.iter().zip(PartyId::BOTH).map(|(gates, me)| miscounted(me, gates, planned)).sum()
    }
}

/// A party's gates that counted something else than planned, or are missing, or too many.
pub fn miscounted(me: PartyId, gates: &[GateStats], planned: &[PlannedGate]) -> usize {
    let right = |(ran, gate): &(&GateStats, &PlannedGate)| {
        let (cost, named) = (&gate.cost, (ran.layer.as_str(), ran.gate) == (&gate.layer, &gate.gate));
        let counted = [ran.rounds, ran.bytes, ran.comparisons, ran.opened, ran.key_bits];
        named
            && counted == [cost.rounds, cost.bytes, cost.comparisons, cost.opened, cost.key_bits(me.index())]
    };
    gates.len().max(planned.len()) - gates.iter().zip(planned).filter(right).count()
}

/// A step's keys.
struct Dealt {
    origin: Origin,
    seeds: [Seed; 2],
    keys: Arc<Memory>,
}

fn seeds() -> Result<[Seed; 2]> {
    Ok([SeedSource::Os.seed(PartyId::P0, None)?, SeedSource::Os.seed(PartyId::P1, None)?])
}

impl<'s, B: Backend> Rehearsal<'s, B> {
    /// Masks weights and data, and gives them to both parties. Inputs and targets are whole rows.
    ///
    /// # Errors
    /// Values out of range, rows that do not fit, no randomness, or a device that failed.
    pub fn new(dev: B, step: &'s Step, weights: &Weights, inputs: &[f32], targets: &[f32]) -> Result<Self> {
        let (width, outputs) = (step.input().shape.row(), step.targets().shape.row());
        let rows = inputs.len() / width;
        if rows != targets.len() / outputs {
            return Err(Error::data("training", "not as many targets as inputs"));
        }
        let (origin, of) = (data_origin(SeedSource::Os.key_set()?), seeds()?);
        let slice = Slice { rows: 0..rows as u64, inputs: 0..width, targets: outputs };
        let all: Vec<usize> = (0..rows).collect();
        let keys = of.each_ref().map(|seed| data_keys(step, Some(&slice), (origin, seed), &all));
        let whole = (&inputs[..rows * width], &targets[..rows * outputs]);
        let packed = mask_rows::<B::Ring>(step, &slice, whole, [&keys[0], &keys[1]])?;
        let stored = |p: usize| Stored { seed: of[p].clone(), chunks: vec![packed.clone()] };
        let held = |p: usize| vec![Held { slice: slice.clone(), origin, seed: stored(p) }];
        let dealt = vec![Held { slice: slice.clone(), origin, seed: of.clone() }];

        let (set, start, begun) =
            (SeedSource::Os.key_set()?, data_origin(SeedSource::Os.key_set()?), seeds()?);
        let keys = begun.each_ref().map(|seed| data_keys(step, None, (start, seed), &[]));
        let packed = mask_start::<B::Ring>(step, weights, [&keys[0], &keys[1]])?;
        let party =
            |p: usize| Learner::begin_private(dev.clone(), step, held(p), (start, &begun[p], &packed));
        let parties = [party(0)?, party(1)?];
        let dealer = Dealer::begin(dev.clone(), step, dealt, Some((start, &begun)));
        Ok(Rehearsal { dev, step, set, dealer, parties, segments: 0 })
    }

    /// One step, of a schedule or the only one, on these rows, as many as a batch.
    ///
    /// # Errors
    /// What the dealer or a party reports.
    pub fn run(&mut self, step: (&Step, Moment), rows: &[usize]) -> Result<Played> {
        let began = Instant::now();
        let dealt =
            self.deal(&step.0.planned()?.gates, |dealer, to, keys| dealer.deal(step, rows, to, keys))?;
        self.play(began.elapsed(), &dealt, |_, party, session| party.learn(step, rows, session))
    }
    /// A figure of the weights as they are, batch after batch of these rows: its numbers, and every batch as it was played.
    ///
    /// # Errors
    /// What the dealer or a party reports.
    pub fn figure(&mut self, of: (&Step, Figure), batches: &[&[usize]]) -> Result<(Vec<i64>, Vec<Played>)> {
        let (gates, mut played) = (of.0.planned_figure(of.1)?.gates, vec![]);
        let tallies = [(); 2].map(|()| Mutex::new(Tally::default()));
        for rows in batches {
            let began = Instant::now();
            let dealt = self.deal(&gates, |dealer, to, keys| dealer.deal_figure(of, rows, to, keys))?;
            played.push(self.play(began.elapsed(), &dealt, |me, party, session| {
                let mut tally = tallies[me.index()].lock().unwrap_or_else(PoisonError::into_inner);
                party.figure(of, rows, session, &mut tally)
            })?);
        }
        let [a, b] = tallies.map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner));
        let shares = [a.for_owner(&self.dev, PartyId::P0)?, b.for_owner(&self.dev, PartyId::P1)?];
        Ok((join_figure(of, [&shares[0], &shares[1]])?, played))
    }

    fn deal(
        &mut self,
        gates: &[PlannedGate],
        deal: impl FnOnce(&mut Dealer<B>, (Origin, &[Seed; 2]), &mut Memory) -> Result<()>,
    ) -> Result<Dealt> {
        let (origin, seeds) = (Origin { set: self.set, segment: self.segments }, seeds()?);
        self.segments += 1;
        let mut keys = Memory::new(gates.iter().map(|g| &g.cost));
        deal(&mut self.dealer, (origin, &seeds), &mut keys)?;
        Ok(Dealt { origin, seeds, keys: Arc::new(keys) })
    }
    /// Has both parties do their part of a segment.
    fn play(
        &mut self,
        dealing: Duration,
        dealt: &Dealt,
        work: impl Fn(PartyId, &mut Learner<B>, Session<'_, B>) -> Result<Learnt> + Sync,
    ) -> Result<Played> {
        let (began, (a, b)) = (Instant::now(), pair());
        let (dev, work, [p0, p1]) = (&self.dev, &work, &mut self.parties);
        let [p0, p1] = thread::scope(|scope| {
            let party = |me, mut peer: Loopback, of| {
                scope.spawn(move || work(me, of, session(dev, dealt, me, &mut peer)))
            };
            [party(PartyId::P0, a, p0), party(PartyId::P1, b, p1)]
                .map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        let (p0, p1) = (p0?, p1?);
        Ok(Played { coins: p1.coins, gates: [p0.stats, p1.stats], dealing, running: began.elapsed() })
    }

    /// What the model's owner would receive now: both parties' shares of every parameter, velocity and accumulator, joined, in the
    /// ring.
    ///
    /// # Errors
    /// Those of the device.
    pub fn state(&self) -> Result<State<Vec<B::Ring>>> {
        let [a, b] = &self.parties;
        let Delivered { weights, sums: accumulators } =
            join(self.step, [&a.for_owner(PartyId::P0)?, &b.for_owner(PartyId::P1)?])?;
        let shares = [a.velocities(PartyId::P0)?, b.velocities(PartyId::P1)?];
        let velocity = joined(&self.step.params(), [&shares[0], &shares[1]])?;
        Ok(State { weights, velocity, accumulators })
    }
    /// What a checkpoint keeps now: the masks at the dealer, the state at each party.
    ///
    /// # Errors
    /// Those of the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let [a, b] = &self.parties;
        Ok(Checkpoint { masks: self.dealer.masks()?, snapshots: [a.snapshot()?, b.snapshot()?] })
    }
    /// Sets the accumulators to zeros, which are public.
    pub fn forget(&mut self) {
        self.dealer.forget(self.step);
        self.parties.iter_mut().for_each(|party| party.forget(self.step));
    }
}

fn session<'p, B: Backend>(dev: &B, dealt: &Dealt, me: PartyId, peer: &'p mut Loopback) -> Session<'p, B> {
    let mut session = Session::new(Setup {
        me,
        dev: dev.clone(),
        seed: dealt.seeds[me.index()].clone(),
        origin: dealt.origin,
        images: 0..1,
        peer,
        keys: dealt.keys.half(me),
        clock: Arc::new(WallClock::default()),
    });
    session.record_coins();
    session
}
