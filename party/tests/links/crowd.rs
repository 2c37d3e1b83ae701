//! Strangers in numbers before the door: they cost little, say little in the log, and lock nobody out.

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{SOON, anywhere, dial, identity, limits};
use twoply_party::identity::Identity;
use twoply_party::transport::{Accept, Endpoint, Limits, Role, Transport};
use twoply_primitives::Channel;

/// Silent connections, as in the flood that once locked a party.
const CROWD: usize = 1560;
/// How many of them are kept open on this side: a process may have 1024 files.
const KEPT: usize = 500;

/// Lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log of this process, from now on.
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    }

    /// Its lines about callers so far, which are then forgotten.
    fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.retain(|line| line.contains("caller"));
        lines
    }
}

/// A listener and a caller that it takes.
fn pair(limits: Limits) -> (Endpoint, Arc<Identity>) {
    let key = identity();
    let accept = Accept::these([key.fingerprint()]);
    (Endpoint::bind_with(identity(), Role::P0, anywhere(), accept, limits).unwrap(), key)
}

/// The caller gets in, and is served.
fn visit(listener: &Endpoint, key: &Arc<Identity>) {
    for via in [Transport::Tcp, Transport::Quic] {
        let me = Endpoint::bind(key.clone(), Role::Client, None, Accept::nobody()).unwrap();
        let mut link = me.connect(&dial(listener, via)).unwrap();
        link.send(b"hello").unwrap();
        let mut other = listener.accept(SOON).unwrap();
        assert_eq!(other.recv(5).unwrap(), b"hello");
        other.close(SOON).unwrap();
        link.close(SOON).unwrap();
    }
}

/// Whether a connection is still open at the other end.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut stream = stream;
    matches!(stream.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
}

/// First packets of calls over QUIC that go no further, each of another call.
fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"twoply/1".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let recorder = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = recorder.local_addr().unwrap();
        let quinn = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let (mut packets, mut ids, mut buffer) = (Vec::new(), HashSet::new(), [0; 2000]);
        while packets.len() < count {
            let calling = quinn.connect_with(config.clone(), address, "x").unwrap();
            loop {
                let length = recorder.recv(&mut buffer).await.unwrap();
                // Flags, version, length of the id, id; others are repetitions of earlier calls.
                if length >= 1200 && ids.insert(buffer[6..14].to_vec()) {
                    packets.push(buffer[..length].to_vec());
                    break;
                }
            }
            drop(calling);
        }
        packets
    })
}

#[test]
fn strangers_are_bounded_in_number_time_and_words_and_lock_nobody_out() {
    let log = Log::start();

    // Over TCP, while honest callers come and go.
    let (listener, key) = pair(limits());
    let mut crowd = VecDeque::new();
    for i in 0..CROWD {
        crowd.push_back(TcpStream::connect(listener.address()).unwrap());
        if crowd.len() > KEPT {
            crowd.pop_front();
        }
        if i % 390 == 389 {
            visit(&listener, &key);
        }
    }
    let open = crowd.iter().filter(|stream| is_open(stream)).count();
    assert!(open <= Limits::default().unfinished, "{open} are held");
    visit(&listener, &key);
    drop(listener);
    let said = log.take();
    assert!(!said.is_empty() && said.len() <= 12, "{}: {said:#?}", said.len());

    // A silent caller has little time, whatever a handshake may take, and one that begins and goes silent not much more.
    let (quick, ages) = (Duration::from_millis(300), Duration::from_secs(3600));
    for (bytes, handshake) in [(&b""[..], ages), (b"\x16\x03\x01\x02\x00\x01", quick)] {
        let (listener, _) = pair(Limits { first_byte: quick, handshake, ..limits() });
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "hung up on after {bytes:?}");
    }

    // Over QUIC: first packets alone, then honest callers.
    let (listener, key) = pair(limits());
    let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (packet, socket) in first_packets(400).iter().zip(sockets.iter().cycle()) {
        socket.send_to(packet, listener.address()).unwrap();
    }
    visit(&listener, &key);
    // Half of the places may be taken without a proof of the address; the others had to show it.
    let mut retries = 0;
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2000];
        while let Ok(length) = socket.recv(&mut buffer) {
            // A long header of type 3 (RFC 9000, section 17.2.5).
            if length > 0 && buffer[0] & 0xf0 == 0xf0 {
                retries += 1;
            }
        }
    }
    assert!(retries >= 100, "most had to prove their address");
    drop(listener);
    let said = log.take();
    assert!(said.len() <= 12, "{}: {said:#?}", said.len());
}
