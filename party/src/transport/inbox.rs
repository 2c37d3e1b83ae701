//! Received bytes on their way from the network thread to the blocking side.
//!
//! Only bytes that really arrived take memory: a length that a peer merely claims allocates nothing here.

mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use self::state::State;
use super::Error;
use super::quic::Flow;
use super::tcp::Wire;

/// Bytes are kept in blocks of this size, so that small packets pin no large buffers.
const BLOCK: usize = 256 << 10;

/// Least space a block has, and least that is held before the peer is held back.
const LEAST: usize = 4 << 10;

/// A bounded byte pipe: filled on the network thread, drained by one blocking reader. Over TCP the reader
/// fills it too, rather than sleep.
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Condvar,
    room: Notify,
    /// Bytes held before the peer is held back.
    limit: AtomicUsize,
    /// Its bounds: of a link that is not admitted, and of one that is.
    bounds: [usize; 2],
    /// Over QUIC, what the peer may send.
    flow: OnceLock<Flow>,
    replaced: Notify,
    /// Where the reader can get more by itself. The wire holds the inbox.
    wire: OnceLock<Weak<Wire>>,
}

/// Why the reader got nothing.
pub(super) enum Dry {
    /// The moment passed; nothing was taken since the last success.
    TimedOut,
    /// There will be no more.
    Ended(Error),
}

impl Inbox {
    /// Holds `lobby` bytes until it is opened or admitted, and then at most `most`.
    pub(super) fn new(lobby: usize, most: usize) -> Self {
        let bounds = [lobby.max(LEAST).min(most), most];
        let wire = OnceLock::new();
        Self {
            state: Mutex::new(State::new()),
            ready: Condvar::new(),
            room: Notify::new(),
            limit: AtomicUsize::new(bounds[0]),
            bounds,
            flow: OnceLock::new(),
            replaced: Notify::new(),
            wire,
        }
    }

    /// What the peer may send is governed by this from now on.
    pub(super) fn flows(&self, flow: Flow) {
        // As below.
        let _ = self.flow.set(flow);
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that fit before the peer is held back.
    pub(super) fn space(&self) -> usize {
        self.limit().saturating_sub(self.held())
    }

    /// Over QUIC, bytes that this connection has brought so far, read or not, with all their packets.
    #[cfg(test)]
    pub(super) fn arrived(&self) -> Option<u64> {
        self.flow.get().map(Flow::arrived)
    }

    /// Lets the peer send without other bounds than an open link's.
    pub(super) fn open(&self) {
        self.bound(self.bounds[1]);
        if let Some(flow) = self.flow.get() {
            flow.open();
        }
    }

    /// Lets the peer send `bytes` more at full speed.
    pub(super) fn admit(&self, bytes: usize) {
        let [lobby, most] = self.bounds;
        self.bound(bytes.clamp(lobby, most));
        if let Some(flow) = self.flow.get() {
            flow.admit(bytes as u64);
        }
    }

    /// Holds the peer back to what a link that is not admitted may send.
    pub(super) fn restrict(&self) {
        self.bound(self.bounds[0]);
        if let Some(flow) = self.flow.get() {
            flow.restrict();
        }
    }

    fn bound(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.made_room(true);
    }

    /// Ends the link: a newer one of the same peer, `name`, takes its place.
    pub(super) fn replace(&self, name: &str) {
        self.finish(Error::Replaced { peer: name.to_owned() });
        self.replaced.notify_one();
    }

    /// Waits (on the network thread, without blocking it) until another link takes this one's place.
    pub(super) async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Whether the peer answered when it was told that the link is over. The first answer stays.
    pub(super) fn answered(&self, answered: bool) {
        self.state().answered.get_or_insert(answered);
        self.ready.notify_one();
    }

    /// Waits for it until `until`; no answer is none.
    pub(super) fn is_answered(&self, until: Instant) -> bool {
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match state.answered {
                Some(answered) => return answered,
                None if left.is_zero() => return false,
                None => {}
            }
            state = self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The reader waits on this wire from now on.
    pub(super) fn read_by(&self, wire: &Arc<Wire>) {
        // Only the first counts, and there is only one.
        let _ = self.wire.set(Arc::downgrade(wire));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits (on the network thread, without blocking it) until there is room.
    pub(super) async fn until_room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// Appends what arrived and wakes the reader when it has enough.
    pub(super) fn push(&self, chunks: &[impl AsRef<[u8]>]) {
        let mut state = self.state();
        state.heard = Instant::now();
        let (mut count, block) = (0, BLOCK.min(self.limit()));
        for chunk in chunks {
            count += chunk.as_ref().len();
            state.append(chunk.as_ref(), block);
        }
        if let Some(flow) = self.flow.get() {
            flow.took(count as u64);
        }
        if state.wanted > 0 && state.held >= state.wanted {
            self.ready.notify_one();
        }
    }

    /// Says that nothing more will come, and why. The first reason stays.
    pub(super) fn finish(&self, why: Error) {
        let mut state = self.state();
        state.end.get_or_insert(why);
        self.ready.notify_one();
    }

    /// Why nothing more will come, if so. Bytes may still be held.
    pub(super) fn end(&self) -> Option<Error> {
        self.state().end.clone()
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.state().held
    }

    /// Whether the peer is to be held back.
    pub(super) fn is_full(&self) -> bool {
        self.held() >= self.limit()
    }

    /// The peer was heard, whatever it said.
    pub(super) fn hear(&self) {
        self.state().heard = Instant::now();
    }

    /// When the peer was last heard.
    pub(super) fn heard(&self) -> Instant {
        self.state().heard
    }

    /// Exactly `N` bytes, or none.
    pub(super) fn take<const N: usize>(&self, until: Instant) -> Result<[u8; N], Dry> {
        let mut state = self.wait(self.state(), N, until)?;
        let full = state.held >= self.limit();
        let mut bytes = [0; N];
        let mut at = 0;
        while at < N {
            let part = state.first(N - at);
            bytes[at..at + part.len()].copy_from_slice(part);
            let count = part.len();
            at += count;
            state.drop_front(count);
        }
        drop(state);
        self.made_room(full);
        Ok(bytes)
    }

    /// Whether there is anything to take before `until`.
    pub(super) fn arrives(&self, until: Instant) -> Result<bool, Error> {
        match self.wait(self.state(), 1, until) {
            Ok(_) => Ok(true),
            Err(Dry::TimedOut) => Ok(false),
            Err(Dry::Ended(error)) => Err(error),
        }
    }

    /// Appends exactly `count` bytes to `to`, emptying the pipe as they come. After an error some are gone.
    pub(super) fn drain(&self, to: &mut Vec<u8>, mut count: usize, until: Instant) -> Result<(), Dry> {
        let wire = self.wire.get().and_then(Weak::upgrade);
        while count > 0 {
            let wanted = match &wire {
                // What is not here yet need not come by here.
                Some(wire) if self.held() == 0 => {
                    if let Some(end) = self.end() {
                        return Err(Dry::Ended(end));
                    }
                    if Instant::now() >= until {
                        return Err(Dry::TimedOut);
                    }
                    count = wire.pull_into(to, count, until);
                    continue;
                }
                Some(_) => 1,
                None => count.min(BLOCK).min(self.limit()),
            };
            let mut state = self.wait(self.state(), wanted, until)?;
            let full = state.held >= self.limit();
            while count > 0 && state.held > 0 {
                let part = state.first(count);
                to.extend_from_slice(part);
                let got = part.len();
                count -= got;
                state.drop_front(got);
            }
            drop(state);
            self.made_room(full);
        }
        Ok(())
    }

    /// Some bytes were taken: a peer that was held back may go on.
    fn made_room(&self, was_full: bool) {
        match self.wire.get() {
            None => self.room.notify_one(),
            Some(wire) if was_full => {
                if let Some(wire) = wire.upgrade() {
                    wire.listen();
                }
            }
            Some(_) => {}
        }
    }

    /// Waits for `wanted` bytes. At the end, fewer are as good as none.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        until: Instant,
    ) -> Result<MutexGuard<'a, State>, Dry> {
        while state.held < wanted {
            if let Some(end) = &state.end {
                return Err(Dry::Ended(end.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Dry::TimedOut);
            }
            if let Some(wire) = self.wire.get().and_then(Weak::upgrade) {
                drop(state);
                wire.pull(wanted, until);
                state = self.state();
                continue;
            }
            state.wanted = wanted;
            state = self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.wanted = 0;
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_cuts() {
        let inbox = Inbox::new(64 << 20, 64 << 20);
        let bytes: Vec<u8> = (0..3 * BLOCK + 11).map(|i| (i % 251) as u8).collect();
        for chunk in bytes.chunks(1237) {
            inbox.push(&[Bytes::copy_from_slice(chunk)]);
        }
        let head: [u8; 5] = inbox.take(soon()).ok().unwrap();
        let mut rest = head.to_vec();
        for count in [0, 1, BLOCK - 7, 2 * BLOCK] {
            inbox.drain(&mut rest, count, soon()).ok().unwrap();
        }
        inbox.drain(&mut rest, 12, soon()).ok().unwrap();
        assert_eq!(rest, bytes);
        assert_eq!(inbox.state().held, 0);
        assert_eq!(inbox.state().blocks.len(), 1, "the last block is reused");
    }

    #[test]
    fn waiting_ends_with_the_deadline_or_the_end_and_takes_nothing() {
        let inbox = Inbox::new(1 << 20, 1 << 20);
        inbox.push(&[Bytes::from_static(b"abc")]);
        let now = Instant::now();
        assert!(matches!(inbox.take::<5>(now), Err(Dry::TimedOut)));
        inbox.finish(Error::Shut);
        inbox.finish(Error::Closed { peer: "x".into() });
        assert!(matches!(inbox.take::<5>(soon()), Err(Dry::Ended(Error::Shut))));
        assert_eq!(inbox.take::<3>(soon()).ok(), Some(*b"abc"), "held bytes outlive the end");
    }

    #[test]
    fn a_reader_may_ask_for_more_than_the_limit() {
        let inbox = Arc::new(Inbox::new(5000, 5000));
        let filler = inbox.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for _ in 0..500 {
                    filler.until_room().await;
                    assert!(filler.state().held < 5000);
                    filler.push(&[Bytes::from(vec![7; 100])]);
                }
            });
        });
        let mut all = Vec::new();
        inbox.drain(&mut all, 50_000, soon()).ok().unwrap();
        assert_eq!(all, vec![7; 50_000]);
        thread.join().unwrap();
    }
}
