//! What parties, data owners and model owners say to each other around a run. Everything here is public or addressed
//! by key-set id and image index; masked values and mask keys travel as data frames in between.

use crate::exit::ExitCode;
use crate::identity::Fingerprint;
use crate::transport::Label;
use serde::{Deserialize, Serialize};
use twoply_preprocessing::Claim;
use twoply_primitives::KeySetId;

/// First message of an owner or a probe on its link, and again before each further job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A data owner wants inferences.
    Infer(Job),
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
    pub protocol: u16,
    /// Version of the program.
    pub software: Label,
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// Whether it holds masked weights.
    pub provisioned: bool,
    /// Its clock: microseconds since 1970, UTC.
    pub clock: u64,
}

/// Some inferences for one data owner. Both parties must hear the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Random name, drawn by the data owner.
    pub id: [u8; 16],
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// Number of images.
    pub images: u32,
}

/// Party to data owner: these images are yours; the keys of my mask shares follow. Also data owner to party: these are
/// the images my masked values are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The key set.
    pub key_set: KeySetId,
    /// First image, numbered within the key set.
    pub first: u64,
    /// Number of images.
    pub images: u32,
    /// First image of the key set that the parties have not spent when they grant: at least `first + images`. What they
    /// hold reserved below it is still to be granted, to whomever.
    pub cursor: u64,
    /// Names the parties' link to each other. What they reserved over an earlier one is never granted any more, so
    /// another meeting's grants start at the cursor of this one or after it.
    pub meeting: [u8; 32],
}

/// Party to model owner: the key set whose weight mask is meant. The keys of the mask shares follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightGrant {
    /// The key set.
    pub key_set: KeySetId,
}

/// Model owner and party on the masked weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provision {
    /// Owner: bind the weight mask to masked weights of this digest.
    Bind([u8; 32]),
    /// Party: bound, durably. The masked weights may leave.
    Bound,
    /// Party: stored, durably.
    Stored,
}

/// P0 to P1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lead {
    /// Run this job next.
    Job {
        /// The job, as the data owner asked for it.
        job: Job,
        /// The data owner.
        client: Fingerprint,
        /// Digest of the masked weights.
        weights: [u8; 32],
        /// Images to reserve first, if what is reserved does not suffice.
        reserve: Option<(u64, u64)>,
    },
    /// P0 stops.
    Bye,
}

/// P1 to P0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follow {
    /// The data owner is here, keys and weights are here.
    Ready,
    /// This job cannot be run; the next one may.
    Refused(u16),
}

impl Follow {
    /// A refusal for this reason.
    pub fn refused(code: ExitCode) -> Self {
        Follow::Refused(code as u16)
    }
}

/// Both ways, between two pieces of a job: whether the data owner was served. A data owner can be lost to one party
/// while it sends its results, and the other must not go on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served(pub bool);

/// Both ways: RESERVED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved(pub Claim);
