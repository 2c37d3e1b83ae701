//! One test body for every gate: deal, evaluate on two threads, compare with the ideal functionality, with the bill,
//! with the bytes in the store; for all images that were dealt and for some in the middle.

use super::{Cost, Gate};
use crate::channel::pair;
use crate::prg::{KeySetId, Origin, Streams};
use crate::session::{Early, Outlet, Prepared, Setup};
use crate::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

/// Name of its gate, both parties' bytes.
type Tile = (&'static str, [Arc<Vec<u8>>; 2]);

/// Tiles in memory, by place; what a store on disk does.
#[derive(Default, Clone)]
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

/// Runs `gate` on `x` (one vector per operand, all images) dealt at once, for `images` of them.
/// Operands flagged in `weight` have no batch axis: they serve every image.
pub fn run<R: Ring, G: Gate>(
    gate: &G,
    operands: &[(Form, bool)],
    x: &[Vec<R>],
    images: Range<usize>,
    entropy: u64,
) -> Outcome<R> {
    let dev = Cpu::<R>::new();
    let seed = |b: u64| Seed::new(*blake3::hash(&(entropy * 2 + b).to_le_bytes()).as_bytes());
    let (seeds, origin) = ([seed(0), seed(1)], Origin { set: SET, segment: 0 });
    let dealt = operands.iter().find(|o| !o.1).map_or(1, |o| o.0.shape.batch());

    // operand masks: one fresh mask each, as if other gates had produced them
    let mut memory = Memory::default();
    let mut deal = Deal::new(dev, seeds.clone(), origin, dealt, &mut memory);
    let masks: Vec<Mask<Cpu<R>>> = operands
        .iter()
        .map(|(form, _)| {
            let m = deal.fresh(0, form);
            deal.next_gate();
            m
        })
        .collect();
    let out_mask = gate.deal(&mut deal, &masks.iter().collect::<Vec<_>>()).unwrap();
    let forms: Vec<&Form> = operands.iter().map(|o| &o.0).collect();
    assert_eq!(*out_mask.form(), gate.output(R::BITS, &forms).unwrap(), "mask's form");
    stored_as_billed(&mut memory, &gate.cost(R::BITS, &forms).unwrap(), operands.len() as u32);
    assert!(memory.tiles.values().all(|t| t.0 == G::NAME), "tiles carry the name that plans give the gate");

    // operands as the parties of this run see them
    let rows: Vec<Range<usize>> = operands
        .iter()
        .map(
            |(f, weight)| {
                if *weight { 0..f.len() } else { images.start * f.shape.row()..images.end * f.shape.row() }
            },
        )
        .collect();
    let run_forms: Vec<Form> = operands
        .iter()
        .map(|(f, weight)| match weight {
            true => f.clone(),
            false => {
                let mut s = f.shape.clone();
                s.0[0] = images.len();
                Form { shape: s, bits: f.bits }
            }
        })
        .collect();
    let (a, b) = pair();
    let sides: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = PartyId::BOTH
            .into_iter()
            .zip([a, b])
            .map(|(me, mut peer)| {
                let keys = Arc::new(Side(memory.clone(), me.index()));
                let seed = seeds[me.index()].clone();
                let values: Vec<Masked<Cpu<R>>> = (0..x.len())
                    .map(|i| {
                        let ones = R::ones(run_forms[i].bits);
                        let r = masks[i].sum(&dev);
                        let range = rows[i].clone();
                        let value = range.clone().map(|e| x[i][e].add(r[e]).and(ones)).collect();
                        Masked::new(run_forms[i].clone(), value, masks[i].shares[me.index()][range].to_vec())
                    })
                    .collect();
                let images = images.clone();
                let weights: Vec<bool> = operands.iter().map(|o| o.1).collect();
                scope.spawn(move || {
                    let setup = Setup {
                        me,
                        dev,
                        seed,
                        origin,
                        images,
                        peer: &mut peer,
                        keys,
                        clock: Arc::new(NoClock),
                    };
                    let mut s = Session::new(setup);
                    for _ in 0..values.len() {
                        s.end_gate();
                    }
                    s.record_coins();
                    // what is known before the input: the mask of the result, and part of the work
                    let early: Vec<Early<Cpu<R>>> = (0..values.len())
                        .map(|i| if weights[i] { Early::weight(&values[i]) } else { Early::of(&values[i]) })
                        .collect();
                    let early: Vec<_> = early.iter().collect();
                    let mask = gate.mask(&s.own(), &early).unwrap();
                    if let Some(k) =
                        gate.early(&s.own(), &early).unwrap().filter(|_| entropy.is_multiple_of(2))
                    {
                        let mut prepared = Prepared::new(dev, origin);
                        prepared.begin(s.own().images);
                        prepared.put(s.own().gate, k);
                        s.prepared(prepared);
                    }
                    s.begin_gate("test", G::NAME, Outlet::Open);
                    let share = gate.eval(&mut s, &values.iter().collect::<Vec<_>>()).unwrap();
                    let out = s.open(share).unwrap();
                    s.end_gate();
                    s.finish().unwrap();
                    assert_eq!(out.share, mask, "the mask share is the one that was announced");
                    (out, s.stats().last().cloned().unwrap(), s.take_coins())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let cost = gate.cost(R::BITS, &run_forms.iter().collect::<Vec<_>>()).unwrap();
    for (p, (_, stats, _)) in sides.iter().enumerate() {
        assert_eq!((stats.rounds, stats.bytes), (cost.rounds, cost.bytes), "rounds and bytes of P{p}");
        assert_eq!(
            (stats.comparisons, stats.opened),
            (cost.comparisons, cost.opened),
            "comparisons, openings of P{p}"
        );
        assert_eq!(stats.key_bits, cost.key_bits(p), "key bits of P{p}");
    }
    let (out0, out1) = (&sides[0].0, &sides[1].0);
    assert_eq!(out0.value, out1.value, "both hold the same masked value");
    let row = out_mask.form.shape.row();
    let ones = R::ones(out0.form.bits);
    let r = out_mask.sum(&dev)[images.start * row..images.end * row].to_vec();
    let shares: Vec<R> = out0.share.iter().zip(&out1.share).map(|(a, b)| a.add(*b).and(ones)).collect();
    assert_eq!(r, shares, "the parties' mask shares are the dealer's");
    let clear = out0.value.iter().zip(&r).map(|(v, r)| v.sub(*r).and(ones)).collect();
    let coins = sides[1].2.first().map(|c| c.1.clone());
    Outcome { clear, coins }
}

/// The store holds exactly the tiles that the bill announces.
fn stored_as_billed(memory: &mut Memory, cost: &Cost, gate: u32) {
    let mut left = memory.tiles.len();
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
    assert_eq!(left, 0, "tiles that no bill announced");
}

/// `run` for all images and for some in the middle, against the ideal with recorded coins; without them each rounding
/// is within one step.
pub fn check<R: Ring, G: Gate>(gate: &G, operands: &[(Form, bool)], x: &[Vec<R>], entropy: u64) {
    let dealt = operands.iter().find(|o| !o.1).map_or(1, |o| o.0.shape.batch());
    let middle = dealt / 3..dealt - dealt / 4;
    for images in [0..dealt, middle] {
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
        let floor = gate.ideal(&refs, &slices, None);
        let bits = gate.output(R::BITS, &refs).unwrap().bits;
        for (a, b) in got.clear.iter().zip(&floor) {
            assert!(
                [R::ZERO, R::ONE].contains(&a.sub(*b).and(R::ones(bits))),
                "within one step above the floor"
            );
        }
    }
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
