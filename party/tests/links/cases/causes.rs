//! Why a call came to nothing and how a link came to its end: each way is told apart from the others.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::common::{self, SOON, identity, limits};
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::transport::{
    Accept, Cause, Detail, Dial, Ending, Endpoint, Error, Link, Reason, Role, Transport,
};

fn via() -> Transport {
    common::named(module_path!())
}

fn caller() -> Endpoint {
    Endpoint::bind(identity(), Role::P0, None, Accept::nobody()).unwrap()
}

fn call(address: SocketAddr, over: Transport) -> Dial {
    let within = Duration::from_millis(1200);
    Dial::new(address.to_string(), identity().fingerprint()).within(within).over(over)
}

/// The cause of a call in vain, by this transport and by whatever suits, once and again and again.
fn causes(address: SocketAddr) -> [Cause; 4] {
    let me = caller();
    let calls = [call(address, via()), call(address, Transport::Auto)];
    let each = calls.into_iter().flat_map(|call| [call.clone().once(), call]);
    let found: Vec<_> = each
        .map(|call| {
            let error = me.connect(&call).unwrap_err();
            assert_eq!(error.ending(), Ending::Absent, "{error}");
            let failure = Failure::from(error.clone());
            assert_eq!(failure.code(), ExitCode::Unreachable);
            match error {
                Error::Unreachable { cause, .. } => {
                    assert!(failure.to_string().contains(cause.remedy()), "{failure}");
                    cause
                }
                other => panic!("{other}"),
            }
        })
        .collect();
    found.try_into().unwrap()
}

/// A port of this machine for UDP and TCP.
fn port() -> (UdpSocket, TcpListener, SocketAddr) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp, address);
        }
    }
}

#[test]
fn a_closed_port_is_told() {
    let (udp, tcp, address) = port();
    drop((udp, tcp));
    assert_eq!(causes(address), [(); 4].map(|()| Cause::NobodyListens));
}

/// The port is open, as the system says, but the process behind it does not work.
#[test]
fn a_process_that_hangs_is_told() {
    let (_udp, _tcp, address) = port();
    let first = if via() == Transport::Quic { Cause::NoQuic } else { Cause::Mute };
    assert_eq!(causes(address), [first.clone(), first, Cause::Mute, Cause::Mute]);
}

/// Nothing comes back, as where a firewall drops packets: here, a listener whose queue is full.
#[test]
fn silence_is_told() {
    let (_udp, tcp, address) = port();
    let socket = socket2::SockRef::from(&tcp);
    socket.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue is never full");
    }
    assert_eq!(causes(address), [(); 4].map(|()| Cause::NoAnswer));
}

/// Something answers that speaks no TLS, or hangs up.
#[test]
fn something_else_on_the_port_is_told() {
    let (_udp, tcp, address) = port();
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let mut stream = stream;
            // Whoever hung up meanwhile has heard enough.
            let _ = stream.write_all(b"SSH-2.0-x\r\nHTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = caller().connect(&call(address, Transport::Tcp)).unwrap_err();
    assert!(matches!(error, Error::Version { theirs: None, .. }), "{error}");
    assert_eq!((error.ending(), Failure::from(error).code()), (Ending::Foreign, ExitCode::Version));

    let (_udp, tcp, address) = port();
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    match caller().connect(&call(address, Transport::Tcp)).unwrap_err() {
        Error::Unreachable { cause: Cause::HungUp(_), .. } => {}
        other => panic!("{other}"),
    }
}

/// How the other side left, as one end of a link is told.
fn left(leave: impl FnOnce(Link)) -> Error {
    let (_ends, mut zero, one) = common::pair_with(limits(), via());
    leave(one);
    zero.recv_message::<u8>().unwrap_err()
}

#[test]
fn a_stop_is_told_from_a_failure_and_a_crash() {
    assert_eq!(left(|link| link.close(SOON).unwrap()).ending(), Ending::Stopped);
    assert_eq!(left(|link| link.abort(Reason::Interrupted, Detail::None)).ending(), Ending::Stopped);
    let failed = Reason::Failed(ExitCode::Device);
    assert_eq!(left(|link| link.abort(failed, Detail::None)).ending(), Ending::Failed);
    // Merely let go of, as where an error of another kind ends the work: no mistake of the program.
    let dropped = left(drop);
    assert_eq!(dropped.ending(), Ending::Stopped);
    assert!(!dropped.to_string().contains("internal"), "{dropped}");
}
