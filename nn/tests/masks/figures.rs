//! What one party sees of a segment that computes a figure, and what its owner gets: over many runs with fresh seeds on the same rows
//! and weights, no bit of it follows from the others, and the two shares tell nothing but their sum.

use super::common::build::{Builder, Model};
use super::play::Secrets;
use super::redirect::Redirect;
use super::relations::dependent;
use super::stats::Plane;
use super::training::Run;
use twoply_nn::graph::Source;
use twoply_nn::train::{Figure, Loss, Recipe, Step};
use twoply_primitives::deal::FRESH;
use twoply_primitives::prg::Streams;
use twoply_primitives::{PartyId, Seed, Site};

/// The batch that is judged.
const ROWS: [usize; 2] = [0, 1];

/// A layer with so many outputs.
fn model(outputs: usize) -> Model {
    let mut b = Builder::new("layer", &[2], 3);
    b.linear(Source::Input, outputs);
    b.finish(2)
}

fn step(model: &Model, loss: Loss) -> Step {
    Step::new(&model.graph, &Recipe::usual(32, ROWS.len(), loss)).unwrap()
}

/// What is planted at the fresh mask of the last gate's result, which is the bit of every row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Both halves of it are one: its lowest bit is 0.
    OneHalf,
    /// It is the same in all runs, as if an attempt had the seeds of another.
    OneMaskForAllRuns,
}

impl Fault {
    fn redirect(self, secrets: &Secrets, gates: usize) -> Redirect {
        let mut redirect = Redirect::default();
        let at = Site { gate: gates as u32 - 1, part: 0 };
        let stream = |seed: &Seed| Streams::new(seed, secrets.origin(0), at);
        let other = Secrets::new(u64::MAX);
        match self {
            Fault::None => {}
            Fault::OneHalf => {
                redirect.stream(&stream(&secrets.seeds[1]), stream(&secrets.seeds[0]), FRESH);
            }
            Fault::OneMaskForAllRuns => {
                for (seed, constant) in secrets.seeds.iter().zip(&other.seeds) {
                    redirect.stream(&stream(seed), Streams::new(constant, other.origin(0), at), FRESH);
                }
            }
        }
        redirect
    }
}

/// One run: lowest bits of all that each party sees, and what each sends the figure's owner.
fn seen((model, step): (&Model, &Step), entropy: u64, fault: Fault) -> [(Vec<u64>, Vec<u8>); 2] {
    let secrets = Secrets::new(entropy);
    let gates = step.planned_figure(Figure::Accuracy).unwrap().gates.len();
    let redirect = fault.redirect(&secrets, gates);
    let run = Run::of(step, model, secrets, redirect);
    let sent = run.figure(Figure::Accuracy, 0, &ROWS);
    let bits = run.parties.each_ref().map(|party| {
        let wires = party.take_seen();
        wires.iter().flat_map(|w| w.opened.iter().chain(&w.heard)).map(|v| v & 1).collect::<Vec<u64>>()
    });
    let [a, b] = sent;
    let [bits_a, bits_b] = bits;
    [(bits_a, a), (bits_b, b)]
}

/// Bits of many runs, as planes.
pub fn planes(rows: &[Vec<u64>]) -> Vec<Plane> {
    let plane = |bit: usize| {
        rows.chunks_exact(64).map(|s| s.iter().enumerate().fold(0, |z, (i, r)| z | r[bit] << i)).collect()
    };
    (0..rows[0].len()).map(plane).collect()
}

/// Bits that follow from others: of P0's view, of P1's view, of each party's message to the owner.
fn findings(case: (&Model, &Step), fault: Fault) -> [Vec<usize>; 4] {
    let bits = seen(case, 0, Fault::None).iter().map(|(bits, _)| bits.len()).max().unwrap();
    let runs = (bits.max(32) + 65).next_multiple_of(64);
    let all: Vec<_> = (1..=runs as u64).map(|entropy| seen(case, entropy, fault)).collect();
    let view =
        |p: PartyId| dependent(&planes(&all.iter().map(|r| r[p.index()].0.clone()).collect::<Vec<_>>()));
    let message = |p: PartyId| {
        let bits =
            |bytes: &[u8]| (0..8 * bytes.len()).map(|i| u64::from(bytes[i / 8] >> (i % 8) & 1)).collect();
        dependent(&planes(&all.iter().map(|r| bits(&r[p.index()].1)).collect::<Vec<_>>()))
    };
    let sums: Vec<u32> = all.iter().map(|[(_, a), (_, b)]| word(a).wrapping_add(word(b))).collect();
    assert!(sums.iter().all(|sum| *sum <= ROWS.len() as u32), "the shares add up to a count: {sums:?}");
    [view(PartyId::P0), view(PartyId::P1), message(PartyId::P0), message(PartyId::P1)]
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("one word is all that leaves"))
}

#[test]
fn a_figure_shows_a_party_fair_coins_and_its_owner_a_sum() {
    for (outputs, loss) in [(3, Loss::CrossEntropy), (1, Loss::BinaryCrossEntropy)] {
        let model = model(outputs);
        let step = step(&model, loss);
        let found = findings((&model, &step), Fault::None);
        assert!(found.iter().all(Vec::is_empty), "{loss:?}: {found:?}");
    }
}

/// The plants: both leave the count right.
#[test]
fn a_bit_that_is_not_hidden_is_noticed() {
    let model = model(3);
    let step = step(&model, Loss::CrossEntropy);
    let [p0, p1, ..] = findings((&model, &step), Fault::OneHalf);
    assert!(!p0.is_empty() && !p1.is_empty(), "a mask whose lowest bit is 0");
    let [p0, p1, .., sent] = findings((&model, &step), Fault::OneMaskForAllRuns);
    assert!(!p0.is_empty() && !p1.is_empty(), "a mask that is the same in every run");
    assert!(!sent.is_empty(), "P1's share is the same in every run");
}
