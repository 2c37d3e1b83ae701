//! Keys on their way to the device before a gate asks for them: while it computes, and while the network is waited for.
//!
//! A thread walks the parts of the run in the order in which gates will use them and has the device take their tiles,
//! within a budget of bytes. Only devices that keys have to travel to ask for it ([`crate::backend::Grain::ahead`]).

#[cfg(all(test, feature = "cuda"))]
mod tests;

use super::tile::{Shelf, groups};
use crate::{Backend, KeySource, Result, Site};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A part of a gate that a run will use.
#[derive(Clone, Debug)]
pub struct Upcoming {
    /// Gate and part.
    pub site: Site,
    /// Name of the gate.
    pub name: &'static str,
    /// Widths of the fields that P0 and P1 store.
    pub fields: [Vec<u32>; 2],
    /// Elements per image.
    pub per_image: usize,
}

/// Groups of tiles that were asked for, by part and elements of the segment.
type Group = (Site, Range<usize>);

/// Keys on the device, or why there are none, and their bytes.
type Loaded<B> = (Result<<B as Backend>::Keys>, usize);

/// Keys that come in by themselves.
pub(crate) struct Ahead<B: Backend> {
    coming: Mutex<Coming<B>>,
    budget: Arc<Budget>,
    thread: Option<JoinHandle<()>>,
}

struct Coming<B: Backend> {
    /// What was not taken yet, in order.
    groups: VecDeque<Group>,
    ready: Receiver<Loaded<B>>,
}

impl<B: Backend> Ahead<B> {
    /// Begins to load what party number `me` stores of these parts for these images, at most `most` bytes ahead.
    pub fn new(
        dev: &B,
        keys: &Arc<dyn KeySource>,
        me: usize,
        images: &Range<usize>,
        (parts, most): (Vec<Upcoming>, usize),
    ) -> Self {
        const {
            assert!(
                B::GRAIN.ahead == 0 || !B::GRAIN.threads,
                "keys come in the order in which they are asked for"
            )
        };
        let run = |p: &Upcoming| images.start * p.per_image..images.end * p.per_image;
        let parts: Vec<(Upcoming, Vec<Range<usize>>)> = parts
            .into_iter()
            .filter(|p| p.fields[me].iter().any(|&w| w > 0))
            .map(|p| (run(&p), p))
            .map(|(run, p)| (p, groups::<B>(&run)))
            .collect();
        let group = |(p, all): &(Upcoming, Vec<Range<usize>>)| -> Vec<Group> {
            all.iter().map(|g| (p.site, g.clone())).collect()
        };
        let groups = parts.iter().flat_map(group).collect();
        let (budget, (send, ready)) = (Arc::new(Budget::default()), channel());
        let (dev, keys, of) = (dev.clone(), keys.clone(), budget.clone());
        let work = move || bring(&dev, keys.as_ref(), (me, most), &parts, (&of, &send));
        // without the thread gates load their keys themselves
        let thread = std::thread::Builder::new().name("keys ahead".into()).spawn(work).ok();
        Ahead { coming: Mutex::new(Coming { groups, ready }), budget, thread }
    }
    /// The keys of a group, if it is among those that come; what comes before it is let go, as gates go in order.
    pub fn take(&self, site: Site, range: &Range<usize>) -> Option<Result<B::Keys>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = coming.groups.iter().position(|(s, r)| (*s, r) == (site, range))?;
        let mut keys = None;
        for _ in 0..=wanted {
            let (loaded, bytes) = coming.ready.recv().ok()?;
            coming.groups.pop_front();
            self.budget.give(bytes);
            keys = Some(loaded);
        }
        keys
    }
}

impl<B: Backend> Drop for Ahead<B> {
    fn drop(&mut self) {
        self.budget.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's work.
fn bring<B: Backend>(
    dev: &B,
    keys: &dyn KeySource,
    (me, most): (usize, usize),
    parts: &[(Upcoming, Vec<Range<usize>>)],
    (budget, ready): (&Budget, &Sender<Loaded<B>>),
) {
    for (part, groups) in parts {
        let shelf = Shelf { keys, site: part.site, name: part.name, me, fields: &part.fields[me] };
        for range in groups {
            let tiles = shelf.slots(range.clone()).and_then(|slots| Ok((shelf.tiles(&slots)?, slots)));
            let size = |t: &crate::TileBytes| t.as_ref().as_ref().len();
            let bytes = tiles.as_ref().map_or(0, |(t, _)| t.iter().map(size).sum());
            if !budget.take(bytes, most)
                || ready.send((tiles.map(|(t, slots)| dev.load(t, &part.fields[me], &slots)), bytes)).is_err()
            {
                return;
            }
        }
    }
}

/// Bytes that are loaded and not taken yet.
#[derive(Default)]
struct Budget {
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    /// Nobody will take any more.
    ended: bool,
}

impl Budget {
    /// Waits until so many bytes fit within `most`, or alone; whether anybody still wants them.
    fn take(&self, bytes: usize, most: usize) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |u: &mut Used| !u.ended && u.bytes > 0 && u.bytes + bytes > most;
        let mut used = self.freed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        used.bytes += bytes;
        !used.ended
    }
    fn give(&self, bytes: usize) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).bytes -= bytes;
        self.freed.notify_all();
    }
    fn end(&self) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.freed.notify_all();
    }
}
