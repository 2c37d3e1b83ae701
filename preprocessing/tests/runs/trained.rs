//! Keys for the weights that a training run ended with: what the dealer takes of the run, what `set.key` carries, what a party finds.

use crate::common::{Dealt, PLAN, layout, spec as images};
use crate::run::{RUN, Three, error, id, to_checkpoint};
use std::fs::{copy, read, remove_file, write};
use std::path::Path;
use std::sync::Arc;
use twoply_preprocessing::run::*;
use twoply_preprocessing::*;
use twoply_primitives::PartyId;
use twoply_primitives::PartyId::{P0, P1};

const TRAINED: Trained = Trained { run: RUN, at: CheckpointId { attempt: 1, step: 2 }, bytes: 40 };

/// A run that both parties and the dealer have ended with step 2; the dealer's masks are those of the parties' shares.
fn ended() -> Three {
    let three = Three::new();
    let ([mut first, mut second], mut d) = (three.both(), three.dealer());
    let asks = crate::run::asks([&first, &second]);
    let offered = d.offer([&asks[0], &asks[1]], twoply_primitives::KeySetId([5; 16])).unwrap();
    let offer = offered.offer();
    let [p, q] = [first.offered(&offer).unwrap(), second.offered(&offer).unwrap()];
    let [m, n] = [p.reserved(), q.reserved()];
    let [mut a, mut b] = [p.agree(&n).unwrap(), q.agree(&m).unwrap()];
    let mut dealing = offered.credited(&a.first_credit()).unwrap();
    let shares = PartyId::BOTH.map(|party| crate::run::state(2, party).shares);
    for step in 0..2 {
        let segment = dealing.begin(SegmentKind::Train).unwrap();
        let _ = dealing.release(segment, (step == 1).then_some(&Masks { shares: shares.clone() })).unwrap();
    }
    let [ours, theirs] = [to_checkpoint(&mut a, P0), to_checkpoint(&mut b, P1)];
    let (m, n) = (ours.mark(), theirs.mark());
    let (a, held) = a.hear(ours, &n).unwrap();
    dealing.held(&held).unwrap();
    let (b, _) = b.hear(theirs, &m).unwrap();
    assert_eq!((a.end().unwrap(), b.end().unwrap()), (TRAINED.at, TRAINED.at));
    drop((first, second, d));
    three.dealer().end(TRAINED.at).unwrap();
    three
}

fn dealt(three: &Three) -> Dealt {
    let trained = three.dealer().trained("inference").unwrap();
    Dealt::new(DealSpec { trained: Some(Arc::new(trained)), ..images() })
}

fn find(root: &Path, party: PartyId, trained: Trained) -> Result<Ended> {
    Ended::find(root, party, trained)
}

#[test]
fn the_dealer_takes_the_mask_of_what_has_ended_and_notes_it_once() {
    let going = Three::new().trained();
    let e = error(going.dealer().trained("inference"));
    assert!(matches!(e, Error::NotTrained { .. }) && e.to_string().contains("has not ended"), "{e}");
    let three = ended();
    for _ in 0..2 {
        let masks = three.dealer().trained("inference").unwrap();
        assert_eq!(masks.of, TRAINED);
        assert!(
            masks.shares.iter().enumerate().all(|(p, s)| **s == vec![100 + p as u8; 40]),
            "weights alone"
        );
        assert!(!format!("{masks:?}").contains("100"));
    }
    three.dealer().trained("another").unwrap();
    assert_eq!(survey(three.root(2)).unwrap()[0].provisioned, 2);
    // no attempt moves these weights any more
    let asks = PartyId::BOTH.map(|party| {
        let run = three.party(party);
        run.ask(&run.common(&run.hello().unwrap()).unwrap())
    });
    let mut dealer = three.dealer();
    let again = dealer.offer([&asks[0], &asks[1]], twoply_primitives::KeySetId([6; 16]));
    assert!(matches!(error(again), Error::RunEnded { .. }));
}

#[test]
fn each_half_carries_its_own_share_and_the_name_of_the_run() {
    let three = ended();
    let dealt = dealt(&three);
    for party in PartyId::BOTH {
        let keys = dealt.keys(party);
        assert_eq!(keys.trained(), Some(TRAINED));
        assert_eq!(**keys.mask_share().unwrap(), [100 + party.index() as u8; 40]);
        assert_eq!(dealt.dir(party).summary(dealt.id).unwrap().trained, Some(TRAINED));
        let file = read(dealt.file(party, "set.key")).unwrap();
        assert_eq!(file.len() as u64, TRAINED.file_bytes());
        let other = [101 - party.index() as u8; 40];
        assert!(!file.windows(40).any(|bytes| bytes == other), "the other party's share");
    }
    // A set of its own mask has none.
    let usual = Dealt::new(images());
    assert!(usual.keys(P0).trained().is_none() && usual.keys(P0).mask_share().is_err());
    assert_eq!(read(usual.file(P0, "set.key")).unwrap().len(), 4096);
}

#[test]
fn no_flipped_bit_and_no_other_length_of_a_share_goes_unnoticed() {
    let dealt = dealt(&ended());
    let path = dealt.file(P1, "set.key");
    let whole = read(&path).unwrap();
    let open = || dealt.dir(P1).key_set(dealt.id, PLAN, layout(), false);
    for at in (0..4096).step_by(31).chain(4096..whole.len()) {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        write(&path, &bad).unwrap();
        let e = match open() {
            Err(e) if at < 4096 => e,
            Ok(keys) if at >= 4096 => error(keys.mask_share()),
            _ => panic!("byte {at}"),
        };
        let named = match at {
            0..8 => matches!(e, Error::NotKeyFile { .. }),
            8..12 => matches!(e, Error::Version { .. }),
            _ => matches!(e, Error::Corrupt { .. }),
        };
        assert!(named, "{at}: {e}");
    }
    for len in (0..whole.len()).step_by(97).chain([4096, whole.len() - 1]) {
        write(&path, &whole[..len]).unwrap();
        assert!(matches!(error(open()), Error::Length { .. } | Error::NotKeyFile { .. }), "{len}");
    }
    write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(matches!(error(open()), Error::Length { .. }));
    // The other half's share under this half's header.
    let other = read(dealt.file(P0, "set.key")).unwrap();
    write(&path, [&whole[..4096], &other[4096..]].concat()).unwrap();
    assert!(matches!(error(open().unwrap().mask_share()), Error::Corrupt { .. }));
}

#[test]
fn a_set_travels_whole_and_is_taken_for_the_plans_network_only() {
    let dealt = dealt(&ended());
    let file = read(dealt.file(P0, "set.key")).unwrap();
    let root = tempfile::tempdir().unwrap();
    let there = KeyDir::open(root.path(), P0).unwrap();
    for weights in [0, 36, 44] {
        assert!(matches!(error(there.receive_set(&mut &file[..], weights)), Error::Length { .. }));
    }
    let mut bad = file.clone();
    bad[4100] ^= 1;
    assert!(matches!(error(there.receive_set(&mut &bad[..], 40)), Error::Corrupt { .. }));
    assert!(matches!(error(there.receive_set(&mut &file[..4120], 40)), Error::Io { .. }));
    assert!(there.key_sets().unwrap().is_empty(), "nothing was begun");
    assert_eq!(there.receive_set(&mut &file[..], 40).unwrap(), dealt.id);
    assert_eq!(read(there.path(dealt.id).join("set.key")).unwrap(), file);
    // A half that was delivered is erased with its share.
    dealt.dir(P0).clear_delivered(dealt.id, images().cut).unwrap();
    assert!(!dealt.file(P0, "set.key").exists());
}

#[test]
fn a_deal_goes_on_for_the_same_weights_only() {
    let three = ended();
    let dealt = dealt(&three);
    let trained = three.dealer().trained("inference").unwrap();
    let spec = |of| DealSpec { trained: Some(Arc::new(TrainedMasks { of, ..trained.clone() })), ..images() };
    dealt.resume(spec(TRAINED)).unwrap();
    for other in [
        Trained { run: RunId([8; 16]), ..TRAINED },
        Trained { at: id(2, 2), ..TRAINED },
        Trained { at: id(1, 3), ..TRAINED },
    ] {
        let e = error(dealt.resume(spec(other)));
        assert!(matches!(e, Error::OtherWeights { .. }) && e.blame() == Blame::Plan, "{e}");
        assert!(
            e.to_string().contains(&other.to_string()) && e.to_string().contains(&TRAINED.to_string()),
            "{e}"
        );
    }
    let e = error(dealt.resume(images())).to_string();
    assert!(e.contains("weights that are provisioned"), "{e}");
    assert!(error(Dealt::new(images()).resume(spec(TRAINED))).to_string().contains("provisioned"));
    // Shares of another length are a mistake of the caller.
    let short = TrainedMasks { of: TRAINED, shares: [vec![1; 40].into(), vec![1; 39].into()] };
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let spec = DealSpec { trained: Some(Arc::new(short)), ..images() };
    assert!(matches!(
        error(SetWriter::create([roots[0].path(), roots[1].path()], spec)),
        Error::Sequence { .. }
    ));
}

#[test]
fn a_party_finds_its_half_and_notes_that_it_is_used() {
    let three = ended();
    let mut marks = vec![];
    for party in PartyId::BOTH {
        let found = find(three.root(party.index()), party, TRAINED).unwrap();
        let of = found.weights().unwrap();
        assert_eq!((&of.values[..], &of.share[..]), (&[3; 40][..], &[100 + party.index() as u8; 40][..]));
        marks.push(found.mark());
        let used = |what: &str| {
            found.note(what).unwrap();
            survey(three.root(party.index())).unwrap()[0].provisioned
        };
        assert_eq!([used("a"), used("a"), used("b")], [1, 1, 2]);
        // while the run is open elsewhere, what is noted may be read
        let open = three.party(party);
        assert_eq!(used("a"), 2);
        assert!(matches!(error(found.note("c")), Error::Locked { .. }));
        drop(open);
        found.weights().unwrap();
        three.party(party);
    }
    assert_eq!(marks[0], marks[1]);
}

#[test]
fn what_a_party_lacks_is_named() {
    let three = ended();
    let root = three.root(0);
    let why = |party, trained| {
        let e = error(find(root, party, trained));
        assert!(!matches!(e, Error::NotTrained { .. }) || e.blame() == Blame::Short);
        e
    };
    let e = why(P1, TRAINED);
    assert!(matches!(e, Error::WrongHolder { found: Holder::Party(P0), .. }), "{e}");
    let e = why(P0, Trained { run: RunId([9; 16]), ..TRAINED }).to_string();
    assert!(e.contains("the run is not here") && e.contains("name the folder"), "{e}");
    let e = why(P0, Trained { at: id(1, 3), ..TRAINED }).to_string();
    assert!(e.contains("the run ended with step 2 of attempt 1") && e.contains("step 3"), "{e}");
    assert!(why(P0, Trained { bytes: 44, ..TRAINED }).to_string().contains("40 bytes of weights, not 44"));
    let going = Three::new().trained();
    assert!(error(find(going.root(0), P0, TRAINED)).to_string().contains("the run has not ended"));
    // A file that is damaged, another one's, or gone.
    let name = "00001-00000002.checkpoint";
    let (path, whole) = (three.file(0, name), read(three.file(0, name)).unwrap());
    for at in (0..whole.len()).step_by(7) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        write(&path, &bad).unwrap();
        assert!(find(root, P0, TRAINED).is_err(), "byte {at}");
    }
    for len in [0, 167, 168, whole.len() - 1] {
        write(&path, &whole[..len]).unwrap();
        assert!(matches!(error(find(root, P0, TRAINED)), Error::BadCheckpoint { .. }), "{len}");
    }
    copy(three.file(1, name), &path).unwrap();
    assert!(matches!(error(find(root, P0, TRAINED)), Error::WrongHolder { .. }));
    remove_file(&path).unwrap();
    assert!(error(find(root, P0, TRAINED)).to_string().contains("that checkpoint is not here"));
}
