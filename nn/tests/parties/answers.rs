//! What a data owner may believe: shares of equal runs on equal inputs, and nothing else.

use super::common::build::{Builder, Model};
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::Planner;
use twoply_nn::rehearsal::Memory;
use twoply_nn::roles::{self, Answer, Ran};
use twoply_nn::{Error, Options, Plan, Program, Result, Source};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::session::Setup;
use twoply_primitives::{
    Channel, Cpu, Deal, KeySetId, Masked, NoClock, Origin, PartyId, Seed, Session, Window,
};

const ORIGIN: Origin = Origin { set: KeySetId([3; 16]), segment: 0 };

/// A channel that turns one bit of one message of a party.
struct Tampered {
    inner: Loopback,
    /// Messages before the one that is changed; none is if it never comes so far.
    left: Option<usize>,
    at: usize,
}

impl Channel for Tampered {
    fn send(&mut self, bytes: &[u8]) -> twoply_primitives::Result<()> {
        let mut bytes = bytes.to_vec();
        match &mut self.left {
            Some(0) => {
                let at = self.at % (8 * bytes.len());
                bytes[at / 8] ^= 1 << (at % 8);
                self.left = None;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.inner.send(&bytes)
    }
    fn recv(&mut self, len: usize) -> twoply_primitives::Result<Vec<u8>> {
        self.inner.recv(len)
    }
}

/// Two parties with keys for one batch.
struct Stage {
    plan: Plan,
    program: Program,
    batch: usize,
    seeds: [Seed; 2],
    keys: Arc<Memory>,
    weights: [Vec<Masked<Cpu<u32>>>; 2],
    inputs: Vec<u32>,
}

impl Stage {
    fn new(model: Model, options: Options) -> Stage {
        let plan = Plan::new(model.graph.clone(), options, Some(model.ranges())).unwrap();
        let (program, dev) = (plan.program().unwrap(), Cpu::<u32>::new());
        let batch = model.inputs.len() / model.graph.input.row();
        let seeds = [Seed::new([1; 32]), Seed::new([2; 32])];
        let masks = roles::weight_masks(&dev, &program, ORIGIN.set, &seeds);
        let mut planner = Planner::new(32);
        program.run(&mut planner, &program.params(), batch).unwrap();
        let mut memory = Memory::new(planner.gates.iter().map(|g| &g.cost));
        let mut deal = Deal::new(dev, seeds.clone(), ORIGIN, batch, &mut memory);
        program.run(&mut deal, &masks, batch).unwrap();
        drop(deal);
        let keys = [0, 1].map(|p| roles::weight_keys(&program, ORIGIN.set, &seeds[p]));
        let packed = roles::mask_weights::<u32>(&program, &model.weights, [&keys[0], &keys[1]]).unwrap();
        let side = |p: usize| roles::masked_weights(&dev, &program, ORIGIN.set, &seeds[p], &packed).unwrap();
        let inputs = program.encode_input(&model.inputs).unwrap();
        Stage { weights: [side(0), side(1)], plan, program, batch, seeds, keys: Arc::new(memory), inputs }
    }

    fn party(&self, me: PartyId, peer: &mut dyn Channel, owner: &mut Loopback) -> Result<Ran> {
        let session = Session::new(Setup {
            me,
            dev: Cpu::<u32>::new(),
            seed: self.seeds[me.index()].clone(),
            origin: ORIGIN,
            images: 0..self.batch,
            peer,
            keys: self.keys.half(me),
            clock: Arc::new(NoClock),
        });
        roles::run(&self.program, &self.weights[me.index()], session, (owner, Some([9; 16])), false)
    }

    /// What the owner gets and how both parties end, when P0's message number `left` is changed and each party gets its
    /// own inputs.
    fn play(
        &self,
        left: Option<usize>,
        at: usize,
        inputs: [&[u32]; 2],
    ) -> (Option<Result<Answer>>, [Result<Ran>; 2]) {
        let ((p0, mut p1), (mut o0, mut a0), (mut o1, mut a1)) = (pair(), pair(), pair());
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                let mut peer = Tampered { inner: p0, left, at };
                self.party(PartyId::P0, &mut peer, &mut o0)
            });
            let second = scope.spawn(move || self.party(PartyId::P1, &mut p1, &mut o1));
            let keys = [&mut a0, &mut a1].map(|a| a.recv(16 * self.batch).unwrap().as_chunks().0.to_vec());
            for (a, x) in [&mut a0, &mut a1].into_iter().zip(inputs) {
                a.send(&roles::mask_input(&self.program, x, [&keys[0], &keys[1]]).unwrap()).unwrap();
            }
            let len = self.program.reply(self.batch).unwrap().bytes();
            let answers = [&mut a0, &mut a1].map(|a| a.recv(len).ok());
            let ends = [first.join().unwrap(), second.join().unwrap()];
            let join = |a: Vec<u8>, b: Vec<u8>| {
                roles::join::<u32>(&self.plan, &self.program, [&a, &b], self.batch).map(|(answer, _)| answer)
            };
            let [a, b] = answers;
            (a.zip(b).map(|(a, b)| join(a, b)), ends)
        })
    }
}

fn model() -> Model {
    let mut b = Builder::new("small", &[1, 6, 6], 5);
    let x = b.conv(Source::Input, 2, Window::square(3, 1), 1);
    let x = b.relu(x);
    let x = b.max_pool(x, Window::square(2, 2));
    let x = b.flat(x);
    b.linear(x, 4);
    b.finish(3).scale_to(8.0)
}

fn stages() -> Vec<Stage> {
    super::common::variants()
        .into_iter()
        .filter(|o| o.fixed.n == 32)
        .map(|options| Stage::new(model(), options))
        .collect()
}

#[test]
fn repro_a_bit_changed_between_the_parties_is_no_answer() {
    for stage in stages() {
        let x = &stage.inputs[..];
        let (answer, ends) = stage.play(None, 0, [x, x]);
        let right = answer.unwrap().unwrap();
        assert!(ends.iter().all(Result::is_ok));
        let mut told = 0;
        // the first message agrees on halves and inputs; the last one compares transcripts
        for message in 1..40 {
            let (answer, ends) = stage.play(Some(message), 5 + 17 * message, [x, x]);
            match answer {
                Some(Err(Error::Answers)) => told += 1,
                // a changed comparison of transcripts comes after the answer, and changes no value
                Some(Ok(same)) => assert_eq!(same, right, "message {message}"),
                Some(Err(other)) => panic!("message {message}: {other}"),
                None => {}
            }
            if ends.iter().all(Result::is_ok) {
                break;
            }
        }
        assert!(told >= 3, "{told} changed messages were told to the owner");
    }
}

#[test]
fn repro_different_inputs_to_the_two_parties_are_refused() {
    for stage in stages() {
        let mut other = stage.inputs.clone();
        *other.last_mut().unwrap() ^= 1;
        let (answer, ends) = stage.play(None, 0, [&stage.inputs, &other]);
        assert!(answer.is_none(), "nothing is sent");
        for end in ends {
            let why = end.map(drop).unwrap_err().to_string();
            assert!(why.contains("different masked inputs"), "{why}");
        }
    }
}
