//! A data key set's ledger and rows: the order of things.

use crate::brought::*;
use std::fs::{self, read, write};
use std::os::unix::fs::PermissionsExt;
use twoply_preprocessing::rows::*;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Cut, Error, PlanDigest};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySetId, PartyId, Seed};

#[test]
fn rows_leave_when_both_parties_are_bound_to_them_and_are_used_when_both_have_them() {
    let three = Three::new();
    let (mut a, mut b, mut owner) = (three.set(P0), three.set(P1), three.owner());
    assert_eq!(a.seed().unwrap().expose(), &[0; 32]);
    let mut digests = vec![];
    for chunk in 0..2 {
        assert!(is_sequence(a.store(chunk, &salted(&rows(chunk, 0)))), "not bound yet");
        let digest = owner.write(chunk, &rows(chunk, 0)).unwrap();
        let [m, n] = [a.bind(&digest).unwrap(), b.bind(&digest).unwrap()];
        assert_eq!((m, n), (Bound(digest), Bound(digest)));
        let cleared = owner.cleared(chunk, [(P0, &m), (P1, &n)]).unwrap();
        let bytes = cleared.bytes().unwrap();
        assert_eq!(bytes[SALT..], rows(chunk, 0));
        let [s, t] = [&mut a, &mut b].map(|set| set.store(chunk, &bytes).unwrap());
        assert_eq!((s, t), (Stored(digest), Stored(digest)));
        assert!(is_sequence(a.whole().map(|_| ())), "the peer has not said the same");
        owner.stored(P0, &s).unwrap();
        owner.stored(P1, &t).unwrap();
        digests.push(digest);
    }
    let (m, n) = (a.data().unwrap(), b.data().unwrap());
    assert_eq!(m, n);
    let far = Data { root: [0; 32], ..n };
    assert!(matches!(error(a.agree(&far)), Error::RowsDiffer { set: ID }));
    assert!(is_sequence(a.whole().map(|_| ())));
    a.agree(&n).unwrap();
    a.agree(&n).unwrap();
    drop(a);
    let a = three.set(P0);
    let whole = a.whole().unwrap();
    assert_eq!((whole.root().set(), whole.root().digest()), (ID, &m.root));
    for chunk in 0..2 {
        assert_eq!(whole.chunk(chunk).unwrap(), rows(chunk, 0));
    }
    owner.finish().unwrap();
    let left = fs::read_dir(three.file(2, "")).unwrap().count();
    assert_eq!(left, 1, "the ledger alone");
    assert!(matches!(error(OwnerRows::open(three.root(2), spec())), Error::Retired { .. }));
    assert!(matches!(error(OwnerRows::create(three.root(2), &spec())), Error::Exists { .. }));
    for (who, name) in [(0, "set.key"), (0, "ledger"), (0, "chunk-00001.rows"), (2, "ledger")] {
        assert_eq!(three.file(who, name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(three.file(0, "").metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_left_or_may_have_left_stays_what_it_is() {
    let three = Three::new();
    let (mut a, mut b, mut owner) = (three.set(P0), three.set(P1), three.owner());
    let digest = owner.write(0, &rows(0, 0)).unwrap();
    for time in 0..2 {
        assert!(matches!(error(owner.write(0, &rows(0, time))), Error::RowsBound { chunk: 0, .. }));
    }
    assert!(is_sequence(owner.write(1, &rows(0, 0))), "of another length");
    assert!(matches!(error(owner.write(2, &rows(0, 0))), Error::Short { .. }));
    drop(owner);
    let owner = three.owner();
    assert_eq!((owner.digest(0), owner.digest(1)), (Some(digest), None));
    // P1 was bound to other rows before: not one byte leaves.
    let other = RowsDigest { digest: [9; 32], ..digest };
    assert_eq!(b.bind(&other).unwrap(), Bound(other));
    assert_eq!(b.bind(&digest).unwrap(), Bound(other), "it answers what it is bound to");
    let [m, n] = [a.bind(&digest).unwrap(), b.bind(&digest).unwrap()];
    for (first, second) in [(&m, &n), (&n, &m), (&n, &n)] {
        let e = error(owner.cleared(0, [(P0, first), (P1, second)]));
        assert!(matches!(e, Error::RowsBound { .. }) && e.to_string().contains("new data key set"), "{e}");
    }
    let left = read(three.file(2, "chunk-00000.rows")).unwrap();
    assert!(matches!(error(b.store(0, &left)), Error::RowsBound { .. }));
    let other_rows = [&left[..SALT], &rows(0, 1)].concat();
    for bytes in [&other_rows, &salted(&rows(0, 0)), &left[1..], &left[..left.len() - 1], &left[..5], &[]] {
        assert!(matches!(error(a.store(0, bytes)), Error::RowsBound { .. }));
    }
    assert!(!three.file(0, "chunk-00000.rows").exists());
    drop(b);
    assert_eq!(three.set(P1).bind(&digest).unwrap(), Bound(other), "durably");
    let elsewhere = RowsDigest { set: KeySetId([8; 16]), ..digest };
    assert!(matches!(error(a.bind(&elsewhere)), Error::WrongKeySet { .. }));
    assert!(matches!(error(a.bind(&RowsDigest { chunk: 2, ..digest })), Error::Short { .. }));
    assert!(is_sequence(a.data()));
}

#[test]
fn one_party_does_not_answer_for_both() {
    let three = Three::new();
    let (mut a, mut owner) = (three.set(P0), three.owner());
    let bound = a.bind(&owner.write(0, &rows(0, 0)).unwrap()).unwrap();
    for party in PartyId::BOTH {
        assert!(is_sequence(owner.cleared(0, [(party, &bound); 2])));
    }
    owner.cleared(0, [(P1, &bound), (P0, &bound)]).unwrap();
}

#[test]
fn an_owner_without_its_disk_sends_nothing() {
    let three = Three::new();
    let (mut a, mut b, mut owner) = (three.set(P0), three.set(P1), three.owner());
    let digest = owner.write(0, &rows(0, 0)).unwrap();
    let [m, n] = [a.bind(&digest).unwrap(), b.bind(&digest).unwrap()];
    let path = three.file(2, "chunk-00000.rows");
    let sent = |owner: &OwnerRows<_>| owner.cleared(0, [(P0, &m), (P1, &n)]).and_then(|rows| rows.bytes());
    write(&path, salted(&rows(0, 0))).unwrap();
    assert!(matches!(error(sent(&owner)), Error::RowsBound { .. }));
    write(&path, &salted(&rows(0, 0))[1..]).unwrap();
    assert!(matches!(error(sent(&owner)), Error::Length { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(error(sent(&owner)), Error::Missing { .. }));
    drop(owner);
    // All of it lost: other rows get another answer.
    fs::remove_dir_all(three.file(2, "")).unwrap();
    OwnerRows::create(three.root(2), &spec()).unwrap();
    let mut owner = three.owner();
    let digest = owner.write(0, &rows(0, 1)).unwrap();
    let [m, n] = [a.bind(&digest).unwrap(), b.bind(&digest).unwrap()];
    assert!(matches!(error(owner.cleared(0, [(P0, &m), (P1, &n)])), Error::RowsBound { .. }));
}

/// A party that holds x^ and is told the digest of x'^ could try every x' - x, since one mask is under both.
#[test]
fn a_digest_says_nothing_of_rows_that_did_not_leave() {
    let mut digests = vec![];
    for _ in 0..2 {
        let three = Three::new();
        let digest = three.owner().write(0, &rows(0, 0)).unwrap();
        // A party that knows the rows, but not their salt, cannot tell.
        let mut a = three.set(P0);
        a.bind(&digest).unwrap();
        for guess in [rows(0, 0), salted(&rows(0, 0))] {
            assert!(matches!(error(a.store(0, &guess)), Error::RowsBound { .. }));
        }
        digests.push(digest);
    }
    assert_ne!(digests[0], digests[1], "of the same rows");
}

#[test]
fn who_disagrees_on_what_rows_are_does_not_agree_on_their_digest() {
    let others = [
        DataSpec { forms: PlanDigest([9; 32]), ..spec() },
        // As many bytes in chunk 0.
        DataSpec { cut: Cut::new(4, 2).unwrap(), ..spec() },
        DataSpec { cut: Cut::new(2, 1).unwrap(), row_bytes: 2 * ROW, ..spec() },
    ];
    for other in others {
        let three = Three::new();
        let (root, mut owner) = (tempfile::tempdir().unwrap(), three.owner());
        DataSet::create(root.path(), P0, &other, &Seed::new([0; 32]), false).unwrap();
        let mut theirs = DataSet::open(root.path(), P0, other, false).unwrap();
        let mut ours = three.set(P0);
        let digest = owner.write(0, &rows(0, 0)).unwrap();
        let bound = [theirs.bind(&digest).unwrap(), ours.bind(&digest).unwrap()];
        let bytes = owner.cleared(0, [(P0, &bound[0]), (P1, &bound[1])]).unwrap().bytes().unwrap();
        assert!(matches!(error(theirs.store(0, &bytes)), Error::RowsBound { .. }));
        ours.store(0, &bytes).unwrap();
    }
}

#[test]
fn a_run_trains_on_whole_sets_and_they_are_retired_only_after_it() {
    let three = Three::new().uploaded();
    let a = three.set(P0);
    let root = a.whole().unwrap().root();
    let runs = tempfile::tempdir().unwrap();
    let run = RunSpec {
        run: RunId([1; 16]),
        plan: PlanDigest([2; 32]),
        order: [3; 32],
        sets: vec![ID],
        schedule: Schedule { steps: 1, every: 1 },
        lengths: Lengths::new(1, 1, 0).unwrap(),
    };
    let start =
        Snapshot { weights: vec![1], velocities: vec![2], accumulators: vec![], shares: vec![3, 4].into() };
    assert!(is_sequence(PartyRun::create(runs.path(), P0, &run, &[], &start)));
    PartyRun::create(runs.path(), P0, &run, &[&a.whole().unwrap()], &start).unwrap();
    PartyRun::open(runs.path(), P0, run.clone(), &[root]).unwrap();
    let e = error(a.retire(runs.path()));
    assert!(matches!(e, Error::StillNeeded { .. }), "{e}");
    let mut open = PartyRun::open(runs.path(), P0, run, &[root]).unwrap();
    let common = open.common(&open.hello().unwrap()).unwrap();
    open.end(&common).unwrap();
    three.set(P0).retire(runs.path()).unwrap();
    for _ in 0..2 {
        assert!(matches!(error(DataSet::open(three.root(0), P0, spec(), false)), Error::Retired { .. }));
        let again = DataSet::create(three.root(0), P0, &spec(), &Seed::new([9; 32]), false);
        assert!(matches!(error(again), Error::Retired { .. }));
    }
    assert_eq!(fs::read_dir(three.file(0, "")).unwrap().count(), 1, "the ledger alone");
    // A run whose ledger nobody can read may train on anything.
    fs::create_dir(runs.path().join("other")).unwrap();
    write(runs.path().join("other/ledger"), [1; 64]).unwrap();
    fs::set_permissions(runs.path().join("other/ledger"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(error(three.set(P1).retire(runs.path())), Error::LedgerCorrupt { .. }));
}

#[test]
fn every_message_has_one_length() {
    for chunk in [0, u32::MAX] {
        let rows = RowsDigest { set: ID, chunk, digest: [200; 32] };
        let all = [postcard::to_allocvec(&rows), postcard::to_allocvec(&Bound(rows))];
        for bytes in all.into_iter().chain([postcard::to_allocvec(&Stored(rows))]) {
            let bytes = bytes.unwrap();
            assert_eq!((bytes.len(), postcard::from_bytes(&bytes)), (52, Ok(rows)));
        }
    }
    assert_eq!(postcard::to_allocvec(&Data { set: ID, root: [200; 32] }).unwrap().len(), 48);
}
