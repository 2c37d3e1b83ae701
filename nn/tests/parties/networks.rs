//! Random graphs and named small networks, every variant of the options: two parties equal the fixed-point oracle to the
//! last bit, both stay within a bound of the float evaluator, and counters are those of the plan.

use super::common::build::{Builder, LAST, Model, random};
use super::common::{Run, Shift, two_parties, variants, weight_fractions};
use std::collections::BTreeSet;
use std::path::PathBuf;
use twoply_nn::accuracy::bounds;
use twoply_nn::engine::{Engine, Infer, Planner};
use twoply_nn::roles::Answer;
use twoply_nn::{Evaluator, Floats, Images, Meaning, Normalise, Options, Plan, Reveal, import, with_ring};
use twoply_primitives::gate::Rounding;
use twoply_primitives::{Form, Gate, Local, Window};

/// Graphs in a usual run, and with `TWOPLY_FULL=1`.
fn graphs() -> u64 {
    if full() { 400 } else { 96 }
}
fn full() -> bool {
    std::env::var("TWOPLY_FULL").is_ok_and(|v| v == "1")
}

/// Runs a model in one variant and checks everything. Returns the largest error as a part of its bound.
fn check(model: &Model, options: &Options, shift: &Shift) -> f64 {
    let at = format!("{} {options:?}", model.graph.name);
    let plan = Plan::new(model.graph.clone(), options.clone(), Some(model.ranges()))
        .unwrap_or_else(|e| panic!("{at}: {e}\n{}", model.graph.to_json()));
    assert_eq!(Plan::from_json(&plan.to_json().unwrap()).unwrap(), plan, "{at}");
    let images: usize = shift.runs.iter().sum();
    let inputs = &model.inputs[..images * model.graph.input.row()];
    let runs = with_ring!(options.fixed.n, R => two_parties::<R>(&plan, &model.weights, inputs, shift));
    for run in &runs {
        let (answer, oracle) = (&run.answer, &run.oracle);
        assert!(run.exact, "{at}: {answer:?}, oracle {oracle:?}\n{}", model.graph.to_json());
    }
    let ranges = plan.ranges.as_ref().unwrap();
    let peaks: Vec<f64> = [&ranges.input].into_iter().chain(&ranges.nodes).map(|r| r.observed).collect();
    let error = *bounds(&plan, &model.weights, &peaks).last().unwrap();
    let logits = model.clone().before_argmax();
    let float = Evaluator::new(&logits.graph, &logits.weights).unwrap().run(inputs).unwrap();
    let worst = distance(&runs, &float, error);
    assert!(worst <= 1.0, "{at}: {worst} of the bound {error}\n{}", model.graph.to_json());
    worst
}

/// Largest distance of answers and of the coinless oracle from `float`, as a part of `error`. A label may be that of any
/// output within two errors of the largest.
fn distance(runs: &[Run], float: &[Vec<f32>], error: f64) -> f64 {
    let logits = |got: &[Vec<f64>], want: &[Vec<f32>]| -> f64 {
        assert_eq!(got.len(), want.len());
        let pairs = got.iter().flatten().zip(want.iter().flatten());
        pairs.map(|(g, w)| (g - *w as f64).abs() / error).fold(0.0, f64::max)
    };
    let labels = |got: &[usize], want: &[Vec<f32>]| -> f64 {
        assert_eq!(got.len(), want.len());
        let short = |(l, row): (&usize, &Vec<f32>)| {
            let best = row.iter().fold(f32::MIN, |m, v| m.max(*v));
            (best - row[*l]) as f64 / (2.0 * error)
        };
        got.iter().zip(want).map(short).fold(0.0, f64::max)
    };
    let (mut worst, mut at) = (0.0f64, 0);
    for run in runs {
        let want = &float[at..at + run.oracle.len()];
        worst = worst.max(match &run.answer {
            Answer::Logits(rows) => logits(rows, want).max(logits(&run.floor, want)),
            Answer::Labels(got) => {
                let floor: Vec<usize> = run.floor.iter().map(|r| r[0] as usize).collect();
                labels(got, want).max(labels(&floor, want))
            }
        });
        at += run.oracle.len();
    }
    assert_eq!(at, float.len());
    worst
}

/// Runs a program on forms and notes which operands its sums have: widths, and whether one was scaled.
#[derive(Default)]
struct Sums {
    planner: Planner,
    seen: BTreeSet<(u32, u32)>,
    scaled: bool,
}

impl Engine for Sums {
    type Value = Form;
    fn form<'a>(&self, v: &'a Form) -> &'a Form {
        v
    }
    fn layer(&mut self, name: &str) {
        self.planner.layer(name);
    }
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Form]) -> twoply_primitives::Result<Form> {
        self.planner.gate(g, x)
    }
    fn local(&mut self, f: &Local, x: &[&Form]) -> twoply_primitives::Result<Form> {
        match f {
            Local::Add | Local::Sub => _ = self.seen.insert((x[0].bits, x[1].bits)),
            Local::Scale(4096) => self.scaled = true,
            _ => {}
        }
        self.planner.local(f, x)
    }
}

impl Infer for Sums {
    fn input(&mut self, form: &Form) -> twoply_primitives::Result<Form> {
        self.planner.input(form)
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Form]) -> twoply_primitives::Result<()> {
        self.planner.output(g, x)
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Form]) -> twoply_primitives::Result<()> {
        self.planner.aside(g, x)
    }
    fn deliver(&mut self, x: &Form) -> twoply_primitives::Result<()> {
        self.planner.deliver(x)
    }
}

fn sums(model: &Model, options: &Options) -> Sums {
    let plan = Plan::new(model.graph.clone(), options.clone(), Some(model.ranges())).unwrap();
    let program = plan.program().unwrap();
    let mut sums = Sums { planner: Planner::new(options.fixed.n), ..Sums::default() };
    program.run(&mut sums, &program.params(), 1).unwrap();
    sums
}

/// Random graphs, each at several sizes of its values, up to the edge of the range contract.
#[test]
fn random_graphs_in_every_variant() {
    let (mut worst, mut kinds, mut ops) = (0.0f64, BTreeSet::new(), BTreeSet::new());
    let (mut pairs, mut scaled) = (BTreeSet::new(), 0);
    let all = variants();
    for seed in 0..graphs() {
        if seed > 0 && seed % 50 == 0 {
            eprintln!("{seed} graphs, largest error {worst:.3} of the bound");
        }
        let last = seed as usize % LAST.len();
        let model = random(seed, last, 3);
        ops.extend(model.graph.nodes.iter().map(|n| n.op.kind()));
        for (i, options) in all.iter().enumerate() {
            // A graph that ends in argmax has labels only. In a usual run each graph meets half of the variants.
            let skip = LAST[last] == "argmax" && options.reveal == Reveal::Logits;
            if skip || !full() && (seed as usize / LAST.len() + i / 2) % 2 == 1 {
                continue;
            }
            let options = Options { margin: 1.02, ..options.clone() };
            let edge = if options.fixed.n == 32 { 0.97 * options.fixed.limit() } else { 3000.0 };
            let peak = [1.0, 8.0, edge][(seed as usize + i) % 3];
            let mut model = model.clone().scale_to(peak);
            if options.reveal == Reveal::Label && LAST[last] != "argmax" {
                model = model.flat();
            }
            worst = worst.max(check(&model, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] }));
            kinds.insert((LAST[last], format!("{:?}", options.rounding)));
            if options.fixed.n == 32 {
                let s = sums(&model, &options);
                pairs.extend(s.seen.into_iter().map(|p| (options.rounding == Rounding::Floor, p)));
                scaled += s.scaled as usize;
            }
        }
    }
    eprintln!("largest error: {worst:.3} of the bound; sums of {pairs:?}, {scaled} scaled");
    assert_eq!(kinds.len(), 2 * LAST.len());
    assert_eq!(ops.len(), 19, "{ops:?}");
    let coin = [(32, 32), (20, 20), (20, 32), (32, 20)].map(|p| (false, p));
    assert!(coin.into_iter().chain([(true, (32, 32))]).all(|p| pairs.contains(&p)), "{pairs:?}");
    assert!(scaled > 0, "no sum of different fractions");
}

/// The same where weights have fraction bits of their own: every kind of operation, up to the edge of its contract.
#[test]
fn random_graphs_with_a_fraction_of_weights() {
    let (mut worst, mut ops, all) = (0.0f64, BTreeSet::new(), weight_fractions());
    for seed in 1000..1000 + graphs() / 2 {
        let last = seed as usize % LAST.len();
        let model = random(seed, last, 3);
        ops.extend(model.graph.nodes.iter().map(|n| n.op.kind()));
        for (i, options) in all.iter().enumerate() {
            let skip = LAST[last] == "argmax" && options.reveal == Reveal::Logits;
            if skip || !full() && (seed as usize / LAST.len() + i / 2) % 2 == 1 {
                continue;
            }
            let options = Options { margin: 1.02, ..options.clone() };
            let edge = if options.fixed.n == 32 { 0.97 * options.scale().limit() } else { 3000.0 };
            let mut model = model.clone().scale_to([1.0, 8.0, edge][(seed as usize + i) % 3]);
            if options.reveal == Reveal::Label && LAST[last] != "argmax" {
                model = model.flat();
            }
            worst = worst.max(check(&model, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] }));
        }
    }
    eprintln!("largest error: {worst:.3} of the bound");
    assert_eq!(ops.len(), 19, "{ops:?}");
    for options in weight_fractions() {
        let [plain, mixed] = [residual(), inverted_residual()].map(|model| model.scale_to(6.0));
        check(&plain, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] });
        check(&mixed, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] });
    }
}

/// Downsampling residual block: two convolutions, a strided 1x1 skip, a second block with the identity as skip.
fn residual() -> Model {
    let mut b = Builder::new("residual", &[3, 8, 8], 11);
    let three = |stride| Window { stride: [stride; 2], ..Window::square(3, 1).padded(1) };
    let x = b.conv(twoply_nn::Source::Input, 4, three(1), 1);
    let x = b.relu(x);
    let y = b.conv(x, 6, three(2), 1);
    let y = b.relu(y);
    let y = b.conv(y, 6, three(1), 1);
    let skip = b.conv(x, 6, Window::square(1, 2), 1);
    let x = b.add(y, skip);
    let x = b.relu(x);
    let y = b.conv(x, 6, three(1), 2);
    let x = b.add(x, y);
    let x = b.relu(x);
    let x = b.avg_pool(x, Window::square(4, 1), true);
    b.linear(x, 10);
    b.finish(3)
}

/// Inverted residual block with hard swish, a depthwise convolution, squeeze and excitation and a skip, behind private addends;
/// then a shuffle of channels, a plane mirrored and padded by its own edge, sums of windows.
fn inverted_residual() -> Model {
    let mut b = Builder::new("inverted-residual", &[3, 8, 8], 16);
    let x = b.offset(twoply_nn::Source::Input);
    let x = b.conv(x, 4, Window::square(3, 2).padded(1), 1);
    let x = b.hard_swish(x);
    let y = b.conv(x, 8, Window::square(1, 1), 1);
    let y = b.hard_swish(y);
    let y = b.conv(y, 8, Window::square(3, 1).padded(1), 8);
    let y = b.squeeze(y, 3);
    let y = b.conv(y, 4, Window::square(1, 1), 1);
    let x = b.add(x, y);
    let y = b.reshape(x, &[2, 2, 4, 4]);
    let y = b.transpose(y, &[1, 0, 2, 3]);
    let y = b.reshape(y, &[4, 4, 4]);
    let mirrored = (0..4).rev().map(Some).collect();
    let edges = [0, 0, 1, 2, 3, 3].map(Some).to_vec();
    let y = b.take(y, vec![None, Some(mirrored), Some(edges)]);
    let y = b.sum_pool(y, Window::square(2, 2));
    let y = b.mul(y, y);
    b.linear(y, 10);
    b.finish(3)
}

/// 784-128-128-10, a ReLU on the logits too.
fn network_1() -> Model {
    let mut b = Builder::new("network-1", &[1, 28, 28], 12);
    let mut x = twoply_nn::Source::Input;
    for out in [128, 128, 10] {
        x = b.linear(x, out);
        x = b.relu(x);
    }
    b.finish(3)
}

/// conv20, conv50, fc500, fc10 with pools of 2, ReLU behind the pools.
fn lenet() -> Model {
    let mut b = Builder::new("lenet", &[1, 28, 28], 13);
    let mut x = twoply_nn::Source::Input;
    for channels in [20, 50] {
        x = b.conv(x, channels, Window::square(5, 1), 1);
        x = b.max_pool(x, Window::square(2, 2));
        x = b.relu(x);
    }
    let x = b.linear(x, 500);
    let x = b.relu(x);
    b.linear(x, 10);
    b.finish(3)
}

#[test]
fn named_networks_in_every_variant() {
    for model in [residual(), inverted_residual(), network_1()] {
        let model = model.scale_to(10.0);
        for options in variants() {
            check(&model, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] });
        }
    }
}

/// Pools that one rounded factor cannot serve, behind a convolution and alone, in the middle and at the end.
#[test]
fn large_average_pools_in_every_variant() {
    for (kernel, stride, pad, include) in
        [([13, 13], 13, 0, true), ([7, 9], 5, 3, false), ([13, 13], 1, 4, true), ([1, 13], 2, 0, true)]
    {
        let mut b = Builder::new("pools", &[2, 13, 13], 14);
        let window = Window { kernel, stride: [stride; 2], ..Window::square(1, 1).padded(pad) };
        let x = b.conv(twoply_nn::Source::Input, 3, Window::square(3, 1).padded(1), 1);
        let x = b.relu(x);
        let x = b.avg_pool(x, window, include);
        b.linear(x, 5);
        let middle = b.finish(3);
        let mut b = Builder::new("pool", &[2, 13, 13], 15);
        let x = b.avg_pool(twoply_nn::Source::Input, window, include);
        b.flat(x);
        let end = b.finish(3);
        for model in [middle, end] {
            let model = model.scale_to(20.0);
            for options in variants() {
                check(&model, &options, &Shift { dealt: 3, segment: 2, runs: &[1, 2] });
            }
        }
    }
}

#[test]
fn a_lenet_in_every_ring_comparison_and_rounding() {
    let model = lenet().scale_to(10.0);
    for options in variants().into_iter().filter(|o| full() || o.reveal == Reveal::Logits) {
        check(&model, &options, &Shift { dealt: 2, segment: 2, runs: &[2] });
    }
}

/// The shared folder's file, or `None` with a message.
fn shared(file: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(file);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: no {}", path.display());
    }
    bytes
}

fn mnist(file: &str) -> Option<Model> {
    let normalise = Normalise { scale: 1.0 / 255.0, mean: vec![0.1307], std: vec![0.3081] };
    let bytes = shared(&format!("models/{file}.onnx"))?;
    let model = import::onnx::import(&bytes, Some(file), Some(normalise)).unwrap();
    let images = Images::from_idx(&shared("data/mnist/t10k-images-idx3-ubyte.gz")?).unwrap();
    let mut inputs = images.inputs(&model.graph.input, Floats::Raw).unwrap();
    inputs.truncate(16 * 784);
    Some(Model { graph: model.graph, weights: model.weights, inputs })
}

/// Sixteen digits of MNIST: the parties' labels are the float network's.
#[test]
fn trained_networks_keep_their_labels() {
    for file in ["mlp_mnist", "lenet_mnist"] {
        let Some(model) = mnist(file) else { return };
        let want = Evaluator::new(&model.graph, &model.weights).unwrap().labels(&model.inputs).unwrap();
        let only = |o: &Options| full() || o.fixed.n == 32 && o.reveal == Reveal::Logits;
        for options in variants().into_iter().filter(only) {
            let plan = Plan::new(model.graph.clone(), options.clone(), Some(model.ranges())).unwrap();
            let shift = Shift { dealt: 16, segment: 16, runs: &[16] };
            let runs = with_ring!(options.fixed.n, R => two_parties::<R>(&plan, &model.weights, &model.inputs, &shift));
            assert!(runs.iter().all(|r| r.exact), "{file} {options:?}: differs from the oracle");
            let meaning = Meaning::of(&model.graph).unwrap();
            let labels: Vec<usize> = runs.iter().flat_map(|r| meaning.labels(&r.answer).unwrap()).collect();
            assert_eq!(labels, want, "{file} {options:?}");
        }
    }
}
