//! Work done before a run: the same bits as without it, whatever part of it is there; of no use to other images.
#![allow(clippy::single_range_in_vec_init)] // runs of images, of which there may be one

use super::common::{deal, variants};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::{Clear, Party};
use twoply_nn::graph::{Graph, Input, Node, Normalise, Op, Param, Role, Source};
use twoply_nn::{Plan, Program, Weights, roles, with_ring};
use twoply_preprocessing::{Cut, KeyDir, KeySet};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::session::{Own, Prepared, Setup};
use twoply_primitives::{Channel, Cpu, Masked, NoClock, PartyId, Ring, Session, Window};

/// A convolution, a pool, a residual sum, addends, a product of two wires, two linear layers: every kind of gate before a
/// product.
fn network() -> (Graph, Weights) {
    let shapes: [(&[usize], Role); 7] = [
        (&[4, 1, 3, 3], Role::Weight),
        (&[4], Role::Bias),
        (&[4, 2, 3, 3], Role::Weight),
        (&[10, 16], Role::Weight),
        (&[10], Role::Bias),
        (&[5, 10], Role::Weight),
        (&[4, 6, 6], Role::Weight),
    ];
    let param = |(i, (shape, role)): (usize, &(&[usize], Role))| Param {
        name: format!("p{i}"),
        shape: shape.to_vec(),
        role: *role,
    };
    let node = |(i, (op, inputs)): (usize, (Op, Vec<usize>))| Node {
        name: format!("n{i}"),
        op,
        inputs: inputs.into_iter().map(|j| if j == 99 { Source::Input } else { Source::Node(j) }).collect(),
    };
    let conv =
        |weight, bias, groups| Op::Conv2d { weight, bias, window: Window::square(3, 1).padded(1), groups };
    let nodes = [
        (conv(0, Some(1), 1), vec![99]),
        (Op::Relu, vec![0]),
        (conv(2, None, 2), vec![1]),
        (Op::Add, vec![1, 2]),
        (Op::Offset { weight: 6 }, vec![3]),
        (Op::Mul, vec![4, 1]),
        (Op::MaxPool(Window::square(3, 3)), vec![5]),
        (Op::Reshape(vec![16]), vec![6]),
        (Op::Linear { weight: 3, bias: Some(4) }, vec![7]),
        (Op::Relu, vec![8]),
        (Op::Linear { weight: 5, bias: None }, vec![9]),
    ];
    let graph = Graph {
        name: "all".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, 6, 6],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: shapes.iter().enumerate().map(param).collect(),
        nodes: nodes.into_iter().enumerate().map(node).collect(),
    };
    let value = |i: usize| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.4;
    let weights = shapes.iter().map(|s| (0..s.0.iter().product()).map(value).collect());
    (graph, Weights(weights.collect()))
}

/// Both halves of a key set and the weights under its mask.
struct World<R: Ring> {
    program: Program,
    sets: Vec<KeySet>,
    weights: [Vec<Masked<Cpu<R>>>; 2],
    params: Vec<(twoply_primitives::Form, Vec<R>)>,
    _dirs: tempfile::TempDir,
}

impl<R: Ring> World<R> {
    fn new(plan: &Plan, weights: &Weights) -> Self {
        let program = plan.program().unwrap();
        let (dirs, packed) = deal::<R>(plan, &program, weights, Cut::new(12, 12).unwrap());
        let set = |p: PartyId| {
            let dir = KeyDir::open(dirs.path().join(p.to_string()), p).unwrap();
            let digest = plan.digest().unwrap();
            dir.key_set(dir.choose(digest).unwrap(), digest, plan.layout(), false).unwrap()
        };
        let sets: Vec<KeySet> = PartyId::BOTH.into_iter().map(set).collect();
        let own = |p: usize| {
            roles::masked_weights(&Cpu::new(), &program, sets[p].id(), sets[p].weight_seed(), &packed)
                .unwrap()
        };
        let weights_of = [own(0), own(1)];
        let params = program.params().into_iter().zip(program.encode::<R>(weights).unwrap()).collect();
        World { program, sets, weights: weights_of, params, _dirs: dirs }
    }

    /// Everything that party `p` can do beforehand for some runs of images, one after the other.
    fn prepare(&self, p: usize, runs: &[Range<usize>]) -> Prepared<Cpu<R>> {
        let (dev, keys) = (Cpu::<R>::new(), self.sets[p].peek(0).unwrap());
        let mut prepared = Prepared::new(dev, keys.origin());
        for images in runs {
            prepared.begin(images.clone());
            let own = Own {
                dev: &dev,
                me: PartyId::BOTH[p],
                seed: keys.seed(),
                origin: keys.origin(),
                images: images.clone(),
                keys: &keys,
                gate: 0,
            };
            let put = |gate, k| {
                prepared.put(gate, k);
                true
            };
            assert!(roles::prepare(&self.program, &self.weights[p], own, put).unwrap());
        }
        prepared
    }

    /// A run on two threads: the transcript, which both parties agree on, and the clear result.
    fn run(
        &self,
        images: Range<usize>,
        input: &[R],
        prepared: [Option<Prepared<Cpu<R>>>; 2],
    ) -> ([u8; 32], Vec<R>) {
        let ((p0, p1), (o0, mut a0), (o1, mut a1)) = (pair(), pair(), pair());
        thread::scope(|scope| {
            let images = &images;
            let party = |p: usize, mut peer: Loopback, mut owner: Loopback, prepared| {
                scope.spawn(move || {
                    let keys = self.sets[p].peek(0).unwrap();
                    let mut session = Session::new(Setup {
                        me: PartyId::BOTH[p],
                        dev: Cpu::<R>::new(),
                        seed: keys.seed().clone(),
                        origin: keys.origin(),
                        images: images.clone(),
                        peer: &mut peer,
                        keys: Arc::new(keys),
                        clock: Arc::new(NoClock),
                    });
                    if let Some(prepared) = prepared {
                        session.prepared(prepared);
                    }
                    session.record_coins();
                    let mut party = Party::new(session, &mut owner, Some([0; 16]));
                    self.program.run(&mut party, &self.weights[p], images.len()).unwrap();
                    party.session.finish().unwrap();
                    (party.session.transcript(), party.session.take_coins())
                })
            };
            let [q0, q1] = prepared;
            let parties = [party(0, p0, o0, q0), party(1, p1, o1, q1)];
            let keys = [&mut a0, &mut a1].map(|a| a.recv(16 * images.len()).unwrap().as_chunks().0.to_vec());
            let packed = roles::mask_input(&self.program, input, [&keys[0], &keys[1]]).unwrap();
            a0.send(&packed).unwrap();
            a1.send(&packed).unwrap();
            let reply = self.program.reply(images.len()).unwrap();
            let shares = [&mut a0, &mut a1].map(|a| a.recv(reply.bytes()).unwrap());
            let clear = reply.join::<R>([&shares[0], &shares[1]]).unwrap().swap_remove(0);
            let [(t0, _), (t1, coins)] = parties.map(|p| p.join().unwrap());
            assert_eq!(t0, t1);
            let mut oracle = Clear::with_coins(input.to_vec(), coins);
            self.program.run(&mut oracle, &self.params, images.len()).unwrap();
            (t0, if oracle.output == clear { clear } else { vec![] })
        })
    }
}

fn same_bits<R: Ring>(plan: &Plan, weights: &Weights) {
    let world = World::<R>::new(plan, weights);
    let pixels: Vec<f32> = (0..5 * 36).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    let input = world.program.encode_input::<R>(&pixels).unwrap();
    let images = 3..8;
    let (inline, clear) = world.run(images.clone(), &input, [None, None]);
    assert!(!clear.is_empty(), "the oracle's result");
    let exact: &[Range<usize>] = &[3..8];
    // all, in pieces, the first few, more than is wanted, and others altogether
    let kinds = [exact, &[3..5, 5..8], &[3..6], &[1..4, 4..12], &[8..12], &[0..3], &[4..8], &[]];
    for kind in kinds {
        let prepared = [Some(world.prepare(0, kind)), Some(world.prepare(1, exact))];
        assert_eq!(world.run(images.clone(), &input, prepared), (inline, clear.clone()), "{kind:?}");
    }
    let prepared = [None, Some(world.prepare(1, kinds[1]))];
    assert_eq!(world.run(images.clone(), &input, prepared), (inline, clear));
    // a wrong word is seen in the transcript, and by the oracle
    for p in 0..2 {
        let mut wrong = world.prepare(p, &[]);
        wrong.begin(images.clone());
        wrong.put(1, vec![R::from_u64(1 << 20); images.len() * 4 * 36]);
        let mut both = [None, None];
        both[p] = Some(wrong);
        let (transcript, clear) = world.run(images.clone(), &input, both);
        assert!(transcript != inline && clear.is_empty(), "planted at P{p}");
    }
}

#[test]
fn runs_open_the_same_bits_whatever_was_prepared() {
    let (graph, weights) = network();
    for options in variants() {
        let plan = Plan::new(graph.clone(), options.clone(), None).unwrap();
        with_ring!(options.fixed.n, R => same_bits::<R>(&plan, &weights));
    }
}

/// Whoever hears of a gate's result may have had enough.
#[test]
fn preparation_stops_when_it_is_told_to() {
    let (graph, weights) = network();
    let plan = Plan::new(graph, variants()[0].clone(), None).unwrap();
    let world = World::<u32>::new(&plan, &weights);
    let (dev, keys, mut heard) = (Cpu::<u32>::new(), world.sets[1].peek(0).unwrap(), 0);
    let (me, seed, origin) = (PartyId::P1, keys.seed(), keys.origin());
    let own = Own { dev: &dev, me, seed, origin, images: 0..2, keys: &keys, gate: 0 };
    let put = |_, _| {
        heard += 1;
        heard < 2
    };
    assert!(!roles::prepare(&world.program, &world.weights[1], own, put).unwrap());
    assert_eq!(heard, 2);
}
