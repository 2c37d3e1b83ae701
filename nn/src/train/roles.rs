//! What each role does in a training run, step by step: the dealer on masks, a party on masked values, the owners of data and
//! model at both ends. A rehearsal runs the same code in one process.

mod figures;

pub use figures::{Tally, figure_bytes, join_figure};

use super::data::{Held, INPUTS, Stored, TARGETS, masks, wires};
use super::{Figure, Moment, Slice, State, Step};
use crate::engine::Trainer;
use crate::rehearsal::Coins;
use crate::{Error, Result, Weights};
use twoply_preprocessing::Layout;
use twoply_preprocessing::run::{Lengths, Masks, Snapshot};
use twoply_primitives::owner::{self, row_keys};
use twoply_primitives::session::GateStats;
use twoply_primitives::{
    Backend, Deal, Form, KeySetId, KeySink, Mask, Masked, Origin, PartyId, Ring, Seed, Session,
};
use zeroize::Zeroizing;

/// Where the masks of a data key set belong.
pub fn data_origin(set: KeySetId) -> Origin {
    Origin { set, segment: Origin::WEIGHTS }
}

impl Step {
    /// Forms of everything that a step takes over from the one before, in order.
    fn kept(&self) -> Vec<Form> {
        let params = self.params();
        [params.clone(), params, self.accumulators()].concat()
    }
    /// Forms of what its model's owner gets.
    fn delivered(&self) -> Vec<Form> {
        [self.params(), self.accumulators()].concat()
    }
    /// What it stores at each party, tile by tile.
    ///
    /// # Errors
    /// What a gate refuses.
    pub fn layout(&self) -> Result<Layout> {
        Ok(crate::plan::layout(&self.planned()?.gates))
    }
    /// Bytes of the state that a checkpoint keeps.
    ///
    /// # Errors
    /// For a network that no checkpoint holds.
    pub fn lengths(&self) -> Result<Lengths> {
        let bytes = |forms: Vec<Form>| forms.iter().map(Form::packed_bytes).sum();
        let params = bytes(self.params());
        Ok(Lengths::new(params, params, bytes(self.accumulators()))?)
    }
}

impl<V> State<V> {
    /// All wires, in the order of checkpoints.
    fn all(&self) -> impl Iterator<Item = &V> {
        self.weights.iter().chain(&self.velocity).chain(&self.accumulators)
    }
    fn from_all(step: &Step, all: Vec<V>) -> Self {
        let (params, mut weights) = (step.params().len(), all);
        let mut velocity = weights.split_off(params);
        let accumulators = velocity.split_off(params);
        State { weights, velocity, accumulators }
    }
}

/// The bytes of one wire after the other.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn next(&mut self, form: &Form) -> Result<&'a [u8]> {
        let short = || Error::data("checkpoint", "it has fewer bytes than the network has parameters");
        let (mine, rest) = self.0.split_at_checked(form.packed_bytes() as usize).ok_or_else(short)?;
        self.0 = rest;
        Ok(mine)
    }
    fn end(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            n => Err(Error::data("checkpoint", format!("it has {n} bytes more than the network"))),
        }
    }
}

/// The dealer of a run, between two steps.
pub struct Dealer<B: Backend> {
    dev: B,
    data: Vec<Held<[Seed; 2]>>,
    state: State<Mask<B>>,
}

impl<B: Backend> Dealer<B> {
    /// At the beginning: no masks on public weights, or those of the data key set under which their owner brings them.
    pub fn begin(
        dev: B,
        step: &Step,
        data: Vec<Held<[Seed; 2]>>,
        start: Option<(Origin, &[Seed; 2])>,
    ) -> Self {
        let params = step.params();
        let weight = |(index, form): (usize, &Form)| match start {
            Some((origin, seeds)) => Mask::weight(&dev, form, seeds, origin, index as u32),
            None => Mask::none(&dev, form),
        };
        let weights = params.iter().enumerate().map(weight).collect();
        let velocity = params.iter().map(|form| Mask::none(&dev, form)).collect();
        let mut dealer = Dealer { state: State { weights, velocity, accumulators: vec![] }, dev, data };
        dealer.forget(step);
        dealer
    }
    /// Sets the accumulators to public zeros: before the first step whose statistics are wanted.
    pub fn forget(&mut self, step: &Step) {
        self.state.accumulators =
            step.accumulators().iter().map(|form| Mask::none(&self.dev, form)).collect();
    }
    /// At a checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] for masks of another network.
    pub fn at(dev: B, step: &Step, data: Vec<Held<[Seed; 2]>>, masks: &Masks) -> Result<Self> {
        let mut from = masks.shares.each_ref().map(|bytes| Cursor(bytes));
        let mut all = vec![];
        for form in step.kept() {
            let [a, b] = &mut from;
            all.push(Mask::from_kept(&dev, &form, [a.next(&form)?, b.next(&form)?])?);
        }
        from.into_iter().try_for_each(Cursor::end)?;
        Ok(Dealer { state: State::from_all(step, all), dev, data })
    }
    /// Deals one step on these rows into `sink`.
    ///
    /// # Errors
    /// Those of the sink and the device, and rows that nobody brings.
    pub fn deal(
        &mut self,
        (step, moment): (&Step, Moment),
        rows: &[usize],
        (origin, seeds): (Origin, &[Seed; 2]),
        sink: &mut dyn KeySink,
    ) -> Result<()> {
        let [x, y] = masks(&self.dev, &self.data, step, rows)?;
        let mut deal = Deal::new(self.dev.clone(), seeds.clone(), origin, 1, sink);
        self.state = step.run(&mut deal, moment, &self.state, (x, y))?;
        Ok(())
    }
    /// Deals one batch of a figure into `sink`; the state stays.
    ///
    /// # Errors
    /// As [`Dealer::deal`].
    pub fn deal_figure(
        &self,
        (step, figure): (&Step, Figure),
        rows: &[usize],
        (origin, seeds): (Origin, &[Seed; 2]),
        sink: &mut dyn KeySink,
    ) -> Result<()> {
        let data = masks(&self.dev, &self.data, step, rows)?;
        let mut deal = Deal::new(self.dev.clone(), seeds.clone(), origin, 1, sink);
        step.figure(figure, &mut deal, &self.state, data.into()).map(drop)
    }
    /// Both parties' shares of the masks of all that outlives a step.
    ///
    /// # Errors
    /// Those of the device.
    pub fn masks(&self) -> Result<Masks> {
        // of full length at once: a buffer that grows leaves its old bytes behind
        let bytes: u64 = self.state.all().map(|mask| mask.form().packed_bytes()).sum();
        let mut all = Masks { shares: [0, 1].map(|_| Zeroizing::new(Vec::with_capacity(bytes as usize))) };
        for mask in self.state.all() {
            let kept = mask.kept(&self.dev)?;
            all.shares.iter_mut().zip(&kept).for_each(|(to, from)| to.extend_from_slice(from));
        }
        Ok(all)
    }
}

/// What a party's step gave: counters, never values.
pub struct Learnt {
    /// Gate by gate.
    pub stats: Vec<GateStats>,
    /// Hash of what both parties said.
    pub transcript: [u8; 32],
    /// Its own coins, if they were asked for.
    pub coins: Coins,
}

/// A party of a run, between two steps.
pub struct Learner<B: Backend> {
    dev: B,
    data: Vec<Held<Stored>>,
    state: State<Masked<B>>,
}

impl<B: Backend> Learner<B> {
    /// At the beginning, on public weights.
    ///
    /// # Errors
    /// [`Error::Weights`], and values out of range.
    pub fn begin(dev: B, step: &Step, data: Vec<Held<Stored>>, weights: &Weights) -> Result<Self> {
        let encoded = step.encode::<B::Ring>(weights)?;
        let weights = step.params().iter().zip(&encoded).map(|(f, w)| Masked::public(&dev, f, w)).collect();
        Ok(Learner { state: at_rest(&dev, step, weights), dev, data })
    }
    /// At the beginning, on the weights that their owner brought under a data key set, packed.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes of another network.
    pub fn begin_private(
        dev: B,
        step: &Step,
        data: Vec<Held<Stored>>,
        (origin, seed, packed): (Origin, &Seed, &[u8]),
    ) -> Result<Self> {
        let (mut from, mut weights) = (Cursor(packed), vec![]);
        for (index, form) in step.params().iter().enumerate() {
            weights.push(Masked::weight(&dev, form, from.next(form)?, seed, origin, index as u32)?);
        }
        from.end()?;
        Ok(Learner { state: at_rest(&dev, step, weights), dev, data })
    }
    /// Sets the accumulators to public zeros: before the first step whose statistics are wanted.
    pub fn forget(&mut self, step: &Step) {
        self.state.accumulators = zeros(&self.dev, &step.accumulators());
    }
    /// At a checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] for a state of another network.
    pub fn at(dev: B, step: &Step, data: Vec<Held<Stored>>, state: &Snapshot) -> Result<Self> {
        let values = [&state.weights[..], &state.velocities, &state.accumulators].concat();
        let (mut values, mut shares, mut all) = (Cursor(&values), Cursor(&state.shares), vec![]);
        for form in step.kept() {
            all.push(Masked::from_kept(&dev, &form, values.next(&form)?, shares.next(&form)?)?);
        }
        values.end()?;
        shares.end()?;
        Ok(Learner { state: State::from_all(step, all), dev, data })
    }
    /// One step on these rows. The state has moved only if it succeeds.
    ///
    /// # Errors
    /// What peer, keys and device report.
    pub fn learn(
        &mut self,
        (step, moment): (&Step, Moment),
        rows: &[usize],
        session: Session<'_, B>,
    ) -> Result<Learnt> {
        let [x, y] = wires(&self.dev, &self.data, step, rows)?;
        let mut engine = Trainer::new(session);
        let next = step.run(&mut engine, moment, &self.state, (x, y))?;
        engine.session.finish()?;
        self.state = next;
        Ok(learnt(engine.session))
    }
    /// One batch of a figure, of the weights as they are, onto what earlier batches gave.
    ///
    /// # Errors
    /// What peer, keys and device report.
    pub fn figure(
        &self,
        (step, figure): (&Step, Figure),
        rows: &[usize],
        session: Session<'_, B>,
        tally: &mut Tally<B>,
    ) -> Result<Learnt> {
        let data = wires(&self.dev, &self.data, step, rows)?;
        let mut engine = Trainer::new(session);
        let numbers = step.figure(figure, &mut engine, &self.state, data.into())?;
        let numbers = numbers.into_iter().map(|(_, number)| number).collect();
        engine.session.finish()?;
        let learnt = learnt(engine.session);
        tally.add(&self.dev, numbers, &learnt.transcript)?;
        Ok(learnt)
    }
    /// What a checkpoint keeps.
    ///
    /// # Errors
    /// Those of the device.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let state = &self.state;
        let bytes: u64 = state.all().map(|wire| wire.form().packed_bytes()).sum();
        let shares = Zeroizing::new(Vec::with_capacity(bytes as usize));
        let mut all = Snapshot { shares, ..Snapshot::default() };
        for (wires, values) in [
            (&state.weights, &mut all.weights),
            (&state.velocity, &mut all.velocities),
            (&state.accumulators, &mut all.accumulators),
        ] {
            for wire in wires {
                let (value, share) = wire.kept(&self.dev)?;
                values.extend(value);
                all.shares.extend_from_slice(&share);
            }
        }
        Ok(all)
    }
    /// What leaves for the model's owner: additive shares of all parameters, and of the sums of statistics, packed.
    ///
    /// # Errors
    /// Those of the device.
    pub fn for_owner(&self, me: PartyId) -> Result<Zeroizing<Vec<u8>>> {
        self.shares(self.state.weights.iter().chain(&self.state.accumulators), me)
    }
    /// The same of the velocities.
    pub(super) fn velocities(&self, me: PartyId) -> Result<Zeroizing<Vec<u8>>> {
        self.shares(self.state.velocity.iter(), me)
    }
    fn shares<'w>(
        &self,
        wires: impl Iterator<Item = &'w Masked<B>>,
        me: PartyId,
    ) -> Result<Zeroizing<Vec<u8>>>
    where
        B: 'w,
    {
        let wires: Vec<_> = wires.collect();
        let bytes: u64 = wires.iter().map(|wire| wire.form().packed_bytes()).sum();
        let mut all = Zeroizing::new(Vec::with_capacity(bytes as usize));
        for wire in wires {
            all.extend(wire.for_owner(&self.dev, me)?);
        }
        Ok(all)
    }
}

fn learnt<B: Backend>(mut session: Session<'_, B>) -> Learnt {
    Learnt { stats: session.stats().to_vec(), transcript: session.transcript(), coins: session.take_coins() }
}

fn zeros<B: Backend>(dev: &B, forms: &[Form]) -> Vec<Masked<B>> {
    forms.iter().map(|form| Masked::public(dev, form, &vec![B::Ring::ZERO; form.len()])).collect()
}

/// These weights, and nothing else yet.
fn at_rest<B: Backend>(dev: &B, step: &Step, weights: Vec<Masked<B>>) -> State<Masked<B>> {
    State { weights, velocity: zeros(dev, &step.params()), accumulators: zeros(dev, &step.accumulators()) }
}

/// What the model's owner gets, in the ring.
pub struct Delivered<R> {
    /// All parameters that are learnt.
    pub weights: Vec<Vec<R>>,
    /// Sums of statistics, for [`Step::set_statistics`].
    pub sums: Vec<Vec<R>>,
}

/// Model owner: the model, from what both parties sent.
///
/// # Errors
/// [`Error::Data`] for messages of another network.
pub fn join<R: Ring>(step: &Step, messages: [&[u8]; 2]) -> Result<Delivered<R>> {
    let mut weights = joined(&step.delivered(), messages)?;
    let sums = weights.split_off(step.params().len());
    Ok(Delivered { weights, sums })
}

/// Wires of these forms, from both parties' shares.
pub(super) fn joined<R: Ring>(forms: &[Form], messages: [&[u8]; 2]) -> Result<Vec<Vec<R>>> {
    let [mut a, mut b] = messages.map(Cursor);
    let mut all = vec![];
    for form in forms {
        all.push(owner::join([a.next(form)?, b.next(form)?], form.len(), form.bits)?);
    }
    a.end()?;
    b.end()?;
    Ok(all)
}

/// Bytes of the message that [`join`] wants of each party.
pub fn model_bytes(step: &Step) -> u64 {
    step.delivered().iter().map(Form::packed_bytes).sum()
}

/// Party: keys of its shares of the masks of these rows of a share, inputs before targets; of the start, one per parameter.
pub fn data_keys(
    step: &Step,
    slice: Option<&Slice>,
    (origin, seed): (Origin, &Seed),
    rows: &[usize],
) -> Vec<[u8; 16]> {
    match slice {
        Some(slice) => {
            let of =
                |column, wanted: bool| if wanted { row_keys(seed, origin, column, rows) } else { vec![] };
            [of(INPUTS, !slice.inputs.is_empty()), of(TARGETS, slice.targets > 0)].concat()
        }
        None => (0..step.params().len()).map(|i| owner::weight_key(seed, origin, i as u32)).collect(),
    }
}

/// How many keys [`data_keys`] gives.
pub fn data_key_count(step: &Step, slice: Option<&Slice>, rows: usize) -> usize {
    slice.map_or_else(
        || step.params().len(),
        |slice| rows * (usize::from(!slice.inputs.is_empty()) + usize::from(slice.targets > 0)),
    )
}

/// Data owner: its rows of inputs and targets, masked and packed row by row, from both parties' keys.
///
/// # Errors
/// Values out of range, targets that the loss does not take.
pub fn mask_rows<R: Ring>(
    step: &Step,
    slice: &Slice,
    (inputs, targets): (&[f32], &[f32]),
    keys: [&[[u8; 16]]; 2],
) -> Result<Vec<u8>> {
    let (recipe, f) = (step.recipe(), step.recipe().fractions);
    if slice.targets > 0 {
        recipe.loss.check_targets(targets)?;
    }
    let x = recipe.encode::<R>("inputs", inputs, f.activations)?;
    let y = recipe.encode::<R>("targets", targets, recipe.loss.target_fraction(&f))?;
    let (mut at, word) = (0, recipe.n as usize / 8);
    let mut masked = |values: Vec<R>, width: usize| -> Result<Vec<u8>> {
        if width == 0 {
            return Ok(vec![]);
        }
        let rows = at..at + values.len() / width;
        at = rows.end;
        let short = || Error::data("training data", "the parties sent too few keys");
        let of = |p: usize| keys[p].get(rows.clone()).ok_or_else(short);
        Ok(owner::mask(&values, [of(0)?, of(1)?], recipe.n)?)
    };
    let parts =
        [(masked(x, slice.inputs.len())?, slice.inputs.len()), (masked(y, slice.targets)?, slice.targets)];
    let rows = parts.iter().filter(|(_, w)| *w > 0).map(|(p, w)| p.len() / (w * word)).max().unwrap_or(0);
    let row = |row: usize| {
        parts.iter().flat_map(move |(p, w)| p[row * w * word..(row + 1) * w * word].iter().copied())
    };
    Ok((0..rows).flat_map(row).collect())
}

/// Model owner: the weights to begin with, masked and packed, from both parties' keys.
///
/// # Errors
/// [`Error::Weights`], and values out of range.
pub fn mask_start<R: Ring>(step: &Step, weights: &Weights, keys: [&[[u8; 16]]; 2]) -> Result<Vec<u8>> {
    let encoded = step.encode::<R>(weights)?;
    let mut all = vec![];
    for (at, (values, form)) in encoded.iter().zip(step.params()).enumerate() {
        let short = || Error::data("training data", "the parties sent too few keys");
        let of = |p: usize| keys[p].get(at..=at).ok_or_else(short);
        all.extend(owner::mask(values, [of(0)?, of(1)?], form.bits)?);
    }
    Ok(all)
}
