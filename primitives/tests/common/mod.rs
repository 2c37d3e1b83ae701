//! What the tests of this folder share: tiles in memory, two parties on threads, wires whose masks the test knows.
#![allow(dead_code)] // every test binary uses its own part

pub mod bits;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use twoply_primitives::channel::{Recorded, Recording, pair};
use twoply_primitives::deal::FRESH;
use twoply_primitives::prg::Streams;
use twoply_primitives::session::{Outlet, Setup};
use twoply_primitives::*;

/// Key set and segment of every test.
pub const ORIGIN: Origin = Origin { set: KeySetId([0x51; 16]), segment: 2 };

/// Whether the full sizes are wanted: `TWOPLY_FULL=1`.
pub fn full() -> bool {
    std::env::var_os("TWOPLY_FULL").is_some_and(|v| v == "1")
}

/// `len` words that only depend on `entropy`.
pub fn random(entropy: u64, len: usize) -> Vec<u64> {
    let mut bytes = vec![0; len * 8];
    blake3::Hasher::new().update(b"values").update(&entropy.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(std::array::from_fn(|i| c[i]))).collect()
}

/// Both parties' seeds, from `entropy`.
pub fn seeds(entropy: u64) -> [Seed; 2] {
    [0u8, 1].map(|p| {
        Seed::new(*blake3::Hasher::new().update(&[p]).update(&entropy.to_le_bytes()).finalize().as_bytes())
    })
}

/// Name of the gate, and both parties' bytes.
type Tile = (&'static str, [Arc<Vec<u8>>; 2]);

/// Tiles in memory, by place; what a store on disk does.
#[derive(Default, Clone)]
pub struct Store {
    tiles: HashMap<(Site, usize), Tile>,
    elements: HashMap<Site, usize>,
}

impl KeySink for Store {
    fn put(&mut self, name: &'static str, at: Site, tile: usize, [a, b]: [Vec<u8>; 2]) -> Result<()> {
        assert!(self.tiles.insert((at, tile), (name, [Arc::new(a), Arc::new(b)])).is_none(), "dealt twice");
        Ok(())
    }
}

impl Store {
    /// Enters what a gate's bill announces, from which tile lengths follow.
    pub fn announce(&mut self, gate: u32, cost: &Cost) {
        for (part, layout) in cost.parts.iter().enumerate() {
            self.elements.insert(Site { gate, part: part as u32 }, layout.elements);
        }
    }
    /// One party's bytes of a tile.
    pub fn bytes(&self, at: Site, tile: usize, party: PartyId) -> &[u8] {
        &self.tiles[&(at, tile)].1[party.index()]
    }
    /// Replaces one party's bytes of a tile.
    pub fn replace(&mut self, at: Site, tile: usize, party: PartyId, bytes: Vec<u8>) {
        self.tiles.get_mut(&(at, tile)).expect("a dealt tile").1[party.index()] = Arc::new(bytes);
    }
    /// Places of all tiles, in order.
    pub fn places(&self) -> Vec<(Site, usize)> {
        let mut at: Vec<_> = self.tiles.keys().copied().collect();
        at.sort();
        at
    }
    /// What one party holds.
    pub fn side(&self, party: PartyId) -> Arc<dyn KeySource> {
        Arc::new(Side(self.clone(), party))
    }
}

struct Side(Store, PartyId);

impl KeySource for Side {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let (found, bytes) =
            self.0.tiles.get(&(at, tile)).ok_or_else(|| Error::Keys(format!("no {at:?} {tile}")))?;
        if *found != name {
            return Err(Error::PlanMismatch { at: at.gate, wanted: name.into(), found: (*found).into() });
        }
        Ok(bytes[self.1.index()].clone())
    }
    fn elements(&self, at: Site) -> Result<usize> {
        self.0.elements.get(&at).copied().ok_or_else(|| Error::Keys(format!("no {at:?}")))
    }
}

/// Runs `program` as both parties over a recorded loopback; each side's result and what passed, piece by piece.
pub fn parties<R: Ring, T: Send>(
    store: &Store,
    seeds: &[Seed; 2],
    images: usize,
    program: impl Fn(&mut Session<Cpu<R>>) -> Result<T> + Sync,
) -> [(Result<T>, Recording); 2] {
    let (a, b) = pair();
    let program = &program;
    thread::scope(|scope| {
        let sides = [(PartyId::P0, a), (PartyId::P1, b)].map(|(me, end)| {
            let (keys, seed) = (store.side(me), seeds[me.index()].clone());
            scope.spawn(move || {
                let mut peer = Recorded::new(end);
                let log = peer.log();
                let got = program(&mut session(me, seed, images, &mut peer, keys));
                let log = log.lock().unwrap().clone();
                (got, log)
            })
        });
        sides.map(|s| s.join().expect("no party may panic"))
    })
}

/// One party's session on `images` images.
pub fn session<R: Ring>(
    me: PartyId,
    seed: Seed,
    images: usize,
    peer: &mut dyn Channel,
    keys: Arc<dyn KeySource>,
) -> Session<'_, Cpu<R>> {
    let clock = Arc::new(NoClock);
    Session::new(Setup { me, dev: Cpu::new(), seed, origin: ORIGIN, images: 0..images, peer, keys, clock })
}

/// A wire whose mask the test knows: both parties' shares of it.
#[derive(Clone)]
pub struct Operand<R> {
    pub form: Form,
    pub shares: [Vec<R>; 2],
}

impl<R: Ring> Operand<R> {
    /// The mask that [`Deal::fresh`] draws at gate `gate`.
    pub fn fresh(seeds: &[Seed; 2], gate: u32, form: &Form) -> Self {
        let at = Site { gate, part: 0 };
        let share = |s: &Seed| Streams::new(s, ORIGIN, at).field(FRESH).words(0, form.len(), form.bits);
        Operand { form: form.clone(), shares: [share(&seeds[0]), share(&seeds[1])] }
    }
    /// The mask.
    pub fn mask(&self) -> Vec<R> {
        let ones = R::ones(self.form.bits);
        self.shares[0].iter().zip(&self.shares[1]).map(|(a, b)| a.add(*b).and(ones)).collect()
    }
    /// `x + r`.
    pub fn hide(&self, x: &[R]) -> Vec<R> {
        let ones = R::ones(self.form.bits);
        assert_eq!(x.len(), self.form.len());
        self.mask().iter().zip(x).map(|(r, x)| x.add(*r).and(ones)).collect()
    }
    /// The wire with masked values `value`, as party `me` holds it.
    pub fn wire(&self, me: PartyId, value: &[R]) -> Masked<Cpu<R>> {
        let dev = Cpu::new();
        let packed = dev.pack(&value.to_vec(), self.form.bits);
        Masked::from_owner(&dev, &self.form, &packed, self.shares[me.index()].clone()).expect("lengths fit")
    }
}

/// One gate, dealt.
pub struct Dealt<R> {
    pub store: Store,
    pub seeds: [Seed; 2],
    pub operands: Vec<Operand<R>>,
    /// The gate's number.
    pub gate: u32,
    pub cost: Cost,
}

/// What a run of one gate gave.
pub struct Played<R> {
    /// The result in the clear, mod 2^bits.
    pub clear: Vec<R>,
    /// What passed, per party, in pieces; the last is the transcript's hash.
    pub logs: [Recording; 2],
    pub transcript: [u8; 32],
}

/// Deals `gate` for operands under fresh masks, as if other gates had produced them.
pub fn deal<R: Ring, G: Gate>(gate: &G, forms: &[Form], entropy: u64) -> Dealt<R> {
    let (seeds, mut store) = (seeds(entropy), Store::default());
    let mut d = Deal::new(Cpu::<R>::new(), seeds.clone(), ORIGIN, forms[0].shape.batch(), &mut store);
    let draw = |form| {
        let mask = d.fresh(0, form);
        d.next_gate();
        mask
    };
    let masks: Vec<Mask<Cpu<R>>> = forms.iter().map(draw).collect();
    gate.deal(&mut d, &masks.iter().collect::<Vec<_>>()).unwrap();
    let operands = forms.iter().enumerate().map(|(i, f)| Operand::fresh(&seeds, i as u32, f)).collect();
    finish(gate, store, seeds, operands, forms.len() as u32)
}

fn finish<R: Ring, G: Gate>(
    gate: &G,
    mut store: Store,
    seeds: [Seed; 2],
    operands: Vec<Operand<R>>,
    number: u32,
) -> Dealt<R> {
    let forms: Vec<&Form> = operands.iter().map(|o| &o.form).collect();
    let cost = gate.cost(R::BITS, &forms).unwrap();
    store.announce(number, &cost);
    Dealt { store, seeds, operands, gate: number, cost }
}

/// Deals `gate` for one operand `[1, masks.len()]` whose mask is the one given: `r = r' + c r''` with fresh `r'` and odd
/// `r''`, and `c` chosen to fit. Both shares stay random.
pub fn deal_at<R: Ring, G: Gate>(gate: &G, masks: &[R], bits: u32, entropy: u64) -> Dealt<R> {
    let (dev, seeds, mut store) = (Cpu::<R>::new(), seeds(entropy), Store::default());
    let forms = [masks.len(), 3 * masks.len() + 999].map(|len| Form::new([1, len], bits));
    let known = [0, 1].map(|g| Operand::<R>::fresh(&seeds, g, &forms[g as usize]));
    let (first, second) = (known[0].mask(), known[1].mask());
    let odd: Arc<[usize]> =
        (0..second.len()).filter(|&i| second[i].low() & 1 == 1).take(masks.len()).collect();
    assert_eq!(odd.len(), masks.len());
    let factor = |i: usize| masks[i].sub(first[i]).low().wrapping_mul(inverse(second[odd[i]].low()));
    let factors: Arc<[i64]> = (0..masks.len()).map(|i| factor(i) as i64).collect();

    let mut d = Deal::new(dev, seeds.clone(), ORIGIN, 1, &mut store);
    let a = d.fresh(0, &forms[0]);
    d.next_gate();
    let b = Mask::local(&dev, &Local::Gather(odd.clone()), &[&d.fresh(0, &forms[1])]).unwrap();
    d.next_gate();
    let b = Mask::local(&dev, &Local::ScaleEach(factors.clone()), &[&b]).unwrap();
    gate.deal(&mut d, &[&Mask::local(&dev, &Local::Add, &[&a, &b]).unwrap()]).unwrap();

    let ones = R::ones(bits);
    let share = |p: usize| {
        let at = |i: usize| known[1].shares[p][odd[i]].mul(R::from_i64(factors[i]));
        (0..masks.len()).map(|i| known[0].shares[p][i].add(at(i)).and(ones)).collect()
    };
    let operand = Operand { form: forms[0].clone(), shares: [share(0), share(1)] };
    assert_eq!(operand.mask(), masks.iter().map(|m| m.and(ones)).collect::<Vec<_>>());
    finish(gate, store, seeds, vec![operand], 2)
}

/// Inverse of an odd number mod 2^64; each step doubles the bits that are right, from 3.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |v, _| v.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(v))))
}

impl<R: Ring> Dealt<R> {
    /// One party's part of the run: evaluates, opens, compares transcripts, and gives its share of the result away.
    pub fn program<G: Gate>(
        &self,
        gate: &G,
        values: &[Vec<R>],
        s: &mut Session<Cpu<R>>,
    ) -> Result<(Vec<u8>, [u8; 32])> {
        (0..self.gate).for_each(|_| s.end_gate());
        let wires: Vec<_> = self.operands.iter().zip(values).map(|(o, v)| o.wire(s.me, v)).collect();
        s.begin_gate("test", G::NAME, Outlet::Open);
        let share = gate.eval(s, &wires.iter().collect::<Vec<_>>())?;
        let open = s.open(share)?;
        s.end_gate();
        s.finish()?;
        Ok((s.deliver(open)?, s.transcript()))
    }
    /// Runs `gate` on masked values.
    pub fn play_masked<G: Gate>(&self, gate: &G, values: &[Vec<R>]) -> Played<R> {
        let images = self.operands[0].form.shape.batch();
        let sides = parties(&self.store, &self.seeds, images, |s| self.program(gate, values, s));
        let [(a, log0), (b, log1)] = sides;
        let (a, b) = (a.unwrap(), b.unwrap());
        let forms: Vec<&Form> = self.operands.iter().map(|o| &o.form).collect();
        let out = gate.output(R::BITS, &forms).unwrap();
        let clear = owner::join([&a.0, &b.0], out.len(), out.bits).unwrap();
        Played { clear, logs: [log0, log1], transcript: a.1 }
    }
    /// Runs `gate` on values in the clear.
    pub fn play<G: Gate>(&self, gate: &G, x: &[Vec<R>]) -> Played<R> {
        let values: Vec<Vec<R>> = self.operands.iter().zip(x).map(|(o, x)| o.hide(x)).collect();
        self.play_masked(gate, &values)
    }
}
