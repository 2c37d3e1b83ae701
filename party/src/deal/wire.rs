//! What a dealer and a party say to each other.
//!
//! ```text
//! dealer                          party
//! Offer                     ->          which plan, which key set
//!                           <-    Answer: agreed (and whether set.key is there), or why not
//! set.key                   ->          only if it is not there: 4,096 bytes, and a share of trained weights' mask behind them
//!                           <-    Stored
//! Ask(from, count)          ->
//!                           <-    Holds(one entry a segment)
//! Segment, then its bytes   ->          again and again
//!                           <-    Stored, once durable and verified to the last tile
//! Done                      ->
//!                           <-    Stored
//! ```
//!
//! The party's ledger begins with `set.key` and is never replaced. A segment may arrive again, dealt anew, after a
//! crash of either side; what the ledger has spent stays spent.

use serde::{Deserialize, Serialize};
use twoply_preprocessing::run::{CheckpointId, RunId};
use twoply_preprocessing::{PlanDigest, SegmentId, Trained};
use twoply_primitives::{KeySetId, PartyId};

/// Most segments in one [`ToParty::Ask`]: their answer must fit a control message.
pub(super) const ASK: u32 = 2048;
/// Length of a `set.key` without a share of a mask, in bytes.
pub(crate) const SET_KEY: usize = 4096;

/// The dealer's first message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Greeting {
    V1(Offer),
    /// Keys for trained weights, which an older party does not know.
    V2(Offer, Weights),
}

/// What the dealer brings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub party: PartyId,
    pub plan: PlanDigest,
    pub key_set: KeySetId,
    pub images: u64,
    pub segment_images: u32,
    pub insecure: bool,
}

/// The trained weights that keys are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Weights {
    pub run: RunId,
    pub at: CheckpointId,
    pub bytes: u64,
}

impl From<Trained> for Weights {
    fn from(Trained { run, at, bytes }: Trained) -> Self {
        Weights { run, at, bytes }
    }
}

impl From<Weights> for Trained {
    fn from(Weights { run, at, bytes }: Weights) -> Self {
        Trained { run, at, bytes }
    }
}

/// What the party makes of an offer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It takes the keys; `begun` says that it holds `set.key`.
    Agreed { begun: bool },
    /// It runs another plan: this one.
    OtherPlan(PlanDigest),
    /// It is the other party.
    OtherParty(PartyId),
    /// It does not take keys from a test seed.
    Insecure,
}

/// The dealer's further messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum ToParty {
    /// What do you hold of these segments?
    Ask { from: u32, count: u32 },
    /// This segment follows.
    Segment { segment: u32, id: SegmentId, bytes: u64 },
    /// That was all.
    Done,
}

/// The party's further messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum ToDealer {
    /// Answer to [`ToParty::Ask`].
    Holds(Vec<Held>),
    /// What was sent is durable.
    Stored,
}

/// What a party has of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Held {
    /// Nothing usable.
    Nothing,
    /// The whole segment of this name.
    Whole(SegmentId),
    /// Its images are spent: it is not needed any more.
    Spent,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::CONTROL_CAP;

    #[test]
    fn the_longest_answer_fits_a_control_message() {
        let all = ToDealer::Holds(vec![Held::Whole(SegmentId([255; 16])); ASK as usize]);
        assert!(postcard::to_stdvec(&all).unwrap().len() <= CONTROL_CAP);
    }

    #[test]
    fn cut_short_or_changed_messages_never_panic() {
        let offer = Offer {
            party: PartyId::P1,
            plan: PlanDigest([7; 32]),
            key_set: KeySetId([9; 16]),
            images: 10,
            segment_images: 4,
            insecure: false,
        };
        let weights = Weights { run: RunId([3; 16]), at: CheckpointId { attempt: 1, step: 9 }, bytes: 40 };
        let longer = postcard::to_stdvec(&Greeting::V2(offer.clone(), weights)).unwrap();
        for at in 0..longer.len() {
            assert!(postcard::from_bytes::<Greeting>(&longer[..at]).is_err(), "{at}");
            let mut wrong = longer.clone();
            wrong[at] ^= 1;
            let Ok(Greeting::V2(read, of)) = postcard::from_bytes(&wrong) else { continue };
            assert_ne!((read, of), (offer.clone(), weights), "byte {at}");
        }
        let good = postcard::to_stdvec(&Greeting::V1(offer.clone())).unwrap();
        for length in 0..good.len() {
            assert!(postcard::from_bytes::<Greeting>(&good[..length]).is_err(), "{length}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut wrong = good.clone();
                wrong[at] ^= 1 << bit;
                let Ok(Greeting::V1(read)) = postcard::from_bytes(&wrong) else { continue };
                assert_ne!(read, offer, "byte {at}, bit {bit}");
            }
        }
    }
}
