//! A run on the shares of several owners, with a restart from what dealer and parties keep: bit for bit the oracle's.

use super::common::build::{Builder, Model, Rng};
use super::norm::normalised_of;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::Clear;
use twoply_nn::graph::Source;
use twoply_nn::rehearsal::Memory;
use twoply_nn::train::roles::{
    Dealer, Delivered, Learner, Learnt, data_key_count, data_keys, data_origin, join, mask_rows, mask_start,
    model_bytes,
};
use twoply_nn::train::{
    Brings, Held, Loss, Moment, Rate, Recipe, Share, State, Step, Stored, TrainingPlan, initial, miscounted,
};
use twoply_nn::zoo::{self, Seeded};
use twoply_nn::{Weights, with_ring};
use twoply_primitives::channel::pair;
use twoply_primitives::compare::Scheme;
use twoply_primitives::session::Setup;
use twoply_primitives::{Cpu, Form, KeySetId, Origin, PartyId, Ring, Seed, Session, WallClock, Window};

const ROWS: usize = 24;

/// A convolution, a pool, a linear layer.
fn small() -> Model {
    let mut b = Builder::new("shared", &[1, 6, 6], 5);
    let x = b.conv(Source::Input, 3, Window::square(3, 1), 1);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.relu(x);
    let x = b.flat(x);
    b.linear(x, 5);
    b.finish(ROWS)
}

/// LeNet on noise.
fn lenet() -> Model {
    let graph = zoo::named("lenet").unwrap().build(&mut Seeded(1)).unwrap().graph;
    let mut rng = Rng(6);
    let inputs = (0..ROWS * graph.input.row()).map(|_| rng.unit()).collect();
    Model { weights: initial(&graph, 2), graph, inputs }
}

/// Whether to try everything, which takes minutes.
fn full() -> bool {
    std::env::var("TWOPLY_FULL").is_ok_and(|v| v == "1")
}

fn share(owner: &str, brings: Brings) -> Share {
    Share { owner: owner.into(), brings }
}

fn plan(model: &Model, n: u32, compare: Scheme, shares: Vec<Share>) -> TrainingPlan {
    // the rate changes in the fourth epoch
    let later = [(3, Rate { factor: 1, shift: 6 })].into();
    let recipe = Recipe {
        compare,
        later,
        rate: Rate { factor: 1, shift: 5 },
        ..Recipe::usual(n, 4, Loss::CrossEntropy)
    };
    TrainingPlan::new(model.graph.clone(), recipe, (ROWS as u64, 9), 3).unwrap().shared(shares, 5).unwrap()
}

fn seeds(at: u8) -> [Seed; 2] {
    [0, 1].map(|p| Seed::new([10 * at + p + 1; 32]))
}

/// Everything at its place: the dealer's masks, both parties' rows.
struct Cast<R: Ring> {
    dealer: Dealer<Cpu<R>>,
    parties: [Learner<Cpu<R>>; 2],
}

type Dealt = Vec<Held<[Seed; 2]>>;
type Rows = [Vec<Held<Stored>>; 2];

/// What owners do: masks every share chunk by chunk, with the keys of both parties.
fn brought<R: Ring>(plan: &TrainingPlan, step: &Step, (x, y): (&[f32], &[f32])) -> (Dealt, Rows) {
    let (width, outputs) = (step.input().shape.row(), step.targets().shape.row());
    let (mut dealt, mut rows): (Dealt, Rows) = (vec![], [vec![], vec![]]);
    for (at, slice) in plan.slices().unwrap().into_iter().enumerate() {
        let Some(slice) = slice else { continue };
        let (origin, seeds) = (data_origin(KeySetId([at as u8 + 1; 16])), seeds(at as u8));
        let of = slice.rows.start as usize..slice.rows.end as usize;
        let part = |values: &[f32], width: usize, columns: std::ops::Range<usize>| -> Vec<f32> {
            of.clone().flat_map(|r| values[r * width..][columns.clone()].to_vec()).collect()
        };
        let inputs = part(x, width, slice.inputs.clone());
        let targets = part(y, outputs, 0..slice.targets);
        // two chunks, the last one short
        let cut = of.len() * 2 / 3;
        let chunks: Vec<Vec<u8>> = [0..cut, cut..of.len()]
            .into_iter()
            .map(|chunk| {
                let all: Vec<usize> = chunk.clone().collect();
                let keys = seeds.each_ref().map(|s| data_keys(step, Some(&slice), (origin, s), &all));
                assert_eq!(keys[0].len(), data_key_count(step, Some(&slice), all.len()));
                let a = &inputs[chunk.start * slice.inputs.len()..chunk.end * slice.inputs.len()];
                let b = &targets[chunk.start * slice.targets..chunk.end * slice.targets];
                mask_rows::<R>(step, &slice, (a, b), [&keys[0], &keys[1]]).unwrap()
            })
            .collect();
        for (p, rows) in rows.iter_mut().enumerate() {
            let seed = Stored { seed: seeds[p].clone(), chunks: chunks.clone() };
            rows.push(Held { slice: slice.clone(), origin, seed });
        }
        dealt.push(Held { slice, origin, seed: seeds });
    }
    (dealt, rows)
}

fn begin<R: Ring>(plan: &TrainingPlan, step: &Step, weights: &Weights, data: (&[f32], &[f32])) -> Cast<R> {
    let (dev, (dealt, rows)) = (Cpu::<R>::new(), brought::<R>(plan, step, data));
    match plan.start() {
        None => Cast {
            dealer: Dealer::begin(dev, step, dealt, None),
            parties: rows.map(|rows| Learner::begin(dev, step, rows, weights).unwrap()),
        },
        Some(_) => {
            let (origin, seeds) = (data_origin(KeySetId([99; 16])), seeds(20));
            let keys = seeds.each_ref().map(|s| data_keys(step, None, (origin, s), &[]));
            let packed = mask_start::<R>(step, weights, [&keys[0], &keys[1]]).unwrap();
            let dealer = Dealer::begin(dev, step, dealt, Some((origin, &seeds)));
            let mut both = rows.into_iter().zip(&seeds).map(|(rows, seed)| {
                Learner::begin_private(dev, step, rows, (origin, seed, &packed)).unwrap()
            });
            Cast { dealer, parties: [both.next().unwrap(), both.next().unwrap()] }
        }
    }
}

impl<R: Ring> Cast<R> {
    fn step(&mut self, (step, moment): (&Step, Moment), rows: &[usize], origin: Origin) -> Learnt {
        let (plan, seeds) = (step.planned().unwrap(), [0, 1].map(|p| Seed::new([100 + p; 32])));
        let mut keys = Memory::new(plan.gates.iter().map(|g| &g.cost));
        self.dealer.deal((step, moment), rows, (origin, &seeds), &mut keys).unwrap();
        let (keys, (a, b)) = (Arc::new(keys), pair());
        let [p0, p1] = &mut self.parties;
        let both = thread::scope(|scope| {
            let all = [(PartyId::P0, a, p0), (PartyId::P1, b, p1)].map(|(me, mut peer, party)| {
                let (keys, seed) = (keys.half(me), seeds[me.index()].clone());
                scope.spawn(move || {
                    let (dev, clock) = (Cpu::<R>::new(), Arc::new(WallClock::default()));
                    let peer = &mut peer;
                    let mut session =
                        Session::new(Setup { me, dev, seed, origin, images: 0..1, peer, keys, clock });
                    session.record_coins();
                    party.learn((step, moment), rows, session).unwrap()
                })
            });
            all.map(|p| p.join().unwrap())
        });
        for (me, learnt) in PartyId::BOTH.into_iter().zip(&both) {
            assert_eq!(miscounted(me, &learnt.stats, &plan.gates), 0);
        }
        let [p0, p1] = both;
        assert_eq!(p0.transcript, p1.transcript);
        p1
    }
    /// All die, and go on from what they keep.
    fn restarted(self, plan: &TrainingPlan, step: &Step, data: (&[f32], &[f32])) -> Cast<R> {
        let (dev, (dealt, rows)) = (Cpu::<R>::new(), brought::<R>(plan, step, data));
        let masks = self.dealer.masks().unwrap();
        let kept = self.parties.each_ref().map(|p| p.snapshot().unwrap());
        assert!(kept[0].weights == kept[1].weights && kept[0].velocities == kept[1].velocities);
        let mut both =
            rows.into_iter().zip(&kept).map(|(rows, kept)| Learner::at(dev, step, rows, kept).unwrap());
        let parties = [both.next().unwrap(), both.next().unwrap()];
        Cast { dealer: Dealer::at(dev, step, dealt, &masks).unwrap(), parties }
    }
    /// Sums of statistics begin anew.
    fn forget(&mut self, step: &Step) {
        self.dealer.forget(step);
        self.parties.iter_mut().for_each(|party| party.forget(step));
    }
    /// What the model's owner gets.
    fn delivered(&self, step: &Step) -> Delivered<R> {
        let [a, b] = &self.parties;
        let shares = [a.for_owner(PartyId::P0).unwrap(), b.for_owner(PartyId::P1).unwrap()];
        assert_eq!(shares[0].len() as u64, model_bytes(step));
        assert!(join::<R>(step, [&shares[0][1..], &shares[1]]).is_err());
        join(step, [&shares[0], &shares[1]]).unwrap()
    }
}

/// So many steps, as the processes make them; everybody dies and goes on before some of them.
fn trained<R: Ring>(model: &Model, plan: &TrainingPlan, steps: usize, restarts: &[usize]) {
    let step = plan.program().unwrap();
    let outputs = step.targets().shape.row();
    let mut rng = Rng(4);
    let y: Vec<f32> = (0..ROWS)
        .flat_map(|_| {
            let hot = rng.within(0, outputs - 1);
            (0..outputs).map(move |o| f32::from(o == hot))
        })
        .collect();
    let weights =
        if plan.start().is_some() { model.weights.clone() } else { initial(&plan.graph, plan.seed) };
    let data = (&model.inputs[..], &y[..]);
    let mut cast = begin::<R>(plan, &step, &weights, data);
    let mut clear: State<(Form, Vec<R>)> = step.clear(&weights).unwrap();
    let schedule = plan.schedule().unwrap();
    let order: Vec<Vec<usize>> = (0..plan.epochs).flat_map(|epoch| plan.order(epoch)).collect();
    for (at, rows) in order[..steps].iter().enumerate() {
        if restarts.contains(&at) {
            cast = cast.restarted(plan, &step, data);
        }
        if at as u64 + plan.gathered() == plan.steps() {
            cast.forget(&step);
            for (form, sums) in &mut clear.accumulators {
                *sums = vec![R::ZERO; form.len()];
            }
        }
        let (step, moment) = schedule.at(at as u64);
        let learnt = cast.step((step, moment), rows, Origin { set: KeySetId([77; 16]), segment: at as u32 });
        let pick = |values: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|r| values[r * width..(r + 1) * width].to_vec()).collect()
        };
        let batch = (pick(data.0, step.input().shape.row()), pick(data.1, outputs));
        let mut oracle = Clear::with_coins(vec![], learnt.coins);
        clear = step.on_clear(&mut oracle, moment, &clear, (&batch.0, &batch.1)).unwrap();
        let delivered = cast.delivered(step);
        let values = |wires: &[(Form, Vec<R>)]| wires.iter().map(|w| w.1.clone()).collect::<Vec<_>>();
        assert!(delivered.weights == values(&clear.weights), "step {at}");
        assert!(delivered.sums == values(&clear.accumulators), "sums of step {at}");
    }
}

fn by_rows() -> Vec<Share> {
    vec![share("a", Brings::Rows(10)), share("start", Brings::Start), share("b", Brings::Rows(14))]
}

fn by_columns() -> Vec<Share> {
    let columns = |from, to, targets| Brings::Columns { inputs: [from, to], targets };
    vec![
        share("b", columns(13, 36, false)),
        share("c", columns(0, 0, true)),
        share("a", columns(0, 13, false)),
    ]
}

#[test]
fn fifty_steps_with_a_restart_are_the_oracles() {
    let model = small();
    trained::<u32>(&model, &plan(&model, 32, Scheme::Digits, by_rows()), 50, &[20]);
}

/// Statistics of batch normalisations are gathered over the last steps, whoever died before or since.
#[test]
fn a_whole_run_with_normalisations_and_restarts_is_the_oracles() {
    let model = normalised_of(ROWS);
    let plan = plan(&model, 32, Scheme::Digits, by_rows());
    let (steps, forgotten) = (plan.steps() as usize, (plan.steps() - plan.gathered()) as usize);
    assert!(plan.program().unwrap().accumulators().len() > 3 && forgotten > 10);
    trained::<u32>(&model, &plan, steps, &[10, forgotten, forgotten + 7]);
}

/// With `TWOPLY_FULL=1` fifty steps of each; else two, with the restart between them.
#[test]
fn three_networks_train_in_both_rings_and_comparisons_across_a_restart() {
    let (steps, restart) = if full() { (50, 20) } else { (2, 1) };
    for model in [small(), normalised_of(ROWS), lenet()] {
        for (n, compare) in [(32, Scheme::Digits), (32, Scheme::Dpf), (64, Scheme::Digits), (64, Scheme::Dpf)]
        {
            let plan = plan(&model, n, compare, by_rows());
            with_ring!(n, R => trained::<R>(&model, &plan, steps, &[restart]));
        }
    }
}

#[test]
fn shares_of_all_kinds_train_in_both_rings_and_comparisons() {
    let model = small();
    for (n, compare) in [(32, Scheme::Dpf), (64, Scheme::Digits), (64, Scheme::Dpf)] {
        for shares in [by_rows(), by_columns()] {
            with_ring!(n, R => trained::<R>(&model, &plan(&model, n, compare, shares), 3, &[2]));
        }
    }
}

/// Of what owners send, nothing depends on who holds the other columns: masks of a row's columns are different streams.
#[test]
fn masks_of_shares_do_not_meet() {
    let plan = plan(&small(), 32, Scheme::Digits, by_columns());
    let step = plan.program().unwrap();
    let zeros = (vec![0.0; ROWS * 36], vec![0.0; ROWS * 5]);
    let (_, [rows, _]) = brought::<u32>(&plan, &step, (&zeros.0, &zeros.1));
    // of zeros, the masks themselves are left
    let words: Vec<u32> = rows
        .iter()
        .flat_map(|held| held.seed.chunks.concat())
        .collect::<Vec<u8>>()
        .as_chunks()
        .0
        .iter()
        .map(|w| u32::from_le_bytes(*w))
        .collect();
    assert_eq!(words.len(), ROWS * 41);
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "a word of a mask twice");
}
