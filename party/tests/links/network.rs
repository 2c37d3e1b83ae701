//! Bad networks: a relay between two endpoints that loses packets (QUIC), or everything from some moment on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::common::{SOON, anywhere, identity, limits};
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::transport::{Accept, Dial, Ending, Endpoint, Error, Limits, Link, Role, Transport};
use twoply_primitives::Channel;

/// Two endpoints with a relay between them.
struct Relayed {
    zero: Link,
    one: Link,
    ends: (Endpoint, Endpoint),
    /// One packet of this many is lost; 0 loses none, 1 all.
    loss: Arc<AtomicU32>,
    running: Arc<AtomicBool>,
}

fn relayed(limits: Limits, via: Transport) -> Relayed {
    relayed_to(limits, via, via)
}

/// A relay of packets or of streams alone, and a call over `call`.
fn relayed_to(limits: Limits, via: Transport, call: Transport) -> Relayed {
    let (mine, theirs) = (identity(), identity());
    let accept = Accept::these([mine.fingerprint()]);
    let listener = Endpoint::bind_with(theirs, Role::P1, anywhere(), accept, limits.clone()).unwrap();
    let (loss, running) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let address = if via == Transport::Quic {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        spawn_relay(front, back, listener.address(), loss.clone(), running.clone());
        address
    } else {
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        spawn_streams(front, listener.address(), loss.clone(), running.clone());
        address
    };
    let caller = Endpoint::bind_with(mine, Role::P0, None, Accept::nobody(), limits).unwrap();
    let dial = Dial::new(address.to_string(), listener.fingerprint()).within(SOON).over(call);
    let zero = caller.connect(&dial).unwrap();
    let one = listener.accept(SOON).unwrap();
    Relayed { zero, one, ends: (caller, listener), loss, running }
}

/// Packets to `front` leave by `back` and the other way round, for one caller. `back` is not connected: a connected socket
/// looks closed to all but its peer's one port.
fn spawn_relay(
    front: UdpSocket,
    back: UdpSocket,
    callee: SocketAddr,
    loss: Arc<AtomicU32>,
    running: Arc<AtomicBool>,
) {
    let caller = Arc::new(std::sync::Mutex::new(None));
    let pump = move |from: UdpSocket, to: UdpSocket, inward: bool| {
        from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (loss, running, caller) = (loss.clone(), running.clone(), caller.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            let mut count = 0u32;
            while running.load(Ordering::Relaxed) {
                let Ok((length, sender)) = from.recv_from(&mut buffer) else { continue };
                count += 1;
                let one_in = loss.load(Ordering::Relaxed);
                if one_in > 0 && count.is_multiple_of(one_in) {
                    continue;
                }
                let packet = &buffer[..length];
                // A full buffer on the way loses the packet too, as networks do.
                let _ = if inward {
                    *caller.lock().unwrap() = Some(sender);
                    to.send_to(packet, callee)
                } else {
                    let caller = *caller.lock().unwrap();
                    caller.map_or(Ok(0), |caller| to.send_to(packet, caller))
                };
            }
        });
    };
    let (front2, back2) = (front.try_clone().unwrap(), back.try_clone().unwrap());
    pump(front, back, true);
    pump(back2, front2, false);
}

/// The same for one caller over TCP. A stream cannot lose some of its bytes: only a loss of all counts.
fn spawn_streams(front: TcpListener, back: SocketAddr, loss: Arc<AtomicU32>, running: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let (caller, _) = front.accept().unwrap();
        let callee = TcpStream::connect(back).unwrap();
        let pump = move |mut from: TcpStream, mut to: TcpStream| {
            from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let (loss, running) = (loss.clone(), running.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while running.load(Ordering::Relaxed) {
                    match from.read(&mut buffer) {
                        // A cut cable does not carry the end of a stream either.
                        Ok(0) if loss.load(Ordering::Relaxed) == 1 => {
                            std::thread::sleep(Duration::from_millis(50));
                        }
                        Ok(0) => break,
                        Ok(length) if loss.load(Ordering::Relaxed) != 1 => {
                            to.write_all(&buffer[..length]).unwrap();
                        }
                        _ => {}
                    }
                }
            });
        };
        pump(caller.try_clone().unwrap(), callee.try_clone().unwrap());
        pump(callee, caller);
    });
}

#[test]
fn lost_packets_cost_time_only() {
    let Relayed { mut zero, mut one, ends, loss, running } = relayed(limits(), Transport::Quic);
    loss.store(17, Ordering::Relaxed);
    let bytes: Vec<u8> = (0..2_000_000u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            zero.send(&bytes).unwrap();
            assert!(zero.recv(bytes.len()).unwrap() == bytes);
        });
        one.send(&bytes).unwrap();
        assert!(one.recv(bytes.len()).unwrap() == bytes);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| zero.close(SOON).unwrap());
        one.close(SOON).unwrap();
    });
    running.store(false, Ordering::Relaxed);
    drop(ends);
}

/// What a killed machine or a pulled cable looks like: no goodbye, only silence.
#[test]
fn a_cut_cable_is_an_error_on_both_sides_before_their_patience_ends() {
    for via in [Transport::Quic, Transport::Tcp] {
        cut_cable(via);
    }
}

fn cut_cable(via: Transport) {
    let quick = Limits { idle: Duration::from_secs(1), ..limits() };
    let Relayed { mut zero, mut one, ends, loss, running } = relayed(quick, via);
    zero.send(b"hello").unwrap();
    one.recv(5).unwrap();
    loss.store(1, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for link in [&mut zero, &mut one] {
            scope.spawn(move || {
                let error = link.recv(8).unwrap_err();
                // The cable, and not the process at its other end.
                assert_eq!(link.fault().map(Error::ending), Some(Ending::Cut));
                let failure = Failure::on_link(error, link);
                assert_eq!(failure.code(), ExitCode::Unreachable);
                assert!(failure.content().what.contains("nothing was heard"), "{failure}");
                assert!(failure.content().last_heard.is_some());
            });
        }
    });
    drop((zero, one));
    running.store(false, Ordering::Relaxed);
    drop(ends);
}

/// On this machine, TCP; where only packets get through, QUIC.
#[test]
fn auto_takes_what_gets_through() {
    for via in [Transport::Quic, Transport::Tcp] {
        let Relayed { mut zero, mut one, ends, running, .. } = relayed_to(limits(), via, Transport::Auto);
        assert_eq!((zero.transport(), one.transport()), (via, via));
        zero.send(b"x").unwrap();
        assert_eq!(one.recv(1).unwrap(), b"x");
        drop((zero, one));
        running.store(false, Ordering::Relaxed);
        drop(ends);
    }
}
