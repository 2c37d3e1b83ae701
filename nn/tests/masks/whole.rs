//! What one party sees of a run of a whole network: the masked weights, the masked input, everything that was opened and
//! everything the peer said. Secrets are equal in all samples, so whatever is not a fair coin of its own stands out.
//!
//! Two kinds of sample. An *image*: many equal images of a key set, for every bit and every pair of bits. A *key set*: two
//! equal images and the weights of one network, over many key sets, for relations of any number of bits, across images and
//! across tensors. And once more with random images, and with random weights, held against their bits.

use super::common::build::{Model, Rng};
use super::networks;
use super::planted::Fault;
use super::play::{Play, Secrets};
use super::relations::dependent;
use super::stats::{Plane, View, planes};
use super::watched::Wire;
use std::collections::HashSet;
use std::thread;
use twoply_nn::{Options, Program, Reveal, Weights, with_ring};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::{PartyId, Ring, ring};

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
        self.seen_of(&self.model.inputs.repeat(images), &self.model.weights, entropy, fault)
    }
    /// The same of any images and weights.
    fn seen_of(&self, x: &[f32], weights: &Weights, entropy: u64, fault: Fault) -> [[Vec<Wire>; 2]; 2] {
        with_ring!(self.options.fixed.n, R => self.seen_in::<R>(x, weights, entropy, fault))
    }
    fn seen_in<R: Ring>(&self, x: &[f32], w: &Weights, entropy: u64, fault: Fault) -> [[Vec<Wire>; 2]; 2] {
        let (secrets, images) = (Secrets::new(entropy), x.len() / self.model.inputs.len());
        let redirect = fault.redirect(&self.program, R::BITS, &secrets, images);
        let play = Play::<R>::new(&self.program, w, images, secrets, redirect);
        let weights = play.parties.each_ref().map(|p| p.take_seen());
        play.run(0..images, &self.program.encode_input::<R>(x).unwrap());
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

/// Samples are images: every bit, and every pair of bits, of one party's view. In a usual run pairs are those of what is
/// open, and once for both parties.
fn image_by_image(case: &Case, images: usize, batch: usize, fault: Fault) -> [View; 2] {
    let runs = spread(images / batch, |i| {
        let [_, run] = case.seen(batch, 1_000 + i as u64, fault);
        run
    });
    PartyId::BOTH.map(|me| {
        let mut v = View::default();
        let opened = show(&mut v, &runs, me, batch);
        if full() {
            v.pair_all();
        } else if me.is_p0() {
            v.pair(opened);
        }
        v
    })
}

/// Adds what `me` saw of some runs, image by image; numbers of the bits that are open.
fn show(v: &mut View, runs: &[[Vec<Wire>; 2]], me: PartyId, batch: usize) -> Vec<usize> {
    let mut open = vec![];
    for (i, wire) in runs[0][me.index()].iter().enumerate() {
        let all = |part: fn(&Wire) -> &Vec<u64>| -> Vec<u128> {
            runs.iter().flat_map(|r| part(&r[me.index()][i])).map(|&v| v as u128).collect()
        };
        let lanes = wire.opened.len() / batch;
        open.extend(v.see(&format!("opened {i}"), planes(&all(|w| &w.opened), wire.width, lanes)));
        if !wire.heard.is_empty() {
            v.see(&format!("heard {i}"), planes(&all(|w| &w.heard), wire.width, lanes));
        }
    }
    open
}

/// Numbers in `-1..1`.
fn noise(entropy: u64, len: usize) -> Vec<f32> {
    let mut rng = Rng(entropy);
    (0..len).map(|_| rng.unit()).collect()
}

/// The bits that a number in `-1..1` has, with `f` fraction bits, as a secret: `per_sample` numbers each.
fn keep(v: &mut View, name: &str, values: &[f32], f: u32, per_sample: usize) {
    let fixed =
        |v: &f32| (f64::from(*v) * f64::from(f).exp2()).round() as i64 as u128 & ring::ones(f + 1) as u128;
    let fixed: Vec<u128> = values.iter().map(fixed).collect();
    v.keep(name, planes(&fixed, f + 1, per_sample));
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

/// Against the bits of the images, when every image is another.
#[test]
fn nothing_that_one_party_sees_goes_with_the_images() {
    let batch = 59 * 64;
    for case in cases().into_iter().filter(|c| full() || c.options.compare == Scheme::Digits) {
        let row = case.model.inputs.len();
        let x = noise(5, 2 * batch * row);
        let run = |i: usize| {
            let [_, run] = case.seen_of(
                &x[i * batch * row..][..batch * row],
                &case.model.weights,
                i as u64,
                Fault::None,
            );
            run
        };
        let runs = spread(2, run);
        for me in PartyId::BOTH {
            let mut v = View::default();
            let opened = show(&mut v, &runs, me, batch);
            keep(&mut v, "image", &x, case.options.fixed.f, row);
            if me.is_p0() {
                v.pair(opened);
                v.thin(row * 7);
            }
            v.worst().clean(&format!("{me}, {}, {} bits and the images", case.name(), v.len()));
        }
    }
}

/// Against the bits of weights and images, when every key set has others.
#[test]
fn nothing_that_one_party_sees_goes_with_the_weights() {
    let sets = if full() { 8192 } else { 2048 };
    for case in cases().into_iter().filter(|c| full() || c.options.compare == Scheme::Digits) {
        let (f, row) = (case.options.fixed.f, case.model.inputs.len());
        let sizes: Vec<usize> = case.model.weights.0.iter().map(Vec::len).collect();
        let tensors = |i: usize| {
            Weights(sizes.iter().enumerate().map(|(t, n)| noise((i * 64 + t) as u64, *n)).collect())
        };
        let image = |i: usize| noise(1 << 40 | i as u64, row);
        let runs = spread(sets, |i| {
            let [weights, run] = case.seen_of(&image(i), &tensors(i), i as u64, Fault::None);
            [0, 1].map(|p| [&weights[p][..], &run[p]].concat())
        });
        let all = |values: &dyn Fn(usize) -> Vec<f32>| (0..sets).flat_map(values).collect::<Vec<_>>();
        for me in PartyId::BOTH {
            let mut v = View::default();
            let opened = show(&mut v, &runs, me, 1);
            keep(&mut v, "image", &all(&image), f, row);
            for (t, n) in sizes.iter().enumerate() {
                keep(&mut v, &format!("tensor {t}"), &all(&|i| tensors(i).0[t].clone()), f, *n);
            }
            if me.is_p0() {
                v.pair(opened);
                v.thin(1 << 20);
            }
            v.worst().clean(&format!("{me}, {}, {} bits and the weights", case.name(), v.len()));
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
