//! One try to call one address: over which transport, and what it means when nothing comes of it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::dial::{Caller, Dial, Transport};
use super::greet::{Broken, Line, Side, in_time};
use super::knock::is_closed;
use super::link::Link;
use super::tls::{self, Refused};
use super::{Cause, Error, Result, quic, tcp};

/// TLS alert of a server that speaks none of our protocols (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// TLS alerts by which a certificate is turned down (RFC 8446, section 6.2).
const CERTIFICATE_ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 49, 116];

/// How long [`Transport::Auto`] waits for TCP's first answer before it goes on with QUIC.
const LOOK: Duration = Duration::from_millis(100);
/// How long, after QUIC got no answer, TCP is tried to learn more.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// A first answer within this time comes from the same machine room.
const NEAR: Duration = Duration::from_millis(2);
/// How often a port is asked whether it is closed: a datagram may be lost.
const KNOCKS: usize = 3;

/// One try at one address.
pub(super) struct Attempt<'a> {
    pub(super) caller: &'a Caller,
    pub(super) dial: &'a Dial,
    pub(super) address: SocketAddr,
    pub(super) start: Instant,
    /// Until the handshake is over.
    pub(super) handshake: Instant,
    /// Until everything is.
    pub(super) end: Instant,
}

impl Attempt<'_> {
    pub(super) async fn run(&self) -> Result<Link> {
        match self.dial.transport {
            Transport::Quic => self.quic_alone().await,
            Transport::Tcp => match self.reach(self.handshake).await {
                Ok((stream, _)) => self.tcp(stream).await,
                Err(cause) => Err(self.unreachable(cause)),
            },
            Transport::Auto => self.auto().await,
        }
    }

    /// TCP to a peer that is near, as the time of its first answer shows; else QUIC; else, as where UDP is
    /// blocked, TCP all the same.
    async fn auto(&self) -> Result<Link> {
        let reached = self.reach(self.handshake.min(self.start + LOOK)).await;
        match reached {
            Ok((stream, took)) if took <= NEAR || self.address.ip().is_loopback() => self.tcp(stream).await,
            Ok((stream, _)) => match self.quic(self.share(2)).await {
                Err(Error::Unreachable { .. }) => self.tcp(stream).await,
                result => result,
            },
            Err(known) => match self.quic(self.handshake).await {
                Err(Error::Unreachable { cause, .. }) => {
                    let tells_more = if cause.rank() < known.rank() { known } else { cause };
                    Err(self.unreachable(tells_more))
                }
                result => result,
            },
        }
    }

    /// QUIC, whatever TCP would do. Where it gets no answer, TCP says whether anybody is there.
    async fn quic_alone(&self) -> Result<Link> {
        let left = self.handshake.saturating_duration_since(Instant::now());
        match self.quic(self.handshake - SECOND_LOOK.min(left / 4)).await {
            Err(Error::Unreachable { cause: Cause::NoAnswer, .. }) => {
                let cause = self.reach(self.handshake).await.map_or_else(|known| known, |_| Cause::NoQuic);
                // Only TCP need be closed, and silence is what is known already.
                let cause = if cause == Cause::NobodyListens { Cause::NoAnswer } else { cause };
                Err(self.unreachable(cause))
            }
            result => result,
        }
    }

    /// The end of the first of `parts` equal parts of the time that is left.
    fn share(&self, parts: u32) -> Instant {
        let now = Instant::now();
        now + self.handshake.saturating_duration_since(now) / parts
    }

    /// Opens a TCP connection, and says how long that took: one round trip.
    async fn reach(&self, until: Instant) -> Result<(TcpStream, Duration), Cause> {
        let start = Instant::now();
        let connect = tokio::time::timeout_at(until.into(), TcpStream::connect(self.address));
        match connect.await {
            Ok(Ok(stream)) => Ok((stream, start.elapsed())),
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Err(Cause::NobodyListens),
            Ok(Err(e)) if e.kind() == ErrorKind::TimedOut => Err(Cause::NoAnswer),
            Ok(Err(e)) => Err(Cause::System(e.to_string())),
            Err(_) => Err(Cause::NoAnswer),
        }
    }

    async fn quic(&self, until: Instant) -> Result<Link> {
        let caller = self.caller;
        let refused = Refused::default();
        let whom = (self.address, self.dial.address.as_str());
        let keys = (&*caller.identity, self.dial.expected, refused.clone());
        let line = quic::connect(&caller.quinn, caller.transport.clone(), whom, keys);
        tokio::select! {
            biased;
            result = self.greet(line, &refused, until, Cause::NoAnswer) => result,
            () = closed(self.address) => Err(self.unreachable(Cause::NobodyListens)),
        }
    }

    async fn tcp(&self, stream: TcpStream) -> Result<Link> {
        let caller = self.caller;
        let refused = Refused::default();
        let whom = (self.address, self.dial.address.as_str());
        let keys = (&*caller.identity, self.dial.expected, refused.clone());
        let line = tcp::connect(stream, whom, keys, caller.closing.clone());
        self.greet(line, &refused, self.handshake, Cause::Mute).await
    }

    /// From the handshake, which must be over at `until`, to a link; `silence` is what it means if it is not.
    async fn greet<L: Line>(
        &self,
        line: impl Future<Output = Result<L, Broken>>,
        refused: &Refused,
        until: Instant,
        silence: Cause,
    ) -> Result<Link> {
        let left = until.saturating_duration_since(Instant::now());
        let line = in_time(left, line, || self.unreachable(silence));
        let line = line.await.map_err(|broken| self.explain(broken, refused))?;
        let left = self.end.saturating_duration_since(Instant::now());
        // Our own certificate is judged after our side of the handshake is over: the verdict comes here.
        let link = in_time(left, self.caller.greeter.call(line), || self.unreachable(Cause::Mute)).await;
        link.map_err(|broken| self.explain(broken, refused))
    }

    fn unreachable(&self, cause: Cause) -> Error {
        let waited = self.start.elapsed().into();
        Error::Unreachable { address: self.dial.address.clone(), waited, cause }
    }

    /// What a failed handshake means to the caller.
    fn explain(&self, Broken { error, alert }: Broken, refused: &Refused) -> Error {
        let address = self.dial.address.clone();
        if let Some(found) = tls::take_refused(refused) {
            return Error::Stranger { address, wanted: self.dial.expected, found };
        }
        match alert {
            Some((_, NO_APPLICATION_PROTOCOL)) => Error::Version { peer: address, theirs: None },
            Some((Side::Theirs, alert)) if CERTIFICATE_ALERTS.contains(&alert) => {
                Error::Refused { address, mine: self.caller.identity.fingerprint() }
            }
            _ => error,
        }
    }
}

/// Ends when the system there says that its UDP port is closed, and else never.
async fn closed(address: SocketAddr) {
    for _ in 0..KNOCKS {
        if is_closed(address).await {
            return;
        }
    }
    std::future::pending().await
}
