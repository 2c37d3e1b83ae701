//! A training run of both parties and the dealer in one process, on public data: what a real run gives, before there is one.
//!
//! Seeds come from the operating system, every step's keys are its own. Not private: one process sees everything.

use super::{State, Step};
use crate::engine::{PlannedGate, Trainer};
use crate::rehearsal::{Coins, Memory};
use crate::{Error, Result, Weights};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use twoply_preprocessing::SeedSource;
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::owner::{self, row_keys};
use twoply_primitives::session::{GateStats, Setup};
use twoply_primitives::{
    Backend, Deal, Form, KeySetId, Mask, Masked, Origin, PartyId, Ring, Seed, Session, WallClock,
};

/// Training data under the masks that serve all epochs.
struct Data {
    origin: Origin,
    seeds: [Seed; 2],
    /// Masked rows of inputs and of targets, packed.
    columns: [Vec<Vec<u8>>; 2],
}

/// Two parties and a dealer between two steps.
pub struct Rehearsal<'s, B: Backend> {
    dev: B,
    step: &'s Step,
    set: KeySetId,
    data: Data,
    masks: State<Mask<B>>,
    parties: [State<Masked<B>>; 2],
    steps: u32,
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
        let of = |me: usize, (ran, gate): (&GateStats, &PlannedGate)| {
            let (cost, named) = (&gate.cost, (ran.layer.as_str(), ran.gate) == (&gate.layer, &gate.gate));
            let counted = [ran.rounds, ran.bytes, ran.comparisons, ran.opened, ran.key_bits];
            named && counted == [cost.rounds, cost.bytes, cost.comparisons, cost.opened, cost.key_bits(me)]
        };
        let right = |(me, gates): (usize, &Vec<GateStats>)| {
            gates.iter().zip(planned).filter(|pair| of(me, *pair)).count()
        };
        let all: usize = self.gates.iter().map(|g| g.len().max(planned.len())).sum();
        all - self.gates.iter().enumerate().map(right).sum::<usize>()
    }
}

/// A step's keys.
struct Dealt<B: Backend> {
    origin: Origin,
    seeds: [Seed; 2],
    keys: Arc<Memory>,
    next: State<Mask<B>>,
}

/// What a step leaves at a party: its state, what its gates did, its coins.
type Ended<B> = (State<Masked<B>>, Vec<GateStats>, Coins);

/// Masks at the dealer, masked values at the parties.
type Begun<B> = (State<Mask<B>>, [State<Masked<B>>; 2]);

fn seeds() -> Result<[Seed; 2]> {
    Ok([SeedSource::Os.seed(PartyId::P0, None)?, SeedSource::Os.seed(PartyId::P1, None)?])
}

impl<'s, B: Backend> Rehearsal<'s, B> {
    /// Masks weights and data, and gives them to both parties. Inputs and targets are whole rows.
    ///
    /// # Errors
    /// Values out of range, rows that do not fit, no randomness, or a device that failed.
    pub fn new(dev: B, step: &'s Step, weights: &Weights, inputs: &[f32], targets: &[f32]) -> Result<Self> {
        let f = step.recipe.fractions;
        let (x, y) = (step.input(), step.targets());
        if inputs.len() / x.shape.row() != targets.len() / y.shape.row() {
            return Err(Error::data("training", "not as many targets as inputs"));
        }
        let set = SeedSource::Os.key_set()?;
        let data = Data {
            origin: Origin { set: SeedSource::Os.key_set()?, segment: Origin::WEIGHTS },
            seeds: seeds()?,
            columns: [vec![], vec![]],
        };
        let masked = |column: usize, values: &[f32], frac: u32, form: &Form| -> Result<Vec<Vec<u8>>> {
            let row = |(at, row): (usize, &[f32])| {
                let keys = [0, 1].map(|p| row_keys(&data.seeds[p], data.origin, column as u32, &[at]));
                let values = step.recipe.encode::<B::Ring>("data", row, frac)?;
                Ok(owner::mask(&values, [&keys[0], &keys[1]], form.bits)?)
            };
            values.chunks_exact(form.shape.row()).enumerate().map(row).collect()
        };
        step.recipe.loss.check_targets(targets)?;
        let targets = masked(1, targets, step.recipe.loss.target_fraction(&f), &y)?;
        let columns = [masked(0, inputs, f.activations, &x)?, targets];
        let data = Data { columns, ..data };
        let (masks, parties) = begun(&dev, step, set, weights)?;
        let mut both = Rehearsal { dev, step, set, data, masks, parties, steps: 0 };
        both.forget();
        Ok(both)
    }

    /// One step on these rows, as many as a batch.
    ///
    /// # Errors
    /// What the dealer or a party reports.
    pub fn run(&mut self, rows: &[usize]) -> Result<Played> {
        let began = Instant::now();
        let dealt = self.deal(rows)?;
        let (dealing, began) = (began.elapsed(), Instant::now());
        let (p0, p1) = pair();
        let (this, dealt) = (&*self, &dealt);
        let [p0, p1] = thread::scope(|scope| {
            let party = |me, peer| scope.spawn(move || this.party(dealt, me, rows, peer));
            [party(PartyId::P0, p0), party(PartyId::P1, p1)]
                .map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        let ((s0, gates0, _), (s1, gates1, coins)) = (p0?, p1?);
        (self.masks, self.parties) = (dealt.next.clone(), [s0, s1]);
        Ok(Played { coins, gates: [gates0, gates1], dealing, running: began.elapsed() })
    }

    fn deal(&mut self, rows: &[usize]) -> Result<Dealt<B>> {
        let (origin, seeds) = (Origin { set: self.set, segment: self.steps }, seeds()?);
        self.steps += 1;
        let plan = self.step.planned()?;
        let mut keys = Memory::new(plan.gates.iter().map(|g| &g.cost));
        let mut deal = Deal::new(self.dev.clone(), seeds.clone(), origin, 1, &mut keys);
        let [x, y] = [(0, self.step.input()), (1, self.step.targets())].map(|(column, form)| {
            let keys = [0, 1].map(|p| row_keys(&self.data.seeds[p], self.data.origin, column, rows));
            Mask::of_rows(&self.dev, &form, [&keys[0], &keys[1]])
        });
        let next = self.step.run(&mut deal, &self.masks, x, y)?;
        drop(deal);
        Ok(Dealt { origin, seeds, keys: Arc::new(keys), next })
    }

    fn party(&self, dealt: &Dealt<B>, me: PartyId, rows: &[usize], mut peer: Loopback) -> Result<Ended<B>> {
        let mut session = Session::new(Setup {
            me,
            dev: self.dev.clone(),
            seed: dealt.seeds[me.index()].clone(),
            origin: dealt.origin,
            images: 0..1,
            peer: &mut peer,
            keys: dealt.keys.half(me),
            clock: Arc::new(WallClock::default()),
        });
        session.record_coins();
        let given = |column: usize, form: Form| {
            let keys = row_keys(&self.data.seeds[me.index()], self.data.origin, column as u32, rows);
            // rows are packed one by one; their fields are whole bytes, as n is
            let packed: Vec<u8> = rows.iter().flat_map(|r| self.data.columns[column][*r].clone()).collect();
            Masked::of_rows(&self.dev, &form, &packed, &keys)
        };
        let (x, y) = (given(0, self.step.input())?, given(1, self.step.targets())?);
        let mut engine = Trainer::new(session);
        let next = self.step.run(&mut engine, &self.parties[me.index()], x, y)?;
        engine.session.finish()?;
        let coins = engine.session.take_coins();
        Ok((next, engine.session.stats().to_vec(), coins))
    }

    /// What the model's owner would receive now: both parties' shares of every parameter, velocity and accumulator, joined, in the
    /// ring.
    ///
    /// # Errors
    /// Those of the device.
    pub fn state(&self) -> Result<State<Vec<B::Ring>>> {
        let joined = |wires: [&Masked<B>; 2]| -> Result<Vec<B::Ring>> {
            let shares =
                [wires[0].for_owner(&self.dev, PartyId::P0)?, wires[1].for_owner(&self.dev, PartyId::P1)?];
            let form = wires[0].form();
            Ok(owner::join(shares.each_ref().map(|s| &s[..]), form.len(), form.bits)?)
        };
        let [a, b] = &self.parties;
        let all = |of: fn(&State<Masked<B>>) -> &Vec<Masked<B>>| {
            of(a).iter().zip(of(b)).map(|(a, b)| joined([a, b])).collect::<Result<_>>()
        };
        let accumulators = all(|s| &s.accumulators)?;
        Ok(State { weights: all(|s| &s.weights)?, velocity: all(|s| &s.velocity)?, accumulators })
    }
    /// Sets the accumulators to zeros, which are public.
    pub fn forget(&mut self) {
        let forms = self.step.accumulators();
        self.masks.accumulators = forms.iter().map(|form| Mask::none(&self.dev, form)).collect();
        for party in &mut self.parties {
            let zeros = |form: &Form| Masked::public(&self.dev, form, &vec![B::Ring::ZERO; form.len()]);
            party.accumulators = forms.iter().map(zeros).collect();
        }
    }
}

/// Private weights under masks, and velocities of 0, which are public.
fn begun<B: Backend>(dev: &B, step: &Step, set: KeySetId, weights: &Weights) -> Result<Begun<B>> {
    let (seeds, origin) = (seeds()?, Origin { set, segment: Origin::WEIGHTS });
    let encoded = step.encode::<B::Ring>(weights)?;
    let mut masks = State { weights: vec![], velocity: vec![], accumulators: vec![] };
    let mut parties = [0, 1].map(|_| State { weights: vec![], velocity: vec![], accumulators: vec![] });
    for (index, (form, values)) in step.params().iter().zip(&encoded).enumerate() {
        let zeros = vec![B::Ring::ZERO; form.len()];
        let keys = [0, 1].map(|p| [owner::weight_key(&seeds[p], origin, index as u32)]);
        let packed = owner::mask(values, [&keys[0], &keys[1]], form.bits)?;
        masks.weights.push(Mask::weight(dev, form, &seeds, origin, index as u32));
        masks.velocity.push(Mask::none(dev, form));
        for (p, party) in parties.iter_mut().enumerate() {
            party.weights.push(Masked::weight(dev, form, &packed, &seeds[p], origin, index as u32)?);
            party.velocity.push(Masked::public(dev, form, &zeros));
        }
    }
    Ok((masks, parties))
}
