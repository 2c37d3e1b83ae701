//! What one party sees of two steps of training on the same rows, as two epochs have them: over many runs with fresh seeds on equal
//! rows and weights, no bit follows from the others, and none is biased.

use super::common::build::{Builder, Model};
use super::figures::planes;
use super::play::Secrets;
use super::redirect::Redirect;
use super::relations::dependent;
use super::stats::{Finding, View};
use super::training::Run;
use twoply_nn::graph::Source;
use twoply_nn::train::{Loss, Recipe, Step};
use twoply_primitives::deal::FRESH;
use twoply_primitives::prg::Streams;
use twoply_primitives::{PartyId, Site};

const ROWS: [usize; 2] = [0, 1];

/// Two layers with a ReLU between them: products of all kinds, bits, choices and the loss's tables.
fn model(outputs: usize) -> Model {
    let mut b = Builder::new("layers", &[2], 3);
    let x = b.linear(Source::Input, 2);
    let x = b.relu(x);
    b.linear(x, outputs);
    b.finish(2)
}

fn step(model: &Model, loss: Loss) -> Step {
    Step::new(&model.graph, &Recipe::usual(32, ROWS.len(), loss)).unwrap()
}

/// What is planted at the fresh mask of a gate's result.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Both halves of it are one: its lowest bit is 0.
    OneHalf(u32),
    /// The second step has that of the first, as if its segment had the other's number.
    OneMaskForBothSteps(u32),
}

impl Fault {
    fn redirect(self, secrets: &Secrets) -> Redirect {
        let mut redirect = Redirect::default();
        let streams = |party: usize, segment, gate| {
            Streams::new(&secrets.seeds[party], secrets.origin(segment), Site { gate, part: 0 })
        };
        match self {
            Fault::None => {}
            Fault::OneHalf(gate) => redirect.stream(&streams(1, 0, gate), streams(0, 0, gate), FRESH),
            Fault::OneMaskForBothSteps(gate) => {
                for party in 0..2 {
                    redirect.stream(&streams(party, 1, gate), streams(party, 0, gate), FRESH);
                }
            }
        }
        redirect
    }
}

/// The lowest and the highest bit of all that each party sees.
fn seen((model, step): (&Model, &Step), entropy: u64, fault: Fault) -> [Vec<[u64; 2]>; 2] {
    let secrets = Secrets::new(entropy);
    let redirect = fault.redirect(&secrets);
    let mut run = Run::of(step, model, secrets, redirect);
    let mut all = [vec![], vec![]];
    for segment in 0..2 {
        run.step(segment, &ROWS);
        for (bits, party) in all.iter_mut().zip(&run.parties) {
            let mut wires = party.take_seen();
            // what owners masked once for all epochs is the same in the second
            wires.retain(|w| segment == 0 || !w.heard.is_empty());
            for w in wires {
                bits.extend(w.opened.iter().chain(&w.heard).map(|v| [v & 1, v >> (w.width - 1) & 1]));
            }
        }
    }
    all
}

/// Of each party's view: which lowest bits follow from others, and the largest score of any end of a value and any two of them. A
/// result is rounded by a coin, so what a bad mask shows of it may be a bias where no bit follows for certain.
fn findings(case: (&Model, &Step), fault: Fault) -> [(Vec<usize>, Finding); 2] {
    let values = seen(case, 0, Fault::None).iter().map(Vec::len).max().unwrap();
    let runs = (values + 65).next_multiple_of(64);
    let all: Vec<_> = (1..=runs as u64).map(|entropy| seen(case, entropy, fault)).collect();
    PartyId::BOTH.map(|p| {
        let ends = [0, 1].map(|end| {
            let bits = |r: &[Vec<[u64; 2]>; 2]| r[p.index()].iter().map(|v| v[end]).collect();
            planes(&all.iter().map(bits).collect::<Vec<_>>())
        });
        let follow = dependent(&ends[0]);
        let mut view = View::default();
        for (name, ends) in ["lowest", "highest"].into_iter().zip(ends) {
            view.see_paired(name, ends);
        }
        (follow, view.worst())
    })
}

#[test]
fn steps_show_a_party_fair_coins() {
    for (outputs, loss) in [(2, Loss::CrossEntropy), (1, Loss::BinaryCrossEntropy), (2, Loss::SquaredError)] {
        let model = model(outputs);
        let step = step(&model, loss);
        for (follow, worst) in findings((&model, &step), Fault::None) {
            assert!(follow.is_empty(), "{loss:?}: {follow:?}");
            worst.clean(&format!("{loss:?}"));
        }
    }
}

/// The plants, at results that are opened, forward and back: all leave every result right.
#[test]
fn a_step_that_shows_a_bit_is_noticed() {
    let model = model(2);
    let step = step(&model, Loss::SquaredError);
    let gates = step.planned().unwrap().gates;
    let sums: Vec<u32> = (0..).zip(&gates).filter(|(_, g)| g.gate == "sum").map(|(at, _)| at).collect();
    assert!(sums.len() > 4, "{sums:?}");
    for gate in [sums[0], sums[sums.len() / 2], sums[sums.len() - 1]] {
        for fault in [Fault::OneHalf(gate), Fault::OneMaskForBothSteps(gate)] {
            for (follow, worst) in findings((&model, &step), fault) {
                if follow.is_empty() {
                    worst.caught(&format!("{fault:?} at {}", gates[gate as usize].layer));
                }
            }
        }
    }
}
