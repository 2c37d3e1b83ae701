//! Asking a system whether a UDP port is closed. QUIC's own socket is not told: it has many peers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Time for an answer.
const WITHIN: Duration = Duration::from_millis(300);

/// Whether the system at `address` says that nobody listens there. A listener drops what this sends, one byte; silence
/// says nothing.
pub(super) async fn is_closed(address: SocketAddr) -> bool {
    // A system that gives no socket tells nothing.
    knock(address).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

async fn knock(address: SocketAddr) -> io::Result<()> {
    let to = address.ip().to_canonical();
    let any: IpAddr = match to.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((to, address.port())).await?;
    socket.send(&[0]).await?;
    match tokio::time::timeout(WITHIN, socket.recv(&mut [0])).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Ok(()),
    }
}
