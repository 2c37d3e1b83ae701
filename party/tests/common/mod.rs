//! What the transport tests share: a connected pair in one call.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::Arc;
use std::time::Duration;

use twoply_party::identity::Identity;
use twoply_party::transport::{Accept, Dial, Endpoint, Limits, Link, Role};

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

/// P1 listens, P0 calls.
pub fn pair() -> Pair {
    pair_with(limits())
}

/// A pair with other limits.
pub fn pair_with(limits: Limits) -> Pair {
    let (mine, theirs) = (identity(), identity());
    let accept = Accept::these([mine.fingerprint()]);
    let listener = Endpoint::bind_with(theirs, Role::P1, anywhere(), accept, limits.clone()).unwrap();
    let caller = Endpoint::bind_with(mine, Role::P0, None, Accept::nobody(), limits).unwrap();
    let zero = caller.connect(&dial(&listener)).unwrap();
    let one = listener.accept(SOON).unwrap();
    ((caller, listener), zero, one)
}

/// A call to `listener` that expects its true key.
pub fn dial(listener: &Endpoint) -> Dial {
    Dial::new(listener.address().to_string(), listener.fingerprint()).within(SOON)
}
