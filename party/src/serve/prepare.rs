//! Work for runs to come, done while no data owner waits: the products of linear gates that do not depend on inputs.
//!
//! Looks at the ledger and reads keys early, but reserves, marks and releases nothing. What it made is consumed by the
//! run of exactly those images; a run for which nothing is there computes it itself and opens the same bits.

use super::TICK;
use super::state::Party;
use super::stock::Stock;
use crate::exit::Failure;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use twoply_nn::{Plan, roles};
use twoply_preprocessing::SegmentId;
use twoply_primitives::session::{Own, Prepared};
use twoply_primitives::{Backend, Origin, Ring};

/// Most bytes held for runs to come.
const MOST: usize = 256 << 20;

/// Images prepared together: whoever comes meanwhile waits for one gate of these at most.
const TOGETHER: usize = 8;

/// What is prepared, and by whom.
pub struct Larder<B: Backend> {
    shelf: Mutex<Shelf<B>>,
    bell: Condvar,
    /// Ring elements that an image takes.
    per_image: usize,
}

struct Shelf<B: Backend> {
    /// By segment, and by the name of its keys: a segment that is dealt again has others.
    stock: Vec<(SegmentId, Prepared<B>)>,
    /// So many runs or ends of runs want the thread that prepares to hold still: nothing is begun.
    serving: usize,
    /// The thread that prepares holds keys.
    working: bool,
    /// How many images to have ready: as many as the last data owner asked for.
    wanted: u64,
    /// Time spent.
    seconds: f64,
}

/// Images of a segment that lack preparation.
struct Gap<B: Backend> {
    stock: Arc<Stock<B>>,
    segment: u32,
    images: Range<usize>,
}

/// While it lives, nothing new is prepared.
pub struct Serving<'a, B: Backend>(&'a Larder<B>);

impl<B: Backend> Drop for Serving<'_, B> {
    fn drop(&mut self) {
        self.0.shelf().serving -= 1;
        self.0.bell.notify_all();
    }
}

impl<B: Backend> Larder<B> {
    /// Empty, for runs of a plan.
    pub fn new(plan: &Plan) -> Self {
        let products = plan.gates.iter().filter(|g| ["linear", "conv2d"].contains(&&g.gate[..]));
        let per_image = products.map(|g| g.output.len()).sum();
        let shelf = Shelf { stock: vec![], serving: 0, working: false, wanted: 1, seconds: 0.0 };
        Larder { shelf: Mutex::new(shelf), bell: Condvar::new(), per_image }
    }
    fn shelf(&self) -> MutexGuard<'_, Shelf<B>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A data owner is served from now on.
    pub fn serving(&self) -> Serving<'_, B> {
        self.shelf().serving += 1;
        Serving(self)
    }
    /// How many images a data owner asked for.
    pub fn asked_for(&self, images: u64) {
        self.shelf().wanted = images;
    }
    /// What is there for a segment with these keys. What was made with earlier keys of it is dropped.
    pub fn take(&self, origin: Origin, keys: SegmentId) -> Option<Prepared<B>> {
        let mut shelf = self.shelf();
        shelf.stock.retain(|(id, p)| p.origin() != origin || *id == keys);
        let at = shelf.stock.iter().position(|(id, _)| *id == keys)?;
        Some(shelf.stock.swap_remove(at).1)
    }
    /// Whether a run is under way.
    pub fn is_serving(&self) -> bool {
        self.shelf().serving > 0
    }
    /// Waits until no segment is read any more: one gate's work at most.
    pub fn let_go(&self) {
        let _serving = self.serving();
        let mut shelf = self.shelf();
        while shelf.working {
            shelf = self.bell.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
    }
    /// There may be something to do.
    pub fn wake(&self) {
        self.bell.notify_all();
    }
    /// Seconds spent preparing.
    pub fn seconds(&self) -> f64 {
        self.shelf().seconds
    }

    /// Prepares in the idle time until `over`.
    pub fn work(&self, party: &Party<B>, over: &AtomicBool) {
        while !over.load(Ordering::SeqCst) {
            let gap = self.gap(party);
            let mut shelf = self.shelf();
            match gap {
                Some(gap) if shelf.serving == 0 => {
                    shelf.working = true;
                    drop(shelf);
                    let result = self.fill(party, gap, over);
                    let mut shelf = self.shelf();
                    shelf.working = false;
                    if result.is_err() {
                        shelf.wanted = 0; // the run will meet the same fault, and say so
                    }
                    self.bell.notify_all();
                }
                _ => drop(self.bell.wait_timeout(shelf, TICK)),
            }
        }
    }

    /// The first images that the next data owner will be given and that lack preparation, if there is room.
    fn gap(&self, party: &Party<B>) -> Option<Gap<B>> {
        let common = party.stocks.pick()?;
        let (next, _) = common.stock.position();
        let stock = common.stock;
        let mut shelf = self.shelf();
        let coming: Vec<(u32, Range<usize>)> = stock
            .set
            .cut()
            .pieces(next..common.dealt.min(next + shelf.wanted))
            .map(|(segment, r)| (segment, r.start as usize..r.end as usize))
            .collect();
        let here = |p: &Prepared<B>| p.origin().set == stock.id();
        let of = |p: &Prepared<B>| coming.iter().find(|g| here(p) && g.0 == p.origin().segment);
        shelf.stock.retain(|(_, p)| of(p).is_some_and(|g| p.images().contains(&g.1.start)));
        let held: usize = shelf.stock.iter().map(|(_, p)| p.elements()).sum();
        let room = (MOST / (B::Ring::BITS as usize / 8)).saturating_sub(held) / self.per_image.max(1);
        let gap = coming.into_iter().find_map(|(segment, images)| {
            let there = shelf.stock.iter().find(|(_, p)| here(p) && p.origin().segment == segment);
            let from = there.map_or(images.start, |(_, p)| p.images().end);
            let to = images.end.min(from + TOGETHER);
            (from < to).then(|| Gap { stock: stock.clone(), segment, images: from..to })
        })?;
        (gap.images.len() <= room && self.per_image > 0).then_some(gap)
    }

    fn fill(&self, party: &Party<B>, gap: Gap<B>, over: &AtomicBool) -> Result<(), Failure> {
        let began = Instant::now();
        let weights = gap.stock.weights(&party.dev, &party.program)?;
        let (keys, dev) = (gap.stock.set.peek(gap.segment)?, &party.dev);
        let own = Own {
            dev,
            me: party.me,
            seed: keys.seed(),
            origin: keys.origin(),
            images: gap.images.clone(),
            keys: &keys,
            gate: 0,
        };
        let id = keys.segment_id();
        // A segment that was dealt again begins anew.
        self.shelf().stock.retain(|(other, p)| p.origin() != keys.origin() || *other == id);
        let mut first = true;
        let done = roles::prepare(&party.program, &weights, own, |gate, k| {
            // a device that goes on by itself must not hold up a run with what is asked for here
            if dev.settle().is_err() {
                return false;
            }
            let mut shelf = self.shelf();
            if shelf.serving > 0 || over.load(Ordering::SeqCst) {
                return false;
            }
            if !shelf.stock.iter().any(|(other, _)| *other == id) {
                shelf.stock.push((id, Prepared::new(dev.clone(), keys.origin())));
            }
            if let Some((_, p)) = shelf.stock.iter_mut().find(|(other, _)| *other == id) {
                if std::mem::take(&mut first) {
                    p.begin(gap.images.clone());
                }
                p.put(gate, k);
            }
            true
        });
        self.shelf().seconds += began.elapsed().as_secs_f64();
        done?;
        Ok(dev.settle()?)
    }
}
