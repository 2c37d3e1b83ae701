//! The life of a key: dealt, received, leased, used, erased; and what happens when the dealer is killed.

use crate::common::*;
use std::fs::{File, OpenOptions, Permissions, read, remove_file, set_permissions, write};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use twoply_preprocessing::*;
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySink, PartyId, Seed, Site};

#[test]
fn what_is_dealt_comes_back_and_files_are_as_long_as_planned() {
    let dealt = Dealt::new(spec());
    for party in PartyId::BOTH {
        let keys = dealt.keys(party);
        let mut ledger = keys.ledger().unwrap();
        let mut images = reserve(&mut ledger, 10);
        let leases = images.take(10).unwrap();
        assert_eq!(leases.len(), 3);
        for (segment, lease) in leases.into_iter().enumerate() {
            let tiles = keys.open(lease).unwrap();
            assert_eq!(tiles.images(), 0..[4, 4, 2][segment]);
            assert_eq!(tiles.origin().segment, segment as u32);
            check_tiles(&tiles, segment as u32, party);
            let planned = layout().file_bytes(party, tiles.images().end).unwrap();
            let path = dealt.file(party, &format!("seg-0000{segment}.key"));
            assert_eq!(path.metadata().unwrap().len(), planned);
        }
        assert!(keys.verify().unwrap().is_empty(), "everything is spent, so nothing is left to verify");
    }
}

#[test]
fn halves_share_names_but_no_seeds_and_segments_share_neither() {
    let dealt = Dealt::new(spec());
    let mut seeds = Vec::new();
    let mut names = Vec::new();
    for party in PartyId::BOTH {
        let keys = dealt.keys(party);
        seeds.push(*keys.weight_seed().expose());
        let mut ledger = keys.ledger().unwrap();
        for lease in reserve(&mut ledger, 10).take(10).unwrap() {
            let tiles = keys.open(lease).unwrap();
            seeds.push(*tiles.seed().expose());
            names.push(tiles.segment_id());
        }
    }
    assert_eq!(names[..3], names[3..]);
    assert!(names[0] != names[1] && names[1] != names[2]);
    seeds.sort();
    seeds.dedup();
    assert_eq!(seeds.len(), 8);
}

#[test]
fn the_dealer_keeps_the_seeds_that_it_wrote() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let set = SetWriter::create([roots[0].path(), roots[1].path()], spec()).unwrap();
    let mut writer = set.segment(1).unwrap().unwrap();
    let seeds = writer.seeds().clone();
    fill(&mut writer, 1, 4).unwrap();
    let bytes = writer.finish().unwrap();
    for party in PartyId::BOTH {
        let dir = KeyDir::open(roots[party.index()].path(), party).unwrap();
        let keys = dir.key_set(set.key_set(), PLAN, layout(), false).unwrap();
        assert!(keys.weight_seed().expose() == set.weight_seeds()[party.index()].expose());
        let mut ledger = keys.ledger().unwrap();
        ledger.advance_to(4).unwrap();
        let tiles = keys.open(reserve(&mut ledger, 2).take(2).unwrap().pop().unwrap()).unwrap();
        assert!(tiles.seed().expose() == seeds[party.index()].expose());
        assert_eq!(bytes[party.index()], layout().file_bytes(party, 4).unwrap());
        // Segment 0 was not dealt: nothing can be proposed from image 0, two images from image 4 on are left.
        assert_eq!((keys.dealt(0), keys.dealt(6), keys.dealt(10)), (0, 8, 10));
    }
}

#[test]
fn a_tile_out_of_order_or_of_another_length_is_refused() {
    let dealt = Dealt::new(spec());
    for party in PartyId::BOTH {
        remove_file(dealt.file(party, "seg-00000.key")).unwrap();
    }
    let set = dealt.resume(spec()).unwrap();
    let all = tiles(4);
    let bytes = |i: usize| all[i].3.map(|len| vec![1; len]);
    let put = |i: usize, bytes: [Vec<u8>; 2]| {
        let mut writer = set.segment(0).unwrap().unwrap();
        writer.put(all[0].0, all[0].1, all[0].2, content_of(&all, 0)).unwrap();
        writer.put(all[i].0, all[i].1, all[i].2, bytes)
    };
    put(1, bytes(1)).unwrap();
    assert!(put(0, bytes(0)).is_err(), "twice");
    assert!(put(2, bytes(2)).is_err(), "one left out");
    let [mut long, other] = bytes(1);
    long.push(0);
    assert!(put(1, [long, other]).is_err(), "too long");
    let [mut short, other] = bytes(1);
    short.pop();
    assert!(put(1, [other.clone(), short]).is_err(), "halves swapped");
    let mut writer = set.segment(0).unwrap().unwrap();
    assert!(writer.put("mul", Site { gate: 0, part: 0 }, 0, bytes(0)).is_err(), "of another gate");
    fill(&mut writer, 0, 3).unwrap_err();
    let writer = set.segment(0);
    assert!(matches!(writer, Err(Error::Locked { .. })), "two dealers at once");
}

fn content_of(all: &[(&'static str, Site, usize, [usize; 2])], i: usize) -> [Vec<u8>; 2] {
    [0, 1].map(|p| content(0, p, all[i].1, all[i].2, all[i].3[p]))
}

#[test]
fn a_segment_with_missing_tiles_is_not_finished() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let set = SetWriter::create([roots[0].path(), roots[1].path()], spec()).unwrap();
    let mut writer = set.segment(0).unwrap().unwrap();
    let all = tiles(4);
    for i in 0..3 {
        writer.put(all[i].0, all[i].1, all[i].2, content_of(&all, i)).unwrap();
    }
    assert!(matches!(writer.finish(), Err(Error::Order { .. })));
    let folder = KeyDir::open(roots[0].path(), P0).unwrap().path(set.key_set());
    let mut names: Vec<_> = folder.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ledger", "set.key"], "an unfinished file leaves nothing behind");
}

/// A stream that dies after some bytes.
struct Dies(Vec<u8>, usize);

impl Write for Dies {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(self.1);
        if now == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(&bytes[..now]);
        self.1 -= now;
        Ok(now)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stream(out: impl Write, header: &Header, segment: u32) -> Result<u64> {
    let images = header.images as usize;
    let layout = Arc::new(layout().for_images(images as u32)?);
    let mut half = HalfWriter::start(out, "stream", header, &Seed::new([3; 32]), layout)?;
    for (name, at, tile, len) in tiles(images) {
        let p = header.party.index();
        half.put(name, at, tile, &content(segment, p, at, tile, len[p]))?;
    }
    let bytes = half.bytes_in_all();
    half.finish().map(|_| bytes)
}

#[test]
fn a_writer_killed_at_any_point_leaves_nothing_that_opens() {
    let dealt = Dealt::new(spec());
    let header = dealt.open(P1, 2).unwrap().header().clone();
    let mut whole = Dies(Vec::new(), usize::MAX);
    let bytes = stream(&mut whole, &header, 2).unwrap();
    assert_eq!(bytes, whole.0.len() as u64);
    let path = dealt.file(P1, "seg-00002.key");
    for kill in (0..whole.0.len()).step_by(whole.0.len() / 150) {
        let mut out = Dies(Vec::new(), kill);
        assert!(matches!(stream(&mut out, &header, 2), Err(Error::Io { .. })));
        assert_eq!(out.0, whole.0[..kill]);
        write(&path, &out.0).unwrap();
        assert!(dealt.open(P1, 2).is_err(), "{kill}");
    }
    write(&path, &whole.0).unwrap();
    dealt.open(P1, 2).unwrap().verify().unwrap();
}

#[test]
fn a_full_disk_is_named_with_the_bytes_it_needs() {
    let dealt = Dealt::new(spec());
    let header = dealt.open(P0, 0).unwrap().header().clone();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let e = stream(full, &header, 0).unwrap_err();
    let need = layout().file_bytes(P0, 4).unwrap();
    assert!(matches!(e, Error::DiskFull { need: n, .. } if n == need), "{e}");
    assert_eq!(e.blame(), Blame::Local);
}

#[test]
fn a_deal_goes_on_where_it_was_killed() {
    let dealt = Dealt::new(spec());
    let set = dealt.resume(spec()).unwrap();
    assert_eq!(dealt.write(&set), [] as [u32; 0], "complete");
    let id = |party, segment| dealt.open(party, segment).unwrap().header().id;
    let before = [id(P0, 0), id(P0, 1), id(P0, 2)];
    // Killed between the two renames of segment 1, and while segment 2 was written.
    remove_file(dealt.file(P1, "seg-00001.key")).unwrap();
    for party in PartyId::BOTH {
        remove_file(dealt.file(party, "seg-00002.key")).unwrap();
        let left = dealt.file(party, "seg-00002.key.part");
        write(&left, b"half a seg").unwrap();
        set_permissions(&left, Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(dealt.dir(P0).summary(dealt.id).unwrap().partial.len(), 1);
    assert_eq!(dealt.write(&set), [1, 2]);
    for (segment, before) in before.into_iter().enumerate() {
        assert_eq!(id(P0, segment as u32), id(P1, segment as u32));
        assert_eq!(id(P0, segment as u32) == before, segment == 0, "dealt again from new seeds");
    }
    assert!(dealt.keys(P1).verify().unwrap().iter().all(|(_, r)| r.is_ok()));
    // Another cut, another plan or another source of seeds is not the same deal.
    let cut = Cut::new(10, 5).unwrap();
    assert!(matches!(dealt.resume(DealSpec { cut, ..spec() }), Err(Error::Exists { .. })));
    let plan = PlanDigest([1; 32]);
    assert!(matches!(dealt.resume(DealSpec { plan, ..spec() }), Err(Error::OtherPlan { .. })));
    assert!(dealt.resume(DealSpec { seeds: SeedSource::InsecureTest(1), ..spec() }).is_err());
}

/// What a run has open stays as it is; whoever comes next gets the keys that are there now.
#[test]
fn repro_a_segment_that_was_dealt_again_is_opened_anew() {
    let dealt = Dealt::new(spec());
    let keys = dealt.keys(P0);
    let mut images = reserve(&mut keys.ledger().unwrap(), 3);
    let mut open = || keys.open(images.take(1).unwrap().pop().unwrap()).unwrap();
    let old = open();
    remove_file(dealt.file(P1, "seg-00000.key")).unwrap();
    assert_eq!(dealt.write(&dealt.resume(spec()).unwrap()), [0]);
    let new = open();
    assert!(old.segment_id() != new.segment_id() && old.seed().expose() != new.seed().expose());
    assert_eq!(
        (keys.peek(0).unwrap().segment_id(), open().segment_id()),
        (new.segment_id(), new.segment_id())
    );
    assert_eq!(dealt.open(P0, 0).unwrap().header().id, new.segment_id());
    [old, new].iter().for_each(|keys| check_tiles(keys, 0, P0));
}

/// Neither half is dealt into once one was moved away.
#[test]
fn repro_a_half_that_stayed_is_not_dealt_again() {
    let dealt = Dealt::new(spec());
    let set = dealt.resume(spec()).unwrap();
    let folder = dealt.dir(P1).path(dealt.id);
    std::fs::rename(&folder, dealt.roots[1].path().join("elsewhere")).unwrap();
    let before = read(dealt.file(P0, "seg-00001.key")).unwrap();
    let begun = set.segment(1).map(|_| ());
    assert!(matches!(begun, Err(Error::Missing { .. })), "{begun:?}");
    assert!(read(dealt.file(P0, "seg-00001.key")).unwrap() == before && !folder.exists());
}

/// Leftovers of a killed beginning are erased, anything that may have been used is not.
#[test]
fn only_a_stillborn_half_is_cleared() {
    let dealt = Dealt::new(spec());
    let (dir, cut) = (dealt.dir(P1), spec().cut);
    dir.clear_stillborn(dealt.id, cut).unwrap();
    remove_file(dealt.file(P1, "set.key")).unwrap();
    assert!(matches!(dir.clear_stillborn(dealt.id, cut), Err(Error::Missing { .. })), "segments are there");
    for segment in 0..3 {
        remove_file(dealt.file(P1, &format!("seg-{segment:05}.key"))).unwrap();
    }
    let account = Account { key_set: dealt.id, party: P1, cut };
    let mut ledger = Ledger::open_file(&dealt.file(P1, "ledger"), account).unwrap();
    assert!(matches!(dir.clear_stillborn(dealt.id, cut), Err(Error::Locked { .. })));
    ledger.bind_weights([1; 32]).unwrap();
    drop(ledger);
    assert!(matches!(dir.clear_stillborn(dealt.id, cut), Err(Error::Missing { .. })), "bound");
    assert!(matches!(dir.clear_delivered(dealt.id, cut), Err(Error::Used { .. })));
    assert!(dealt.file(P1, "ledger").exists());
    remove_file(dealt.file(P1, "ledger")).unwrap();
    dir.clear_stillborn(dealt.id, cut).unwrap();
    assert!(!dir.path(dealt.id).exists());
}

#[test]
fn both_halves_in_one_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let made = SetWriter::create([root.path(), root.path()], spec()).map(|_| ());
    assert!(matches!(made, Err(Error::Exists { .. })));
}

#[test]
fn a_spent_segment_is_erased_when_nobody_reads_it() {
    let dealt = Dealt::new(spec());
    let keys = dealt.keys(P0);
    let mut ledger = keys.ledger().unwrap();
    let mut images = reserve(&mut ledger, 6);
    assert!(matches!(keys.erase(1, &ledger), Err(Error::StillNeeded { .. })), "half spent");
    let tiles = keys.open(images.take(4).unwrap().pop().unwrap()).unwrap();
    let page = twoply_primitives::KeySource::tile(&tiles, "relu", Site { gate: 1, part: 0 }, 0).unwrap();
    drop(tiles);
    assert!(matches!(keys.erase(0, &ledger), Err(Error::StillNeeded { .. })), "a tile is still held");
    assert_eq!(keys.gc(&ledger).unwrap(), Gc { in_use: vec![0], ..Gc::default() });
    drop(page);

    let witness = dealt.roots[0].path().join("hard link");
    std::fs::hard_link(dealt.file(P0, "seg-00000.key"), &witness).unwrap();
    write(dealt.file(P0, "seg-00007.key.part"), b"x").unwrap();
    let writing = PartFile::create(dealt.file(P0, "seg-00008.key"), 1).unwrap();
    let done = keys.gc(&ledger).unwrap();
    assert_eq!((done.erased, done.partial), (vec![0], vec![dealt.file(P0, "seg-00007.key.part")]));
    assert!(dealt.file(P0, "seg-00008.key.part").exists(), "someone is writing it");
    drop(writing);
    assert!(read(witness).unwrap().iter().all(|&b| b == 0));
    keys.erase(0, &ledger).unwrap();

    images.take(1).unwrap().clear();
    ledger.settle(images);
    ledger.close().unwrap();
    let summary = dealt.dir(P0).summary(dealt.id).unwrap();
    let states: Vec<_> = summary.segments.iter().map(|s| (s.images, s.state)).collect();
    assert_eq!(states, [(4, SegmentState::Erased), (4, SegmentState::Ready), (2, SegmentState::Ready)]);
    assert_eq!((summary.spent, summary.burnt, summary.left(), summary.ready), (6, 1, 4, 4));
    // What is spent is not dealt again.
    assert_eq!(dealt.write(&dealt.resume(spec()).unwrap()), [] as [u32; 0]);
}

#[test]
fn a_lease_opens_its_own_key_set_only() {
    let (dealt, other) = (Dealt::new(spec()), Dealt::new(spec()));
    let keys = dealt.keys(P0);
    let lease = reserve(&mut keys.ledger().unwrap(), 1).take(1).unwrap().pop().unwrap();
    let opened = other.keys(P0).open(lease).map(|_| ());
    assert!(matches!(opened, Err(Error::WrongKeySet { .. })));
}

#[test]
fn the_first_key_set_with_images_left_is_chosen() {
    let dealt = Dealt::new(spec());
    let roots = [dealt.roots[0].path(), dealt.roots[1].path()];
    let second = SetWriter::create(roots, spec()).unwrap().key_set();
    std::fs::create_dir(roots[0].join("0".repeat(32))).unwrap(); // a deal killed at its beginning
    let mut ids = [dealt.id, second];
    ids.sort();
    for id in ids {
        assert_eq!(dealt.dir(P0).choose(PLAN).unwrap(), id);
        let keys = dealt.dir(P0).key_set(id, PLAN, layout(), false).unwrap();
        keys.ledger().unwrap().advance_to(10).unwrap();
    }
    let none = dealt.dir(P0).choose(PLAN).unwrap_err();
    assert!(matches!(none, Error::Missing { .. }) && none.blame() == Blame::Short, "{none}");
    assert!(KeyDir::open(roots[0].join("absent"), P0).is_err());
}

#[test]
fn a_party_elsewhere_receives_its_half() {
    let dealt = Dealt::new(spec());
    let root = tempfile::tempdir().unwrap();
    let there = KeyDir::open(root.path(), P1).unwrap();
    let set = |party| File::open(dealt.file(party, "set.key")).unwrap();
    assert!(matches!(there.receive_set(&mut set(P0), 0), Err(Error::WrongParty { .. })));
    let id = there.receive_set(&mut set(P1), 0).unwrap();
    assert!(matches!(there.receive_set(&mut set(P1), 0), Err(Error::Exists { .. })), "the ledger survives");
    let keys = there.key_set(id, PLAN, layout(), false).unwrap();
    let whole = read(dealt.file(P1, "seg-00001.key")).unwrap();
    let mut bad = whole.clone();
    bad[70_000] ^= 1;
    assert!(matches!(keys.receive(1, &mut &bad[..]), Err(Error::Corrupt { .. })));
    assert!(matches!(keys.receive(1, &mut &whole[..whole.len() - 1]), Err(Error::Length { .. })));
    assert!(matches!(keys.receive(0, &mut &whole[..]), Err(Error::WrongSegment { .. })));
    assert!(keys.receive(3, &mut &whole[..]).is_err());
    let stream = [&whole[..], b"the next message"].concat();
    let mut stream = &stream[..];
    assert_eq!(keys.receive(1, &mut stream).unwrap(), whole.len() as u64);
    assert_eq!(stream, b"the next message");
    let mut ledger = keys.ledger().unwrap();
    ledger.advance_to(4).unwrap();
    let tiles = keys.open(reserve(&mut ledger, 1).take(1).unwrap().pop().unwrap()).unwrap();
    check_tiles(&tiles, 1, P1);
    let names: Vec<_> = there.summary(id).unwrap().segments.iter().map(|s| s.state).collect();
    assert_eq!(names, [SegmentState::Erased, SegmentState::Ready, SegmentState::Missing]);
}
