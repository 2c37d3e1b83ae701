//! The first eight bytes each side sends: who speaks, and which wire format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reason::{Detail, Reason};
use super::{Error, Result};

/// Version of frames and preamble. Both sides must have the same.
pub const WIRE_VERSION: u16 = 2;
const MAGIC: [u8; 4] = *b"2ply";

/// Last byte of a preamble: a listener that has room says 0.
const BUSY: u8 = 1;

/// Length of a preamble in bytes.
pub(super) const LENGTH: usize = 8;

/// What a process is, as it tells the other side. It is a claim: which key may claim what is the listener's
/// decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Role {
    /// Party 0.
    P0 = 0,
    /// Party 1.
    P1 = 1,
    /// Owner of the images.
    Client = 2,
    /// Owner of the weights.
    ModelOwner = 3,
    /// Maker of the keys.
    Dealer = 4,
    /// Somebody who only asks how things are.
    Probe = 5,
}

impl Role {
    fn from_byte(byte: u8) -> Option<Self> {
        use Role::{Client, Dealer, ModelOwner, P0, P1, Probe};
        [P0, P1, Client, ModelOwner, Dealer, Probe].into_iter().find(|&role| role as u8 == byte)
    }

    /// Whether the two are the two parties of one computation.
    pub fn opposite(self, other: Self) -> bool {
        matches!((self, other), (Role::P0, Role::P1) | (Role::P1, Role::P0))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::P0 => "P0",
            Role::P1 => "P1",
            Role::Client => "client",
            Role::ModelOwner => "model owner",
            Role::Dealer => "dealer",
            Role::Probe => "probe",
        })
    }
}

/// The preamble of a process in `role`.
pub(super) fn encode(role: Role) -> [u8; LENGTH] {
    let [low, high] = WIRE_VERSION.to_le_bytes();
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, low, high, role as u8, 0]
}

/// The preamble of a listener in `role` that has no room: the caller may come again.
pub(super) fn encode_busy(role: Role) -> [u8; LENGTH] {
    let [a, b, c, d, low, high, role, _] = encode(role);
    [a, b, c, d, low, high, role, BUSY]
}

/// The role in a preamble received from `peer`.
pub(super) fn decode(bytes: [u8; LENGTH], peer: &str) -> Result<Role> {
    let [a, b, c, d, low, high, role, state] = bytes;
    let version = |theirs| Err(Error::Version { peer: peer.to_owned(), theirs });
    if [a, b, c, d] != MAGIC {
        return version(None);
    }
    let theirs = u16::from_le_bytes([low, high]);
    if theirs != WIRE_VERSION {
        return version(Some(theirs));
    }
    match Role::from_byte(role) {
        Some(role) if state == 0 => Ok(role),
        Some(_) if state == BUSY => {
            Err(Error::PeerFailed { peer: peer.to_owned(), reason: Reason::Busy, detail: Detail::None })
        }
        _ => Err(Error::Malformed { peer: peer.to_owned(), why: "a preamble of no known role".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_round_trip_and_the_bytes_are_frozen() {
        assert_eq!(encode(Role::P1), *b"2ply\x02\x00\x01\x00");
        assert_eq!(encode_busy(Role::P1), *b"2ply\x02\x00\x01\x01");
        assert!(matches!(
            decode(encode_busy(Role::P1), "x"),
            Err(Error::PeerFailed { reason: Reason::Busy, .. })
        ));
        for role in [Role::P0, Role::P1, Role::Client, Role::ModelOwner, Role::Dealer, Role::Probe] {
            assert_eq!(decode(encode(role), "x"), Ok(role));
        }
    }

    #[test]
    fn every_changed_byte_is_refused_with_its_reason() {
        for at in 0..LENGTH {
            let mut bytes = encode(Role::P0);
            bytes[at] = bytes[at].wrapping_add(9);
            match decode(bytes, "x").unwrap_err() {
                Error::Version { theirs: None, .. } => assert!(at < 4, "{at}"),
                Error::Version { theirs: Some(_), .. } => assert!((4..6).contains(&at), "{at}"),
                Error::Malformed { .. } => assert!(at >= 6, "{at}"),
                other => panic!("{other}"),
            }
        }
    }
}
