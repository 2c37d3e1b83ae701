//! Steps of training: two parties against the oracle, the oracle against floating point.

mod ball;
#[path = "../common/mod.rs"]
mod common;
mod dropout;
mod gradients;
mod norm;
mod reveals;
mod rounding;
mod schedules;
mod shares;
mod under;

use common::build::{Builder, LAST, Model, Rng, random};
use twoply_nn::engine::Clear;
use twoply_nn::graph::{Op, Source};
use twoply_nn::train::{
    Course, Figure, Fractions, Loss, Moment, Rate, Recipe, Rehearsal, Schedule, State, Step, compare,
    initial, trunk,
};
use twoply_nn::with_ring;
use twoply_primitives::compare::Scheme;
use twoply_primitives::{Cpu, Form, Ring, Window};

fn recipe(n: u32, batch: usize, loss: Loss) -> Recipe {
    Recipe { rate: Rate { factor: 1, shift: 5 }, ..Recipe::usual(n, batch, loss) }
}

/// Rows of targets: one-hot, or anything from -1 to 1.
fn targets(step: &Step, rows: usize, rng: &mut Rng) -> Vec<f32> {
    let outputs = step.targets().shape.row();
    let row = |_| -> Vec<f32> {
        let hot = rng.within(0, outputs - 1);
        match step.recipe().loss {
            Loss::CrossEntropy => (0..outputs).map(|o| f32::from(o == hot)).collect(),
            Loss::BinaryCrossEntropy => (0..outputs).map(|_| f32::from(rng.chance(50))).collect(),
            Loss::SquaredError => (0..outputs).map(|_| rng.unit()).collect(),
        }
    };
    (0..rows).flat_map(row).collect()
}

/// Convolution, pools of both kinds, a residual, a product of wires, activations of every kind.
fn everything() -> Model {
    let mut b = Builder::new("everything", &[2, 8, 8], 3);
    let x = b.conv(Source::Input, 4, Window::square(3, 1).padded(1), 1);
    let x = b.max_pool(x, Window::square(3, 2).padded(1));
    let x = b.relu(x);
    let y = b.conv(x, 4, Window { dilation: [2, 1], ..Window::square(3, 1) }.padded(1), 2);
    let y = b.clip(y, Some(-0.5), Some(1.0));
    let y = b.avg_pool(y, Window::square(3, 1).padded(1), false);
    let z = b.take(x, vec![None, Some(vec![Some(1), None]), None]);
    let y = b.sub(y, z);
    let w = b.leaky_relu(y, 0.1);
    let y = b.mul(w, y);
    let w = b.sum_pool(w, Window::square(2, 2));
    let w = b.affine(w, 0.3, 0.1);
    let (y, w) = (b.flat(y), b.flat(w));
    let y = b.concat(&[y, w]);
    let y = b.linear(y, 6);
    let y = b.relu(y);
    b.linear(y, 4);
    b.finish(16)
}

fn small() -> Model {
    let mut b = Builder::new("small", &[1, 6, 6], 5);
    let x = b.conv(Source::Input, 3, Window::square(3, 1), 1);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.relu(x);
    let x = b.flat(x);
    b.linear(x, 5);
    b.finish(16)
}

/// Several steps of two parties, an epoch each: the oracle with P1's coins gives the same state, bit for bit, and every counter is the plan's.
fn same_as_oracle<R: Ring>(model: &Model, recipe: &Recipe, steps: usize) {
    let step = Step::new(&model.graph, recipe).unwrap();
    let mut rng = Rng(9);
    let rows = model.inputs.len() / model.graph.input.row();
    let y = targets(&step, rows, &mut rng);
    let mut both = Rehearsal::new(Cpu::<R>::new(), &step, &model.weights, &model.inputs, &y).unwrap();
    let mut clear = step.clear::<R>(&model.weights).unwrap();
    let schedule = Schedule::new(&step, 1, 17);
    for at in 0..steps {
        let chosen: Vec<usize> = (0..recipe.batch).map(|_| rng.within(0, rows - 1)).collect();
        let now = schedule.at(at as u64);
        let played = both.run(now, &chosen).unwrap();
        assert_eq!(played.miscounted(&now.0.planned().unwrap().gates), 0, "{}", model.graph.name);
        clear = oracle(now, Clear::with_coins(vec![], played.coins), &clear, (&model.inputs, &y), &chosen);
        let found = both.state().unwrap();
        assert!(all(&found).eq(all(&clear).map(|w| &w.1)), "{}", model.graph.name);
    }
}

/// All wires of a state.
fn all<V>(state: &State<V>) -> impl Iterator<Item = &V> {
    state.weights.iter().chain(&state.velocity).chain(&state.accumulators)
}

/// A step on clear values, of these rows.
fn oracle<R: Ring>(
    (step, moment): (&Step, Moment),
    mut engine: Clear<R>,
    state: &State<(Form, Vec<R>)>,
    (inputs, targets): (&[f32], &[f32]),
    rows: &[usize],
) -> State<(Form, Vec<R>)> {
    let pick = |values: &[f32], row: usize| -> Vec<f32> {
        rows.iter().flat_map(|r| values[r * row..(r + 1) * row].iter().copied()).collect()
    };
    let (x, y) = (pick(inputs, step.input().shape.row()), pick(targets, step.targets().shape.row()));
    step.on_clear(&mut engine, moment, state, (&x, &y)).unwrap()
}

#[test]
fn two_parties_do_what_the_oracle_does() {
    for (n, scheme) in [(32, Scheme::Digits), (32, Scheme::Dpf), (64, Scheme::Digits), (64, Scheme::Dpf)] {
        let recipe = Recipe { compare: scheme, ..recipe(n, 4, Loss::SquaredError) };
        with_ring!(n, R => same_as_oracle::<R>(&small(), &recipe, 3));
    }
    let all = Recipe { decay: 0.1, nesterov: true, ..recipe(32, 8, Loss::CrossEntropy) };
    same_as_oracle::<u32>(&everything(), &all, 2);
    let wide = Recipe { rate: Rate { factor: 3, shift: 6 }, ..recipe(64, 4, Loss::BinaryCrossEntropy) };
    same_as_oracle::<u64>(&everything(), &wide, 2);
}

#[test]
fn two_parties_train_random_graphs() {
    let mut trained = 0;
    for seed in 0..24 {
        let model = random(seed, seed as usize % LAST.len(), 8).before_argmax().scale_to(1.0);
        let recipe = recipe(32, 4, Loss::SquaredError);
        if Step::new(&model.graph, &recipe).is_ok() {
            same_as_oracle::<u32>(&model, &recipe, 2);
            trained += 1;
        }
    }
    assert!(trained >= 8, "{trained} graphs");
}

/// A weight that two layers share gets the sum of both gradients, inside one gate.
#[test]
fn shared_weights() {
    let mut b = Builder::new("shared", &[6], 2);
    let x = b.linear(Source::Input, 6);
    let x = b.relu(x);
    b.linear(x, 6);
    let mut model = b.finish(8);
    let Op::Linear { weight: first, .. } = model.graph.nodes[0].op else { panic!() };
    model.graph.nodes[2].op = Op::Linear { weight: first, bias: None };
    let (graph, weights) = (&mut model.graph, &mut model.weights.0);
    let used = |p: usize| graph.nodes.iter().any(|n| n.op.params().any(|q| q == p));
    let kept: Vec<usize> = (0..weights.len()).filter(|p| used(*p)).collect();
    graph.params = kept.iter().map(|p| graph.params[*p].clone()).collect();
    *weights = kept.iter().map(|p| weights[*p].clone()).collect();
    gradients::agree(&model, Loss::SquaredError);
    same_as_oracle::<u32>(&model, &recipe(32, 4, Loss::SquaredError), 2);
    // A layer that is frozen freezes what it shares.
    let frozen = |at: usize| Recipe {
        frozen: [model.graph.nodes[at].name.clone()].into(),
        ..recipe(32, 4, Loss::SquaredError)
    };
    let left = |at: usize| {
        let gates = Step::new(&model.graph, &frozen(at)).map(|s| s.planned().unwrap().gates.len());
        gates.unwrap_or(0)
    };
    assert_eq!(left(0), 0, "nothing is left to learn");
}

#[test]
fn frozen_layers_stay_and_cost_nothing() {
    let model = small();
    let first = model.graph.nodes[0].name.clone();
    let frozen = Recipe { frozen: [first].into(), ..recipe(32, 4, Loss::SquaredError) };
    same_as_oracle::<u32>(&model, &frozen, 2);
    let step = Step::new(&model.graph, &frozen).unwrap();
    let gates = step.planned().unwrap().gates;
    let backward = |name: &str| gates.iter().any(|g| g.layer == format!("{name}, backward"));
    assert!(!backward(&model.graph.nodes[0].name) && !backward(&model.graph.nodes[1].name));
    let state = step.clear::<u32>(&model.weights).unwrap();
    let y = targets(&step, 4, &mut Rng(1));
    let now = (&step, Moment::default());
    let next = oracle(now, Clear::new(vec![]), &state, (&model.inputs, &y), &[0, 1, 2, 3]);
    let moved: Vec<bool> = next.weights.iter().zip(&state.weights).map(|(a, b)| a.1 != b.1).collect();
    assert_eq!(moved, [false, false, true, true]);
}

#[test]
fn what_does_not_train_is_refused() {
    let model = small();
    let why = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe(32, 4, Loss::CrossEntropy);
        change(&mut recipe);
        Step::new(&model.graph, &recipe).map(drop).unwrap_err().to_string()
    };
    assert!(why(&|r| r.batch = 12).contains("power of two"));
    assert!(why(&|r| r.n = 48).contains("ring of 48 bits"));
    assert!(why(&|r| r.rate.shift = 0).contains("choose a smaller rate"));
    assert!(why(&|r| r.rate.factor = 0).contains("learning rate"));
    assert!(why(&|r| r.decay = 1e-5).contains("less than one of 1024 steps: choose at least 6.1e-5"));
    assert!(why(&|r| _ = r.later.insert(0, r.rate)).contains("epoch 0"));
    let steep = |r: &mut Recipe| (r.rate.shift, r.later) = (25, [(2, Rate { factor: 8, shift: 5 })].into());
    assert!(why(&steep).contains("from epoch 2 on the rate is 8388608 times as large"));
    assert!(why(&|r| _ = r.later.insert(3, Rate { factor: 1, shift: 1 })).contains("1 / 2^1 loses"));
    assert!(why(&|r| _ = r.later.insert(3, Rate { factor: 99, shift: 9 })).contains("learning rate"));
    assert!(why(&|r| r.rate.factor = 16).contains("learning rate"));
    assert!(why(&|r| r.momentum = 0.9999).contains("rounds to 1"));
    assert!(
        why(&|r| r.fractions = Fractions { activations: 1, weights: 3, gradients: 2, logits: 9 })
            .contains("too few")
    );
    assert!(
        why(&|r| (r.n, r.fractions) = (64, Fractions { gradients: 30, ..Fractions::usual(64) }))
            .contains("up to 27")
    );
    assert!(why(&|r| r.momentum = 1.0).contains("momentum"));
    assert!(why(&|r| r.fractions.weights = 40).contains("fraction bits"));
    assert!(why(&|r| _ = r.frozen.insert("nobody".into())).contains("no layer `nobody`"));
    let all = |r: &mut Recipe| r.frozen = model.graph.nodes.iter().map(|n| n.name.clone()).collect();
    assert!(why(&all).contains("every layer that could learn is frozen"));
    let mut b = Builder::new("many", &[3], 1);
    b.linear(Source::Input, 200);
    let many = Step::new(&b.finish(4).graph, &recipe(32, 4, Loss::CrossEntropy)).unwrap_err().to_string();
    assert!(many.contains("up to 128"), "{many}");
    assert!(why(&|r| r.fractions.logits = 10).contains("up to 9"));
    let of = |build: &dyn Fn(&mut Builder) -> Source| {
        let mut b = Builder::new("one", &[1, 120, 120], 1);
        let x = build(&mut b);
        let x = b.flat(x);
        b.linear(x, 2);
        Step::new(&b.finish(1).graph, &recipe(32, 4, Loss::SquaredError)).map(drop).map_err(|e| e.to_string())
    };
    let mean = |side: usize| {
        of(&move |b: &mut Builder| {
            let x = b.conv(Source::Input, 1, Window::square(1, 1), 1);
            b.avg_pool(x, Window::square(side, side), true)
        })
    };
    assert_eq!(mean(24), Ok(()));
    for (side, why) in [(60, "too coarse"), (100, "no room for a mean")] {
        let refused = mean(side).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let data = of(&|b: &mut Builder| b.avg_pool(Source::Input, Window::square(3, 3), true));
    assert!(data.unwrap_err().contains("masked once for all epochs"));
    let mut b = Builder::new("passed", &[3], 1);
    let x = b.linear(Source::Input, 2);
    b.concat(&[x, Source::Input]);
    let passed = b.finish(4).graph;
    let through = Step::new(&passed, &recipe(32, 4, Loss::CrossEntropy)).map(drop).unwrap_err().to_string();
    assert!(through.contains("part of the output"), "{through}");
    assert!(Step::new(&passed, &recipe(32, 4, Loss::SquaredError)).is_ok());
    let tiny = of(&|b: &mut Builder| {
        let x = b.relu(Source::Input);
        b.affine(x, 1e-5, 0.0)
    });
    assert!(tiny.unwrap_err().contains("would be run as"));
    let far = of(&|b: &mut Builder| b.clip(Source::Input, None, Some(1e8)));
    assert!(far.unwrap_err().contains("is not below 64"));

    let step = Step::new(&model.graph, &recipe(32, 4, Loss::CrossEntropy)).unwrap();
    let soft = vec![0.2; 16 * 5];
    let soft = Rehearsal::new(Cpu::<u32>::new(), &step, &model.weights, &model.inputs, &soft);
    assert!(soft.map(drop).unwrap_err().to_string().contains("takes 0 and 1"));
    let weights = twoply_nn::Weights(model.weights.0.iter().map(|w| vec![90.0; w.len()]).collect());
    assert!(step.encode::<u32>(&weights).unwrap_err().to_string().contains("90 is not below 64"));
    let short = Rehearsal::new(Cpu::<u32>::new(), &step, &model.weights, &model.inputs, &[0.0; 5]);
    assert!(short.map(drop).unwrap_err().to_string().contains("targets"));
}

/// A problem with a solution: which of four bars is in the noise.
fn bars(rows: usize, rng: &mut Rng) -> (Vec<f32>, Vec<f32>) {
    let (mut x, mut y) = (vec![], vec![]);
    for _ in 0..rows {
        let (kind, at) = (rng.within(0, 3), rng.within(1, 6));
        let lit = |r: usize, c: usize| match kind {
            0 => r == at,
            1 => c == at,
            2 => (r + c) % 8 == at,
            _ => (r + 8 - c) % 8 == at,
        };
        x.extend((0..64).map(|i| f32::from(lit(i / 8, i % 8)) + 0.3 * rng.unit()));
        y.extend((0..4).map(|k| f32::from(k == kind)));
    }
    (x, y)
}

#[test]
fn three_trainings_learn_alike() {
    let mut b = Builder::new("bars", &[1, 8, 8], 7);
    let x = b.conv(Source::Input, 4, Window::square(3, 1), 1);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.relu(x);
    let x = b.flat(x);
    let x = b.linear(x, 16);
    let x = b.relu(x);
    let x = b.linear(x, 4);
    b.relu(x);
    let (graph, left) = trunk(&b.finish(1).graph, Loss::CrossEntropy).unwrap();
    assert_eq!(left.len(), 1, "the ReLU behind the logits: {left:?}");
    let (mut rng, recipe) = (Rng(11), recipe(32, 16, Loss::CrossEntropy));
    let recipe = Recipe { rate: Rate { factor: 1, shift: 4 }, ..recipe };
    let step = Step::new(&graph, &recipe).unwrap();
    let ((inputs, targets), (held, held_targets)) = (bars(256, &mut rng), bars(128, &mut rng));
    let weights = initial(&graph, 1);
    let course = |parties, steps| Course {
        step: &step,
        weights: &weights,
        inputs: &inputs,
        targets: &targets,
        held: &held,
        held_targets: &held_targets,
        seed: 5,
        steps,
        every: 48,
        figures: &Figure::ALL,
        parties,
    };
    let mut heard = 0;
    let found = compare::<u32>(&course(true, 144), |_, point| heard += usize::from(point.is_some())).unwrap();
    assert_eq!((heard, found.points.len()), (4, 4));
    assert_eq!(found.differing, Some(0), "two parties and fixed point");
    let (first, last) = (&found.points[0], &found.points[3]);
    let (float, fixed) = (last.right_float.unwrap(), last.right_fixed.unwrap());
    assert!(float > 110 && fixed > 110, "float {float}, fixed point {fixed} of 128");
    // what the parties counted under masks is what the float network counts on their weights, but for near ties
    let private = last.revealed[&Figure::Accuracy][0];
    assert!(found.judged == 128 && (private - fixed as f64).abs() <= 2.0, "{private}, {fixed} of 128");
    let loss = last.revealed[&Figure::Loss][0];
    assert!((loss - last.loss_fixed).abs() < 0.02, "{loss}, {} in floating point", last.loss_fixed);
    assert!(last.revealed[&Figure::RangeCounts].iter().all(|count| *count == 0.0));
    assert!(last.loss_fixed < first.loss_fixed / 3.0 && (last.loss_fixed - last.loss_float).abs() < 0.05);
    let worst = found.reach.iter().max_by(|a, b| a.largest.total_cmp(&b.largest)).unwrap();
    assert!(worst.largest < 0.5, "{worst:?}");
    // coins of its own, and nobody beside
    let alone = compare::<u32>(&course(false, 144), |_, _| {}).unwrap();
    assert!(alone.differing.is_none() && alone.points[3].right_fixed.unwrap() > 110);
    assert_ne!(alone.weights, found.weights, "other coins, other weights");
}
