//! Wires between processes: QUIC, or TLS 1.3 over TCP, with both ends known by their pinned public keys.
//!
//! The blocking side sees two types. An [`Endpoint`] is this process on the network: it listens, it dials.
//! A [`Link`] is one peer, a [`twoply_primitives::Channel`] whose sends queue and whose receives have a
//! deadline. Behind both, one thread per endpoint runs the network and nothing else, so that a party deep in
//! a matrix product still answers keep-alives.
//!
//! The transports differ behind one trait, `greet::Line`: `quic.rs` and `tcp.rs`. A listener takes both on
//! one port number; who dials chooses. All the rest is one code: on a link, one stream of bytes carries
//! frames (`frame.rs`); a link exists only after both ends have
//! proved their keys and exchanged a preamble (`preamble.rs`), because a TLS 1.3 client that is about to be
//! refused believes for half a round trip that it is connected.
//!
//! Callers are bounded in number before and after they have proved a key (`guests.rs`), and log lines about them
//! (`refusals.rs`).
//!
//! Memory per link is bounded: received bytes wait in an inbox of [`Limits::inbox`] bytes, for a caller that is not
//! admitted [`Limits::lobby`], beyond which the peer is held back by flow control; sent bytes wait in an outbox of [`Limits::outbox`] bytes, beyond which
//! `send` reports a peer that does not read. As `send` never waits, both sides may send first, whatever the
//! sizes of the inboxes.
//!
//! An endpoint may be told to emulate longer and slower links than it has (`emulate.rs`).

mod attempt;
mod dial;
mod door;
mod emulate;
mod ending;
mod endpoint;
mod error;
mod file;
#[cfg(test)]
mod flooded;
mod frame;
mod greet;
mod guests;
#[cfg(test)]
mod hostile;
mod inbox;
mod knock;
mod link;
mod outbox;
mod preamble;
mod quic;
mod reason;
mod refusals;
mod socket;
mod tcp;
mod tls;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub use dial::{Dial, Transport};
pub use emulate::{NoShape, Shape};
pub use ending::{Cause, Ending, Loss};
pub use endpoint::Endpoint;
pub use error::{Error, Seconds};
pub use frame::{CONTROL_CAP, PAYLOAD_CAP};
pub use link::{Link, Traffic};
pub use preamble::{Role, WIRE_VERSION};
pub use reason::{Detail, Label, Reason};

use crate::identity::Fingerprint;

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Received bytes held for a link that a service has not admitted: some control messages.
const LOBBY: usize = CONTROL_CAP;

/// How long an ABORT may wait for the bytes queued before it, and for the peer's acknowledgement.
const LINGER: Duration = Duration::from_millis(500);

/// Whose calls an endpoint takes.
#[derive(Clone)]
pub struct Accept(Arc<dyn Fn(&Fingerprint) -> bool + Send + Sync>);

impl Accept {
    /// Nobody's: an endpoint that only dials.
    pub fn nobody() -> Self {
        Self(Arc::new(|_| false))
    }

    /// Those whose keys are listed.
    pub fn these(keys: impl IntoIterator<Item = Fingerprint>) -> Self {
        let keys: HashSet<Fingerprint> = keys.into_iter().collect();
        Self(Arc::new(move |key| keys.contains(key)))
    }

    /// Those of whom `rule` says yes. It runs on the network thread: it must be quick and must not block.
    pub fn by(rule: impl Fn(&Fingerprint) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    pub(crate) fn takes(&self, key: &Fingerprint) -> bool {
        (self.0)(key)
    }
}

/// Bounds on time and memory, and what links emulate. The defaults suit two servers; tests make bounds small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Silence after which a connection counts as dead. Keep-alives are sent at a quarter of it, over QUIC every two seconds at least.
    pub idle: Duration,
    /// Time for a caller's first byte.
    pub first_byte: Duration,
    /// Time for one caller to finish its handshake with us, from its first byte on.
    pub handshake: Duration,
    /// How long a new link's `recv` waits for a silent peer; see [`Link::set_patience`].
    pub patience: Duration,
    /// Received bytes held per link before the peer is held back.
    pub inbox: usize,
    /// The same for a caller's link that is not admitted; see [`Link::admit`]. Not for reserved keys.
    pub lobby: usize,
    /// Sent bytes held per link before `send` gives up on a peer that does not read.
    pub outbox: usize,
    /// Callers held at once, over both transports, who have not finished their handshakes; for more, the oldest goes.
    pub unfinished: usize,
    /// Of these, those of one address (of IPv6: one /64) once half of the places are taken.
    pub unfinished_per_address: usize,
    /// Links of callers held at once; more callers are told to come back.
    pub connections: usize,
    /// Links that one key may have at once; more are told to come back.
    pub links_per_key: usize,
    /// Keys for which there is always room, in the role of a party: the peer's, without which nothing goes. Of each, a
    /// new link takes the place of an older one, whose owner is told [`Error::Replaced`]: one peer, one link.
    pub reserved: Vec<Fingerprint>,
    /// What every link adds to the real one.
    pub link: Shape,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(20),
            first_byte: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            inbox: 64 << 20,
            lobby: 64 << 20,
            outbox: 1 << 30,
            unfinished: 256,
            unfinished_per_address: 16,
            connections: 64,
            links_per_key: 8,
            reserved: Vec::new(),
            link: Shape::default(),
        }
    }
}

impl Limits {
    /// For a process that stays up and is called by many: links hold little until they are admitted, and `reserved`
    /// keys always get in.
    pub fn service(reserved: impl IntoIterator<Item = Fingerprint>) -> Self {
        Self { lobby: LOBBY, reserved: reserved.into_iter().collect(), ..Self::default() }
    }
}
