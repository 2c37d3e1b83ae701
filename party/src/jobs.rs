//! What parties, data owners and model owners say to each other around a run. Everything here is public or addressed
//! by key-set id and image index; masked values and mask keys travel as data frames in between.
//!
//! The list is closed and every field has a fixed length (integers are not shortened), so that what control messages
//! take is known beforehand ([`control`]) and nothing else fits into them.

pub mod control;
mod runs;

pub use runs::runs;

use crate::exit::ExitCode;
use crate::identity::Fingerprint;
use crate::messages::Message;
use crate::transport::Label;
use serde::{Deserialize, Serialize};
use twoply_preprocessing::Claim;
use twoply_primitives::KeySetId;

/// A request's name, drawn by the data owner.
pub type JobId = [u8; 16];

/// Most key sets that a party tells the other one of, or an owner.
pub const MOST_SETS: usize = 256;

/// Most images that a data owner is granted before its first masked input has come over a link: what a caller can burn
/// by asking and leaving.
pub const FIRST_GRANT: u32 = 16;

/// First message of an owner or a probe on its link, and again before each further job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A data owner wants inferences.
    Infer(Job),
    /// A data owner of this plan wants to know for how many images there are keys; [`Stock`] comes back.
    Stock([u8; 32]),
    /// A model owner wants to open its weights; it names the plan.
    Provision([u8; 32]),
    /// Somebody wants to know how things are.
    Probe(Probe),
}

/// What a probe asks. It costs no keys, and the answer is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// What the party runs; [`About`] comes back.
    About,
    /// A data frame of `up` bytes follows, one of `down` bytes comes back. Each is at most [`PROBE_CAP`].
    Echo {
        /// To the party.
        up: u32,
        /// From the party.
        down: u32,
    },
}

/// Most bytes that one probe may send or ask for.
pub const PROBE_CAP: u32 = 4 << 20;

/// Party to probe: what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of the messages.
    #[serde(with = "postcard::fixint::le")]
    pub protocol: u16,
    /// Version of the program.
    pub software: Label,
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// Whether it holds masked weights.
    pub provisioned: bool,
    /// Whether the other party is connected to it.
    pub met: bool,
    /// Key sets with keys left.
    #[serde(with = "postcard::fixint::le")]
    pub sets: u32,
    /// Images for which both parties have keys, as far as it knows.
    #[serde(with = "postcard::fixint::le")]
    pub images: u64,
    /// What its operator should look at.
    pub concern: Concern,
    /// Its clock: microseconds since 1970, UTC.
    #[serde(with = "postcard::fixint::le")]
    pub clock: u64,
}

/// Something about a party's keys or peer that nobody would notice otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Concern {
    /// None.
    #[default]
    None,
    /// Its own ledger was far behind the other party's: its key folder was restored from a copy.
    RestoredHere,
    /// The other party's ledger was far behind its own.
    RestoredThere,
    /// Two processes call with the other party's key.
    Cloned,
    /// A key set is damaged here.
    Damaged,
}

/// Party to data owner: how many images it could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Images for which both parties have keys and weights, as far as this one knows.
    #[serde(with = "postcard::fixint::le")]
    pub images: u64,
}

/// Some inferences for one data owner. Both parties must hear the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Random name, drawn by the data owner.
    pub id: JobId,
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// Number of images.
    #[serde(with = "postcard::fixint::le")]
    pub images: u32,
}

/// Party to data owner: these images are yours; the keys of my mask shares follow. Also data owner to party: these are
/// the images my masked values are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The key set.
    pub key_set: KeySetId,
    /// First image, numbered within the key set.
    #[serde(with = "postcard::fixint::le")]
    pub first: u64,
    /// Number of images.
    #[serde(with = "postcard::fixint::le")]
    pub images: u32,
    /// First image of the key set that the parties have not spent when they grant: at least `first + images`. What they
    /// hold reserved below it is still to be granted, to whomever.
    #[serde(with = "postcard::fixint::le")]
    pub cursor: u64,
    /// Names the parties' link to each other. What they reserved over an earlier one is never granted any more, so
    /// another meeting's grants start at the cursor of this one or after it.
    pub meeting: [u8; 32],
}

/// Party to model owner: its key sets with keys left. The owner opens those that both parties name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightSets {
    /// At most [`MOST_SETS`].
    pub key_sets: Vec<KeySetId>,
}

/// Model owner and party on the masked weights of one key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provision {
    /// Owner: the keys of your shares of this set's weight mask. They follow as a data frame.
    Open(KeySetId),
    /// Owner: bind the weight mask to masked weights of this digest.
    Bind([u8; 32]),
    /// Party: bound, durably, by both parties to the same. The masked weights may leave.
    Bound,
    /// Party: stored, durably; of a digest that it had stored before, it wants nothing more.
    Stored,
}

/// What a party holds of one key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetState {
    /// The key set.
    pub key_set: KeySetId,
    /// First image that is not spent.
    #[serde(with = "postcard::fixint::le")]
    pub cursor: u64,
    /// One past the last image whose keys are there.
    #[serde(with = "postcard::fixint::le")]
    pub dealt: u64,
    /// Digest of the masked weights; zeros if there are none yet.
    pub weights: [u8; 32],
}

impl SetState {
    /// Digest of the masked weights, if they are there.
    pub fn weights(&self) -> Option<[u8; 32]> {
        Some(self.weights).filter(|digest| *digest != [0; 32])
    }
}

/// Images of one segment for one data owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The key set.
    pub key_set: KeySetId,
    /// First image, numbered within the key set.
    #[serde(with = "postcard::fixint::le")]
    pub first: u64,
    /// Number of images.
    #[serde(with = "postcard::fixint::le")]
    pub images: u32,
    /// Digest of the masked weights of this key set.
    pub weights: [u8; 32],
    /// Images of the key set to reserve first; equal where what is reserved suffices.
    #[serde(with = "postcard::fixint::le")]
    pub from: u64,
    /// One past the last of them.
    #[serde(with = "postcard::fixint::le")]
    pub to: u64,
}

/// P0 to P1. Each but the last two is answered by one [`Follow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lead {
    /// What P0 holds; P1 looks what it holds, and says so.
    Sets(Vec<SetState>),
    /// A model owner wants to bind the weight mask of this key set to this digest.
    Bind(KeySetId, [u8; 32]),
    /// Grant these images to the data owner with this key, that asked for this job. RESERVED goes both ways first, if
    /// something is to be reserved.
    Grant(Job, Fingerprint, Piece),
    /// Run what was granted for this job: the name of the segment's halves, and the digest of the masked input.
    Run(JobId, [u8; 16], [u8; 32]),
    /// This job is over without an answer, for this reason. No reply.
    Drop(JobId, Code),
    /// P0 stops. No reply.
    Bye,
}

/// P1 to P0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follow {
    /// What P1 holds.
    Sets(Vec<SetState>),
    /// Done, or about to be done.
    Ready,
    /// P1 has not heard of that from its owner yet.
    NotYet,
    /// P1 does not do that, for this reason.
    Refused(Code),
    /// P1 runs: the name of its half, and the digest of the masked input it got.
    Running([u8; 16], [u8; 32]),
}

/// The number of an exit code, in two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code(#[serde(with = "postcard::fixint::le")] u16);

impl From<ExitCode> for Code {
    fn from(code: ExitCode) -> Self {
        Code(code as u16)
    }
}

impl Code {
    /// The exit code; one that this version does not know is the peer's failure.
    pub fn exit(self) -> ExitCode {
        ExitCode::from_number(self.0).filter(|c| *c != ExitCode::Success).unwrap_or(ExitCode::PeerFailed)
    }
}

/// Both ways: RESERVED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// The key set.
    pub key_set: KeySetId,
    /// First image.
    #[serde(with = "postcard::fixint::le")]
    pub from: u64,
    /// One past the last.
    #[serde(with = "postcard::fixint::le")]
    pub to: u64,
}

impl From<Claim> for Reserved {
    fn from(c: Claim) -> Self {
        Reserved { key_set: c.key_set, from: c.from, to: c.to }
    }
}

impl From<Reserved> for Claim {
    fn from(r: Reserved) -> Self {
        Claim { key_set: r.key_set, from: r.from, to: r.to }
    }
}

macro_rules! messages {
    ($($kind:ty: $name:literal, $longest:expr;)*) => {
        $(impl Message for $kind {
            const NAME: &'static str = $name;
            const LONGEST: usize = $longest;
        })*
    };
}

// Longest encodings, in bytes; `control` tests that they are right.

/// Of a list's length.
const COUNT: usize = 2;
/// Of a [`SetState`].
const STATE: usize = 16 + 8 + 8 + 32;
/// Of a [`Job`].
const JOB: usize = 16 + 32 + 4;

messages! {
    Request: "request", 1 + JOB;
    About: "about", 2 + 1 + Label::LONGEST + 32 + 2 + 4 + 8 + 1 + 8;
    Stock: "stock", 8;
    Grant: "grant", 16 + 8 + 4 + 8 + 32;
    WeightSets: "weight sets", COUNT + 16 * MOST_SETS;
    Provision: "provision", 1 + 32;
    Lead: "lead", 1 + COUNT + STATE * MOST_SETS;
    Follow: "follow", 1 + COUNT + STATE * MOST_SETS;
    Reserved: "reserved", 16 + 8 + 8;
}
