//! One peer, as the blocking side sees it.

mod farewell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use twoply_primitives::Channel;

use super::frame::{ABORT_CAP, CONTROL_CAP, HEADER, Kind, PAYLOAD_CAP, decode_abort, parse};
use super::inbox::{Dry, Inbox};
use super::outbox::Outbox;
use super::preamble::Role;
use super::reason::{Detail, Reason};
use super::{Error, LINGER, Limits, Loss, Result, Transport};
use crate::identity::Fingerprint;

/// Slowest rate at which a long payload may arrive, in bytes per second: it prolongs a receive's deadline.
const SLOWEST: u64 = 256 << 10;

/// How often a receive looks whether this process is to stop; see [`Link::stop_with`].
const STEP: Duration = Duration::from_millis(100);

/// Payload bytes and messages over one link so far; frame headers, TLS and transport not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload bytes queued for sending.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Messages queued for sending.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
}

/// A connected peer whose key is proved and whose role is claimed.
///
/// `send` queues and never waits. A receive waits at most the link's patience for a message to begin, and
/// longer only in proportion to the message's own length. After an error other than [`Error::Silent`] the
/// link is finished: every later call returns the same error.
///
/// End a link with [`Link::close`] or [`Link::abort`]. One that is merely dropped tells the peer that this side's
/// work ended early ([`Reason::Dropped`]); in a panic, that it failed.
pub struct Link {
    parts: Parts,
    patience: Duration,
    stop: Option<Arc<AtomicBool>>,
    outbox_limit: usize,
    traffic: Traffic,
    fault: Option<Error>,
    ended: bool,
    tap: Option<Tap>,
}

/// Hears every control message that leaves over a link, its name and its payload: for tests of what is told.
pub(crate) type Tap = Box<dyn Fn(&'static str, &[u8]) + Send>;

/// What a link is made of.
pub(super) struct Parts {
    pub(super) peer: Fingerprint,
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Outbox,
}

impl Link {
    pub(super) fn new(parts: Parts, limits: &Limits) -> Self {
        Self {
            parts,
            patience: limits.patience,
            stop: None,
            outbox_limit: limits.outbox,
            traffic: Traffic::default(),
            fault: None,
            ended: false,
            tap: None,
        }
    }

    /// Has `tap` hear what is said from now on.
    pub(crate) fn tapped_by(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// The peer's key, proved by TLS.
    pub fn peer(&self) -> Fingerprint {
        self.parts.peer
    }

    /// The peer's role, as it claims.
    pub fn role(&self) -> Role {
        self.parts.role
    }

    /// Role and first characters of the key, for messages.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// The peer's address.
    pub fn address(&self) -> SocketAddr {
        self.parts.address
    }

    /// What carries the link; never [`Transport::Auto`].
    pub fn transport(&self) -> Transport {
        self.parts.transport
    }

    /// Payload bytes so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Time since the peer's last byte.
    pub fn last_heard(&self) -> Duration {
        self.parts.inbox.heard().elapsed()
    }

    /// Sets how long a receive waits for a message to begin.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Once this is set, a receive waits no more: the link ends with [`Error::Stopped`]. What has come is still received.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = Some(stop);
    }

    /// Takes in short steps until `until`, or until this process is to stop.
    fn patiently<T>(
        &self,
        until: Instant,
        mut take: impl FnMut(&Inbox, Instant) -> Result<T, Dry>,
    ) -> Result<T, Dry> {
        let Some(stop) = &self.stop else { return take(&self.parts.inbox, until) };
        loop {
            match take(&self.parts.inbox, until.min(Instant::now() + STEP)) {
                Err(Dry::TimedOut) if stop.load(Ordering::SeqCst) => return Err(Dry::Ended(Error::Stopped)),
                Err(Dry::TimedOut) if Instant::now() < until => {}
                done => return done,
            }
        }
    }

    /// Lets the peer send `bytes` more at full speed, which then wait here until they are received (never more than
    /// [`Limits::inbox`] of them). Until then a caller's link holds [`Limits::lobby`] bytes, and larger messages come
    /// slowly: admit a link as soon as it is known how much it shall send.
    pub fn admit(&mut self, bytes: usize) {
        self.parts.inbox.admit(bytes);
    }

    /// Admits all that the peer may send, as on a link that this side dialled.
    pub fn admit_all(&mut self) {
        self.parts.inbox.open();
    }

    /// Takes back what [`Link::admit`] allowed and the peer has not used (over QUIC, what it was told that it may send
    /// stays allowed, once).
    pub fn restrict(&mut self) {
        self.parts.inbox.restrict();
    }

    #[cfg(test)]
    pub(super) fn inbox(&self) -> &Inbox {
        &self.parts.inbox
    }

    /// Received bytes that wait here.
    pub fn held(&self) -> usize {
        self.parts.inbox.held()
    }

    /// Whether the peer says something (anything) within this time. Takes nothing, and silence is no fault.
    ///
    /// # Errors
    /// Whatever ended the link.
    pub fn waiting(&mut self, within: Duration) -> Result<bool> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.parts.inbox.arrives(Instant::now() + within).map_err(|error| self.finish(error))
    }

    /// The error that finished this link, with more detail than [`Channel`]'s errors carry.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// Whether more may come over the connection; what came before its end may still wait to be received.
    pub fn is_alive(&self) -> bool {
        self.parts.inbox.end().is_none()
    }

    /// Whether the peer is there, or has left words that nobody heard yet, such as why it left.
    pub(super) fn has_word(&self) -> bool {
        self.is_alive() || self.parts.inbox.held() > 0
    }

    /// Of a link whose place a newer one of the same peer has taken: whether the process behind it was still there to hear
    /// of it. Then two processes have the peer's key: the earlier life of one that was started again answers nothing.
    pub fn was_ousted(&mut self) -> bool {
        matches!(self.gone(), Some(Error::Replaced { .. }))
            && self.parts.inbox.is_answered(Instant::now() + 2 * LINGER)
    }

    /// Whether this process is to stop; see [`Link::stop_with`].
    pub fn stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst))
    }

    /// Why nothing more comes, once that is so: the peer's last words, if it left any. What it said before is passed over.
    pub fn gone(&mut self) -> Option<Error> {
        if self.fault.is_none() && self.is_alive() {
            return None;
        }
        while self.fault.is_none() {
            let until = Instant::now() + self.patience;
            match self.parts.inbox.take::<HEADER>(until).map(parse) {
                Ok((Some(Kind::Abort), length)) => drop(self.aborted(length)),
                Ok((Some(Kind::Close), 0)) => {
                    let peer = self.parts.name.clone();
                    self.finish(Error::Closed { peer });
                }
                Ok((_, length)) => drop(self.payload(length)),
                Err(Dry::Ended(error)) => drop(self.finish(error)),
                Err(Dry::TimedOut) => break,
            }
        }
        self.fault.clone()
    }

    /// Sends one control message.
    ///
    /// # Errors
    /// [`Error::TooLong`] over [`CONTROL_CAP`] bytes; otherwise as a link that is finished.
    pub fn send_message<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.send_named("a message", message)
    }

    /// The same of a kind that has a name, which a tap hears.
    pub(crate) fn send_named<T: Serialize>(&mut self, name: &'static str, message: &T) -> Result<()> {
        let bytes = postcard::to_stdvec(message)
            .map_err(|e| Error::System { what: "encode a message", why: e.to_string() })?;
        if bytes.len() > CONTROL_CAP {
            return Err(Error::TooLong { length: bytes.len(), cap: CONTROL_CAP });
        }
        if let Some(tap) = &self.tap {
            tap(name, &bytes);
        }
        self.send_frame(Kind::Control, &bytes)
    }

    /// Receives one control message of at most [`CONTROL_CAP`] bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] over the cap or when it does not decode, [`Error::OutOfStep`] when data comes
    /// instead, and whatever ends a link.
    pub fn recv_message<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.recv_message_within(CONTROL_CAP)
    }

    /// [`Link::recv_message`] with another cap in bytes, at most [`CONTROL_CAP`].
    ///
    /// # Errors
    /// As [`Link::recv_message`].
    pub fn recv_message_within<T: DeserializeOwned>(&mut self, cap: usize) -> Result<T> {
        let cap = cap.min(CONTROL_CAP);
        let length = self.header(Kind::Control, || "a control message".to_owned())?;
        if length > cap {
            return Err(
                self.malformed(format!("a control message of {length} bytes, over the limit of {cap}"))
            );
        }
        let bytes = self.payload(length)?;
        match postcard::take_from_bytes(&bytes) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(self.malformed("a control message with bytes left over".into())),
            Err(_) => Err(self.malformed("a control message that does not decode".into())),
        }
    }

    pub(super) fn send_frame(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        self.check()?;
        if payload.len() > PAYLOAD_CAP {
            return Err(Error::TooLong { length: payload.len(), cap: PAYLOAD_CAP });
        }
        let queued = self.parts.outbox.queued();
        if queued + payload.len() > self.outbox_limit {
            return Err(self.finish(Error::Stuck { peer: self.parts.name.clone(), queued }));
        }
        if self.parts.outbox.send(kind, payload).is_err() {
            let error = self.why_it_ended();
            return Err(self.finish(error));
        }
        self.traffic.sent += payload.len() as u64;
        self.traffic.messages_sent += 1;
        Ok(())
    }

    /// Waits until fewer than `limit` bytes are queued.
    pub(super) fn wait_below(&mut self, limit: usize) -> Result<()> {
        self.check()?;
        let until = Instant::now() + self.patience;
        if self.parts.outbox.wait_below(limit, until).is_ok() {
            return Ok(());
        }
        let queued = self.parts.outbox.queued();
        let error = self.parts.inbox.end();
        Err(self.finish(error.unwrap_or(Error::Stuck { peer: self.parts.name.clone(), queued })))
    }

    /// One data frame of exactly `length` bytes.
    pub(super) fn recv_data(&mut self, length: usize) -> Result<Vec<u8>> {
        let wanted = || format!("{length} bytes of data");
        let found = self.header(Kind::Data, wanted)?;
        if found != length {
            return Err(self.out_of_step(wanted(), format!("{found} bytes of data")));
        }
        self.payload(length)
    }

    /// The next header, which must be of kind `wanted`; returns the length it claims.
    fn header(&mut self, wanted: Kind, words: impl Fn() -> String) -> Result<usize> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let until = Instant::now() + self.patience;
        let header = match self.patiently(until, |inbox, until| inbox.take::<HEADER>(until)) {
            Ok(header) => header,
            Err(Dry::Ended(error)) => return Err(self.finish(error)),
            Err(Dry::TimedOut) => {
                let (peer, waited) = (self.parts.name.clone(), self.patience.into());
                let what = wanted.name();
                return Err(Error::Silent { peer, what, waited });
            }
        };
        match parse(header) {
            (Some(kind), length) if kind == wanted => Ok(length),
            (Some(Kind::Abort), length) => Err(self.aborted(length)),
            (Some(Kind::Close), 0) => {
                let peer = self.parts.name.clone();
                Err(self.finish(Error::Closed { peer }))
            }
            (Some(kind), length) => {
                Err(self.out_of_step(words(), format!("a {} frame of {length} bytes", kind.name())))
            }
            (None, _) => Err(self.out_of_step(words(), "a frame of no known kind".into())),
        }
    }

    /// The payload after a header whose length the caller has checked against the plan or a cap.
    fn payload(&mut self, length: usize) -> Result<Vec<u8>> {
        let allowed = self.patience + Duration::from_secs(length as u64 / SLOWEST);
        let mut bytes = Vec::with_capacity(length);
        let drained = self.patiently(Instant::now() + allowed, |inbox, until| {
            let left = length - bytes.len();
            inbox.drain(&mut bytes, left, until)
        });
        match drained {
            Ok(()) => {
                self.traffic.received += length as u64;
                self.traffic.messages_received += 1;
                Ok(bytes)
            }
            Err(Dry::Ended(error)) => Err(self.finish(error)),
            Err(Dry::TimedOut) => {
                // Half a message is gone: no later call could make sense of the rest.
                let peer = self.parts.name.clone();
                let error = Error::Lost {
                    peer,
                    how: Loss::Broken(format!("a message stopped half way for {} s", allowed.as_secs())),
                };
                self.tell(Reason::Deadline, &Detail::None);
                Err(self.finish(error))
            }
        }
    }

    fn aborted(&mut self, length: usize) -> Error {
        let bytes = if length <= ABORT_CAP { self.payload(length).unwrap_or_default() } else { Vec::new() };
        let (reason, detail) = decode_abort(&bytes);
        let peer = self.parts.name.clone();
        self.fault = None;
        self.finish(Error::PeerFailed { peer, reason, detail })
    }

    fn out_of_step(&mut self, wanted: String, found: String) -> Error {
        self.tell(Reason::OutOfStep, &Detail::None);
        self.finish(Error::OutOfStep { peer: self.parts.name.clone(), wanted, found })
    }

    fn malformed(&mut self, why: String) -> Error {
        self.tell(Reason::OutOfStep, &Detail::None);
        self.finish(Error::Malformed { peer: self.parts.name.clone(), why })
    }

    /// The error that finished the link, or the end that the network thread has seen.
    fn check(&mut self) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        match self.parts.inbox.end() {
            Some(error) => Err(self.finish(error)),
            None => Ok(()),
        }
    }

    fn finish(&mut self, error: Error) -> Error {
        self.fault.get_or_insert(error).clone()
    }
}

impl Channel for Link {
    fn send(&mut self, bytes: &[u8]) -> twoply_primitives::Result<()> {
        Ok(self.send_frame(Kind::Data, bytes)?)
    }

    fn recv(&mut self, len: usize) -> twoply_primitives::Result<Vec<u8>> {
        Ok(self.recv_data(len)?)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({} at {})", self.parts.name, self.parts.address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accept, Dial, Endpoint};
    use super::*;
    use crate::identity::Identity;

    fn pair(via: Transport) -> ([Endpoint; 2], [Link; 2]) {
        let [here, there] = [(), ()].map(|()| Arc::new(Identity::ephemeral().unwrap()));
        let (listed, anywhere) = (Accept::these([there.fingerprint()]), Some(([127, 0, 0, 1], 0).into()));
        let service = Endpoint::bind(here, Role::P0, anywhere, listed).unwrap();
        let caller = Endpoint::bind(there, Role::Client, None, Accept::nobody()).unwrap();
        let soon = Duration::from_secs(60);
        let dial = Dial::new(service.address().to_string(), service.fingerprint()).within(soon).over(via);
        let theirs = caller.connect(&dial).unwrap();
        let ours = service.accept(soon).unwrap();
        ([service, caller], [ours, theirs])
    }

    /// A party that was told to stop once waited for a silent owner's whole patience.
    #[test]
    fn repro_a_stop_ends_what_waits_for_a_silent_peer() {
        for via in [Transport::Tcp, Transport::Quic] {
            let (_ends, [mut ours, mut theirs]) = pair(via);
            let stop = Arc::new(AtomicBool::new(false));
            ours.stop_with(stop.clone());
            ours.set_patience(Duration::from_secs(3600));
            theirs.send_message(&7u8).unwrap();
            assert_eq!(ours.recv_message::<u8>(), Ok(7), "{via:?}");
            theirs.send_message(&8u8).unwrap();
            while ours.held() == 0 {
                assert!(ours.waiting(STEP).is_ok());
            }
            std::thread::scope(|scope| {
                scope.spawn(|| stop.store(true, Ordering::SeqCst));
                assert_eq!(ours.recv_message::<u8>(), Ok(8), "what has come is received, {via:?}");
                assert_eq!(ours.recv_message::<u8>(), Err(Error::Stopped), "{via:?}");
            });
            let failure = crate::exit::Failure::from(Error::Stopped);
            assert_eq!(failure.reason().0, Reason::Interrupted);
        }
    }

    #[test]
    fn a_receive_in_short_steps_loses_nothing_and_keeps_its_deadline() {
        for via in [Transport::Tcp, Transport::Quic] {
            let (_ends, [mut ours, mut theirs]) = pair(via);
            ours.stop_with(Arc::default());
            ours.set_patience(3 * STEP);
            assert!(matches!(ours.recv_message::<u8>(), Err(Error::Silent { .. })), "{via:?}");
            ours.set_patience(Duration::from_secs(60));
            let bytes: Vec<u8> = (0..3 << 20).map(|i: usize| (i % 251) as u8).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(2 * STEP);
                    theirs.send(&bytes).unwrap();
                });
                assert!(ours.recv(bytes.len()).unwrap() == bytes, "{via:?}");
            });
        }
    }

    /// A large message may take longer than silence may last: here its second half comes when patience is over.
    #[test]
    fn the_time_for_a_message_grows_with_its_length() {
        use super::super::frame::head;
        for via in [Transport::Tcp, Transport::Quic] {
            let (_ends, [mut ours, _theirs]) = pair(via);
            ours.set_patience(STEP);
            // It looks again in short steps: over TCP it sleeps on the socket, by which nothing comes here.
            ours.stop_with(Arc::default());
            let bytes: Vec<u8> = (0..8 << 20).map(|i: usize| (i % 251) as u8).collect();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            // As the network thread brings them.
            let inbox = ours.parts.inbox.clone();
            inbox.push(&[&head(Kind::Data, bytes.len())[..], first]);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(10 * STEP);
                    inbox.push(&[second]);
                });
                assert!(ours.recv(bytes.len()).is_ok_and(|got| got == bytes), "{via:?}: {:?}", ours.fault());
            });
        }
    }

    /// What somebody said last counts, also behind words that nobody heard; who is there has not gone.
    #[test]
    fn who_has_gone_left_a_reason() {
        for via in [Transport::Tcp, Transport::Quic] {
            let (_ends, [mut ours, mut theirs]) = pair(via);
            assert_eq!(ours.gone(), None, "{via:?}");
            theirs.send_message(&7u8).unwrap();
            theirs.send(&[1; 300]).unwrap();
            let why = Reason::Failed(crate::exit::ExitCode::KeysSpent);
            theirs.abort(why, Detail::None);
            while ours.is_alive() {
                std::thread::sleep(STEP / 10);
            }
            let told =
                |e: Option<Error>| matches!(e, Some(Error::PeerFailed { reason, .. }) if reason == why);
            assert!(told(ours.gone()) && told(ours.fault().cloned()), "{via:?}: {:?}", ours.fault());

            let (_ends, [mut ours, theirs]) = pair(via);
            theirs.close(Duration::from_secs(5)).unwrap();
            while ours.is_alive() {
                std::thread::sleep(STEP / 10);
            }
            assert!(matches!(ours.gone(), Some(Error::Closed { .. })), "{via:?}: {:?}", ours.fault());
        }
    }
}
