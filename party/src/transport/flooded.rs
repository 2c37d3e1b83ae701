//! Tests: callers who send more than anybody asked for take little memory, and links get what they are admitted for.

use std::sync::Arc;
use std::time::Duration;

use twoply_primitives::Channel;

use super::*;
use crate::identity::Identity;

const SOON: Duration = Duration::from_secs(60);
/// What each of them sends.
const FLOOD: usize = 8 << 20;
/// What one read may bring beyond an inbox's limit.
const SLACK: usize = 32 << 10;

fn identity() -> Arc<Identity> {
    Arc::new(Identity::ephemeral().unwrap())
}

/// A service and links of `callers` to it over `via`, each of which has sent [`FLOOD`] bytes.
fn flooded(callers: u8, via: Transport, reserved: bool) -> (Vec<Endpoint>, Vec<Link>, Vec<Link>) {
    let keys: Vec<_> = (0..callers).map(|_| identity()).collect();
    let listed: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
    let limits = Limits::service(listed.iter().copied().filter(|_| reserved));
    let anywhere = Some(([127, 0, 0, 1], 0).into());
    let service = Endpoint::bind_with(identity(), Role::P0, anywhere, Accept::these(listed), limits).unwrap();
    let dial = Dial::new(service.address().to_string(), service.fingerprint()).within(SOON).over(via);
    let (mut ends, mut theirs, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let role = if reserved { Role::P1 } else { Role::Client };
    for (i, key) in keys.into_iter().enumerate() {
        let caller = Endpoint::bind(key, role, None, Accept::nobody()).unwrap();
        let mut link = caller.connect(&dial).unwrap();
        link.send(&vec![i as u8; FLOOD]).unwrap();
        ours.push(service.accept(SOON).unwrap());
        theirs.push(link);
        ends.push(caller);
    }
    ends.push(service);
    (ends, theirs, ours)
}

/// Waits until a link holds `bytes`.
fn hold(link: &Link, bytes: usize) {
    let until = std::time::Instant::now() + SOON;
    while link.held() < bytes {
        assert!(std::time::Instant::now() < until, "{} of {bytes}", link.held());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What came over QUIC's network and was not taken: in the inbox, or in quinn. Packets have heads.
fn brought(link: &Link, taken: usize) -> usize {
    let arrived = link.inbox().arrived().map_or(0, |bytes| bytes as usize);
    (arrived - arrived / 16).saturating_sub(taken)
}

#[test]
fn six_flooded_links_hold_little() {
    for via in [Transport::Tcp, Transport::Quic] {
        let (_ends, _theirs, ours) = flooded(6, via, false);
        ours.iter().for_each(|link| hold(link, LOBBY));
        // More would have come meanwhile.
        std::thread::sleep(Duration::from_millis(300));
        for link in &ours {
            assert!(link.held() <= 2 * LOBBY + SLACK, "{via:?}: {}", link.held());
            assert!(brought(link, 0) <= 2 * LOBBY + 2 * SLACK, "{via:?}: {}", brought(link, 0));
        }
        let all: usize = ours.iter().map(|link| link.held() + brought(link, 0)).sum();
        assert!(all < 2 << 20, "{via:?}: {all}");
    }
}

#[test]
fn an_unadmitted_link_is_slow_but_whole() {
    for via in [Transport::Tcp, Transport::Quic] {
        let (_ends, _theirs, mut ours) = flooded(1, via, false);
        assert!(ours[0].recv(FLOOD).unwrap() == vec![0; FLOOD]);
    }
}

#[test]
fn a_link_gets_what_it_is_admitted_for_once() {
    const GRANT: usize = 2 << 20;
    for via in [Transport::Tcp, Transport::Quic] {
        let (_ends, mut theirs, mut ours) = flooded(1, via, false);
        let link = &mut ours[0];
        link.admit(GRANT);
        hold(link, GRANT);
        assert!(link.held() <= GRANT + LOBBY + SLACK, "{via:?}: {}", link.held());
        assert!(brought(link, 0) <= GRANT + 2 * LOBBY + 2 * SLACK, "{via:?}: {}", brought(link, 0));
        // The rest of the first message, however large it is.
        assert!(link.recv(FLOOD).unwrap() == vec![0; FLOOD]);
        link.restrict();
        theirs[0].send(&vec![1; FLOOD]).unwrap();
        hold(link, LOBBY);
        std::thread::sleep(Duration::from_millis(300));
        // over QUIC, what it was told before that it may send stays allowed
        assert!(link.held() <= 2 * LOBBY + SLACK, "{via:?}: {}", link.held());
        assert!(
            brought(link, FLOOD) <= 2 * LOBBY + 2 * SLACK + FLOOD / 8,
            "{via:?}: {}",
            brought(link, FLOOD)
        );
        // Again, for another request.
        link.admit(FLOOD);
        hold(link, FLOOD);
        assert!(link.recv(FLOOD).unwrap() == vec![1; FLOOD]);
    }
}

#[test]
fn links_of_reserved_keys_and_of_calls_are_open_from_the_start() {
    for via in [Transport::Tcp, Transport::Quic] {
        let (_ends, mut theirs, mut ours) = flooded(1, via, true);
        hold(&ours[0], FLOOD);
        ours[0].send(&vec![3; FLOOD]).unwrap();
        hold(&theirs[0], FLOOD);
        assert!(theirs[0].recv(FLOOD).unwrap() == vec![3; FLOOD]);
    }
}
