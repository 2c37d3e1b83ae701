//! Peers that die, come back, or are suspended: real processes, over both transports. This binary is the peer too: it
//! runs itself, and finds in its environment what to do.

#![allow(clippy::print_stdout, reason = "the peer's process speaks to the test that started it")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{SOON, anywhere, identity};
use rustix::process::{Pid, Signal, kill_process};
use twoply_party::exit::Failure;
use twoply_party::identity::{Fingerprint, Identity};
use twoply_party::transport::{Accept, Dial, Ending, Endpoint, Error, Limits, Link, Loss, Role, Transport};

const BOTH: [Transport; 2] = [Transport::Quic, Transport::Tcp];

/// So long that no test ends by it: a peer's death must be noticed otherwise.
fn limits() -> Limits {
    Limits { idle: Duration::from_secs(3600), ..crate::common::limits() }
}

/// What the peer shall do, as its environment says.
struct Orders<'a> {
    /// Its key.
    key: &'a Path,
    /// Whom it calls, or `listen`.
    verb: &'a str,
    /// Where it calls or listens.
    address: SocketAddr,
    /// The other side's key.
    other: Fingerprint,
    via: Transport,
    /// Milliseconds for a call.
    within: u64,
}

/// Another process, which ends with this value.
struct Peer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Peer {
    fn start(orders: &Orders) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "returning::the_peer", "--ignored", "--nocapture"])
            .env("PEER_KEY", orders.key)
            .env("PEER_VERB", orders.verb)
            .env("PEER_ADDRESS", orders.address.to_string())
            .env("PEER_OTHER", orders.other.to_string())
            .env("PEER_VIA", if orders.via == Transport::Quic { "quic" } else { "tcp" })
            .env("PEER_WITHIN", orders.within.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The rest of the next line that begins with `peer `.
    fn says(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the peer speaks").unwrap();
            if let Some((_, said)) = line.split_once("peer: ") {
                return said.to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// No goodbye.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peer's process. Without orders there is nothing to do.
#[test]
#[ignore = "the other tests start it"]
fn the_peer() {
    let Ok(key) = std::env::var("PEER_KEY") else { return };
    let order = |name: &str| std::env::var(name).unwrap();
    let key = Arc::new(Identity::load(Path::new(&key)).unwrap());
    let (address, other): (SocketAddr, Fingerprint) =
        (order("PEER_ADDRESS").parse().unwrap(), order("PEER_OTHER").parse().unwrap());
    let link = if order("PEER_VERB") == "listen" {
        let accept = Accept::these([other]);
        let me = Endpoint::bind_with(key, Role::P0, Some(address), accept, limits()).unwrap();
        println!("peer: {}", me.address());
        me.accept(SOON).map(|link| (me, link))
    } else {
        let me = Endpoint::bind_with(key, Role::P1, None, Accept::nobody(), limits()).unwrap();
        println!("peer: calls");
        let within = Duration::from_millis(order("PEER_WITHIN").parse().unwrap());
        let dial =
            Dial::new(address.to_string(), other).within(within).over(order("PEER_VIA").parse().unwrap());
        me.connect(&dial).map(|link| (me, link))
    };
    let error = match link {
        Ok((_me, mut link)) => {
            println!("peer: linked");
            link.set_patience(SOON);
            link.recv_message::<u8>().unwrap_err()
        }
        Err(error) => error,
    };
    println!("peer: {:?} {error} / {}", error.ending(), Failure::from(error.clone()));
}

/// A key file and its fingerprint.
fn key(folder: &Path) -> (std::path::PathBuf, Fingerprint) {
    let path = folder.join("id.pem");
    let print = Identity::create(&path).unwrap().fingerprint();
    (path, print)
}

fn end(link: &mut Link) -> Error {
    link.recv_message::<u8>().unwrap_err()
}

/// P1 is killed and comes back at once: P0's reader of the old link is told at once, whatever the idle timeout.
#[test]
fn a_peer_that_comes_back_replaces_its_dead_link() {
    let folder = tempfile::tempdir().unwrap();
    let (key, print) = key(folder.path());
    for via in BOTH {
        let limits = Limits { reserved: vec![print], connections: 0, ..limits() };
        let accept = Accept::these([print]);
        let me = Endpoint::bind_with(identity(), Role::P0, anywhere(), accept, limits).unwrap();
        let (address, other) = (me.address(), me.fingerprint());
        let orders = Orders { key: &key, verb: "call", address, other, via, within: 30_000 };
        let first = Peer::start(&orders);
        let mut old = me.accept(SOON).unwrap();
        let error = std::thread::scope(|scope| {
            let reader = scope.spawn(|| end(&mut old));
            first.kill();
            let second = Peer::start(&orders);
            let new = me.accept(SOON).unwrap();
            assert!(new.is_alive());
            let error = reader.join().unwrap();
            drop((new, second));
            error
        });
        match via {
            Transport::Quic => assert!(matches!(error, Error::Replaced { .. }), "{error}"),
            // Here the peer's system said so before it came back.
            _ => assert_eq!(error.ending(), Ending::Crashed, "{error}"),
        }
        assert!(error.ending().may_return());
    }
}

/// The same key from two processes: the older one is told, and knows from it that its key has a copy.
#[test]
fn a_clone_takes_the_place_of_a_peer_that_lives_and_both_sides_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (key, print) = key(folder.path());
    for via in BOTH {
        let limits = Limits { reserved: vec![print], ..limits() };
        let accept = Accept::these([print]);
        let me = Endpoint::bind_with(identity(), Role::P0, anywhere(), accept, limits).unwrap();
        let (address, other) = (me.address(), me.fingerprint());
        let orders = Orders { key: &key, verb: "call", address, other, via, within: 30_000 };
        let mut first = Peer::start(&orders);
        assert_eq!([first.says(), first.says()], ["calls", "linked"]);
        let mut old = me.accept(SOON).unwrap();
        let _second = Peer::start(&orders);
        let new = me.accept(SOON).unwrap();
        assert!(matches!(end(&mut old), Error::Replaced { .. }));
        let said = first.says();
        assert!(
            said.starts_with("Ousted") && said.contains("runs twice") | said.contains("run twice"),
            "{said}"
        );
        assert!(new.is_alive(), "the newer one stays");
    }
}

/// P0 is killed and comes back on its port: P1 is told with its next sign of life.
#[test]
fn a_listener_that_was_started_again_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (key, print) = key(folder.path());
    for via in BOTH {
        let me = Endpoint::bind_with(identity(), Role::P1, None, Accept::nobody(), limits()).unwrap();
        let other = me.fingerprint();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut first = Peer::start(&Orders { key: &key, verb: "listen", address, other, via, within: 0 });
        let address: SocketAddr = first.says().parse().unwrap();
        let dial = Dial::new(address.to_string(), print).within(SOON).over(via);
        let mut old = me.connect(&dial).unwrap();
        assert_eq!(first.says(), "linked");
        first.kill();
        let mut second = Peer::start(&Orders { key: &key, verb: "listen", address, other, via, within: 0 });
        second.says();
        let error = end(&mut old);
        assert_eq!(error.ending(), Ending::Crashed, "{error}");
        if via == Transport::Quic {
            let restarted = matches!(&error, Error::Lost { how: Loss::Restarted | Loss::Died, .. });
            assert!(restarted, "{error}");
        }
        assert!(me.connect(&dial).unwrap().is_alive());
    }
}

/// A process that is killed is told from a cable that is cut, over QUIC too.
#[test]
fn a_peer_that_died_is_noticed_though_nobody_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (key, print) = key(folder.path());
    for via in BOTH {
        let accept = Accept::these([print]);
        let me = Endpoint::bind_with(identity(), Role::P0, anywhere(), accept, limits()).unwrap();
        let (address, other) = (me.address(), me.fingerprint());
        let peer = Peer::start(&Orders { key: &key, verb: "call", address, other, via, within: 30_000 });
        let mut link = me.accept(SOON).unwrap();
        peer.kill();
        let error = end(&mut link);
        assert!(matches!(error, Error::Lost { how: Loss::Died, .. }), "{error}");
        assert_eq!(error.ending(), Ending::Crashed);
        assert!(!Failure::from(error).to_string().contains("internal"));
    }
}

/// Stopped for longer than its call may take, a process finds all its deadlines passed at once.
#[test]
fn a_suspended_caller_reports_nobody_there_and_no_mistake_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = key(folder.path());
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    let other = identity().fingerprint();
    for via in BOTH {
        let mut peer = Peer::start(&Orders { key: &key, verb: "call", address, other, via, within: 700 });
        assert_eq!(peer.says(), "calls");
        peer.signal(Signal::STOP);
        // Beyond its deadline, and any slack of it.
        std::thread::sleep(Duration::from_secs(4));
        peer.signal(Signal::CONT);
        let said = peer.says();
        assert!(said.starts_with("Absent no answer from"), "{said}");
        assert!(!said.contains("internal") && !said.contains("report it"), "{said}");
    }
}
