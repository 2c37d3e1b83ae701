//! Key files that are not what they should be: each defect has its own answer, and no bit goes unnoticed.

use crate::common::*;
use std::fs::{OpenOptions, Permissions, copy, read, rename, set_permissions, write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use twoply_preprocessing::*;
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySource, PartyId, Site};

fn error(result: Result<Segment>) -> Error {
    result.map(|_| ()).unwrap_err()
}

#[test]
fn swapped_halves() {
    let dealt = Dealt::new(spec());
    copy(dealt.file(P1, "seg-00000.key"), dealt.file(P0, "seg-00000.key")).unwrap();
    let e = error(dealt.open(P0, 0));
    assert!(matches!(e, Error::WrongParty { wanted: P0, found: P1, .. }), "{e}");
    assert!(e.to_string().contains("swapped") && e.to_string().contains("seg-00000.key"), "{e}");
    copy(dealt.file(P0, "set.key"), dealt.file(P1, "set.key")).unwrap();
    let opened = dealt.dir(P1).key_set(dealt.id, PLAN, layout(), false).map(|_| ());
    assert!(matches!(opened, Err(Error::WrongParty { .. })));
}

#[test]
fn another_plan_key_set_or_segment() {
    let (dealt, other) = (Dealt::new(spec()), Dealt::new(spec()));
    let plan = PlanDigest([8; 32]);
    let opened = dealt.dir(P0).key_set(dealt.id, plan, layout(), false).map(|_| ());
    assert!(matches!(opened, Err(ref e @ Error::OtherPlan { .. }) if e.blame() == Blame::Plan));

    copy(other.file(P0, "seg-00000.key"), dealt.file(P0, "seg-00000.key")).unwrap();
    assert!(matches!(error(dealt.open(P0, 0)), Error::WrongKeySet { found, .. } if found == other.id));

    rename(dealt.file(P0, "seg-00001.key"), dealt.file(P0, "seg-00000.key")).unwrap();
    assert!(matches!(error(dealt.open(P0, 0)), Error::WrongSegment { wanted: 0, found: 1, .. }));

    copy(dealt.file(P0, "set.key"), dealt.file(P0, "seg-00000.key")).unwrap();
    assert!(matches!(error(dealt.open(P0, 0)), Error::Corrupt { .. }));
    assert!(matches!(error(dealt.open(P0, 1)), Error::Missing { .. }));
    assert!(dealt.open(P0, 9).is_err());
}

#[test]
fn a_layout_of_another_plan_with_the_same_digest() {
    let dealt = Dealt::new(spec());
    let mut layout = layout();
    layout.gates[1].parts[1].elements += 3000;
    let wanted = Wanted { party: P1, key_set: dealt.id, plan: Some(PLAN), insecure: false };
    let path = dealt.file(P1, "seg-00000.key");
    let e = error(Segment::open(&path, &wanted, spec().cut, 0, &layout));
    assert!(matches!(e, Error::Length { .. }), "{e}");
}

#[test]
fn test_keys_where_real_ones_are_wanted() {
    let dealt = Dealt::new(DealSpec { seeds: SeedSource::InsecureTest(1), ..spec() });
    let open = |insecure| dealt.dir(P0).key_set(dealt.id, PLAN, layout(), insecure).map(|_| ());
    let e = open(false).unwrap_err();
    assert!(matches!(e, Error::InsecureSeed { .. }) && e.to_string().contains("--insecure-test-seed"), "{e}");
    open(true).unwrap();
    assert!(matches!(error(dealt.open(P0, 0)), Error::InsecureSeed { .. }));
    assert!(dealt.dir(P0).summary(dealt.id).unwrap().insecure);
    // The same number deals the same files.
    let again = Dealt::new(DealSpec { seeds: SeedSource::InsecureTest(1), ..spec() });
    let bytes = |d: &Dealt| read(d.file(P1, "seg-00002.key")).unwrap();
    assert!(dealt.id == again.id && bytes(&dealt) == bytes(&again));
}

#[test]
fn files_that_others_may_read() {
    let dealt = Dealt::new(spec());
    for name in ["seg-00000.key", "set.key", "ledger"] {
        let path = dealt.file(P0, name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let opened = match name {
            "seg-00000.key" => dealt.open(P0, 0).map(|_| ()),
            "set.key" => dealt.dir(P0).key_set(dealt.id, PLAN, layout(), false).map(|_| ()),
            _ => dealt.keys(P0).ledger().map(|_| ()),
        };
        let e = opened.unwrap_err();
        assert!(matches!(e, Error::Exposed { mode: 0o640, .. }), "{e}");
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let folder = dealt.dir(P0).path(dealt.id);
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn truncated_anywhere_or_too_long() {
    let dealt = Dealt::new(spec());
    for party in PartyId::BOTH {
        let path = dealt.file(party, "seg-00002.key");
        let whole = read(&path).unwrap();
        let boundaries =
            [0, 1, 7, 8, 12, 4095, 4096, 4097, whole.len() - 33, whole.len() - 32, whole.len() - 1];
        for len in boundaries.into_iter().chain((0..whole.len()).step_by(509)) {
            write(&path, &whole[..len]).unwrap();
            match error(dealt.open(party, 2)) {
                Error::NotKeyFile { .. } if len < 8 => {}
                Error::Length { found, .. } => assert_eq!(found, len as u64),
                e => panic!("{len}: {e}"),
            }
        }
        write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(error(dealt.open(party, 2)), Error::Length { .. }));
        write(&path, &whole).unwrap();
        dealt.open(party, 2).unwrap().verify().unwrap();
    }
    write(dealt.file(P0, "set.key"), [&read(dealt.file(P0, "set.key")).unwrap()[..], b"x"].concat()).unwrap();
    let opened = dealt.dir(P0).key_set(dealt.id, PLAN, layout(), false).map(|_| ());
    assert!(matches!(opened, Err(Error::Length { .. })));
}

/// Header, tiles, padding, index and trailer: about 3,000 single bits, at positions that differ by a prime.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let dealt = Dealt::new(spec());
    let path = dealt.file(P1, "seg-00002.key");
    let whole = read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let index = whole.len() - 32 - 16 * 3;
    let tail = index..whole.len();
    let mut seen = [0; 3];
    for at in (8..whole.len()).step_by((whole.len() / 3001) | 1).chain(tail) {
        let bit = 1 << (at % 8);
        file.write_all_at(&[whole[at] ^ bit], at as u64).unwrap();
        match dealt.open(P1, 2) {
            Err(Error::Version { .. }) if at < 12 => {}
            Err(Error::Corrupt { what, .. }) if at < 4096 => {
                assert_eq!(what, "the header");
                seen[0] += 1;
            }
            Err(Error::Corrupt { what, .. }) if at >= index => {
                assert_eq!(what, "the index of tiles");
                seen[1] += 1;
            }
            Err(e) => panic!("byte {at}: {e}"),
            Ok(segment) => {
                let e = segment.verify().unwrap_err();
                let tile = matches!(&e, Error::Corrupt { what, .. } if what.starts_with("tile"));
                assert!(tile && at < index, "byte {at}: {e}");
                seen[2] += 1;
            }
        }
        file.write_all_at(&whole[at..at + 1], at as u64).unwrap();
    }
    assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
    dealt.open(P1, 2).unwrap().verify().unwrap();
}

#[test]
fn a_tile_moved_to_another_place_or_segment_fails() {
    let dealt = Dealt::new(spec());
    let path = dealt.file(P0, "seg-00000.key");
    let whole = read(&path).unwrap();
    // The first two tiles of the ReLU: 4,096 and 1,904 elements of 129 bits. Overwrite the short with the long one's
    // beginning, as a store that confuses two tiles would.
    let (full, short) = (4096 * 128 / 8 + 512, 1904 * 128 / 8 + 238);
    let mut moved = whole.clone();
    moved.copy_within(4096..4096 + short, 4096 + full);
    write(&path, &moved).unwrap();
    let segment = dealt.open(P0, 0).unwrap();
    assert!(
        matches!(segment.verify(), Err(Error::Corrupt { what, .. }) if what.contains("tile 1 of gate 1 (relu)"))
    );
    drop(segment);
    // Tiles of another segment under this segment's header.
    let other = read(dealt.file(P0, "seg-00001.key")).unwrap();
    write(&path, [&whole[..4096], &other[4096..]].concat()).unwrap();
    assert!(matches!(error(dealt.open(P0, 0)), Error::Corrupt { what, .. } if what.contains("index")));
}

#[test]
fn a_gate_that_asks_for_the_tile_of_another() {
    let dealt = Dealt::new(spec());
    let keys = dealt.keys(P0);
    let mut ledger = keys.ledger().unwrap();
    let lease = reserve(&mut ledger, 1).take(1).unwrap().pop().unwrap();
    let tiles = keys.open(lease).unwrap();
    let e = tiles.tile("mul", Site { gate: 1, part: 0 }, 0).map(|_| ()).unwrap_err();
    let twoply_primitives::Error::PlanMismatch { at: 1, wanted, found } = e else { panic!("{e}") };
    assert_eq!((wanted.as_str(), found.as_str()), ("mul", "relu"));
    for (site, tile) in [((1, 2), 0), ((3, 0), 0), ((1, 0), 2)] {
        let site = Site { gate: site.0, part: site.1 };
        let e = tiles.tile("relu", site, tile).map(|_| ()).unwrap_err();
        assert!(matches!(e, twoply_primitives::Error::PlanMismatch { .. }), "{e}");
    }
    assert_eq!(tiles.elements(Site { gate: 1, part: 0 }).unwrap(), 6000);
    assert!(tiles.elements(Site { gate: 1, part: 2 }).is_err());
}

#[test]
fn a_ledger_that_is_gone_is_never_made_anew() {
    let dealt = Dealt::new(spec());
    std::fs::remove_file(dealt.file(P0, "ledger")).unwrap();
    let e = dealt.keys(P0).ledger().map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Missing { .. }) && e.to_string().contains("deal a new key set"), "{e}");
    assert!(dealt.resume(spec()).unwrap().segment(0).unwrap().is_none());
    assert!(!dealt.file(P0, "ledger").exists());
}
