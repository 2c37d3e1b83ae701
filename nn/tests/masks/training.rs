//! A run of training: dealer and parties expand nothing twice, within a step and from one to the next. Masks of data serve all
//! epochs; here every row is used once.

use super::common::build::Model;
use super::networks;
use super::play::Secrets;
use super::redirect::Redirect;
use super::watched::Watched;
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::{PlannedGate, Trainer};
use twoply_nn::rehearsal::Memory;
use twoply_nn::train::{Figure, Loss, Rate, Recipe, Schedule, State, Step};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::compare::Scheme;
use twoply_primitives::deal::FRESH;
use twoply_primitives::owner::{self, row_keys, weight_key};
use twoply_primitives::prg::Streams;
use twoply_primitives::session::Setup;
use twoply_primitives::{
    Cpu, Deal, Form, KeySetId, Mask, Masked, NoClock, Origin, PartyId, Seed, Session, Site,
};

type Device = Watched<Cpu<u32>>;

fn recipe(loss: Loss, compare: Scheme) -> Recipe {
    let later = [(1, Rate { factor: 3, shift: 8 })].into();
    Recipe { later, nesterov: true, decay: 0.125, compare, ..Recipe::usual(32, 2, loss) }
}

fn secrets() -> Secrets {
    Secrets::new(6)
}

/// Data are of another key set, which is all that tells its addresses apart.
fn data() -> Origin {
    Origin { set: KeySetId([7; 16]), segment: Origin::WEIGHTS }
}

/// A run of dealer and parties, each on a device of its own.
pub struct Run<'s> {
    step: &'s Step,
    secrets: Secrets,
    dealer: Device,
    pub parties: [Device; 2],
    masks: State<Mask<Device>>,
    states: [State<Masked<Device>>; 2],
}

impl<'s> Run<'s> {
    fn new(step: &'s Step, model: &Model, redirect: Redirect) -> Run<'s> {
        Run::of(step, model, secrets(), redirect)
    }
    /// One with these seeds.
    pub fn of(step: &'s Step, model: &Model, secrets: Secrets, redirect: Redirect) -> Run<'s> {
        let redirect = Arc::new(redirect);
        let device = || Watched::new(Cpu::<u32>::new(), redirect.clone()).seeing();
        let (dealer, parties) = (device(), [device(), device()]);
        let origin = secrets.origin(Origin::WEIGHTS);
        let mut masks = State { weights: vec![], velocity: vec![], accumulators: vec![] };
        let mut states = [0, 1].map(|_| State { weights: vec![], velocity: vec![], accumulators: vec![] });
        for (i, (form, values)) in (0..).zip(step.params().iter().zip(step.encode(&model.weights).unwrap())) {
            masks.weights.push(Mask::weight(&dealer, form, &secrets.seeds, origin, i));
            masks.velocity.push(Mask::none(&dealer, form));
            let keys = secrets.seeds.each_ref().map(|seed| [weight_key(seed, origin, i)]);
            let packed = owner::mask::<u32>(&values, [&keys[0], &keys[1]], form.bits).unwrap();
            for ((state, dev), seed) in states.iter_mut().zip(&parties).zip(&secrets.seeds) {
                state.weights.push(Masked::weight(dev, form, &packed, seed, origin, i).unwrap());
                state.velocity.push(Masked::public(dev, form, &vec![0; form.len()]));
            }
        }
        for form in step.accumulators() {
            masks.accumulators.push(Mask::none(&dealer, &form));
            for (state, dev) in states.iter_mut().zip(&parties) {
                state.accumulators.push(Masked::public(dev, &form, &vec![0; form.len()]));
            }
        }
        Run { step, secrets, dealer, parties, masks, states }
    }

    /// Step number `segment` on rows of zeros.
    pub fn step(&mut self, segment: u32, rows: &[usize]) {
        let schedule = Schedule::new(self.step, 1, 1);
        let (step, moment) = schedule.at(u64::from(segment));
        let gates = step.planned().unwrap().gates;
        let (masks, states) = self.segment(
            (segment, rows),
            &gates,
            |deal, data| step.run(deal, moment, &self.masks, data).unwrap(),
            |me, engine, data| step.run(engine, moment, &self.states[me.index()], data).unwrap(),
        );
        (self.masks, self.states) = (masks, states);
    }
    /// A figure of rows of zeros, as segment number `segment`: what each party sends its owner.
    pub fn figure(&self, figure: Figure, segment: u32, rows: &[usize]) -> [Vec<u8>; 2] {
        let gates = self.step.planned_figure(figure).unwrap().gates;
        let deal = |deal: &mut Deal<'_, Device>, data| {
            self.step.figure(figure, deal, &self.masks, data).map(drop).unwrap();
        };
        let party = |me: PartyId, engine: &mut Trainer<'_, Device>, data| {
            let numbers = self.step.figure(figure, engine, &self.states[me.index()], data).unwrap();
            numbers.iter().flat_map(|(_, n)| n.for_owner(&self.parties[me.index()], me).unwrap()).collect()
        };
        self.segment((segment, rows), &gates, deal, party).1
    }

    /// A segment on rows of zeros: what the dealer has of it, and both parties.
    fn segment<D, T: Send>(
        &self,
        (segment, rows): (u32, &[usize]),
        gates: &[PlannedGate],
        work: impl FnOnce(&mut Deal<'_, Device>, (Mask<Device>, Mask<Device>)) -> D,
        party: impl Fn(PartyId, &mut Trainer<'_, Device>, (Masked<Device>, Masked<Device>)) -> T + Sync,
    ) -> (D, [T; 2]) {
        let keys = |seed: &Seed, column| row_keys(seed, data(), column, rows);
        let columns = [(0, self.step.input()), (1, self.step.targets())];
        let seeds = &self.secrets.seeds;
        let both = |column| [keys(&seeds[0], column), keys(&seeds[1], column)];
        let mask = |(column, form): &(u32, Form)| {
            let keys = both(*column);
            Mask::of_rows(&self.dealer, form, [&keys[0], &keys[1]])
        };
        let mut memory = Memory::new(gates.iter().map(|g| &g.cost));
        let mut deal =
            Deal::new(self.dealer.clone(), seeds.clone(), self.secrets.origin(segment), 1, &mut memory);
        let [x, y] = columns.each_ref().map(mask);
        let dealt = work(&mut deal, (x, y));
        drop(deal);
        let memory = Arc::new(memory);
        let packed = columns.each_ref().map(|(column, form)| {
            let keys = both(*column);
            owner::mask::<u32>(&vec![0; form.len()], [&keys[0], &keys[1]], form.bits).unwrap()
        });
        let (a, b) = pair();
        let play = |me: PartyId, mut peer: Loopback| {
            let (dev, seed) = (self.parties[me.index()].clone(), seeds[me.index()].clone());
            let wire = |c: usize| {
                Masked::of_rows(&dev, &columns[c].1, &packed[c], &keys(&seed, columns[c].0)).unwrap()
            };
            let (x, y) = (wire(0), wire(1));
            let session = Session::new(Setup {
                me,
                dev: dev.clone(),
                seed: seed.clone(),
                origin: self.secrets.origin(segment),
                images: 0..1,
                peer: &mut peer,
                keys: memory.half(me),
                clock: Arc::new(NoClock),
            });
            party(me, &mut Trainer::new(session), (x, y))
        };
        let played = thread::scope(|scope| {
            let play = &play;
            [(PartyId::P0, a), (PartyId::P1, b)]
                .map(|(me, peer)| scope.spawn(move || play(me, peer)))
                .map(|t| t.join().unwrap())
        });
        (dealt, played)
    }
    /// Nothing was expanded twice; a staircase's key is read at its points.
    fn once(&self, what: &str) {
        let mut gates = self.step.planned().unwrap().gates;
        for figure in Figure::ALL.into_iter().filter(|figure| self.step.offers(*figure).is_ok()) {
            gates.extend(self.step.planned_figure(figure).unwrap().gates);
        }
        // an audit's key is read at two
        let points = |g: &PlannedGate| g.with["steps"].as_array().map_or(2, Vec::len);
        let points = gates.iter().map(points).max().unwrap();
        let [dealer, parties @ ..] = self.notes();
        dealer.once(what);
        parties.iter().for_each(|notes| notes.once_but_for_points(points, what));
    }
    fn notes(&self) -> [&super::notes::Notes; 3] {
        [&self.dealer.notes, &self.parties[0].notes, &self.parties[1].notes]
    }
}

#[test]
fn no_mask_of_a_training_run_is_expanded_twice() {
    let models = [networks::spatial(), networks::normalised()];
    for loss in [Loss::SquaredError, Loss::CrossEntropy, Loss::BinaryCrossEntropy] {
        for (model, scheme) in models.iter().flat_map(|m| [Scheme::Digits, Scheme::Dpf].map(|s| (m, s))) {
            let step = Step::new(&model.graph, &recipe(loss, scheme)).unwrap();
            let mut run = Run::new(&step, model, Redirect::default());
            run.step(0, &[0, 1]);
            run.step(1, &[2, 3]);
            let figures = Figure::ALL.into_iter().filter(|figure| step.offers(*figure).is_ok());
            for (segment, figure) in (2..).zip(figures) {
                let first = 2 * segment as usize;
                run.figure(figure, segment, &[first, first + 1]);
            }
            run.once(&format!("{}, {loss:?}, {scheme:?}", model.graph.name));
        }
    }
}

/// The plant: gates of a normalisation whose results have the mask of the one before, which leaves every result right.
#[test]
fn one_mask_for_two_gates_of_a_normalisation_is_noticed() {
    let model = networks::normalised();
    let step = Step::new(&model.graph, &recipe(Loss::SquaredError, Scheme::Digits)).unwrap();
    let gates = step.planned().unwrap().gates;
    let norm = &model.graph.nodes[1].name;
    let pairs: Vec<u32> = (1u32..)
        .zip(gates.windows(2))
        .filter(|(_, pair)| pair.iter().all(|g| g.layer.starts_with(norm)))
        .map(|(at, _)| at)
        .collect();
    assert!(pairs.len() > 16, "{} gates forward and back", pairs.len());
    for at in pairs {
        let mut redirect = Redirect::default();
        for seed in &secrets().seeds {
            let streams = |gate| Streams::new(seed, secrets().origin(0), Site { gate, part: 0 });
            redirect.stream(&streams(at), streams(at - 1), FRESH);
        }
        let mut run = Run::new(&step, &model, redirect);
        run.step(0, &[0, 1]);
        let fault = format!("the mask of gate {at}, {}", gates[at as usize].gate);
        run.notes().iter().for_each(|notes| notes.masks().twice(&fault));
    }
}

/// The plant: a step that is run again under its old address, as one that was broken off must not be.
#[test]
fn a_step_under_an_old_address_is_noticed() {
    for model in [networks::spatial(), networks::normalised()] {
        let step = Step::new(&model.graph, &recipe(Loss::SquaredError, Scheme::Digits)).unwrap();
        let mut run = Run::new(&step, &model, Redirect::default());
        run.step(0, &[0, 1]);
        run.step(0, &[2, 3]);
        run.notes().iter().for_each(|notes| notes.masks().twice("a step again"));
    }
}
