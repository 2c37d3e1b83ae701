//! Memory on the device, and what lies in it.
//!
//! It is taken and given back in the order of streams, so neither waits. What is filled from outside is filled on a stream
//! of its own; kernels wait for that by an event, once.

use super::device::Device;
use super::transfer::{Packet, Rows, Way};
use crate::Ring;
use cudarc::driver::{CudaEvent, CudaStream, result, sys};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels may read this far behind the end of what they are given.
const SLACK: usize = 16;
/// So few bytes are copied on the stream of the kernels.
const SMALL: usize = 1 << 16;

/// Some memory of the device; given back when the kernels asked for until then are done.
pub struct Block {
    dev: Arc<Device>,
    ptr: u64,
    bytes: usize,
    /// Whether it is to be overwritten with zeros first.
    wipe: AtomicBool,
    filled: Mutex<Filled>,
}

/// Whether copies from outside are still to be waited for.
enum Filled {
    /// No, or kernels asked for from now on wait already.
    Done,
    /// Until this event.
    Until(CudaEvent),
    /// For ever: the device cannot say when they are done.
    Lost,
}

impl Block {
    /// Memory for what kernels write.
    pub fn new(dev: &Arc<Device>, bytes: usize) -> Arc<Self> {
        Block::on(dev, &dev.compute, bytes)
    }
    /// Memory for what comes from outside: [`Block::set_filled`] says that all of it was asked for.
    pub fn fed(dev: &Arc<Device>, bytes: usize) -> Arc<Self> {
        Block::on(dev, &dev.feed, bytes)
    }
    fn on(dev: &Arc<Device>, stream: &CudaStream, bytes: usize) -> Arc<Self> {
        let what = || format!("taking {bytes} bytes of device memory");
        // SAFETY: nothing is read before it is written.
        let ptr = dev.try_to(&what(), || unsafe { result::malloc_async(stream.cu_stream(), bytes + SLACK) });
        let (wipe, filled) = (AtomicBool::new(false), Mutex::new(Filled::Done));
        Arc::new(Block { dev: dev.clone(), ptr: ptr.unwrap_or(0), bytes, wipe, filled })
    }
    /// Memory filled with these bytes, at these places.
    pub fn filled(dev: &Arc<Device>, bytes: usize, pieces: &[(usize, &[u8])]) -> Arc<Self> {
        if bytes <= SMALL {
            let block = Block::new(dev, bytes);
            dev.feed(Way::Compute, &block, pieces);
            return block;
        }
        let block = Block::fed(dev, bytes);
        dev.feed(Way::Feed, &block, pieces);
        block.set_filled();
        block
    }
    /// All copies to it were asked for.
    pub fn set_filled(&self) {
        let filled = match self.dev.mark(&self.dev.feed) {
            Some(event) => Filled::Until(event),
            None if self.dev.wait_for(&self.dev.feed).is_some() => Filled::Done,
            None => Filled::Lost,
        };
        *self.filled.lock().unwrap_or_else(PoisonError::into_inner) = filled;
    }
    /// Has kernels asked for from now on wait until it is filled, whatever went wrong before; whether they do.
    fn settle(&self) -> bool {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let event = match &*filled {
            Filled::Done => return true,
            Filled::Until(event) => event,
            Filled::Lost => return false,
        };
        let (stream, order) = (self.dev.compute.cu_stream(), sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT);
        // SAFETY: stream and event are there.
        let wait = || unsafe { result::stream::wait_event(stream, event.cu_event(), order) };
        let waits = self.dev.anyway("waiting for a copy", wait);
        *filled = match waits.or_else(|| self.dev.wait_for(&self.dev.feed)) {
            Some(()) => Filled::Done,
            None => Filled::Lost,
        };
        matches!(*filled, Filled::Done)
    }
    /// The device it is on.
    pub fn device(&self) -> &Arc<Device> {
        &self.dev
    }
    /// Its address, for kernels asked for after this call.
    pub fn ptr(&self) -> u64 {
        self.settle();
        self.ptr
    }
    /// Its address, for copies that fill it.
    pub fn address(&self) -> u64 {
        self.ptr
    }
    /// Zeros, for good: now if nobody else looks at the block, else before it is given back.
    pub fn wipe(self: &Arc<Self>) {
        match Arc::strong_count(self) {
            1 => self.zero(),
            _ => self.wipe.store(true, Ordering::Relaxed),
        }
    }
    /// Zeros, also on a device that has failed in another way.
    pub fn zero(&self) {
        if self.settle() && self.ptr != 0 && self.bytes > 0 {
            // SAFETY: the whole block.
            self.dev.anyway("clearing memory", || unsafe {
                result::memset_d8_async(self.ptr, 0, self.bytes, self.dev.compute.cu_stream())
            });
        }
    }
    /// Copies bytes of another block.
    pub fn copy(&self, at: usize, from: u64, bytes: usize) {
        let to = self.ptr() + at as u64;
        if bytes > 0 {
            // SAFETY: callers stay within both blocks.
            self.dev.try_to("copying on the device", || unsafe {
                result::memcpy_dtod_async(to, from, bytes, self.dev.compute.cu_stream())
            });
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // what may still be written to is nobody else's
        if self.ptr == 0 || !self.settle() {
            return;
        }
        if self.wipe.load(Ordering::Relaxed) {
            self.zero();
        }
        // SAFETY: nobody has the address any more but kernels asked for before.
        self.dev.anyway("giving memory back", || unsafe {
            result::free_async(self.ptr, self.dev.compute.cu_stream())
        });
    }
}

/// Ring elements on a device: a view of a block. Whoever writes into it has the block alone.
#[derive(Clone)]
pub struct Buf<R> {
    pub(super) block: Arc<Block>,
    at: usize,
    pub(super) len: usize,
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
    pub(super) count: usize,
    pub(super) len: usize,
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
        Packet::rows(self.block, ptr, Rows { count, stride, each })
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
