//! A ledger's write failed: whether its record is durable is not known before it is opened again, so the file that the
//! record speaks of stays as it is.

use crate::memory::{Disk, Memory};
use crate::run::{RUN, START, error, state};
use twoply_preprocessing::rows::*;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Cut, Error, PlanDigest};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySetId, PartyId};

#[test]
fn rows_are_not_replaced_while_their_digest_may_be_durable() {
    let cut = Cut::new(1, 1).unwrap();
    let spec = || DataSpec { set: KeySetId([7; 16]), forms: PlanDigest([1; 32]), cut, row_bytes: 3 };
    let ledger = new_ledger(Holder::Owner, &spec()).to_vec();
    let mut memory = Memory::new(&Disk { ledger, ..Disk::default() });
    let fails = memory.fails.clone();
    let mut owner = OwnerRows::with(&mut memory, spec()).unwrap();
    fails.set(true);
    assert!(matches!(error(owner.write(0, &[1; 3])), Error::Io { .. }));
    fails.set(false);
    assert!(matches!(error(owner.write(0, &[2; 3])), Error::LedgerFailed { .. }));
    drop(owner);
    let owner = OwnerRows::with(&mut memory, spec()).unwrap();
    let bound = Bound(owner.digest(0).expect("it was durable"));
    let cleared = owner.cleared(0, PartyId::BOTH.map(|party| (party, &bound))).unwrap();
    assert_eq!(cleared.bytes().unwrap()[SALT..], [1; 3]);
}

#[test]
fn a_checkpoint_is_not_replaced_while_its_record_may_be_durable() {
    let spec = RunSpec { schedule: Schedule { steps: 1, every: 1 }, ..crate::run::spec() };
    let mut memory = Memory::default();
    let ledger = PartyRun::begin(&mut &mut memory, P0, &spec, &[], &state(0, P0)).unwrap();
    memory.disk.ledger = ledger;
    let fails = memory.fails.clone();
    let mut party = PartyRun::with(&mut memory, P0, spec.clone(), &[]).unwrap();
    let pending =
        party.offered(&Offer { run: RUN, attempt: 1, from: START, set: KeySetId([1; 16]) }).unwrap();
    let peer = pending.reserved();
    let mut attempt = pending.agree(&peer).unwrap();
    let segment = attempt.begin(SegmentKind::Train).unwrap();
    attempt.finish(segment, [9; 32]).unwrap();
    fails.set(true);
    assert!(matches!(error(attempt.checkpoint(&state(1, P0))), Error::Io { .. }));
    fails.set(false);
    assert!(matches!(error(attempt.checkpoint(&state(2, P1))), Error::LedgerFailed { .. }));
    drop(party);
    let party = PartyRun::with(&mut memory, P0, spec, &[]).unwrap();
    assert!(party.damaged().is_empty());
    assert!(party.state(crate::run::id(1, 1)).unwrap() == state(1, P0));
}
