//! A key set is delivered elsewhere and its halves here are erased; another one was begun only.

use crate::disk::life::{self, Found, Life};
use crate::*;
use std::path::{Path, PathBuf};
use twoply_primitives::{KeySetId, KeySink, Part, PartyId, Site};

const DELIVERED: KeySetId = KeySetId([9; 16]);
const STILLBORN: KeySetId = KeySetId([8; 16]);
const HALVES: [(&str, PartyId); 2] = [("p0", PartyId::P0), ("p1", PartyId::P1)];
const FILES: [&str; 2] = ["seg-00000.key", "set.key"];

fn layout() -> Layout {
    let part = Part { elements: 700, fields: [vec![64], vec![64]] };
    Layout { gates: vec![GateLayout { name: "mul".into(), parts: vec![part] }] }
}

fn spec() -> DealSpec {
    let (cut, seeds) = (Cut::new(1, 1).unwrap(), SeedSource::InsecureTest(1));
    DealSpec { plan: PlanDigest([7; 32]), layout: layout(), cut, seeds, trained: None }
}

fn begin(root: &Path, id: KeySetId) -> Result<SetWriter> {
    let roots = HALVES.map(|(name, _)| root.join(name));
    SetWriter::begin([&roots[0], &roots[1]], id, spec())
}

fn dir(root: &Path, half: usize) -> Result<KeyDir> {
    KeyDir::open(root.join(HALVES[half].0), HALVES[half].1)
}

/// A file of a half, relative to the life's folder.
fn file(half: usize, name: usize) -> PathBuf {
    [HALVES[half].0, &DELIVERED.to_string(), FILES[name]].iter().collect()
}

/// This file of this half is to be erased from now on (false) or is erased (true).
#[derive(Clone, Copy, Debug)]
struct Erased(usize, usize, bool);

impl life::Promise for Erased {
    fn erases(&self) -> Option<(PathBuf, bool)> {
        Some((file(self.0, self.1), self.2))
    }
}

fn live(root: &Path, promise: &mut dyn FnMut(Erased)) {
    let mut writer = begin(root, DELIVERED).unwrap().segment(0).unwrap().unwrap();
    let bytes = [0, 1].map(|party| vec![17 + party; 700 * 8]);
    writer.put("mul", Site { gate: 0, part: 0 }, 0, bytes).unwrap();
    writer.finish().unwrap();
    for half in 0..2 {
        let mut all = |done| (0..FILES.len()).for_each(|name| promise(Erased(half, name, done)));
        all(false);
        dir(root, half).unwrap().clear_delivered(DELIVERED, spec().cut).unwrap();
        all(true);
    }
    // a beginning as a process leaves it that is killed before `set.key`
    drop(begin(root, STILLBORN).unwrap());
    for half in 0..2 {
        let half = dir(root, half).unwrap();
        disk::erase(&half.path(STILLBORN).join("set.key")).unwrap();
        half.clear_stillborn(STILLBORN, spec().cut).unwrap();
    }
}

/// Nothing that is erased came back, no half is whole without its ledger, and whoever goes on can erase what is left.
fn found(root: &Path, told: &[Erased]) -> Found {
    for Erased(half, name, _) in told.iter().filter(|Erased(.., done)| *done) {
        if root.join(file(*half, *name)).exists() {
            return Err(format!("{} came back", file(*half, *name).display()));
        }
    }
    for half in 0..2 {
        let erasing = told.iter().any(|Erased(of, ..)| *of == half);
        let dir = dir(root, half).map_err(|e| e.to_string())?;
        let whole = || dir.key_set(DELIVERED, spec().plan, layout(), true).is_ok();
        if erasing && !dir.path(DELIVERED).join("ledger").exists() && whole() {
            return Err(format!("half {half} is whole, and its ledger is gone"));
        }
        if erasing {
            dir.clear_delivered(DELIVERED, spec().cut).map_err(|e| e.to_string())?;
        }
        if !dir.path(STILLBORN).join("set.key").exists() {
            dir.clear_stillborn(STILLBORN, spec().cut).map_err(|e| e.to_string())?;
        }
        for id in [DELIVERED, STILLBORN] {
            if erasing && dir.path(id).exists() && !dir.path(id).join("set.key").exists() {
                return Err(format!("half {half} of {id} is left"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_crash_between_any_two_calls_leaves_what_can_be_erased() {
    Life::record(&HALVES.map(|(name, _)| name), live).survives(60, found);
}
