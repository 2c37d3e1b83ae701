//! Comparisons and stored fields of one tile: what [`crate::Backend`] asks of keys, from the kernels beside this file. The
//! CPU's groups are single tiles ([`Backend::GRAIN`]).

use super::digits;
use crate::backend::{Cpu, Digit, Field, Fields, Isa, Merge, Merging, Packed, Slots, Stored};
use crate::bits::{Bits, Planes, clear_past, read_bits};
use crate::prg::{Stream, Streams};
use crate::{Backend, Ring, TileBytes};

type Tiles = Vec<TileBytes>;

const _: () = assert!(Cpu::<u32>::GRAIN.tiles == 1, "a group is a tile");

/// The bytes of a stored field, from its first in the tile on.
pub fn bytes<'a>(stored: &Stored<'a, Tiles>, slots: &Slots) -> &'a [u8] {
    let tile: &[u8] = stored.keys.first().map_or(&[], |t| t.as_ref().as_ref());
    let (from, len) = (stored.at.in_tile(slots.tile_len()), slots.tile_len());
    &tile[from..from + crate::record::packed_len(stored.at.width, len)]
}

/// A stored field of these slots, packed.
pub fn packed<'a>(stored: &Stored<'a, Tiles>, slots: &Slots) -> Packed<'a> {
    let width = stored.at.width;
    let at = slots.skipped() * width as usize;
    Packed { bytes: bytes(stored, slots).into(), at, width, len: slots.len() }
}

/// Shared tables of one digit.
pub fn table<'a>(field: &Field<'a, Tiles>, digit: Digit, slots: &Slots) -> Packed<'a> {
    let (width, len) = (1 << digit.bits, slots.len());
    match field {
        Field::Stored(s) => packed(s, slots),
        Field::Own(stream) => {
            let [first, end] = [slots.range.start, slots.range.end].map(|slot| slot * width);
            let bytes = stream.bytes(first / 8, end.div_ceil(8) - first / 8);
            Packed { bytes: bytes.into(), at: first % 8, width: width as u32, len }
        }
    }
}

/// Fields of one bit.
pub fn bits(from: Fields<Tiles>, slots: &Slots) -> Planes {
    let count = match &from {
        Fields::Own(_, fields) => fields.len(),
        Fields::Stored(_, count) => *count,
    };
    let mut out = Planes::zeros(count, slots.len());
    match from {
        Fields::Own(streams, fields) => {
            let fill = |(plane, &field): (&mut [u64], &u32)| {
                streams.field(field).bits_into(slots.range.clone(), plane);
            };
            out.iter_mut().zip(fields).for_each(fill);
        }
        Fields::Stored(stored, _) => {
            let tile: &[u8] = stored.keys.first().map_or(&[], |t| t.as_ref().as_ref());
            let (from, each) = (stored.at.in_tile(slots.tile_len()), slots.tile_len().div_ceil(8));
            for (i, plane) in out.iter_mut().enumerate() {
                read_bits(&tile[from + i * each..][..each], slots.skipped(), slots.len(), plane);
            }
        }
    }
    out
}

/// What both parties said of masked bits, added up.
pub fn open(mine: &Planes, theirs: &Packed, slots: &Slots) -> Planes {
    let mut out = Planes::zeros(mine.count(), slots.len());
    for (i, plane) in out.iter_mut().enumerate() {
        let n = slots.len();
        let first = theirs.at + i * n;
        read_bits(&theirs.bytes, first, n, plane);
        plane.iter_mut().zip(mine.plane(i)).for_each(|(z, m)| *z ^= m);
    }
    out
}

/// From tables to what P1 stores of them: exclusive or with the stream, bits past the last table zero.
pub fn correct(tables: &mut [u8], stream: Stream, width: usize, slots: &Slots) {
    // tiles start at multiples of 4,096 elements, hence at whole bytes of the stream
    let e0 = stream.bytes(slots.range.start * width / 8, tables.len());
    tables.iter_mut().zip(e0).for_each(|(v, e)| *v ^= e);
    let unused = tables.len() * 8 - slots.len() * width;
    if let Some(last) = tables.last_mut() {
        *last &= 0xff >> unused;
    }
}

/// Parity of `T[..= x]`: of the whole table, less what is above `x`.
pub fn at_most<R: Ring>(table: &Packed, x: &[R]) -> Bits {
    let lookup = |x: &[R]| {
        let [mut equal, mut above] = [0, 1].map(|_| vec![0; table.len.div_ceil(64)]);
        R::lookup(table, x, 0, [&mut equal, &mut above]);
        [equal, above].map(|words| Bits::from_words(words, table.len))
    };
    let [_, above] = lookup(x);
    let [first, others] = lookup(&vec![R::ZERO; table.len]);
    first.xor(&others).xor(&above)
}

/// The planes of a message: what the tables say of every digit, masked.
pub fn lookups<R: Ring>(
    tables: Vec<(Digit, Field<Tiles>)>,
    masks: &Planes,
    x: &[R],
    slots: &Slots,
) -> Planes {
    let mut message = Planes::zeros(masks.count(), slots.len());
    // of the last digit it does not matter whether it is equal
    let mut unused = vec![0; slots.len().div_ceil(64)];
    let mut planes = message.iter_mut();
    for (digit, field) in tables {
        let less = planes.next().unwrap_or_default();
        let equal = planes.next().unwrap_or(&mut unused);
        R::lookup(&table(&field, digit, slots), x, digit.shift, [equal, less]);
    }
    drop(planes);
    for (i, plane) in message.iter_mut().enumerate() {
        plane.iter_mut().zip(masks.plane(i)).for_each(|(p, m)| *p ^= m);
        clear_past(plane, slots.len());
    }
    message
}

/// A party's share of `[alpha <= x]`.
pub fn merge<R: Ring>(merge: &Merge, from: usize, p: &Merging<Cpu<R>>) -> Bits {
    let (n, k) = (p.opened.len(), merge.k);
    let mut one = vec![if p.one { u64::MAX } else { 0 }; n.div_ceil(64)];
    clear_past(&mut one, n);
    let mut next = 0..merge.stored();
    let mut product = || p.products.plane(next.next().unwrap_or_default());
    let b = (0..1usize << (k - 1)).map(|s| match s.count_ones() {
        0 => &one[..],
        1 => p.masks.plane(2 * s.ilog2() as usize + 1),
        _ => product(),
    });
    let b: Vec<&[u64]> = b.collect();
    let sets = (0..k).flat_map(|i| (0..1usize << i).map(move |s| (i, s)));
    let a = sets.map(|(i, s)| if s == 0 { p.masks.plane(2 * i) } else { product() });
    let factors = digits::Factors {
        l: (0..k).map(|i| p.opened.plane(2 * i)).collect(),
        e: (0..k - 1).map(|j| p.opened.plane(2 * j + 1)).collect(),
        a: a.collect(),
        b,
    };
    let mut z = digits::merge(Isa::current(), &factors, from);
    // from [x < alpha] to [alpha <= x]
    z.iter_mut().zip(&one).for_each(|(z, one)| *z ^= one);
    Bits::from_words(z, n)
}

/// What P1 stores of the products of the masks, field after field: less P0's shares, which are made one at a time, as all of
/// them are more than a cache holds.
pub fn products(
    merge: &Merge,
    masks: &Planes,
    (streams, fields): (&Streams, &[u32]),
    slots: &Slots,
) -> Vec<u8> {
    let (k, len) = (merge.k, masks.len());
    let prod = subset_products(masks, k, len);
    let (mut share, mut at) = (vec![0; len.div_ceil(64)], 0);
    let mut out = vec![0; fields.len() * len.div_ceil(8) + 8];
    let mut fields = fields.iter();
    let mut put = |product: &dyn Fn(usize) -> u64| {
        let Some(&field) = fields.next() else { return };
        streams.field(field).bits_into(slots.range.clone(), &mut share);
        // the last word of a field may reach into the next one, which is written after it
        for (i, word) in share.iter().enumerate() {
            out[at + 8 * i..at + 8 * i + 8].copy_from_slice(&(word ^ product(i)).to_le_bytes());
        }
        at += len.div_ceil(8);
    };
    for s in merge.pairs() {
        let plane = prod.plane(s);
        put(&|i| plane[i]);
    }
    for (i, s) in merge.with_a() {
        let (a, plane) = (masks.plane(2 * i), prod.plane(s));
        put(&|i| a[i] & plane[i]);
    }
    out.truncate(at);
    out
}

/// `prod_{j in S} b_j` for every set S of digits but the last, from the masks of all planes of the message.
fn subset_products(masks: &Planes, k: usize, len: usize) -> Planes {
    let mut out = Planes::zeros(1 << (k - 1), len);
    out.iter_mut().take(1).for_each(|one| {
        one.fill(u64::MAX);
        clear_past(one, len);
    });
    for j in 0..k - 1 {
        for s in 0..1 << j {
            let [from, to] = out.pair(s, s | 1 << j);
            let factors = from.iter().zip(masks.plane(2 * j + 1));
            to.iter_mut().zip(factors).for_each(|(z, (p, b))| *z = p & b);
        }
    }
    out
}
