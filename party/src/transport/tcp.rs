//! A link over TCP: TLS 1.3 by rustls with the same pinned keys, and inside it packets (`packet.rs`).
//!
//! The blocking side writes and reads the socket itself whenever that needs no waiting for the other thread:
//! a message leaves in `send` when nothing is queued before it, and `recv` sleeps on the socket, not on the
//! network thread. That thread takes over what the socket does not accept at once (so that `send` never
//! waits for the peer), and reads while nobody receives (so that what arrives during a computation is
//! decrypted meanwhile, and a peer that goes away is noticed). `watch.rs` says how they take turns.
//!
//! Locks are never held across a wait. Reading never takes the lock of writing; both take that of TLS, for
//! the cipher and copies only, never for a system call.

mod line;
mod packet;
mod pump;
mod watch;

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::Connection;

pub(super) use line::{Line, Server, connect};

use self::packet::{CAP, Found, Kind, Parser, head};
use self::watch::Watch;
use super::frame::{chunks, goodbye};
use super::inbox::Inbox;
use super::outbox::{Farewell, Last, NotSent, Queue};
use super::{Error, LINGER, Loss};

/// Ciphertext read at once: at most, and where there is hardly room for it.
const READ: usize = 256 << 10;
const LEAST: usize = 16 << 10;
/// Pieces that one packet may join.
const JOINED: usize = 64;

/// One connection, shared by the blocking side (through inbox and outbox) and the network thread.
pub(super) struct Wire {
    socket: TcpStream,
    watch: Watch,
    tls: Mutex<Connection>,
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
    queue: Arc<Queue>,
    inbox: Arc<Inbox>,
    /// Who is at the other end, for messages.
    peer: String,
    /// Silence after which the connection counts as dead.
    idle: Duration,
    /// Told when the peer has everything.
    done: Mutex<Option<SyncSender<()>>>,
    /// The peer is done with the connection.
    left: AtomicBool,
    /// There is nothing more to do on this connection.
    over: AtomicBool,
}

struct Reading {
    buffer: Box<[u8]>,
    parser: Parser,
    /// Since when this side listens; while the inbox is full it does not.
    since: Instant,
    /// The blocking side waits at the socket: if the network thread read, nothing would wake it.
    waiting: bool,
}

#[derive(Default)]
struct Writing {
    /// Ciphertext, of which the socket has taken `taken` bytes.
    out: Vec<u8>,
    taken: usize,
    /// `Close` was sent: nothing but `Closed` may follow.
    closed: bool,
    /// `Closed` was sent: nothing may follow.
    answered: bool,
}

/// For what the socket is read.
enum Need<'a> {
    /// The inbox shall hold so many bytes.
    Held(usize),
    /// So many bytes shall be put here, unless the inbox holds some that come before them.
    Into(&'a mut Vec<u8>, usize),
}

/// What the socket said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Socket {
    /// It took or gave all there was room for.
    Ready,
    /// It cannot just now.
    Blocked,
    /// It is at its end.
    Over,
}

impl Wire {
    /// Continues a TLS connection whose handshake and preamble are over. The socket must not block.
    fn new(
        (socket, tls): (TcpStream, Connection),
        queue: Arc<Queue>,
        inbox: Arc<Inbox>,
        peer: String,
        idle: Duration,
    ) -> io::Result<Arc<Self>> {
        let buffer = vec![0; READ].into_boxed_slice();
        Ok(Arc::new(Self {
            socket,
            watch: Watch::new()?,
            tls: Mutex::new(tls),
            reading: Mutex::new(Reading {
                buffer,
                parser: Parser::new(),
                since: Instant::now(),
                waiting: false,
            }),
            writing: Mutex::default(),
            queue,
            inbox,
            peer,
            idle,
            done: Mutex::new(None),
            left: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }))
    }

    /// Sends a header (of a frame, or none) and bytes after it. What the socket does not take at once is copied to
    /// the queue.
    pub(super) fn send(&self, header: &[u8], payload: &[u8]) -> Result<(), NotSent> {
        let Some(mut writing) = self.try_writing().filter(|w| w.is_clear() && self.queue.is_idle()) else {
            let (first, rest) = payload.split_at(payload.len().min(CAP));
            let first = Bytes::from([header, first].concat());
            return self.queue.push(std::iter::once(first).chain(chunks(rest)));
        };
        let (mut start, mut rest) = (header, payload);
        loop {
            let part;
            (part, rest) = rest.split_at(rest.len().min(CAP - start.len()));
            self.seal(&mut writing, Kind::Stream, &[start, part]);
            start = &[];
            match self.spill(&mut writing) {
                Socket::Ready if rest.is_empty() => return Ok(()),
                Socket::Ready => {}
                Socket::Blocked => break,
                Socket::Over => return Err(self.torn()),
            }
        }
        // The writer is told when there is room, and not before.
        self.queue.hush(true);
        let queued = self.queue.push(chunks(rest));
        self.await_room();
        queued
    }

    /// Has the network thread write when the socket takes something again.
    fn await_room(&self) {
        self.queue.hush(true);
        // A refusal is met again at the next beat.
        let _ = self.watch.write(&self.socket);
    }

    /// Waits until the inbox holds `wanted` bytes, there will be no more, or `until`.
    pub(super) fn pull(&self, wanted: usize, until: Instant) {
        self.pull_for(&mut Need::Held(wanted), until);
    }

    /// Moves up to `count` bytes to `to`, past an inbox that is empty; returns how many are still missing.
    /// Stops early when there will be no more, at `until`, or when some are in the inbox.
    pub(super) fn pull_into(&self, to: &mut Vec<u8>, count: usize, until: Instant) -> usize {
        let mut need = Need::Into(to, count);
        self.pull_for(&mut need, until);
        match need {
            Need::Into(_, left) => left,
            Need::Held(_) => count,
        }
    }

    fn pull_for(&self, need: &mut Need<'_>, until: Instant) {
        lock(&self.reading).waiting = true;
        if !self.read_for(need) {
            // A system that refuses this only costs some needless wake-ups.
            let _ = self.watch.reader(&self.socket, true, || false);
            self.sleep_for(need, until);
        }
        lock(&self.reading).waiting = false;
        let _ = self.watch.reader(&self.socket, false, || self.inbox.is_full());
    }

    fn sleep_for(&self, need: &mut Need<'_>, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
            // An error here is an interruption by a signal, or one that reading will show.
            let _ = poll(&mut sockets, Some(&time));
            if self.read_for(need) {
                return;
            }
        }
    }

    /// Reads until the need is met (true) or the socket is empty (false).
    fn read_for(&self, need: &mut Need<'_>) -> bool {
        let mut reading = lock(&self.reading);
        while !self.is_met(need) {
            if self.read(&mut reading, need) != Socket::Ready {
                return self.is_met(need);
            }
        }
        true
    }

    fn is_met(&self, need: &Need<'_>) -> bool {
        let met = match need {
            Need::Held(wanted) => self.inbox.held() >= *wanted,
            Need::Into(_, left) => *left == 0 || self.inbox.held() > 0,
        };
        met || self.inbox.end().is_some()
    }

    /// Reads, decrypts and hands over once. `Blocked` also when less came than there was room for.
    fn read(&self, reading: &mut Reading, need: &mut Need<'_>) -> Socket {
        let room = match need {
            Need::Held(wanted) => self.inbox.space().max(*wanted),
            Need::Into(_, left) => self.inbox.space().saturating_add(*left),
        };
        let room = room.clamp(LEAST, READ);
        match (&self.socket).read(&mut reading.buffer[..room]) {
            Ok(0) => self.lose(Loss::Died),
            Ok(count) => {
                self.inbox.hear();
                let Reading { buffer, parser, .. } = reading;
                match self.open(&buffer[..count], parser, need) {
                    Err(why) => self.lose(Loss::Broken(why.into())),
                    Ok(()) if count < room => Socket::Blocked,
                    Ok(()) => Socket::Ready,
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Socket::Ready,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Socket::Blocked,
            Err(e) => self.lose(fallen(&e, self.idle)),
        }
    }

    /// Decrypts and sorts.
    fn open(&self, mut bytes: &[u8], parser: &mut Parser, need: &mut Need<'_>) -> Result<(), &'static str> {
        let mut tls = lock(&self.tls);
        loop {
            let state = tls.process_new_packets().map_err(|e| rejected(&e))?;
            let mut left = state.plaintext_bytes_to_read();
            let mut reader = tls.reader();
            while left > 0 {
                let chunk = reader.fill_buf().map_err(|_| "TLS lost bytes")?;
                parser
                    .feed(chunk, |found| self.sort(found, need))
                    .map_err(|_| "it sent no packets of ours")?;
                let count = chunk.len().max(1);
                left = left.saturating_sub(count);
                reader.consume(count);
            }
            if bytes.is_empty() {
                return Ok(());
            }
            tls.read_tls(&mut bytes).map_err(|_| "it sent records that TLS does not know")?;
        }
    }

    fn sort(&self, found: Found<'_>, need: &mut Need<'_>) {
        match found {
            // After a goodbye there is nobody to speak.
            _ if self.left.load(Ordering::Acquire) => {}
            Found::Stream(bytes) => {
                let rest = match need {
                    Need::Into(to, left) if self.inbox.held() == 0 => {
                        let (now, later) = bytes.split_at(bytes.len().min(*left));
                        to.extend_from_slice(now);
                        *left -= now.len();
                        later
                    }
                    _ => bytes,
                };
                if !rest.is_empty() {
                    self.inbox.push(&[rest]);
                }
            }
            Found::Close(code, payload) => {
                self.inbox.finish(goodbye(&self.peer, code, payload));
                self.left.store(true, Ordering::Release);
                self.queue.nudge();
            }
            Found::Closed => {
                self.inbox.answered(true);
                if let Some(done) = lock(&self.done).take() {
                    // Nobody listens after an abort.
                    let _ = done.try_send(());
                }
                self.over();
            }
        }
    }

    /// The socket takes nothing any more. What the peer said last may still wait to be read.
    fn torn(&self) -> NotSent {
        self.read_for(&mut Need::Held(usize::MAX));
        self.lose(Loss::Died);
        NotSent
    }

    /// Listens again, now that the inbox has room.
    pub(super) fn listen(&self) {
        // As above: a refusal is met again when somebody reads.
        let _ = self.watch.again(&self.socket, || self.inbox.is_full());
    }

    /// The connection broke.
    fn lose(&self, how: Loss) -> Socket {
        self.inbox.finish(Error::Lost { peer: self.peer.clone(), how });
        self.over();
        Socket::Over
    }

    fn over(&self) {
        self.over.store(true, Ordering::Release);
        self.queue.nudge();
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn try_writing(&self) -> Option<MutexGuard<'_, Writing>> {
        match self.writing.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Encrypts a packet behind what is waiting.
    fn seal(&self, writing: &mut Writing, kind: Kind, payload: &[&[u8]]) {
        let length = payload.iter().map(|part| part.len()).sum();
        let head = head(kind, length);
        let parts: Vec<_> =
            std::iter::once(&head[..]).chain(payload.iter().copied()).map(IoSlice::new).collect();
        let mut tls = lock(&self.tls);
        // Into memory without a limit: this takes everything and does not fail.
        let taken = tls.writer().write_vectored(&parts);
        debug_assert_eq!(taken.ok(), Some(length + head.len()));
        while tls.wants_write() && tls.write_tls(&mut writing.out).is_ok_and(|count| count > 0) {}
    }

    /// Gives the socket what is encrypted.
    fn spill(&self, writing: &mut Writing) -> Socket {
        while writing.taken < writing.out.len() {
            match (&self.socket).write(&writing.out[writing.taken..]) {
                Ok(count) => writing.taken += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Socket::Blocked,
                Err(_) => return Socket::Over,
            }
        }
        writing.out.clear();
        writing.taken = 0;
        Socket::Ready
    }
}

impl Writing {
    /// Whether a packet of the stream may be written now.
    fn is_clear(&self) -> bool {
        self.out.is_empty() && !self.closed && !self.answered
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a socket's error says of a connection that waits for `idle`.
fn fallen(error: &io::Error, idle: Duration) -> Loss {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Loss::Died
        }
        io::ErrorKind::TimedOut => Loss::Silence(idle.into()),
        _ => Loss::Broken(format!("the socket failed: {}", error.kind())),
    }
}

/// An error of TLS after the handshake, in words.
fn rejected(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::AlertReceived(_) => "it ended TLS with an alert",
        _ => "it sent records that do not decrypt",
    }
}
