//! What processes of a training run say to each other besides keys, masked rows and masked values.
//!
//! Every link begins with the caller's errand. Digests of rows and of checkpoints pass between parties and owners, and never
//! reach the dealer: he has the masks, and could confirm guesses.

use crate::messages::Message;
use serde::{Deserialize, Serialize};
use twoply_nn::train::MOST_SHARES;
use twoply_preprocessing::rows::{Bound, Data, RowsDigest, Stored};
use twoply_preprocessing::run::{Ask, CheckpointId, FirstCredit, Held, Hello, Mark, Offer, Reserved, RunId};
use twoply_primitives::KeySetId;

/// What a dealer calls about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DealerErrand {
    /// This run: everything but keys of steps.
    Run(Invitation),
    /// Keys of an attempt, from now on.
    Keys(KeySetId),
}

/// What a run is to be, as its dealer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Digest of the plan.
    pub plan: [u8; 32],
    /// The run.
    pub run: RunId,
    /// Data key sets of the plan's shares, in order.
    pub sets: Vec<KeySetId>,
}

impl Message for DealerErrand {
    const NAME: &'static str = "dealer's errand";
    const LONGEST: usize = 1 + 32 + 16 + 2 + 16 * MOST_SHARES;
}

/// What a party says to the dealer about the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDealer {
    /// The invitation is taken; of these sets, by number, it wants its `set.key`.
    Wants(Vec<u8>),
    /// It is about to begin an attempt.
    Ask(Ask),
    /// The peer has reserved the same.
    Credit(FirstCredit),
    /// Both parties hold a checkpoint.
    Held(Held),
    /// The run has ended with this one.
    Ended(CheckpointId),
}

impl Message for ToDealer {
    const NAME: &'static str = "word to the dealer";
    const LONGEST: usize = 1 + 1 + 64 + 8;
}

/// What the dealer says to a party about the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToParty {
    /// An attempt.
    Offer(Offer),
}

impl Message for ToParty {
    const NAME: &'static str = "the dealer's offer";
    const LONGEST: usize = 1 + 44;
}

/// What parties say to each other outside steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// The first word: digest of the plan, and the run.
    Run([u8; 32], RunId),
    /// All rows of one data key set are here.
    Data(Data),
    /// What it holds of the run.
    Hello(Hello),
    /// An attempt that it has recorded.
    Reserved(Reserved),
    /// A checkpoint that it has made.
    Checkpoint(Mark),
}

impl Message for Peer {
    const NAME: &'static str = "word to the peer";
    const LONGEST: usize = 1 + 16 + 24 + 4 + 2 * 40 + 1 + 32;
}

/// What an owner calls about, and says then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToService {
    /// It brings share `share` of the plan of this digest.
    Bring {
        /// Digest of the plan.
        plan: [u8; 32],
        /// Number of the share.
        share: u8,
    },
    /// It wants the keys of its rows of a chunk.
    Keys(u32),
    /// What a chunk will be.
    Digest(RowsDigest),
    /// The chunk's rows come now.
    Rows(u32),
    /// It wants the model that the run of this plan ends with.
    Fetch([u8; 32]),
    /// It wants the figures that the plan reveals to the owner of share `share`, those that are there and those that come.
    Watch {
        /// Digest of the plan.
        plan: [u8; 32],
        /// Number of the share.
        share: u8,
    },
    /// It has what it came for.
    Done,
}

impl Message for ToService {
    const NAME: &'static str = "an owner's word";
    const LONGEST: usize = 1 + 32 + 1 + 52;
}

/// What a party says to an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToOwner {
    /// The data key set for what it brings, and whether all of it is stored.
    Set(KeySetId, bool),
    /// What a chunk is bound to, and whether it is stored.
    Bound(Bound, bool),
    /// A chunk is stored.
    Stored(Stored),
    /// The model's shares come now: of this checkpoint.
    Model(Mark),
    /// A figure's share comes now.
    Figure(Named),
    /// The run has ended with this one, and all figures were said.
    Ended(CheckpointId),
}

/// A figure by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// The run.
    pub run: RunId,
    /// Steps that the weights have behind them.
    pub step: u32,
    /// The attempt that computed it.
    pub attempt: u32,
    /// Number of the reveal in the plan.
    pub reveal: u8,
    /// How often the reveal was delivered so far, in all attempts.
    pub count: u32,
}

impl Message for ToOwner {
    const NAME: &'static str = "a party's word";
    const LONGEST: usize = 1 + 53;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits<M: Message>(message: &M) {
        let bytes = postcard::to_stdvec(message).unwrap();
        assert!(bytes.len() <= M::LONGEST, "{}: {} of {}", M::NAME, bytes.len(), M::LONGEST);
    }

    #[test]
    fn the_longest_of_every_kind_is_no_longer_than_its_cap() {
        let (run, id) = (RunId([255; 16]), CheckpointId { attempt: u32::MAX, step: u32::MAX });
        let (set, terms) = (KeySetId([255; 16]), twoply_preprocessing::run::TermsHash([255; 24]));
        let mark = Mark { id, digest: [255; 32] };
        let rows = RowsDigest { set, chunk: u32::MAX, digest: [255; 32] };
        let sets = vec![set; MOST_SHARES];
        fits(&DealerErrand::Run(Invitation { plan: [255; 32], run, sets }));
        fits(&ToDealer::Wants((0..MOST_SHARES as u8).collect()));
        fits(&ToDealer::Ask(Ask { run, terms, highest: u32::MAX, from: id }));
        fits(&ToDealer::Held(Held { set, id }));
        fits(&ToParty::Offer(Offer { run, attempt: u32::MAX, from: id, set }));
        fits(&Peer::Hello(Hello { run, terms, highest: u32::MAX, held: [mark; 2], ended: true }));
        fits(&Peer::Reserved(Reserved { run, terms, attempt: u32::MAX, from: mark, set }));
        fits(&Peer::Data(Data { set, root: [255; 32] }));
        fits(&ToService::Digest(rows));
        fits(&ToService::Bring { plan: [255; 32], share: 255 });
        fits(&ToOwner::Bound(Bound(rows), true));
        fits(&ToOwner::Model(mark));
        fits(&ToService::Watch { plan: [255; 32], share: 255 });
        let (step, attempt, count) = (u32::MAX, u32::MAX, u32::MAX);
        fits(&ToOwner::Figure(Named { run, step, attempt, reveal: 255, count }));
        fits(&ToOwner::Ended(id));
    }
}
