//! What a gate sees while it is dealt: the device, both seeds, and a sink for tiles.

use crate::backend::{Digit, Fields, Merge, Packet, Slots, Trees};
use crate::pool;
use crate::prg::{Origin, Roots, Stream, Streams, owner_key};
use crate::record::packed_len;
use crate::session::groups;
use crate::{Backend, Form, KeySink, Mask, Part, PartyId, Result, Seed, Site};
use std::ops::Range;

/// Field number of a gate's fresh result mask.
pub const FRESH: u32 = 0;

/// The dealer on one segment: runs the program on masks.
pub struct Deal<'a, B: Backend> {
    /// The device.
    pub dev: B,
    seeds: [Seed; 2],
    origin: Origin,
    images: usize,
    gate: u32,
    sink: &'a mut dyn KeySink,
}

impl<'a, B: Backend> Deal<'a, B> {
    /// Deals segment `origin` of `images` images from both parties' seeds into `sink`.
    pub fn new(dev: B, seeds: [Seed; 2], origin: Origin, images: usize, sink: &'a mut dyn KeySink) -> Self {
        Deal { dev, seeds, origin, images, gate: 0, sink }
    }
    /// Images of the segment.
    pub fn images(&self) -> usize {
        self.images
    }
    /// Moves on to the next gate number.
    pub fn next_gate(&mut self) {
        self.gate += 1;
    }
    /// A fresh mask for the result of part `part` of this gate: both shares from the seeds, nothing is stored.
    pub fn fresh(&self, part: u32, form: &Form) -> Mask<B> {
        let share = |s: &Streams| self.dev.expand(s.field(FRESH), 0, form.len(), form.bits);
        let [s0, s1] = &self.streams(part);
        Mask { form: form.clone(), shares: [share(s0), share(s1)] }
    }
    /// The mask of an input wire: one stream per image, so that an image's share can be sent as its key.
    pub fn input(&self, form: &Form) -> Mask<B> {
        let key = |seed, image| owner_key(seed, self.origin, self.gate, image);
        let keys = |seed| (0..self.images as u64).map(|i| key(seed, i)).collect::<Vec<_>>();
        let share = |seed| self.dev.expand_each(&keys(seed), form.shape.row(), form.bits);
        Mask { form: form.clone(), shares: [share(&self.seeds[0]), share(&self.seeds[1])] }
    }
    /// Both parties' streams of one part of this gate.
    fn streams(&self, part: u32) -> [Streams; 2] {
        let site = Site { gate: self.gate, part };
        [0, 1].map(|p| Streams::new(&self.seeds[p], self.origin, site))
    }
    /// Deals one part of this gate, a group of tiles at a time, written in order.
    ///
    /// `f` fills one group through [`TileDeal`]; what it writes must be the fields that `part` announces. What it returns is
    /// handed back, group by group.
    pub fn tiles<T: Send>(
        &mut self,
        name: &'static str,
        part: u32,
        layout: &Part,
        f: impl Fn(&mut TileDeal<B>) -> T + Sync,
    ) -> Result<Vec<T>> {
        let (site, streams) = (Site { gate: self.gate, part }, self.streams(part));
        let deal = |range: Range<usize>| {
            let slots = Slots { range, elements: layout.elements };
            let mut t =
                TileDeal { dev: &self.dev, streams: &streams, origin: self.origin, site, slots, out: vec![] };
            let kept = f(&mut t);
            (t.slots, t.out, kept)
        };
        let mut all = vec![];
        for wave in groups::<B>(&(0..layout.elements)).chunks(B::GRAIN.wave) {
            let dealt: Vec<(Slots, Vec<Dealt<B>>, T)> = match B::GRAIN.threads {
                true => pool::each(wave.to_vec(), |range| Ok(deal(range)))?,
                false => wave.iter().cloned().map(deal).collect(),
            };
            for (slots, fields, kept) in dealt {
                all.push(kept);
                for (tile, bytes) in slots.tiles().zip(cut(&slots, layout, fields)?) {
                    for p in [0, 1] {
                        let want = layout.tile_bytes(p, layout.tile_len(tile));
                        debug_assert_eq!(bytes[p].len(), want, "{name} P{p}");
                    }
                    self.sink.put(name, site, tile, bytes)?;
                }
            }
        }
        Ok(all)
    }
}

/// Some fields of a group of tiles: field after field, each packed over the whole group.
struct Dealt<B: Backend> {
    /// Bits per slot of each field.
    widths: Vec<u32>,
    bytes: B::Packet,
    /// Whether both parties store them, or P1 alone.
    common: bool,
}

/// What a group's tiles hold: a tile's fields one after the other. All tiles but the part's last end at whole bytes.
fn cut<B: Backend>(slots: &Slots, layout: &Part, fields: Vec<Dealt<B>>) -> Result<Vec<[Vec<u8>; 2]>> {
    let mut out: Vec<[Vec<u8>; 2]> = slots
        .tiles()
        .map(|t| [0, 1].map(|p| Vec::with_capacity(layout.tile_bytes(p, layout.tile_len(t)))))
        .collect();
    for Dealt { widths, bytes, common } in fields {
        let (bytes, mut from) = (bytes.wait()?, 0);
        for width in widths {
            for (tile, out) in slots.tiles().zip(&mut out) {
                let len = packed_len(width, layout.tile_len(tile));
                out.iter_mut()
                    .skip(!common as usize)
                    .for_each(|o| o.extend_from_slice(&bytes[from..from + len]));
                from += len;
            }
        }
    }
    Ok(out)
}

/// A group of tiles while it is dealt. Three kinds of value (protocols, section 2): *free*, from both seeds, not stored;
/// *corrections*, of which P0 has its expansion and P1 stores the rest; *common* words, which both store.
pub struct TileDeal<'a, B: Backend> {
    dev: &'a B,
    streams: &'a [Streams; 2],
    origin: Origin,
    site: Site,
    slots: Slots,
    out: Vec<Dealt<B>>,
}

impl<'a, B: Backend> TileDeal<'a, B> {
    /// The device.
    pub fn dev(&self) -> &'a B {
        self.dev
    }
    /// Slots of the segment's part that are dealt.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
    /// The half-tree hashes of a predicate.
    pub fn trees(&self, predicate: usize) -> Trees {
        Trees { origin: self.origin, site: self.site, predicate }
    }
    /// These slots' elements of a vector over the whole segment.
    pub fn part_of(&self, whole: &B::Buf) -> B::Buf {
        self.dev.slice(whole, self.slots.range.start, self.slots.len())
    }

    fn stream(&self, party: usize, field: u32) -> Stream<'a> {
        self.streams[party].field(field)
    }
    fn put(&mut self, widths: Vec<u32>, bytes: B::Packet, common: bool) {
        self.out.push(Dealt { widths, bytes, common });
    }
    /// Sums of both parties' free bits, field by field.
    pub fn free_bits(&self, fields: &[u32]) -> B::Planes {
        let [a, b] = [0, 1].map(|p| self.dev.bit_fields(Fields::Own(&self.streams[p], fields), &self.slots));
        self.dev.xor_planes(a, &b)
    }
    /// Roots of point functions, per party: free but for the lowest bit, which is 0 for P0 and 1 for P1.
    pub fn free_roots(&self, field: u32) -> [Roots<'a>; 2] {
        PartyId::BOTH.map(|p| Roots::new(self.stream(p.index(), field), p, self.slots.range.start))
    }
    /// A correction word mod 2^bits.
    pub fn word(&mut self, field: u32, value: &B::Buf, bits: u32) {
        let rest = self.dev.correction(value, self.stream(0, field), &self.slots, bits);
        self.put(vec![bits], rest, false);
    }
    /// Correction bits: the products of the masks in `masks`, of these fields.
    pub fn products(&mut self, merge: &Merge, masks: &B::Planes, fields: &[u32]) {
        let rest = self.dev.digit_products(merge, masks, (&self.streams[0], fields), &self.slots);
        self.put(vec![1; fields.len()], rest, false);
    }
    /// A correction table: the one-hot tables of a digit of `x`.
    pub fn table(&mut self, field: u32, x: &B::Buf, digit: Digit) {
        let rest = self.dev.digit_tables(x, digit, self.stream(0, field), &self.slots);
        self.put(vec![1 << digit.bits], rest, false);
    }
    /// Common words: half-tree keys of `w` bits for `alpha`.
    pub fn dpf(&mut self, field: u32, predicate: usize, w: u32, alpha: &B::Buf) {
        let (trees, roots) = (self.trees(predicate), self.free_roots(field));
        let words = self.dev.dpf_keys(&trees, w, roots, alpha, &self.slots);
        self.put(vec![128 * (w - 6)], words, true);
    }
}
