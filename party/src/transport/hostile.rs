//! Tests: a peer with a good key and bad manners. It speaks raw bytes over either transport, with our TLS.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, TokioRuntime, VarInt};
use twoply_primitives::Channel;

use super::frame::{CONTROL_CAP, Kind};
use super::greet::{Line, Side};
use super::tls::Refused;
use super::*;
use crate::exit::{ExitCode, Failure};
use crate::identity::Identity;

const SOON: Duration = Duration::from_secs(30);

/// Listens as P1, lets a raw caller send `bytes` and then finish its stream, and returns what accept made of
/// it; over both transports. The caller stays connected until `check` is through.
fn meet(bytes: Vec<u8>, finish: bool, check: impl Fn(Result<Link>)) {
    meet_over(Transport::Quic, bytes.clone(), finish, &check);
    let (preamble, stream) = bytes.split_at(bytes.len().min(preamble::LENGTH));
    // What follows the preamble goes as a packet of kind 0.
    let packet = [&(stream.len() as u32).to_le_bytes()[..], stream].concat();
    let packet = if stream.is_empty() { Vec::new() } else { packet };
    meet_over(Transport::Tcp, [preamble, &packet].concat(), finish, check);
}

fn meet_over(via: Transport, bytes: Vec<u8>, finish: bool, check: impl Fn(Result<Link>)) {
    let (mine, theirs) = (Arc::new(Identity::ephemeral().unwrap()), Identity::ephemeral().unwrap());
    let limits =
        Limits { patience: Duration::from_secs(5), handshake: Duration::from_secs(2), ..Limits::default() };
    let accept = Accept::these([theirs.fingerprint()]);
    let endpoint = Endpoint::bind_with(mine.clone(), Role::P1, anywhere(), accept, limits).unwrap();
    let address = endpoint.address();
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let keys = (&theirs, mine.fingerprint(), Refused::default());
                if via == Transport::Quic {
                    let quinn = quic_client();
                    let transport = Arc::new(quic::transport(&Limits::default()).unwrap());
                    let line = quic::connect(&quinn, transport, (address, "x"), keys).await.unwrap();
                    misbehave(line, &bytes, finish, begun, left).await;
                } else {
                    let (_closing, closing) = tokio::sync::watch::channel(false);
                    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                    let line = tcp::connect(stream, (address, "x"), keys, closing).await.unwrap();
                    misbehave(line, &bytes, finish, begun, left).await;
                }
            });
        });
        let met = endpoint.accept(Duration::from_secs(4));
        drop(begin);
        check(met);
        drop(leave);
    });
}

/// Sends a preamble, or what stands for it, and the rest once it was taken: a link that is over before it is
/// taken is nobody's.
async fn misbehave(
    mut line: impl Line + Finish,
    bytes: &[u8],
    finish: bool,
    begun: tokio::sync::oneshot::Receiver<()>,
    left: tokio::sync::oneshot::Receiver<()>,
) {
    let (preamble, rest) = bytes.split_at(bytes.len().min(preamble::LENGTH));
    line.send(preamble).await.unwrap();
    if !rest.is_empty() {
        let _ = begun.await;
        // The listener may have hung up on the preamble.
        let _ = line.send(rest).await;
    }
    if finish {
        line.finish();
    }
    let _ = left.await;
}

/// A line that can say that no more will come.
pub(super) trait Finish {
    fn finish(&mut self);
}

fn anywhere() -> Option<SocketAddr> {
    Some(([127, 0, 0, 1], 0).into())
}

fn quic_client() -> quinn::Endpoint {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).unwrap()
}

/// A good preamble of P0, then `bytes`.
fn after_preamble(bytes: &[u8]) -> Vec<u8> {
    [&preamble::encode(Role::P0)[..], bytes].concat()
}

fn header(length: u32, kind: u8) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[kind]].concat()
}

#[test]
fn a_preamble_of_another_version_is_exit_7() {
    let mut bytes = preamble::encode(Role::P0);
    bytes[4] = 9;
    // The listener logs the stranger and goes on waiting: one bad caller must not stop a server.
    // When nobody else comes, it says what happened.
    meet(bytes.to_vec(), false, |met| {
        let error = met.unwrap_err();
        assert!(matches!(error, Error::Version { theirs: Some(9), .. }), "{error}");
        assert_eq!(Failure::from(error).code(), ExitCode::Version);
    });
}

#[test]
fn a_preamble_that_never_ends_or_ends_early_does_not_stop_the_listener() {
    meet(b"2pl".to_vec(), false, |met| assert!(matches!(met.unwrap_err(), Error::NobodyCame { .. })));
    for (bytes, finish) in [(&b"2pl"[..], true), (b"GET / HTTP/1.1\r\n\r\n", false)] {
        meet(bytes.to_vec(), finish, |met| {
            let error = met.unwrap_err();
            assert!(matches!(error, Error::Version { theirs: None, .. }), "{error}");
        });
    }
}

#[test]
fn a_length_that_the_plan_does_not_know_allocates_nothing() {
    for claimed in [0, 7, 9, u32::MAX] {
        meet(after_preamble(&header(claimed, Kind::Data as u8)), false, |met| {
            let mut link = met.unwrap();
            let error = link.recv_data(8).unwrap_err();
            assert!(matches!(error, Error::OutOfStep { .. }), "{claimed}: {error}");
            assert_eq!(link.recv_data(8).unwrap_err(), error, "the link is finished");
            assert_eq!(link.fault(), Some(&error));
            assert_eq!(link.send(b"x").unwrap_err().to_string(), format!("channel: {error}"));
        });
    }
}

#[test]
fn unknown_and_misplaced_frames_are_out_of_step() {
    for (kind, length) in [(0u8, 8u32), (5, 8), (255, 8), (Kind::Control as u8, 8), (Kind::Close as u8, 1)] {
        meet(after_preamble(&header(length, kind)), false, |met| {
            let error = met.unwrap().recv_data(8).unwrap_err();
            assert!(matches!(error, Error::OutOfStep { .. }), "{kind}: {error}");
            assert_eq!(Failure::from(error).code(), ExitCode::PlanMismatch);
        });
    }
}

#[test]
fn control_messages_over_the_cap_or_of_rubbish_are_refused() {
    for claimed in [CONTROL_CAP as u32 + 1, u32::MAX] {
        meet(after_preamble(&header(claimed, Kind::Control as u8)), false, |met| {
            let error = met.unwrap().recv_message::<Vec<u8>>().unwrap_err();
            assert!(matches!(&error, Error::Malformed { why, .. } if why.contains("limit")), "{error}");
        });
    }
    for payload in [&b"\xff\xff\xff\xff\x7f"[..], b"\x02a", b"\x00left over", b""] {
        let bytes = [&header(payload.len() as u32, Kind::Control as u8)[..], payload].concat();
        meet(after_preamble(&bytes), false, |met| {
            let error = met.unwrap().recv_message::<Vec<u8>>().unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{payload:?}: {error}");
        });
    }
}

#[test]
fn aborts_of_any_length_and_content_end_the_link_with_a_listed_reason() {
    for (claimed, payload) in [(0u32, &b""[..]), (3, b"\x0a\x01\x05"), (3, b"\xff\xff\xff"), (u32::MAX, b"")]
    {
        let bytes = [&header(claimed, Kind::Abort as u8)[..], payload].concat();
        meet(after_preamble(&bytes), false, |met| match met.unwrap().recv_data(8).unwrap_err() {
            Error::PeerFailed { reason, detail, .. } if payload.starts_with(b"\x0a") => {
                assert_eq!((reason, detail), (Reason::Failed(ExitCode::Range), Detail::Gate(5)));
            }
            Error::PeerFailed { reason, .. } => assert_eq!(reason, Reason::Unlisted),
            other => panic!("{other}"),
        });
    }
}

#[test]
fn half_a_message_and_then_the_end_is_an_error() {
    for bytes in [vec![8, 0], header(8, 1), [header(8, 1), vec![1, 2, 3]].concat()] {
        meet(after_preamble(&bytes), true, |met| {
            let error = met.unwrap().recv_data(8).unwrap_err();
            assert!(matches!(error, Error::Lost { .. }), "{error}");
        });
    }
}

#[test]
fn half_a_message_and_then_silence_is_an_error() {
    meet(after_preamble(&[&header(8, 1)[..], b"abc"].concat()), false, |met| {
        let mut link = met.unwrap();
        link.set_patience(Duration::from_millis(200));
        assert!(matches!(link.recv_data(8).unwrap_err(), Error::Lost { .. }));
        assert!(matches!(link.recv_data(8).unwrap_err(), Error::Lost { .. }), "the link is finished");
    });
}

/// A caller that shows our TLS but another protocol is told so by TLS itself.
#[test]
fn another_protocol_on_the_port_is_noticed() {
    let (mine, theirs) = (Arc::new(Identity::ephemeral().unwrap()), Arc::new(Identity::ephemeral().unwrap()));
    let accept = Accept::these([theirs.fingerprint()]);
    let endpoint = Endpoint::bind(mine.clone(), Role::P1, anywhere(), accept).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let name = rustls::pki_types::ServerName::try_from("x").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    let mut stream = TcpStream::connect(endpoint.address()).unwrap();
    let error = tls.complete_io(&mut stream).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let quinn = quic_client();
        let config = ClientConfig::new(Arc::new(config));
        let error = quinn.connect_with(config, endpoint.address(), "x").unwrap().await.unwrap_err();
        assert_eq!(quic::alert(&error), Some((Side::Theirs, 120)), "{error}");
        quinn.close(VarInt::from_u32(0), b"");
    });
    // The endpoint still works afterwards.
    let caller = Endpoint::bind(theirs, Role::P0, None, Accept::nobody()).unwrap();
    let dial = Dial::new(endpoint.address().to_string(), mine.fingerprint()).within(SOON);
    let link = caller.connect(&dial).unwrap();
    assert_eq!(endpoint.accept(SOON).unwrap().peer(), caller.fingerprint());
    drop(link);
}

/// Whoever speaks no TLS, or begins and never ends, costs one connection for the time of a handshake.
#[test]
fn rubbish_and_silence_over_tcp_do_not_stop_the_listener() {
    let mine = Arc::new(Identity::ephemeral().unwrap());
    let theirs = Arc::new(Identity::ephemeral().unwrap());
    let limits = Limits { handshake: Duration::from_secs(1), connections: 4, ..Limits::default() };
    let accept = Accept::these([theirs.fingerprint()]);
    let endpoint = Endpoint::bind_with(mine.clone(), Role::P1, anywhere(), accept, limits).unwrap();
    let strangers: Vec<TcpStream> = (0..12u8)
        .map(|i| {
            let mut stream = TcpStream::connect(endpoint.address()).unwrap();
            let bytes = match i % 3 {
                0 => &b""[..],
                1 => b"\x16\x03\x01\x02\x00\x01",
                _ => b"GET / HTTP/1.1\r\n\r\n",
            };
            // One too many may be hung up on at once.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    // Until their time is over there may be no room; a caller that keeps calling gets through.
    let caller = Endpoint::bind(theirs, Role::P0, None, Accept::nobody()).unwrap();
    let dial = Dial::new(endpoint.address().to_string(), mine.fingerprint());
    let mut link = caller.connect(&dial.within(SOON).over(Transport::Tcp)).unwrap();
    let mut other = endpoint.accept(SOON).unwrap();
    link.send(b"x").unwrap();
    assert_eq!(other.recv(1).unwrap(), b"x");
    drop(strangers);
}

#[test]
fn packets_of_no_kind_or_beyond_the_cap_end_the_link() {
    for packet in [[0, 0, 0, 9], [1, 0, 0, 1], [1, 0, 4, 0], [255, 255, 255, 0], [0, 0, 0, 2]] {
        let bytes = after_preamble(&packet);
        meet_over(Transport::Tcp, bytes, false, |met| {
            let error = met.unwrap().recv_data(8).unwrap_err();
            assert!(
                matches!(&error, Error::Lost { how, .. } if how.to_string().contains("packets")),
                "{error}"
            );
        });
    }
}

/// The peer's own close, with any code and payload, is a listed reason.
#[test]
fn closes_of_any_code_over_tcp_end_the_link_with_a_listed_reason() {
    for (packet, text) in [
        (&b"\x02\0\0\x02\0\0"[..], "closed the link"),
        (b"\x02\0\0\x02\x64\0", "interrupted"),
        (b"\x05\0\0\x02\xff\xfe\xff\xff\xff", "a reason this version does not know"),
    ] {
        meet_over(Transport::Tcp, after_preamble(packet), false, |met| {
            let error = met.unwrap().recv_data(8).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        });
    }
}
