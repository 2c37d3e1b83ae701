//! One test body for every gate: deal, evaluate on two threads, compare with the ideal functionality, with the bill,
//! with the bytes in the store; for all images that were dealt and for some in the middle, on every kind of device.

pub mod program;

use super::{Cost, Gate};
use crate::channel::{Loopback, pair};
use crate::prg::{KeySetId, Origin, Streams};
use crate::session::{Early, GateStats, Outlet, Prepared, Setup, Upcoming};
use crate::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

/// Name of its gate, both parties' bytes.
type Tile = (&'static str, [Arc<Vec<u8>>; 2]);

/// Tiles in memory, by place; what a store on disk does.
#[derive(Default, Clone, PartialEq)]
pub struct Memory {
    tiles: HashMap<(Site, usize), Tile>,
    elements: HashMap<Site, usize>,
}

impl KeySink for Memory {
    fn put(&mut self, name: &'static str, at: Site, tile: usize, [a, b]: [Vec<u8>; 2]) -> Result<()> {
        assert!(self.tiles.insert((at, tile), (name, [Arc::new(a), Arc::new(b)])).is_none(), "dealt twice");
        Ok(())
    }
}

struct Side(Memory, usize);

impl KeySource for Side {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let (found, bytes) =
            self.0.tiles.get(&(at, tile)).ok_or_else(|| Error::Keys(format!("{at:?} {tile}")))?;
        assert_eq!(*found, name);
        Ok(bytes[self.1].clone())
    }
    fn elements(&self, at: Site) -> Result<usize> {
        self.0.elements.get(&at).copied().ok_or_else(|| Error::Keys(format!("{at:?}")))
    }
}

/// What a run of one gate gave.
pub struct Outcome<R> {
    /// The result in the clear, mod 2^bits.
    pub clear: Vec<R>,
    /// Coins that P1 recorded.
    pub coins: Option<Vec<u64>>,
}

const SET: KeySetId = KeySetId([3; 16]);

/// A gate's operands and keys, as the dealer left them.
struct Dealt<R> {
    seeds: [Seed; 2],
    tiles: Memory,
    /// Both parties' shares of the masks, operand by operand.
    masks: Vec<[Vec<R>; 2]>,
    /// The same of the result.
    out: (Form, [Vec<R>; 2]),
    /// Images that were dealt: one, with its batch inside, if all operands serve every image.
    images: usize,
}

const ORIGIN: Origin = Origin { set: SET, segment: 0 };

fn shares<B: Backend>(dev: &B, m: &Mask<B>) -> [Vec<B::Ring>; 2] {
    [0, 1].map(|p| dev.download(&m.shares[p]))
}

/// Deals a gate for operands with a fresh mask each, as if other gates had produced them.
fn deal<B: Backend, G: Gate>(dev: &B, gate: &G, operands: &[(Form, bool)], entropy: u64) -> Dealt<B::Ring> {
    let seed = |b: u64| Seed::new(*blake3::hash(&(entropy * 2 + b).to_le_bytes()).as_bytes());
    let seeds = [seed(0), seed(1)];
    let images = operands.iter().find(|o| !o.1).map_or(1, |o| o.0.shape.batch());
    let mut tiles = Memory::default();
    let mut deal = Deal::new(dev.clone(), seeds.clone(), ORIGIN, images, &mut tiles);
    let masks: Vec<Mask<B>> = operands
        .iter()
        .map(|(form, _)| {
            let m = deal.fresh(0, form);
            deal.next_gate();
            m
        })
        .collect();
    let out = gate.deal(&mut deal, &masks.iter().collect::<Vec<_>>()).unwrap();
    let forms: Vec<&Form> = operands.iter().map(|o| &o.0).collect();
    assert_eq!(*out.form(), gate.output(B::Ring::BITS, &forms).unwrap(), "mask's form");
    stored_as_billed(&mut tiles, &[gate.cost(B::Ring::BITS, &forms).unwrap()], operands.len());
    assert!(tiles.tiles.values().all(|t| t.0 == G::NAME), "tiles carry the name that plans give the gate");
    let masks = masks.iter().map(|m| shares(dev, m)).collect();
    Dealt { seeds, tiles, masks, out: (out.form().clone(), shares(dev, &out)), images }
}

/// One operand of a run: its form, whether it serves every image, the public value, both shares of its mask.
struct Operand<R> {
    form: Form,
    weight: bool,
    value: Vec<R>,
    shares: [Vec<R>; 2],
}

/// What a party had in the end.
struct Ended<R> {
    form: Form,
    value: Vec<R>,
    share: Vec<R>,
    stats: GateStats,
    coins: Vec<(u32, Vec<u64>)>,
}

/// One party's run on a device.
fn party<B: Backend, G: Gate>(
    dev: B,
    gate: &G,
    (me, mut peer): (PartyId, Loopback),
    (dealt, operands): (&Dealt<B::Ring>, &[Operand<B::Ring>]),
    (images, prepare): (Range<usize>, bool),
) -> Ended<B::Ring> {
    let wire = |o: &Operand<B::Ring>| {
        let (value, share) = (dev.upload(&o.value), dev.upload(&o.shares[me.index()]));
        Masked::new(o.form.clone(), value, share)
    };
    let values: Vec<Masked<B>> = operands.iter().map(wire).collect();
    let mut s = Session::new(Setup {
        me,
        dev: dev.clone(),
        seed: dealt.seeds[me.index()].clone(),
        origin: ORIGIN,
        images,
        peer: &mut peer,
        keys: Arc::new(Side(dealt.tiles.clone(), me.index())),
        clock: Arc::new(NoClock),
    });
    values.iter().for_each(|_| s.end_gate());
    s.record_coins();
    if prepare {
        let forms: Vec<&Form> = operands.iter().map(|o| &o.form).collect();
        let parts = gate.cost(B::Ring::BITS, &forms).unwrap().parts.into_iter().enumerate();
        let upcoming = |(part, p): (usize, Part)| Upcoming {
            site: Site { gate: operands.len() as u32, part: part as u32 },
            name: G::NAME,
            per_image: p.elements / s.batch(),
            fields: p.fields,
        };
        let parts = parts.map(upcoming).collect();
        s.foresee(|| Ok(parts)).unwrap();
    }
    // what is known before the input: the mask of the result, and part of the work
    let early = |(v, o): (_, &Operand<_>)| if o.weight { Early::weight(v) } else { Early::of(v) };
    let early: Vec<Early<B>> = values.iter().zip(operands).map(early).collect();
    let early: Vec<_> = early.iter().collect();
    let mask = dev.download(&gate.mask(&s.own(), &early).unwrap());
    if let Some(k) = gate.early(&s.own(), &early).unwrap().filter(|_| prepare) {
        let mut prepared = Prepared::new(dev.clone(), ORIGIN);
        prepared.begin(s.own().images);
        prepared.put(s.own().gate, k);
        s.prepared(prepared);
    }
    s.begin_gate("test", G::NAME, Outlet::Open);
    let share = gate.eval(&mut s, &values.iter().collect::<Vec<_>>()).unwrap();
    let out = s.open(share).unwrap();
    s.end_gate();
    s.finish().unwrap();
    let (value, share) = (dev.download(&out.value), dev.download(&out.share));
    dev.health().unwrap();
    assert_eq!(share, mask, "the mask share is the one that was announced");
    Ended { form: out.form, value, share, stats: s.stats().last().cloned().unwrap(), coins: s.take_coins() }
}

/// Runs `gate` on `x` (one vector per operand, all images) dealt at once, for `images` of them: dealer and parties on every
/// kind of device that is there, in all combinations, with the same tiles and the same result.
/// Operands flagged in `weight` have no batch axis: they serve every image.
pub fn run<R: Ring, G: Gate>(
    gate: &G,
    operands: &[(Form, bool)],
    x: &[Vec<R>],
    images: Range<usize>,
    entropy: u64,
) -> Outcome<R> {
    let cpu = Cpu::<R>::new();
    let dealt = deal(&cpu, gate, operands, entropy);
    let here = |(i, (form, weight)): (usize, &(Form, bool))| {
        let (row, ones) = (form.shape.row(), R::ones(form.bits));
        let range = if *weight { 0..form.len() } else { images.start * row..images.end * row };
        let [a, b] = [0, 1].map(|p| dealt.masks[i][p][range.clone()].to_vec());
        let value =
            a.iter().zip(&b).zip(&x[i][range]).map(|((a, b), x)| x.add(a.add(*b)).and(ones)).collect();
        let mut form = form.clone();
        if !weight {
            form.shape.0[0] = images.len();
        }
        Operand { form, weight: *weight, value, shares: [a, b] }
    };
    let operands_here: Vec<Operand<R>> = operands.iter().enumerate().map(here).collect();
    let (scene, of) = ((&dealt, &operands_here[..]), (images, entropy.is_multiple_of(2)));
    let outcome = finish(gate, scene, &of.0, play([&cpu, &cpu], gate, scene, &of));
    #[cfg(feature = "cuda")]
    if let Some(gpu) = backend::cuda::tests::gpu::<R>() {
        let again = deal(&gpu, gate, operands, entropy);
        assert!(again.tiles == dealt.tiles, "both dealers write the same tiles");
        assert!(again.masks == dealt.masks && again.out == dealt.out, "and draw the same masks");
        let both = [
            play([&gpu, &gpu], gate, scene, &of),
            play([&cpu, &gpu], gate, scene, &of),
            play([&gpu, &cpu], gate, scene, &of),
        ];
        for ended in both {
            assert!(finish(gate, scene, &of.0, ended).clear == outcome.clear, "devices agree");
        }
    }
    outcome
}

/// A party on some device, as a thread runs it.
trait Player<R: Ring, G: Gate>: Sync {
    fn party(
        &self,
        gate: &G,
        at: (PartyId, Loopback),
        scene: (&Dealt<R>, &[Operand<R>]),
        of: (Range<usize>, bool),
    ) -> Ended<R>;
}

impl<B: Backend, G: Gate> Player<B::Ring, G> for B {
    fn party(
        &self,
        gate: &G,
        at: (PartyId, Loopback),
        scene: (&Dealt<B::Ring>, &[Operand<B::Ring>]),
        of: (Range<usize>, bool),
    ) -> Ended<B::Ring> {
        party(self.clone(), gate, at, scene, of)
    }
}

fn play<R: Ring, G: Gate>(
    players: [&dyn Player<R, G>; 2],
    gate: &G,
    scene: (&Dealt<R>, &[Operand<R>]),
    of: &(Range<usize>, bool),
) -> [Ended<R>; 2] {
    let (a, b) = pair();
    thread::scope(|scope| {
        let start = |(me, peer): (PartyId, Loopback)| {
            let player = players[me.index()];
            scope.spawn(move || player.party(gate, (me, peer), scene, of.clone()))
        };
        [(PartyId::P0, a), (PartyId::P1, b)].map(start).map(|t| t.join().unwrap())
    })
}

/// Counters against the bill, shares against the dealer's, the result in the clear.
fn finish<R: Ring, G: Gate>(
    gate: &G,
    (dealt, operands): (&Dealt<R>, &[Operand<R>]),
    images: &Range<usize>,
    ended: [Ended<R>; 2],
) -> Outcome<R> {
    let forms: Vec<&Form> = operands.iter().map(|o| &o.form).collect();
    let cost = gate.cost(R::BITS, &forms).unwrap();
    ended.iter().enumerate().for_each(|(p, ended)| counted_as_billed(p, &ended.stats, &cost));
    let [out0, out1] = ended;
    assert_eq!(out0.value, out1.value, "both hold the same masked value");
    let (row, ones) = (dealt.out.0.len() / dealt.images, R::ones(out0.form.bits));
    let sum = |(a, b): (&R, &R)| a.add(*b).and(ones);
    let [r0, r1] = [0, 1].map(|p| &dealt.out.1[p][images.start * row..images.end * row]);
    let r: Vec<R> = r0.iter().zip(r1).map(sum).collect();
    let held: Vec<R> = out0.share.iter().zip(&out1.share).map(sum).collect();
    assert_eq!(r, held, "the parties' mask shares are the dealer's");
    let clear = out0.value.iter().zip(&r).map(|(v, r)| v.sub(*r).and(ones)).collect();
    Outcome { clear, coins: out1.coins.first().map(|c| c.1.clone()) }
}

/// A party's counters are those that the bill announces.
fn counted_as_billed(p: usize, stats: &GateStats, cost: &Cost) {
    assert_eq!((stats.rounds, stats.bytes), (cost.rounds, cost.bytes), "rounds and bytes of P{p}");
    assert_eq!(
        (stats.comparisons, stats.opened),
        (cost.comparisons, cost.opened),
        "comparisons, openings of P{p}"
    );
    assert_eq!(stats.key_bits, cost.key_bits(p), "key bits of P{p}");
}

/// The store holds exactly the tiles that the bills of the gates from `first` on announce.
fn stored_as_billed(memory: &mut Memory, costs: &[Cost], first: usize) {
    let mut left = memory.tiles.len();
    for (gate, cost) in (first as u32..).zip(costs) {
        for (part, layout) in cost.parts.iter().enumerate() {
            let site = Site { gate, part: part as u32 };
            memory.elements.insert(site, layout.elements);
            for tile in 0..layout.tiles() {
                let bytes = &memory.tiles[&(site, tile)].1;
                for p in [0, 1] {
                    assert_eq!(bytes[p].len(), layout.tile_bytes(p, layout.tile_len(tile)), "tile of P{p}");
                }
                left -= 1;
            }
        }
    }
    assert_eq!(left, 0, "tiles that no bill announced");
}

/// [`exact`], and within one step of the ideal without coins.
pub fn check<R: Ring, G: Gate>(gate: &G, operands: &[(Form, bool)], x: &[Vec<R>], entropy: u64) {
    let forms: Vec<&Form> = operands.iter().map(|o| &o.0).collect();
    let bits = gate.output(R::BITS, &forms).unwrap().bits;
    for (got, floor) in exact(gate, operands, x, entropy) {
        for (a, b) in got.iter().zip(&floor) {
            assert!(
                [R::ZERO, R::ONE].contains(&a.sub(*b).and(R::ones(bits))),
                "within one step above the floor"
            );
        }
    }
}

/// `run` for all images and for some in the middle, against the ideal with recorded coins: both results, each with the
/// ideal's without coins.
pub fn exact<R: Ring, G: Gate>(
    gate: &G,
    operands: &[(Form, bool)],
    x: &[Vec<R>],
    entropy: u64,
) -> [(Vec<R>, Vec<R>); 2] {
    let dealt = operands.iter().find(|o| !o.1).map_or(1, |o| o.0.shape.batch());
    let middle = dealt / 3..dealt - dealt / 4;
    [0..dealt, middle].map(|images| {
        let got = run(gate, operands, x, images.clone(), entropy);
        let of = |i: usize| {
            let (f, weight) = &operands[i];
            let row = f.shape.row();
            if *weight { x[i].clone() } else { x[i][images.start * row..images.end * row].to_vec() }
        };
        let values: Vec<Vec<R>> = (0..x.len()).map(of).collect();
        let forms: Vec<Form> = operands
            .iter()
            .map(|(f, weight)| {
                let mut f = f.clone();
                if !weight {
                    f.shape.0[0] = images.len();
                }
                f
            })
            .collect();
        let (refs, slices): (Vec<&Form>, Vec<&[R]>) =
            (forms.iter().collect(), values.iter().map(|v| &v[..]).collect());
        let want = gate.ideal(&refs, &slices, got.coins.as_deref());
        assert_eq!(got.clear.len(), want.len());
        let bad = got.clear.iter().zip(&want).filter(|(a, b)| a != b).count();
        assert_eq!(bad, 0, "{} of {} of {} differ", bad, want.len(), G::NAME);
        (got.clear, gate.ideal(&refs, &slices, None))
    })
}

/// Ring elements whose signed value lies in `-limit..=limit`: random ones, small ones, and the ends.
pub fn values<R: Ring>(len: usize, limit: i64, bits: u32, entropy: u64) -> Vec<R> {
    let seed = Seed::new(*blake3::hash(&entropy.to_le_bytes()).as_bytes());
    let at = Site { gate: 0, part: 0 };
    let bytes = Streams::new(&seed, Origin { set: SET, segment: 9 }, at).field(0).bytes(0, len * 16);
    let special =
        [0, 1, -1, limit, -limit, limit - 1, 1 - limit, limit / 2, -limit / 2, 4095, 4096, -4096, -4097];
    let value = |c: &[u8]| {
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| c[i + j]));
        let (v, kind) = ((word(0) >> 1) as i64, word(8));
        match kind % 4 {
            0 => special[kind as usize / 4 % special.len()].clamp(-limit, limit),
            1 => v % 10_000i64.min(limit) * if kind & 16 == 0 { 1 } else { -1 },
            _ => ((v as i128 - (1 << 62)) * 2 % (limit as i128 + 1)) as i64,
        }
    };
    bytes.chunks_exact(16).map(|c| R::from_i64(value(c)).and(R::ones(bits))).collect()
}
