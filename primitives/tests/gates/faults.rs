//! Faults of the other side, of the store and of the wiring: they end in an error that names the place, never in a
//! result that looks right.

use crate::common::{Dealt, ORIGIN, Operand, Store, deal, deal_at, parties, random, seeds, session};
use std::sync::{Arc, Mutex};
use twoply_primitives::channel::{Recorded, pair};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::*;
use twoply_primitives::session::{Outlet, Setup};
use twoply_primitives::*;

type Wire = Masked<Cpu<u32>>;
type Program = dyn Fn(&mut Session<Cpu<u32>>, &[Wire; 2]) -> Result<()> + Sync;

fn relu() -> Relu {
    Relu { scheme: Scheme::Digits, shift: 0, out: 32 }
}

/// Small values of `bits` bits.
fn values(len: usize, bits: u32) -> Vec<u32> {
    random(3, len).iter().map(|v| ((v % 2001) as u32).wrapping_sub(1000) & ring::ones(bits) as u32).collect()
}

/// Two wires of 20 bits and what is dealt for them: a ReLU of the first, a ReLU of the second, a lift of the first.
struct Two {
    store: Store,
    seeds: [Seed; 2],
    wires: [Operand<u32>; 2],
}

impl Two {
    fn new() -> Self {
        let (form, seeds, mut store) = (Form::new([1, 40], 20), seeds(200), Store::default());
        let mut d = Deal::new(Cpu::<u32>::new(), seeds.clone(), ORIGIN, 1, &mut store);
        let masks = [0, 1].map(|_| {
            let m = d.fresh(0, &form);
            d.next_gate();
            m
        });
        for m in &masks {
            relu().deal(&mut d, &[m]).unwrap();
            d.next_gate();
        }
        Lift.deal(&mut d, &[&masks[0]]).unwrap();
        store.announce(2, &relu().cost(32, &[&form]).unwrap());
        store.announce(3, &relu().cost(32, &[&form]).unwrap());
        store.announce(4, &Lift.cost(32, &[&form]).unwrap());
        let wires = [0, 1].map(|g| Operand::fresh(&seeds, g, &form));
        Two { store, seeds, wires }
    }
    /// Runs one program per party on both wires; both ends.
    fn run(&self, programs: [&Program; 2]) -> [Result<()>; 2] {
        let hidden = self.wires.each_ref().map(|w| w.hide(&values(40, 20)));
        let sides = parties(&self.store, &self.seeds, 1, |s| {
            (0..2).for_each(|_| s.end_gate());
            let wires = [0, 1].map(|i| self.wires[i].wire(s.me, &hidden[i]));
            programs[s.me.index()](s, &wires)?;
            s.finish()
        });
        sides.map(|(end, _)| end)
    }
}

fn step<G: Gate>(s: &mut Session<Cpu<u32>>, layer: &str, gate: &G, x: &Wire) -> Result<()> {
    s.begin_gate(layer, G::NAME, Outlet::Open);
    let share = gate.eval(s, &[x])?;
    s.open(share)?;
    s.end_gate();
    Ok(())
}

fn right(s: &mut Session<Cpu<u32>>, x: &[Wire; 2]) -> Result<()> {
    step(s, "first", &relu(), &x[0])?;
    step(s, "second", &relu(), &x[1])?;
    step(s, "third", &Lift, &x[0])
}

#[test]
fn the_same_program_ends_well() {
    Two::new().run([&right, &right]).into_iter().for_each(|end| end.unwrap());
}

#[test]
fn a_gate_that_was_not_dealt_here() {
    let lift_first = |s: &mut Session<Cpu<u32>>, x: &[Wire; 2]| step(s, "third", &Lift, &x[0]);
    let [p0, p1] = Two::new().run([&right, &lift_first]);
    let told = p1.unwrap_err().to_string();
    assert!(told.contains("gate 2") && told.contains("lift") && told.contains("relu"), "{told}");
    assert!(matches!(p0, Err(Error::Channel(_))), "{p0:?}");
    // P0 stores nothing for these gates: the lengths of the messages give it away
    let [p0, p1] = Two::new().run([&lift_first, &right]);
    assert!(matches!(p0, Err(Error::Channel(_))), "{p0:?}");
    assert!(matches!(p1, Err(Error::Channel(_))), "{p1:?}");
}

/// Both gates are ReLUs of one shape: every length fits, and both sides open the same garbage.
#[test]
fn repro_gates_of_one_shape_in_another_order() {
    let swapped = |s: &mut Session<Cpu<u32>>, x: &[Wire; 2]| {
        step(s, "second", &relu(), &x[1])?;
        step(s, "first", &relu(), &x[0])?;
        step(s, "third", &Lift, &x[0])
    };
    for ends in [Two::new().run([&right, &swapped]), Two::new().run([&swapped, &right])] {
        assert!(ends.iter().all(|e| matches!(e, Err(Error::Transcript { .. }))), "{ends:?}");
    }
}

#[test]
fn repro_one_party_leaves_a_gate_out() {
    let short = |s: &mut Session<Cpu<u32>>, x: &[Wire; 2]| {
        step(s, "first", &relu(), &x[0])?;
        step(s, "second", &relu(), &x[1])
    };
    let ends = Two::new().run([&right, &short]);
    assert!(ends.iter().all(|e| e.is_err()), "{ends:?}");
}

/// Other images of the same segment: the same shapes, other keys.
#[test]
fn repro_parties_on_different_images() {
    let form = Form::new([4, 8], 20);
    let dealt: Dealt<u32> = deal(&relu(), std::slice::from_ref(&form), 201);
    let half = Form::new([2, 8], 20);
    let (a, b) = pair();
    let ends = std::thread::scope(|scope| {
        let sides = [(PartyId::P0, a, 0..2), (PartyId::P1, b, 2..4)].map(|(me, mut end, images)| {
            let (keys, seed, dealt, half) =
                (dealt.store.side(me), dealt.seeds[me.index()].clone(), &dealt, half.clone());
            scope.spawn(move || {
                let o = &dealt.operands[0];
                let part = Operand {
                    form: half,
                    shares: o.shares.each_ref().map(|s| s[images.start * 8..images.end * 8].to_vec()),
                };
                let (dev, origin, clock) = (Cpu::new(), ORIGIN, Arc::new(NoClock));
                let mut s =
                    Session::new(Setup { me, dev, seed, origin, images, peer: &mut end, keys, clock });
                s.end_gate();
                step(&mut s, "first", &relu(), &part.wire(me, &part.hide(&values(16, 20))))?;
                s.finish()
            })
        });
        sides.map(|s| s.join().unwrap())
    });
    assert!(ends.iter().all(|e| matches!(e, Err(Error::Transcript { .. }))), "{ends:?}");
}

#[test]
fn a_peer_that_goes_away() {
    let gone = |_: &mut Session<Cpu<u32>>, _: &[Wire; 2]| Err(Error::Channel("gone on purpose".into()));
    let [p0, _] = Two::new().run([&right, &gone]);
    assert!(matches!(p0, Err(Error::Channel(_))), "{p0:?}");
}

/// A recording stands in for the peer: one party alone computes the same share of the result.
#[test]
fn a_recording_replays_one_party() {
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let gate = MaxPool { scheme, window: Window::square(3, 2) };
        let dealt: Dealt<u32> = deal(&gate, &[Form::new([2, 3, 7, 7], 20)], 202);
        let hidden = [dealt.operands[0].hide(&values(294, 20))];
        let live = parties(&dealt.store, &dealt.seeds, 2, |s| dealt.program(&gate, &hidden, s));
        for (me, (out, log)) in PartyId::BOTH.into_iter().zip(live) {
            let again = |log: &channel::Recording| {
                let mut peer = Recorded::replay(log);
                let (seed, keys) = (dealt.seeds[me.index()].clone(), dealt.store.side(me));
                let out = dealt.program(&gate, &hidden, &mut session(me, seed, 2, &mut peer, keys));
                let sent = peer.log().lock().unwrap().sent.clone();
                (out, sent)
            };
            let (replayed, sent) = again(&log);
            assert_eq!(replayed.unwrap(), out.unwrap());
            assert_eq!(sent, log.sent);
            let mut short = log.clone();
            short.received.pop();
            assert!(matches!(again(&short).0, Err(Error::Channel(_))), "a recording that ends early");
            let mut altered = log.clone();
            altered.received[1][0] ^= 1;
            assert!(matches!(again(&altered).0, Err(Error::Transcript { .. })), "an altered recording");
        }
    }
}

/// What `check` of every gate compares would differ: with wrong seeds or swapped roles the values are wrong.
#[test]
fn a_wrong_seed_gives_wrong_values() {
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let gate = Relu { scheme, shift: 0, out: 32 };
        let x = values(500, 20);
        let right: Dealt<u32> = deal(&gate, &[Form::new([1, 500], 20)], 203);
        let want = gate.ideal(&[&right.operands[0].form], &[&x], None);
        let wrong = |d: &Dealt<u32>| {
            d.play(&gate, std::slice::from_ref(&x)).clear.iter().zip(&want).filter(|(a, b)| a != b).count()
        };
        assert_eq!(wrong(&right), 0);
        let mut swapped: Dealt<u32> = deal(&gate, &[Form::new([1, 500], 20)], 203);
        swapped.seeds.swap(0, 1);
        assert!(wrong(&swapped) > 400, "swapped roles: {}", wrong(&swapped));
        let mut other: Dealt<u32> = deal(&gate, &[Form::new([1, 500], 20)], 203);
        other.seeds[1] = seeds(204)[1].clone();
        assert!(wrong(&other) > 200, "another seed: {}", wrong(&other));
    }
}

/// Asks are recorded: a session names gate, place and tile, which a store checks against what was dealt.
#[test]
fn every_ask_names_its_place() {
    type Asked = Mutex<Vec<(&'static str, Site, usize)>>;
    struct Spy(Arc<dyn KeySource>, Asked);
    impl KeySource for Spy {
        fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
            self.1.lock().unwrap().push((name, at, tile));
            self.0.tile(name, at, tile)
        }
        fn elements(&self, at: Site) -> Result<usize> {
            self.0.elements(at)
        }
    }
    let gate = MaxPool { scheme: Scheme::Dpf, window: Window::square(2, 2) };
    let dealt: Dealt<u32> = deal(&gate, &[Form::new([2, 1, 2, 2 * TILE], 20)], 205);
    let spies = PartyId::BOTH.map(|p| Arc::new(Spy(dealt.store.side(p), Mutex::default())));
    let hidden = [dealt.operands[0].hide(&values(8 * TILE, 20))];
    let (a, b) = pair();
    std::thread::scope(|scope| {
        for (me, mut end) in PartyId::BOTH.into_iter().zip([a, b]) {
            let (keys, seed) = (spies[me.index()].clone(), dealt.seeds[me.index()].clone());
            let (gate, dealt, hidden) = (&gate, &dealt, &hidden);
            scope.spawn(move || {
                dealt.program(gate, hidden, &mut session(me, seed, 2, &mut end, keys)).map(drop).unwrap()
            });
        }
    });
    for spy in spies {
        let mut asked = spy.1.lock().unwrap().clone();
        assert!(asked.iter().all(|a| a.0 == "max-pool"));
        asked.sort();
        assert_eq!(
            asked.into_iter().map(|a| (a.1, a.2)).collect::<Vec<_>>(),
            dealt.store.places(),
            "each tile once"
        );
    }
}

#[test]
fn more_elements_than_were_dealt() {
    let dealt: Dealt<u32> = deal_at(&relu(), &[1, 2, 3], 20, 206);
    let long = Operand::<u32> { form: Form::new([1, 4], 20), shares: [vec![0; 4], vec![0; 4]] };
    let ends = parties(&dealt.store, &dealt.seeds, 1, |s| {
        (0..2).for_each(|_| s.end_gate());
        relu().eval(s, &[&long.wire(s.me, &[0; 4])]).map(drop)
    });
    for (end, _) in ends {
        assert!(end.unwrap_err().to_string().contains("dealt 3 elements, the run needs 4"));
    }
}
