//! What parties and the dealer of a run say to each other. Every message has one length.

use super::{CheckpointId, RunId, TermsHash};
use serde::{Deserialize, Serialize};
use twoply_primitives::KeySetId;

/// A checkpoint with the digest of its public part. Between parties it is CHECKPOINT; the dealer never sees one: he has
/// the masks, and could confirm guesses of weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The checkpoint.
    pub id: CheckpointId,
    /// BLAKE3 of run, checkpoint, set id, public values and chained transcript; no shares.
    pub digest: [u8; 32],
}

/// To the peer, of a party that is in no attempt: HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The run.
    pub run: RunId,
    /// What it is about, as the parties know it.
    pub terms: TermsHash,
    /// Highest attempt recorded.
    #[serde(with = "postcard::fixint::le")]
    pub highest: u32,
    /// The last two checkpoints that are held, the last one first; twice the same where there is one. The rules of
    /// dropping leave no third.
    pub held: [Mark; 2],
    /// Whether the run has ended here: then the peer ends it too, with what both hold.
    pub ended: bool,
}

/// To the dealer: HELLO, without digests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The run.
    pub run: RunId,
    /// What it is about, as the dealer knows it.
    pub terms: TermsHash,
    /// Highest attempt recorded.
    #[serde(with = "postcard::fixint::le")]
    pub highest: u32,
    /// The last checkpoint that both parties hold.
    pub from: CheckpointId,
}

/// The dealer's OFFER of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The run.
    pub run: RunId,
    /// The attempt.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u32,
    /// Where it starts.
    pub from: CheckpointId,
    /// Fresh name of its keys.
    pub set: KeySetId,
}

/// To the peer, of an attempt that is durably recorded: RESERVED. `h_0` of the attempt's transcript.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reserved {
    /// The run.
    pub run: RunId,
    /// What it is about, as the parties know it.
    pub terms: TermsHash,
    /// The attempt.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u32,
    /// Where it starts, and what this party holds there.
    pub from: Mark,
    /// Name of its keys.
    pub set: KeySetId,
}

/// To the dealer: the peer has reserved the same, keys may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FirstCredit {
    /// Name of the attempt's keys.
    pub set: KeySetId,
}

/// To the dealer: both parties hold this checkpoint, HELD.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Name of the attempt's keys.
    pub set: KeySetId,
    /// The checkpoint.
    pub id: CheckpointId,
}

/// Whose bytes a frame carries: keys from the dealer, or values from the peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Name of the attempt's keys.
    pub set: KeySetId,
    /// Number of the segment in its attempt: training steps, audits and evaluations alike.
    #[serde(with = "postcard::fixint::le")]
    pub segment: u32,
}
