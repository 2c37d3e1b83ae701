//! The task of a link over TCP on the network thread: what the blocking side leaves to it.

use std::net::Shutdown;
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use super::super::outbox::Drain;
use super::super::reason::Reason;
use super::*;

/// Bytes read or written before other links have their turn.
const TURN: usize = 4 << 20;
/// Least pause between signs of life.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// How long a goodbye may take to leave through a socket that is full.
const PARTING: Duration = Duration::from_secs(2);

/// Reads, writes and listens for signs of life until the connection is over. `closing` changes when the
/// endpoint goes.
pub(super) async fn run(wire: Arc<Wire>, mut drain: Drain, mut closing: watch::Receiver<bool>) {
    // However this task ends, nobody must wait for it.
    let _end = End(wire.clone());
    let hurry = &mut drain.hurry;
    // Its successor is unsafe, for types that could close the descriptor early. A borrowed one cannot.
    #[expect(deprecated)]
    let ready = AsyncFd::with_interest(wire.watch.as_fd(), Interest::READABLE);
    let Ok(ready) = ready else { return };
    let every = (wire.idle / 4).max(LEAST_PAUSE);
    let mut beat = interval_at(tokio::time::Instant::now() + every, every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut hurried, mut closed) = (false, false);
    // When patience ends, and what is to be said then.
    let mut limit: Option<(Instant, Option<Farewell>)> = None;
    wire.begin();
    while !wire.is_over() {
        tokio::select! {
            guard = ready.readable() => match (guard, wire.watch.take()) {
                (Ok(_), Ok(Some(ready))) => {
                    if ready.read {
                        wire.fill();
                    }
                    if ready.write {
                        wire.flush();
                    }
                    wire.listen();
                }
                (Ok(mut guard), Ok(None)) => guard.clear_ready(),
                _ => return,
            },
            () = wire.queue.until_more() => wire.flush(),
            _ = beat.tick() => wire.beat(),
            ending = &mut *hurry, if !hurried => {
                hurried = true;
                // An outbox that went without hurry had been closed in order.
                limit = ending.ok().map(|ending| (Instant::now() + LINGER, Some(ending))).or(limit);
            }
            () = until(&limit) => match limit.take() {
                Some((_, Some(ending))) => {
                    wire.cut(&ending);
                    limit = Some((Instant::now() + PARTING, None));
                }
                _ => return,
            },
            _ = closing.changed(), if !closed => {
                closed = true;
                wire.inbox.finish(Error::Shut);
                wire.cut(&Farewell { code: Reason::Interrupted.code(), payload: Vec::new() });
                limit = Some((Instant::now() + LINGER, None));
            }
            () = wire.inbox.replaced(), if !closed => {
                closed = true;
                // Who lives answers. Whoever sleeps on the socket is woken by the answer, or by the end of this.
                wire.cut(&Farewell { code: Reason::Replaced.code(), payload: Vec::new() });
                limit = Some((Instant::now() + LINGER, None));
            }
        }
        if wire.left.load(Ordering::Acquire) && limit.is_none() {
            limit = Some((Instant::now() + LINGER, None));
        }
    }
}

async fn until(limit: &Option<(Instant, Option<Farewell>)>) {
    match limit {
        Some((when, _)) => tokio::time::sleep_until((*when).into()).await,
        None => std::future::pending().await,
    }
}

impl Wire {
    /// Starts: what came with the preamble is the first to be received.
    fn begin(&self) {
        let mut reading = lock(&self.reading);
        if let Err(why) = self.open(&[], &mut reading.parser, &mut Need::Held(0)) {
            self.lose(Loss::Broken(why.into()));
        }
        drop(reading);
        self.listen();
    }

    /// Reads what is there and has room.
    fn fill(&self) {
        let mut reading = lock(&self.reading);
        for _ in 0..TURN / READ {
            if reading.waiting
                || self.inbox.is_full()
                || self.read(&mut reading, &mut Need::Held(0)) != Socket::Ready
            {
                return;
            }
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    fn flush(&self) {
        let mut writing = lock(&self.writing);
        self.queue.hush(false);
        let mut pieces = Vec::new();
        for _ in 0..TURN / CAP {
            match self.spill(&mut writing) {
                Socket::Ready => {}
                Socket::Blocked => return self.await_room(),
                Socket::Over => {
                    self.torn();
                    return;
                }
            }
            if writing.answered {
                return self.over();
            }
            if self.left.load(Ordering::Acquire) {
                self.queue.close();
                lock(&self.done).take();
                self.seal(&mut writing, Kind::Closed, &[]);
                writing.answered = true;
                continue;
            }
            if writing.closed {
                return;
            }
            match self.queue.take(JOINED, CAP, &mut pieces) {
                Some(Last { frame, ending, done }) => {
                    *lock(&self.done) = Some(done);
                    self.seal(&mut writing, Kind::Stream, &[&frame]);
                    self.say_goodbye(&mut writing, &ending);
                }
                None if pieces.is_empty() => return,
                None => {
                    let parts: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
                    self.seal(&mut writing, Kind::Stream, &parts);
                    self.queue.took(parts.iter().map(|part| part.len()).sum());
                    pieces.clear();
                }
            }
        }
        self.queue.nudge();
    }

    fn say_goodbye(&self, writing: &mut Writing, ending: &Farewell) {
        self.seal(writing, Kind::Close, &[&ending.code.to_le_bytes(), &ending.payload]);
        writing.closed = true;
    }

    /// Ends without what is still queued.
    fn cut(&self, ending: &Farewell) {
        self.queue.close();
        let mut writing = lock(&self.writing);
        if !writing.closed && !writing.answered {
            self.say_goodbye(&mut writing, ending);
        }
        drop(writing);
        self.flush();
    }

    /// A quarter of the idle time is over: shows that this side lives, and looks whether the other one does.
    fn beat(&self) {
        if self.inbox.is_full() {
            lock(&self.reading).since = Instant::now();
        } else {
            self.fill();
            if self.inbox.heard().max(lock(&self.reading).since).elapsed() > self.idle {
                self.lose(Loss::Silence(self.idle.into()));
                return;
            }
        }
        if let Some(mut writing) = self.try_writing()
            && writing.is_clear()
        {
            self.seal(&mut writing, Kind::Ping, &[]);
        }
        self.flush();
    }
}

struct End(Arc<Wire>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.inbox.finish(Error::Lost { peer: self.0.peer.clone(), how: Loss::Died });
        self.0.inbox.answered(false);
        self.0.queue.close();
        lock(&self.0.done).take();
        // Wakes whoever sleeps on the socket. It may be closed already.
        let _ = self.0.socket.shutdown(Shutdown::Both);
    }
}
