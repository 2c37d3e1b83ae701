//! Who dies where: every process of a training run at every point of its work, in the order in which each comes to them.
//!
//! A line is one death: the process is started with it, comes so many times to the point, and is gone. Then it is started again as
//! `docs/training.md` says, with its next line.

use twoply_party::train::Point::{self, *};

/// A process of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    P0,
    P1,
    Dealer,
    Owner,
    ModelOwner,
}

impl Who {
    pub const ALL: [Who; 5] = [Who::P0, Who::P1, Who::Dealer, Who::Owner, Who::ModelOwner];
}

/// Deaths of a party.
const PARTY: [(Point, u32); 15] = [
    (ChunkBound, 1),
    (ChunkStored, 1),
    (RunBegun, 1),
    (AttemptRecorded, 1),
    (AttemptAgreed, 1),
    (SegmentTaken, 1),
    // behind a checkpoint, in a step that was begun
    (SegmentTaken, 4),
    (InStep, 5),
    (CheckpointSaved, 1),
    (CheckpointSaid, 1),
    (CheckpointAgreed, 1),
    (HeldSaid, 1),
    (EndRecorded, 1),
    (EndSaid, 1),
    (SharesSent, 1),
];

const DEALER: [(Point, u32); 11] = [
    (RunBegun, 1),
    (PartyCalled, 1),
    (AttemptRecorded, 1),
    (OfferSaid, 1),
    (SegmentTaken, 1),
    (SegmentTaken, 4),
    (InStep, 3),
    (MasksSaved, 1),
    (HeldHeard, 1),
    (EndHeard, 1),
    (EndRecorded, 1),
];

const OWNER: [(Point, u32); 4] = [(ChunkMasked, 1), (ChunkCleared, 1), (ChunkSent, 1), (ChunkKept, 1)];

const MODEL_OWNER: [(Point, u32); 2] = [(SharesTaken, 1), (ModelWritten, 1)];

/// The deaths of a process, in order.
pub fn deaths(who: Who) -> &'static [(Point, u32)] {
    match who {
        Who::P0 | Who::P1 => &PARTY,
        Who::Dealer => &DEALER,
        Who::Owner => &OWNER,
        Who::ModelOwner => &MODEL_OWNER,
    }
}

#[test]
fn every_point_is_somebodys_death() {
    let all: Vec<Point> = Who::ALL.iter().flat_map(|who| deaths(*who)).map(|(point, _)| *point).collect();
    for point in Point::ALL {
        assert!(all.contains(&point), "nobody dies at {point:?}");
    }
}
