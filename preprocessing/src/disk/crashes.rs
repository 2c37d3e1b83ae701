//! A key set's whole life, crashed between any two calls that change the disk: nothing is lost, forgotten or left over.
//! And each sync is needed: without it, one of these crashes breaks a promise.

use super::crash::{Disk, Tree};
use super::watch::{self, Call};
use crate::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use twoply_primitives::{KeySetId, KeySink, Part, PartyId, Site};

const PLAN: PlanDigest = PlanDigest([7; 32]);
/// One image per segment.
const SEGMENTS: u32 = 2;
const WEIGHTS: [u8; 32] = [3; 32];
/// Both halves where they are dealt, and P1's where it is received.
const PLACES: [(&str, PartyId); 3] = [("p0", PartyId::P0), ("p1", PartyId::P1), ("received", PartyId::P1)];

fn layout() -> Layout {
    let part = Part { elements: 700, fields: [vec![64], vec![64]] };
    Layout { gates: vec![GateLayout { name: "mul".into(), parts: vec![part] }] }
}

fn spec() -> DealSpec {
    let cut = Cut::new(SEGMENTS.into(), 1).unwrap();
    DealSpec { plan: PLAN, layout: layout(), cut, seeds: SeedSource::InsecureTest(1) }
}

/// What a caller was told: it must outlive any crash from then on.
#[derive(Clone, Copy, Debug)]
enum Promise {
    /// The key set is there, in both halves.
    Begun,
    /// The half that is received is there.
    Received,
    /// A segment is there at a place.
    Dealt(usize, u32),
    /// These images are spent at P0.
    Spent(u64),
    /// P0's weight mask is bound.
    Bound,
    /// P0's file of this segment is to be erased from now on.
    Erasing(u32),
    /// It is erased.
    Erased(u32),
}

/// A life that was recorded: the calls, and after how many of them what was promised.
struct Life {
    root: TempDir,
    id: KeySetId,
    calls: Vec<Call>,
    promises: Vec<(usize, Promise)>,
    /// Trees that were looked at, after so many promises, and what was found.
    found: RefCell<HashMap<(usize, Tree), Found>>,
}

/// What is wrong, if anything.
type Found = std::result::Result<(), String>;

fn key_set(root: &Path, place: usize, id: KeySetId) -> Result<KeySet> {
    let (name, party) = PLACES[place];
    KeyDir::open(root.join(name), party)?.key_set(id, PLAN, layout(), true)
}

/// Deals, receives, spends, binds and erases for real.
fn live() -> Life {
    let root = tempfile::tempdir().unwrap();
    let roots = PLACES.map(|(name, _)| root.path().join(name));
    roots.iter().for_each(|root| fs::create_dir(root).unwrap());
    let mut promises = vec![];
    watch::begin();
    let mut promise = |promise| promises.push((watch::count(), promise));
    let set = SetWriter::create([&roots[0], &roots[1]], spec()).unwrap();
    let id = set.key_set();
    promise(Promise::Begun);
    let there = KeyDir::open(&roots[2], PartyId::P1).unwrap();
    let dealt = |name: &str| fs::read(roots[1].join(id.to_string()).join(name)).unwrap();
    there.receive_set(&mut &dealt("set.key")[..]).unwrap();
    promise(Promise::Received);
    for segment in 0..SEGMENTS {
        let mut writer = set.segment(segment).unwrap().unwrap();
        let bytes = [0, 1].map(|party| vec![17 + party; 700 * 8]);
        writer.put("mul", Site { gate: 0, part: 0 }, 0, bytes).unwrap();
        writer.finish().unwrap();
        promise(Promise::Dealt(0, segment));
        promise(Promise::Dealt(1, segment));
        let name = format!("seg-{segment:05}.key");
        key_set(root.path(), 2, id).unwrap().receive(segment, &mut &dealt(&name)[..]).unwrap();
        promise(Promise::Dealt(2, segment));
    }
    let keys = key_set(root.path(), 0, id).unwrap();
    let mut ledger = keys.ledger().unwrap();
    ledger.bind_weights(WEIGHTS).unwrap();
    promise(Promise::Bound);
    let _ = ledger.reserve(0..1).unwrap();
    promise(Promise::Spent(1));
    promise(Promise::Erasing(0));
    keys.erase(0, &ledger).unwrap();
    promise(Promise::Erased(0));
    ledger.advance_to(2).unwrap();
    promise(Promise::Spent(2));
    Life { id, calls: watch::end(), promises, root, found: RefCell::default() }
}

impl Life {
    fn file(&self, place: usize, segment: u32) -> PathBuf {
        let folder = self.root.path().join(PLACES[place].0).join(self.id.to_string());
        folder.join(format!("seg-{segment:05}.key"))
    }

    /// Goes through all crashes; what the first broken promise is.
    fn check(&self, calls: &[Call], promises: &[(usize, Promise)]) -> Found {
        let roots = PLACES.map(|(name, _)| self.root.path().join(name));
        let mut disk = Disk::new(self.root.path(), &roots);
        let mut number = None;
        for at in 0..=calls.len() {
            if at > 0 {
                disk.take(&calls[at - 1]);
            }
            let told: Vec<Promise> = promises.iter().filter(|(after, _)| *after <= at).map(|p| p.1).collect();
            if told.iter().any(|p| matches!(p, Promise::Erasing(0))) {
                number = number.or(disk.number(&self.file(0, 0)));
            }
            if let Some(number) = number {
                let erased = told.iter().any(|p| matches!(p, Promise::Erased(0)));
                residue(&disk, number, erased).map_err(|why| format!("after {at} calls: {why}"))?;
            }
            for tree in disk.after_crash() {
                let key = (told.len(), tree);
                let known = self.found.borrow().get(&key).cloned();
                let found = known.unwrap_or_else(|| self.found(&key.1, &told));
                self.found.borrow_mut().insert(key, found.clone());
                found.map_err(|why| format!("after {at} calls: {why}"))?;
            }
        }
        Ok(())
    }

    /// A machine finds this after a crash, and goes on.
    fn found(&self, tree: &Tree, told: &[Promise]) -> Found {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        PLACES.iter().for_each(|(name, _)| fs::create_dir(root.join(name)).unwrap());
        for (path, content) in tree {
            let path = root.join(path);
            match content {
                None => fs::create_dir(&path).unwrap(),
                Some(bytes) => {
                    fs::write(&path, bytes).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                }
            }
        }
        for (place, (name, _)) in PLACES.iter().enumerate() {
            self.half(root, place, told).map_err(|why| format!("{name}: {why}"))?;
        }
        for promise in told {
            self.kept(root, *promise).map_err(|why| format!("{promise:?}: {why}"))?;
        }
        // A dealer begins, or goes on, whatever it finds.
        let roots = PLACES.map(|(name, _)| root.join(name));
        let spent = told.iter().any(|p| matches!(p, Promise::Spent(_) | Promise::Bound));
        let set = SetWriter::begin([&roots[0], &roots[1]], self.id, spec()).map_err(|e| e.to_string())?;
        if !spent {
            for segment in 0..SEGMENTS {
                let _ = set.segment(segment).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    /// Whatever has its name is whole, and `set.key` is never without what comes before it.
    fn half(&self, root: &Path, place: usize, told: &[Promise]) -> Found {
        let (name, party) = PLACES[place];
        let dir = root.join(name).join(self.id.to_string());
        let account = Account { key_set: self.id, party, cut: spec().cut };
        if dir.join("ledger").exists() {
            Tally::read(&dir.join("ledger"), &account).map_err(|e| e.to_string())?;
        }
        if dir.join("set.key").exists() {
            let set = key_set(root, place, self.id).map_err(|e| e.to_string())?;
            let tally = set.tally().map_err(|e| e.to_string())?;
            for (segment, whole) in set.verify().map_err(|e| e.to_string())? {
                let spent = u64::from(segment) < tally.next;
                let erasing = told.iter().any(|p| matches!(p, Promise::Erasing(s) if *s == segment));
                whole.or_else(|e| if spent && erasing { Ok(()) } else { Err(e.to_string()) })?;
            }
            let other = root.join(["p1", "p0"][place.min(1)]).join(self.id.to_string()).join("ledger");
            if place < 2 && !other.exists() {
                return Err("set.key is here, and the other half was never begun".into());
            }
        }
        Ok(())
    }

    fn kept(&self, root: &Path, promise: Promise) -> Found {
        let tally = || key_set(root, 0, self.id).and_then(|set| set.tally()).map_err(|e| e.to_string());
        let there = |place: usize, segment| {
            let path = self.file(place, segment);
            root.join(path.strip_prefix(self.root.path()).unwrap()).exists()
        };
        let kept = match promise {
            Promise::Begun => (0..2).all(|place| key_set(root, place, self.id).is_ok()),
            Promise::Received => key_set(root, 2, self.id).is_ok(),
            // erased later
            Promise::Dealt(0, 0) => there(0, 0) || tally()?.next > 0,
            Promise::Dealt(place, segment) => there(place, segment),
            Promise::Spent(next) => tally()?.next >= next,
            Promise::Bound => tally()?.weights == Some(WEIGHTS),
            Promise::Erasing(_) => true,
            Promise::Erased(segment) => !there(0, segment),
        };
        kept.then_some(()).ok_or_else(|| "broken".into())
    }
}

/// The seed goes first: nothing of a file that is being erased is gone while its first page may be there. In the end
/// nothing is left.
fn residue(disk: &Disk, number: usize, erased: bool) -> Found {
    let page = layout::PAGE;
    for content in disk.residue(number) {
        let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if erased && !zeros(&content) {
            return Err("an erased file has left its content".into());
        }
        if zeros(&content[page..]) && !zeros(&content[..page]) {
            return Err("tiles were erased before the seed".into());
        }
    }
    Ok(())
}

#[test]
fn a_crash_between_any_two_calls_loses_and_reuses_nothing() {
    let life = live();
    let syncs = life.calls.iter().filter(|call| is_sync(call)).count();
    assert!(syncs > 30 && life.calls.len() > 2 * syncs, "{syncs} of {}", life.calls.len());
    life.check(&life.calls, &life.promises).unwrap();
}

fn is_sync(call: &Call) -> bool {
    matches!(call, Call::Synced(_) | Call::SyncedFolder(_))
}

/// Each sync is left out in turn, and missed.
#[test]
fn every_sync_is_needed() {
    let life = live();
    for (at, call) in life.calls.iter().enumerate().filter(|(_, call)| is_sync(call)) {
        let mut calls = life.calls.clone();
        calls.remove(at);
        let earlier = |after: usize| if after > at { after - 1 } else { after };
        let promises: Vec<_> = life.promises.iter().map(|(after, p)| (earlier(*after), *p)).collect();
        let found = life.check(&calls, &promises);
        assert!(found.is_err(), "call {at}, {call:?}, is not missed");
    }
}
