//! Calling a peer by address and key.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use quinn::TransportConfig;
use serde::Deserialize;
use tokio::sync::watch;

use super::attempt::Attempt;
use super::greet::Greeter;
use super::link::Link;
use super::{Cause, Error, Loss, Result};
use crate::identity::{Fingerprint, Identity};

/// Time for the first attempt; each further one gets twice as long, up to [`LONGEST_ATTEMPT`].
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between attempts that failed at once.
const PAUSE: Duration = Duration::from_millis(200);
/// Time for a call that is told of no other.
const WITHIN: Duration = Duration::from_secs(30);

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
    /// A call that is repeated for half a minute.
    pub fn new(address: impl Into<String>, expected: Fingerprint) -> Self {
        let (within, transport) = (WITHIN, Transport::default());
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
        if let Ok(literal) = address.parse() {
            return Ok(vec![literal]);
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

impl Caller {
    /// Calls until someone answers, refuses, or the time is up.
    pub(super) async fn connect(&self, dial: &Dial, addresses: &[SocketAddr]) -> Result<Link> {
        let start = Instant::now();
        let end = start + dial.within;
        // A single try gives every address of the name its share of the time.
        let share = dial.within / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut attempt = if dial.retry { FIRST_ATTEMPT } else { share };
        loop {
            let mut causes = Vec::new();
            for &address in addresses {
                let start = Instant::now();
                let handshake = end.min(start + attempt);
                match (Attempt { caller: self, dial, address, start, handshake, end }).run().await {
                    Ok(link) => return Ok(link),
                    Err(error) => causes.push(passing(error)?),
                }
            }
            tokio::time::sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
            if !dial.retry || Instant::now() >= end {
                let (address, waited) = (dial.address.clone(), start.elapsed().into());
                let cause = causes.into_iter().max_by_key(Cause::rank).unwrap_or(Cause::NoAnswer);
                return Err(Error::Unreachable { address, waited, cause });
            }
            attempt = (attempt * 2).min(LONGEST_ATTEMPT);
        }
    }
}

/// Why a call came to nothing that may go better the next time; an error that is final stays one.
fn passing(error: Error) -> Result<Cause> {
    match error {
        Error::Unreachable { cause, .. } => Ok(cause),
        Error::Lost { how: Loss::Silence(_), .. } => Ok(Cause::NoAnswer),
        Error::Lost { how, .. } => Ok(Cause::HungUp(how.to_string())),
        Error::PeerFailed { reason, .. } if reason.passing() => Ok(Cause::Told(reason)),
        settled => Err(settled),
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
