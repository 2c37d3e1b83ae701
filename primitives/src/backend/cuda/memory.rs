//! Memory on the device and pinned memory on the host, and what moves between them.
//!
//! Device memory is taken and given back in the order of streams, so neither waits. Bytes go in through pinned buffers on the
//! `feed` stream and come out on the `out` stream, each ordered against the kernels by events.

use super::device::{Device, refused};
use crate::backend;
use crate::{Result, Ring, TileBytes};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result, sys};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Kernels may read this far behind the end of what they are given.
const SLACK: usize = 16;
/// Bytes that the driver takes out of ordinary memory at once, without waiting.
const SMALL: usize = 1 << 16;
/// Bytes that go to the device in one copy.
const PIECE: usize = 4 << 20;
/// Fewer bytes are copied by one thread.
const SHARED: usize = 1 << 20;

/// Some memory of the device; given back when the kernels asked for until then are done.
pub struct Block {
    dev: Arc<Device>,
    ptr: u64,
    bytes: usize,
    /// Whether it is to be overwritten with zeros first.
    wipe: AtomicBool,
    /// Until when it is filled from outside, if kernels have not been told to wait for that yet.
    filled: Mutex<Option<CudaEvent>>,
}

impl Block {
    /// Memory for what kernels write.
    pub fn new(dev: &Arc<Device>, bytes: usize) -> Arc<Self> {
        Block::on(dev, &dev.compute, bytes)
    }
    fn on(dev: &Arc<Device>, stream: &CudaStream, bytes: usize) -> Arc<Self> {
        let what = || format!("taking {bytes} bytes of device memory");
        // SAFETY: nothing is read before it is written.
        let ptr = dev.try_to(&what(), || unsafe { result::malloc_async(stream.cu_stream(), bytes + SLACK) });
        let (wipe, filled) = (AtomicBool::new(false), Mutex::new(None));
        Arc::new(Block { dev: dev.clone(), ptr: ptr.unwrap_or(0), bytes, wipe, filled })
    }
    /// Memory filled with these bytes, pieces one behind the other at multiples of `stride`.
    pub fn filled(dev: &Arc<Device>, bytes: usize, pieces: &[(usize, &[u8])]) -> Arc<Self> {
        if bytes <= SMALL {
            let block = Block::new(dev, bytes);
            for (at, piece) in pieces {
                // SAFETY: within the block; ordinary memory is read before the call returns.
                dev.try_to("copying to the device", || unsafe {
                    result::memcpy_htod_async(block.ptr + *at as u64, piece, dev.compute.cu_stream())
                });
            }
            return block;
        }
        let block = Block::on(dev, &dev.feed, bytes);
        for run in runs(pieces) {
            dev.feed_run(&block, run);
        }
        block.set_filled();
        block
    }
    fn set_filled(&self) {
        *self.filled.lock().unwrap_or_else(PoisonError::into_inner) = self.dev.mark(&self.dev.feed);
    }
    /// Has kernels asked for from now on wait until it is filled.
    fn settle(&self) {
        if let Some(event) = self.filled.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.dev.try_to("waiting for a copy", || self.dev.compute.wait(&event));
        }
    }
    /// Its address, for kernels asked for after this call.
    pub fn ptr(&self) -> u64 {
        self.settle();
        self.ptr
    }
    /// Zeros, for good: now if nobody else looks at the block, else before it is given back.
    pub fn wipe(self: &Arc<Self>) {
        match Arc::strong_count(self) {
            1 => self.zero(),
            _ => self.wipe.store(true, Ordering::Relaxed),
        }
    }
    /// Zeros.
    pub fn zero(&self) {
        let ptr = self.ptr();
        // SAFETY: the whole block.
        self.dev.try_to("clearing memory", || unsafe {
            result::memset_d8_async(ptr, 0, self.bytes, self.dev.compute.cu_stream())
        });
    }
    /// Copies bytes of another block.
    pub fn copy(&self, at: usize, from: u64, bytes: usize) {
        let to = self.ptr() + at as u64;
        // SAFETY: callers stay within both blocks.
        self.dev.try_to("copying on the device", || unsafe {
            result::memcpy_dtod_async(to, from, bytes, self.dev.compute.cu_stream())
        });
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.settle();
        if self.wipe.load(Ordering::Relaxed) {
            self.zero();
        }
        if self.ptr != 0 && self.dev.context.bind_to_thread().is_ok() {
            // SAFETY: nobody has the address any more but kernels asked for before; also on a device that has failed.
            let _ = unsafe { result::free_async(self.ptr, self.dev.compute.cu_stream()) };
        }
    }
}

/// Pieces that follow each other, as far as one copy takes them.
fn runs<'p, 'b>(pieces: &'p [(usize, &'b [u8])]) -> Vec<&'p [(usize, &'b [u8])]> {
    let (mut out, mut from, mut bytes) = (vec![], 0, 0);
    for (i, (at, piece)) in pieces.iter().enumerate() {
        let follows = i == from || at - pieces[from].0 == bytes;
        if i > from && (!follows || bytes + piece.len() > PIECE) {
            out.push(&pieces[from..i]);
            (from, bytes) = (i, 0);
        }
        bytes += piece.len();
    }
    if from < pieces.len() {
        out.push(&pieces[from..]);
    }
    out
}

impl Device {
    /// Brings bytes that follow each other to a block.
    fn feed_run(self: &Arc<Self>, block: &Block, run: &[(usize, &[u8])]) {
        let (Some((first, _)), len) = (run.first(), run.iter().map(|(_, p)| p.len()).sum()) else { return };
        let Some(mut buffer) = self.try_to("taking pinned memory", || self.pinned.take(len)) else { return };
        let mut rest = buffer.bytes(len);
        let mut parts = Vec::with_capacity(run.len());
        for (_, piece) in run {
            let (part, behind) = rest.split_at_mut(piece.len());
            parts.push((part, *piece));
            rest = behind;
        }
        let copy = |(to, from): (&mut [u8], &[u8])| to.copy_from_slice(from);
        if len < SHARED {
            parts.into_iter().for_each(copy);
        } else {
            let halves = |(to, from): (_, _)| chunks(to, from);
            parts.into_par_iter().flat_map_iter(halves).for_each(copy);
        }
        let to = block.ptr + *first as u64;
        // SAFETY: within the block; the buffer is held until the copy is done.
        self.try_to("copying to the device", || unsafe {
            result::memcpy_htod_async(to, buffer.bytes(len), self.feed.cu_stream())
        });
        if let Some(event) = self.mark(&self.feed) {
            self.hold(event, Box::new(buffer));
        }
    }

    /// Key tiles in one block, `stride` bytes apart: straight from where they lie if that is pinned, else through buffers.
    pub fn feed_tiles(self: &Arc<Self>, tiles: Vec<TileBytes>, stride: usize) -> Arc<Block> {
        let bytes: Vec<(usize, &[u8])> =
            tiles.iter().enumerate().map(|(i, t)| (i * stride, t.as_ref().as_ref())).collect();
        let total = bytes.last().map_or(0, |(at, b)| at + b.len());
        if !bytes.iter().all(|(_, b)| is_pinned(b)) {
            return Block::filled(self, total, &bytes);
        }
        let block = Block::on(self, &self.feed, total);
        for (at, piece) in &bytes {
            // SAFETY: within the block; the tiles are held until the copies are done.
            self.try_to("copying keys to the device", || unsafe {
                result::memcpy_htod_async(block.ptr + *at as u64, piece, self.feed.cu_stream())
            });
        }
        block.set_filled();
        if let Some(event) = self.mark(&self.feed) {
            self.hold(event, Box::new(tiles));
        }
        block
    }
}

/// Parts of a copy that threads share.
fn chunks<'a>(to: &'a mut [u8], from: &'a [u8]) -> impl Iterator<Item = (&'a mut [u8], &'a [u8])> {
    to.chunks_mut(SHARED / 4).zip(from.chunks(SHARED / 4))
}

/// Pinned buffers, used again and again.
pub struct Pinned {
    context: Arc<CudaContext>,
    free: Arc<Mutex<Vec<Pages>>>,
}

/// Page-locked memory, wiped when it goes.
struct Pages {
    context: Arc<CudaContext>,
    ptr: *mut u8,
    len: usize,
}
// SAFETY: memory of the process; whoever has the pages has them alone.
unsafe impl Send for Pages {}
// SAFETY: shared references only read.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(context: &Arc<CudaContext>, len: usize) -> std::result::Result<Self, cudarc::driver::DriverError> {
        context.bind_to_thread()?;
        // cached by the CPU, which reads what comes out
        // SAFETY: written before it is read: zeroed here.
        let ptr = unsafe { result::malloc_host(len, sys::CU_MEMHOSTALLOC_PORTABLE) }?.cast::<u8>();
        // SAFETY: `len` bytes.
        unsafe { ptr.write_bytes(0, len) };
        Ok(Pages { context: context.clone(), ptr, len })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nobody uses the pages any more.
        unsafe {
            zeroize::Zeroize::zeroize(std::slice::from_raw_parts_mut(self.ptr, self.len));
            if self.context.bind_to_thread().is_ok() {
                let _ = result::free_host(self.ptr.cast());
            }
        }
    }
}

/// A pinned buffer; goes back to the others when dropped.
pub struct Buffer {
    pages: Option<Pages>,
    home: Arc<Mutex<Vec<Pages>>>,
}

impl Pinned {
    /// None yet.
    pub fn new(context: Arc<CudaContext>) -> Self {
        Pinned { context, free: Arc::default() }
    }
    /// At least `len` bytes.
    fn take(&self, len: usize) -> std::result::Result<Buffer, cudarc::driver::DriverError> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = (0..free.len()).filter(|&i| free[i].len >= len).min_by_key(|&i| free[i].len);
        let pages = match fits {
            Some(i) => free.swap_remove(i),
            None => Pages::new(&self.context, len.max(SMALL).next_power_of_two())?,
        };
        Ok(Buffer { pages: Some(pages), home: self.free.clone() })
    }
}

impl Buffer {
    /// The first `len` bytes.
    fn bytes(&mut self, len: usize) -> &mut [u8] {
        let Some(pages) = &mut self.pages else { return &mut [] };
        // SAFETY: as long as the pages are.
        unsafe { std::slice::from_raw_parts_mut(pages.ptr, len.min(pages.len)) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).extend(self.pages.take());
    }
}

/// Where pinned memory of [`PinnedTile`]s lies: address and length.
static PINNED: RwLock<std::collections::BTreeMap<usize, usize>> =
    RwLock::new(std::collections::BTreeMap::new());

fn is_pinned(bytes: &[u8]) -> bool {
    let at = bytes.as_ptr() as usize;
    let pinned = PINNED.read().unwrap_or_else(PoisonError::into_inner);
    pinned.range(..=at).next_back().is_some_and(|(from, len)| at + bytes.len() <= from + len)
}

/// Key bytes in pinned memory, which a device reads without the CPU's help.
pub struct PinnedTile(Pages);

impl PinnedTile {
    /// A copy of these bytes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the memory cannot be had.
    pub fn copy(context: &Arc<CudaContext>, bytes: &[u8]) -> Result<Self> {
        let pages =
            Pages::new(context, bytes.len().max(1)).map_err(|e| refused("taking pinned memory", &e))?;
        // SAFETY: as many bytes, of the pages' own.
        unsafe { pages.ptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        PINNED.write().unwrap_or_else(PoisonError::into_inner).insert(pages.ptr as usize, bytes.len());
        Ok(PinnedTile(pages))
    }
}

impl AsRef<[u8]> for PinnedTile {
    fn as_ref(&self) -> &[u8] {
        let pinned = PINNED.read().unwrap_or_else(PoisonError::into_inner);
        let len = pinned.get(&(self.0.ptr as usize)).copied().unwrap_or(0);
        // SAFETY: as long as the pages are.
        unsafe { std::slice::from_raw_parts(self.0.ptr, len) }
    }
}

impl Drop for PinnedTile {
    fn drop(&mut self) {
        PINNED.write().unwrap_or_else(PoisonError::into_inner).remove(&(self.0.ptr as usize));
    }
}

/// Bytes on their way to the host.
pub struct Packet {
    dev: Arc<Device>,
    /// Read until the event.
    from: Option<Arc<Block>>,
    to: Option<Buffer>,
    done: Option<CudaEvent>,
    len: usize,
    rows: Option<Rows>,
}

/// Rows of bytes of which only the first `each` are wanted.
struct Rows {
    count: usize,
    stride: usize,
    each: usize,
}

impl Packet {
    /// The first `len` bytes at `ptr`, which lies in the block.
    pub fn new(block: Arc<Block>, ptr: u64, len: usize) -> Self {
        let dev = block.dev.clone();
        let mut to = dev.try_to("taking pinned memory", || dev.pinned.take(len));
        let done = dev.mark(&dev.compute).and_then(|made| {
            let to = to.as_mut()?.bytes(len);
            dev.try_to("copying from the device", || {
                dev.out.wait(&made)?;
                // SAFETY: within the block; block and buffer are held until the copy is done.
                unsafe { result::memcpy_dtoh_async(to, ptr, dev.out.cu_stream()) }
            })?;
            dev.mark(&dev.out)
        });
        Packet { dev, from: Some(block), to, done, len, rows: None }
    }
    fn finish(&mut self) {
        if let Some(done) = self.done.take() {
            // also on a device that has failed: what is under way must not write into a buffer that is used again
            let done = self.dev.context.bind_to_thread().and_then(|()| done.synchronize());
            self.dev.try_to("computing", || done);
        }
        self.from = None;
    }
}

impl backend::Packet for Packet {
    fn wait(mut self) -> Result<Vec<u8>> {
        self.finish();
        self.dev.health()?;
        let mut bytes = self.to.as_mut().map_or(vec![], |b| b.bytes(self.len).to_vec());
        if let Some(Rows { count, stride, each }) = self.rows {
            (1..count).for_each(|i| bytes.copy_within(i * stride..i * stride + each, i * each));
            bytes.truncate(count * each);
        }
        Ok(bytes)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Ring elements on a device: a view of a block. Whoever writes into it has the block alone.
#[derive(Clone)]
pub struct Buf<R> {
    pub block: Arc<Block>,
    at: usize,
    pub len: usize,
    ring: PhantomData<R>,
}

impl<R: Ring> Buf<R> {
    /// Elements to be written.
    pub fn new(dev: &Arc<Device>, len: usize) -> Self {
        Buf::whole(Block::new(dev, len * size_of::<R>()), len)
    }
    /// A whole block.
    pub fn whole(block: Arc<Block>, len: usize) -> Self {
        Buf { block, at: 0, len, ring: PhantomData }
    }
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<R>()
    }
    /// The first element, for kernels asked for after this call.
    pub fn ptr(&self) -> u64 {
        self.block.ptr() + (self.at * size_of::<R>()) as u64
    }
    /// Some of them.
    pub fn slice(&self, from: usize, len: usize) -> Self {
        assert!(from + len <= self.len, "elements {from}..{} of {}", from + len, self.len);
        Buf { at: self.at + from, len, ..self.clone() }
    }
    /// Makes sure that nobody else looks at the block.
    pub fn own(&mut self, dev: &Arc<Device>) {
        if Arc::strong_count(&self.block) > 1 {
            let mine = Buf::new(dev, self.len);
            mine.block.copy(0, self.ptr(), self.bytes());
            *self = mine;
        }
    }
}

/// Bit vectors of one length on a device, each beginning at an even 32-bit word.
#[derive(Clone)]
pub struct Planes {
    block: Arc<Block>,
    /// Words before the first.
    at: usize,
    pub count: usize,
    pub len: usize,
}

impl Planes {
    /// Vectors to be written.
    pub fn new(dev: &Arc<Device>, count: usize, len: usize) -> Self {
        Planes { block: Block::new(dev, count * words(len) * 4), at: 0, count, len }
    }
    /// Words of one.
    pub fn stride(&self) -> usize {
        words(self.len)
    }
    /// The first word, for kernels asked for after this call.
    pub fn ptr(&self) -> u64 {
        self.block.ptr() + 4 * self.at as u64
    }
    /// The first word of vector `i`.
    pub fn at(&self, i: usize) -> u64 {
        self.ptr() + (4 * i * self.stride()) as u64
    }
    /// Overwrites vector `i`.
    pub fn put(&self, i: usize, one: &Planes) {
        self.block.copy(4 * (self.at + i * self.stride()), one.ptr(), 4 * self.stride());
    }
    /// All of them, each packed in whole bytes.
    pub fn packet(self) -> Packet {
        let (ptr, stride, each, count) = (self.ptr(), 4 * self.stride(), self.len.div_ceil(8), self.count);
        let mut packet = Packet::new(self.block, ptr, count * stride);
        packet.rows = Some(Rows { count, stride, each });
        packet
    }
    /// Some of the vectors.
    pub fn some(&self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.count, "planes {from}..{} of {}", from + count, self.count);
        Planes { at: self.at + from * self.stride(), count, ..self.clone() }
    }
}

fn words(len: usize) -> usize {
    2 * len.div_ceil(64)
}
