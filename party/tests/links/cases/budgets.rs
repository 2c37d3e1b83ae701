//! How many links a listener takes: of one key, of all, and of a peer for which there is always room.

use crate::common::{self, SOON, anywhere, identity, limits};
use std::time::Duration;
use twoply_party::exit::{ExitCode, Failure};
use twoply_party::transport::{
    Accept, Cause, Dial, Ending, Endpoint, Error, Limits, Link, Reason, Role, Transport,
};
use twoply_primitives::Channel;

fn via() -> Transport {
    common::named(module_path!())
}

fn calls(within: Duration, listener: &Endpoint, caller: &Endpoint) -> Result<Link, Error> {
    let dial = Dial::new(listener.address().to_string(), listener.fingerprint());
    caller.connect(&dial.within(within).over(via()))
}

fn is_busy(error: &Error) -> bool {
    assert_eq!(error.ending(), Ending::Busy, "{error}");
    assert_eq!(Failure::from(error.clone()).code(), ExitCode::Unreachable);
    matches!(error, Error::Unreachable { cause: Cause::Told(Reason::Busy), .. })
}

#[test]
fn the_peer_gets_in_although_all_places_are_taken() {
    let [peer, owner, other] = [(); 3].map(|()| identity());
    let keys = [&peer, &owner, &other].map(|key| key.fingerprint());
    let limits = Limits { connections: 3, links_per_key: 2, reserved: vec![keys[0]], ..limits() };
    let listener =
        Endpoint::bind_with(identity(), Role::P0, anywhere(), Accept::these(keys), limits).unwrap();
    let dialer = |key, role| Endpoint::bind(key, role, None, Accept::nobody()).unwrap();
    let (peer, owner, other) =
        (dialer(peer, Role::P1), dialer(owner, Role::Client), dialer(other, Role::Client));
    let mut links = Vec::new();
    let mut take = |caller: &Endpoint| {
        let link = calls(SOON, &listener, caller).unwrap();
        links.push((listener.accept(SOON).unwrap(), link));
    };
    // One key has its links ...
    take(&owner);
    take(&owner);
    let soon = Duration::from_millis(500);
    assert!(is_busy(&calls(soon, &listener, &owner).unwrap_err()));
    // ... which keep nobody else out, until all are taken.
    take(&other);
    assert!(is_busy(&calls(soon, &listener, &other).unwrap_err()));
    take(&peer);
    take(&peer);
    let (mut newest, mut mine) = links.pop().unwrap();
    mine.send(b"x").unwrap();
    assert_eq!(newest.recv(1).unwrap(), b"x");
    // its caller stays: a link that is let go of may say so first
    let (mut replaced, _caller) = links.pop().unwrap();
    assert!(matches!(replaced.recv_message::<u8>(), Err(Error::Replaced { .. })));
}

/// A link that ends makes room for whoever keeps calling.
#[test]
fn room_is_made_by_those_who_leave() {
    let key = identity();
    let limits = Limits { links_per_key: 1, ..limits() };
    let accept = Accept::these([key.fingerprint()]);
    let listener = Endpoint::bind_with(identity(), Role::P0, anywhere(), accept, limits).unwrap();
    let caller = Endpoint::bind(key, Role::Client, None, Accept::nobody()).unwrap();
    for _ in 0..3 {
        let link = calls(SOON, &listener, &caller).unwrap();
        let other = listener.accept(SOON).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| other.close(SOON));
            link.close(SOON).unwrap();
        });
    }
}
