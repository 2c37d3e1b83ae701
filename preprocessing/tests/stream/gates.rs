//! Steps of real gates, dealt and run through a stream: the same bits as with keys in memory.

use crate::released::released;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use twoply_preprocessing::{GateLayout, Layout, StepLayout, StreamReader, StreamWriter};
use twoply_primitives::backend::Packet;
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::compare::Scheme;
use twoply_primitives::deal::FRESH;
use twoply_primitives::gate::{Kind, Mul, Relu, Select, Sign};
use twoply_primitives::prg::Streams;
use twoply_primitives::session::{Outlet, Setup};
use twoply_primitives::*;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const SET: KeySetId = KeySetId([9; 16]);
const BATCH: usize = 4;
const ROW: usize = 5000;
const STEPS: u32 = 3;

const MUL: Mul = Mul { cut: 0 };

type Dev = Cpu<u32>;

/// What one step computes, the batch inside one image: ReLU with digits, the sign by a point function (of which P0 stores
/// words too), a choice by it, a product with a word per element.
struct Step {
    relu: Relu,
    sign: Sign,
    select: Select,
}

/// Gates before the first one: the operands' masks.
const OPERANDS: usize = 2;

fn narrow() -> Form {
    Form::new([BATCH, ROW], 16)
}

impl Step {
    fn new() -> Step {
        Step {
            relu: Relu { scheme: Scheme::Digits, shift: 0, out: 32 },
            sign: Sign { scheme: Scheme::Dpf },
            select: Select { lift: Kind::Signed, out: 32 },
        }
    }

    fn layout(&self) -> Layout {
        let (x, full) = (narrow(), Form::new([BATCH, ROW], 32));
        let bit = Form::new([BATCH, ROW], 1);
        let costs = [
            (Relu::NAME, self.relu.cost(32, &[&x]).unwrap()),
            (Sign::NAME, self.sign.cost(32, &x).unwrap()),
            (Select::NAME, self.select.cost(32, &bit, &x).unwrap()),
            (Mul::NAME, MUL.cost(32, &[&full, &full]).unwrap()),
        ];
        let gate = |(name, parts): (&str, Vec<Part>)| GateLayout { name: name.into(), parts };
        let operands = (0..OPERANDS).map(|_| ("operand", vec![]));
        Layout { gates: operands.chain(costs.map(|(name, c)| (name, c.parts))).map(gate).collect() }
    }

    fn deal(&self, origin: Origin, sink: &mut dyn KeySink) -> Result<()> {
        let mut d = Deal::new(Dev::new(), seeds(origin), origin, 1, sink);
        let operand = |d: &mut Deal<Dev>| {
            let mask = d.fresh(0, &narrow());
            d.next_gate();
            mask
        };
        let (x, g) = (operand(&mut d), operand(&mut d));
        let y = self.relu.deal(&mut d, &[&x])?;
        d.next_gate();
        let bit = self.sign.deal(&mut d, &x)?;
        d.next_gate();
        let chosen = self.select.deal(&mut d, &bit, &g)?;
        d.next_gate();
        MUL.deal(&mut d, &[&y, &chosen]).map(|_| ())
    }

    /// What the party gives its owner, and the transcript of all it opened.
    fn run(&self, me: PartyId, origin: Origin, keys: Arc<dyn KeySource>, mut peer: Loopback) -> Result<Run> {
        let seed = seeds(origin)[me.index()].clone();
        let dev = Dev::new();
        let mut s = Session::new(Setup {
            me,
            dev,
            seed,
            origin,
            images: 0..1,
            peer: &mut peer,
            keys,
            clock: Arc::new(NoClock),
        });
        let [x, g] = [0, 1].map(|gate| {
            s.end_gate();
            operand(me, origin, gate)
        });
        s.begin_gate("step", Relu::NAME, Outlet::Open);
        let y = self.relu.eval(&mut s, &[&x])?;
        let y = s.open(y)?;
        s.end_gate();
        s.begin_gate("step", Sign::NAME, Outlet::Open);
        let bit = self.sign.eval(&mut s, &x)?;
        s.end_gate();
        s.begin_gate("step", Select::NAME, Outlet::Open);
        let chosen = self.select.eval(&mut s, &bit, &g)?;
        let chosen = s.open(chosen)?;
        s.end_gate();
        s.begin_gate("step", Mul::NAME, Outlet::Open);
        let product = MUL.eval(&mut s, &[&y, &chosen])?;
        let product = s.open(product)?;
        s.end_gate();
        s.finish()?;
        let transcript = s.transcript();
        Ok(Run { given: s.deliver(product)?, transcript })
    }
}

#[derive(PartialEq, Debug)]
struct Run {
    given: Vec<u8>,
    transcript: [u8; 32],
}

fn seeds(origin: Origin) -> [Seed; 2] {
    [0, 1].map(|p| Seed::new(*blake3::hash(&[p, origin.segment as u8]).as_bytes()))
}

/// The operand's value in the clear.
fn clear(origin: Origin, gate: u32) -> Vec<u32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 19) + gate + origin.segment;
    (0..(BATCH * ROW) as u32).map(|i| value(i).wrapping_sub(1 << 12)).collect()
}

/// An operand as `me` holds it, under the mask that the deal draws at gate `gate`.
fn operand(me: PartyId, origin: Origin, gate: u32) -> Masked<Dev> {
    let (dev, form) = (Dev::new(), narrow());
    let share = |s: &Seed| -> Vec<u32> {
        Streams::new(s, origin, Site { gate, part: 0 }).field(FRESH).words(0, form.len(), form.bits)
    };
    let [a, b] = seeds(origin).each_ref().map(share);
    let hidden = clear(origin, gate).into_iter().zip(a.iter().zip(&b));
    let hidden = hidden.map(|(x, (a, b))| x.wrapping_add(*a).wrapping_add(*b) & 0xffff).collect();
    let packed = dev.pack(&hidden, form.bits).wait().unwrap();
    Masked::from_owner(&dev, &form, &packed, if me.is_p0() { a } else { b }).unwrap()
}

/// Tiles in memory.
#[derive(Default)]
struct Memory(HashMap<(Site, usize), [Vec<u8>; 2]>);

impl KeySink for Memory {
    fn put(&mut self, _: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        self.0.insert((at, tile), bytes);
        Ok(())
    }
}

struct Half(Arc<Memory>, PartyId);

impl KeySource for Half {
    fn tile(&self, _: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        Ok(Arc::new(self.0.0[&(at, tile)][self.1.index()].clone()))
    }
    fn elements(&self, _: Site) -> Result<usize> {
        Ok(BATCH * ROW)
    }
}

/// A role as a process of its own would be: a tile that is waited for keeps a thread of its pool.
fn role<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(work)
}

fn from_memory(step: &Step, origin: Origin) -> [Run; 2] {
    let mut keys = Memory::default();
    step.deal(origin, &mut keys).unwrap();
    let (keys, (a, b)) = (Arc::new(keys), pair());
    thread::scope(|scope| {
        let party = |me, peer| {
            let keys = Arc::new(Half(keys.clone(), me));
            scope.spawn(move || step.run(me, origin, keys, peer).unwrap())
        };
        [party(PartyId::P0, a), party(PartyId::P1, b)].map(|p| p.join().unwrap())
    })
}

#[test]
fn steps_through_a_stream_give_the_same_bits_as_with_keys_in_memory() {
    let step = Step::new();
    let layout = Arc::new(StepLayout::new(&step.layout()).unwrap());
    let origins = (0..STEPS).map(|segment| Origin { set: SET, segment });
    let wanted: Vec<[Run; 2]> = origins.map(|origin| from_memory(&step, origin)).collect();
    // a frame at a time, and the dealer two steps ahead
    for ahead in [0, 2] {
        let ((a, p0), (b, p1)) = (pair(), pair());
        let (step, layout) = (&step, &layout);
        let [p0, p1] = thread::scope(|scope| {
            scope.spawn(move || {
                let mut writer = StreamWriter::new(SET, [Box::new(a), Box::new(b)]);
                role(|| {
                    for step_of in released(SET, STEPS) {
                        let mut feeder = writer.step(step_of, layout).unwrap();
                        step.deal(feeder.origin(), &mut feeder).unwrap();
                        feeder.finish().unwrap();
                    }
                });
                writer.finish().unwrap();
            });
            let party = |me: PartyId, dealer: Loopback, mut peers: Vec<Loopback>| {
                scope.spawn(move || {
                    let credit = layout.longest(me) + ahead * layout.bytes(me);
                    let mut reader =
                        StreamReader::start(Box::new(dealer), SET, me, credit, PATIENCE).unwrap();
                    let mut runs = vec![];
                    role(|| {
                        for peer in peers.drain(..) {
                            let feed = Arc::new(reader.step(layout).unwrap());
                            runs.push(step.run(me, feed.origin(), feed.clone(), peer).unwrap());
                            feed.finish().unwrap();
                        }
                    });
                    assert!(reader.most() <= credit);
                    reader.finish().unwrap();
                    runs
                })
            };
            let (peers0, peers1) = (0..STEPS).map(|_| pair()).unzip();
            [party(PartyId::P0, p0, peers0), party(PartyId::P1, p1, peers1)].map(|p| p.join().unwrap())
        });
        for (segment, ([a, b], (p0, p1))) in (0..).zip(wanted.iter().zip(p0.iter().zip(&p1))) {
            assert_eq!((a, b), (p0, p1));
            assert_eq!(p0.transcript, p1.transcript);
            let product = owner::join::<u32>([&p0.given, &p1.given], BATCH * ROW, 32).unwrap();
            assert_eq!(product, ideal(segment), "and right they are");
        }
    }
}

/// `max(x, 0) * [x >= 0] g`.
fn ideal(segment: u32) -> Vec<u32> {
    let origin = Origin { set: SET, segment };
    let (x, g) = (clear(origin, 0), clear(origin, 1));
    x.iter().zip(g).map(|(x, g)| if (*x as i32) < 0 { 0 } else { x.wrapping_mul(g) }).collect()
}
