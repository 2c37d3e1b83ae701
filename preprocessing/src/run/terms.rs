//! What a run is: its names, and what all who take part must have in common.

use crate::rows::Root;
use crate::set::{PlanDigest, hex};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use twoply_primitives::{KeySetId, PartyId};

/// Random name of a training run, the same at both parties and the dealer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// A new one from the operating system.
    pub fn draw() -> Result<RunId> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| Error::Randomness(e.to_string()))?;
        Ok(RunId(id))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// Who keeps a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Holder {
    /// A party.
    Party(PartyId),
    /// The dealer.
    Dealer,
    /// Who owns the rows of a data set.
    Owner,
}

impl Holder {
    pub(crate) const ALL: [Holder; 4] =
        [Holder::Party(PartyId::P0), Holder::Party(PartyId::P1), Holder::Dealer, Holder::Owner];

    /// Its number in files.
    pub(crate) fn number(self) -> u32 {
        match self {
            Holder::Party(party) => party.index() as u32,
            Holder::Dealer => 2,
            Holder::Owner => 3,
        }
    }
    pub(crate) fn from_number(number: u32) -> Option<Holder> {
        Holder::ALL.into_iter().find(|holder| holder.number() == number)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Party(party) => party.fmt(f),
            Holder::Dealer => f.write_str("the dealer"),
            Holder::Owner => f.write_str("the data owner"),
        }
    }
}

/// A checkpoint: the state after step `step`, made by attempt `attempt`. Two attempts make two states of one step, so
/// neither number alone names it. (0, 0) is the start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The attempt that made it.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u32,
    /// How many training steps it is after the start.
    #[serde(with = "postcard::fixint::le")]
    pub step: u32,
}

impl CheckpointId {
    /// Where training begins.
    pub const START: CheckpointId = CheckpointId { attempt: 0, step: 0 };
    /// What `last` means: the larger step, of one step the later attempt.
    pub(crate) fn rank(self) -> (u32, u32) {
        (self.step, self.attempt)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} of attempt {}", self.step, self.attempt)
    }
}

/// Which steps there are, and after which a checkpoint is made: every `every`-th and the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Training steps in all.
    pub steps: u32,
    /// Steps from one checkpoint to the next.
    pub every: u32,
}

impl Schedule {
    /// Whether the state after this many steps is a checkpoint.
    pub fn saves(&self, step: u32) -> bool {
        step > 0 && (step == self.steps || step.checked_rem(self.every) == Some(0))
    }
}

/// Bytes of a checkpoint's public values; a party's share of their masks has as many as all together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lengths {
    pub(super) weights: u64,
    pub(super) velocities: u64,
    pub(super) accumulators: u64,
}

impl Lengths {
    /// Of the masked weights, velocities and accumulators, in bytes.
    pub fn new(weights: u64, velocities: u64, accumulators: u64) -> Result<Self> {
        let all = Lengths { weights, velocities, accumulators };
        let total = all.words().into_iter().try_fold(0, u64::checked_add);
        match total.is_some_and(|total| total < 1 << 48) {
            true => Ok(all),
            false => Err(Error::Layout { images: 1, why: "a checkpoint is too long" }),
        }
    }
    pub(super) fn words(&self) -> [u64; 3] {
        [self.weights, self.velocities, self.accumulators]
    }
    /// All together.
    pub fn total(&self) -> u64 {
        self.words().iter().sum()
    }
}

/// A run as its dealer knows it, and parties too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunSpec {
    /// Its name.
    pub run: RunId,
    /// Digest of the plan.
    pub plan: PlanDigest,
    /// Digest of the order of rows.
    pub order: [u8; 32],
    /// Data key sets that it trains on.
    pub sets: Vec<KeySetId>,
    /// Its steps.
    pub schedule: Schedule,
    /// Its state's lengths.
    pub lengths: Lengths,
}

/// One hash of what a run is about, in 24 bytes. That of the parties covers their data and start; that of the dealer
/// does not, since he has the masks and could confirm guesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TermsHash(pub [u8; 24]);

impl RunSpec {
    fn hash(&self, domain: &str, more: &[&[u8; 32]]) -> TermsHash {
        let mut hash = blake3::Hasher::new_derive_key(domain);
        hash.update(&self.run.0).update(&self.plan.0).update(&self.order);
        hash.update(&self.schedule.steps.to_le_bytes()).update(&self.schedule.every.to_le_bytes());
        for word in self.lengths.words().into_iter().chain([self.sets.len() as u64]) {
            hash.update(&word.to_le_bytes());
        }
        for part in self.sets.iter().map(|set| &set.0[..]).chain(more.iter().map(|digest| &digest[..])) {
            hash.update(part);
        }
        let digest = hash.finalize();
        TermsHash(std::array::from_fn(|i| digest.as_bytes()[i]))
    }

    /// What the dealer compares.
    pub fn shared_hash(&self) -> TermsHash {
        self.hash("twoply run v1 shared terms", &[])
    }

    /// What the parties compare: `roots` are of `sets`, in their order.
    pub(crate) fn party_hash(&self, roots: &[Root], start: &[u8; 32]) -> Result<TermsHash> {
        if !roots.iter().map(Root::set).eq(self.sets.iter().copied()) {
            return Err(Error::Sequence { wanted: "the roots of the run's own data sets, in order" });
        }
        let digests: Vec<_> = roots.iter().map(Root::digest).chain([start]).collect();
        Ok(self.hash("twoply run v1 party terms", &digests))
    }
}
