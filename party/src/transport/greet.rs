//! From a connection to a [`Link`]: who is it, and do both sides speak the same wire format?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::guests::Ticket;
use super::inbox::Inbox;
use super::link::{Link, Parts};
use super::outbox::Outbox;
use super::preamble::{self, Role};
use super::{Error, Limits, Result, Transport};
use crate::identity::Fingerprint;

/// A connection over either transport, its TLS handshake done: the seam between them.
pub(super) trait Line: Sized {
    /// Which transport it is.
    const TRANSPORT: Transport;
    /// Where the other end is.
    fn address(&self) -> SocketAddr;
    /// The other end's key.
    fn key(&self) -> Option<Fingerprint>;
    /// Sends all of a preamble.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken>;
    /// Receives all of a preamble; one that ends early is of no version.
    async fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Broken>;
    /// Ends a connection that comes to nothing, after what was sent has arrived.
    async fn refuse(self);
    /// Starts moving bytes between the connection and the boxes.
    fn start(self, inbox: Arc<Inbox>, name: String, limits: &Limits, held: Held) -> Result<Outbox>;
}

/// What a connection holds on to.
pub(super) struct Held {
    /// Goes when nothing is left to send.
    pub(super) writer: Arc<()>,
    /// A caller's: goes with the connection.
    pub(super) ticket: Option<Arc<Ticket>>,
}

/// Why there is no connection, and the TLS alert behind it.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: Error,
    pub(super) alert: Option<(Side, u8)>,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self { error, alert: None }
    }
}

/// Who raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This process.
    Ours,
    /// The other one.
    Theirs,
}

/// What a new link needs from its endpoint.
#[derive(Clone)]
pub(super) struct Greeter {
    pub(super) role: Role,
    pub(super) limits: Limits,
    /// Cloned into every writer: when only one is left, nothing waits to be sent.
    pub(super) writers: Arc<()>,
}

impl Greeter {
    /// The dialing side: speaks first.
    pub(super) async fn call(&self, mut line: impl Line) -> Result<Link, Broken> {
        let peer = who(&line)?;
        line.send(&preamble::encode(self.role)).await?;
        let mut bytes = [0; preamble::LENGTH];
        line.receive(&mut bytes).await?;
        self.settle(preamble::decode(bytes, &peer.short()), peer, line, None).await
    }

    /// The listening side. It answers even a preamble that it cannot use, so that both sides learn why.
    pub(super) async fn answer(&self, mut line: impl Line, ticket: Arc<Ticket>) -> Result<Link, Broken> {
        let peer = who(&line)?;
        let mut bytes = [0; preamble::LENGTH];
        line.receive(&mut bytes).await?;
        let role = preamble::decode(bytes, &peer.short());
        let role = match role {
            Ok(role) if !ticket.admit(peer, role) => {
                line.send(&preamble::encode_busy(self.role)).await?;
                Err(Error::TooMany { peer: format!("{role} {}", peer.short()) })
            }
            role => {
                line.send(&preamble::encode(self.role)).await?;
                role
            }
        };
        self.settle(role, peer, line, Some(ticket)).await
    }

    /// Makes the link, or sees to it that the other side gets our preamble before the connection closes.
    async fn settle<L: Line>(
        &self,
        role: Result<Role>,
        peer: Fingerprint,
        line: L,
        ticket: Option<Arc<Ticket>>,
    ) -> Result<Link, Broken> {
        let role = match role {
            Ok(role) => role,
            Err(error) => {
                line.refuse().await;
                return Err(error.into());
            }
        };
        let name = format!("{role} {}", peer.short());
        let inbox = Arc::new(Inbox::new(self.limits.lobby, self.limits.inbox));
        let address = line.address();
        let held = Held { writer: self.writers.clone(), ticket: ticket.clone() };
        let outbox = line.start(inbox.clone(), name.clone(), &self.limits, held)?;
        if ticket.as_ref().is_none_or(|ticket| ticket.is_reserved()) {
            inbox.open();
        }
        if let Some(ticket) = ticket {
            ticket.settle(&name, &inbox);
        }
        let outbox = outbox.emulate(self.limits.link)?;
        let parts = Parts { peer, role, name, address, transport: L::TRANSPORT, inbox, outbox };
        Ok(Link::new(parts, &self.limits))
    }
}

/// The key behind a connection.
fn who(line: &impl Line) -> Result<Fingerprint> {
    // TLS demanded a certificate; without one there is no connection.
    line.key().ok_or(Error::System { what: "read the peer's key", why: "TLS gave none".into() })
}

/// `future`, or `late` after `within`.
pub(super) async fn in_time<T>(
    within: Duration,
    future: impl Future<Output = Result<T, Broken>>,
    late: impl FnOnce() -> Error,
) -> Result<T, Broken> {
    tokio::time::timeout(within, future).await.unwrap_or_else(|_| Err(late().into()))
}
