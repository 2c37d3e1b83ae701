//! A link over QUIC: one connection, one bidirectional stream opened by the caller.

mod flow;
mod pulse;
mod pump;
mod reset;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionError, IdleTimeout, Incoming, MtuDiscoveryConfig,
    ReadError, ReadExactError, RecvStream, SendStream, ServerConfig, TransportConfig, TransportErrorCode,
    VarInt, WriteError,
};
use rustls::pki_types::CertificateDer;

use super::frame::goodbye;
use super::greet::{self, Broken, Held, Side};
use super::inbox::Inbox;
use super::outbox::{Outbox, outbox};
use super::reason::{Detail, Reason};
use super::tls::{self, Refused};
use super::{Accept, Error, LINGER, Limits, Loss, Result, Transport};
use crate::exit::ExitCode;
use crate::identity::{Fingerprint, Identity, fingerprint_of};

pub(super) use flow::Flow;
pub(super) use reset::endpoint_config;

/// Flow control: what one side may send before the other's network thread has read, in bytes. A link of
/// 1 Gbit/s and 60 ms, or 10 Gbit/s and 6 ms, is kept full.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes kept of a caller that nobody has looked at yet.
const INCOMING: u64 = 16 << 10;
const LEAST_WINDOW: u32 = 4 << 10;
/// Longest pause between signs of life. A peer that was started again answers the next of them.
const ALIVE: Duration = Duration::from_secs(2);
/// Packets that may arrive before one must be acknowledged. An acknowledgement costs both sides a system call.
const ACKNOWLEDGE: u32 = 10;
/// Largest datagram to try, where the path takes it (loopback, jumbo frames): ten of them, which quinn hands
/// over at once, must fit one segmentation offload of 64 KiB, or the connection hangs.
const LARGEST_DATAGRAM: u16 = 6000;

/// What a caller that is not admitted may send before it was read, in bytes.
fn lobby(limits: &Limits) -> u32 {
    u32::try_from(limits.lobby).unwrap_or(u32::MAX).clamp(LEAST_WINDOW, CONNECTION_WINDOW)
}

/// Pause between signs of life.
fn alive(limits: &Limits) -> Duration {
    ALIVE.min(limits.idle / 4)
}

/// The bounds of one connection to a peer that this side calls.
pub(super) fn transport(limits: &Limits) -> Result<TransportConfig> {
    let idle = IdleTimeout::try_from(limits.idle)
        .map_err(|e| Error::System { what: "set the idle timeout", why: e.to_string() })?;
    let mut acknowledge = AckFrequencyConfig::default();
    acknowledge.ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGE));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(LARGEST_DATAGRAM);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(alive(limits)))
        // One stream, opened by the caller.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .ack_frequency_config(Some(acknowledge))
        .mtu_discovery_config(Some(discovery));
    Ok(config)
}

/// What callers over QUIC meet.
pub(super) fn server(
    identity: &Identity,
    accept: Accept,
    refused: Refused,
    limits: &Limits,
) -> Result<ServerConfig> {
    let crypto = tls::quic_server(identity, accept, refused)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport(limits)?;
    // The one stream has a larger window: this one, which can be raised later, decides.
    transport.receive_window(VarInt::from_u32(lobby(limits)));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(limits.unfinished)
        // Callers are taken or refused at once: hardly anything waits.
        .incoming_buffer_size(INCOMING)
        .incoming_buffer_size_total(limits.unfinished as u64 * INCOMING);
    Ok(config)
}

/// A connection whose handshake is over, with its stream.
pub(super) struct Line {
    conn: Connection,
    send: SendStream,
    recv: RecvStream,
    name: String,
}

/// A caller's handshake.
pub(super) async fn accept(incoming: Incoming) -> Result<Line, Broken> {
    let name = incoming.remote_address().to_string();
    let conn = incoming.accept().map_err(|e| failed(&name, &e))?.await.map_err(|e| failed(&name, &e))?;
    let (send, recv) = conn.accept_bi().await.map_err(|e| failed(&name, &e))?;
    Ok(Line { conn, send, recv, name })
}

/// The handshake with the holder of `pin` at `address`.
pub(super) async fn connect(
    quinn: &quinn::Endpoint,
    transport: Arc<TransportConfig>,
    (address, name): (SocketAddr, &str),
    (identity, pin, refused): (&Identity, Fingerprint, Refused),
) -> Result<Line, Broken> {
    let mut config = ClientConfig::new(Arc::new(tls::quic_client(identity, pin, refused)?));
    config.transport_config(transport);
    let cannot = |e: quinn::ConnectError| broken(name, e.to_string());
    // The name is a formality: keys are pinned, and it is not sent.
    let connecting = quinn.connect_with(config, address, "twoply").map_err(cannot)?;
    let conn = connecting.await.map_err(|e| failed(name, &e))?;
    let (send, recv) = conn.open_bi().await.map_err(|e| failed(name, &e))?;
    Ok(Line { conn, send, recv, name: name.to_owned() })
}

impl Line {
    /// Why nothing can be sent or received any more.
    fn broken(&self, error: Option<&ConnectionError>) -> Broken {
        let reset = || broken(&self.name, "its stream was reset");
        match error.cloned().or_else(|| self.conn.close_reason()) {
            Some(error) => failed(&self.name, &error),
            None => reset().into(),
        }
    }
}

#[cfg(test)]
impl super::hostile::Finish for Line {
    fn finish(&mut self) {
        self.send.finish().unwrap();
    }
}

impl greet::Line for Line {
    const TRANSPORT: Transport = Transport::Quic;

    fn address(&self) -> SocketAddr {
        self.conn.remote_address()
    }

    fn key(&self) -> Option<Fingerprint> {
        let list = self.conn.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        list.first().and_then(|cert| fingerprint_of(cert).ok())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match self.send.write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(WriteError::ConnectionLost(error)) => Err(self.broken(Some(&error))),
            Err(_) => Err(self.broken(None)),
        }
    }

    async fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        match self.recv.read_exact(bytes).await {
            Ok(()) => Ok(()),
            Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => {
                Err(self.broken(Some(&error)))
            }
            Err(_) => Err(Error::Version { peer: self.name.clone(), theirs: None }.into()),
        }
    }

    async fn refuse(mut self) {
        if self.send.finish().is_ok() {
            // Whether it was acknowledged makes no difference any more.
            let _ = tokio::time::timeout(LINGER, self.send.stopped()).await;
        }
        let code = Reason::Failed(ExitCode::Version).code();
        self.conn.close(VarInt::from_u32(code.into()), &[]);
    }

    fn start(self, inbox: Arc<Inbox>, name: String, limits: &Limits, held: Held) -> Result<Outbox> {
        let (outbox, drain) = outbox(Arc::default(), None);
        let Line { conn, send, recv, .. } = self;
        let Held { writer, ticket } = held;
        let small = if conn.side().is_server() { lobby(limits) } else { CONNECTION_WINDOW };
        inbox.flows(Flow::new(conn.clone(), small));
        let (peer, reader) = ((name, limits.idle), inbox.clone());
        let (reads, every) = (conn.clone(), 2 * alive(limits));
        tokio::spawn(async move {
            let died = Error::Lost { peer: peer.0.clone(), how: Loss::Died };
            let stopped = async {
                pulse::stopped(&reads, every).await;
                reader.finish(died);
                reads.close(VarInt::from_u32(Reason::Dropped.code().into()), &[]);
            };
            tokio::select! {
                () = pump::read(reads.clone(), recv, reader.clone(), peer) => {}
                () = stopped => {}
            }
            drop(ticket);
        });
        tokio::spawn(async move {
            pump::write(conn, send, drain, &inbox).await;
            inbox.answered(false);
            drop(writer);
        });
        Ok(outbox)
    }
}

fn failed(peer: &str, error: &ConnectionError) -> Broken {
    let error_of = match error {
        ConnectionError::VersionMismatch => Error::Version { peer: peer.to_owned(), theirs: None },
        // During a handshake, a connection without a word to the application.
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            Error::PeerFailed { peer: peer.to_owned(), reason: Reason::Busy, detail: Detail::None }
        }
        error => lost(peer, error, Duration::ZERO),
    };
    Broken { error: error_of, alert: alert(error) }
}

/// A connection that is no use any more.
fn broken(peer: &str, why: impl Into<String>) -> Error {
    Error::Lost { peer: peer.to_owned(), how: Loss::Broken(why.into()) }
}

/// What a connection's end means to the blocking side, which waits for `idle`. The peer's own words are never repeated.
fn lost(peer: &str, error: &ConnectionError, idle: Duration) -> Error {
    let how = match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
            return goodbye(peer, code, &close.reason);
        }
        ConnectionError::LocallyClosed => return Error::Shut,
        ConnectionError::TimedOut => Loss::Silence(idle.into()),
        ConnectionError::Reset => Loss::Restarted,
        ConnectionError::VersionMismatch => return broken(peer, "it speaks another version of QUIC"),
        ConnectionError::TransportError(error) => return broken(peer, format!("QUIC error {}", error.code)),
        ConnectionError::ConnectionClosed(close) => {
            return broken(peer, format!("it reports QUIC error {}", close.error_code));
        }
        ConnectionError::CidsExhausted => return broken(peer, "no connection ids are left"),
    };
    Error::Lost { peer: peer.to_owned(), how }
}

/// The TLS alert behind a failed connection, and whose it is.
pub(super) fn alert(error: &ConnectionError) -> Option<(Side, u8)> {
    let (side, code) = match error {
        ConnectionError::TransportError(error) => (Side::Ours, u64::from(error.code)),
        ConnectionError::ConnectionClosed(close) => (Side::Theirs, u64::from(close.error_code)),
        _ => return None,
    };
    // RFC 9001, section 4.8: alerts are 0x100 plus their TLS number.
    let number = code.checked_sub(0x100)?;
    u8::try_from(number).ok().map(|number| (side, number))
}
