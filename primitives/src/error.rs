//! What can go wrong below the command line. Each variant names the place and, where one exists, the remedy.

use crate::wire::PartyId;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of gates, channels and key sources.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands whose shapes, widths or counts a gate cannot take.
    #[error("{at}: {why}")]
    Shape {
        /// Gate or map that refused.
        at: &'static str,
        /// What was found and what was wanted.
        why: String,
    },
    /// A value outside what the fixed-point contract can carry.
    #[error(
        "{at}: value {value} is outside ±{limit} (n={n}, f={f}); rescale the input or choose a wider ring"
    )]
    Range {
        /// Where the value stands (input name, parameter name, layer).
        at: String,
        /// The value.
        value: f64,
        /// Largest magnitude that fits.
        limit: f64,
        /// Ring bits.
        n: u32,
        /// Fraction bits.
        f: u32,
    },
    /// A key record of another gate, or of another place in the plan.
    #[error("key record mismatch at gate {at}: wanted {wanted}, found {found}; was it dealt for this plan?")]
    PlanMismatch {
        /// Gate number.
        at: u32,
        /// What the program asked for.
        wanted: String,
        /// What the source holds.
        found: String,
    },
    /// Keys that are missing, exhausted or short.
    #[error("keys: {0}")]
    Keys(String),
    /// Keys that are corrupt, of another party or already spent.
    #[error("key integrity: {0}")]
    Integrity(String),
    /// The local machine refused: disk full, permission, a file that cannot be written.
    #[error("{0}")]
    Local(String),
    /// The device that computes refused or failed: none there, out of memory, a kernel that stopped.
    #[error("device: {0}")]
    Device(String),
    /// The peer did not answer in time or went away.
    #[error("channel: {0}")]
    Channel(String),
    /// The peer stopped on purpose and said why.
    #[error("{peer} stopped: {reason}")]
    PeerFailed {
        /// Who stopped.
        peer: String,
        /// Its reason, from a closed list.
        reason: String,
    },
    /// The data owner did not deliver its part to one of the parties; the run is given up, the link to the peer is sound.
    #[error("the data owner's part of this run failed: {0}")]
    Owner(String),
    /// Both sides opened different values: they ran different programs.
    #[error("transcripts differ after gate {at}: the parties did not run the same program")]
    Transcript {
        /// Last gate of the run.
        at: u32,
    },
    /// A role used where the other one is needed.
    #[error("{0} cannot do this: {1}")]
    Role(PartyId, &'static str),
}

impl Error {
    /// A shape error of `at`.
    pub fn shape(at: &'static str, why: impl Into<String>) -> Self {
        Error::Shape { at, why: why.into() }
    }
}
