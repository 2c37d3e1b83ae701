//! Comparisons whose keys lie on the device already: the kernels' own time.

use crate::alone::Compared;
use crate::{ORIGIN, seeds};
use twoply_primitives::backend::{
    Backend, Cuda, Digit, Field, Fields, Merge, Merging, Place, Slots, Stored, Trees,
};
use twoply_primitives::prg::{Roots, Streams};
use twoply_primitives::{PartyId, Result, Ring, Site, TILE};

const AT: Site = Site { gate: 0, part: 0 };

/// Fields of free values: which ones makes no difference to time.
const FREE: u32 = 0x1000;

/// One party's keys on the device, group by group, with the points where they are evaluated.
pub struct Resident<R: Ring> {
    dev: Cuda<R>,
    me: PartyId,
    streams: Streams,
    fields: Vec<u32>,
    groups: Vec<Group<R>>,
}

struct Group<R: Ring> {
    slots: Slots,
    keys: <Cuda<R> as Backend>::Keys,
    x: <Cuda<R> as Backend>::Buf,
}

/// Groups of slots as large as a device takes them.
fn groups<R: Ring>(elements: usize) -> Vec<Slots> {
    let size = Cuda::<R>::GRAIN.tiles * TILE;
    let slots = |from: usize| Slots { range: from..elements.min(from + size), elements };
    (0..elements).step_by(size).map(slots).collect()
}

fn streams(me: PartyId) -> Streams {
    Streams::new(&seeds()[me.index()], ORIGIN, AT)
}

fn trees() -> Trees {
    Trees { origin: ORIGIN, site: AT, predicate: 0 }
}

impl<R: Ring> Resident<R> {
    /// Brings a party's keys to the device.
    pub fn new(dev: &Cuda<R>, compared: &Compared<Cuda<R>>, me: PartyId, x: &[R]) -> Result<Self> {
        let (source, fields) = (compared.keys(me), compared.part().fields[me.index()].clone());
        let group = |slots: Slots| {
            let tiles = if fields.is_empty() { 0..0 } else { slots.tiles() };
            let tiles = tiles.map(|t| source.tile("compare", AT, t)).collect::<Result<_>>()?;
            let (keys, x) = (dev.load(tiles, &fields, &slots), dev.upload(&x[slots.range.clone()]));
            Ok(Group { slots, keys, x })
        };
        let groups = groups::<R>(compared.part().elements).into_iter().map(group).collect::<Result<_>>()?;
        Ok(Resident { dev: dev.clone(), me, streams: streams(me), fields, groups })
    }
    fn place<'k>(&self, g: &'k Group<R>, field: usize) -> Stored<'k, <Cuda<R> as Backend>::Keys> {
        Stored { keys: &g.keys, at: Place::new(&self.fields, field, g.slots.elements) }
    }
    /// Point functions of `w` bits.
    pub fn dpf(&self, w: u32) {
        for g in &self.groups {
            let roots = Roots::new(self.streams.field(FREE), self.me, g.slots.first_tile());
            self.dev.dpf_bits(&trees(), w, roots, self.place(g, 0), &g.x, &g.slots);
        }
    }
    /// Digits of these widths: message and merge, nothing exchanged.
    pub fn digits(&self, split: &[u32]) {
        let merge = Merge { k: split.len() };
        let own = |count: usize| (FREE..FREE + count as u32).collect::<Vec<u32>>();
        let (mask_fields, product_fields) = (own(merge.planes()), own(merge.stored()));
        for g in &self.groups {
            let masks = self.dev.bit_fields(Fields::Own(&self.streams, &mask_fields), &g.slots);
            let table = |i: usize| match self.me {
                PartyId::P0 => Field::Own(self.streams.field(i as u32)),
                PartyId::P1 => Field::Stored(self.place(g, i)),
            };
            let mut shift = split.iter().sum();
            let digit = |(i, &bits): (usize, &u32)| {
                shift -= bits;
                (Digit { shift, bits }, table(i))
            };
            let tables = split.iter().enumerate().map(digit).collect();
            let opened = self.dev.digit_planes(tables, &masks, &g.x, &g.slots);
            let products = match self.me {
                PartyId::P1 if merge.stored() > 0 => Fields::Stored(self.place(g, merge.k), merge.stored()),
                _ => Fields::Own(&self.streams, &product_fields),
            };
            let products = self.dev.bit_fields(products, &g.slots);
            let one = self.me.is_p0();
            let merging = Merging { opened: &opened, masks: &masks, products: &products, one };
            self.dev.digit_merge(&merge, 0, merging);
        }
    }
}

/// The dealer's point functions of `w` bits, which stay on the device.
pub fn generate<R: Ring>(dev: &Cuda<R>, w: u32, alpha: &<Cuda<R> as Backend>::Buf) {
    let both = PartyId::BOTH.map(streams);
    for slots in groups::<R>(dev.len(alpha)) {
        let roots = PartyId::BOTH.map(|p| Roots::new(both[p.index()].field(FREE), p, slots.range.start));
        let alpha = dev.slice(alpha, slots.range.start, slots.len());
        dev.dpf_keys_stay(&trees(), w, roots, &alpha, &slots);
    }
}
