//! A key set's whole life.

use super::life::{self, Found, Life};
use crate::*;
use std::fs;
use std::path::{Path, PathBuf};
use twoply_primitives::{KeySetId, KeySink, Part, PartyId, Site};

const ID: KeySetId = KeySetId([9; 16]);
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
    DealSpec { plan: PLAN, layout: layout(), cut, seeds: SeedSource::InsecureTest(1), trained: None }
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

impl life::Promise for Promise {
    fn erases(&self) -> Option<(PathBuf, bool)> {
        match self {
            Promise::Erasing(segment) => Some((file(0, *segment), false)),
            Promise::Erased(segment) => Some((file(0, *segment), true)),
            _ => None,
        }
    }
}

fn file(place: usize, segment: u32) -> PathBuf {
    [PLACES[place].0, &ID.to_string(), &format!("seg-{segment:05}.key")].iter().collect()
}

fn key_set(root: &Path, place: usize) -> Result<KeySet> {
    let (name, party) = PLACES[place];
    KeyDir::open(root.join(name), party)?.key_set(ID, PLAN, layout(), true)
}

/// Deals, receives, spends, binds and erases for real.
fn live(root: &Path, promise: &mut dyn FnMut(Promise)) {
    let roots = PLACES.map(|(name, _)| root.join(name));
    let set = SetWriter::begin([&roots[0], &roots[1]], ID, spec()).unwrap();
    promise(Promise::Begun);
    let there = KeyDir::open(&roots[2], PartyId::P1).unwrap();
    let dealt = |name: &str| fs::read(roots[1].join(ID.to_string()).join(name)).unwrap();
    there.receive_set(&mut &dealt("set.key")[..], 0).unwrap();
    promise(Promise::Received);
    for segment in 0..SEGMENTS {
        let mut writer = set.segment(segment).unwrap().unwrap();
        let bytes = [0, 1].map(|party| vec![17 + party; 700 * 8]);
        writer.put("mul", Site { gate: 0, part: 0 }, 0, bytes).unwrap();
        writer.finish().unwrap();
        promise(Promise::Dealt(0, segment));
        promise(Promise::Dealt(1, segment));
        let name = format!("seg-{segment:05}.key");
        key_set(root, 2).unwrap().receive(segment, &mut &dealt(&name)[..]).unwrap();
        promise(Promise::Dealt(2, segment));
    }
    let keys = key_set(root, 0).unwrap();
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
}

/// A machine finds this after a crash, and goes on.
fn found(root: &Path, told: &[Promise]) -> Found {
    for (place, (name, _)) in PLACES.iter().enumerate() {
        half(root, place, told).map_err(|why| format!("{name}: {why}"))?;
    }
    for promise in told {
        kept(root, *promise).map_err(|why| format!("{promise:?}: {why}"))?;
    }
    // A dealer begins, or goes on, whatever it finds.
    let roots = PLACES.map(|(name, _)| root.join(name));
    let spent = told.iter().any(|p| matches!(p, Promise::Spent(_) | Promise::Bound));
    let set = SetWriter::begin([&roots[0], &roots[1]], ID, spec()).map_err(|e| e.to_string())?;
    if !spent {
        for segment in 0..SEGMENTS {
            let _ = set.segment(segment).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Whatever has its name is whole, and `set.key` is never without what comes before it.
fn half(root: &Path, place: usize, told: &[Promise]) -> Found {
    let (name, party) = PLACES[place];
    let dir = root.join(name).join(ID.to_string());
    let account = Account { key_set: ID, party, cut: spec().cut };
    if dir.join("ledger").exists() {
        Tally::read(&dir.join("ledger"), &account).map_err(|e| e.to_string())?;
    }
    if dir.join("set.key").exists() {
        let set = key_set(root, place).map_err(|e| e.to_string())?;
        let tally = set.tally().map_err(|e| e.to_string())?;
        for (segment, whole) in set.verify().map_err(|e| e.to_string())? {
            let spent = u64::from(segment) < tally.next;
            let erasing = told.iter().any(|p| matches!(p, Promise::Erasing(s) if *s == segment));
            whole.or_else(|e| if spent && erasing { Ok(()) } else { Err(e.to_string()) })?;
        }
        let other = root.join(["p1", "p0"][place.min(1)]).join(ID.to_string()).join("ledger");
        if place < 2 && !other.exists() {
            return Err("set.key is here, and the other half was never begun".into());
        }
    }
    Ok(())
}

fn kept(root: &Path, promise: Promise) -> Found {
    let tally = || key_set(root, 0).and_then(|set| set.tally()).map_err(|e| e.to_string());
    let there = |place: usize, segment| root.join(file(place, segment)).exists();
    let kept = match promise {
        Promise::Begun => (0..2).all(|place| key_set(root, place).is_ok()),
        Promise::Received => key_set(root, 2).is_ok(),
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

#[test]
fn a_crash_between_any_two_calls_loses_and_reuses_nothing_and_every_sync_is_needed() {
    Life::record(&PLACES.map(|(name, _)| name), live).crash(30, found);
}
