//! A device that notes what it is asked to expand and what it is shown, and leaves the computing to another.
//!
//! Everything a gate draws from a seed, and everything a party learns, passes the device: so nothing in the gates, the
//! dealer or the sessions has to know that it is watched.

use super::notes::Notes;
use super::redirect::Redirect;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use twoply_primitives::backend::{
    Digit, Field, Fields, Grain, Hot, Lookup, Merge, Merging, Packed, Product, Slots, Stored, Term, Trees,
};
use twoply_primitives::prg::{Roots, Stream, Streams};
use twoply_primitives::{Backend, Form, Local, Result, Ring, TileBytes};

/// Values that both parties learnt in one message, or that an owner sent: element after element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire {
    /// Bits per value.
    pub width: u32,
    /// What is open.
    pub opened: Vec<u64>,
    /// What the peer said of it; nothing of what came from an owner.
    pub heard: Vec<u64>,
    /// Where the next slots of a message of bits begin.
    next: usize,
}

/// The device `D`, watched.
#[derive(Clone)]
pub struct Watched<D> {
    pub inner: D,
    pub notes: Notes,
    /// Elements that were overwritten.
    pub wiped: Arc<AtomicUsize>,
    redirect: Arc<Redirect>,
    seen: Option<Arc<Mutex<Vec<Wire>>>>,
}

impl<D: Backend> Watched<D> {
    /// Notes what is expanded.
    pub fn new(inner: D, redirect: Arc<Redirect>) -> Self {
        Watched { inner, notes: Notes::default(), wiped: Arc::default(), redirect, seen: None }
    }
    /// Keeps what it is shown, too.
    pub fn seeing(self) -> Self {
        Watched { seen: Some(Arc::default()), ..self }
    }
    /// What it was shown since this was asked last.
    pub fn take_seen(&self) -> Vec<Wire> {
        self.seen.as_ref().map_or(vec![], |s| std::mem::take(&mut s.lock().unwrap()))
    }
    fn see(&self, first: bool, wire: impl FnOnce() -> Wire) {
        let Some(seen) = &self.seen else { return };
        let (mut seen, wire) = (seen.lock().unwrap(), wire());
        match seen.last_mut().filter(|_| !first) {
            Some(last) => {
                last.opened.extend(wire.opened);
                last.heard.extend(wire.heard);
            }
            None => seen.push(wire),
        }
    }
    fn read(&self, b: &D::Buf) -> Vec<u64> {
        self.inner.download(b).iter().map(|v| v.low()).collect()
    }
    fn bits_of(&self, p: &D::Planes, i: usize) -> Vec<u64> {
        self.read(&self.inner.of_bits(&self.inner.plane(p, i)))
    }
    /// Follows the planted faults of a field, and notes it.
    fn field<'a>(
        &'a self,
        what: &'static str,
        f: Field<'a, D::Keys>,
        slots: &Slots,
        width: usize,
    ) -> Field<'a, D::Keys> {
        let Field::Own(stream) = f else { return f };
        let stream = self.redirect.of(stream);
        self.notes.words(what, stream, slots.range.start, slots.len(), width);
        Field::Own(stream)
    }
    fn bits(&self, what: &'static str, streams: &Streams, fields: &[u32], slots: &Slots) {
        for &field in fields {
            self.notes.words(what, streams.field(field), slots.range.start, slots.len(), 1);
        }
    }
}

/// Bits of a word, as it takes them from a stream.
fn word<D: Backend>() -> usize {
    D::Ring::BITS as usize
}

impl<D: Backend> Backend for Watched<D> {
    type Ring = D::Ring;
    type Buf = D::Buf;
    type Bits = D::Bits;
    type Planes = D::Planes;
    type Keys = D::Keys;
    type Packet = D::Packet;
    const GRAIN: Grain = D::GRAIN;

    fn health(&self) -> Result<()> {
        self.inner.health()
    }
    fn upload(&self, v: &[D::Ring]) -> D::Buf {
        self.inner.upload(v)
    }
    fn download(&self, b: &D::Buf) -> Vec<D::Ring> {
        self.inner.download(b)
    }
    fn wipe(&self, b: &mut D::Buf) {
        self.wiped.fetch_add(self.inner.len(b), Ordering::Relaxed);
        self.inner.wipe(b);
    }
    fn len(&self, b: &D::Buf) -> usize {
        self.inner.len(b)
    }
    fn slice(&self, b: &D::Buf, from: usize, len: usize) -> D::Buf {
        self.inner.slice(b, from, len)
    }
    fn concat(&self, parts: Vec<D::Buf>) -> D::Buf {
        self.inner.concat(parts)
    }
    fn expand(&self, stream: Stream, from: usize, len: usize, bits: u32) -> D::Buf {
        let stream = self.redirect.of(stream);
        self.notes.words("mask", stream, from, len, word::<D>());
        self.inner.expand(stream, from, len, bits)
    }
    fn expand_each(&self, keys: &[[u8; 16]], row: usize, bits: u32) -> D::Buf {
        let keys = self.redirect.keys(keys);
        keys.iter().for_each(|k| self.notes.key("mask of an image", k, row * word::<D>()));
        self.inner.expand_each(&keys, row, bits)
    }
    fn local(&self, f: &Local, out: &Form, forms: &[&Form], x: &[&D::Buf]) -> D::Buf {
        self.inner.local(f, out, forms, x)
    }
    fn sum(&self, len: usize, terms: &[Term<Self>], bits: u32) -> D::Buf {
        let terms: Vec<Term<D>> = terms.iter().map(|t| Term { c: t.c, when: t.when, x: t.x }).collect();
        self.inner.sum(len, &terms, bits)
    }
    fn mul(&self, a: &D::Buf, b: &D::Buf) -> D::Buf {
        self.inner.mul(a, b)
    }
    fn product(&self, p: &Product, forms: [&Form; 2], x: &D::Buf, w: &D::Buf) -> D::Buf {
        self.inner.product(p, forms, x, w)
    }
    fn add_row(&self, x: &D::Buf, row: &D::Buf, span: usize) -> D::Buf {
        self.inner.add_row(x, row, span)
    }
    fn shift(&self, x: &D::Buf, add: u64, by: u32, bits: u32) -> D::Buf {
        self.inner.shift(x, add, by, bits)
    }
    fn pack(&self, x: &D::Buf, bits: u32) -> D::Packet {
        self.inner.pack(x, bits)
    }
    fn unpack(&self, p: &Packed) -> D::Buf {
        let z = self.inner.unpack(p);
        self.see(true, || Wire { width: p.width, opened: self.read(&z), ..Wire::default() });
        z
    }
    fn add_packed(&self, x: &mut D::Buf, from: usize, p: &Packed) {
        self.inner.add_packed(x, from, p);
        self.see(from == 0, || Wire {
            width: p.width,
            opened: self.read(&self.inner.slice(x, from, p.len)),
            heard: self.read(&self.inner.unpack(p)),
            next: 0,
        });
    }
    fn bit(&self, x: &D::Buf, i: u32) -> D::Bits {
        self.inner.bit(x, i)
    }
    fn count(&self, b: &D::Bits) -> usize {
        self.inner.count(b)
    }
    fn xor(&self, a: &D::Bits, b: &D::Bits) -> D::Bits {
        self.inner.xor(a, b)
    }
    fn and(&self, a: &D::Bits, b: &D::Bits) -> D::Bits {
        self.inner.and(a, b)
    }
    fn not(&self, a: &D::Bits) -> D::Bits {
        self.inner.not(a)
    }
    fn planes(&self, bits: Vec<D::Bits>) -> D::Planes {
        self.inner.planes(bits)
    }
    fn plane(&self, p: &D::Planes, i: usize) -> D::Bits {
        self.inner.plane(p, i)
    }
    fn xor_planes(&self, a: D::Planes, b: &D::Planes) -> D::Planes {
        self.inner.xor_planes(a, b)
    }
    fn say(&self, p: &D::Planes, slots: &Slots) -> D::Packet {
        self.inner.say(p, slots)
    }
    fn open(&self, mine: &D::Planes, theirs: &Packed, slots: &Slots) -> D::Planes {
        let z = self.inner.open(mine, theirs, slots);
        if let Some(seen) = &self.seen {
            // bit vectors of a message that comes tile by tile go on where the tile before ended
            let (mut seen, planes) = (seen.lock().unwrap(), theirs.len / slots.len());
            let goes_on = seen.last().is_some_and(|w| w.next > 0 && w.next == slots.range.start);
            if !goes_on {
                seen.extend((0..planes).map(|_| Wire { width: 1, ..Wire::default() }));
            }
            let first = seen.len() - planes;
            for (i, wire) in seen[first..].iter_mut().enumerate() {
                let (opened, mine) = (self.bits_of(&z, i), self.bits_of(mine, i));
                wire.heard.extend(opened.iter().zip(mine).map(|(a, b)| a ^ b));
                wire.opened.extend(opened);
                wire.next = slots.range.end;
            }
        }
        z
    }
    fn load(&self, tiles: Vec<TileBytes>, fields: &[u32], slots: &Slots) -> D::Keys {
        self.inner.load(tiles, fields, slots)
    }
    fn compared(&self, keys: &mut D::Keys) {
        self.inner.compared(keys);
    }
    fn word(&self, field: Field<D::Keys>, slots: &Slots, bits: u32) -> D::Buf {
        self.inner.word(self.field("word", field, slots, word::<D>()), slots, bits)
    }
    fn bit_fields(&self, fields: Fields<D::Keys>, slots: &Slots) -> D::Planes {
        if let Fields::Own(streams, fields) = &fields {
            self.bits("bits", streams, fields, slots);
        }
        self.inner.bit_fields(fields, slots)
    }
    fn correction(&self, x: &D::Buf, stream: Stream, slots: &Slots, bits: u32) -> D::Packet {
        let stream = self.redirect.of(stream);
        self.notes.words("correction", stream, slots.range.start, slots.len(), word::<D>());
        self.inner.correction(x, stream, slots, bits)
    }
    fn dpf_keys(&self, tree: &Trees, w: u32, roots: [Roots; 2], alpha: &D::Buf, slots: &Slots) -> D::Packet {
        slots.tiles().for_each(|t| self.notes.hash("hash of a tile", &tree.hash(t)));
        roots.iter().for_each(|r| self.notes.words("roots", r.stream(), r.first(), slots.len(), 128));
        self.inner.dpf_keys(tree, w, roots, alpha, slots)
    }
    fn dpf_bits(
        &self,
        tree: &Trees,
        w: u32,
        roots: Roots,
        words: Stored<D::Keys>,
        x: &D::Buf,
        slots: &Slots,
    ) -> D::Bits {
        let first = roots.first() + slots.skipped();
        self.notes.words("own roots", roots.stream(), first, slots.len(), 128);
        self.inner.dpf_bits(tree, w, roots, words, x, slots)
    }
    fn at_most(&self, table: Field<D::Keys>, w: u32, x: &D::Buf, slots: &Slots) -> D::Bits {
        self.inner.at_most(self.field("own table", table, slots, 1 << w), w, x, slots)
    }
    fn look_up(&self, table: Lookup, hot: Hot<D::Keys>, x: &D::Buf, slots: &Slots) -> D::Buf {
        let hot = match hot {
            Hot::Table(field) => Hot::Table(self.field("own one-hot", field, slots, 1 << table.width)),
            Hot::Tree { trees, roots, words } => {
                let first = roots.first() + slots.skipped();
                self.notes.words("own roots", roots.stream(), first, slots.len(), 128);
                Hot::Tree { trees, roots, words }
            }
        };
        self.inner.look_up(table, hot, x, slots)
    }
    fn digit_tables(&self, x: &D::Buf, digit: Digit, stream: Stream, slots: &Slots) -> D::Packet {
        let stream = self.redirect.of(stream);
        self.notes.words("tables", stream, slots.range.start, slots.len(), 1 << digit.bits);
        self.inner.digit_tables(x, digit, stream, slots)
    }
    fn digit_products(
        &self,
        merge: &Merge,
        masks: &D::Planes,
        (streams, fields): (&Streams, &[u32]),
        slots: &Slots,
    ) -> D::Packet {
        self.bits("products", streams, fields, slots);
        self.inner.digit_products(merge, masks, (streams, fields), slots)
    }
    fn digit_planes(
        &self,
        tables: Vec<(Digit, Field<D::Keys>)>,
        masks: &D::Planes,
        x: &D::Buf,
        slots: &Slots,
    ) -> D::Planes {
        let tables =
            tables.into_iter().map(|(d, f)| (d, self.field("own tables", f, slots, 1 << d.bits))).collect();
        self.inner.digit_planes(tables, masks, x, slots)
    }
    fn digit_merge(&self, merge: &Merge, from: usize, p: Merging<Self>) -> D::Bits {
        let Merging { opened, masks, products, one } = p;
        self.inner.digit_merge(merge, from, Merging { opened, masks, products, one })
    }
}
