//! What the transport tests share: a connected pair in one call.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::Arc;
use std::time::Duration;

use twoply_party::identity::Identity;
use twoply_party::transport::{Accept, Dial, Endpoint, Limits, Link, Role, Transport};

/// Long enough for any machine; nothing here is a measurement.
pub const SOON: Duration = Duration::from_secs(60);

/// A fresh key.
pub fn identity() -> Arc<Identity> {
    Arc::new(Identity::ephemeral().unwrap())
}

/// Limits that end a failing test early.
pub fn limits() -> Limits {
    Limits { patience: SOON, ..Limits::default() }
}

/// Any free port on this machine.
pub fn anywhere() -> Option<std::net::SocketAddr> {
    Some(([127, 0, 0, 1], 0).into())
}

/// The endpoints (P0's, which called, and P1's, which listened) and the ends of one link: P0's and P1's. Bind
/// the endpoints first, so that they are dropped last.
pub type Pair = ((Endpoint, Endpoint), Link, Link);

/// The transport after which a module of tests is named.
pub fn named(module: &str) -> Transport {
    match module.rsplit("::").next() {
        Some("quic") => Transport::Quic,
        Some("tcp") => Transport::Tcp,
        _ => panic!("{module} is named after no transport"),
    }
}

/// P1 listens, P0 calls, over whatever suits.
pub fn pair() -> Pair {
    pair_with(limits(), Transport::Auto)
}

/// A pair with other limits.
pub fn pair_with(limits: Limits, via: Transport) -> Pair {
    let (mine, theirs) = (identity(), identity());
    let accept = Accept::these([mine.fingerprint()]);
    let listener = Endpoint::bind_with(theirs, Role::P1, anywhere(), accept, limits.clone()).unwrap();
    let caller = Endpoint::bind_with(mine, Role::P0, None, Accept::nobody(), limits).unwrap();
    let zero = caller.connect(&dial(&listener, via)).unwrap();
    let one = listener.accept(SOON).unwrap();
    ((caller, listener), zero, one)
}

/// A call to `listener` that expects its true key.
pub fn dial(listener: &Endpoint, via: Transport) -> Dial {
    Dial::new(listener.address().to_string(), listener.fingerprint()).within(SOON).over(via)
}
