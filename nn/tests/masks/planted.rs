//! Faults that leave every result right: planted between gates and device, or in how gates are counted.

use super::hollow::Hollow;
use super::networks;
use super::play::{Gone, Play, Secrets, dealt};
use super::redirect::Redirect;
use super::watched::Watched;
use std::sync::Arc;
use twoply_nn::engine::{Engine, Infer, Planner};
use twoply_nn::{Options, Program, roles};
use twoply_primitives::deal::FRESH;
use twoply_primitives::owner::weight_key;
use twoply_primitives::prg::{Streams, owner_key};
use twoply_primitives::{Deal, Form, Gate, Local, Mask, Origin, Result, Site};

/// What is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// The fresh masks of all levels of a max pool are those of the first.
    OneMaskForAllLevels,
    /// All weight tensors have the stream of the first.
    OneStreamForAllWeights,
    /// All images of a segment have the input mask of the first.
    OneInputMask,
    /// Images `2 i` and `2 i + 1` have the input mask of batch `i`.
    InputMaskOfBatch,
    /// Images of equal place in their batches of two have one input mask.
    InputMaskOfPlace,
}

impl Fault {
    /// How to plant it in segment 0 of `images` images.
    pub fn redirect(self, program: &Program, n: u32, s: &Secrets, images: usize) -> Redirect {
        let mut r = Redirect::default();
        for seed in &s.seeds {
            match self {
                Fault::None => {}
                Fault::OneMaskForAllLevels => {
                    for (gate, parts) in pools(program, n, images) {
                        let at = |part| Streams::new(seed, s.origin(0), Site { gate, part });
                        (1..parts).for_each(|part| r.stream(&at(part), at(0), FRESH));
                    }
                }
                Fault::OneStreamForAllWeights => {
                    let key = |i| weight_key(seed, s.origin(Origin::WEIGHTS), i);
                    (1..program.params().len() as u32).for_each(|i| r.key(key(i), key(0)));
                }
                _ => {
                    let key = |i: usize| owner_key(seed, s.origin(0), 0, i as u64);
                    let other = |i: usize| match self {
                        Fault::InputMaskOfBatch => i / 2,
                        Fault::InputMaskOfPlace => i % 2,
                        _ => 0,
                    };
                    (0..images).for_each(|i| r.key(key(i), key(other(i))));
                }
            }
        }
        r
    }
}

/// Max pools: numbers of their gates, and how many levels they have.
fn pools(program: &Program, n: u32, images: usize) -> Vec<(u32, u32)> {
    let mut planner = Planner::new(n);
    program.run(&mut planner, &program.params(), images).unwrap();
    let numbered = planner.gates.iter().enumerate().filter(|(_, g)| g.gate == "max-pool");
    numbered.map(|(i, g)| (i as u32, g.cost.parts.len() as u32)).collect()
}

/// Each fault leaves the results of a run right, and is noticed at the dealer and at both parties.
#[test]
fn masks_that_serve_twice_are_noticed() {
    let model = networks::spatial();
    for fault in [
        Fault::None,
        Fault::OneMaskForAllLevels,
        Fault::OneStreamForAllWeights,
        Fault::OneInputMask,
        Fault::InputMaskOfBatch,
        Fault::InputMaskOfPlace,
    ] {
        let (program, secrets) = (networks::program(&model, &Options::default()), Secrets::new(4));
        let redirect = fault.redirect(&program, 32, &secrets, 4);
        let play = Play::<u32>::new(&program, &model.weights, 4, secrets, redirect);
        let x = program.encode_input::<u32>(&model.inputs.repeat(4)).unwrap();
        play.run(0..4, &x);
        for notes in [&play.dealer.notes, &play.parties[0].notes, &play.parties[1].notes] {
            match fault {
                Fault::None => notes.once("no fault"),
                _ => notes.twice(&format!("{fault:?}")),
            }
        }
    }
}

/// A dealer that forgets to count one gate.
struct Stuck<'a> {
    deal: Deal<'a, Watched<Hollow<u32>>>,
    left: usize,
}

impl Engine for Stuck<'_> {
    type Value = Mask<Watched<Hollow<u32>>>;
    fn form<'a>(&self, v: &'a Self::Value) -> &'a Form {
        v.form()
    }
    fn layer(&mut self, _: &str) {}
    fn gate<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<Self::Value> {
        let z = g.deal(&mut self.deal, x)?;
        if self.left != 0 {
            self.deal.next_gate();
        }
        self.left = self.left.wrapping_sub(1);
        Ok(z)
    }
    fn local(&mut self, f: &Local, x: &[&Self::Value]) -> Result<Self::Value> {
        Mask::local(&self.deal.dev, f, x)
    }
}

impl Infer for Stuck<'_> {
    fn input(&mut self, form: &Form) -> Result<Self::Value> {
        Infer::input(&mut self.deal, form)
    }
    fn output<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()> {
        self.gate(g, x).map(drop)
    }
    fn aside<G: Gate>(&mut self, g: &G, x: &[&Self::Value]) -> Result<()> {
        self.gate(g, x).map(drop)
    }
    fn deliver(&mut self, _: &Self::Value) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_repeated_gate_number_is_noticed() {
    let model = networks::dense();
    let (program, s) = (networks::program(&model, &Options::default()), Secrets::new(5));
    let device = || Watched::new(Hollow::<u32>::default(), Arc::new(Redirect::default()));
    dealt(&device(), &program, &s, 1, 1).once("no fault");
    for stuck in [0, 2] {
        let (dev, mut sink) = (device(), Anything);
        let masks = roles::weight_masks(&dev, &program, s.set, &s.seeds);
        let deal = Deal::new(dev.clone(), s.seeds.clone(), s.origin(0), 1, &mut sink);
        program.run(&mut Stuck { deal, left: stuck }, &masks, 1).unwrap();
        dev.notes.twice(&format!("gate {stuck} that is not counted"));
    }
}

/// Takes any tile.
struct Anything;

impl twoply_primitives::KeySink for Anything {
    fn put(&mut self, _: &'static str, _: Site, _: usize, _: [Vec<u8>; 2]) -> Result<()> {
        Ok(())
    }
}

/// One segment number for two segments.
#[test]
fn a_repeated_segment_is_noticed() {
    let model = networks::dense();
    let (program, s) = (networks::program(&model, &Options::default()), Secrets::new(6));
    let dev = Watched::new(Hollow::<u32>::default(), Arc::new(Redirect::default()));
    let masks = roles::weight_masks(&dev, &program, s.set, &s.seeds);
    for _ in 0..2 {
        let mut sink = Gone::default();
        let mut deal = Deal::new(dev.clone(), s.seeds.clone(), s.origin(0), 1, &mut sink);
        program.run(&mut deal, &masks, 1).unwrap();
    }
    dev.notes.twice("a segment dealt twice");
}
