//! The sockets under an endpoint: one for UDP, and for listeners one for TCP on the same port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Result};

/// Wanted size of the kernel's datagram buffers, in bytes: some milliseconds at 10 Gbit/s. Those of TCP
/// grow by themselves.
const BUFFER: usize = 4 << 20;
/// Callers over TCP that may wait to be taken.
const BACKLOG: i32 = 128;
/// How often a port is drawn that is free for UDP but taken for TCP.
const DRAWS: usize = 16;

/// Sockets on `listen`, or one on any free port when this process only dials.
pub(super) fn open(listen: Option<SocketAddr>) -> Result<(UdpSocket, Option<TcpListener>)> {
    let sockets = match listen {
        Some(address) => both(address).map(|(udp, tcp)| (udp, Some(tcp))),
        // Both families where the system has IPv6, else IPv4 alone.
        None => datagrams((Ipv6Addr::UNSPECIFIED, 0).into())
            .or_else(|_| datagrams((Ipv4Addr::UNSPECIFIED, 0).into()))
            .map(|udp| (udp, None)),
    };
    sockets.map_err(|e| match (listen, e.kind()) {
        (Some(address), io::ErrorKind::AddrInUse) => Error::PortInUse { address },
        _ => Error::System { what: "open a socket", why: e.to_string() },
    })
}

/// UDP and TCP on one port, drawn if it is 0.
fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut draws = if address.port() == 0 { DRAWS } else { 1 };
    loop {
        let udp = datagrams(address)?;
        draws -= 1;
        match streams(udp.local_addr()?) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && draws > 0 => {}
            tcp => return Ok((udp, tcp?)),
        }
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    enlarge(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn streams(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A restarted party must not wait for the system to forget its old connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Larger buffers lose fewer packets while the network thread is not scheduled. A system that grants less still
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
