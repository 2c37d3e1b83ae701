//! From a QUIC connection to a [`Link`]: who is it, and do both sides speak the same wire format?

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use super::inbox::Inbox;
use super::link::{Link, Parts};
use super::outbox::{Ending, outbox};
use super::preamble::{self, Role};
use super::pump::{self, LINGER};
use super::reason::Reason;
use super::{Error, Limits, Result};
use crate::exit::ExitCode;
use crate::identity::{Fingerprint, fingerprint_of};

/// What a new link needs from its endpoint.
#[derive(Clone)]
pub(super) struct Greeter {
    pub(super) role: Role,
    pub(super) limits: Limits,
    /// Cloned into every writer: when only one is left, nothing waits to be sent.
    pub(super) writers: Arc<()>,
}

impl Greeter {
    /// The dialing side: opens the stream, speaks first.
    pub(super) async fn call(&self, conn: Connection) -> Result<Link> {
        let (peer, name) = who(&conn)?;
        let (mut send, mut recv) = match conn.open_bi().await {
            Ok(streams) => streams,
            Err(error) => return pump::stream_error(&name, Some(&error)),
        };
        write(&mut send, self.role, &conn, &name).await?;
        let bytes = read(&mut recv, &name).await?;
        self.settle(preamble::decode(bytes, &name), peer, conn, send, recv).await
    }

    /// The listening side. It answers even a preamble that it cannot use, so that both sides learn why.
    pub(super) async fn answer(&self, conn: Connection) -> Result<Link> {
        let (peer, name) = who(&conn)?;
        let (mut send, mut recv) = match conn.accept_bi().await {
            Ok(streams) => streams,
            Err(error) => return pump::stream_error(&name, Some(&error)),
        };
        let bytes = read(&mut recv, &name).await?;
        write(&mut send, self.role, &conn, &name).await?;
        self.settle(preamble::decode(bytes, &name), peer, conn, send, recv).await
    }

    /// Starts the pumps, or sees to it that the other side gets our preamble before the connection closes.
    async fn settle(
        &self,
        role: Result<Role>,
        peer: Fingerprint,
        conn: Connection,
        mut send: SendStream,
        recv: RecvStream,
    ) -> Result<Link> {
        match role {
            Ok(role) => Ok(self.start(role, peer, conn, send, recv)),
            Err(error) => {
                if send.finish().is_ok() {
                    // Whether it was acknowledged makes no difference any more.
                    let _ = tokio::time::timeout(LINGER, send.stopped()).await;
                }
                let code = Reason::Failed(ExitCode::Version).code();
                pump::close(&conn, &Ending { code, payload: Vec::new() });
                Err(error)
            }
        }
    }

    fn start(
        &self,
        role: Role,
        peer: Fingerprint,
        conn: Connection,
        send: SendStream,
        recv: RecvStream,
    ) -> Link {
        let name = format!("{role} {}", peer.short());
        let inbox = Arc::new(Inbox::new(self.limits.inbox));
        let (outbox, drain) = outbox();
        let address = conn.remote_address();
        tokio::spawn(pump::read(conn.clone(), recv, inbox.clone(), name.clone()));
        let writer = self.writers.clone();
        tokio::spawn(async move {
            pump::write(conn, send, drain).await;
            drop(writer);
        });
        Link::new(Parts { peer, role, name, address, inbox, outbox }, &self.limits)
    }
}

/// The key behind a connection, and a name for messages before the role is known.
fn who(conn: &Connection) -> Result<(Fingerprint, String)> {
    let certificates =
        conn.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let key = certificates.and_then(|list| list.first().and_then(|cert| fingerprint_of(cert).ok()));
    // TLS demanded a certificate; without one there is no connection.
    let key = key.ok_or(Error::System { what: "read the peer's key", why: "TLS gave none".into() })?;
    Ok((key, key.short()))
}

async fn write(send: &mut SendStream, role: Role, conn: &Connection, name: &str) -> Result<()> {
    match send.write_all(&preamble::encode(role)).await {
        Ok(()) => Ok(()),
        Err(_) => pump::stream_error(name, conn.close_reason().as_ref()),
    }
}

async fn read(recv: &mut RecvStream, name: &str) -> Result<[u8; preamble::LENGTH]> {
    let mut bytes = [0; preamble::LENGTH];
    match recv.read_exact(&mut bytes).await {
        Ok(()) => Ok(bytes),
        Err(ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => {
            pump::stream_error(name, Some(&error))
        }
        Err(_) => Err(Error::Version { peer: name.to_owned(), theirs: None }),
    }
}

/// `future`, or `late` after `within`.
pub(super) async fn in_time<T>(
    within: Duration,
    future: impl Future<Output = Result<T>>,
    late: impl FnOnce() -> Error,
) -> Result<T> {
    tokio::time::timeout(within, future).await.unwrap_or_else(|_| Err(late()))
}
