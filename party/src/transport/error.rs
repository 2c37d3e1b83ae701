//! What can go wrong on a wire, each with who or what is to blame. Mapped to exit codes in `exit.rs`.

use std::net::SocketAddr;

use super::ending::{Cause, Loss};
use super::preamble::WIRE_VERSION;
use super::reason::{Detail, Reason};
use crate::identity::Fingerprint;

/// Errors of endpoints and links. Texts never contain bytes that a peer sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no `host:port`.
    #[error("`{address}` is no address: {why}")]
    Address {
        /// The text.
        address: String,
        /// What is missing.
        why: &'static str,
    },
    /// A host name nobody knows.
    #[error("the host name in `{address}` cannot be resolved: {why}")]
    Name {
        /// The address as given.
        address: String,
        /// The resolver's answer.
        why: String,
    },
    /// The listening port is taken.
    #[error("{address} is in use by another process")]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The operating system refused a socket or a thread.
    #[error("cannot {what}: {why}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        why: String,
    },
    /// Nobody answers there.
    #[error("no answer from {address} within {waited} s: {cause}")]
    Unreachable {
        /// Whom we called.
        address: String,
        /// Time spent.
        waited: Seconds,
        /// What is known of it.
        cause: Cause,
    },
    /// Somebody else answers there.
    #[error("{address} shows key {found}, but {wanted} is expected there")]
    Stranger {
        /// Whom we called.
        address: String,
        /// The pinned key.
        wanted: Fingerprint,
        /// The key it shows.
        found: Fingerprint,
    },
    /// The other side does not take our key.
    #[error("{address} refuses this machine's key {mine}")]
    Refused {
        /// Whom we called.
        address: String,
        /// Our key.
        mine: Fingerprint,
    },
    /// Nobody whom we take called in time.
    #[error("nobody called within {waited} s")]
    NobodyCame {
        /// Time spent waiting.
        waited: Seconds,
    },
    /// Somebody called whom we do not take, and nobody else did.
    #[error("within {waited} s only a caller with key {found} came, which is not accepted here")]
    Uninvited {
        /// Time spent waiting.
        waited: Seconds,
        /// The key it showed.
        found: Fingerprint,
    },
    /// Somebody called, did not find the key it expected here, and nobody else did.
    #[error("within {waited} s only callers came who do not accept this machine's key {mine}")]
    Unwanted {
        /// Time spent waiting.
        waited: Seconds,
        /// Our key.
        mine: Fingerprint,
    },
    /// The other side speaks another version of the wire format, or something else altogether.
    #[error("{peer} does not speak wire version {WIRE_VERSION} but {}", spoken(theirs))]
    Version {
        /// Who.
        peer: String,
        /// Its version, where it told.
        theirs: Option<u16>,
    },
    /// The peer is connected but says nothing.
    #[error("{peer} has sent no {what} within {waited} s")]
    Silent {
        /// Who.
        peer: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Seconds,
    },
    /// The peer does not read what we send.
    #[error("{peer} does not take what is sent: {queued} bytes are waiting")]
    Stuck {
        /// Who.
        peer: String,
        /// Bytes in the outbox.
        queued: usize,
    },
    /// The connection broke.
    #[error("the connection to {peer} was lost: {how}")]
    Lost {
        /// Who.
        peer: String,
        /// How.
        how: Loss,
    },
    /// A caller has, or all callers have, too many links here.
    #[error("{peer} was told to come back: too many links are open")]
    TooMany {
        /// Who.
        peer: String,
    },
    /// The same peer came again, and its new link took this one's place.
    #[error("a newer link of {peer} has taken this one's place: it was started again, or runs twice")]
    Replaced {
        /// Who.
        peer: String,
    },
    /// The peer closed in order while we expected more.
    #[error("{peer} closed the link while more was expected")]
    Closed {
        /// Who.
        peer: String,
    },
    /// The peer sent something else than the program is at.
    #[error("{peer} is out of step: expected {wanted}, got {found}")]
    OutOfStep {
        /// Who.
        peer: String,
        /// What the program is at.
        wanted: String,
        /// What came.
        found: String,
    },
    /// A message beyond its size cap, or one that does not decode.
    #[error("{peer} sent an unusable message: {why}")]
    Malformed {
        /// Who.
        peer: String,
        /// What is wrong with it.
        why: String,
    },
    /// The peer stopped and said why.
    #[error("{peer} stopped: {reason}{detail}")]
    PeerFailed {
        /// Who.
        peer: String,
        /// Why, from a closed list.
        reason: Reason,
        /// Where, in one of few forms.
        detail: Detail,
    },
    /// A local file could not be read or written while it was being transferred.
    #[error("cannot {what}: {why}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        why: String,
    },
    /// A payload that no frame can carry, or a message over its own cap: a mistake on this side.
    #[error("a message of {length} bytes is over the limit of {cap}")]
    TooLong {
        /// Bytes to send.
        length: usize,
        /// Most that is allowed.
        cap: usize,
    },
    /// This process is to stop, and does not wait for the peer any longer.
    #[error("this process was told to stop")]
    Stopped,
    /// The endpoint behind the link is gone.
    #[error("this process's endpoint is closed")]
    Shut,
}

/// A duration in tenths of a second, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(u64);

impl From<std::time::Duration> for Seconds {
    fn from(time: std::time::Duration) -> Self {
        Self(u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

fn spoken(theirs: &Option<u16>) -> String {
    theirs.map_or_else(|| "something else".to_owned(), |version| format!("version {version}"))
}

impl From<Error> for twoply_primitives::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::PeerFailed { peer, reason, detail } => {
                Self::PeerFailed { peer, reason: format!("{reason}{detail}") }
            }
            other => Self::Channel(other.to_string()),
        }
    }
}
