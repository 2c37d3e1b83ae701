//! Devices that fail: any call of the driver in turn, while a device is opened, keys are dealt and a gate is evaluated.
//!
//! Needs the stand-in of `tests/cuda/`, which fails when it is told to, for the thread that tells it. Nothing may panic or
//! wait for ever, no wrong byte may leave for the peer, and all memory must come back.

use super::tests::gpu;
use super::*;
use crate::channel::{Loopback, pair};
use crate::compare::Scheme;
use crate::gate::{Gate, Linear, Mul, Relu};
use crate::session::{Outlet, Setup};
use crate::*;
use cudarc::driver::sys::culib;
use std::ffi::{CStr, c_char, c_long};
use std::sync::Arc;

const ORIGIN: Origin = Origin { set: KeySetId([3; 16]), segment: 0 };

/// The stand-in's functions for tests.
#[derive(Clone, Copy)]
struct StandIn {
    fault: unsafe extern "C" fn(*const c_char, c_long),
    fired: unsafe extern "C" fn() -> bool,
    held: unsafe extern "C" fn() -> c_long,
}

impl StandIn {
    /// If that is the driver.
    fn loaded() -> Option<Self> {
        // the device that all tests share is on no test's account
        std::thread::spawn(gpu::<u32>).join().unwrap()?;
        // SAFETY: declared so in `driver.cpp`.
        unsafe {
            Some(StandIn {
                fault: *culib().get("emulated_fault").ok()?,
                fired: *culib().get("emulated_fired").ok()?,
                held: *culib().get("emulated_held").ok()?,
            })
        }
    }
    /// Has call number `n` of a kind fail from now on.
    fn plant(self, kind: &'static CStr, n: usize) {
        // SAFETY: the text stays.
        unsafe { (self.fault)(kind.as_ptr(), n as c_long) }
    }
    /// Whether it did; nothing fails any more.
    fn clear(self) -> bool {
        // SAFETY: no text is none.
        unsafe {
            let fired = (self.fired)();
            (self.fault)(std::ptr::null(), 0);
            fired
        }
    }
    /// Does something again and again, each time with the next call failing, until none did. What it returns says whether
    /// the device was said to have failed.
    fn each(self, kind: &'static CStr, mut f: impl FnMut(&dyn Fn()) -> Option<String>) -> usize {
        for n in 1.. {
            // SAFETY: reads a number.
            let before = unsafe { (self.held)() };
            let why = f(&|| self.plant(kind, n));
            let fired = self.clear();
            if kind != c"sticky" {
                // SAFETY: as above.
                let left = unsafe { (self.held)() } - before;
                assert_eq!(left, 0, "{kind:?} {n}: {left} things were not given back; {why:?}");
            }
            if !fired {
                assert_eq!(why, None, "nothing failed");
                return n - 1;
            }
            // what fails after the last word changes nothing
            if let Some(why) = why {
                assert!(why.starts_with("device: ") && why.contains("; "), "{kind:?} {n}: {why}");
            }
        }
        0
    }
}

/// What the peer heard.
struct Spied {
    inner: Loopback,
    sent: Vec<Vec<u8>>,
}

impl Channel for Spied {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.sent.push(bytes.to_vec());
        self.inner.send(bytes)
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        self.inner.recv(len)
    }
}

/// Tiles in memory.
#[derive(Default, Clone, PartialEq)]
struct Tiles(Vec<(Site, usize, [Vec<u8>; 2])>);

impl KeySink for Tiles {
    fn put(&mut self, _: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        self.0.push((at, tile, bytes));
        Ok(())
    }
}

/// One party's, in ordinary memory or pinned by a device.
struct Half {
    tiles: Tiles,
    elements: usize,
    me: PartyId,
    pin: Option<Cuda<u32>>,
}

impl KeySource for Half {
    fn tile(&self, _: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let found = self.tiles.0.iter().find(|t| (t.0, t.1) == (at, tile)).unwrap();
        let bytes = &found.2[self.me.index()];
        Ok(match &self.pin {
            Some(dev) => Arc::new(dev.pin(bytes)?),
            None => Arc::new(bytes.clone()),
        })
    }
    fn elements(&self, _: Site) -> Result<usize> {
        Ok(self.elements)
    }
}

/// A gate with operands, and what comes of it if nothing fails.
struct Scene<G> {
    gate: G,
    operands: Vec<Form>,
    tiles: Tiles,
    /// Public values and both shares of their masks.
    wires: Vec<[Vec<u32>; 3]>,
}

fn seeds() -> [Seed; 2] {
    [Seed::new([1; 32]), Seed::new([2; 32])]
}

impl<G: Gate> Scene<G> {
    fn new(gate: G, operands: Vec<Form>) -> Self {
        let mut scene = Scene { gate, operands, tiles: Tiles::default(), wires: vec![] };
        let cpu = Cpu::<u32>::new();
        let (done, tiles) = scene.deal(&cpu);
        done.unwrap();
        let mut sink = Tiles::default();
        let mut deal = Deal::new(cpu, seeds(), ORIGIN, 1, &mut sink);
        let wire = |form: &Form| {
            let mask = deal.fresh(0, form);
            deal.next_gate();
            let value = (0..form.len()).map(|i| (i as u32 * 77_777).and(u32::ones(form.bits))).collect();
            [value, mask.shares[0].clone(), mask.shares[1].clone()]
        };
        scene.wires = scene.operands.iter().map(wire).collect();
        scene.tiles = tiles;
        scene
    }
    fn deal<B: Backend>(&self, dev: &B) -> (Result<()>, Tiles) {
        let mut tiles = Tiles::default();
        let mut deal = Deal::new(dev.clone(), seeds(), ORIGIN, 1, &mut tiles);
        let mask = |form: &Form| {
            let mask = deal.fresh(0, form);
            deal.next_gate();
            mask
        };
        let masks: Vec<Mask<B>> = self.operands.iter().map(mask).collect();
        let done = self.gate.deal(&mut deal, &masks.iter().collect::<Vec<_>>());
        let done = done.and_then(|out| {
            out.shares.iter().for_each(|share| drop(dev.download(share)));
            dev.health()
        });
        (done, tiles)
    }
    /// One party's run: the opened result.
    fn party<B: Backend<Ring = u32>>(
        &self,
        dev: &B,
        (me, peer): (PartyId, &mut dyn Channel),
        pin: Option<Cuda<u32>>,
    ) -> Result<Vec<u32>> {
        let wire = |(form, [value, a, b]): (&Form, &[Vec<u32>; 3])| {
            Masked::new(form.clone(), dev.upload(value), dev.upload(if me.is_p0() { a } else { b }))
        };
        let x: Vec<Masked<B>> = self.operands.iter().zip(&self.wires).map(wire).collect();
        let forms: Vec<&Form> = self.operands.iter().collect();
        let elements = self.gate.cost(32, &forms)?.parts[0].elements;
        let keys = Half { tiles: self.tiles.clone(), elements, me, pin };
        let mut s = Session::new(Setup {
            me,
            dev: dev.clone(),
            seed: seeds()[me.index()].clone(),
            origin: ORIGIN,
            images: 0..1,
            peer,
            keys: Arc::new(keys),
            clock: Arc::new(NoClock),
        });
        x.iter().for_each(|_| s.end_gate());
        s.begin_gate("test", G::NAME, Outlet::Open);
        let share = self.gate.eval(&mut s, &x.iter().collect::<Vec<_>>())?;
        let out = s.open(share)?;
        s.end_gate();
        s.finish()?;
        let out = dev.download(&out.value);
        dev.health().map(|()| out)
    }
    /// A run of which `mine` is on this thread, its peer on a CPU: what came of it, and what was said.
    fn run(&self, me: PartyId, mine: impl FnOnce(&mut dyn Channel) -> Result<Vec<u32>>) -> Ran {
        let (inner, mut theirs) = pair();
        let mut spied = Spied { inner, sent: vec![] };
        std::thread::scope(|scope| {
            let peer =
                scope.spawn(move || self.party(&Cpu::<u32>::new(), (me.peer(), &mut theirs), None).is_ok());
            let got = mine(&mut spied);
            let sent = spied.sent;
            // a peer that waits hears that nobody is there
            drop(spied.inner);
            let fine = peer.join().unwrap();
            assert!(fine || got.is_err(), "the peer fails alone");
            (got, sent)
        })
    }
    /// Every call fails once.
    fn survives(&self, of: StandIn, parties: &[PartyId]) {
        let open = || Cuda::<u32>::open(0).unwrap();
        for &me in parties {
            let right = self.run(me, |peer| self.party(&Cpu::<u32>::new(), (me, peer), None));
            let right = (right.0.unwrap(), right.1);
            for (kind, pinned) in [(c"any", false), (c"any", true), (c"sticky", false)] {
                of.each(kind, |plant| {
                    let (got, sent) = self.run(me, |peer| {
                        let dev = open();
                        plant();
                        self.party(&dev, (me, peer), pinned.then(|| dev.clone()))
                    });
                    assert_eq!(sent, right.1[..sent.len()], "{kind:?}: what left is right");
                    got.map(|got| assert!(got == right.0, "{kind:?}: a wrong result"))
                        .err()
                        .map(|e| e.to_string())
                });
            }
        }
        for kind in [c"any", c"sticky"] {
            of.each(kind, |plant| {
                let dev = open();
                plant();
                let (done, tiles) = self.deal(&dev);
                assert!(tiles.0 == self.tiles.0[..tiles.0.len()], "{kind:?}: what was written is right");
                done.err().map(|e| e.to_string())
            });
        }
    }
}

/// What came of a run, and what was said.
type Ran = (Result<Vec<u32>>, Vec<Vec<u8>>);

fn form(shape: &[usize], bits: u32) -> Form {
    Form { shape: Shape(shape.into()), bits }
}

#[test]
fn opening_fails_wherever_it_may() {
    let Some(of) = StandIn::loaded() else { return };
    let calls = of.each(c"any", |plant| {
        plant();
        Cuda::<u32>::open(0).err().map(|e| e.to_string())
    });
    assert!(calls > 2 * 29, "{calls} calls");
    of.each(c"sticky", |plant| {
        plant();
        Cuda::<u32>::open(0).err().map(|e| e.to_string())
    });
}

// 1100 elements: keys of one kind go beside the kernels, of the other with them

#[test]
fn point_functions_fail_wherever_they_may() {
    let Some(of) = StandIn::loaded() else { return };
    let gate = Relu { scheme: Scheme::Dpf, shift: 0, out: 32 };
    Scene::new(gate, vec![form(&[1, 1100], 20)]).survives(of, &[PartyId::P1]);
}

#[test]
fn digits_fail_wherever_they_may() {
    let Some(of) = StandIn::loaded() else { return };
    let gate = Relu { scheme: Scheme::Digits, shift: 0, out: 32 };
    Scene::new(gate, vec![form(&[1, 1100], 20)]).survives(of, &PartyId::BOTH);
}

#[test]
fn products_fail_wherever_they_may() {
    let Some(of) = StandIn::loaded() else { return };
    let operands = vec![form(&[1, 40], 32), form(&[20, 40], 32)];
    Scene::new(Linear { cut: 12 }, operands).survives(of, &PartyId::BOTH);
    let operands = vec![form(&[1, 1100], 32); 2];
    Scene::new(Mul { cut: 12 }, operands).survives(of, &PartyId::BOTH);
}
