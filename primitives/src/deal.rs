//! What a gate sees while it is dealt: the device, both seeds, and a sink for tiles.

use crate::bits::{Bits, write_words};
use crate::owner::weight_key;
use crate::prg::{Origin, Roots, Stream, Streams, owner_key};
use crate::record::packed_len;
use crate::{Backend, Form, KeySink, Mask, Part, PartyId, Result, Ring, Seed, Site, TILE};
use rayon::prelude::*;
use std::ops::Range;

/// Field number of a gate's fresh result mask.
pub const FRESH: u32 = 0;

/// Tiles dealt at once: bounds the dealer's memory at a few tiles per thread.
const WAVE: usize = 16;

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
        let share = |seed| input_share(&self.dev, &keys(seed), form);
        Mask { form: form.clone(), shares: [share(&self.seeds[0]), share(&self.seeds[1])] }
    }
    /// The mask of a weight tensor whose number is this gate's: its owner gets each share as one key.
    pub fn weight(&self, form: &Form) -> Mask<B> {
        let share = |seed| {
            let streams = Streams::from_key(&weight_key(seed, self.origin, self.gate));
            self.dev.expand(streams.field(FRESH), 0, form.len(), form.bits)
        };
        Mask { form: form.clone(), shares: [share(&self.seeds[0]), share(&self.seeds[1])] }
    }
    /// Both parties' streams of one part of this gate.
    fn streams(&self, part: u32) -> [Streams; 2] {
        let site = Site { gate: self.gate, part };
        [0, 1].map(|p| Streams::new(&self.seeds[p], self.origin, site))
    }
    /// Deals one part of this gate tile by tile, tiles in parallel, written in order.
    ///
    /// `f` fills one tile through [`TileDeal`]; what it writes must be the fields that `part` announces.
    pub fn tiles(
        &mut self,
        name: &'static str,
        part: u32,
        layout: &Part,
        f: impl Fn(&mut TileDeal<B>) + Sync,
    ) -> Result<()> {
        let (site, streams) = (Site { gate: self.gate, part }, self.streams(part));
        for first in (0..layout.tiles()).step_by(WAVE) {
            let wave = first..(first + WAVE).min(layout.tiles());
            let deal = |tile: usize| {
                let range = tile * TILE..tile * TILE + layout.tile_len(tile);
                let mut t = TileDeal {
                    dev: &self.dev,
                    streams: &streams,
                    origin: self.origin,
                    site,
                    range,
                    out: [0, 1].map(|p| Vec::with_capacity(layout.tile_bytes(p, layout.tile_len(tile)))),
                };
                f(&mut t);
                t.out
            };
            let dealt: Vec<[Vec<u8>; 2]> = wave.clone().into_par_iter().map(deal).collect();
            for (tile, bytes) in wave.zip(dealt) {
                for p in [0, 1] {
                    debug_assert_eq!(
                        bytes[p].len(),
                        layout.tile_bytes(p, layout.tile_len(tile)),
                        "{name} P{p}"
                    );
                }
                self.sink.put(name, site, tile, bytes)?;
            }
        }
        Ok(())
    }
}

/// A party's share of an input mask: image by image, each from its own key.
pub(crate) fn input_share<B: Backend>(dev: &B, keys: &[[u8; 16]], form: &Form) -> B::Buf {
    let image = |k| dev.expand(Streams::from_key(k).field(0), 0, form.shape.row(), form.bits);
    dev.concat(keys.iter().map(image).collect())
}

/// One tile while it is dealt. Three kinds of value (protocols, section 2): *free*, from both seeds, not stored;
/// *corrections*, of which P0 has its expansion and P1 stores the rest; *common* words, which both store.
pub struct TileDeal<'a, B: Backend> {
    dev: &'a B,
    streams: &'a [Streams; 2],
    origin: Origin,
    site: Site,
    range: Range<usize>,
    out: [Vec<u8>; 2],
}

impl<B: Backend> TileDeal<'_, B> {
    /// The device.
    pub fn dev(&self) -> &B {
        self.dev
    }
    /// Key set and segment.
    pub fn origin(&self) -> Origin {
        self.origin
    }
    /// Gate and part.
    pub fn site(&self) -> Site {
        self.site
    }
    /// Elements of the segment that this tile covers.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
    /// Number of the tile within its part.
    pub fn tile(&self) -> u64 {
        (self.range.start / TILE) as u64
    }
    /// This tile's elements of a vector over the whole segment.
    pub fn part_of(&self, whole: &B::Buf) -> B::Buf {
        self.dev.slice(whole, self.range.start, self.range.len())
    }

    fn stream(&self, party: usize, field: u32) -> Stream<'_> {
        self.streams[party].field(field)
    }
    /// Free bits, per party.
    pub fn free_bits(&self, field: u32) -> [Bits; 2] {
        [0, 1].map(|p| self.stream(p, field).bits(self.range()))
    }
    /// The sum of both parties' free bits, into words.
    pub fn free_sum(&self, field: u32, out: &mut [u64]) {
        let mut other = vec![0; out.len()];
        self.stream(0, field).bits_into(self.range(), out);
        self.stream(1, field).bits_into(self.range(), &mut other);
        out.iter_mut().zip(other).for_each(|(z, e)| *z ^= e);
    }
    /// Roots of point functions, per party: free but for the lowest bit, which is 0 for P0 and 1 for P1.
    pub fn free_roots(&self, field: u32) -> [Roots<'_>; 2] {
        PartyId::BOTH.map(|p| Roots::new(self.stream(p.index(), field), p, self.range.start))
    }
    /// A correction word mod 2^bits.
    pub fn word(&mut self, field: u32, value: &B::Buf, bits: u32) {
        let e0 = self.dev.expand(self.stream(0, field), self.range.start, self.range.len(), bits);
        let minus = B::Ring::ZERO.sub(B::Ring::ONE);
        let rest = self.dev.lin(&[(B::Ring::ONE, value), (minus, &e0)], bits);
        self.out[1].extend(self.dev.pack(&rest, bits));
    }
    /// A correction bit, 64 elements to a word; bits past the last element are zero.
    pub fn bits(&mut self, field: u32, value: &[u64]) {
        let mut rest = vec![0; value.len()];
        self.stream(0, field).bits_into(self.range(), &mut rest);
        rest.iter_mut().zip(value).for_each(|(z, v)| *z ^= v);
        let from = self.out[1].len();
        self.out[1].resize(from + value.len() * 8, 0);
        write_words(&rest, &mut self.out[1][from..]);
        self.out[1].truncate(from + packed_len(1, self.range.len()));
    }
    /// A correction table: words of `width` bits, packed, shared by exclusive or.
    pub fn table(&mut self, field: u32, mut value: Vec<u8>, width: u32) {
        // Tiles start at multiples of 4,096 elements, hence at whole bytes of the stream.
        let e0 = self.stream(0, field).bytes(self.range.start * width as usize / 8, value.len());
        value.iter_mut().zip(e0).for_each(|(v, e)| *v ^= e);
        let unused = value.len() * 8 - self.range.len() * width as usize;
        if let Some(last) = value.last_mut() {
            *last &= 0xff >> unused;
        }
        self.out[1].extend(value);
    }
    /// Common words of `width` bits per element, stored by both: `f` writes the bytes it is given.
    pub fn common(&mut self, width: u32, f: impl FnOnce(&mut [u8], &Self)) {
        let mut out = std::mem::take(&mut self.out[0]);
        let from = out.len();
        out.resize(from + packed_len(width, self.range.len()), 0);
        f(&mut out[from..], self);
        self.out[1].extend_from_slice(&out[from..]);
        self.out[0] = out;
    }
}
