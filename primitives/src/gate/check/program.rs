//! `check` for gates in a row, which may keep bits and use them again: a program is written once and read on forms, by the
//! dealer, by both parties, and on clear values by the gates' ideals.

use super::{Memory, ORIGIN, Side, counted_as_billed, shares, stored_as_billed};
use crate::channel::{Loopback, pair};
use crate::gate::{Cost, Select, Sign};
use crate::session::{GateStats, Outlet, Setup, Upcoming};
use crate::*;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

/// What can run a program.
pub trait Engine {
    type Wire: Clone;
    type Bit: Clone;
    fn sign(&mut self, g: &Sign, x: &Self::Wire) -> Result<Self::Bit>;
    fn select(&mut self, g: &Select, bit: &Self::Bit, x: &Self::Wire) -> Result<Self::Wire>;
    fn local(&mut self, f: &Local, x: &[&Self::Wire]) -> Result<Self::Wire>;
    /// The bit with other extents per image.
    fn reshape(&mut self, bit: &Self::Bit, row: &[usize]) -> Result<Self::Bit>;
    /// The bit as a wire of one bit: what is opened is its value, `rho` its mask.
    fn wire(&mut self, bit: &Self::Bit) -> Self::Wire;
}

/// Some gates on some operands.
pub trait Program: Sync {
    fn run<E: Engine>(&self, e: &mut E, x: &[E::Wire]) -> Result<Vec<E::Wire>>;
}

/// Reads bills.
#[derive(Default)]
struct Planner {
    n: u32,
    gates: Vec<(&'static str, Cost)>,
}

impl Engine for Planner {
    type Wire = Form;
    type Bit = Form;

    fn sign(&mut self, g: &Sign, x: &Form) -> Result<Form> {
        self.gates.push((Sign::NAME, g.cost(self.n, x)?));
        g.output(self.n, x)
    }
    fn select(&mut self, g: &Select, bit: &Form, x: &Form) -> Result<Form> {
        self.gates.push((Select::NAME, g.cost(self.n, bit, x)?));
        g.output(self.n, bit, x)
    }
    fn local(&mut self, f: &Local, x: &[&Form]) -> Result<Form> {
        f.output(x)
    }
    fn reshape(&mut self, bit: &Form, row: &[usize]) -> Result<Form> {
        Ok(Form { shape: bit.shape.with_row(row), ..bit.clone() })
    }
    fn wire(&mut self, bit: &Form) -> Form {
        bit.clone()
    }
}

impl<B: Backend> Engine for Deal<'_, B> {
    type Wire = Mask<B>;
    type Bit = BitMask<B>;

    fn sign(&mut self, g: &Sign, x: &Mask<B>) -> Result<BitMask<B>> {
        let bit = g.deal(self, x);
        self.next_gate();
        bit
    }
    fn select(&mut self, g: &Select, bit: &BitMask<B>, x: &Mask<B>) -> Result<Mask<B>> {
        let out = g.deal(self, bit, x);
        self.next_gate();
        out
    }
    fn local(&mut self, f: &Local, x: &[&Mask<B>]) -> Result<Mask<B>> {
        Mask::local(&self.dev, f, x)
    }
    fn reshape(&mut self, bit: &BitMask<B>, row: &[usize]) -> Result<BitMask<B>> {
        bit.reshape(bit.form.shape.with_row(row))
    }
    fn wire(&mut self, bit: &BitMask<B>) -> Mask<B> {
        let zero = self.dev.upload(&vec![B::Ring::ZERO; bit.form.len()]);
        Mask { form: bit.form.clone(), shares: [B::Buf::clone(&bit.rho), zero] }
    }
}

impl<B: Backend> Engine for Session<'_, B> {
    type Wire = Masked<B>;
    type Bit = MaskedBit<B>;

    fn sign(&mut self, g: &Sign, x: &Masked<B>) -> Result<MaskedBit<B>> {
        self.begin_gate("test", Sign::NAME, Outlet::Open);
        let bit = g.eval(self, x);
        self.end_gate();
        bit
    }
    fn select(&mut self, g: &Select, bit: &MaskedBit<B>, x: &Masked<B>) -> Result<Masked<B>> {
        self.begin_gate("test", Select::NAME, Outlet::Open);
        let share = g.eval(self, bit, x)?;
        let out = self.open(share);
        self.end_gate();
        out
    }
    fn local(&mut self, f: &Local, x: &[&Masked<B>]) -> Result<Masked<B>> {
        Masked::local(&self.dev, f, x)
    }
    fn reshape(&mut self, bit: &MaskedBit<B>, row: &[usize]) -> Result<MaskedBit<B>> {
        bit.reshape(bit.form.shape.with_row(row))
    }
    fn wire(&mut self, bit: &MaskedBit<B>) -> Masked<B> {
        let opened = bit.opened.iter().map(|(_, bits)| self.dev.of_bits(bits)).collect();
        let share = self.dev.lin(&[(B::Ring::ONE, &*bit.share)], 1);
        Masked::new(bit.form.clone(), self.dev.concat(opened), share)
    }
}

/// Clear values.
struct Clear<R>(Cpu<R>);

impl<R: Ring> Engine for Clear<R> {
    type Wire = (Form, Vec<R>);
    type Bit = (Form, Vec<R>);

    fn sign(&mut self, g: &Sign, x: &Self::Wire) -> Result<Self::Bit> {
        Ok((g.output(R::BITS, &x.0)?, g.ideal(&x.0, &x.1)))
    }
    fn select(&mut self, g: &Select, bit: &Self::Bit, x: &Self::Wire) -> Result<Self::Wire> {
        Ok((g.output(R::BITS, &bit.0, &x.0)?, g.ideal(&x.0, &bit.1, &x.1)))
    }
    fn local(&mut self, f: &Local, x: &[&Self::Wire]) -> Result<Self::Wire> {
        let (forms, values): (Vec<&Form>, Vec<&Vec<R>>) = x.iter().map(|x| (&x.0, &x.1)).unzip();
        let form = f.output(&forms)?;
        let value = self.0.local(f, &form, &forms, &values);
        Ok((form, value))
    }
    fn reshape(&mut self, bit: &Self::Bit, row: &[usize]) -> Result<Self::Bit> {
        Ok((Form { shape: bit.0.shape.with_row(row), ..bit.0.clone() }, bit.1.clone()))
    }
    fn wire(&mut self, bit: &Self::Bit) -> Self::Wire {
        bit.clone()
    }
}

/// How many images are dealt, and which of them run. Of one image alone axis 0 is the batch inside it.
#[derive(Clone)]
pub struct Images {
    pub dealt: usize,
    pub run: Range<usize>,
}

impl Images {
    /// What of a wire runs.
    fn of(&self, form: &Form) -> (Form, Range<usize>) {
        let (each, mut form) = (form.len() / self.dealt, form.clone());
        form.shape.0[0] = form.shape.0[0] / self.dealt * self.run.len();
        (form, self.run.start * each..self.run.end * each)
    }
}

/// A program's keys as the dealer left them.
struct Dealt<R> {
    seeds: [Seed; 2],
    tiles: Memory,
    /// Both parties' shares of the operands' masks.
    masks: Vec<[Vec<R>; 2]>,
    /// The same of the results.
    out: Vec<(Form, [Vec<R>; 2])>,
}

fn deal<B: Backend, P: Program>(
    dev: &B,
    program: &P,
    operands: &[Form],
    images: usize,
    entropy: u64,
) -> Dealt<B::Ring> {
    let seeds =
        [0, 1].map(|b| Seed::new(*blake3::hash(&[entropy, b].map(u64::to_le_bytes).concat()).as_bytes()));
    let mut tiles = Memory::default();
    let mut d = Deal::new(dev.clone(), seeds.clone(), ORIGIN, images, &mut tiles);
    let draw = |form| {
        let mask = d.fresh(0, form);
        d.next_gate();
        mask
    };
    let masks: Vec<Mask<B>> = operands.iter().map(draw).collect();
    let out = program.run(&mut d, &masks).unwrap();
    let (gates, forms) = bills(program, B::Ring::BITS, operands);
    assert_eq!(out.iter().map(|m| m.form().clone()).collect::<Vec<_>>(), forms, "masks' forms");
    stored_as_billed(&mut tiles, &gates.iter().map(|g| g.1.clone()).collect::<Vec<_>>(), operands.len());
    let name = |site: &Site| gates[site.gate as usize - operands.len()].0;
    assert!(tiles.tiles.iter().all(|(at, t)| t.0 == name(&at.0)), "tiles carry the names of their gates");
    let out = out.iter().map(|m| (m.form().clone(), shares(dev, m))).collect();
    Dealt { seeds, tiles, masks: masks.iter().map(|m| shares(dev, m)).collect(), out }
}

/// Names and bills of all gates, and the results' forms.
fn bills<P: Program>(program: &P, n: u32, operands: &[Form]) -> (Vec<(&'static str, Cost)>, Vec<Form>) {
    let mut planner = Planner { n, ..Planner::default() };
    let forms = program.run(&mut planner, operands).unwrap();
    (planner.gates, forms)
}

/// One operand of a run: its form, the public value, both shares of its mask.
struct Operand<R> {
    form: Form,
    value: Vec<R>,
    shares: [Vec<R>; 2],
}

/// What is run.
struct Scene<'a, R, P> {
    program: &'a P,
    dealt: Dealt<R>,
    operands: Vec<Operand<R>>,
    images: Range<usize>,
    /// Whether the keys are foreseen.
    ahead: bool,
}

/// What a party had in the end.
struct Ended<R> {
    /// Form, value, share of the mask.
    out: Vec<(Form, [Vec<R>; 2])>,
    stats: Vec<GateStats>,
}

fn party<B: Backend, P: Program>(
    dev: &B,
    (me, mut peer): (PartyId, Loopback),
    scene: &Scene<B::Ring, P>,
) -> Ended<B::Ring> {
    let wire = |o: &Operand<B::Ring>| {
        Masked::new(o.form.clone(), dev.upload(&o.value), dev.upload(&o.shares[me.index()]))
    };
    let x: Vec<Masked<B>> = scene.operands.iter().map(wire).collect();
    let mut s = Session::new(Setup {
        me,
        dev: dev.clone(),
        seed: scene.dealt.seeds[me.index()].clone(),
        origin: ORIGIN,
        images: scene.images.clone(),
        peer: &mut peer,
        keys: Arc::new(Side(scene.dealt.tiles.clone(), me.index())),
        clock: Arc::new(NoClock),
    });
    x.iter().for_each(|_| s.end_gate());
    if scene.ahead {
        let forms: Vec<Form> = scene.operands.iter().map(|o| o.form.clone()).collect();
        let (gates, images) = (bills(scene.program, B::Ring::BITS, &forms).0, s.batch());
        let upcoming = |(gate, (name, cost)): (usize, &(&'static str, Cost))| Upcoming {
            site: Site { gate: (forms.len() + gate) as u32, part: 0 },
            name,
            per_image: cost.parts[0].elements / images,
            fields: cost.parts[0].fields.clone(),
        };
        s.foresee(|| Ok(gates.iter().enumerate().map(upcoming).collect())).unwrap();
    }
    let out = scene.program.run(&mut s, &x).unwrap();
    s.finish().unwrap();
    let stats = s.stats()[x.len()..].to_vec();
    let seen = |m: &Masked<B>| (m.form.clone(), [dev.download(&m.value), dev.download(&m.share)]);
    let out = out.iter().map(seen).collect();
    dev.health().unwrap();
    Ended { out, stats }
}

/// Both parties on threads: the results in the clear, after counters and masks were held against bills and the dealer.
fn play<A: Backend, B: Backend<Ring = A::Ring>, P: Program>(
    devs: (&A, &B),
    scene: &Scene<A::Ring, P>,
    images: &Images,
) -> Vec<Vec<A::Ring>> {
    let (a, b) = pair();
    let [p0, p1] = thread::scope(|scope| {
        let first = scope.spawn(|| party(devs.0, (PartyId::P0, a), scene));
        let second = scope.spawn(|| party(devs.1, (PartyId::P1, b), scene));
        [first.join().unwrap(), second.join().unwrap()]
    });
    let forms: Vec<Form> = scene.operands.iter().map(|o| o.form.clone()).collect();
    let (gates, forms) = bills(scene.program, A::Ring::BITS, &forms);
    for (p, ended) in [&p0, &p1].into_iter().enumerate() {
        assert_eq!(ended.stats.len(), gates.len());
        for (stats, (name, cost)) in ended.stats.iter().zip(&gates) {
            assert_eq!(stats.gate, *name);
            counted_as_billed(p, stats, cost);
        }
    }
    let one = |i: usize| {
        let ((form, [v0, s0]), (_, [v1, s1])) = (&p0.out[i], &p1.out[i]);
        assert_eq!((form, v0), (&forms[i], v1), "both hold the same masked value");
        let ones = A::Ring::ones(form.bits);
        let sum = |(a, b): (&A::Ring, &A::Ring)| a.add(*b).and(ones);
        let (dealt, [r0, r1]) = &scene.dealt.out[i];
        let here = images.of(dealt).1;
        let r: Vec<A::Ring> = r0[here.clone()].iter().zip(&r1[here]).map(sum).collect();
        assert_eq!(r, s0.iter().zip(s1).map(sum).collect::<Vec<_>>(), "mask shares are the dealer's");
        v0.iter().zip(&r).map(|(v, r)| v.sub(*r).and(ones)).collect()
    };
    (0..forms.len()).map(one).collect()
}

/// Runs `program` on `x` (one vector per operand, all images): dealer and parties on every kind of device that is there, in
/// all combinations, with the same tiles and the same results, which are returned in the clear.
pub fn run<R: Ring, P: Program>(
    program: &P,
    operands: &[Form],
    x: &[Vec<R>],
    images: &Images,
    entropy: u64,
) -> Vec<Vec<R>> {
    let cpu = Cpu::<R>::new();
    let dealt = deal(&cpu, program, operands, images.dealt, entropy);
    let here = |(i, form): (usize, &Form)| {
        let (form, range) = images.of(form);
        let [a, b] = [0, 1].map(|p| dealt.masks[i][p][range.clone()].to_vec());
        let hide = |((x, a), b): ((&R, &R), &R)| x.add(*a).add(*b).and(R::ones(form.bits));
        let value = x[i][range].iter().zip(&a).zip(&b).map(hide).collect();
        Operand { form, value, shares: [a, b] }
    };
    let operands_here = operands.iter().enumerate().map(here).collect();
    let (run, ahead) = (images.run.clone(), entropy.is_multiple_of(2));
    let scene = Scene { program, dealt, operands: operands_here, images: run, ahead };
    let clear = play((&cpu, &cpu), &scene, images);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = backend::cuda::tests::gpu::<R>() {
        let again = deal(&gpu, program, operands, images.dealt, entropy);
        assert!(again.tiles == scene.dealt.tiles, "both dealers write the same tiles");
        assert!(again.masks == scene.dealt.masks && again.out == scene.dealt.out, "and draw the same masks");
        assert!(play((&gpu, &gpu), &scene, images) == clear, "devices agree");
        assert!(play((&cpu, &gpu), &scene, images) == clear, "devices agree");
        assert!(play((&gpu, &cpu), &scene, images) == clear, "devices agree");
    }
    clear
}

/// `run` against the gates' ideals: all images, some in the middle, and everything as one image. Returns the results of the
/// last.
pub fn check<R: Ring, P: Program>(program: &P, operands: &[Form], x: &[Vec<R>], entropy: u64) -> Vec<Vec<R>> {
    let dealt = operands[0].shape.batch();
    let some = |run| Images { dealt, run };
    let mut last = vec![];
    for images in [some(0..dealt), some(dealt / 3..dealt - dealt / 4), Images { dealt: 1, run: 0..1 }] {
        let clear = |(form, x): (&Form, &Vec<R>)| {
            let (form, range) = images.of(form);
            (form, x[range].to_vec())
        };
        let values: Vec<_> = operands.iter().zip(x).map(clear).collect();
        let want = program.run(&mut Clear(Cpu::new()), &values).unwrap();
        last = run(program, operands, x, &images, entropy);
        for (i, (got, (_, want))) in last.iter().zip(&want).enumerate() {
            let bad = got.iter().zip(want).filter(|(a, b)| a != b).count();
            assert_eq!((got.len(), bad), (want.len(), 0), "{bad} of {} differ in result {i}", want.len());
        }
    }
    last
}
