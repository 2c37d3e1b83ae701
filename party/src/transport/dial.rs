//! Calling a peer by address and key.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use quinn::{ClientConfig, ConnectionError, TransportConfig};

use super::greet::{Greeter, in_time};
use super::link::Link;
use super::pump::{self, Side};
use super::tls::{self, Refused};
use super::{Error, Result};
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
}

impl Dial {
    /// A call that is repeated for 30 seconds.
    pub fn new(address: impl Into<String>, expected: Fingerprint) -> Self {
        Self { address: address.into(), expected, within: Duration::from_secs(30), retry: true }
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

/// Everything one call needs on the QUIC thread.
pub(super) struct Caller {
    pub(super) quinn: quinn::Endpoint,
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Arc<TransportConfig>,
    pub(super) greeter: Greeter,
}

impl Caller {
    /// Calls until someone answers, refuses, or the time is up.
    pub(super) async fn connect(&self, dial: &Dial, addresses: &[SocketAddr]) -> Result<Link> {
        let start = Instant::now();
        // A single try gives every address of the name its share of the time.
        let share = dial.within / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut attempt = if dial.retry { FIRST_ATTEMPT } else { share };
        loop {
            let mut last = String::from("nobody listens there");
            for &address in addresses {
                let left = dial.within.saturating_sub(start.elapsed());
                match self.attempt(dial, address, attempt.min(left), left).await {
                    Err(Error::Unreachable { why, .. }) => last = why,
                    Err(Error::Lost { why, .. }) => last = why,
                    Err(Error::PeerFailed { reason, .. }) if reason.passing() => last = reason.to_string(),
                    settled => return settled,
                }
            }
            tokio::time::sleep(PAUSE.min(dial.within.saturating_sub(start.elapsed()))).await;
            if !dial.retry || start.elapsed() >= dial.within {
                let waited = start.elapsed().into();
                return Err(Error::Unreachable { address: dial.address.clone(), waited, why: last });
            }
            attempt = (attempt * 2).min(LONGEST_ATTEMPT);
        }
    }

    /// One call to one address: `attempt` for the handshake, `left` for everything.
    async fn attempt(
        &self,
        dial: &Dial,
        address: SocketAddr,
        attempt: Duration,
        left: Duration,
    ) -> Result<Link> {
        let start = Instant::now();
        let refused = Refused::default();
        let crypto = tls::client(&self.identity, dial.expected, refused.clone())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        let unreachable = |why: &str| Error::Unreachable {
            address: dial.address.clone(),
            waited: start.elapsed().into(),
            why: why.to_owned(),
        };
        // The name is a formality: keys are pinned, and it is not sent.
        let connecting =
            self.quinn.connect_with(config, address, "twoply").map_err(|e| unreachable(&e.to_string()))?;
        let handshake = async { connecting.await.map_err(|e| self.explain(dial, &e, &refused)) };
        let conn = in_time(attempt, handshake, || unreachable("nobody listens there")).await?;
        let left = left.saturating_sub(start.elapsed());
        let greeting = self.greeter.call(conn.clone());
        let result = in_time(left, greeting, || Error::Silent {
            peer: dial.address.clone(),
            what: "preamble",
            waited: left.into(),
        });
        // Our own certificate is judged after our side of the handshake is over: the verdict comes here.
        result.await.map_err(|error| match conn.close_reason() {
            Some(reason) if pump::alert(&reason).is_some() => self.explain(dial, &reason, &refused),
            _ => error,
        })
    }

    /// What a failed handshake means to the caller.
    fn explain(&self, dial: &Dial, error: &ConnectionError, refused: &Refused) -> Error {
        let address = dial.address.clone();
        if let Some(found) = tls::take_refused(refused) {
            return Error::Stranger { address, wanted: dial.expected, found };
        }
        match (pump::alert(error), error) {
            (Some((_, NO_APPLICATION_PROTOCOL)), _) => Error::Version { peer: address, theirs: None },
            (Some((Side::Theirs, alert)), _) if CERTIFICATE_ALERTS.contains(&alert) => {
                Error::Refused { address, mine: self.identity.fingerprint() }
            }
            (_, ConnectionError::VersionMismatch) => Error::Version { peer: address, theirs: None },
            _ => pump::lost(&address, error),
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
