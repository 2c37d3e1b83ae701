//! Whole gates, dealt and run by two parties on threads, from secret seeds.

use crate::cases::{ORIGIN, numbers};
use crate::valgrind::{public, secret};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use twoply_primitives::backend::Product;
use twoply_primitives::channel::pair;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{
    Audit, Gate, Lift, Linear, Mode, Mul, Relu, ReluFloor, Staircase, Step, Sum, Table, Truncate,
};
use twoply_primitives::session::{Outlet, Setup};
use twoply_primitives::*;

/// Both parties' tiles, by place.
#[derive(Default, Clone)]
struct Store {
    tiles: HashMap<(Site, usize), [Arc<Vec<u8>>; 2]>,
    elements: HashMap<Site, usize>,
}

impl KeySink for Store {
    fn put(&mut self, _: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        self.tiles.insert((at, tile), bytes.map(Arc::new));
        Ok(())
    }
}

struct Side(Store, PartyId);

impl KeySource for Side {
    fn tile(&self, _: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        Ok(self.0.tiles[&(at, tile)][self.1.index()].clone())
    }
    fn elements(&self, at: Site) -> Result<usize> {
        Ok(self.0.elements[&at])
    }
}

/// A seed that valgrind holds for undefined.
fn seed(byte: u8) -> Seed {
    let mut bytes = [byte; 32];
    secret(&mut bytes);
    Seed::new(bytes)
}

/// Deals `gate` and runs it on `x`: the result is `gate.ideal`'s, up to one step where it rounds.
fn run<R: Ring, G: Gate>(gate: &G, forms: &[Form], x: &[Vec<R>]) {
    let (dev, seeds, mut store) = (Cpu::<R>::new(), [seed(1), seed(2)], Store::default());
    let mut d = Deal::new(dev, seeds.clone(), ORIGIN, forms[0].shape.batch(), &mut store);
    let draw = |form| {
        let mask = d.fresh(0, form);
        d.next_gate();
        mask
    };
    let masks: Vec<Mask<Cpu<R>>> = forms.iter().map(draw).collect();
    gate.deal(&mut d, &masks.iter().collect::<Vec<_>>()).unwrap();
    let refs: Vec<&Form> = forms.iter().collect();
    for (part, layout) in gate.cost(R::BITS, &refs).unwrap().parts.iter().enumerate() {
        store.elements.insert(Site { gate: forms.len() as u32, part: part as u32 }, layout.elements);
    }
    let shares: Vec<[Vec<R>; 2]> = (0..forms.len())
        .map(|g| {
            let at = Site { gate: g as u32, part: 0 };
            let share = |s: &Seed| {
                prg::Streams::new(s, ORIGIN, at).field(deal::FRESH).words(0, forms[g].len(), forms[g].bits)
            };
            [share(&seeds[0]), share(&seeds[1])]
        })
        .collect();
    let hide = |g: usize| {
        let sum: Vec<R> = (0..x[g].len())
            .map(|i| x[g][i].add(shares[g][0][i]).add(shares[g][1][i]).and(R::ones(forms[g].bits)))
            .collect();
        public(&sum);
        dev.pack(&sum, forms[g].bits)
    };
    let masked: Vec<Vec<u8>> = (0..forms.len()).map(hide).collect();
    let (a, b) = pair();
    let parts = thread::scope(|scope| {
        let side = |me: PartyId, mut peer: channel::Loopback| {
            let (keys, seed) = (Arc::new(Side(store.clone(), me)), seeds[me.index()].clone());
            let (masked, shares) = (&masked, &shares);
            scope.spawn(move || {
                let (clock, images) = (Arc::new(NoClock), 0..forms[0].shape.batch());
                let setup = Setup { me, dev, seed, origin: ORIGIN, images, peer: &mut peer, keys, clock };
                let mut s = Session::new(setup);
                (0..forms.len()).for_each(|_| s.end_gate());
                let wire = |g: usize| {
                    Masked::from_owner(&dev, &forms[g], &masked[g], shares[g][me.index()].clone()).unwrap()
                };
                let wires: Vec<_> = (0..forms.len()).map(wire).collect();
                s.begin_gate("constant time", G::NAME, Outlet::Kept);
                let share = gate.eval(&mut s, &wires.iter().collect::<Vec<_>>()).unwrap();
                s.for_owner(share).unwrap()
            })
        };
        [side(PartyId::P0, a), side(PartyId::P1, b)].map(|t| t.join().unwrap())
    });
    parts.iter().for_each(|p| public(p));
    let out = gate.output(R::BITS, &refs).unwrap();
    let got: Vec<R> = owner::join([&parts[0], &parts[1]], out.len(), out.bits).unwrap();
    let ideal = gate.ideal(&refs, &x.iter().map(|x| &x[..]).collect::<Vec<_>>(), None);
    let near = |(g, i): (&R, &R)| g.sub(*i).and(R::ones(out.bits)).low() <= 1;
    assert!(got.iter().zip(&ideal).all(near), "{}: the result is right", G::NAME);
}

/// Small positive and negative numbers of `bits` bits.
fn values<R: Ring>(len: usize, bits: u32) -> Vec<R> {
    numbers::<R>(len, 12).iter().map(|v| v.sub(R::from_u64(2048)).and(R::ones(bits))).collect()
}

pub fn relu(scheme: Scheme) {
    run::<u32, _>(&Relu { scheme, shift: 0, out: 32 }, &[Form::new([2, 70], 20)], &[values(140, 20)]);
    run::<u64, _>(&Relu { scheme, shift: 16, out: 64 }, &[Form::new([2, 5], 64)], &[values(10, 64)]);
}

pub fn relu_floor(scheme: Scheme) {
    run::<u32, _>(&ReluFloor { scheme, cut: 12 }, &[Form::new([2, 70], 32)], &[values(140, 32)]);
}

pub fn audit(scheme: Scheme) {
    run::<u32, _>(&Audit { scheme, theta: 1 << 17 }, &[Form::new([2, 70], 20)], &[values(140, 20)]);
    run::<u64, _>(&Audit { scheme, theta: 1 << 61 }, &[Form::new([2, 5], 64)], &[values(10, 64)]);
}

pub fn staircase(scheme: Scheme) {
    let steps = [-900, -1, 40, 1000].map(|at| Step { at, by: 3 * at });
    let gate = Staircase { scheme, base: 5, steps: steps.into() };
    run::<u32, _>(&gate, &[Form::new([2, 70], 20)], &[values(140, 20)]);
    run::<u64, _>(&gate, &[Form::new([2, 5], 64)], &[values(10, 64)]);
}

/// By one-hots that are dealt, and by half-tree keys.
pub fn table() {
    for width in [4, 8, 10] {
        // a coin moves an entry by one
        let (half, mask) = (1 << (width - 1), (1 << width) - 1);
        let entries = (0..1 << width).map(|j| (j + half) & mask).collect();
        let gate = Table { width, shift: 13 - width, bits: width, entries };
        run::<u32, _>(&gate, &[Form::new([2, 70], 20)], &[values(140, 20)]);
        run::<u64, _>(&gate, &[Form::new([2, 5], 64)], &[values(10, 64)]);
    }
}

pub fn truncate_and_lift() {
    let truncate = Truncate { cut: 12, mode: Mode::PublicCoin };
    run::<u32, _>(&truncate, &[Form::new([2, 30], 32)], &[values(60, 32)]);
    run::<u32, _>(&Lift, &[Form::new([2, 30], 20)], &[values(60, 20)]);
}

pub fn products() {
    let forms = [Form::new([2, 5], 32), Form::new([3, 5], 32), Form::new([3], 32)];
    run::<u32, _>(&Linear { cut: 0 }, &forms, &[values(10, 32), values(15, 32), values(3, 32)]);
    let forms = [Form::new([2, 5], 32), Form::new([2, 5], 32)];
    run::<u32, _>(&Mul { cut: 12 }, &forms, &[values(10, 32), values(10, 32)]);
    let forms = [Form::new([2, 70], 64), Form::new([2, 70], 64)];
    run::<u64, _>(&Mul { cut: 0 }, &forms, &[values(140, 64), values(140, 64)]);
}

/// A convolution's gradients, with an addend and without, and addends alone.
pub fn sums() {
    let (window, groups) = (Window::square(3, 2).padded(1), 1);
    let sum = |terms: &[Product], add| Sum { terms: terms.to_vec(), add, cut: 12 };
    let wire = |shape| Form::new(shape, 32);
    let dx = sum(&[Product::ConvDx { window, groups, input: [1, 5] }], 1);
    let forms = [wire([2, 2, 1, 3]), wire([2, 1, 3, 3]), wire([2, 1, 1, 5])];
    run::<u32, _>(&dx, &forms, &[values(12, 32), values(18, 32), values(10, 32)]);
    let dw = sum(&[Product::ConvDw { window, groups }], 0);
    run::<u32, _>(&dw, &[wire([1, 2, 1, 3]), wire([1, 1, 1, 5])], &[values(6, 32), values(5, 32)]);
    run::<u32, _>(&sum(&[], 2), &[wire([2, 1, 1, 5]), wire([2, 1, 1, 5])], &[values(10, 32), values(10, 32)]);
}
