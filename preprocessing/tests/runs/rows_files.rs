//! Ledgers, seeds and rows of a data key set that are not what they should be.

use crate::brought::*;
use std::fs::{self, read, write};
use twoply_preprocessing::rows::*;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Cut, Error, FileFolder, PlanDigest};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySetId, Seed};

#[test]
fn rows_on_disk_are_verified_when_they_are_read() {
    let three = Three::new().uploaded();
    let a = three.set(P0);
    let path = three.file(0, "chunk-00001.rows");
    let good = read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        write(&path, bad).unwrap();
        assert!(matches!(error(a.whole().unwrap().chunk(1)), Error::RowsBound { chunk: 1, .. }));
    }
    write(&path, &good[1..]).unwrap();
    assert!(matches!(error(a.whole().unwrap().chunk(1)), Error::Length { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(error(a.whole().unwrap().chunk(1)), Error::Missing { .. }));
    assert!(matches!(error(a.whole().unwrap().chunk(2)), Error::Short { .. }));
}

#[test]
fn stored_is_said_of_rows_that_are_there() {
    let three = Three::new().uploaded();
    let bytes = read(three.file(2, "chunk-00000.rows")).unwrap();
    let (mut a, stored) = (three.set(P0), Stored(three.owner().digest(0).unwrap()));
    let path = three.file(0, "chunk-00000.rows");
    assert_eq!(a.stored(0), Some(stored));
    let spoils: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&path).unwrap(), &|| write(&path, &bytes[1..]).unwrap(), &|| {
            write(&path, salted(&rows(0, 0))).unwrap()
        }];
    for spoil in spoils {
        spoil();
        assert_eq!(a.stored(0), None);
        let other = salted(&rows(0, 0));
        assert!(matches!(error(a.store(0, &other)), Error::RowsBound { .. }));
        assert_eq!(a.store(0, &bytes).unwrap(), stored);
        assert_eq!((a.stored(0), read(&path).unwrap() == bytes), (Some(stored), true));
        assert_eq!(a.whole().unwrap().chunk(0).unwrap(), rows(0, 0));
    }
    drop(a);
    assert_eq!(read(three.file(0, "ledger")).unwrap().len(), 6 * 64, "recorded once");
    let a = three.set(P0);
    assert_eq!((a.stored(0), a.stored(2)), (Some(stored), None));
    assert_eq!(Three::new().set(P0).stored(0), None);
}

#[test]
fn a_half_is_received_once_as_the_dealer_made_it() {
    let three = Three::new();
    let page = read(three.file(1, "set.key")).unwrap();
    let root = tempfile::tempdir().unwrap();
    let receive =
        |party, spec: &DataSpec| DataSet::<FileFolder>::receive(root.path(), party, spec, &mut &page[..]);
    assert!(matches!(error(receive(P0, &spec())), Error::WrongParty { .. }));
    let other = DataSpec { forms: PlanDigest([9; 32]), ..spec() };
    assert!(matches!(error(receive(P1, &other)), Error::OtherPlan { .. }));
    let other = DataSpec { cut: Cut::new(4, 2).unwrap(), ..spec() };
    assert!(matches!(error(receive(P1, &other)), Error::Corrupt { .. }));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    receive(P1, &spec()).unwrap();
    let open = || DataSet::open(root.path(), P1, spec(), false);
    assert_eq!(open().unwrap().seed().unwrap().expose(), &[1; 32]);
    assert!(matches!(error(receive(P1, &spec())), Error::Exists { .. }));
    // Killed before set.key: it goes on. Without its ledger it never does.
    let dir = root.path().join(ID.to_string());
    fs::remove_file(dir.join("set.key")).unwrap();
    receive(P1, &spec()).unwrap();
    open().unwrap().bind(&RowsDigest { set: ID, chunk: 0, digest: [1; 32] }).unwrap();
    fs::remove_file(dir.join("set.key")).unwrap();
    assert!(matches!(error(receive(P1, &spec())), Error::Exists { .. }), "it is bound");
    write(dir.join("set.key"), &page).unwrap();
    fs::remove_file(dir.join("ledger")).unwrap();
    assert!(matches!(error(receive(P1, &spec())), Error::Missing { .. }));
    assert!(matches!(error(open()), Error::Missing { .. }));
}

#[test]
fn test_seeds_are_stamped() {
    let root = tempfile::tempdir().unwrap();
    DataSet::create(root.path(), P0, &spec(), &Seed::new([1; 32]), true).unwrap();
    assert!(matches!(error(DataSet::open(root.path(), P0, spec(), false)), Error::InsecureSeed { .. }));
    DataSet::open(root.path(), P0, spec(), true).unwrap();
}

#[test]
fn a_ledger_of_someone_else_is_refused() {
    let three = Three::new();
    let open = |who: usize, party, spec| error(DataSet::open(three.root(who), party, spec, false));
    assert!(matches!(open(0, P1, spec()), Error::WrongHolder { found: Holder::Party(P0), .. }));
    assert!(matches!(open(2, P0, spec()), Error::WrongHolder { found: Holder::Owner, .. }));
    let swapped = error(OwnerRows::open(three.root(0), spec()));
    assert!(matches!(swapped, Error::WrongHolder { wanted: Holder::Owner, .. }));
    assert!(matches!(open(0, P0, DataSpec { row_bytes: 13, ..spec() }), Error::LedgerCorrupt { .. }));
    let other = DataSpec { cut: Cut::new(3, 1).unwrap(), ..spec() };
    assert!(matches!(open(0, P0, other), Error::LedgerCorrupt { .. }));
    let other = DataSpec { forms: PlanDigest([9; 32]), ..spec() };
    assert!(matches!(open(0, P0, other), Error::OtherPlan { .. }));
    fs::copy(three.file(1, "set.key"), three.file(0, "set.key")).unwrap();
    assert!(matches!(open(0, P0, spec()), Error::WrongParty { .. }));
    let moved = three.root(1).join(KeySetId([8; 16]).to_string());
    fs::rename(three.file(1, ""), moved).unwrap();
    let other = DataSpec { set: KeySetId([8; 16]), ..spec() };
    assert!(matches!(open(1, P1, other), Error::WrongKeySet { found: ID, .. }));
}

#[test]
fn a_torn_last_record_is_ignored_and_anything_else_is_an_error() {
    let three = Three::new().uploaded();
    let path = three.file(0, "ledger");
    let whole = read(&path).unwrap();
    assert_eq!(whole.len(), 6 * 64, "Open, twice Bound and Stored, Whole");
    for keep in 0..64 {
        for zeros in [false, true] {
            let mut torn = whole[..5 * 64 + keep.min(48)].to_vec();
            torn.resize(if zeros { whole.len() } else { torn.len() }, 0);
            write(&path, &torn).unwrap();
            let a = three.set(P0);
            assert!(is_sequence(a.whole().map(|_| ())));
        }
    }
    let mut a = three.set(P0);
    a.agree(&three.set(P1).data().unwrap()).unwrap();
    drop(a);
    assert_eq!(read(&path).unwrap(), whole);
    let opened = || error(DataSet::open(three.root(0), P0, spec(), false));
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        write(&path, &bad).unwrap();
        assert!(matches!(opened(), Error::LedgerCorrupt { .. }), "byte {at}");
    }
    for record in 0..5 {
        let mut gone = whole.clone();
        gone.drain(record * 64..record * 64 + 64);
        write(&path, &gone).unwrap();
        assert!(matches!(opened(), Error::LedgerCorrupt { .. }));
    }
}
