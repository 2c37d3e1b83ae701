//! Bytes to send on their way from the blocking side to the QUIC thread.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// What the writer task gets.
pub(super) enum Out {
    /// A piece of a frame.
    Piece(Bytes),
    /// The last frame, then the end of the connection with this code and payload.
    Last {
        /// CLOSE or ABORT, complete.
        frame: Bytes,
        /// How the connection is to be closed.
        ending: Ending,
        /// Told when the peer has everything.
        done: SyncSender<()>,
    },
}

/// How a connection is closed: QUIC's application code (0: in order) and an ABORT payload.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    pub(super) code: u16,
    pub(super) payload: Vec<u8>,
}

/// The blocking side's end.
pub(super) struct Outbox {
    queue: UnboundedSender<Out>,
    backlog: Arc<Backlog>,
    hurry: Option<oneshot::Sender<Ending>>,
}

/// The QUIC thread's end.
pub(super) struct Drain {
    pub(super) queue: UnboundedReceiver<Out>,
    pub(super) backlog: Arc<Backlog>,
    /// Fires when the link cannot wait for the queue to drain.
    pub(super) hurry: oneshot::Receiver<Ending>,
}

/// How much is queued.
pub(super) struct Backlog {
    state: Mutex<Queued>,
    less: Condvar,
}

struct Queued {
    bytes: usize,
    gone: bool,
}

/// The connection is gone, or the moment passed.
pub(super) struct NotSent;

/// A connected pair.
pub(super) fn outbox() -> (Outbox, Drain) {
    let (sender, receiver) = unbounded_channel();
    let (hurry, hurried) = oneshot::channel();
    let state = Mutex::new(Queued { bytes: 0, gone: false });
    let backlog = Arc::new(Backlog { state, less: Condvar::new() });
    let drain = Drain { queue: receiver, backlog: backlog.clone(), hurry: hurried };
    (Outbox { queue: sender, backlog, hurry: Some(hurry) }, drain)
}

impl Outbox {
    /// Bytes queued and not yet taken by QUIC.
    pub(super) fn queued(&self) -> usize {
        self.backlog.state().bytes
    }

    /// Queues a piece; never waits.
    pub(super) fn push(&self, piece: Bytes) -> Result<(), NotSent> {
        self.backlog.state().bytes += piece.len();
        self.queue.send(Out::Piece(piece)).map_err(|_| NotSent)
    }

    /// Queues the last frame.
    pub(super) fn last(&self, frame: Bytes, ending: Ending, done: SyncSender<()>) -> Result<(), NotSent> {
        self.queue.send(Out::Last { frame, ending, done }).map_err(|_| NotSent)
    }

    /// Tells the writer to close soon, whatever is still queued.
    pub(super) fn hurry(&mut self, ending: Ending) {
        if let Some(hurry) = self.hurry.take() {
            // The writer may have ended already: then there is nothing to hurry.
            let _ = hurry.send(ending);
        }
    }

    /// Waits until fewer than `limit` bytes are queued.
    pub(super) fn wait_below(&self, limit: usize, until: Instant) -> Result<(), NotSent> {
        let mut state = self.backlog.state();
        while state.bytes >= limit {
            let left = until.saturating_duration_since(Instant::now());
            if state.gone || left.is_zero() {
                return Err(NotSent);
            }
            state = self.backlog.less.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Backlog {
    fn state(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// QUIC took `count` bytes.
    pub(super) fn took(&self, count: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(count);
        self.less.notify_one();
    }
}

/// However the writer ends, nobody must wait for it.
impl Drop for Drain {
    fn drop(&mut self) {
        self.backlog.state().gone = true;
        self.backlog.less.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_for_room_ends_when_taken_gone_or_late() {
        let (outbox, drain) = outbox();
        assert!(outbox.push(Bytes::from(vec![0; 100])).is_ok());
        assert_eq!(outbox.queued(), 100);
        assert!(outbox.wait_below(100, Instant::now()).is_err());
        drain.backlog.took(1);
        assert!(outbox.wait_below(100, Instant::now()).is_ok());
        let later = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| outbox.wait_below(50, later).is_err());
            drop(drain);
            assert!(waiter.join().unwrap(), "a writer that is gone wakes the waiter");
        });
        assert!(outbox.push(Bytes::new()).is_err());
    }
}
