//! The UDP socket under an endpoint.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Result};

/// Wanted size of the kernel's datagram buffers, in bytes: some milliseconds at 10 Gbit/s.
const BUFFER: usize = 4 << 20;

/// A socket on `listen`, or on any free port when this process only dials.
pub(super) fn open(listen: Option<SocketAddr>) -> Result<UdpSocket> {
    let socket = match listen {
        Some(address) => bound(address),
        // Both families where the system has IPv6, else IPv4 alone.
        None => {
            bound((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| bound((Ipv4Addr::UNSPECIFIED, 0).into()))
        }
    };
    socket.map_err(|e| match (listen, e.kind()) {
        (Some(address), io::ErrorKind::AddrInUse) => Error::PortInUse { address },
        _ => Error::System { what: "open a UDP socket", why: e.to_string() },
    })
}

fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    enlarge(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Larger buffers lose fewer packets while the QUIC thread is not scheduled. A system that grants less still
/// works, only slower.
fn enlarge(socket: &Socket) {
    let granted = |set: io::Result<()>, size: io::Result<usize>| set.and(size).unwrap_or(0);
    let receive = granted(socket.set_recv_buffer_size(BUFFER), socket.recv_buffer_size());
    let send = granted(socket.set_send_buffer_size(BUFFER), socket.send_buffer_size());
    if receive.min(send) < BUFFER {
        tracing::warn!(
            wanted = BUFFER,
            receive,
            send,
            "the system clips UDP buffers; raise net.core.rmem_max and net.core.wmem_max for fast links"
        );
    }
}
