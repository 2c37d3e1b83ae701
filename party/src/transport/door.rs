//! Who comes in: callers over either transport, from their first packet to a link or a refusal.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::greet::{Broken, Greeter, Line, Side, in_time};
use super::guests::{Guests, Ticket};
use super::link::Link;
use super::refusals::{Refusals, Why};
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
    pub(super) guests: Arc<Guests>,
    pub(super) refusals: Arc<Refusals>,
}

impl Door {
    /// Takes callers over QUIC. Under pressure they must first show that they are where they say, which costs this
    /// side nothing: no place can be taken with addresses that are made up.
    pub(super) async fn listen_quic(&self, quinn: quinn::Endpoint) {
        while let Some(incoming) = quinn.accept().await {
            if self.guests.is_pressed() && !incoming.remote_address_validated() {
                if let Err(cannot) = incoming.retry() {
                    cannot.into_incoming().refuse();
                }
                continue;
            }
            let from = incoming.remote_address();
            let ticket = self.enter(from);
            ticket.spoke();
            tokio::spawn(self.welcome(ticket).take(from, quic::accept(incoming)));
        }
    }

    /// Takes callers over TCP.
    pub(super) async fn listen_tcp(&self, listener: TcpListener, server: tcp::Server) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let ticket = self.enter(from);
                    let line =
                        spoken(stream, from, self.greeter.limits.first_byte, ticket.clone(), server.clone());
                    tokio::spawn(self.welcome(ticket).take(from, line));
                }
                Err(error) => {
                    if self.refusals.is_news(Why::NoSocket, Instant::now()) {
                        tracing::warn!(%error, "a caller could not be taken");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn enter(&self, from: SocketAddr) -> Arc<Ticket> {
        let (ticket, gone) = self.guests.enter(from.ip());
        if gone && self.refusals.is_news(Why::Dismissed, Instant::now()) {
            tracing::warn!(last = %from, "too many callers have not ended their handshakes; the oldest have to go");
        }
        ticket
    }

    fn welcome(&self, ticket: Arc<Ticket>) -> Welcome {
        Welcome {
            greeter: self.greeter.clone(),
            arrivals: self.arrivals.clone(),
            refused: self.refused.clone(),
            refusals: self.refusals.clone(),
            ticket,
        }
    }
}

/// Waits for a caller's first byte before anything is made for it.
async fn spoken(
    stream: TcpStream,
    from: SocketAddr,
    within: Duration,
    ticket: Arc<Ticket>,
    server: tcp::Server,
) -> Result<tcp::Line, Broken> {
    let late = || Error::Silent { peer: from.to_string(), what: "byte", waited: within.into() };
    // That a socket seems readable is not enough: it may turn out that nothing came.
    let first = async { stream.peek(&mut [0]).await.map(drop).map_err(|_| late().into()) };
    in_time(within, first, late).await?;
    ticket.spoke();
    server.accept(stream).await
}

/// What one caller is met with.
struct Welcome {
    greeter: Greeter,
    arrivals: Arc<Arrivals>,
    refused: Refused,
    refusals: Arc<Refusals>,
    ticket: Arc<Ticket>,
}

impl Welcome {
    /// One caller, from its first packet to a link or a refusal.
    async fn take<L: Line>(self, from: SocketAddr, line: impl Future<Output = Result<L, Broken>>) {
        let limits = &self.greeter.limits;
        let within = limits.first_byte + limits.handshake;
        let late = || Error::Silent { peer: from.to_string(), what: "handshake", waited: within.into() };
        let greeting = async { self.greeter.answer(line.await?, self.ticket.clone()).await };
        tokio::select! {
            biased;
            result = in_time(within, greeting, late) => match result {
                Ok(link) => self.arrivals.push(link),
                Err(broken) => self.arrivals.refused(self.refusal(from, broken)),
            },
            // Whom it had to make room for was counted.
            () = self.ticket.dismissed() => {}
        }
    }

    /// Tells the log why a caller did not get through, and the program where there is something to be done.
    fn refusal(&self, from: SocketAddr, Broken { error, alert }: Broken) -> Option<Refusal> {
        let is_news = |why| self.refusals.is_news(why, Instant::now());
        match alert {
            Some((Side::Ours, _)) => {
                if let Some(key) = tls::take_refused(&self.refused) {
                    if is_news(Why::Uninvited) {
                        tracing::warn!(%from, %key, "refused a caller whose key is not accepted");
                    }
                    return Some(Refusal::Uninvited(key));
                }
            }
            Some((Side::Theirs, _)) => {
                if is_news(Why::Unwanted) {
                    tracing::warn!(%from, "a caller does not accept this machine's key");
                }
                return Some(Refusal::Unwanted);
            }
            None => {}
        }
        let why = match &error {
            Error::Silent { .. } => Why::Silent,
            Error::TooMany { .. } => Why::Crowded,
            Error::Version { .. } => Why::Foreign,
            _ => Why::Fell,
        };
        if is_news(why) {
            tracing::warn!(%from, %error, "a caller did not get through");
        }
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
