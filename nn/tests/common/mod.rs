//! Whole networks in one process: dealt to files, run by two parties on threads, against the fixed-point oracle; plan
//! against counters.
#![allow(dead_code)] // each test binary uses a part

pub mod build;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tempfile::TempDir;
use twoply_nn::engine::Clear;
use twoply_nn::program::RangeAudit;
use twoply_nn::roles::{self, Answer, Ran};
use twoply_nn::{Options, Plan, Program, Reveal, Totals, Weights};
use twoply_preprocessing::{Cut, DealSpec, KeyDir, SeedSource, SetWriter};
use twoply_primitives::backend::{Choice, Device};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::session::Setup;
use twoply_primitives::{Backend, Error, Fixed, KeySetId, NoClock, PartyId, Ring, Session, with_device};
use twoply_primitives::{Channel, ring};

/// One piece of a run: what the data owner got, and what the oracle says.
pub struct Run {
    /// What the parties' shares add up to.
    pub answer: Answer,
    /// The oracle with the coins that were recorded.
    pub oracle: Vec<Vec<f64>>,
    /// The oracle without coins: every rounding goes down.
    pub floor: Vec<Vec<f64>>,
    /// Counts of too large values.
    pub audit: RangeAudit,
    /// Whether answer and oracle are equal to the last bit, and so are their counts of too large values.
    pub exact: bool,
}

/// How much is dealt and run.
pub struct Shift<'a> {
    /// Images dealt.
    pub dealt: u64,
    /// Images of a segment.
    pub segment: u32,
    /// Sizes of the runs, one after the other.
    pub runs: &'a [usize],
}

/// `len` words that only depend on `entropy`.
pub fn random(entropy: u64, len: usize) -> Vec<u64> {
    let mut rng = build::Rng(entropy);
    (0..len).map(|_| rng.next()).collect()
}

type Coins = Vec<(u32, Vec<u64>)>;

/// One piece at the data owner: encoded inputs, number of images, answer and counts.
type Answered<R> = (Vec<R>, usize, (Answer, RangeAudit));

/// Deals, runs one run after the other, checks counters, returns the answers piece by piece.
pub fn two_parties<R: Ring>(plan: &Plan, weights: &Weights, inputs: &[f32], shift: &Shift) -> Vec<Run> {
    let program = plan.program().unwrap();
    let cut = Cut::new(shift.dealt, shift.segment).unwrap();
    let (dirs, packed) = deal::<R>(plan, &program, weights, cut);
    let (p0, p1) = pair();
    let (mut owners, mut threads) = (vec![], vec![]);
    for (me, peer) in PartyId::BOTH.into_iter().zip([p0, p1]) {
        let (to_owner, owner) = pair();
        owners.push(owner);
        let dir = dirs.path().join(me.to_string());
        threads.push(party::<R>(
            me,
            plan.clone(),
            dir,
            packed.clone(),
            [peer, to_owner],
            shift.runs.to_vec(),
        ));
    }
    let answers = owner::<R>(plan, &program, inputs, owners, cut, shift.runs);
    let coins = threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>().pop().unwrap();
    let params: Vec<_> = program.params().into_iter().zip(program.encode::<R>(weights).unwrap()).collect();
    let oracle = |x: Vec<R>, b: usize, coins: Coins| {
        let mut clear = Clear::with_coins(x, coins);
        program.run(&mut clear, &params, b).unwrap();
        [vec![clear.output], clear.asides].concat()
    };
    assert_eq!(answers.len(), coins.len());
    let compare = |((x, b, (answer, audit)), coins): (Answered<R>, Coins)| {
        let floor = rows(&program, &oracle(x.clone(), b, vec![])[0]);
        let raw = oracle(x, b, coins);
        let oracle = rows(&program, &raw[0]);
        let exact = match &answer {
            Answer::Logits(rows) => *rows == oracle,
            Answer::Labels(l) => l.iter().zip(raw[0].chunks(1)).all(|(l, c)| *l as u64 == c[0].low()),
        };
        let exact = exact && audit == program.range_audit(&program.reply(b).unwrap(), &raw);
        Run { answer, audit, oracle, floor, exact }
    };
    answers.into_iter().zip(coins).map(compare).collect()
}

/// Real numbers, image by image.
fn rows<R: Ring>(program: &Program, values: &[R]) -> Vec<Vec<f64>> {
    let (form, frac) = program.output(1).unwrap();
    let real = |v: &R| match frac {
        0 => v.low() as f64,
        _ => ring::sign_extend(v.low(), form.bits) as f64 / (frac as f64).exp2(),
    };
    values.chunks(form.shape.row()).map(|row| row.iter().map(real).collect()).collect()
}

/// Dealer and model owner: key files of both parties below a folder, and the masked weights.
pub fn deal<R: Ring>(plan: &Plan, program: &Program, weights: &Weights, cut: Cut) -> (TempDir, Vec<u8>) {
    let dirs = tempfile::tempdir().unwrap();
    let roots = PartyId::BOTH.map(|p| dirs.path().join(p.to_string()));
    roots.iter().for_each(|d| std::fs::create_dir(d).unwrap());
    let (digest, layout) = (plan.digest().unwrap(), plan.layout());
    let spec = DealSpec { plan: digest, layout, cut, seeds: SeedSource::Os, trained: None };
    let set = SetWriter::create([&roots[0], &roots[1]], spec).unwrap();
    let dealt: Result<(), Error> = with_device!(device(), R, dev => {
        let masks = roles::weight_masks(&dev, program, set.key_set(), set.weight_seeds());
        for s in 0..cut.segments() {
            let segment = set.segment(s).unwrap().unwrap();
            roles::deal_segment(&dev, program, &masks, set.key_set(), segment).unwrap();
        }
        Ok(())
    });
    dealt.unwrap();
    let keys = [0, 1].map(|p| roles::weight_keys(program, set.key_set(), &set.weight_seeds()[p]));
    (dirs, roles::mask_weights::<R>(program, weights, [&keys[0], &keys[1]]).unwrap())
}

/// One party on its thread; gives the images and coins of every piece.
fn party<R: Ring>(
    me: PartyId,
    plan: Plan,
    dir: PathBuf,
    packed: Vec<u8>,
    [mut peer, mut owner]: [Loopback; 2],
    runs: Vec<usize>,
) -> JoinHandle<Vec<Coins>> {
    thread::spawn(move || {
        let played: Result<Vec<Coins>, Error> = with_device!(device(), R, dev => {
            Ok(play(dev, me, &plan, dir, &packed, [&mut peer, &mut owner], runs))
        });
        played.unwrap()
    })
}

/// Where parties and dealer compute: on the CPU, or where `TWOPLY_TEST_DEVICE` says (`cuda:0`).
fn device() -> Device {
    let named = std::env::var("TWOPLY_TEST_DEVICE").unwrap_or("cpu".into());
    named.parse::<Choice>().unwrap().resolve().unwrap()
}

fn play<B: Backend>(
    dev: B,
    me: PartyId,
    plan: &Plan,
    dir: PathBuf,
    packed: &[u8],
    [peer, owner]: [&mut Loopback; 2],
    runs: Vec<usize>,
) -> Vec<Coins> {
    let program = plan.program().unwrap();
    let dir = KeyDir::open(dir, me).unwrap();
    let id: KeySetId = dir.choose(plan.digest().unwrap()).unwrap();
    let set = dir.key_set(id, plan.digest().unwrap(), plan.layout(), false).unwrap();
    let weights = roles::masked_weights(&dev, &program, id, set.weight_seed(), packed).unwrap();
    let mut ledger = set.ledger().unwrap();
    let mut coins = vec![];
    for b in runs {
        let range = ledger.propose(b as u64, set.dealt(ledger.tally().next)).unwrap();
        let pending = ledger.reserve(range.start..range.start + b as u64).unwrap();
        let claim = pending.claim();
        let mut reservation = pending.acknowledged(&claim).unwrap();
        for lease in reservation.take(b as u64).unwrap() {
            let keys = set.open(lease).unwrap();
            let (images, half) = (keys.images(), keys.segment_id().0);
            let setup = Setup {
                me,
                dev: dev.clone(),
                seed: keys.seed().clone(),
                origin: keys.origin(),
                images: images.start as usize..images.end as usize,
                peer,
                keys: Arc::new(keys),
                clock: Arc::new(NoClock),
            };
            let session = Session::new(setup);
            let ran = roles::run(&program, &weights, session, (owner, Some(half)), true).unwrap();
            as_planned(plan, images.len(), me, &ran);
            coins.push(ran.coins);
        }
        ledger.settle(reservation);
    }
    coins
}

/// The counters of a run are those that the plan announces.
fn as_planned(plan: &Plan, images: usize, me: PartyId, ran: &Ran) {
    let want = plan.gates(images).unwrap();
    assert_eq!(ran.stats.len(), want.len());
    for (got, want) in ran.stats.iter().zip(&want) {
        let at = format!("{} {}", want.layer, want.gate);
        assert_eq!((got.gate, &got.layer), (&want.gate[..], &want.layer));
        assert_eq!((got.rounds, got.bytes), (want.cost.rounds, want.cost.bytes), "{at}");
        assert_eq!((got.comparisons, got.opened), (want.cost.comparisons, want.cost.opened), "{at}");
        assert_eq!(got.key_bits, want.cost.key_bits(me.index()), "{at}");
    }
    let mut totals = Totals::default();
    totals.add_gates(&want);
    assert_eq!(ran.traffic.sent, totals.owner_bytes);
}

/// The data owner, piece by piece as the key set is cut: encoded inputs, images and answer of each.
fn owner<R: Ring>(
    plan: &Plan,
    program: &Program,
    inputs: &[f32],
    mut owners: Vec<Loopback>,
    cut: Cut,
    runs: &[usize],
) -> Vec<Answered<R>> {
    let row = plan.graph.input.row();
    let (mut answers, mut next, mut at) = (vec![], 0u64, 0);
    for &b in runs {
        for (_, piece) in cut.pieces(next..next + b as u64) {
            let b = piece.len();
            let x = program.encode_input::<R>(&inputs[at * row..(at + b) * row]).unwrap();
            let keys: Vec<Vec<[u8; 16]>> =
                owners.iter_mut().map(|o| o.recv(16 * b).unwrap().as_chunks().0.to_vec()).collect();
            let packed = roles::mask_input(program, &x, [&keys[0], &keys[1]]).unwrap();
            owners.iter_mut().for_each(|o| o.send(&packed).unwrap());
            let len = program.reply(b).unwrap().bytes();
            let shares: Vec<Vec<u8>> = owners.iter_mut().map(|o| o.recv(len).unwrap()).collect();
            let answer = roles::join::<R>(plan, program, [&shares[0], &shares[1]], b).unwrap();
            answers.push((x, b, answer));
            at += b;
        }
        next += b as u64;
    }
    answers
}

/// Fraction bits of weights that differ from those of values, finer and coarser, in every rounding.
pub fn weight_fractions() -> Vec<Options> {
    let mut all = vec![];
    for (n, f, w) in [(32, 8, 16), (32, 12, 8), (32, 11, 11), (64, 16, 24)] {
        for rounding in [Rounding::PublicCoin, Rounding::Floor] {
            for reveal in [Reveal::Logits, Reveal::Label] {
                all.push(Options {
                    fixed: Fixed { n, f },
                    weight_fraction: Some(w),
                    rounding,
                    reveal,
                    audit: (f < w) == (reveal == Reveal::Label),
                    ..Options::default()
                });
            }
        }
    }
    all
}

/// Every combination of ring, comparison, rounding and what is revealed.
pub fn variants() -> Vec<Options> {
    let mut all = vec![];
    for (n, f) in [(32, 12), (64, 16)] {
        for compare in [Scheme::Digits, Scheme::Dpf] {
            for rounding in [Rounding::PublicCoin, Rounding::Floor] {
                for reveal in [Reveal::Logits, Reveal::Label] {
                    all.push(Options {
                        fixed: Fixed { n, f },
                        compare,
                        rounding,
                        reveal,
                        // in half of them, with every ring, comparison and rounding
                        audit: (n == 32) == (reveal == Reveal::Label),
                        ..Options::default()
                    });
                }
            }
        }
    }
    all
}
