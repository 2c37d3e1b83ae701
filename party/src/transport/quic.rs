//! A link over QUIC: one connection, one bidirectional stream opened by the caller.

mod pump;

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionError, IdleTimeout, Incoming, MtuDiscoveryConfig,
    ReadError, ReadExactError, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt, WriteError,
};
use rustls::pki_types::CertificateDer;

use super::frame::goodbye;
use super::greet::{self, Broken, Side};
use super::inbox::Inbox;
use super::outbox::{Outbox, outbox};
use super::reason::Reason;
use super::tls::{self, Refused};
use super::{Accept, Error, LINGER, Limits, Result, Transport};
use crate::exit::ExitCode;
use crate::identity::{Fingerprint, Identity, fingerprint_of};

/// Flow control: what one side may send before the other's network thread has read, in bytes. A link of
/// 1 Gbit/s and 60 ms, or 10 Gbit/s and 6 ms, is kept full.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Packets that may arrive before one must be acknowledged. An acknowledgement costs both sides a system call.
const ACKNOWLEDGE: u32 = 10;
/// Largest datagram to try, where the path takes it (loopback, jumbo frames): ten of them, which quinn hands
/// over at once, must fit one segmentation offload of 64 KiB, or the connection hangs.
const LARGEST_DATAGRAM: u16 = 6000;

/// The bounds of one connection.
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
        .keep_alive_interval(Some(limits.idle / 4))
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
    transport: &Arc<TransportConfig>,
    limits: &Limits,
) -> Result<ServerConfig> {
    let crypto = tls::quic_server(identity, accept, refused)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport.clone()).max_incoming(limits.connections);
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
    let cannot = |e: quinn::ConnectError| Error::Lost { peer: name.to_owned(), why: e.to_string() };
    // The name is a formality: keys are pinned, and it is not sent.
    let connecting = quinn.connect_with(config, address, "twoply").map_err(cannot)?;
    let conn = connecting.await.map_err(|e| failed(name, &e))?;
    let (send, recv) = conn.open_bi().await.map_err(|e| failed(name, &e))?;
    Ok(Line { conn, send, recv, name: name.to_owned() })
}

impl Line {
    /// Why nothing can be sent or received any more.
    fn broken(&self, error: Option<&ConnectionError>) -> Broken {
        let reset = || Error::Lost { peer: self.name.clone(), why: "its stream was reset".into() };
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

    fn start(self, inbox: Arc<Inbox>, name: String, _: &Limits, writer: Arc<()>) -> Result<Outbox> {
        let (outbox, drain) = outbox(Arc::default(), None);
        let Line { conn, send, recv, .. } = self;
        tokio::spawn(pump::read(conn.clone(), recv, inbox, name));
        tokio::spawn(async move {
            pump::write(conn, send, drain).await;
            drop(writer);
        });
        Ok(outbox)
    }
}

fn failed(peer: &str, error: &ConnectionError) -> Broken {
    let error_of = match error {
        ConnectionError::VersionMismatch => Error::Version { peer: peer.to_owned(), theirs: None },
        error => lost(peer, error),
    };
    Broken { error: error_of, alert: alert(error) }
}

/// What a connection's end means to the blocking side. The peer's own words are never repeated.
fn lost(peer: &str, error: &ConnectionError) -> Error {
    let why = match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
            return goodbye(peer, code, &close.reason);
        }
        ConnectionError::LocallyClosed => return Error::Shut,
        ConnectionError::TimedOut => "nothing was heard for too long".to_owned(),
        ConnectionError::Reset => "it was restarted".to_owned(),
        ConnectionError::VersionMismatch => "it speaks another version of QUIC".to_owned(),
        ConnectionError::TransportError(error) => format!("QUIC error {}", error.code),
        ConnectionError::ConnectionClosed(close) => format!("it reports QUIC error {}", close.error_code),
        ConnectionError::CidsExhausted => "no connection ids are left".to_owned(),
    };
    Error::Lost { peer: peer.to_owned(), why }
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
