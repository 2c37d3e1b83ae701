//! A TCP connection before it is a link: connecting, and the handshake of TLS.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::super::greet::{self, Broken, Held, Side};
use super::super::inbox::Inbox;
use super::super::outbox::{Outbox, outbox};
use super::super::tls::{self, Refused};
use super::super::{Error, LINGER, Limits, Loss, Result, Transport};
use super::{Wire, fallen, pump};
use crate::identity::{Fingerprint, Identity, fingerprint_of};

/// A connection under TLS, on the network thread.
pub(in super::super) struct Line {
    stream: TcpStream,
    tls: Connection,
    address: SocketAddr,
    name: String,
    closing: watch::Receiver<bool>,
}

/// What every caller over TCP meets.
#[derive(Clone)]
pub(in super::super) struct Server {
    pub(in super::super) config: Arc<ServerConfig>,
    /// Changes when the endpoint goes.
    pub(in super::super) closing: watch::Receiver<bool>,
}

impl Server {
    /// A caller's handshake.
    pub(in super::super) async fn accept(self, stream: TcpStream) -> Result<Line, Broken> {
        let address = stream.peer_addr().map_err(|e| lost("a caller", &e))?;
        let tls = ServerConnection::new(self.config).map_err(|e| setup(&e))?;
        let name = address.to_string();
        Line { stream, tls: tls.into(), address, name, closing: self.closing }.shake_hands().await
    }
}

/// The handshake with the holder of `pin`, whom `stream` has reached at `address`.
pub(in super::super) async fn connect(
    stream: TcpStream,
    (address, name): (SocketAddr, &str),
    (identity, pin, refused): (&Identity, Fingerprint, Refused),
    closing: watch::Receiver<bool>,
) -> Result<Line, Broken> {
    let config = tls::client(identity, pin, refused)?;
    // The name is a formality: keys are pinned, and it is not sent.
    let nobody = ServerName::try_from("twoply").map_err(|e| setup(&e))?;
    let tls = ClientConnection::new(Arc::new(config), nobody).map_err(|e| setup(&e))?;
    Line { stream, tls: tls.into(), address, name: name.to_owned(), closing }.shake_hands().await
}

fn setup(error: &dyn std::error::Error) -> Error {
    Error::System { what: "set up TLS", why: error.to_string() }
}

fn lost(peer: &str, error: &io::Error) -> Error {
    Error::Lost { peer: peer.to_owned(), how: fallen(error, Duration::ZERO) }
}

impl Line {
    async fn shake_hands(mut self) -> Result<Self, Broken> {
        // Small messages must not wait for the acknowledgement of those before them.
        self.stream.set_nodelay(true).map_err(|e| lost(&self.name, &e))?;
        self.tls.set_buffer_limit(None);
        while self.tls.is_handshaking() {
            self.flush().await?;
            if self.tls.is_handshaking() {
                self.more().await?;
            }
        }
        self.flush().await?;
        Ok(self)
    }

    /// Writes what TLS has to say.
    async fn flush(&mut self) -> Result<(), Broken> {
        while self.tls.wants_write() {
            let (tls, stream) = (&mut self.tls, &self.stream);
            let wrote = stream.async_io(Interest::WRITABLE, || tls.write_tls(&mut Socket(stream))).await;
            wrote.map_err(|e| lost(&self.name, &e))?;
        }
        Ok(())
    }

    /// Reads something and has TLS look at it.
    async fn more(&mut self) -> Result<(), Broken> {
        let (tls, stream) = (&mut self.tls, &self.stream);
        match stream.async_io(Interest::READABLE, || tls.read_tls(&mut Socket(stream))).await {
            Ok(0) => Err(Error::Lost { peer: self.name.clone(), how: Loss::Died }.into()),
            Err(e) => Err(lost(&self.name, &e).into()),
            Ok(_) => match self.tls.process_new_packets() {
                Ok(_) => Ok(()),
                Err(error) => Err(self.fail(&error).await),
            },
        }
    }

    /// TLS failed: tells the other side why, and waits a moment for it to hang up. Closed at once, a socket
    /// with unread bytes would take the alert back.
    async fn fail(&mut self, error: &rustls::Error) -> Broken {
        let farewell = async {
            self.flush().await?;
            let (stream, mut rest) = (&self.stream, [0; 1024]);
            // A second look at the kind of error would tell nothing.
            let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
            while stream
                .async_io(Interest::READABLE, || Socket(stream).read(&mut rest))
                .await
                .is_ok_and(|n| n > 0)
            {}
            Ok::<(), Broken>(())
        };
        // The failure at hand is the one to report.
        let _ = tokio::time::timeout(LINGER, farewell).await;
        let side = match error {
            rustls::Error::AlertReceived(alert) => Some((Side::Theirs, u8::from(*alert))),
            rustls::Error::InvalidCertificate(_) => Some((Side::Ours, 0)),
            _ => None,
        };
        let peer = self.name.clone();
        let error = match error {
            rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => {
                Error::Version { peer, theirs: None }
            }
            // TLS's own words: they repeat nothing that the other side sent.
            other => Error::Lost { peer, how: Loss::Broken(format!("TLS failed: {other}")) },
        };
        Broken { error, alert: side }
    }
}

#[cfg(test)]
impl super::super::hostile::Finish for Line {
    fn finish(&mut self) {
        socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl greet::Line for Line {
    const TRANSPORT: Transport = Transport::Tcp;

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn key(&self) -> Option<Fingerprint> {
        self.tls.peer_certificates().and_then(|list| list.first()).and_then(|cert| fingerprint_of(cert).ok())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        // Into memory without a limit.
        self.tls.writer().write_all(bytes).map_err(|e| lost(&self.name, &e))?;
        self.flush().await
    }

    async fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        let mut have = 0;
        while have < bytes.len() {
            match self.tls.reader().read(&mut bytes[have..]) {
                Ok(0) => return Err(Error::Version { peer: self.name.clone(), theirs: None }.into()),
                Ok(count) => have += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match self.more().await {
                    Err(Broken { error: Error::Lost { .. }, alert: None }) if have > 0 => {
                        return Err(Error::Version { peer: self.name.clone(), theirs: None }.into());
                    }
                    result => result?,
                },
                Err(_) => return Err(Error::Version { peer: self.name.clone(), theirs: None }.into()),
            }
        }
        Ok(())
    }

    async fn refuse(mut self) {
        self.tls.send_close_notify();
        let gone = rustls::Error::General("refused".into());
        self.fail(&gone).await;
    }

    fn start(self, inbox: Arc<Inbox>, name: String, limits: &Limits, held: Held) -> Result<Outbox> {
        let system =
            |e: &dyn std::error::Error| Error::System { what: "hand over a connection", why: e.to_string() };
        let socket = self.stream.into_std().map_err(|e| system(&e))?;
        let queue = Arc::default();
        let wire = Wire::new((socket, self.tls), Arc::clone(&queue), inbox.clone(), name, limits.idle);
        let wire = wire.map_err(|e| system(&e))?;
        inbox.read_by(&wire);
        let (outbox, drain) = outbox(queue, Some(wire.clone()));
        let closing = self.closing;
        tokio::spawn(async move {
            pump::run(wire, drain, closing).await;
            drop(held);
        });
        Ok(outbox)
    }
}

/// Reads and writes without waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.try_write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
