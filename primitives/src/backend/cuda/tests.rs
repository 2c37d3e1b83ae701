//! Every method against the CPU's, bit for bit, on odd sizes and on runs that begin and end within tiles.
//!
//! They run on device 0: a GPU, or the stand-in of `tests/cuda/`. Without either they say so and pass.

use super::*;
use crate::backend::{Cpu, Packet as _, Place};
use crate::bits::{Bits, Planes as HostPlanes};
use crate::prg::{Origin, Streams};
use crate::record::packed_len;
use crate::session::groups;
use crate::{KeySetId, PartyId, Site, Window};
use std::ops::Range;
use std::sync::OnceLock;

const ORIGIN: Origin = Origin { set: KeySetId([5; 16]), segment: 2 };
const AT: Site = Site { gate: 3, part: 1 };

/// Runs of slots: whole tiles, within one, across several, up to a short last one.
const RUNS: [(usize, usize, usize); 7] = [
    (0, 4096, 4096),
    (0, 37, 37),
    (5, 100, 4096),
    (4000, 300, 9000),
    (4096, 4904, 9000),
    (8195, 805, 9000),
    (70, 12000, 13000),
];

/// Device 0, if there is one: the same for all tests, so that they share its streams.
pub fn gpu<R: Ring>() -> Option<Cuda<R>> {
    static FIRST: OnceLock<Option<Cuda<u32>>> = OnceLock::new();
    let first = || match (count(), std::env::var_os("TWOPLY_NEED_CUDA")) {
        (Ok(1..), _) => Some(Cuda::open(0).unwrap_or_else(|e| panic!("{e}"))),
        (_, None) => {
            eprintln!("skipped: no CUDA device; `tests/cuda/test.sh` runs this on a stand-in");
            None
        }
        (found, Some(_)) => panic!("TWOPLY_NEED_CUDA is set, and there is no device: {found:?}"),
    };
    FIRST.get_or_init(first).as_ref().map(Cuda::at)
}

fn slots((first, len, elements): (usize, usize, usize)) -> Slots {
    Slots { range: first..first + len, elements }
}

fn noise<R: Ring>(len: usize, seed: u8) -> Vec<R> {
    Streams::from_key(&[seed; 16]).field(1).words(3, len, R::BITS)
}
fn bytes(len: usize, seed: u8) -> Vec<u8> {
    Streams::from_key(&[seed; 16]).field(2).bytes(1, len)
}

/// The CPU takes a tile at a time.
fn tile_by_tile<T>(s: &Slots, mut f: impl FnMut(&Slots, Range<usize>) -> T) -> Vec<T> {
    let tile = |range: Range<usize>| {
        let here = range.start - s.range.start..range.end - s.range.start;
        f(&Slots { range, elements: s.elements }, here)
    };
    groups::<Cpu<u32>>(&s.range).into_iter().map(tile).collect()
}

fn joined(parts: Vec<Bits>) -> Bits {
    parts.iter().fold(Bits::default(), |mut all, b| {
        all.append(b);
        all
    })
}

/// A device's bits, on the host.
fn host<R: Ring>(dev: &Cuda<R>, p: &Planes) -> Bits {
    let words = dev.download(&dev.of_bits(p));
    dev.health().unwrap();
    assert_eq!(words.len(), p.len);
    Bits::from_fn(words.len(), |i| words[i].low())
}
fn host_planes<R: Ring>(dev: &Cuda<R>, p: &Planes) -> Vec<Bits> {
    (0..p.count).map(|i| host(dev, &p.some(i, 1))).collect()
}
/// Bits of the host, on a device.
fn device_bits<R: Ring>(dev: &Cuda<R>, b: &Bits) -> Planes {
    dev.bit(&dev.upload(&(0..b.len()).map(|i| R::from_u64(b.bit(i))).collect::<Vec<_>>()), 0)
}
/// The same planes on both, for some slots.
fn planes_of<R: Ring>(dev: &Cuda<R>, count: usize, len: usize, seed: u8) -> (Vec<Bits>, Planes) {
    let bits: Vec<Bits> =
        (0..count).map(|i| Bits::read(&bytes(len / 8 + 1, seed + i as u8), 0, len)).collect();
    let there = dev.planes(bits.iter().map(|b| device_bits(dev, b)).collect());
    (bits, there)
}
fn cut(planes: &[Bits], here: &Range<usize>) -> HostPlanes {
    HostPlanes::of(planes.iter().map(|b| b.slice(here.start, here.len())).collect())
}

/// Key tiles of these fields, as both sides have them.
struct Tiles {
    fields: Vec<u32>,
    elements: usize,
    bytes: Vec<TileBytes>,
}

impl Tiles {
    fn new(fields: &[u32], elements: usize) -> Self {
        let tile = |t: usize| -> TileBytes {
            let len = TILE.min(elements - t * TILE);
            let size = fields.iter().map(|&w| packed_len(w, len)).sum();
            Arc::new(bytes(size, t as u8 + 1))
        };
        Tiles { fields: fields.into(), elements, bytes: (0..elements.div_ceil(TILE)).map(tile).collect() }
    }
    fn of(&self, s: &Slots) -> Vec<TileBytes> {
        s.tiles().map(|t| self.bytes[t].clone()).collect()
    }
    fn at(&self, index: usize) -> Place {
        Place::new(&self.fields, index, self.elements)
    }
}

fn words<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    for len in [1, 31, 64, 257, 5000] {
        let (x, y) = (noise::<R>(len, 1), noise::<R>(len, 2));
        let (dx, dy) = (dev.upload(&x), dev.upload(&y));
        assert_eq!(dev.download(&dx), x);
        let (cut, part) = (len / 3, len / 2);
        assert_eq!(dev.download(&dev.slice(&dx, cut, part)), x[cut..cut + part]);
        let parts = vec![dev.slice(&dx, cut, part), dy.clone(), dev.slice(&dy, 0, 1)];
        assert_eq!(dev.download(&dev.concat(parts)), [&x[cut..cut + part], &y, &y[..1]].concat());
        assert_eq!(dev.download(&dev.mul(&dx, &dy)), cpu.mul(&x, &y));
        for (add, by, bits) in
            [(0, 0, R::BITS), (5, 3, 7), (u64::MAX >> (64 - R::BITS), 12, R::BITS - 12), (1 << 20, 0, 20)]
        {
            let wanted = cpu.shift(&x, add, by, bits);
            assert_eq!(dev.download(&dev.shift(&dx, add, by, bits)), wanted, "{add} {by} {bits}");
        }
        for i in [0, 7, R::BITS - 1] {
            assert_eq!(host(&dev, &dev.bit(&dx, i)), cpu.bit(&x, i));
        }
        let (b, db) = planes_of(&dev, 2, len, 9);
        assert_eq!(host(&dev, &dev.xor(&dev.plane(&db, 0), &dev.plane(&db, 1))), b[0].xor(&b[1]));
        assert_eq!(host(&dev, &dev.and(&dev.plane(&db, 0), &dev.plane(&db, 1))), b[0].and(&b[1]));
        assert_eq!(host(&dev, &dev.not(&dev.plane(&db, 1))), b[1].not());
        let both = dev.xor_planes(
            dev.planes(vec![dev.plane(&db, 0), dev.plane(&db, 1)]),
            &dev.planes(vec![dev.plane(&db, 1), dev.plane(&db, 0)]),
        );
        assert_eq!(host_planes(&dev, &both), [b[0].xor(&b[1]), b[0].xor(&b[1])]);
        sums(&dev, (&x, &dx), (&y, &dy), (&b[0], &dev.plane(&db, 0)));
        for bits in [1, 5, 20, 31, R::BITS] {
            let packed = cpu.pack(&x, bits);
            assert_eq!(dev.pack(&dx, bits).wait().unwrap(), packed, "{bits} bits");
            let view = |at| Packed { bytes: (&packed).into(), at, width: bits, len: len / 2 };
            for at in [0, bits as usize * (len - len / 2)] {
                assert_eq!(
                    dev.download(&dev.unpack(&view(at))),
                    cpu.unpack(&view(at)),
                    "{bits} bits from {at}"
                );
                let (mut z, mut dz, shared) = (y.clone(), dy.clone(), dy.clone());
                cpu.add_packed(&mut z, len / 4, &view(at));
                dev.add_packed(&mut dz, len / 4, &view(at));
                assert_eq!(dev.download(&dz), z);
                assert_eq!(dev.download(&shared), y, "nobody else's elements change");
            }
        }
        let row = noise::<R>(3, 4);
        let wide = noise::<R>(len * 6, 5);
        let wanted = cpu.add_row(&wide, &row, 2);
        assert_eq!(dev.download(&dev.add_row(&dev.upload(&wide), &dev.upload(&row), 2)), wanted);
        let mut gone = dx.clone();
        drop(dx);
        dev.wipe(&mut gone);
        assert_eq!(dev.download(&gone), vec![R::ZERO; len]);
    }
    dev.finish().unwrap();
}

/// Sums of one to fourteen terms of every kind.
fn sums<R: Ring>(
    dev: &Cuda<R>,
    (x, dx): (&Vec<R>, &Buf<R>),
    (y, dy): (&Vec<R>, &Buf<R>),
    (b, db): (&Bits, &Planes),
) {
    let (cpu, c) = (Cpu::<R>::new(), R::from_i64(-77));
    fn terms<'a, B: Backend>(c: B::Ring, x: &'a B::Buf, y: &'a B::Buf, b: &'a B::Bits) -> Vec<Term<'a, B>> {
        let kinds = |i: i64| {
            let c = c.add(B::Ring::from_i64(i));
            [Term::of(c, x), Term::of(c, y).when(b), Term::one(c).when(b), Term::one(c)]
        };
        (0..4).flat_map(kinds).collect()
    }
    let (here, there) = (terms::<Cpu<R>>(c, x, y, b), terms::<Cuda<R>>(c, dx, dy, db));
    for count in [1, 2, 3, 7, 12, 13, 16] {
        for bits in [R::BITS, 19] {
            let wanted = cpu.sum(x.len(), &here[..count], bits);
            assert_eq!(dev.download(&dev.sum(x.len(), &there[..count], bits)), wanted, "{count} terms");
        }
    }
}

fn streams<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let (cpu, all) = (Cpu::<R>::new(), Streams::from_key(&[7; 16]));
    for (from, len, bits) in [(0, 1, 32), (3, 1000, 20), (4096, 4097, R::BITS), (13, 0, 5), (1 << 33, 9, 31)]
    {
        let wanted = cpu.expand(all.field(9), from, len, bits);
        assert_eq!(dev.download(&dev.expand(all.field(9), from, len, bits)), wanted, "{from} {len}");
    }
    let keys = [[1; 16], [2; 16], [3; 16]];
    assert_eq!(dev.download(&dev.expand_each(&keys, 101, 30)), cpu.expand_each(&keys, 101, 30));
    for run in RUNS {
        let s = slots(run);
        let fields = [4, 5, 0x80_0003];
        let got = host_planes(&dev, &dev.bit_fields(Fields::Own(&all, &fields), &s));
        for (field, got) in fields.iter().zip(got) {
            assert_eq!(got, all.field(*field).bits(s.range.clone()), "{run:?}");
        }
        let (x, bits) = (noise::<R>(s.len(), 3), 21);
        if s.whole() {
            let wanted =
                tile_by_tile(&s, |s, here| cpu.correction(&x[here].to_vec(), all.field(6), s, bits)).concat();
            let got = dev.correction(&dev.upload(&x), all.field(6), &s, bits).wait().unwrap();
            assert_eq!(got, wanted, "{run:?}");
        }
    }
    dev.finish().unwrap();
}

/// A field of so many bits, from keys that the device has.
fn stored_word<R: Ring>(dev: &Cuda<R>, tiles: &Tiles, keys: &Keys, s: &Slots, (i, bits): (usize, u32)) {
    let at = tiles.at(i);
    let wanted = tile_by_tile(s, |s, _| {
        let keys = tiles.of(s);
        Cpu::<R>::new().word(Field::Stored(Stored { keys: &keys, at }), s, bits)
    });
    let got = dev.word(Field::Stored(Stored { keys, at }), s, bits);
    assert_eq!(dev.download(&got), wanted.concat(), "{s:?}, field {i}");
}

fn stored<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    for run in RUNS {
        let s = slots(run);
        let tiles = Tiles::new(&[20, 1, 1, 1, R::BITS, 7], s.elements);
        let keys = dev.load(tiles.of(&s), &tiles.fields, &s);
        [(0, 20), (4, R::BITS), (5, 7)]
            .into_iter()
            .for_each(|field| stored_word(&dev, &tiles, &keys, &s, field));
        let got = dev.bit_fields(Fields::Stored(Stored { keys: &keys, at: tiles.at(1) }, 3), &s);
        let parts = tile_by_tile(&s, |s, _| {
            let keys = tiles.of(s);
            cpu.bit_fields(Fields::Stored(Stored { keys: &keys, at: tiles.at(1) }, 3), s)
        });
        for (i, got) in host_planes(&dev, &got).into_iter().enumerate() {
            assert_eq!(got, joined(parts.iter().map(|p| p.bits(i)).collect()), "{run:?}, bit {i}");
        }
    }
    dev.finish().unwrap();
}

/// Words behind those of half-trees outlive them.
fn behind_trees<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    for run in RUNS {
        let s = slots(run);
        let tiles = Tiles::new(&[256, 384, 20, 1, 7], s.elements);
        let mut keys = dev.load(tiles.of(&s), &tiles.fields, &s);
        dev.compared(&mut keys);
        [(2, 20), (4, 7)].into_iter().for_each(|field| stored_word(&dev, &tiles, &keys, &s, field));
    }
    dev.finish().unwrap();
}

fn messages<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    for (run, count) in RUNS.into_iter().zip([1, 2, 3, 9, 11, 2, 11]) {
        let s = slots(run);
        let (mine, there) = planes_of(&dev, count, s.len(), 20);
        let said = tile_by_tile(&s, |_, here| cut(&mine, &here).join());
        let said = joined(said);
        assert_eq!(dev.say(&there, &s).wait().unwrap(), said.to_bytes(), "{run:?}");
        // the peer's part of a message may begin at any bit
        let theirs = bytes(said.len() / 8 + 3, 50);
        for at in [0, 3, 8] {
            let packed = |at| Packed { bytes: (&theirs).into(), at, width: 1, len: said.len() };
            let opened =
                tile_by_tile(&s, |s, here| cpu.open(&cut(&mine, &here), &packed(at + here.start * count), s));
            for (i, got) in host_planes(&dev, &dev.open(&there, &packed(at), &s)).into_iter().enumerate() {
                assert_eq!(got, joined(opened.iter().map(|p| p.bits(i)).collect()), "{run:?} from {at}");
            }
        }
    }
    dev.finish().unwrap();
}

fn point_functions<R: Ring>(widths: &[u32]) {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    let [s0, s1] = [1, 2].map(|b| Streams::from_key(&[b; 16]));
    let trees = Trees { origin: ORIGIN, site: AT, predicate: 1 };
    for &w in widths {
        for run in RUNS {
            let s = slots(run);
            let whole =
                Slots { range: s.first_tile()..s.range.end.next_multiple_of(TILE).min(s.elements), ..s };
            let alpha = noise::<R>(whole.len(), 31);
            let roots = |slots: &Slots| {
                let first = slots.range.start;
                [Roots::new(s0.field(4), PartyId::P0, first), Roots::new(s1.field(4), PartyId::P1, first)]
            };
            let wanted =
                tile_by_tile(&whole, |s, here| cpu.dpf_keys(&trees, w, roots(s), &alpha[here].to_vec(), s));
            let got = dev.dpf_keys(&trees, w, roots(&whole), &dev.upload(&alpha), &whole).wait().unwrap();
            assert!(got == wanted.concat(), "keys of {w} bits, {run:?}");
            let first = whole.tiles().start;
            let tile = |t: usize| -> TileBytes { Arc::new(wanted[t - first].clone()) };
            // next to alpha, where answers turn
            let skip = s.range.start - whole.range.start;
            let x: Vec<R> =
                (0..s.len()).map(|i| alpha[skip + i].add(R::from_i64(i as i64 % 3 - 1))).collect();
            let keys = dev.load(s.tiles().map(tile).collect(), &[128 * (w - 6)], &s);
            let at = Place::new(&[128 * (w - 6)], 0, s.elements);
            for party in PartyId::BOTH {
                let mine = |s: &Slots| {
                    let streams = if party.is_p0() { &s0 } else { &s1 };
                    Roots::new(streams.field(4), party, s.first_tile())
                };
                let right = tile_by_tile(&s, |s, here| {
                    let keys: Vec<TileBytes> = s.tiles().map(tile).collect();
                    cpu.dpf_bits(&trees, w, mine(s), Stored { keys: &keys, at }, &x[here].to_vec(), s)
                });
                let words = Stored { keys: &keys, at };
                let got = dev.dpf_bits(&trees, w, mine(&s), words, &dev.upload(&x), &s);
                assert_eq!(host(&dev, &got), joined(right), "{w} bits, {run:?}, {party}");
            }
        }
    }
    dev.finish().unwrap();
}

fn digits<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let (cpu, own) = (Cpu::<R>::new(), Streams::from_key(&[8; 16]));
    for (bits, run) in (1..=7).zip(RUNS) {
        let (s, digit) = (slots(run), Digit { shift: [0, 3, R::BITS - bits][bits as usize % 3], bits });
        let x = noise::<R>(s.len(), bits as u8);
        let there = dev.upload(&x);
        if s.whole() {
            let wanted =
                tile_by_tile(&s, |s, here| cpu.digit_tables(&x[here].to_vec(), digit, own.field(3), s));
            assert_eq!(dev.digit_tables(&there, digit, own.field(3), &s).wait().unwrap(), wanted.concat());
        }
        let tiles = Tiles::new(&[9, 1 << bits], s.elements);
        let keys = dev.load(tiles.of(&s), &tiles.fields, &s);
        let (masks, there_masks) = planes_of(&dev, 3, s.len(), 60);
        for stored in [true, false] {
            let got = {
                let table = || match stored {
                    true => Field::Stored(Stored { keys: &keys, at: tiles.at(1) }),
                    false => Field::Own(own.field(5)),
                };
                let planes =
                    dev.digit_planes(vec![(digit, table()), (digit, table())], &there_masks, &there, &s);
                (host_planes(&dev, &planes), host(&dev, &dev.at_most(table(), bits, &there, &s)))
            };
            let parts = tile_by_tile(&s, |s, here| {
                let (keys, x) = (tiles.of(s), x[here.clone()].to_vec());
                let table = || match stored {
                    true => Field::Stored(Stored { keys: &keys, at: tiles.at(1) }),
                    false => Field::Own(own.field(5)),
                };
                let tables = vec![(digit, table()), (digit, table())];
                (cpu.digit_planes(tables, &cut(&masks, &here), &x, s), cpu.at_most(table(), bits, &x, s))
            });
            for (i, got) in got.0.into_iter().enumerate() {
                let wanted = joined(parts.iter().map(|(p, _)| p.bits(i)).collect());
                assert_eq!(got, wanted, "{digit:?}, {run:?}, plane {i}, stored: {stored}");
            }
            assert_eq!(got.1, joined(parts.into_iter().map(|(_, b)| b).collect()), "{digit:?}, {run:?}");
        }
    }
    for (k, run) in [1, 2, 3, 6, 5, 4, 7].into_iter().zip(RUNS) {
        let (s, merge) = (slots(run), Merge { k });
        let (masks, there_masks) = planes_of(&dev, merge.planes(), s.len(), 1);
        let (opened, there_opened) = planes_of(&dev, merge.planes(), s.len(), 40);
        let fields: Vec<u32> = (0..merge.stored() as u32).collect();
        if s.whole() && k > 1 {
            let other = (&own, &fields[..]);
            let got = dev.digit_products(&merge, &there_masks, other, &s).wait().unwrap();
            let wanted =
                tile_by_tile(&s, |s, here| cpu.digit_products(&merge, &cut(&masks, &here), other, s));
            // field after field over all tiles
            let each = |f: usize| {
                let part = |(w, (_, n)): (&Vec<u8>, (usize, usize))| {
                    w[f * n.div_ceil(8)..][..n.div_ceil(8)].to_vec()
                };
                wanted.iter().zip(tile_by_tile(&s, |s, _| (0, s.len()))).flat_map(part).collect::<Vec<u8>>()
            };
            assert_eq!(got, (0..fields.len()).flat_map(each).collect::<Vec<_>>(), "{k} digits, {run:?}");
        }
        let products = dev.bit_fields(Fields::Own(&own, &fields), &s);
        for (from, one) in [(0, true), (k / 2, false), (k - 1, true)] {
            let p = Merging { opened: &there_opened, masks: &there_masks, products: &products, one };
            let got = host(&dev, &dev.digit_merge(&merge, from, p));
            let wanted = tile_by_tile(&s, |s, here| {
                let products = cpu.bit_fields(Fields::Own(&own, &fields), s);
                let (opened, masks) = (cut(&opened, &here), cut(&masks, &here));
                cpu.digit_merge(
                    &merge,
                    from,
                    Merging { opened: &opened, masks: &masks, products: &products, one },
                )
            });
            assert_eq!(got, joined(wanted), "{k} digits from {from}, {run:?}");
        }
    }
    dev.finish().unwrap();
}

fn lookups<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let (cpu, own) = (Cpu::<R>::new(), Streams::from_key(&[9; 16]));
    let trees = Trees { origin: ORIGIN, site: AT, predicate: 0 };
    for (i, width) in [1, 4, 5, 6, 8, 9, 10, 13].into_iter().enumerate() {
        let (s, bits) = (slots(RUNS[i % 7]), [7, 15, 32][i % 3]);
        // long walks on a few elements
        let s = if width > 10 { slots(RUNS[1]) } else { s };
        let entries: Vec<u32> =
            noise::<u32>(1 << width, 8).iter().map(|e| e & crate::ring::ones(bits) as u32).collect();
        let table = Lookup { width, bits, entries: &entries };
        let stored = if width > 8 { 128 * (width - 6) } else { 1 << width };
        let (tiles, x) = (Tiles::new(&[stored, 9], s.elements), noise::<R>(s.len(), width as u8));
        let (keys, there) = (dev.load(tiles.of(&s), &tiles.fields, &s), dev.upload(&x));
        for party in PartyId::BOTH {
            let roots = |s: &Slots| Roots::new(own.field(4), party, s.first_tile());
            fn hot<'a, K>(
                own: Stream<'a>,
                words: Stored<'a, K>,
                trees: Option<(&'a Trees, Roots<'a>)>,
                p0: bool,
            ) -> Hot<'a, K> {
                match trees {
                    Some((trees, roots)) => Hot::Tree { trees, roots, words },
                    None if p0 => Hot::Table(Field::Own(own)),
                    None => Hot::Table(Field::Stored(words)),
                }
            }
            let of = |s: &Slots| (width > 8).then(|| (&trees, roots(s)));
            let words = Stored { keys: &keys, at: tiles.at(0) };
            let got = dev.look_up(table, hot(own.field(5), words, of(&s), party.is_p0()), &there, &s);
            let wanted = tile_by_tile(&s, |s, here| {
                let keys = tiles.of(s);
                let words = Stored { keys: &keys, at: tiles.at(0) };
                cpu.look_up(table, hot(own.field(5), words, of(s), party.is_p0()), &x[here].to_vec(), s)
            });
            assert_eq!(dev.download(&got), wanted.concat(), "{width} bits, {s:?}, {party}");
        }
        if s.whole() && width == 8 {
            let digit = Digit { shift: 3, bits: 8 };
            let wanted =
                tile_by_tile(&s, |s, here| cpu.digit_tables(&x[here].to_vec(), digit, own.field(3), s));
            assert_eq!(dev.digit_tables(&there, digit, own.field(3), &s).wait().unwrap(), wanted.concat());
        }
    }
    dev.finish().unwrap();
}

fn maps<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    let form = |shape: &[usize], bits| Form { shape: crate::Shape(shape.into()), bits };
    let (a, b) = (form(&[3, 2, 5, 7], R::BITS), form(&[3, 2, 5, 7], 20));
    let window = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
    let index = |n: usize, of: usize| -> Arc<[usize]> { (0..n).map(|i| i * 37 % of).collect() };
    let cases: Vec<(Local, Vec<Form>)> = vec![
        (Local::Add, vec![a.clone(), b.clone()]),
        (Local::Sub, vec![a.clone(), a.clone()]),
        (Local::AddRow, vec![a.clone(), form(&[70], 20)]),
        (Local::AddRow, vec![b.clone(), form(&[2, 5, 7], R::BITS)]),
        (Local::Scale(-5), vec![a.clone()]),
        (Local::AddPublic(-1 << 20), vec![b.clone()]),
        (Local::Reshape(vec![70]), vec![a.clone()]),
        (Local::Reduce(11), vec![a.clone()]),
        (Local::Gather(index(90, 70)), vec![a.clone()]),
        (Local::Gather(index(150, 147)), vec![a.clone(), form(&[3, 7], 20), a.clone()]),
        (Local::Gather(index(900, 14 * 70 + 7)), [vec![a.clone(); 14], vec![form(&[3, 7], 20)]].concat()),
        (Local::SumPool(window), vec![b.clone()]),
        (Local::Sums(crate::local::Sums::adjoint(&index(90, 70), 70)), vec![form(&[3, 90], 20)]),
        (Local::Sums(crate::local::Sums::adjoint(&index(77, 9), 11)), vec![a.clone(), form(&[3, 7], 20)]),
        (Local::SumBatch, vec![b.clone()]),
        (Local::ScaleEach((0..70).map(|i| i * 1_000_003 - 9).collect()), vec![a.clone()]),
    ];
    for (f, forms) in cases {
        let forms: Vec<&Form> = forms.iter().collect();
        let x: Vec<Vec<R>> = forms
            .iter()
            .enumerate()
            .map(|(i, f)| noise::<R>(f.len(), i as u8).iter().map(|v| v.and(R::ones(f.bits))).collect())
            .collect();
        let there: Vec<Buf<R>> = x.iter().map(|x| dev.upload(x)).collect();
        let out = f.output(&forms).unwrap();
        let wanted = cpu.local(&f, &out, &forms, &x.iter().collect::<Vec<_>>());
        // twice: indices are kept
        for _ in 0..2 {
            let got = dev.local(&f, &out, &forms, &there.iter().collect::<Vec<_>>());
            assert_eq!(dev.download(&got), wanted, "{f:?}");
        }
    }
    dev.finish().unwrap();
}

fn products<R: Ring>() {
    let Some(dev) = gpu::<R>() else { return };
    let cpu = Cpu::<R>::new();
    let check = |p: Product, x: &[usize], w: &[usize]| {
        let forms = [x, w].map(|s| Form { shape: crate::Shape(s.into()), bits: R::BITS });
        let [a, b] = [0, 1].map(|i| noise::<R>(forms[i].len(), i as u8));
        let forms = [&forms[0], &forms[1]];
        let wanted = cpu.product(&p, forms, &a, &b);
        let got = dev.product(&p, forms, &dev.upload(&a), &dev.upload(&b));
        assert!(dev.download(&got) == wanted, "{p:?} {x:?} {w:?}");
    };
    check(Product::Elementwise, &[3, 50], &[3, 50]);
    for [batch, n, k] in [[1, 10, 100], [5, 33, 7], [16, 16, 16], [65, 129, 300], [20, 200, 1000]] {
        check(Product::Linear, &[batch, k], &[n, k]);
        check(Product::LinearDx, &[batch, n], &[n, k]);
        check(Product::LinearDw, &[batch, n], &[batch, k]);
    }
    let conv = |window, groups| Product::Conv { window, groups };
    let odd = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1, 2] };
    let far = Window { kernel: [3, 3], stride: [3, 2], pad: [4, 5, 3, 6], dilation: [2, 3] };
    for (x, w, window, groups) in [
        ([2, 3, 9, 9], [20, 3, 3, 3], Window::square(3, 1).padded(1), 1),
        ([1, 3, 20, 20], [70, 3, 5, 5], Window::square(5, 2), 1),
        ([3, 4, 11, 7], [4, 1, 3, 3], Window::square(3, 1).padded(1), 4),
        ([2, 6, 11, 7], [40, 3, 3, 2], odd, 2),
        ([2, 64, 4, 4], [16, 64, 1, 1], Window::square(1, 1), 1),
        ([2, 4, 6, 5], [6, 2, 3, 3], far, 2),
    ] {
        check(conv(window, groups), &x, &w);
        let y = conv(window, groups).shape(&crate::Shape(x.into()), &crate::Shape(w.into())).unwrap().0;
        check(Product::ConvDx { window, groups, input: [x[2], x[3]] }, &y, &w);
        check(Product::ConvDw { window, groups }, &y, &x);
    }
    for (shape, block) in [(&[3, 5, 4, 7][..], 84), (&[3, 5, 4, 7], 50), (&[3, 5, 4, 7], 1), (&[40, 7], 9)] {
        check(Product::Dot { block }, shape, shape);
    }
    check(Product::Dot { block: usize::MAX }, &[3, 2], &[3, 2]);
    dev.finish().unwrap();
}

macro_rules! both_rings {
    ($($name:ident => $f:ident($($arg:expr),*), $g:ident($($brg:expr),*);)*) => {$(
        #[test]
        fn $name() {
            $f::<u32>($($arg),*);
            $g::<u64>($($brg),*);
        }
    )*};
}
both_rings! {
    words_are_the_cpus => words(), words();
    streams_are_the_cpus => streams(), streams();
    stored_fields_are_the_cpus => stored(), stored();
    words_behind_half_trees_stay => behind_trees(), behind_trees();
    messages_are_the_cpus => messages(), messages();
    point_functions_are_the_cpus => point_functions(&[8, 9, 19, 31]), point_functions(&[8, 32, 63]);
    digits_are_the_cpus => digits(), digits();
    lookups_are_the_cpus => lookups(), lookups();
    maps_are_the_cpus => maps(), maps();
    products_are_the_cpus => products(), products();
}

/// Threads that share a device get what they asked for each.
#[test]
fn threads_share_a_device() {
    let Some(dev) = gpu::<u64>() else { return };
    let work = |seed: u8| {
        let (x, y) = (noise::<u64>(20_000, seed), noise::<u64>(20_000, seed + 100));
        for _ in 0..5 {
            let (a, b) = (dev.upload(&x), dev.upload(&y));
            let sum = dev.lin(&[(3, &a), (1, &b)], 64);
            let wanted: Vec<u64> =
                x.iter().zip(&y).map(|(x, y)| x.wrapping_mul(3).wrapping_add(*y)).collect();
            assert!(dev.download(&sum) == wanted && dev.download(&a) == x, "thread {seed}");
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|seed| drop(scope.spawn(move || work(seed))));
    });
    dev.finish().unwrap();
}

/// The measure of AES stays within its results, and says how many blocks it was.
#[test]
fn the_ceiling_counts_its_blocks() {
    let Some(dev) = gpu::<u32>() else { return };
    let blocks = dev.ceiling(Streams::from_key(&[1; 16]).field(0), 2);
    assert!(blocks > 0 && blocks.is_multiple_of(2 * u64::from(device::THREADS)), "{blocks}");
    dev.finish().unwrap();
}

/// What takes several copies comes in whole.
#[test]
fn much_comes_in_by_pieces() {
    let Some(dev) = gpu::<u64>() else { return };
    let x = noise::<u64>((9 << 20) / 8 + 3, 6);
    assert!(dev.download(&dev.upload(&x)) == x);
    dev.finish().unwrap();
}

/// What is under way is done although its handle is gone; a second device does not disturb it.
#[test]
fn packets_outlive_their_handle() {
    if gpu::<u32>().is_none() {
        return;
    }
    let (dev, last) = (Cuda::<u32>::open(0).unwrap(), Cuda::<u32>::open(count().unwrap() - 1).unwrap());
    let x = noise::<u32>(50_000, 7);
    let (a, b) = (dev.upload(&x), last.upload(&x));
    let packets = [dev.pack(&a, 19), last.pack(&b, 19)];
    drop((dev, a));
    for packet in packets {
        assert!(packet.wait().unwrap() == Cpu::<u32>::new().pack(&x, 19));
    }
    assert!(last.download(&b) == x);
}

/// Wiping takes what nobody looks at; a view is wiped when it goes.
#[test]
fn views_stay_when_the_whole_is_wiped() {
    let Some(dev) = gpu::<u32>() else { return };
    let x = noise::<u32>(100, 8);
    let mut whole = dev.upload(&x);
    let (view, packet) = (dev.slice(&whole, 40, 20), dev.pack(&whole, 32));
    dev.wipe(&mut whole);
    drop(whole);
    assert_eq!(dev.download(&view), x[40..60]);
    assert_eq!(packet.wait().unwrap(), Cpu::<u32>::new().pack(&x, 32));
    let mut view = view;
    dev.wipe(&mut view);
    assert_eq!(dev.download(&view), [0; 20]);
    dev.finish().unwrap();
}

/// What kernels cannot count is refused, never cut off.
#[test]
fn sizes_beyond_32_bits_are_refused() {
    if gpu::<u32>().is_none() {
        return;
    }
    let dev = Cuda::<u32>::open(0).unwrap();
    assert_eq!(dev.dev.size(u32::MAX as usize), u32::MAX);
    dev.health().unwrap();
    let x = dev.upload(&[1, 2, 3]);
    dev.dev.size(1 << 32);
    let why = dev.pack(&x, 7).wait().unwrap_err().to_string();
    assert!(why.contains("4294967296") && why.contains("fewer images"), "{why}");
    // half-tree keys behind another field: kernels would read across words
    let dev = Cuda::<u32>::open(0).unwrap();
    let s = slots((0, 37, 37));
    let tiles = Tiles::new(&[7, 128 * 3], s.elements);
    let (keys, streams) = (dev.load(tiles.of(&s), &tiles.fields, &s), Streams::from_key(&[1; 16]));
    let words = Stored { keys: &keys, at: tiles.at(1) };
    let trees = Trees { origin: ORIGIN, site: AT, predicate: 1 };
    let x = dev.upload(&noise(37, 1));
    dev.dpf_bits(&trees, 9, Roots::new(streams.field(4), PartyId::P0, 0), words, &x, &s);
    assert!(dev.health().unwrap_err().to_string().contains("come first"));
}

/// A device that refuses or fails says so where something would leave it, and nothing panics.
#[test]
fn a_device_that_is_not_there_is_an_error() {
    let why = Cuda::<u32>::open(99).err().unwrap().to_string();
    assert!(why.contains("device"), "{why}");
}
