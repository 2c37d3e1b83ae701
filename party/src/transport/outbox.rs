//! Bytes to send on their way from the blocking side to the network thread.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::Result;
use super::emulate::{Pacer, Shape};
use super::frame::{Kind, head, pieces};
use super::tcp::Wire;

/// How a connection is closed: an application code (0: in order) and an ABORT payload.
#[derive(Clone, Debug, Default)]
pub(super) struct Farewell {
    pub(super) code: u16,
    pub(super) payload: Vec<u8>,
}

/// The last frame, then the end of the connection.
pub(super) struct Last {
    /// CLOSE or ABORT, complete.
    pub(super) frame: Bytes,
    /// How the connection is to be closed.
    pub(super) ending: Farewell,
    /// Told when the peer has everything.
    pub(super) done: SyncSender<()>,
}

/// The blocking side's end.
pub(super) struct Outbox {
    exit: Exit,
    /// Holds back what is sent, if the link is emulated.
    pacer: Option<Pacer>,
    hurry: Option<oneshot::Sender<Farewell>>,
}

/// The way to the connection.
#[derive(Clone)]
pub(super) struct Exit {
    queue: Arc<Queue>,
    /// Over TCP, a queue that is empty need not be joined.
    wire: Option<Arc<Wire>>,
}

/// The network thread's end.
pub(super) struct Drain {
    pub(super) queue: Arc<Queue>,
    /// Fires when the link cannot wait for the queue to drain.
    pub(super) hurry: oneshot::Receiver<Farewell>,
}

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<Queued>,
    less: Condvar,
    more: Notify,
}

#[derive(Default)]
struct Queued {
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`, bytes taken from them that are not yet on their way, and bytes held back before them.
    bytes: usize,
    last: Option<Last>,
    /// The writer knows, and waits for room: pieces need not be announced.
    hushed: bool,
    gone: bool,
}

/// The connection is gone, or the moment passed.
#[derive(Debug)]
pub(super) struct NotSent;

/// A connected pair. The network thread keeps the queue from the beginning, and so may a wire.
pub(super) fn outbox(queue: Arc<Queue>, wire: Option<Arc<Wire>>) -> (Outbox, Drain) {
    let (hurry, hurried) = oneshot::channel();
    let drain = Drain { queue: queue.clone(), hurry: hurried };
    (Outbox { exit: Exit { queue, wire }, pacer: None, hurry: Some(hurry) }, drain)
}

impl Outbox {
    /// Holds back what is sent, as `shape` says.
    pub(super) fn emulate(self, shape: Shape) -> Result<Self> {
        if shape.is_nothing() {
            return Ok(self);
        }
        let pacer = Pacer::start(shape, self.exit.clone())?;
        Ok(Self { pacer: Some(pacer), ..self })
    }

    /// Bytes queued and not yet taken by the network.
    pub(super) fn queued(&self) -> usize {
        self.exit.queue.state().bytes
    }

    /// Sends a frame, or queues what cannot leave at once; never waits for the peer.
    pub(super) fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), NotSent> {
        match (&mut self.pacer, &self.exit.wire) {
            (Some(pacer), _) => pieces(kind, payload).try_for_each(|piece| {
                self.exit.queue.hold(piece.len())?;
                pacer.send(piece)
            }),
            (None, Some(wire)) => wire.send(&head(kind, payload.len()), payload),
            (None, None) => self.exit.queue.push(pieces(kind, payload)),
        }
    }

    /// Queues the last frame.
    pub(super) fn last(
        &mut self,
        frame: Bytes,
        ending: Farewell,
        done: SyncSender<()>,
    ) -> Result<(), NotSent> {
        let last = Last { frame, ending, done };
        match &mut self.pacer {
            Some(pacer) => pacer.last(last),
            None => self.exit.last(last),
        }
    }

    /// Tells the writer to close soon, whatever is still queued.
    pub(super) fn hurry(&mut self, ending: Farewell) {
        if let Some(hurry) = self.hurry.take() {
            // The writer may have ended already: then there is nothing to hurry.
            let _ = hurry.send(ending);
        }
    }

    /// Waits until fewer than `limit` bytes are queued.
    pub(super) fn wait_below(&self, limit: usize, until: Instant) -> Result<(), NotSent> {
        let queue = &self.exit.queue;
        let mut state = queue.state();
        while state.bytes >= limit {
            let left = until.saturating_duration_since(Instant::now());
            if state.gone || left.is_zero() {
                return Err(NotSent);
            }
            state = queue.less.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Exit {
    /// Sends bytes of the stream that were held back.
    pub(super) fn relay(&self, bytes: Bytes) -> Result<(), NotSent> {
        let count = bytes.len();
        let sent = match &self.wire {
            Some(wire) => wire.send(&[], &bytes),
            None => self.queue.push(std::iter::once(bytes)),
        };
        self.queue.took(count);
        sent
    }

    /// Queues the last frame.
    pub(super) fn last(&self, last: Last) -> Result<(), NotSent> {
        let mut state = self.queue.state();
        if state.gone || state.last.is_some() {
            return Err(NotSent);
        }
        state.last = Some(last);
        self.queue.more.notify_one();
        Ok(())
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing waits, not even the last frame, and more may come.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        !state.gone && state.pieces.is_empty() && state.last.is_none()
    }

    /// Queues pieces and tells the writer.
    pub(super) fn push(&self, pieces: impl Iterator<Item = Bytes>) -> Result<(), NotSent> {
        for piece in pieces {
            let mut state = self.state();
            if state.gone || state.last.is_some() {
                return Err(NotSent);
            }
            state.bytes += piece.len();
            state.pieces.push_back(piece);
            // With each piece: the writer works while the next one is copied.
            if !state.hushed {
                self.more.notify_one();
            }
        }
        Ok(())
    }

    /// Counts bytes that are held back.
    fn hold(&self, count: usize) -> Result<(), NotSent> {
        let mut state = self.state();
        if state.gone {
            return Err(NotSent);
        }
        state.bytes += count;
        Ok(())
    }

    /// Whether pieces are to be queued without telling the writer.
    pub(super) fn hush(&self, hushed: bool) {
        self.state().hushed = hushed;
    }

    /// Has the writer look.
    pub(super) fn nudge(&self) {
        self.more.notify_one();
    }

    /// Waits (on the network thread, without blocking it) until there may be something to write.
    pub(super) async fn until_more(&self) {
        self.more.notified().await;
    }

    /// Up to `count` pieces with `bytes` bytes together, and after all pieces the last frame, once.
    pub(super) fn take(&self, count: usize, mut bytes: usize, into: &mut Vec<Bytes>) -> Option<Last> {
        let mut state = self.state();
        while into.len() < count
            && bytes > 0
            && let Some(mut piece) = state.pieces.pop_front()
        {
            if piece.len() > bytes {
                state.pieces.push_front(piece.split_off(bytes));
            }
            bytes -= piece.len();
            into.push(piece);
        }
        match into.is_empty() {
            true => state.last.take(),
            false => None,
        }
    }

    /// The network took `count` bytes.
    pub(super) fn took(&self, count: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(count);
        self.less.notify_one();
    }

    /// However the writer ends, nobody must wait for it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.gone, state.last) = (true, None);
        state.pieces.clear();
        self.less.notify_one();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pair() -> (Outbox, Drain) {
        outbox(Arc::default(), None)
    }

    #[test]
    fn waiting_for_room_ends_when_taken_gone_or_late() {
        let (mut outbox, drain) = pair();
        assert!(outbox.send(Kind::Data, &[0; 95]).is_ok());
        assert_eq!(outbox.queued(), 100);
        assert!(outbox.wait_below(100, Instant::now()).is_err());
        drain.queue.took(1);
        assert!(outbox.wait_below(100, Instant::now()).is_ok());
        let later = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| outbox.wait_below(50, later).is_err());
            drop(drain);
            assert!(waiter.join().unwrap(), "a writer that is gone wakes the waiter");
        });
        assert!(outbox.send(Kind::Data, &[]).is_err());
    }

    #[test]
    fn pieces_are_taken_in_order_whatever_the_cuts_and_the_last_frame_comes_last() {
        let (mut outbox, drain) = pair();
        let payload: Vec<u8> = (0..100).collect();
        outbox.send(Kind::Data, &payload).unwrap();
        outbox.send(Kind::Data, b"x").unwrap();
        let (done, _) = std::sync::mpsc::sync_channel(1);
        outbox.last(Bytes::from_static(b"bye"), Farewell::default(), done.clone()).unwrap();
        assert!(outbox.last(Bytes::new(), Farewell::default(), done).is_err(), "only one is the last");
        assert!(outbox.send(Kind::Data, b"y").is_err(), "nothing comes after it");
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        let last = loop {
            if let Some(last) = drain.queue.take(2, 40, &mut taken) {
                break last;
            }
            assert!(taken.len() <= 2 && taken.concat().len() <= 40);
            all.append(&mut taken);
        };
        assert_eq!(all.concat()[5..105], payload);
        assert_eq!(all.concat()[105..], *b"\x01\0\0\0\x01x");
        assert_eq!(last.frame, "bye");
        assert!(drain.queue.take(2, 40, &mut taken).is_none());
    }
}
