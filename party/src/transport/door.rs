//! Who comes in: callers over either transport, from their first packet to a link or a refusal.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::greet::{Broken, Greeter, Line, Side, in_time};
use super::link::Link;
use super::tls::{self, Refused};
use super::{Error, Result, quic, tcp};
use crate::identity::Fingerprint;

/// Pause after the system refused a caller's socket, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// What the listening tasks need.
pub(super) struct Door {
    pub(super) greeter: Greeter,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) refused: Refused,
    /// Cloned into every connection over TCP, to count them.
    pub(super) guests: Arc<()>,
}

impl Door {
    /// Takes callers over QUIC.
    pub(super) async fn listen_quic(&self, quinn: quinn::Endpoint) {
        while let Some(incoming) = quinn.accept().await {
            if self.is_full(&quinn) {
                incoming.refuse();
                continue;
            }
            let from = incoming.remote_address();
            tokio::spawn(self.welcome().take(from, quic::accept(incoming)));
        }
    }

    /// Takes callers over TCP.
    pub(super) async fn listen_tcp(
        &self,
        quinn: quinn::Endpoint,
        listener: TcpListener,
        server: tcp::Server,
    ) {
        loop {
            match listener.accept().await {
                // Hung up on, it calls again.
                Ok(_) if self.is_full(&quinn) => {}
                Ok((stream, from)) => {
                    let line = server.clone().accept(stream, self.guests.clone());
                    tokio::spawn(self.welcome().take(from, line));
                }
                Err(error) => {
                    tracing::warn!(%error, "a caller could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn is_full(&self, quinn: &quinn::Endpoint) -> bool {
        // One is the door's own.
        let open = quinn.open_connections() + Arc::strong_count(&self.guests) - 1;
        let full = open >= self.greeter.limits.connections;
        if full {
            tracing::warn!("too many connections; a caller was told to come back");
        }
        full
    }

    fn welcome(&self) -> Welcome {
        // Not a clone of the door: it would count as a guest.
        Welcome {
            greeter: self.greeter.clone(),
            arrivals: self.arrivals.clone(),
            refused: self.refused.clone(),
        }
    }
}

/// What one caller is met with.
struct Welcome {
    greeter: Greeter,
    arrivals: Arc<Arrivals>,
    refused: Refused,
}

impl Welcome {
    /// One caller, from its first packet to a link or a refusal.
    async fn take<L: Line>(self, from: SocketAddr, line: impl Future<Output = Result<L, Broken>>) {
        let within = self.greeter.limits.handshake;
        let late = || Error::Silent { peer: from.to_string(), what: "handshake", waited: within.into() };
        let greeting = async { self.greeter.answer(line.await?).await };
        match in_time(within, greeting, late).await {
            Ok(link) => self.arrivals.push(link),
            Err(broken) => self.arrivals.refused(self.refusal(from, broken)),
        }
    }

    /// Tells the log why a caller did not get through, and the program where there is something to be done.
    fn refusal(&self, from: SocketAddr, Broken { error, alert }: Broken) -> Option<Refusal> {
        match alert {
            Some((Side::Ours, _)) => {
                if let Some(key) = tls::take_refused(&self.refused) {
                    tracing::warn!(%from, %key, "refused a caller whose key is not accepted");
                    return Some(Refusal::Uninvited(key));
                }
            }
            Some((Side::Theirs, _)) => {
                tracing::warn!(%from, "a caller does not accept this machine's key");
                return Some(Refusal::Unwanted);
            }
            None => {}
        }
        tracing::warn!(%from, %error, "a caller did not get through");
        matches!(error, Error::Version { .. }).then_some(error).map(Refusal::Foreign)
    }
}

/// Why a caller did not become a link, where there is something to be done about it.
pub(super) enum Refusal {
    /// We do not take its key.
    Uninvited(Fingerprint),
    /// It does not take ours.
    Unwanted,
    /// It speaks another version, as this error says.
    Foreign(Error),
}

/// Links that wait for [`Endpoint::accept`].
#[derive(Default)]
pub(super) struct Arrivals {
    state: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    links: VecDeque<Link>,
    refusal: Option<Refusal>,
    closed: bool,
}

impl Arrivals {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, link: Link) {
        self.state().links.push_back(link);
        self.came.notify_one();
    }

    fn refused(&self, refusal: Option<Refusal>) {
        let mut state = self.state();
        state.refusal = refusal.or(state.refusal.take());
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    /// The next link with somebody at its other end; `Ok(Err(..))` after `within`.
    pub(super) fn next(&self, within: Duration) -> Result<std::result::Result<Link, Option<Refusal>>> {
        let until = Instant::now() + within;
        let mut state = self.state();
        loop {
            while let Some(link) = state.links.pop_front() {
                if link.has_word() {
                    state.refusal = None;
                    return Ok(Ok(link));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.closed {
                return Err(Error::Shut);
            }
            if left.is_zero() {
                return Ok(Err(state.refusal.take()));
            }
            state = self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
