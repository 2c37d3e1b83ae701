//! A training run's ledgers: the order of things.

use crate::run::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use twoply_preprocessing::Error;
use twoply_preprocessing::run::*;
use twoply_primitives::KeySetId;
use twoply_primitives::PartyId::{P0, P1};

#[test]
fn an_attempt_goes_from_hello_to_a_checkpoint_that_all_know() {
    let three = Three::new();
    let ([mut first, mut second], mut d) = (three.both(), three.dealer());
    let asks = asks([&first, &second]);
    assert_eq!(asks[0], Ask { run: RUN, terms: spec().shared_hash(), highest: 0, from: START });
    let offered = d.offer([&asks[0], &asks[1]], KeySetId([5; 16])).unwrap();
    let offer = offered.offer();
    assert_eq!(offer, Offer { run: RUN, attempt: 1, from: START, set: KeySetId([5; 16]) });
    let [p, q] = [first.offered(&offer).unwrap(), second.offered(&offer).unwrap()];
    let [m, n] = [p.reserved(), q.reserved()];
    let [mut a, mut b] = [p.agree(&n).unwrap(), q.agree(&m).unwrap()];
    let mut dealing = offered.credited(&a.first_credit()).unwrap();

    let plan = [SegmentKind::Train, SegmentKind::Evaluate, SegmentKind::Audit, SegmentKind::Train];
    for (number, kind) in plan.into_iter().enumerate() {
        let keys = dealing.begin(kind).unwrap();
        let made = dealing.makes(&keys).unwrap();
        assert_eq!(made, (number == 3).then(|| id(1, 2)));
        let frame = dealing.release(keys, made.map(|_| masks(2)).as_ref()).unwrap().frame();
        assert_eq!(frame, Frame { set: KeySetId([5; 16]), segment: number as u32 });
        for attempt in [&mut a, &mut b] {
            let segment = attempt.begin(kind).unwrap();
            segment.accepts(&frame).unwrap();
            attempt.finish(segment, [9; 32]).unwrap();
        }
    }
    let [ours, theirs] = [to_checkpoint(&mut a, P0), to_checkpoint(&mut b, P1)];
    let (m, n) = (ours.mark(), theirs.mark());
    assert_eq!((m, m.id), (n, id(1, 2)), "shares are not in the digest");
    let (_, held) = a.hear(ours, &n).unwrap();
    assert_eq!(held, Held { set: KeySetId([5; 16]), id: id(1, 2) });
    dealing.held(&held).unwrap();
    let _ = b.hear(theirs, &m).unwrap();
    drop((first, second, d));
    let (a, d) = (three.party(P0), three.dealer());
    assert_eq!((a.held(), a.highest(), a.ended()), (&[m][..], 1, None));
    assert!(a.state(id(1, 2)).unwrap() == state(2, P0));
    assert!(d.masks(id(1, 2)).unwrap() == masks(2));
    assert_eq!(d.held().collect::<Vec<_>>(), [id(1, 2)]);
    for (who, name) in [(0, "00001-00000002.checkpoint"), (2, "00001-00000002.checkpoint"), (2, "ledger")] {
        assert_eq!(three.file(who, name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(three.file(0, "").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!three.file(0, "00000-00000000.checkpoint").exists());
}

#[test]
fn an_attempt_that_is_not_above_the_highest_is_refused_even_after_a_restart() {
    let three = Three::new();
    let mut a = three.party(P0);
    let offer = Offer { run: RUN, attempt: 4, from: START, set: KeySetId([5; 16]) };
    let _ = a.offered(&offer).unwrap();
    for _ in 0..2 {
        for attempt in [0, 3, 4] {
            let again = Offer { attempt, set: KeySetId([6; 16]), ..offer };
            assert!(matches!(error(a.offered(&again)), Error::OldAttempt { highest: 4, .. }), "{attempt}");
        }
        let keys_again = Offer { attempt: 5, ..offer };
        assert!(matches!(error(a.offered(&keys_again)), Error::OldAttempt { .. }));
        drop(a);
        a = three.party(P0);
    }
    let elsewhere = Offer { attempt: 5, from: id(4, 2), set: KeySetId([6; 16]), ..offer };
    assert!(matches!(error(a.offered(&elsewhere)), Error::NotHeld { id: found, .. } if found == id(4, 2)));
    let other = Offer { run: RunId([8; 16]), attempt: 5, set: KeySetId([6; 16]), ..offer };
    assert!(matches!(error(a.offered(&other)), Error::RunsDiffer { .. }));
    assert_eq!(a.highest(), 4);
}

#[test]
fn only_the_equal_reserved_of_the_peer_makes_an_attempt() {
    let changes: [fn(&mut Reserved); 7] = [
        |r| r.run = RunId([8; 16]),
        |r| r.terms = TermsHash([8; 24]),
        |r| r.attempt += 1,
        |r| r.from.id.attempt += 1,
        |r| r.from.id.step += 1,
        |r| r.from.digest[31] ^= 1,
        |r| r.set.0[0] ^= 1,
    ];
    let three = Three::new();
    let mut a = three.party(P0);
    for (number, change) in changes.into_iter().enumerate() {
        let (attempt, set) = (number as u32 + 1, KeySetId([number as u8; 16]));
        let pending = a.offered(&Offer { run: RUN, attempt, from: START, set }).unwrap();
        let mut peer = pending.reserved();
        change(&mut peer);
        assert!(matches!(error(pending.agree(&peer)), Error::RunsDiffer { .. }), "{number}");
        assert_eq!(a.highest(), attempt, "a refused attempt stays spent");
    }
}

#[test]
fn the_dealer_offers_only_what_both_parties_named_and_he_has_masks_of() {
    let three = Three::new();
    let mut d = three.dealer();
    let ask = Ask { run: RUN, terms: spec().shared_hash(), highest: 3, from: START };
    let changes: [fn(&mut Ask); 3] =
        [|a| a.run = RunId([8; 16]), |a| a.terms = TermsHash([8; 24]), |a| a.from = id(1, 2)];
    for change in changes {
        let mut other = ask;
        change(&mut other);
        assert!(matches!(error(d.offer([&ask, &other], KeySetId([1; 16]))), Error::RunsDiffer { .. }));
    }
    let unknown = Ask { from: id(3, 2), ..ask };
    assert!(matches!(error(d.offer([&unknown; 2], KeySetId([1; 16]))), Error::NotHeld { .. }));
    assert_eq!(d.highest(), 0);
    let later = Ask { highest: 7, ..ask };
    let offered = d.offer([&ask, &later], KeySetId([1; 16])).unwrap();
    assert_eq!(offered.offer().attempt, 8, "above the highest of all three");
    assert!(offered.credited(&FirstCredit { set: KeySetId([2; 16]) }).is_err());
    assert_eq!(d.offer([&ask; 2], KeySetId([2; 16])).unwrap().offer().attempt, 9);
    assert!(matches!(error(d.offer([&ask; 2], KeySetId([1; 16]))), Error::OldAttempt { .. }));
    let exhausted = Ask { highest: u32::MAX, ..ask };
    let e = error(d.offer([&exhausted; 2], KeySetId([3; 16]))).to_string();
    assert_eq!(e, "attempts of this run are used up: begin a new run");
}

#[test]
fn segments_are_given_out_once_and_in_order() {
    let three = Three::new();
    let ([mut a, mut b], mut d) = (three.both(), three.dealer());
    let [mut a, mut b] = attempts(&mut a, &mut b, &mut d, 5);
    let first = a.begin(SegmentKind::Evaluate).unwrap();
    assert!(is_sequence(a.begin(SegmentKind::Train)), "one at a time");
    let frame = first.frame();
    first.accepts(&frame).unwrap();
    for other in [Frame { segment: 1, ..frame }, Frame { set: KeySetId([4; 16]), ..frame }] {
        assert!(matches!(error(first.accepts(&other)), Error::OtherFrame { .. }));
    }
    a.finish(first, [0; 32]).unwrap();
    let theirs = b.begin(SegmentKind::Evaluate).unwrap();
    assert!(is_sequence(a.finish(theirs, [0; 32])), "that of another attempt");
    for number in 1..3 {
        let segment = a.begin(SegmentKind::Train).unwrap();
        assert_eq!(segment.frame().segment, number);
        assert!(is_sequence(a.checkpoint(&state(1, P0))), "none is due");
        a.finish(segment, [0; 32]).unwrap();
    }
    assert!(is_sequence(a.begin(SegmentKind::Evaluate)), "a checkpoint is due");
    assert!(is_sequence(a.checkpoint(&state(1, P0)).and(a.checkpoint(&state(1, P0)))));
    let segment = a.begin(SegmentKind::Train).unwrap();
    a.finish(segment, [0; 32]).unwrap();
    assert!(is_sequence(a.checkpoint(&state(3, P0))), "the peer has not answered the one before");
    assert!(is_sequence(a.end()));
}

#[test]
fn no_step_follows_the_last() {
    let three = Three::new().trained();
    let ([mut first, mut second], mut d) = (three.both(), three.dealer());
    assert!(
        d.offer([&asks([&first, &second])[0]; 2], KeySetId([2; 16])).is_err(),
        "this dealer released no keys"
    );
    let offer = Offer { run: RUN, attempt: 2, from: id(1, 2), set: KeySetId([2; 16]) };
    let [p, q] = [first.offered(&offer).unwrap(), second.offered(&offer).unwrap()];
    let [m, n] = [p.reserved(), q.reserved()];
    let [mut a, mut b] = [p.agree(&n).unwrap(), q.agree(&m).unwrap()];
    let [ours, theirs] = [to_checkpoint(&mut a, P0), to_checkpoint(&mut b, P1)];
    assert_eq!(ours.mark().id, id(2, 3), "the last step is a checkpoint too");
    let (mut a, _) = a.hear(ours, &theirs.mark()).unwrap();
    let e = a.begin(SegmentKind::Train).unwrap_err().to_string();
    assert_eq!(e, "training steps of this run are used up: end it");
    assert_eq!(a.end().unwrap(), id(2, 3));
    drop(first);
    let mut a = three.party(P0);
    assert_eq!(a.ended(), Some(id(2, 3)));
    assert!(a.hello().unwrap().ended);
    let next = Offer { attempt: 3, from: id(2, 3), set: KeySetId([3; 16]), ..offer };
    assert!(matches!(error(a.offered(&next)), Error::RunEnded { .. }));
    a.provisioned(id(2, 3), "inference").unwrap();
    assert!(matches!(error(a.provisioned(id(1, 2), "inference")), Error::NotHeld { .. }));
    drop(a);
    three.party(P0);
}

#[test]
fn a_state_of_another_length_is_refused() {
    let three = Three::new();
    for change in [
        |s: &mut Snapshot| s.weights.truncate(39),
        |s: &mut Snapshot| s.velocities.push(0),
        |s: &mut Snapshot| s.accumulators.clear(),
        |s: &mut Snapshot| s.shares.push(0),
    ] {
        let mut other = state(0, P0);
        change(&mut other);
        let root = tempfile::tempdir().unwrap();
        assert!(is_sequence(Party::create(root.path(), P0, &spec(), &[], &other)));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
    assert!(Lengths::new(u64::MAX, 1, 1).is_err());
    drop(three);
}

#[test]
fn the_dealer_saves_masks_before_the_keys_that_make_their_weights() {
    let three = Three::new();
    let mut d = three.dealer();
    let ask = Ask { run: RUN, terms: spec().shared_hash(), highest: 0, from: START };
    let offered = d.offer([&ask; 2], KeySetId([1; 16])).unwrap();
    let mut dealing = offered.credited(&FirstCredit { set: KeySetId([1; 16]) }).unwrap();
    let first = dealing.begin(SegmentKind::Train).unwrap();
    let e = error(dealing.release(first, Some(&masks(1)))).to_string();
    assert_eq!(e, "out of order: the step before a checkpoint comes first", "step 1 is no checkpoint");

    let offered = d.offer([&ask; 2], KeySetId([2; 16])).unwrap();
    let mut dealing = offered.credited(&FirstCredit { set: KeySetId([2; 16]) }).unwrap();
    let first = dealing.begin(SegmentKind::Train).unwrap();
    let _ = dealing.release(first, None).unwrap();
    let second = dealing.begin(SegmentKind::Train).unwrap();
    assert!(is_sequence(dealing.release(second, None)));
    assert!(is_sequence(dealing.begin(SegmentKind::Train)), "and nothing goes on");
    let held = Held { set: KeySetId([2; 16]), id: id(2, 2) };
    assert!(matches!(error(dealing.held(&held)), Error::NotHeld { .. }));
    for held in [Held { set: KeySetId([1; 16]), ..held }, Held { id: id(1, 2), ..held }] {
        assert!(matches!(error(dealing.held(&held)), Error::OldAttempt { .. }));
    }
}

#[test]
fn a_held_that_comes_behind_a_later_one_changes_nothing() {
    let three = Three::new();
    let mut d = three.dealer();
    let (set, terms) = (KeySetId([1; 16]), spec().shared_hash());
    let ask = Ask { run: RUN, terms, highest: 0, from: START };
    let mut dealing = d.offer([&ask; 2], set).unwrap().credited(&FirstCredit { set }).unwrap();
    for step in 1..=3 {
        let segment = dealing.begin(SegmentKind::Train).unwrap();
        let _ = dealing.release(segment, (step > 1).then(|| masks(step)).as_ref()).unwrap();
    }
    // P1 is a checkpoint ahead of P0.
    for step in [2, 3, 2, 3, 2] {
        dealing.held(&Held { set, id: id(1, step) }).unwrap();
    }
    assert_eq!(d.held().collect::<Vec<_>>(), [id(1, 3)]);
}

#[test]
fn different_states_of_one_checkpoint_are_dropped_on_both_sides_and_the_older_stays() {
    let three = Three::new();
    let ([mut a, mut b], mut d) = (three.both(), three.dealer());
    let [mut x, mut y] = attempts(&mut a, &mut b, &mut d, 5);
    let ours = to_checkpoint(&mut x, P0);
    // One transcript differs, the values are the same.
    let segment = y.begin(SegmentKind::Train).unwrap();
    y.finish(segment, [77; 32]).unwrap();
    let theirs = to_checkpoint(&mut y, P1);
    let (m, n) = (ours.mark(), theirs.mark());
    assert_eq!(m.id, n.id);
    assert!(m.digest != n.digest, "a checkpoint acknowledged before the transcripts agree");
    assert!(matches!(error(x.hear(ours, &n)), Error::CheckpointsDiffer { .. }));
    assert!(matches!(error(y.hear(theirs, &m)), Error::CheckpointsDiffer { .. }));
    for run in [&a, &b] {
        assert_eq!(run.held().iter().map(|mark| mark.id).collect::<Vec<_>>(), [START]);
    }
    drop((a, b));
    let [mut a, mut b] = three.both();
    assert_eq!(a.held().len(), 1);
    attempts(&mut a, &mut b, &mut d, 6);
}

#[test]
fn older_checkpoints_stay_until_the_peer_has_said_the_same() {
    let three = Three::new();
    let ([mut a, mut b], mut d) = (three.both(), three.dealer());
    let [mut x, mut y] = attempts(&mut a, &mut b, &mut d, 5);
    let ours = to_checkpoint(&mut x, P0);
    let theirs = to_checkpoint(&mut y, P1);
    assert!(three.file(0, "00000-00000000.checkpoint").exists());
    let _ = x.hear(ours, &theirs.mark()).unwrap();
    assert!(!three.file(0, "00000-00000000.checkpoint").exists());
    // P1 never hears: it keeps both, and the next attempt begins from the one that both have.
    assert_eq!(b.held().len(), 2);
    let common = a.common(&b.hello().unwrap()).unwrap();
    assert_eq!((common, common.id()), (b.common(&a.hello().unwrap()).unwrap(), id(1, 2)));
    let offer = Offer { run: RUN, attempt: 2, from: common.id(), set: KeySetId([8; 16]) };
    let pending = b.offered(&offer).unwrap();
    let peer = pending.reserved();
    let _ = pending.agree(&peer).unwrap();
    assert_eq!(b.held().len(), 1, "the orphan goes when the peer has recorded the same attempt");
}

#[test]
fn parties_of_other_runs_or_terms_or_checkpoints_say_what_differs() {
    let three = Three::new();
    let a = three.party(P0);
    let hello = three.party(P1).hello().unwrap();
    a.common(&hello).unwrap();
    let mut far = hello;
    far.held.iter_mut().for_each(|mark| mark.digest[0] ^= 1);
    for (other, what) in [
        (Hello { run: RunId([8; 16]), ..hello }, "the run"),
        (Hello { terms: TermsHash([8; 24]), ..hello }, "plan, data, start or order"),
        (far, "every checkpoint"),
    ] {
        let e = error(a.common(&other));
        assert!(e.to_string().contains(what), "{e}");
    }
}

#[test]
fn a_reveal_is_counted_over_all_attempts() {
    let three = Three::new();
    let ([mut a, mut b], mut d) = (three.both(), three.dealer());
    for number in 1..4 {
        let [mut attempt, _] = attempts(&mut a, &mut b, &mut d, number);
        let segment = attempt.begin(SegmentKind::Audit).unwrap();
        let delivered = attempt.deliver(&segment, "range", 2);
        match number {
            1 | 2 => delivered.unwrap(),
            _ => assert!(matches!(error(delivered), Error::RevealSpent { at_most: 2, .. })),
        }
        assert!(number > 2 || is_sequence(attempt.deliver(&segment, "range", 9)), "once a segment");
        attempt.deliver(&segment, "accuracy", 9).unwrap();
    }
    drop(a);
    let a = three.party(P0);
    assert_eq!([a.delivered("range"), a.delivered("accuracy"), a.delivered("other")], [2, 3, 0]);
    assert!(a.figures().unwrap().is_empty(), "a record alone keeps no share");
}

/// A figure's share is kept once its delivery is recorded, and comes back whole or not at all.
#[test]
fn a_figures_share_is_kept() {
    let three = Three::new();
    let ([mut a, mut b], mut d) = (three.both(), three.dealer());
    for number in 1..3 {
        let [mut attempt, _] = attempts(&mut a, &mut b, &mut d, number);
        let segment = attempt.begin(SegmentKind::Train).unwrap();
        attempt.finish(segment, [0; 32]).unwrap();
        let segment = attempt.begin(SegmentKind::Evaluate).unwrap();
        let kept = attempt.keep(&segment, (3, "accuracy", 2), &[7, 8, number, 9]).unwrap();
        assert_eq!((kept.id, kept.count), (id(number.into(), 1), number.into()));
        let again = attempt.keep(&segment, (3, "accuracy", 9), &[1; 4]);
        assert!(is_sequence(again), "once a segment");
    }
    let [mut attempt, _] = attempts(&mut a, &mut b, &mut d, 3);
    let segment = attempt.begin(SegmentKind::Evaluate).unwrap();
    let spent = attempt.keep(&segment, (3, "accuracy", 2), &[1; 4]).map(drop);
    assert!(matches!(error(spent), Error::RevealSpent { at_most: 2, .. }));
    drop(a);
    let all = three.party(P0).figures().unwrap();
    let found: Vec<_> = all.iter().map(|f| (f.id, f.reveal, f.count, f.share[2])).collect();
    assert_eq!(found, [(id(1, 1), 3, 1, 1), (id(2, 1), 3, 2, 2)]);
    // a changed byte is noticed, and so is another's name
    let path = three.file(0, "00001-00000001-03.figure");
    let bytes = fs::read(&path).unwrap();
    for at in [0, 9, 13, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        fs::write(&path, other).unwrap();
        assert!(three.party(P0).figures().is_err(), "byte {at}");
    }
    fs::write(&path, &bytes[..20]).unwrap();
    assert!(three.party(P0).figures().is_err());
    fs::write(&path, &bytes).unwrap();
    fs::copy(&path, three.file(0, "00001-00000002-03.figure")).unwrap();
    assert!(three.party(P0).figures().is_err(), "of another step");
}

#[test]
fn every_message_has_one_length() {
    fn check<M: serde::Serialize + for<'a> serde::Deserialize<'a> + PartialEq>(len: usize, all: &[M]) {
        for message in all {
            let bytes = postcard::to_allocvec(message).unwrap();
            assert_eq!(bytes.len(), len);
            assert!(postcard::from_bytes::<M>(&bytes).unwrap() == *message);
        }
    }
    let ids = [START, id(u32::MAX, u32::MAX)];
    let marks = ids.map(|id| Mark { id, digest: [200; 32] });
    let (run, terms, set) = (RUN, TermsHash([200; 24]), KeySetId([200; 16]));
    check(40, &marks);
    let hello =
        |i: usize| Hello { run, terms, highest: [0, u32::MAX][i], held: [marks[i]; 2], ended: i == 1 };
    check(16 + 24 + 4 + 80 + 1, &[hello(0), hello(1)]);
    check(16 + 24 + 4 + 8, &ids.map(|from| Ask { run, terms, highest: from.step, from }));
    check(16 + 4 + 8 + 16, &ids.map(|from| Offer { run, attempt: from.step, from, set }));
    let reserved = |from: Mark| Reserved { run, terms, attempt: from.id.step, from, set };
    check(16 + 24 + 4 + 40 + 16, &marks.map(reserved));
    check(16, &[FirstCredit { set }]);
    check(24, &ids.map(|id| Held { set, id }));
    check(20, &ids.map(|id| Frame { set, segment: id.step }));
}
