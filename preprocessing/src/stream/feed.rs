//! A party's side, seen from a run: the tiles of one step, each handed out once.

use super::layout::StepLayout;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_primitives::{Error, KeySource, Origin, PartyId, Result, Site, TileBytes};
use zeroize::Zeroizing;

/// What the reader and the runs of a stream share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How long anybody waits while nothing comes and nothing is asked for.
    patience: Duration,
}

pub(super) struct State {
    /// The steps of which a feed is held, by segment.
    steps: BTreeMap<u32, Step>,
    /// Bytes of frames: that came, and of which all tiles were handed out.
    came: u64,
    pub(super) used: u64,
    /// The most that lay between the two.
    pub(super) most: u64,
    /// Why the stream ended.
    pub(super) fault: Option<Error>,
    /// When something came or was handed out.
    last: Instant,
}

/// One step while it comes in.
struct Step {
    layout: Arc<StepLayout>,
    /// By number.
    tiles: Vec<Slot>,
    /// Tiles that were not handed out, by group.
    left: Vec<usize>,
    /// Whether its last frame came.
    whole: bool,
}

enum Slot {
    /// This party stores nothing, or it was handed out.
    Empty,
    Coming,
    Here(Tile),
}

/// Part of a frame, which is wiped when nobody holds any part of it.
struct Tile {
    frame: Arc<Zeroizing<Vec<u8>>>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Tile {
    fn as_ref(&self) -> &[u8] {
        &self.frame[self.range.clone()]
    }
}

impl Step {
    /// The first tile that is here and nobody asked for, or else the first thing that is to come.
    fn open(&self) -> Option<(usize, bool)> {
        let here = self.tiles.iter().position(|t| matches!(t, Slot::Here(_)));
        let coming = || self.tiles.iter().position(|t| matches!(t, Slot::Coming));
        let end = || (!self.whole).then_some(self.tiles.len());
        here.map(|number| (number, true)).or_else(|| coming().or_else(end).map(|number| (number, false)))
    }
}

impl State {
    /// Bytes of frames that came and are not used.
    pub(super) fn ahead(&self) -> u64 {
        self.came.saturating_sub(self.used)
    }
    /// Why nothing goes on: what nobody asks for keeps what lies behind it, else the dealer gives nothing.
    fn stuck(&self, patience: Duration) -> Error {
        let open = || self.steps.iter().filter_map(|(segment, step)| Some((segment, step, step.open()?)));
        let first = open().find(|(.., (_, here))| *here).or_else(|| open().next());
        match first {
            Some((segment, step, (number, here))) => {
                let what = format!("{} of segment {segment}", step.layout.name(number));
                // keys that are here wait for a run, and so for the peer, or for a process that was suspended: both pass
                Error::Channel(match here {
                    true => format!("nobody asked for {what} for {patience:?}"),
                    false => format!("the dealer did not give {what} for {patience:?}"),
                })
            }
            None => Error::Channel(format!("the stream of keys did not end for {patience:?}")),
        }
    }
}

impl Shared {
    pub(super) fn new(patience: Duration) -> Shared {
        let (steps, last) = (BTreeMap::new(), Instant::now());
        let state = State { steps, came: 0, used: 0, most: 0, fault: None, last };
        Shared { state: Mutex::new(state), changed: Condvar::new(), patience }
    }
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How long someone may still wait who waits since then.
    fn left(&self, state: &State, since: Instant) -> Duration {
        self.patience.saturating_sub(since.max(state.last).elapsed())
    }
    /// The same; `None`, and the stream has failed, if that is over.
    pub(super) fn patience(&self, since: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let left = self.left(&state, since);
        if left.is_zero() {
            self.give_up(&mut state);
        }
        (!left.is_zero()).then_some(left)
    }
    fn give_up(&self, state: &mut State) {
        let why = state.stuck(self.patience);
        state.fault.get_or_insert(why);
        self.changed.notify_all();
    }
    /// Waits while `what` holds and the stream goes on, which fails when nothing happens for too long.
    pub(super) fn wait_while<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        what: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let since = Instant::now();
        while state.fault.is_none() && what(&state) {
            let left = self.left(&state, since);
            match left.is_zero() {
                true => self.give_up(&mut state),
                false => {
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        state
    }
    /// Ends the stream; the first reason stays.
    pub(super) fn fail(&self, why: Error) {
        self.lock().fault.get_or_insert(why);
        self.changed.notify_all();
    }
    /// A verified frame with the tiles of group `group`, or the last one, behind a head of `head` bytes.
    pub(super) fn came(
        &self,
        segment: u32,
        (layout, party): (&StepLayout, PartyId),
        group: Option<usize>,
        (frame, head): (Zeroizing<Vec<u8>>, usize),
    ) {
        let (len, frame, mut from) = (frame.len() as u64, Arc::new(frame), head);
        let mut state = self.lock();
        (state.came, state.last) = (state.came + len, Instant::now());
        state.most = state.most.max(state.came - state.used);
        if group.is_none() {
            state.used += len;
        }
        // there is no such step if its feed was dropped: the stream ends then
        if let Some(step) = state.steps.get_mut(&segment) {
            step.whole = group.is_none();
            for number in group.map_or(0..0, |g| layout.groups[g].tiles.clone()) {
                let len = layout.lengths[number][party.index()];
                if len > 0 {
                    step.tiles[number] = Slot::Here(Tile { frame: frame.clone(), range: from..from + len });
                }
                from += len;
            }
        }
        self.changed.notify_all();
    }
}

/// The tiles of one step, as they come: the keys of a [`Session`](twoply_primitives::Session) on one image, the whole batch.
///
/// [`Feed::finish`] ends a step; one that is dropped before was given up, and the whole stream ends with it. Tiles are asked
/// for in about the order of the plan, by any number of threads: one that lies further ahead than the credit comes when those
/// before it were asked for. Asking waits, as long as the stream has patience, and keeps the thread that asks: a dealer and parties in one process need a rayon
/// pool each.
pub struct Feed {
    origin: Origin,
    party: PartyId,
    layout: Arc<StepLayout>,
    shared: Arc<Shared>,
    finished: AtomicBool,
}

impl Feed {
    pub(super) fn new(origin: Origin, party: PartyId, layout: Arc<StepLayout>, shared: Arc<Shared>) -> Feed {
        let stored = |number: &usize| layout.lengths[*number][party.index()] > 0;
        let slot = |number| if stored(&number) { Slot::Coming } else { Slot::Empty };
        let step = Step {
            layout: layout.clone(),
            tiles: (0..layout.lengths.len()).map(slot).collect(),
            left: layout.groups.iter().map(|g| g.tiles.clone().filter(stored).count()).collect(),
            whole: false,
        };
        shared.lock().steps.insert(origin.segment, step);
        Feed { origin, party, layout, shared, finished: AtomicBool::new(false) }
    }

    /// Key set and segment of the step.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Waits until the dealer has said that the step is whole. To be called when the run is over.
    ///
    /// # Errors
    /// [`Error::PlanMismatch`] if the run did not ask for every tile, or why the stream ended.
    pub fn finish(&self) -> Result<()> {
        let segment = self.origin.segment;
        let mut state = self.shared.lock();
        let of =
            |s: &State| s.steps.get(&segment).map(|s| s.tiles.iter().position(|t| !matches!(t, Slot::Empty)));
        if let Some(number) = of(&state).flatten() {
            let at = self.layout.tiles.stored().nth(number).map_or(0, |t| t.1.gate);
            let found = self.layout.name(number);
            return Err(Error::PlanMismatch { at, wanted: "the end of the step".into(), found });
        }
        let whole = |s: &State| s.steps.get(&segment).is_some_and(|s| s.whole);
        state = self.shared.wait_while(state, |s| !whole(s));
        match (whole(&state), &state.fault) {
            (false, Some(why)) => Err(why.clone()),
            _ => {
                self.finished.store(true, Ordering::Release);
                Ok(())
            }
        }
    }

    fn take(&self, number: usize) -> Result<Tile> {
        let (segment, group) =
            (self.origin.segment, self.layout.groups.partition_point(|g| g.tiles.end <= number));
        let coming =
            |s: &State| s.steps.get(&segment).is_some_and(|s| matches!(s.tiles[number], Slot::Coming));
        let mut guard = self.shared.wait_while(self.shared.lock(), coming);
        let state = &mut *guard;
        let slot = state.steps.get_mut(&segment).map(|s| (&mut s.tiles[number], &mut s.left[group]));
        let (slot, left) = slot.ok_or_else(|| Error::Keys("this step is over".into()))?;
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Here(tile) => {
                *left -= 1;
                state.last = Instant::now();
                if *left == 0 {
                    state.used += tile.frame.len() as u64;
                    self.shared.changed.notify_all();
                }
                Ok(tile)
            }
            Slot::Coming => {
                *slot = Slot::Coming;
                Err(state.fault.clone().unwrap_or_else(|| Error::Keys("the stream ended".into())))
            }
            Slot::Empty => {
                let what = self.layout.name(number);
                Err(Error::Integrity(format!("{what} was asked for twice; a key is used once")))
            }
        }
    }
}

impl KeySource for Feed {
    /// Waits for the tile. A second request is refused.
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let place = self.layout.tiles.place(self.party.index(), name, at, tile)?;
        match place.number {
            Some(number) if place.len > 0 => Ok(Arc::new(self.take(number as usize)?)),
            _ => Ok(Arc::new([])),
        }
    }
    fn elements(&self, at: Site) -> Result<usize> {
        self.layout.tiles.elements(at).ok_or_else(|| Error::PlanMismatch {
            at: at.gate,
            wanted: format!("part {}", at.part),
            found: "no such part in the plan".into(),
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.lock().steps.remove(&self.origin.segment);
        if !*self.finished.get_mut() {
            let why =
                format!("step {} was given up, and the stream of its keys with it", self.origin.segment);
            self.shared.fail(Error::Keys(why));
        }
    }
}
