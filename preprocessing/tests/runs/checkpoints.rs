//! Ledgers and checkpoints of a training run that are not what they should be: each defect has its own answer, and no bit
//! goes unnoticed.

use crate::run::*;
use std::fs::{self, read, write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Blame, Error, PlanDigest};
use twoply_primitives::KeySetId;
use twoply_primitives::PartyId::{P0, P1};

#[test]
fn a_run_is_begun_once_and_its_ledger_is_never_made_anew() {
    let three = Three::new();
    let again = || Party::create(three.root(0), P0, &spec(), &[], &state(0, P0));
    assert!(matches!(error(again()), Error::Exists { .. }));
    fs::remove_file(three.file(0, "ledger")).unwrap();
    for e in [error(again()), error(Party::open(three.root(0), P0, spec(), &[]))] {
        assert!(matches!(e, Error::Missing { .. }) && e.to_string().contains("begin a new run"), "{e}");
    }
    let open = three.party(P1);
    let second = error(Party::open(three.root(1), P1, spec(), &[]));
    assert!(matches!(second, Error::Locked { .. }));
    drop(open);
    // Without its disk a dealer gets both shares of a checkpoint.
    let root = tempfile::tempdir().unwrap();
    DealerRun::create(root.path(), &spec(), id(4, 2), &masks(2)).unwrap();
    assert_eq!(DealerRun::open(root.path(), spec()).unwrap().highest(), 4);
}

#[test]
fn a_run_of_someone_else_is_refused() {
    let three = Three::new();
    let open = |who: usize, party, spec| error(Party::open(three.root(who), party, spec, &[]));
    assert!(matches!(open(0, P1, spec()), Error::WrongHolder { found: Holder::Party(P0), .. }));
    assert!(matches!(open(2, P0, spec()), Error::WrongHolder { found: Holder::Dealer, .. }));
    let changes: [fn(&mut RunSpec); 6] = [
        |s| s.plan = PlanDigest([9; 32]),
        |s| s.order = [9; 32],
        |s| s.sets.push(KeySetId([9; 16])),
        |s| s.schedule.steps = 4,
        |s| s.schedule.every = 1,
        |s| s.lengths = Lengths::new(40, 8, 40).unwrap(),
    ];
    for change in changes {
        let mut other = spec();
        change(&mut other);
        let e = error(DealerRun::open(three.root(2), other.clone()));
        assert!(matches!(e, Error::OtherTerms { .. }) && e.blame() == Blame::Plan, "{e}");
        let e = open(0, P0, other);
        assert!(matches!(e, Error::OtherTerms { .. } | Error::Sequence { .. }), "{e}");
    }
    // Another start is another run.
    let root = tempfile::tempdir().unwrap();
    Party::create(root.path(), P1, &spec(), &[], &state(5, P1)).unwrap();
    let other = Party::open(root.path(), P1, spec(), &[]).unwrap();
    assert!(three.party(P0).common(&other.hello().unwrap()).is_err());
    // A ledger under the name of another run.
    let renamed = three.root(2).join(RunId([8; 16]).to_string());
    fs::rename(three.file(2, ""), &renamed).unwrap();
    let other = RunSpec { run: RunId([8; 16]), ..spec() };
    assert!(matches!(error(DealerRun::open(three.root(2), other)), Error::WrongRun { found: RUN, .. }));
}

#[test]
fn a_torn_last_record_is_ignored_and_anything_else_is_an_error() {
    let three = Three::new().trained();
    let path = three.file(0, "ledger");
    let whole = read(&path).unwrap();
    assert_eq!(whole.len(), 4 * 64, "Run, the start, an attempt, a checkpoint");
    for keep in 0..64 {
        for zeros in [false, true] {
            let mut torn = whole[..3 * 64 + keep.min(48)].to_vec();
            torn.resize(if zeros { whole.len() } else { torn.len() }, 0);
            write(&path, &torn).unwrap();
            let mut a = three.party(P0);
            assert_eq!(
                (a.highest(), a.held().len()),
                (1, 0),
                "its file has no record, so it was not finished"
            );
            assert!(matches!(error(a.hello()), Error::NotHeld { .. }));
            let offer = Offer { run: RUN, attempt: 2, from: START, set: KeySetId([9; 16]) };
            assert!(a.offered(&offer).is_err());
        }
    }
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        write(&path, &bad).unwrap();
        let e = error(Party::open(three.root(0), P0, spec(), &[]));
        assert!(matches!(e, Error::LedgerCorrupt { .. }), "byte {at}: {e}");
        assert!(e.to_string().contains("begin a new run"), "{e}");
    }
    for record in 0..3 {
        let mut gone = whole.clone();
        gone.drain(record * 64..record * 64 + 64);
        write(&path, &gone).unwrap();
        assert!(matches!(error(Party::open(three.root(0), P0, spec(), &[])), Error::LedgerCorrupt { .. }));
    }
    write(&path, []).unwrap();
    assert!(matches!(error(Party::open(three.root(0), P0, spec(), &[])), Error::LedgerCorrupt { .. }));
}

/// Whether opening, at P0 or the dealer, says of the only checkpoint's file what `is` wants to hear; `None` if it is whole.
fn damaged(three: &Three, who: usize, is: impl Fn(&Error) -> bool) -> Option<bool> {
    let look = |held: usize, errors: &[Error]| {
        assert_eq!(held + errors.len(), 1, "{errors:?}");
        errors.first().map(is)
    };
    if who == 0 {
        let run = three.party(P0);
        look(run.held().len(), run.damaged())
    } else {
        let run = three.dealer();
        look(run.held().count(), run.damaged())
    }
}

fn is_bad(e: &Error) -> bool {
    matches!(e, Error::BadCheckpoint { .. })
}

#[test]
fn no_flipped_bit_and_no_truncation_of_a_checkpoint_goes_unnoticed() {
    let three = Three::new();
    for who in [0, 2] {
        let path = three.file(who, "00000-00000000.checkpoint");
        let whole = read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            write(&path, &bad).unwrap();
            let named = |e: &Error| match at {
                8..12 => matches!(e, Error::Version { .. }),
                _ => is_bad(e),
            };
            assert_eq!(damaged(&three, who, named), Some(true), "byte {at}");
        }
        for len in 0..whole.len() {
            write(&path, &whole[..len]).unwrap();
            assert_eq!(damaged(&three, who, is_bad), Some(true), "{len} bytes");
        }
        write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(damaged(&three, who, is_bad), Some(true));
        write(&path, &whole).unwrap();
        assert_eq!(damaged(&three, who, is_bad), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let opened = match who {
            0 => error(Party::open(three.root(0), P0, spec(), &[])),
            _ => error(DealerRun::open(three.root(2), spec())),
        };
        assert!(matches!(opened, Error::Exposed { mode: 0o640, .. }));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn checkpoints_of_others_are_named() {
    let three = Three::new();
    let start = "00000-00000000.checkpoint";
    let ours = read(three.file(0, start)).unwrap();
    let put = |from: PathBuf, is: fn(&Error) -> bool| {
        fs::copy(from, three.file(0, start)).unwrap();
        assert_eq!(damaged(&three, 0, is), Some(true));
    };
    put(three.file(1, start), |e| matches!(e, Error::WrongHolder { found: Holder::Party(P1), .. }));
    put(three.file(2, start), |e| matches!(e, Error::WrongHolder { found: Holder::Dealer, .. }));
    let root = tempfile::tempdir().unwrap();
    let other = RunSpec { run: RunId([8; 16]), ..spec() };
    Party::create(root.path(), P0, &other, &[], &state(0, P0)).unwrap();
    let path = root.path().join(other.run.to_string()).join(start);
    put(path, |e| matches!(e, Error::WrongRun { wanted: RUN, .. }));
    let root = tempfile::tempdir().unwrap();
    Party::create(root.path(), P0, &spec(), &[], &state(1, P0)).unwrap();
    put(root.path().join(RUN.to_string()).join(start), |e| matches!(e, Error::OtherTerms { .. }));
    write(three.file(0, start), &ours).unwrap();
    // A checkpoint under another's name, at the dealer, who has no records of them.
    fs::copy(three.file(2, start), three.file(2, "00001-00000002.checkpoint")).unwrap();
    let d = three.dealer();
    assert_eq!(d.held().collect::<Vec<_>>(), [START]);
    let [Error::BadCheckpoint { why, .. }] = d.damaged() else { panic!("{:?}", d.damaged()) };
    assert_eq!(why, "holds step 0 of attempt 0");
}
