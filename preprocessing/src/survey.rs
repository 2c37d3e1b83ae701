//! Looking after key folders: listing, verifying, and removing what is spent.

use crate::book::Log;
use crate::disk::{PART, erase, lock};
use crate::file::Wanted;
use crate::ledger::{Account, Ledger, Tally};
use crate::set::PlanDigest;
use crate::store::{KeyDir, KeySet, LEDGER, open_set, segment_name};
use crate::trained::Trained;
use crate::{Error, Result};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// What a key set holds, for a listing. Needs neither plan nor lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// The key set.
    pub key_set: KeySetId,
    /// The plan it was dealt for.
    pub plan: PlanDigest,
    /// Whether it was dealt from a test seed.
    pub insecure: bool,
    /// The trained weights that it is for; `None` where weights are provisioned.
    pub trained: Option<Trained>,
    /// Images of the whole key set.
    pub images: u64,
    /// Images spent.
    pub spent: u64,
    /// Of these, images that are not known to have been used.
    pub burnt: u64,
    /// Unspent images whose segment file is there.
    pub ready: u64,
    /// The segments, in order.
    pub segments: Vec<SegmentInfo>,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Files that a killed process left incomplete, or that are being written.
    pub partial: Vec<PathBuf>,
}

impl Summary {
    /// Images not spent, dealt or not.
    pub fn left(&self) -> u64 {
        self.images - self.spent
    }
}

/// One segment in a [`Summary`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SegmentInfo {
    /// Its number.
    pub segment: u32,
    /// Its images.
    pub images: u64,
    /// Whether its file is there.
    pub state: SegmentState,
    /// Length of its file; 0 if there is none.
    pub bytes: u64,
}

/// Whether a segment's keys can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum SegmentState {
    /// The file is there and has unspent images.
    Ready,
    /// All images are spent; the file waits for `gc`.
    Spent,
    /// All images are spent and the file is gone.
    Erased,
    /// Unspent images without a file: not dealt yet, not copied, or lost.
    Missing,
}

/// What [`KeySet::gc`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Gc {
    /// Segments erased.
    pub erased: Vec<u32>,
    /// Spent segments that a run still reads.
    pub in_use: Vec<u32>,
    /// Incomplete files removed.
    pub partial: Vec<PathBuf>,
}

/// Incomplete files in a folder, sorted.
fn partial(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Error::io(dir, "list", e))?;
    let paths = entries.iter().map(|e| e.path());
    let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == PART)).collect();
    paths.sort();
    Ok(paths)
}

impl KeyDir {
    /// What a key set holds.
    pub fn summary(&self, key_set: KeySetId) -> Result<Summary> {
        let (dir, party) = (self.path(key_set), self.party());
        let wanted = Wanted { party, key_set, plan: None, insecure: true };
        let (header, (cut, _)) = open_set(&dir, &wanted)?;
        let tally = Tally::read(&dir.join(LEDGER), &Account { key_set, party, cut })?;
        let mut ready = 0;
        let info = |segment| {
            let range = cut.range(segment).unwrap_or(0..0);
            let bytes = dir.join(segment_name(segment)).metadata().map(|m| m.len()).ok();
            let state = match (bytes, range.end <= tally.next) {
                (Some(_), false) => SegmentState::Ready,
                (Some(_), true) => SegmentState::Spent,
                (None, true) => SegmentState::Erased,
                (None, false) => SegmentState::Missing,
            };
            if state == SegmentState::Ready {
                ready += range.end - range.start.max(tally.next);
            }
            SegmentInfo { segment, images: range.end - range.start, state, bytes: bytes.unwrap_or(0) }
        };
        let segments: Vec<_> = (0..cut.segments()).map(info).collect();
        Ok(Summary {
            key_set,
            plan: header.plan,
            insecure: header.insecure,
            trained: header.trained,
            images: cut.images(),
            spent: tally.next,
            burnt: tally.burnt(),
            ready,
            bytes: segments.iter().map(|s| s.bytes).sum(),
            segments,
            partial: partial(&dir)?,
        })
    }
}

impl KeySet {
    /// Reads every unspent segment that is there, tile by tile; one result for each.
    pub fn verify(&self) -> Result<Vec<(u32, Result<()>)>> {
        let next = self.tally()?.next;
        let unspent = |&s: &u32| self.cut.range(s).is_some_and(|r| r.end > next);
        let there = (0..self.cut.segments()).filter(unspent).filter(|&s| self.segment_path(s).exists());
        Ok(there.map(|s| (s, self.segment(s).and_then(|segment| segment.verify()))).collect())
    }

    /// Erases spent segments and what killed writers left. Leaves alone what a run of this process reads and what a
    /// living process writes.
    pub fn gc<L: Log>(&self, ledger: &Ledger<L>) -> Result<Gc> {
        let mut done = Gc::default();
        let next = ledger.tally().next;
        let spent = |&s: &u32| self.cut.range(s).is_some_and(|r| r.end <= next);
        for segment in (0..self.cut.segments()).take_while(spent) {
            if !self.segment_path(segment).exists() {
                continue;
            }
            match self.erase(segment, ledger) {
                Ok(()) => done.erased.push(segment),
                Err(Error::StillNeeded { .. }) => done.in_use.push(segment),
                Err(e) => return Err(e),
            }
        }
        for path in partial(&self.dir)? {
            let file = match OpenOptions::new().write(true).open(&path) {
                // its writer has finished it meanwhile
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                other => other.map_err(|e| Error::io(&path, "open", e))?,
            };
            match lock(&path, &file) {
                Ok(()) => erase(&path)?,
                Err(Error::Locked { .. }) => continue,
                Err(e) => return Err(e),
            }
            done.partial.push(path);
        }
        Ok(done)
    }
}
