//! The backend of an NVIDIA GPU: the same bits as the CPU's, from kernels that are compiled when the device is opened.
//!
//! Every method asks the device for work and returns; what leaves the device says whether all went well. Kernels are the
//! `.cu` files beside this one; each says there why no branch and no address depends on a secret.
#![allow(unsafe_code)] // memory and kernels of the device

mod arg;
mod compile;
mod device;
mod driver;
#[cfg(test)]
mod faults;
mod host;
mod measure;
mod memory;
#[cfg(test)]
mod missing;
mod pieces;
mod product;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;

pub use device::check;
pub use driver::{count, name};
pub use host::PinnedTile;
pub use measure::About;
pub use memory::{Buf, Planes};
pub use transfer::Packet;

use super::{
    Backend, Cpu, Digit, Field, Fields, Grain, Hot, Lookup, Merge, Merging, Packed, Product, Slots, Stored,
    Term, Trees,
};
use crate::prg::{Roots, Rounds, Stream, Streams};
use crate::record::packed_len;
use crate::{Error, Form, Local, Result, Ring, TILE, TileBytes};
use arg::{Key, Sum, Where, Window, Word};
use device::{Arg, Device};
use memory::Block;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};

/// A GPU, for one ring.
#[derive(Clone)]
pub struct Cuda<R> {
    dev: Arc<Device>,
    places: Arc<Places>,
    ring: PhantomData<R>,
}

/// Indices of gathers on the device, as long as the plan's own are there.
type Places = Mutex<HashMap<usize, (Weak<[usize]>, Arc<Block>)>>;

/// Fields of at least so many bits are words of half-trees: they come first in a tile, are most of it, and go after the
/// comparison.
const TREES: u32 = 256;

/// Key tiles on a device, in two parts: half-tree words, tile behind tile, and what is behind them in each.
pub struct Keys {
    trees: Option<Arc<Block>>,
    rest: Arc<Block>,
    /// Bytes of half-tree words in a full tile, and in a short last one.
    ends: [usize; 2],
}

impl<R: Ring> Cuda<R> {
    /// Device number `ordinal`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] with cause and remedy: no driver, no compiler, no such device, no memory.
    pub fn open(ordinal: usize) -> Result<Self> {
        let dev = Cuda { dev: Arc::new(Device::open(ordinal)?), places: Arc::default(), ring: PhantomData };
        driver::guarded(|| dev.trial()).map(|()| dev)
    }
    /// Has the device take, compute and give back what is known: a device that does not work at all shows here.
    fn trial(&self) -> Result<()> {
        let (streams, len) = (Streams::from_key(&[1; 16]), 1000);
        let wanted = Cpu::<R>::new().expand(streams.field(1), 3, len, R::BITS);
        let got = self.download(
            &self.concat(vec![self.upload(&wanted[..1]), self.expand(streams.field(1), 4, len - 1, R::BITS)]),
        );
        self.health()?;
        let wrong = || Error::Device("the device computes wrongly; use another one, or --device cpu".into());
        (got == wanted).then_some(()).ok_or_else(wrong)
    }
    /// Key bytes in pinned memory, which the device reads without the CPU's help.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the memory cannot be had.
    pub fn pin(&self, bytes: &[u8]) -> Result<PinnedTile> {
        PinnedTile::copy(&self.dev.context, bytes)
    }
    /// Waits until the device is done with everything asked of it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if something went wrong with it.
    pub fn finish(&self) -> Result<()> {
        for stream in [&self.dev.feed, &self.dev.compute, &self.dev.out] {
            self.dev.wait_for(stream);
        }
        self.dev.health()
    }
}

impl<R: Ring> Backend for Cuda<R> {
    type Ring = R;
    type Buf = Buf<R>;
    type Bits = Planes;
    type Planes = Planes;
    type Keys = Keys;
    type Packet = Packet;

    // 2^18 elements: as many threads as an H100 holds at once; a wave of half-tree keys at 31 bits is 0.4 GiB
    const GRAIN: Grain = Grain { tiles: 64, wave: 4, threads: false, opened: 1 << 20, ahead: 1 << 30 };

    fn health(&self) -> Result<()> {
        self.dev.health()
    }
    fn settle(&self) -> Result<()> {
        self.finish()
    }
    fn ahead(&self) -> usize {
        // what is computed goes first: parties, and a dealer, may share a device
        Self::GRAIN.ahead.min(self.dev.memory / 16)
    }

    fn upload(&self, v: &[R]) -> Buf<R> {
        Buf::whole(self.upload_plain(v), v.len())
    }
    fn download(&self, b: &Buf<R>) -> Vec<R> {
        use super::Packet as _;
        let bytes =
            Packet::new(b.block.clone(), b.ptr(), b.bytes()).wait().unwrap_or_else(|_| vec![0; b.bytes()]);
        let word = |c: &[u8]| R::from_u64(c.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b)));
        bytes.chunks_exact(size_of::<R>()).map(word).collect()
    }
    fn wipe(&self, b: &mut Buf<R>) {
        b.block.wipe();
    }
    fn len(&self, b: &Buf<R>) -> usize {
        b.len
    }
    fn slice(&self, b: &Buf<R>, from: usize, len: usize) -> Buf<R> {
        b.slice(from, len)
    }
    fn concat(&self, mut parts: Vec<Buf<R>>) -> Buf<R> {
        if parts.len() == 1 {
            return parts.swap_remove(0);
        }
        let out = self.buf(parts.iter().map(|p| p.len).sum());
        let mut at = 0;
        for part in &parts {
            out.block.copy(at, part.ptr(), part.bytes());
            at += part.bytes();
        }
        out
    }

    fn expand(&self, stream: Stream, from: usize, len: usize, bits: u32) -> Buf<R> {
        let out = self.buf(len);
        let key = Key::of(stream.rounds());
        self.run(
            "expand",
            len * size_of::<R>() / 16 + 1,
            &[&out.ptr(), &(from as u64), &self.dev.size(len), &stream.number(), &bits, &key],
        );
        out
    }
    fn expand_each(&self, keys: &[[u8; 16]], row: usize, bits: u32) -> Buf<R> {
        let out = self.buf(keys.len() * row);
        let rounds: zeroize::Zeroizing<Vec<u32>> =
            keys.iter().flat_map(|k| Key::of(Rounds::of(k)).0).collect::<Vec<_>>().into();
        let rounds = self.upload_plain(&rounds);
        let threads = keys.len() * (row * size_of::<R>()).div_ceil(16);
        let (row, count) = (self.dev.size(row), self.dev.size(keys.len()));
        self.run("expand_each", threads, &[&out.ptr(), &row, &count, &bits, &rounds.ptr()]);
        rounds.wipe();
        out
    }
    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&Buf<R>]) -> Buf<R> {
        let (one, mask) = (R::ONE, R::ones(out.bits));
        let term = |c: R, x: &Buf<R>| Sum { c, when: 0, x: x.ptr() };
        match f {
            Local::Add => self.add_up(out.len(), &[term(one, x[0]), term(one, x[1])], mask),
            Local::Sub => self.add_up(out.len(), &[term(one, x[0]), term(R::ZERO.sub(one), x[1])], mask),
            Local::AddRow => {
                let z = self.add_row(x[0], x[1], 1);
                self.add_up(out.len(), &[term(one, &z)], mask)
            }
            Local::Scale(c) => self.add_up(out.len(), &[term(R::from_i64(*c), x[0])], mask),
            Local::AddPublic(c) => {
                let public = Sum { c: R::from_i64(*c), when: 0, x: 0 };
                self.add_up(out.len(), &[term(one, x[0]), public], mask)
            }
            Local::Reshape(_) => x[0].clone(),
            Local::Reduce(_) => self.add_up(out.len(), &[term(one, x[0])], mask),
            Local::Gather(index) => {
                let x: Vec<_> = x.iter().zip(forms).map(|(x, f)| (*x, f.shape.row())).collect();
                self.gather(index, out.shape.batch(), out.bits, &x)
            }
            Local::SumPool(w) => {
                let (&[b, c, h, wd], &[.., oh, ow]) = (&forms[0].shape.0[..], &out.shape.0[..]) else {
                    return self.upload(&[]);
                };
                let z = self.buf(out.len());
                let [planes, h, wd, oh, ow] = [b * c, h, wd, oh, ow].map(|v| self.dev.size(v));
                let (window, mask) = (Window::of(&self.dev, w), Word(mask));
                let args: [&dyn Arg; 9] = [&z.ptr(), &x[0].ptr(), &planes, &h, &wd, &oh, &ow, &window, &mask];
                self.run("sum_pool", z.len, &args);
                z
            }
            Local::ScaleEach(c) => {
                let z = self.buf(out.len());
                let factors = self.upload(&c.iter().map(|&c| R::from_i64(c)).collect::<Vec<_>>());
                let (rows, len, mask) = (self.dev.size(c.len()), self.dev.size(z.len), Word(mask));
                let args: [&dyn Arg; 6] = [&z.ptr(), &x[0].ptr(), &factors.ptr(), &rows, &mask, &len];
                self.run("scale_each", z.len, &args);
                z
            }
            Local::Sums(sums) => {
                let x: Vec<_> = x.iter().zip(forms).map(|(x, f)| (*x, f.shape.row())).collect();
                let all = self.gather(&sums.places, out.shape.batch(), R::BITS, &x);
                let (z, starts) = (self.buf(out.len()), self.indices(&sums.starts));
                let [row, places, len] = [sums.row(), sums.places.len(), out.len()].map(|v| self.dev.size(v));
                let args: [&dyn Arg; 7] =
                    [&z.ptr(), &all.ptr(), &starts.ptr(), &row, &places, &Word(mask), &len];
                self.run("segments", z.len, &args);
                z
            }
            Local::SumBatch => {
                let (z, [batch, len]) =
                    (self.buf(out.len()), [forms[0].shape.batch(), out.len()].map(|v| self.dev.size(v)));
                self.run("sum_batch", z.len, &[&z.ptr(), &x[0].ptr(), &batch, &Word(mask), &len]);
                z
            }
        }
    }
    fn sum(&self, len: usize, terms: &[Term<Self>], bits: u32) -> Buf<R> {
        let term =
            |t: &Term<Self>| Sum { c: t.c, when: t.when.map_or(0, Planes::ptr), x: t.x.map_or(0, Buf::ptr) };
        let mut terms: Vec<Sum<R>> = terms.iter().map(term).collect();
        let (most, mask) = (arg::MOST, R::ones(bits));
        let mut held = vec![];
        while terms.len() > most {
            let rest = terms.split_off(most);
            let part = self.add_up(len, &terms, mask);
            terms = std::iter::once(Sum { c: R::ONE, when: 0, x: part.ptr() }).chain(rest).collect();
            held.push(part);
        }
        self.add_up(len, &terms, mask)
    }
    fn mul(&self, a: &Buf<R>, b: &Buf<R>) -> Buf<R> {
        let out = self.buf(a.len);
        self.run("mul", a.len, &[&out.ptr(), &a.ptr(), &b.ptr(), &self.dev.size(a.len)]);
        out
    }
    fn product(&self, p: &Product, forms: [&Form; 2], x: &Buf<R>, w: &Buf<R>) -> Buf<R> {
        match p {
            Product::Elementwise => self.mul(x, w),
            Product::Linear => product::linear(self, forms, x, w),
            Product::Conv { window, groups } => product::conv(self, forms, x, w, window, *groups),
            Product::LinearDx => product::linear_dx(self, forms, x, w),
            Product::LinearDw => product::linear_dw(self, forms, x, w),
            Product::ConvDx { window, groups, input } => {
                product::conv_dx(self, forms, x, w, window, (*groups, *input))
            }
            Product::ConvDw { window, groups } => product::conv_dw(self, forms, x, w, window, *groups),
            Product::Dot { block } => product::dot(self, forms[0], x, w, *block),
        }
    }
    fn add_row(&self, x: &Buf<R>, row: &Buf<R>, span: usize) -> Buf<R> {
        let out = self.buf(x.len);
        let [span, rows, len] = [span, row.len, x.len].map(|v| self.dev.size(v));
        self.run("add_row", x.len, &[&out.ptr(), &x.ptr(), &row.ptr(), &span, &rows, &len]);
        out
    }
    fn shift(&self, x: &Buf<R>, add: u64, by: u32, bits: u32) -> Buf<R> {
        let (out, mask, len) = (self.buf(x.len), Word(R::ones(bits)), self.dev.size(x.len));
        self.run("shift", x.len, &[&out.ptr(), &x.ptr(), &add, &by, &mask, &len]);
        out
    }

    fn pack(&self, x: &Buf<R>, bits: u32) -> Packet {
        if bits == R::BITS {
            return Packet::new(x.block.clone(), x.ptr(), x.bytes());
        }
        let len = x.len * bits as usize;
        let out = Block::new(&self.dev, len.div_ceil(32) * 4);
        self.run("pack", len.div_ceil(32), &[&out.ptr(), &x.ptr(), &bits, &self.dev.size(x.len)]);
        let ptr = out.ptr();
        Packet::new(out, ptr, len.div_ceil(8))
    }
    fn unpack(&self, p: &Packed) -> Buf<R> {
        let (out, (bytes, at), len) = (self.buf(p.len), self.upload_packed(p), self.dev.size(p.len));
        self.run("unpack", p.len, &[&out.ptr(), &bytes.ptr(), &at, &p.width, &len]);
        out
    }
    fn add_packed(&self, x: &mut Buf<R>, from: usize, p: &Packed) {
        x.own(&self.dev);
        let ((bytes, at), len) = (self.upload_packed(p), self.dev.size(p.len));
        self.run("add_packed", p.len, &[&x.slice(from, p.len).ptr(), &bytes.ptr(), &at, &p.width, &len]);
    }

    fn bit(&self, x: &Buf<R>, i: u32) -> Planes {
        let out = self.vectors(1, x.len);
        self.run("bit", x.len, &[&out.ptr(), &x.ptr(), &i, &self.dev.size(x.len)]);
        out
    }
    fn count(&self, b: &Planes) -> usize {
        b.len
    }
    fn xor(&self, a: &Planes, b: &Planes) -> Planes {
        self.logic(a, b, 0)
    }
    fn and(&self, a: &Planes, b: &Planes) -> Planes {
        self.logic(a, b, 1)
    }
    fn not(&self, a: &Planes) -> Planes {
        self.logic(a, a, 2)
    }
    fn planes(&self, mut bits: Vec<Planes>) -> Planes {
        if bits.len() == 1 {
            return bits.swap_remove(0);
        }
        let out = self.vectors(bits.len(), bits.first().map_or(0, |b| b.len));
        bits.iter().enumerate().for_each(|(i, b)| out.put(i, b));
        out
    }
    fn plane(&self, p: &Planes, i: usize) -> Planes {
        p.some(i, 1)
    }
    fn xor_planes(&self, a: Planes, b: &Planes) -> Planes {
        self.logic(&a, b, 0)
    }
    fn say(&self, p: &Planes, slots: &Slots) -> Packet {
        let bits = self.dev.size(p.count * p.len) as usize;
        let out = Block::new(&self.dev, bits.div_ceil(32) * 4);
        let [stride, count] = [p.stride(), p.count].map(|v| self.dev.size(v));
        let args: [&dyn Arg; 5] = [&out.ptr(), &p.ptr(), &stride, &count, &Where::of(&self.dev, slots)];
        self.dev.run("join", bits.div_ceil(32), &args);
        let ptr = out.ptr();
        Packet::new(out, ptr, bits.div_ceil(8))
    }
    fn open(&self, mine: &Planes, theirs: &Packed, slots: &Slots) -> Planes {
        let (out, (bytes, at)) = (self.vectors(mine.count, mine.len), self.upload_packed(theirs));
        let [stride, count] = [mine.stride(), mine.count].map(|v| self.dev.size(v));
        let args: [&dyn Arg; 7] =
            [&out.ptr(), &mine.ptr(), &bytes.ptr(), &at, &stride, &count, &Where::of(&self.dev, slots)];
        self.dev.run("open", out.count * out.stride(), &args);
        out
    }

    fn load(&self, tiles: Vec<TileBytes>, fields: &[u32], slots: &Slots) -> Keys {
        let first = &fields[..fields.iter().take_while(|&&w| w >= TREES).count()];
        let bytes = |fields: &[u32], len| fields.iter().map(|&w| packed_len(w, len)).sum::<usize>();
        let end = |tile: usize| bytes(first, TILE.min(slots.elements - tile * TILE));
        let ends: Vec<usize> = slots.tiles().map(end).collect();
        let trees: Vec<Range<usize>> = ends.iter().map(|&end| 0..end).collect();
        let rest: Vec<Range<usize>> =
            ends.iter().zip(&tiles).map(|(&end, tile)| end..tile.as_ref().as_ref().len()).collect();
        let stride = bytes(first, TILE);
        Keys {
            trees: (stride > 0).then(|| self.dev.feed_tiles(&tiles, &trees, stride)),
            rest: self.dev.feed_tiles(&tiles, &rest, bytes(fields, TILE) - stride),
            ends: [stride, bytes(first, slots.elements % TILE)],
        }
    }
    fn compared(&self, keys: &mut Keys) {
        keys.trees = None;
    }
    fn word(&self, field: Field<Keys>, slots: &Slots, bits: u32) -> Buf<R> {
        match field {
            Field::Own(stream) => self.expand(stream, slots.range.start, slots.len(), bits),
            Field::Stored(s) => {
                let out = self.buf(slots.len());
                self.run("stored", out.len, &[&out.ptr(), &self.place(&s), &Where::of(&self.dev, slots)]);
                out
            }
        }
    }
    fn bit_fields(&self, fields: Fields<Keys>, slots: &Slots) -> Planes {
        match fields {
            Fields::Own(streams, fields) => {
                let out = self.vectors(fields.len(), slots.len());
                let [stride, count, len] =
                    [out.stride(), fields.len(), slots.len()].map(|v| self.dev.size(v));
                let key = Key::of(streams.field(0).rounds());
                let numbers = self.upload_plain(fields);
                let first = slots.range.start as u64;
                let args: [&dyn Arg; 7] = [&out.ptr(), &stride, &first, &len, &numbers.ptr(), &count, &key];
                // 31 lanes of 32 make four words each
                let warps = out.stride().div_ceil(4).div_ceil(31);
                self.dev.run("bit_fields", fields.len() * warps * 32, &args);
                out
            }
            Fields::Stored(s, count) => {
                let out = self.vectors(count, slots.len());
                let [stride, count] = [out.stride(), count].map(|v| self.dev.size(v));
                let args: [&dyn Arg; 5] =
                    [&out.ptr(), &stride, &count, &self.place(&s), &Where::of(&self.dev, slots)];
                self.dev.run("stored_planes", out.count * out.stride(), &args);
                out
            }
        }
    }
    fn correction(&self, x: &Buf<R>, stream: Stream, slots: &Slots, bits: u32) -> Packet {
        let (len, from) = (x.len * bits as usize, slots.range.start as u64);
        let out = Block::new(&self.dev, len.div_ceil(32) * 4);
        let key = Key::of(stream.rounds());
        let args: [&dyn Arg; 7] =
            [&out.ptr(), &x.ptr(), &from, &stream.number(), &bits, &self.dev.size(x.len), &key];
        self.run("correct", x.len, &args);
        let ptr = out.ptr();
        Packet::new(out, ptr, len.div_ceil(8))
    }

    fn dpf_keys(&self, trees: &Trees, w: u32, roots: [Roots; 2], alpha: &Buf<R>, slots: &Slots) -> Packet {
        let (out, len) = self.dpf_words(trees, w, roots, alpha, slots);
        let ptr = out.ptr();
        Packet::new(out, ptr, len)
    }
    fn dpf_bits(
        &self,
        trees: &Trees,
        w: u32,
        roots: Roots,
        words: Stored<Keys>,
        x: &Buf<R>,
        slots: &Slots,
    ) -> Planes {
        let (out, hashes) = (self.vectors(1, slots.len()), self.hashes(trees, slots));
        let (stream, party) = (roots.stream(), roots.party().index() as u32);
        let (key, field, place, at) =
            (Key::of(stream.rounds()), stream.number(), self.tree_place(&words), Where::of(&self.dev, slots));
        let args: [&dyn Arg; 9] =
            [&out.ptr(), &x.ptr(), &w, &key, &field, &party, &place, &at, &hashes.ptr()];
        self.run("dpf_evaluate", slots.len(), &args);
        out
    }
    fn at_most(&self, table: Field<Keys>, w: u32, x: &Buf<R>, slots: &Slots) -> Planes {
        let (out, (table, _held)) = (self.vectors(1, slots.len()), self.table(table, 1 << w, slots));
        self.run("at_most", slots.len(), &[&out.ptr(), &x.ptr(), &w, &table, &Where::of(&self.dev, slots)]);
        out
    }
    fn look_up(&self, table: Lookup, hot: Hot<Keys>, x: &Buf<R>, slots: &Slots) -> Buf<R> {
        let (out, entries) = (self.buf(slots.len()), self.upload_plain(table.entries));
        let (w, at) = (table.width, Where::of(&self.dev, slots));
        match hot {
            Hot::Table(field) => {
                let (hot, _held) = self.table(field, 1 << w, slots);
                self.run("look_up", out.len, &[&out.ptr(), &x.ptr(), &w, &entries.ptr(), &hot, &at]);
            }
            Hot::Tree { trees, roots, words } => {
                let (stream, party) = (roots.stream(), roots.party().index() as u32);
                let (key, field, hashes) =
                    (Key::of(stream.rounds()), stream.number(), self.hashes(trees, slots));
                let args: [&dyn Arg; 10] = [
                    &out.ptr(),
                    &x.ptr(),
                    &w,
                    &entries.ptr(),
                    &key,
                    &field,
                    &party,
                    &self.tree_place(&words),
                    &at,
                    &hashes.ptr(),
                ];
                self.run("look_up_tree", out.len, &args);
            }
        }
        out
    }

    fn digit_tables(&self, x: &Buf<R>, digit: Digit, stream: Stream, slots: &Slots) -> Packet {
        let bits = x.len << digit.bits;
        let first = (slots.range.start << digit.bits) / 32;
        let mask: Buf<u32> = self.at::<u32>().expand(stream, first, bits.div_ceil(32), 32);
        let out = Block::new(&self.dev, bits.div_ceil(32) * 4);
        let args: [&dyn Arg; 6] =
            [&out.ptr(), &x.ptr(), &digit.shift, &digit.bits, &mask.ptr(), &self.dev.size(x.len)];
        self.run("one_hot", bits.div_ceil(32), &args);
        let ptr = out.ptr();
        Packet::new(out, ptr, bits.div_ceil(8))
    }
    fn digit_products(
        &self,
        merge: &Merge,
        masks: &Planes,
        (streams, fields): (&Streams, &[u32]),
        slots: &Slots,
    ) -> Packet {
        let other = self.bit_fields(Fields::Own(streams, fields), slots);
        let out = self.vectors(merge.stored(), slots.len());
        let [stride, k, len] = [out.stride(), merge.k, slots.len()].map(|v| self.dev.size(v));
        let args: [&dyn Arg; 6] = [&out.ptr(), &masks.ptr(), &other.ptr(), &stride, &k, &len];
        self.dev.run("digit_products", out.stride() << (merge.k - 1), &args);
        out.packet()
    }
    fn digit_planes(
        &self,
        tables: Vec<(Digit, Field<Keys>)>,
        masks: &Planes,
        x: &Buf<R>,
        slots: &Slots,
    ) -> Planes {
        let out = self.vectors(masks.count, slots.len());
        for (i, (digit, field)) in tables.into_iter().enumerate() {
            let (table, _held) = self.table(field, 1 << digit.bits, slots);
            // of the last digit it does not matter whether it is equal
            let equal = if 2 * i + 1 < out.count { [out.at(2 * i + 1), masks.at(2 * i + 1)] } else { [0, 0] };
            let less = [out.at(2 * i), masks.at(2 * i)];
            let args: [&dyn Arg; 9] = [
                &equal[0],
                &less[0],
                &equal[1],
                &less[1],
                &x.ptr(),
                &digit.shift,
                &digit.bits,
                &table,
                &Where::of(&self.dev, slots),
            ];
            self.run("digit_lookup", slots.len(), &args);
        }
        out
    }
    fn digit_merge(&self, merge: &Merge, from: usize, p: Merging<Self>) -> Planes {
        let out = self.vectors(1, p.opened.len);
        let one = if p.one { u32::MAX } else { 0 };
        let [stride, k, from, len] =
            [p.opened.stride(), merge.k, from, p.opened.len].map(|v| self.dev.size(v));
        let args: [&dyn Arg; 9] =
            [&out.ptr(), &p.opened.ptr(), &p.masks.ptr(), &p.products.ptr(), &stride, &k, &from, &one, &len];
        self.dev.run("digit_merge", out.stride(), &args);
        out
    }
}
