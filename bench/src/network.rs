//! Whole networks in one process: a dealer, two parties on threads and the data owner between them.

use crate::memory::{self, Discard, Home, Memory};
use crate::{ORIGIN, seeds, values};
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::PlannedGate;
use twoply_nn::roles::{self, Answer};
use twoply_nn::zoo::{self, Seeded};
use twoply_nn::{Graph, Op, Options, Plan, Program, Result, Weights};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::session::{GateStats, Setup};
use twoply_primitives::{Backend, Channel, Deal, KeySink, Mask, Masked, PartyId, Session, WallClock};

/// A small network of the zoo, with made-up weights.
///
/// # Panics
/// If there is none of this name, which would be a fault of this crate.
pub fn of_zoo(name: &str) -> (Graph, Weights) {
    let made = zoo::named(name).and_then(|entry| entry.build(&mut Seeded::default()));
    made.map(|m| (m.graph, m.weights)).unwrap_or_else(|e| panic!("{e}"))
}

/// The same network on larger images: the first fully connected layer, behind a flattening, gets made-up weights that fit.
///
/// # Panics
/// If the network is not of this kind, which would be a fault of this crate.
pub fn enlarged((mut graph, mut weights): (Graph, Weights), input: [usize; 3]) -> (Graph, Weights) {
    let flattening = graph.nodes.windows(2).enumerate().find_map(|(i, two)| match (&two[0].op, &two[1].op) {
        (Op::Reshape(_), &Op::Linear { weight, .. }) => Some((i, weight)),
        _ => None,
    });
    let (at, weight) = flattening.unwrap_or_else(|| panic!("{}: nothing is flattened", graph.name));
    graph.input.shape = input.to_vec();
    let (nodes, params) = (graph.nodes[..at].to_vec(), graph.params[..weight].to_vec());
    let before = Graph { nodes, params, ..graph.clone() }.shapes();
    let row = before.unwrap_or_else(|e| panic!("{e}")).last().map_or(0, |s| s.iter().product());
    graph.nodes[at].op = Op::Reshape(vec![row]);
    let shape = &mut graph.params[weight].shape;
    shape[1] = row;
    // uniform, of the variance that keeps activations near 1
    let most = (3.6 / row as f32).sqrt() / (1u32 << 30) as f32;
    let made = values::<u32>(shape.iter().product(), 30, 32);
    weights.0[weight] = made.iter().map(|&v| v as i32 as f32 * most).collect();
    (graph, weights)
}

/// Made-up images of a network, none like another.
pub fn pixels(graph: &Graph, batch: usize) -> Vec<f32> {
    let len = batch * graph.input.shape.iter().product::<usize>();
    (0..len).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect()
}

/// A network dealt for one batch.
pub struct Dealt<B: Backend> {
    dev: B,
    plan: Plan,
    program: Program,
    batch: usize,
    masks: Vec<Mask<B>>,
    weights: [Vec<Masked<B>>; 2],
    memory: Arc<Memory>,
    input: Vec<B::Ring>,
}

impl<B: Backend> Dealt<B> {
    /// Plans, deals and provisions; keys are brought home.
    pub fn new(
        dev: B,
        (graph, weights): (Graph, Weights),
        options: Options,
        batch: usize,
        home: Home,
    ) -> Result<Self> {
        let plan = Plan::new(graph, options, None)?;
        let (program, set, seeds) = (plan.program()?, ORIGIN.set, seeds());
        let masks = roles::weight_masks(&dev, &program, set, &seeds);
        let gates = plan.gates(batch)?;
        let mut dealt = memory::Dealt::new(gates.iter().map(|g| &g.cost));
        deal(&dev, &program, &masks, batch, &mut dealt)?;
        let keys = [0, 1].map(|p| roles::weight_keys(&program, set, &seeds[p]));
        let packed = roles::mask_weights::<B::Ring>(&program, &weights, [&keys[0], &keys[1]])?;
        let side = |p: usize| roles::masked_weights(&dev, &program, set, &seeds[p], &packed);
        let weights = [side(0)?, side(1)?];
        let input = program.encode_input(&pixels(&plan.graph, batch))?;
        Ok(Dealt { dev, plan, program, batch, masks, weights, memory: dealt.at_home(home)?, input })
    }
    /// The dealer's work; tiles are thrown away.
    pub fn deal(&self) -> Result<()> {
        deal(&self.dev, &self.program, &self.masks, self.batch, &mut Discard)
    }
    /// What it costs, gate by gate.
    ///
    /// # Errors
    /// None that planning did not have.
    pub fn gates(&self) -> Result<Vec<PlannedGate>> {
        self.plan.gates(self.batch)
    }
    /// One run: both parties on threads, the data owner here. The answer, and what P0 counted.
    pub fn run(&self) -> Result<(Answer, Vec<GateStats>)> {
        let ((p0, p1), (o0, mut a0), (o1, mut a1)) = (pair(), pair(), pair());
        thread::scope(|scope| {
            let party = |me, peer, owner| scope.spawn(move || self.party(me, peer, owner));
            let parties = [party(PartyId::P0, p0, o0), party(PartyId::P1, p1, o1)];
            let answer = self.owner([&mut a0, &mut a1]);
            let [p0, p1] = parties.map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            p1?;
            Ok((answer?, p0?))
        })
    }
    fn party(&self, me: PartyId, mut peer: Loopback, mut owner: Loopback) -> Result<Vec<GateStats>> {
        let session = Session::new(Setup {
            me,
            dev: self.dev.clone(),
            seed: seeds()[me.index()].clone(),
            origin: ORIGIN,
            images: 0..self.batch,
            peer: &mut peer,
            keys: self.memory.half(me),
            clock: Arc::new(WallClock::default()),
        });
        let weights = &self.weights[me.index()];
        roles::run(&self.program, weights, session, (&mut owner, Some([0; 16])), false).map(|ran| ran.stats)
    }
    fn owner(&self, parties: [&mut Loopback; 2]) -> Result<Answer> {
        let (mut keys, mut shares) = (vec![], vec![]);
        let [a, b] = parties;
        for p in [&mut *a, &mut *b] {
            keys.push(p.recv(16 * self.batch)?.as_chunks().0.to_vec());
        }
        let packed = roles::mask_input(&self.program, &self.input, [&keys[0], &keys[1]])?;
        let len = self.program.reply(self.batch)?.bytes();
        a.send(&packed)?;
        b.send(&packed)?;
        for p in [a, b] {
            shares.push(p.recv(len)?);
        }
        let joined = roles::join::<B::Ring>(&self.plan, &self.program, [&shares[0], &shares[1]], self.batch);
        joined.map(|(answer, _)| answer)
    }
}

fn deal<B: Backend>(
    dev: &B,
    program: &Program,
    masks: &[Mask<B>],
    batch: usize,
    sink: &mut dyn KeySink,
) -> Result<()> {
    let mut deal = Deal::new(dev.clone(), seeds(), ORIGIN, batch, sink);
    program.run(&mut deal, masks, batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::in_memory;
    use twoply_nn::Evaluator;

    /// What is timed is a correct run.
    #[test]
    fn the_timed_networks_compute_what_the_float_evaluator_does() {
        for model in ["network-1", "lenet"].map(of_zoo) {
            let want = Evaluator::new(&model.0, &model.1).unwrap().run(&pixels(&model.0, 2)).unwrap();
            let (dev, options) = (crate::cpu::<u32>(), Options::default());
            let dealt = Dealt::new(dev, model.clone(), options, 2, &in_memory).unwrap();
            dealt.deal().unwrap();
            let Answer::Logits(got) = dealt.run().unwrap().0 else { panic!("labels") };
            assert!(want.concat().iter().any(|v| *v > 0.01), "not all zero");
            for (g, w) in got.concat().iter().zip(want.concat()) {
                assert!((g - w as f64).abs() < 0.02, "{g} {w}");
            }
        }
    }

    #[test]
    fn a_network_on_larger_images_is_still_one() {
        let (graph, weights) = enlarged(of_zoo("lenet"), [1, 36, 44]);
        weights.check(&graph).unwrap();
        assert_eq!(graph.shapes().unwrap().last().unwrap(), &[10]);
        let out = Evaluator::new(&graph, &weights).unwrap().run(&pixels(&graph, 1)).unwrap();
        assert!(out[0].iter().any(|v| *v > 0.01 && *v < 10.0), "{out:?}");
    }
}
