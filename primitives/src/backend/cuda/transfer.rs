//! What moves between host and device.
//!
//! Copies go through pinned memory alone, never from ordinary memory: only so is it known when the driver is done with what
//! it copies, and no copy is left where nobody wipes it. What a copy reads or writes is held until the copy is done; where
//! that cannot be known because a device has failed, it is never let go.

use super::device::Device;
use super::host::{Buffer, is_pinned};
use super::memory::Block;
use crate::backend;
use crate::{Result, TileBytes};
use cudarc::driver::{CudaEvent, CudaStream, DriverError, result};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that go to the device in one copy.
pub const PIECE: usize = 4 << 20;
/// Fewer bytes are copied by one thread.
const SHARED: usize = 1 << 20;
/// Pinned bytes, and copies, that are under way on a stream at once.
const MOST: (usize, usize) = (128 << 20, 1024);

/// A stream that bytes go to the device on.
#[derive(Clone, Copy)]
pub enum Way {
    /// With the kernels: few bytes, which those that follow wait for anyway.
    Compute,
    /// Beside them.
    Feed,
}

/// What copies that are still under way read from, oldest first.
#[derive(Default)]
pub struct Reading {
    copies: VecDeque<(CudaEvent, usize, Box<dyn Send>)>,
    bytes: usize,
}

/// The same for each [`Way`].
pub type Readings = [Mutex<Reading>; 2];

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
    fn stream(&self, way: Way) -> &CudaStream {
        match way {
            Way::Compute => &self.compute,
            Way::Feed => &self.feed,
        }
    }
    /// Waits for everything asked of a stream, whatever went wrong before.
    pub fn wait_for(&self, stream: &CudaStream) -> Option<()> {
        // SAFETY: the stream lives as long as the device.
        self.anyway("computing", || unsafe { result::stream::synchronize(stream.cu_stream()) })
    }
    /// Keeps something until the copies asked of a stream so far are done.
    fn hold(&self, way: Way, bytes: usize, what: Box<dyn Send>) {
        let Some(event) = self.mark(self.stream(way)) else {
            if self.wait_for(self.stream(way)).is_none() {
                std::mem::forget(what);
            }
            return;
        };
        // let go of when the lock is: that may take a while
        let mut done = vec![];
        let mut reading = self.reading[way as usize].lock().unwrap_or_else(PoisonError::into_inner);
        reading.copies.push_back((event, bytes, what));
        reading.bytes += bytes;
        while let Some((event, bytes, _)) = reading.copies.front() {
            let full = reading.bytes > MOST.0 || reading.copies.len() > MOST.1;
            let done_with = event.is_complete() || full && self.reached(event).is_some();
            if !done_with {
                break;
            }
            reading.bytes -= *bytes;
            done.push(reading.copies.pop_front());
        }
    }
    /// Waits for an event, whatever went wrong before.
    fn reached(&self, event: &CudaEvent) -> Option<()> {
        // SAFETY: an event that is there.
        self.anyway("computing", || unsafe { result::event::synchronize(event.cu_event()) })
    }

    /// Asks for the copies of these pieces into a block.
    pub fn feed<'a>(self: &Arc<Self>, way: Way, block: &Block, pieces: &[(usize, &'a [u8])]) {
        let cut = |(at, piece): &(usize, &'a [u8])| {
            let at = *at;
            piece.chunks(PIECE).enumerate().map(move |(i, part)| (at + i * PIECE, part))
        };
        let pieces: Vec<(usize, &[u8])> = pieces.iter().flat_map(cut).collect();
        runs(&pieces).into_iter().for_each(|run| self.feed_run(way, block, run));
    }
    /// The same of bytes that follow each other.
    fn feed_run(self: &Arc<Self>, way: Way, block: &Block, run: &[(usize, &[u8])]) {
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
        self.copy_in(way, block, *first, buffer.bytes(len));
        self.hold(way, len, Box::new(buffer));
    }
    /// Asks for one copy, from pinned memory that is held afterwards.
    fn copy_in(&self, way: Way, block: &Block, at: usize, from: &[u8]) {
        let (to, stream) = (block.address() + at as u64, self.stream(way).cu_stream());
        // SAFETY: within the block.
        self.try_to("copying to the device", || unsafe { result::memcpy_htod_async(to, from, stream) });
    }

    /// Parts of key tiles in one block, `stride` bytes apart: straight from where they lie if that is pinned, else through
    /// buffers.
    pub fn feed_tiles(
        self: &Arc<Self>,
        tiles: &[TileBytes],
        parts: &[Range<usize>],
        stride: usize,
    ) -> Arc<Block> {
        let places = (0..).step_by(stride.max(1));
        let part = |((tile, part), at): ((_, &Range<usize>), usize)| (at, &bytes_of(tile)[part.clone()]);
        let bytes: Vec<(usize, &[u8])> = tiles.iter().zip(parts).zip(places).map(part).collect();
        let total = bytes.last().map_or(0, |(at, b)| at + b.len());
        if !bytes.iter().all(|(_, b)| is_pinned(b)) {
            return Block::filled(self, total, &bytes);
        }
        let block = Block::fed(self, total);
        bytes.iter().for_each(|(at, piece)| self.copy_in(Way::Feed, &block, *at, piece));
        block.set_filled();
        self.hold(Way::Feed, 0, Box::new(tiles.to_vec()));
        block
    }
}

fn bytes_of(tile: &TileBytes) -> &[u8] {
    tile.as_ref().as_ref()
}

/// Parts of a copy that threads share.
fn chunks<'a>(to: &'a mut [u8], from: &'a [u8]) -> impl Iterator<Item = (&'a mut [u8], &'a [u8])> {
    to.chunks_mut(SHARED / 4).zip(from.chunks(SHARED / 4))
}

/// Bytes on their way to the host.
pub struct Packet {
    dev: Arc<Device>,
    /// What is read and what is written while the copy is under way.
    from: Option<Arc<Block>>,
    to: Option<Buffer>,
    /// Whether a copy was asked for that nobody has waited for.
    copying: bool,
    done: Option<CudaEvent>,
    len: usize,
    rows: Option<Rows>,
}

/// Rows of bytes of which only the first `each` are wanted.
pub struct Rows {
    pub count: usize,
    pub stride: usize,
    pub each: usize,
}

impl Packet {
    /// The first `len` bytes at `ptr`, which lies in the block.
    pub fn new(block: Arc<Block>, ptr: u64, len: usize) -> Self {
        let dev = block.device().clone();
        let mut packet = Packet { dev, from: None, to: None, copying: false, done: None, len, rows: None };
        if len > 0 {
            packet.from = Some(block);
            packet.begin(ptr);
        }
        packet
    }
    /// Of rows the first bytes of each.
    pub fn rows(block: Arc<Block>, ptr: u64, rows: Rows) -> Self {
        let mut packet = Packet::new(block, ptr, rows.count * rows.stride);
        packet.rows = Some(rows);
        packet
    }
    fn begin(&mut self, ptr: u64) -> Option<()> {
        let dev = self.dev.clone();
        self.to = dev.try_to("taking pinned memory", || dev.pinned.take(self.len));
        let to = self.to.as_mut()?.bytes(self.len);
        let made = dev.mark(&dev.compute)?;
        let copy = || -> std::result::Result<(), DriverError> {
            dev.out.wait(&made)?;
            // SAFETY: within the block; block and buffer are held until the copy is done.
            unsafe { result::memcpy_dtoh_async(to, ptr, dev.out.cu_stream()) }
        };
        dev.try_to("copying from the device", copy)?;
        self.copying = true;
        self.done = Some(dev.mark(&dev.out)?);
        Some(())
    }
    fn finish(&mut self) {
        if std::mem::take(&mut self.copying) {
            let done = self.done.take().and_then(|done| self.dev.reached(&done));
            if done.or_else(|| self.dev.wait_for(&self.dev.out)).is_none() {
                std::mem::forget((self.from.take(), self.to.take()));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_take_what_follows_up_to_a_piece() {
        let bytes = vec![0; PIECE];
        let (long, short) = (&bytes[..], &bytes[..10]);
        let lengths = |pieces: &[(usize, &[u8])]| runs(pieces).iter().map(|r| r.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), Vec::<usize>::new());
        assert_eq!(lengths(&[(0, short), (10, short), (30, short), (40, short)]), [2, 2]);
        assert_eq!(lengths(&[(0, short), (10, long), (10 + PIECE, short)]), [1, 1, 1]);
    }
}
