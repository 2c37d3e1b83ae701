//! What the backend's methods are made of: a kernel of this ring, fresh memory, bytes brought in, fields as kernels find them.

use super::arg::{self, Key, Operand, Operands, Sum, Sums, Where, Word};
use super::device::Arg;
use super::memory::Block;
use super::{Buf, Cuda, Keys, Planes, compile};
use crate::backend::{Backend, Field, Packed, Slots, Stored, Trees};
use crate::prg::Roots;
use crate::record::packed_len;
use crate::{Ring, TILE};
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError};

impl<R: Ring> Cuda<R> {
    /// Runs a kernel of words.
    pub(super) fn run(&self, name: &str, threads: usize, args: &[&dyn Arg]) {
        self.dev.run(compile::at_ring(name, R::BITS), threads, args);
    }
    pub(super) fn buf(&self, len: usize) -> Buf<R> {
        Buf::new(&self.dev, len)
    }
    pub(super) fn vectors(&self, count: usize, len: usize) -> Planes {
        Planes::new(&self.dev, count, len)
    }
    pub(super) fn upload_bytes(&self, bytes: &[u8]) -> Arc<Block> {
        Block::filled(&self.dev, bytes.len(), &[(0, bytes)])
    }
    pub(super) fn upload_plain<T: crate::prg::Plain>(&self, v: &[T]) -> Arc<Block> {
        // SAFETY: integers without padding, seen as their bytes.
        self.upload_bytes(unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), size_of_val(v)) })
    }
    /// The bytes of packed words, and the bit at which they begin there.
    pub(super) fn upload_packed(&self, p: &Packed) -> (Arc<Block>, u64) {
        let (first, end) = (p.at / 8, (p.at + p.len * p.width as usize).div_ceil(8));
        (self.upload_bytes(&p.bytes[first..end]), (p.at % 8) as u64)
    }
    /// A tile's field as kernels find it.
    pub(super) fn place(&self, Stored { keys, at }: &Stored<Keys>) -> arg::Stored {
        let [full, last] = keys.ends;
        let (block, stride, from) = match at.full < full {
            true => (keys.trees.as_ref(), full, [0, 0]),
            false => (Some(&keys.rest), at.stride - full, [full, last]),
        };
        let bytes = block.map_or(0, |b| b.ptr());
        if block.is_none() {
            self.dev.fail("half-tree words are asked for after the comparison; please report this".into());
        }
        let [full, last] = [at.full - from[0], at.last - from[1]].map(|v| v as u64);
        arg::Stored { bytes, stride: stride as u64, full, last, width: at.width }
    }
    /// Half-tree words as kernels find them.
    pub(super) fn tree_place(&self, words: &Stored<Keys>) -> arg::Stored {
        let place = self.place(words);
        // these fields come first in a tile, a full tile takes 512 bytes for every bit of a slot, and a key 16 times
        // something: so all words begin at multiples of 16, and kernels read them whole
        if [place.bytes, place.stride, place.full, place.last].iter().any(|at| at % 16 != 0) {
            self.dev.fail("half-tree keys that do not come first in their tiles".into());
        }
        place
    }
    /// A field of `width` bits as kernels find it; what the party has as a stream is expanded first.
    pub(super) fn table(
        &self,
        field: Field<Keys>,
        width: u32,
        slots: &Slots,
    ) -> (arg::Stored, Option<Buf<u32>>) {
        let stream = match field {
            Field::Stored(s) => return (self.place(&s), None),
            Field::Own(stream) => stream,
        };
        let (first, bits) = (slots.first_tile() * width as usize, width as usize);
        let words = ((slots.range.end * bits) - first).div_ceil(32);
        let all: Buf<u32> = self.at::<u32>().expand(stream, first / 32, words, 32);
        let place =
            arg::Stored { bytes: all.ptr(), stride: (TILE * bits / 8) as u64, full: 0, last: 0, width };
        (place, Some(all))
    }
    /// The same device at another ring.
    pub fn at<S: Ring>(&self) -> Cuda<S> {
        Cuda { dev: self.dev.clone(), places: self.places.clone(), ring: PhantomData }
    }
    /// The hash keys of the tiles of some slots.
    pub(super) fn hashes(&self, trees: &Trees, slots: &Slots) -> Arc<Block> {
        let keys: Vec<u32> = slots.tiles().flat_map(|t| Key::of(trees.hash(t).rounds()).0).collect();
        self.upload_plain(&keys)
    }
    /// Half-tree keys, and how many bytes they take.
    pub(super) fn dpf_words(
        &self,
        trees: &Trees,
        w: u32,
        roots: [Roots; 2],
        alpha: &Buf<R>,
        slots: &Slots,
    ) -> (Arc<Block>, usize) {
        let len = packed_len(128 * (w - 6), slots.len());
        let (out, hashes) = (Block::new(&self.dev, len), self.hashes(trees, slots));
        let [k0, k1] = roots.map(|r| Key::of(r.stream().rounds()));
        let (field, at) = (roots[0].stream().number(), Where::of(&self.dev, slots));
        let args: [&dyn Arg; 8] = [&out.ptr(), &alpha.ptr(), &w, &k0, &k1, &field, &at, &hashes.ptr()];
        self.run("dpf_generate", slots.len(), &args);
        (out, len)
    }
    pub(super) fn logic(&self, a: &Planes, b: &Planes, op: u32) -> Planes {
        let out = self.vectors(a.count, a.len);
        // several vectors are taken as one, with the words that fill them up
        let len = self.dev.size(if a.count == 1 { a.len } else { a.count * a.stride() * 32 });
        self.dev.run("logic", len.div_ceil(32) as usize, &[&out.ptr(), &a.ptr(), &b.ptr(), &op, &len]);
        out
    }
    /// Sums of at most as many terms as a launch takes.
    pub(super) fn add_up(&self, len: usize, terms: &[Sum<R>], mask: R) -> Buf<R> {
        let out = self.buf(len);
        self.run("sum", len, &[&out.ptr(), &self.dev.size(len), &Sums::new(terms), &Word(mask)]);
        out
    }
    /// Where a gather's elements come from.
    pub(super) fn indices(&self, index: &Arc<[usize]>) -> Arc<Block> {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (index, _)| index.strong_count() > 0);
        let kept = all.entry(Arc::as_ptr(index).cast::<usize>() as usize).or_insert_with(|| {
            let small: Vec<u32> = index.iter().map(|&i| self.dev.size(i)).collect();
            (Arc::downgrade(index), self.upload_plain(&small))
        });
        kept.1.clone()
    }
    /// `x` are operands with the elements of an image.
    pub(super) fn gather(
        &self,
        index: &Arc<[usize]>,
        batch: usize,
        bits: u32,
        x: &[(&Buf<R>, usize)],
    ) -> Buf<R> {
        if let Some((first, rest @ [_, ..])) = x.split_at_checked(arg::MOST) {
            // more than a launch takes: the first are put together, image by image
            let row = first.iter().map(|x| x.1).sum();
            let whole = self.gather(&(0..row).collect(), batch, R::BITS, first);
            let all: Vec<_> = [(&whole, row)].into_iter().chain(rest.iter().copied()).collect();
            return self.gather(index, batch, bits, &all);
        }
        let z = self.buf(batch * index.len());
        let operand = |&(x, row): &(&Buf<R>, usize)| Operand { x: x.ptr(), row: self.dev.size(row) };
        let operands: Vec<Operand> = x.iter().map(operand).collect();
        let (place, [row, batch]) = (self.indices(index), [index.len(), batch].map(|v| self.dev.size(v)));
        let mask = Word(R::ones(bits));
        self.run("gather", z.len, &[&z.ptr(), &place.ptr(), &row, &batch, &Operands::new(&operands), &mask]);
        z
    }
}
