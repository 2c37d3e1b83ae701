//! What one party sees of a run of a whole network: the masked weights, the masked input, everything that was opened and
//! everything the peer said. Secrets are equal in all samples, so whatever is not a fair coin of its own stands out.
//!
//! Two kinds of sample. An *image*: many equal images of a key set, for every bit and every pair of bits. A *key set*: two
//! equal images and the weights of one network, over many key sets, for relations of any number of bits, across images and
//! across tensors.

use super::common::build::Model;
use super::networks;
use super::planted::Fault;
use super::play::{Play, Secrets};
use super::relations::dependent;
use super::stats::{Plane, View, planes};
use super::watched::Wire;
use std::collections::HashSet;
use std::thread;
use twoply_nn::{Options, Program, Reveal, with_ring};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::{PartyId, Ring};

/// Images that samples are made of.
const IMAGES: usize = 60_032;
/// Equal images of a key set.
const BATCH: usize = 7504;

fn full() -> bool {
    std::env::var("TWOPLY_FULL").is_ok_and(|v| v == "1")
}

/// A network in one variant.
struct Case {
    model: Model,
    options: Options,
    program: Program,
}

impl Case {
    fn new(model: Model, options: Options) -> Case {
        let program = networks::program(&model, &options);
        Case { model, options, program }
    }
    fn name(&self) -> String {
        let o = &self.options;
        format!("{} of {} bits, {}, {:?}", self.model.graph.name, o.fixed.n, o.compare, o.rounding)
    }
    /// What both parties saw of `images` equal images under the key set of `entropy`: of the weights, then of the run.
    fn seen(&self, images: usize, entropy: u64, fault: Fault) -> [[Vec<Wire>; 2]; 2] {
        with_ring!(self.options.fixed.n, R => self.seen_in::<R>(images, entropy, fault))
    }
    fn seen_in<R: Ring>(&self, images: usize, entropy: u64, fault: Fault) -> [[Vec<Wire>; 2]; 2] {
        let secrets = Secrets::new(entropy);
        let redirect = fault.redirect(&self.program, R::BITS, &secrets, images);
        let play = Play::<R>::new(&self.program, &self.model.weights, images, secrets, redirect);
        let weights = play.parties.each_ref().map(|p| p.take_seen());
        let x = self.program.encode_input::<R>(&self.model.inputs.repeat(images)).unwrap();
        play.run(0..images, &x);
        let run = play.parties.each_ref().map(|p| p.take_seen());
        let open = |w: &[Wire]| w.iter().map(|w| w.opened.clone()).collect::<Vec<_>>();
        assert_eq!(open(&run[0]), open(&run[1]), "both parties see what is open");
        [weights, run]
    }
}

/// `f` of every number below `count`, on threads of their own: parties wait for each other, and the pool is theirs.
fn spread<T: Send>(count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let (f, size) = (&f, count.div_ceil(threads).max(1));
    let part = |from: usize| (from..count.min(from + size)).map(f).collect::<Vec<T>>();
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).step_by(size).map(|from| scope.spawn(move || part(from))).collect();
        all.into_iter().flat_map(|t| t.join().unwrap()).collect()
    })
}

/// Two variants in a usual run: all kinds of gates occur in them.
fn cases() -> Vec<Case> {
    let mut out = vec![];
    for model in networks::all() {
        let reveal = if model.graph.name == "clipped" { Reveal::Label } else { Reveal::Logits };
        for options in networks::options(&[reveal]) {
            let usual = match options.rounding {
                Rounding::PublicCoin => options.compare == Scheme::Digits,
                Rounding::Floor => options.compare == Scheme::Dpf,
            };
            if full() || usual && options.fixed.n == 32 {
                out.push(Case::new(model.clone(), options));
            }
        }
    }
    out
}

/// Samples are images: every bit and every pair of bits of one party's view is a fair coin.
fn image_by_image(case: &Case, images: usize, batch: usize, fault: Fault) -> [View; 2] {
    let runs = spread(images / batch, |i| {
        let [_, run] = case.seen(batch, 1_000 + i as u64, fault);
        run
    });
    PartyId::BOTH.map(|me| {
        let mut v = View::default();
        for (i, wire) in runs[0][me.index()].iter().enumerate() {
            let all = |part: fn(&Wire) -> &Vec<u64>| -> Vec<u128> {
                runs.iter().flat_map(|r| part(&r[me.index()][i])).map(|&v| v as u128).collect()
            };
            let lanes = wire.opened.len() / batch;
            v.see(&format!("opened {i}"), planes(&all(|w| &w.opened), wire.width, lanes));
            if !wire.heard.is_empty() {
                v.see(&format!("heard {i}"), planes(&all(|w| &w.heard), wire.width, lanes));
            }
        }
        v.pair_all();
        v
    })
}

/// Rows of a wire of 40 bits or more, image by image, that occur twice: with equal secrets, masks that serve twice.
fn repeated_rows(case: &Case, images: usize, fault: Fault) -> usize {
    let [_, [run, _]] = case.seen(images, 77, fault);
    let repeats = |w: &Wire| {
        let rows: HashSet<&[u64]> = w.opened.chunks(w.opened.len() / images).collect();
        if w.opened.len() / images * w.width as usize >= 60 { images - rows.len() } else { 0 }
    };
    run.iter().map(repeats).sum()
}

/// Lowest bits of everything one party sees of two equal images and the weights, over key sets.
fn set_by_set(case: &Case, sets: usize, fault: Fault) -> [Vec<Plane>; 2] {
    let runs = spread(sets, |i| case.seen(2, 100_000 + i as u64, fault));
    PartyId::BOTH.map(|me| {
        let lowest = |[weights, run]: &[[Vec<Wire>; 2]; 2]| -> Vec<u64> {
            let wires = weights[me.index()].iter().chain(&run[me.index()]);
            wires.flat_map(|w| w.opened.iter().chain(&w.heard)).map(|v| v & 1).collect()
        };
        let rows: Vec<Vec<u64>> = runs.iter().map(lowest).collect();
        let plane = |bit: usize| {
            rows.chunks_exact(64).map(|s| s.iter().enumerate().fold(0, |z, (i, r)| z | r[bit] << i)).collect()
        };
        (0..rows[0].len()).map(plane).collect()
    })
}

/// How many lowest bits one party sees in a key set of [`set_by_set`].
fn lowest_bits(case: &Case) -> usize {
    let [weights, run] = case.seen(2, 1, Fault::None);
    weights[0].iter().chain(&run[0]).map(|w| w.opened.len() + w.heard.len()).sum()
}

/// Enough key sets for their relations.
fn enough(bits: usize) -> usize {
    (bits + 65).next_multiple_of(64)
}

#[test]
fn one_party_sees_fair_coins_of_many_equal_images() {
    for case in cases() {
        for (me, v) in PartyId::BOTH.into_iter().zip(image_by_image(&case, IMAGES, BATCH, Fault::None)) {
            v.worst().clean(&format!("{me}, {}, {} bits", case.name(), v.len()));
        }
        assert_eq!(repeated_rows(&case, BATCH, Fault::None), 0, "{}: a row that repeats", case.name());
    }
}

#[test]
fn nothing_that_one_party_sees_follows_from_the_rest() {
    for case in cases() {
        let sets = enough(lowest_bits(&case));
        for (me, bits) in PartyId::BOTH.into_iter().zip(set_by_set(&case, sets, Fault::None)) {
            let found = dependent(&bits);
            eprintln!("{me}, {}: {} bits of {sets} key sets", case.name(), bits.len());
            assert!(found.is_empty(), "{me}, {}: {found:?} of {} bits", case.name(), bits.len());
        }
    }
}

/// The leaks that pairs of bits do not show, or that lie between images and tensors.
#[test]
fn what_serves_twice_stands_out() {
    let case = Case::new(networks::spatial(), Options::default());
    for fault in [Fault::OneMaskForAllLevels, Fault::OneStreamForAllWeights, Fault::OneInputMask] {
        let sets = enough(lowest_bits(&case));
        for (me, bits) in PartyId::BOTH.into_iter().zip(set_by_set(&case, sets, fault)) {
            let found = dependent(&bits).len();
            eprintln!("{fault:?}: {found} of {} bits that {me} sees follow from others", bits.len());
            assert!(found > 0, "{fault:?} was not noticed by {me}'s view");
        }
    }
    for fault in [Fault::OneInputMask, Fault::InputMaskOfBatch, Fault::InputMaskOfPlace] {
        assert!(repeated_rows(&case, 64, fault) >= 32, "{fault:?}: rows of equal images repeat");
    }
    let views = image_by_image(&case, 1024, 512, Fault::OneInputMask);
    views.iter().for_each(|v| v.worst().caught("one input mask for all images"));
}
