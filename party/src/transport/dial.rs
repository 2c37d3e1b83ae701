//! Calling a peer by address and key.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use quinn::TransportConfig;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::greet::{Broken, Greeter, Line, Side, in_time};
use super::link::Link;
use super::tls::{self, Refused};
use super::{Error, Result, quic, tcp};
use crate::identity::{Fingerprint, Identity};

/// Time for the first attempt; each further one gets twice as long, up to [`LONGEST_ATTEMPT`].
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between attempts that failed at once.
const PAUSE: Duration = Duration::from_millis(200);
/// TLS alert of a server that speaks none of our protocols (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// TLS alerts by which a certificate is turned down (RFC 8446, section 6.2).
const CERTIFICATE_ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 49, 116];

/// How long [`Transport::Auto`] waits for TCP's first answer before it goes on with QUIC.
const LOOK: Duration = Duration::from_millis(100);
/// A first answer within this time comes from the same machine room.
const NEAR: Duration = Duration::from_millis(2);

/// What carries a link. The keys, the frames, the limits and the errors are the same; a listener takes both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP for a peer on this machine or within 2 ms, QUIC for others; where one of the two does not get
    /// through, the other.
    #[default]
    Auto,
    /// QUIC, over UDP.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        clap::ValueEnum::from_str(text, false)
    }
}

/// Whom to call, and how patiently.
#[derive(Clone, Debug)]
pub struct Dial {
    /// `host:port`; IPv6 addresses in brackets.
    pub address: String,
    /// The key that must answer.
    pub expected: Fingerprint,
    /// Time for everything.
    pub within: Duration,
    /// Whether to keep calling a peer that is not there yet. Refusals are final either way.
    pub retry: bool,
    /// What to call over.
    pub transport: Transport,
}

impl Dial {
    /// A call that is repeated for 30 seconds.
    pub fn new(address: impl Into<String>, expected: Fingerprint) -> Self {
        let (within, transport) = (Duration::from_secs(30), Transport::default());
        Self { address: address.into(), expected, within, retry: true, transport }
    }

    /// The same call over another transport.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The same call with another deadline.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// The same call, tried once.
    #[must_use]
    pub fn once(self) -> Self {
        Self { retry: false, ..self }
    }

    /// Resolves the address, on a thread of its own because resolvers know no deadlines. IPv4 comes first:
    /// `localhost` has both, and most listeners have only that.
    pub(super) fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let address = self.address.clone();
        let bad = |why| Error::Address { address: address.clone(), why };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| bad("the port is missing (host:port)"))?;
        if host.is_empty() {
            return Err(bad("the host is missing (host:port)"));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(bad("an IPv6 address needs brackets ([address]:port)"));
        }
        if port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return Err(bad("the port is no number between 1 and 65535"));
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let asked = address.clone();
        std::thread::Builder::new()
            .name("twoply-resolve".into())
            .spawn(move || {
                let found = asked.to_socket_addrs().map(|all| all.take(8).collect::<Vec<_>>());
                // Nobody waits any more after the deadline.
                let _ = sender.send(found.map_err(|e| e.to_string()));
            })
            .map_err(|e| Error::System { what: "start a thread", why: e.to_string() })?;
        let answer = receiver.recv_timeout(self.within).unwrap_or_else(|_| Err("no answer in time".into()));
        let mut found = answer.map_err(|why| Error::Name { address: address.clone(), why })?;
        found.sort_by_key(SocketAddr::is_ipv6);
        if found.is_empty() {
            return Err(Error::Name { address, why: "it has no addresses".into() });
        }
        Ok(found)
    }
}

/// Everything one call needs on the network thread.
pub(super) struct Caller {
    pub(super) quinn: quinn::Endpoint,
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Arc<TransportConfig>,
    pub(super) greeter: Greeter,
    /// Changes when the endpoint goes.
    pub(super) closing: watch::Receiver<bool>,
}

/// One try at one address.
struct Attempt<'a> {
    caller: &'a Caller,
    dial: &'a Dial,
    address: SocketAddr,
    start: Instant,
    /// Until the handshake is over.
    handshake: Instant,
    /// Until everything is.
    end: Instant,
}

impl Caller {
    /// Calls until someone answers, refuses, or the time is up.
    pub(super) async fn connect(&self, dial: &Dial, addresses: &[SocketAddr]) -> Result<Link> {
        let start = Instant::now();
        let end = start + dial.within;
        // A single try gives every address of the name its share of the time.
        let share = dial.within / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut attempt = if dial.retry { FIRST_ATTEMPT } else { share };
        loop {
            let mut last = String::from("nobody listens there");
            for &address in addresses {
                let start = Instant::now();
                let handshake = end.min(start + attempt);
                match (Attempt { caller: self, dial, address, start, handshake, end }).run().await {
                    Err(Error::Unreachable { why, .. }) => last = why,
                    Err(Error::Lost { why, .. }) => last = why,
                    Err(Error::PeerFailed { reason, .. }) if reason.passing() => last = reason.to_string(),
                    settled => return settled,
                }
            }
            tokio::time::sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
            if !dial.retry || Instant::now() >= end {
                let waited = start.elapsed().into();
                return Err(Error::Unreachable { address: dial.address.clone(), waited, why: last });
            }
            attempt = (attempt * 2).min(LONGEST_ATTEMPT);
        }
    }
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Link> {
        match self.dial.transport {
            Transport::Quic => self.quic().await,
            Transport::Tcp => match self.reach(self.handshake).await {
                Ok((stream, _)) => self.tcp(stream).await,
                Err(error) => Err(error),
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
            reached => match (self.quic().await, reached) {
                (Err(Error::Unreachable { .. }), Ok((stream, _))) => self.tcp(stream).await,
                (result, _) => result,
            },
        }
    }

    /// Opens a TCP connection, and says how long that took: one round trip.
    async fn reach(&self, until: Instant) -> Result<(TcpStream, Duration)> {
        let start = Instant::now();
        let connect = tokio::time::timeout_at(until.into(), TcpStream::connect(self.address));
        match connect.await {
            Ok(Ok(stream)) => Ok((stream, start.elapsed())),
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => {
                Err(self.unreachable("nobody listens there"))
            }
            Ok(Err(e)) => Err(self.unreachable(&e.to_string())),
            Err(_) => Err(self.unreachable("nobody answers there")),
        }
    }

    async fn quic(&self) -> Result<Link> {
        let caller = self.caller;
        let refused = Refused::default();
        let whom = (self.address, self.dial.address.as_str());
        let keys = (&*caller.identity, self.dial.expected, refused.clone());
        self.greet(quic::connect(&caller.quinn, caller.transport.clone(), whom, keys), &refused).await
    }

    async fn tcp(&self, stream: TcpStream) -> Result<Link> {
        let caller = self.caller;
        let refused = Refused::default();
        let whom = (self.address, self.dial.address.as_str());
        let keys = (&*caller.identity, self.dial.expected, refused.clone());
        self.greet(tcp::connect(stream, whom, keys, caller.closing.clone()), &refused).await
    }

    /// From the handshake to a link.
    async fn greet<L: Line>(
        &self,
        line: impl Future<Output = Result<L, Broken>>,
        refused: &Refused,
    ) -> Result<Link> {
        let left = self.handshake.saturating_duration_since(Instant::now());
        let line = in_time(left, line, || self.unreachable("nobody listens there"));
        let line = line.await.map_err(|broken| self.explain(broken, refused))?;
        let left = self.end.saturating_duration_since(Instant::now());
        let late =
            || Error::Silent { peer: self.dial.address.clone(), what: "preamble", waited: left.into() };
        // Our own certificate is judged after our side of the handshake is over: the verdict comes here.
        let link = in_time(left, self.caller.greeter.call(line), late).await;
        link.map_err(|broken| self.explain(broken, refused))
    }

    fn unreachable(&self, why: &str) -> Error {
        let waited = self.start.elapsed().into();
        Error::Unreachable { address: self.dial.address.clone(), waited, why: why.to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(address: &str) -> Result<Vec<SocketAddr>> {
        Dial::new(address, Fingerprint::of_spki(b"x")).resolve()
    }

    #[test]
    fn addresses_are_checked_before_anyone_is_asked() {
        for bad in ["", "host", "host:", "host:x", "host:0", "host:65536", ":7000", "::1", "fe80::1:7000"] {
            assert!(matches!(resolve(bad), Err(Error::Address { .. })), "{bad}");
        }
        assert_eq!(resolve("127.0.0.1:7000").unwrap(), ["127.0.0.1:7000".parse().unwrap()]);
        assert_eq!(resolve("[::1]:7000").unwrap(), ["[::1]:7000".parse().unwrap()]);
        assert!(matches!(resolve("no-such-host.invalid:7000"), Err(Error::Name { .. })));
    }
}
