//! A small run of two parties and a dealer, for the tests of its ledgers and checkpoints.
#![allow(dead_code)] // each test binary uses a part

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Error, FileFolder, PlanDigest, Result};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySetId, PartyId};

pub const RUN: RunId = RunId([7; 16]);
pub const START: CheckpointId = CheckpointId::START;

pub type Party = PartyRun<FileFolder>;

pub fn spec() -> RunSpec {
    RunSpec {
        run: RUN,
        plan: PlanDigest([1; 32]),
        order: [2; 32],
        sets: vec![],
        schedule: Schedule { steps: 3, every: 2 },
        lengths: Lengths::new(40, 40, 8).unwrap(),
    }
}

pub fn state(step: u8, party: PartyId) -> Snapshot {
    let part = |len| vec![step + 1; len];
    let shares = vec![100 + party.index() as u8; 88].into();
    Snapshot { weights: part(40), velocities: part(40), accumulators: part(8), shares }
}

pub fn masks(step: u8) -> Masks {
    Masks { shares: [vec![step; 88].into(), vec![step + 50; 88].into()] }
}

pub fn id(attempt: u32, step: u32) -> CheckpointId {
    CheckpointId { attempt, step }
}

/// Two parties and a dealer, each with a folder.
pub struct Three([TempDir; 3]);

impl Three {
    pub fn new() -> Three {
        let three = Three([0; 3].map(|_| tempfile::tempdir().unwrap()));
        for party in PartyId::BOTH {
            Party::create(three.root(party.index()), party, &spec(), &[], &state(0, party)).unwrap();
        }
        DealerRun::create(three.root(2), &spec(), START, &masks(0)).unwrap();
        three
    }
    pub fn root(&self, who: usize) -> &Path {
        self.0[who].path()
    }
    pub fn party(&self, party: PartyId) -> Party {
        Party::open(self.root(party.index()), party, spec(), &[]).unwrap()
    }
    pub fn both(&self) -> [Party; 2] {
        PartyId::BOTH.map(|party| self.party(party))
    }
    pub fn dealer(&self) -> DealerRun<FileFolder> {
        DealerRun::open(self.root(2), spec()).unwrap()
    }
    pub fn file(&self, who: usize, name: &str) -> PathBuf {
        self.root(who).join(RUN.to_string()).join(name)
    }
    /// Attempt 1 of both parties up to step 2, whose checkpoint both hold.
    pub fn trained(self) -> Three {
        let ([mut first, mut second], mut d) = (self.both(), self.dealer());
        let [mut a, mut b] = attempts(&mut first, &mut second, &mut d, 1);
        let [ours, theirs] =
            [(&mut a, P0), (&mut b, P1)].map(|(attempt, party)| to_checkpoint(attempt, party));
        let [m, n] = [ours.mark(), theirs.mark()];
        a.hear(ours, &n).unwrap();
        b.hear(theirs, &m).unwrap();
        drop((first, second, d));
        self
    }
}

pub fn asks([a, b]: [&Party; 2]) -> [Ask; 2] {
    let common = |run: &Party, peer: &Party| run.common(&peer.hello().unwrap()).unwrap();
    [a.ask(&common(a, b)), b.ask(&common(b, a))]
}

/// An attempt with keys of this name, at both parties.
pub fn attempts<'a>(
    a: &'a mut Party,
    b: &'a mut Party,
    d: &mut DealerRun<FileFolder>,
    name: u8,
) -> [Attempt<'a, FileFolder>; 2] {
    let asks = asks([a, b]);
    let offered = d.offer([&asks[0], &asks[1]], KeySetId([name; 16])).unwrap();
    let [p, q] = [a.offered(&offered.offer()).unwrap(), b.offered(&offered.offer()).unwrap()];
    let [m, n] = [p.reserved(), q.reserved()];
    [p.agree(&n).unwrap(), q.agree(&m).unwrap()]
}

/// Trains up to the next checkpoint.
pub fn to_checkpoint(attempt: &mut Attempt<'_, FileFolder>, party: PartyId) -> Ours {
    while attempt.due().is_none() {
        let segment = attempt.begin(SegmentKind::Train).unwrap();
        let transcript = [segment.frame().segment as u8; 32];
        attempt.finish(segment, transcript).unwrap();
    }
    let step = attempt.due().unwrap() as u8;
    attempt.checkpoint(&state(step, party)).unwrap()
}

pub fn error<T>(result: Result<T>) -> Error {
    result.map(|_| ()).unwrap_err()
}

pub fn is_sequence<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Sequence { .. }))
}
