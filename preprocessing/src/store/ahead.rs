//! Reading ahead: one thread verifies the tiles a run will ask for, in the order in which it will.
//!
//! A tile that the run asks for first is verified by the one who asks, so that a fast run never waits for the reader
//! and both share the work; none is verified twice. The reader stays at most [`WINDOW`] bytes ahead, so that cold
//! pages are not read long before they are used.

use super::segment::Inner;
use crate::Result;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use twoply_primitives::Site;

/// Bytes that may be verified and not yet asked for.
const WINDOW: u64 = 32 << 20;

/// A run with fewer bytes of keys than this does without a reader: a thread costs more.
const FEW: u64 = 64 << 10;

const UNTOUCHED: u8 = 0;
const TAKEN: u8 = 1;
const GOOD: u8 = 2;
const BAD: u8 = 3;

/// What reading the keys of a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes verified.
    pub bytes: u64,
    /// Of these, before the run asked for them.
    pub ahead: u64,
    /// Time spent reading and verifying, over all threads.
    pub time: Duration,
}

/// The tiles of one lease while they are read.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    inner: Arc<Inner>,
    /// By number in the file.
    tiles: Vec<AtomicU8>,
    /// Bytes the reader verified that nobody asked for yet, and whether it shall stop.
    lead: Mutex<(u64, bool)>,
    changed: Condvar,
    bytes: AtomicU64,
    ahead: AtomicU64,
    nanos: AtomicU64,
}

impl Ahead {
    /// Begins to read the tiles of `images`.
    pub fn of(inner: Arc<Inner>, images: Range<u32>) -> Ahead {
        let tiles = (0..inner.layout().tiles()).map(|_| AtomicU8::new(UNTOUCHED)).collect();
        let shared = Arc::new(Shared {
            inner,
            tiles,
            lead: Mutex::default(),
            changed: Condvar::new(),
            bytes: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        });
        let order = shared.inner.tiles_of(images);
        let all: u64 = order.iter().map(|t| t.2 as u64).sum();
        let read = shared.clone();
        let reader = move || {
            order.into_iter().all(|(at, tile, len)| read.advance(at, tile, len as u64));
        };
        // where no thread is to be had, the run verifies for itself
        let spawn = || std::thread::Builder::new().name("keys".into()).spawn(reader).ok();
        let reader = if all < FEW { None } else { spawn() };
        Ahead { shared, reader }
    }

    /// The bytes of one tile, verified by the reader or now.
    pub fn tile(&self, name: &str, at: Site, tile: usize) -> Result<Range<usize>> {
        let shared = &self.shared;
        let (range, Some(number)) = shared.inner.find(name, at, tile)? else { return Ok(0..0) };
        let state = &shared.tiles[number];
        if state.compare_exchange(UNTOUCHED, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let good = shared.verify(at, tile, number);
            shared.changed.notify_all();
            good?;
            return Ok(range);
        }
        let mut lead = shared.lead();
        while state.load(Ordering::Acquire) == TAKEN {
            lead = shared.changed.wait(lead).unwrap_or_else(PoisonError::into_inner);
        }
        if state.load(Ordering::Acquire) == BAD {
            drop(lead);
            return shared.inner.verify(at, tile).map(|_| range); // again, for the words
        }
        lead.0 = lead.0.saturating_sub(range.len() as u64);
        shared.changed.notify_all();
        Ok(range)
    }

    /// What it took so far.
    pub fn reading(&self) -> Reading {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let s = &self.shared;
        Reading { bytes: of(&s.bytes), ahead: of(&s.ahead), time: Duration::from_nanos(of(&s.nanos)) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lead().1 = true;
        self.shared.changed.notify_all();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lead(&self) -> MutexGuard<'_, (u64, bool)> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies a tile that this thread has taken.
    fn verify(&self, at: Site, tile: usize, number: usize) -> Result<u64> {
        let begin = Instant::now();
        let good = self.inner.verify(at, tile);
        self.nanos.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        let state = if good.is_ok() { GOOD } else { BAD };
        let lead = self.lead(); // so that nobody goes to sleep between looking and waiting
        self.tiles[number].store(state, Ordering::Release);
        drop(lead);
        let bytes = good? as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The reader's next tile; false to stop. A bad tile is for the run to find.
    fn advance(&self, at: Site, tile: usize, len: u64) -> bool {
        let mut lead = self.lead();
        while lead.0 > 0 && lead.0 + len > WINDOW && !lead.1 {
            lead = self.changed.wait(lead).unwrap_or_else(PoisonError::into_inner);
        }
        if lead.1 {
            return false;
        }
        drop(lead);
        let Some(number) = self.inner.number(at, tile) else { return true };
        let state = &self.tiles[number];
        if state.compare_exchange(UNTOUCHED, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return true;
        }
        self.lead().0 += len;
        if let Ok(bytes) = self.verify(at, tile, number) {
            self.ahead.fetch_add(bytes, Ordering::Relaxed);
        }
        self.changed.notify_all();
        true
    }
}
