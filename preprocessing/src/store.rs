//! Opening keys: a folder of key sets, a key set for a plan, a segment for a lease.

mod ahead;
mod segment;

pub use ahead::Reading;
pub use segment::{Leased, Peek, Segment};

use crate::book::{FileLog, Log};
use crate::disk::{erase, open_private};
use crate::file::{Header, Kind, Wanted};
use crate::layout::PAGE;
use crate::ledger::{Account, Lease, Ledger, Tally};
use crate::set::{Cut, PlanDigest, parse_key_set};
use crate::trained::{Trained, file_bytes};
use crate::{Error, Layout, Result};
use segment::Inner;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use twoply_primitives::{KeySetId, PartyId, Seed};
use zeroize::Zeroizing;

pub(crate) const SET: &str = "set.key";
pub(crate) const LEDGER: &str = "ledger";
pub(crate) const WEIGHTS: &str = "weights.masked";

/// Name of the file of segment `segment`.
pub(crate) fn segment_name(segment: u32) -> String {
    format!("seg-{segment:05}.key")
}

/// Reads the header page of a key file.
pub(crate) fn read_header(path: &Path) -> Result<(Header, Seed)> {
    let mut page = Zeroizing::new(vec![0; PAGE]);
    let mut file = open_private(path, false)?;
    let len = segment::read_page(&mut file, &mut page).map_err(|e| Error::io(path, "read", e))?;
    let read = Header::decode(path, &page[..len])?;
    let (wanted, found) =
        (file_bytes(&read.0), file.metadata().map_err(|e| Error::io(path, "read", e))?.len());
    match read.0.kind != Kind::Segment && wanted != found {
        true => Err(Error::Length { path: path.into(), wanted, found }),
        false => Ok(read),
    }
}

/// One party's folder of key sets.
#[derive(Clone, Debug)]
pub struct KeyDir {
    root: PathBuf,
    party: PartyId,
}

impl KeyDir {
    /// The key folder `root` of `party`.
    pub fn open(root: impl Into<PathBuf>, party: PartyId) -> Result<Self> {
        let root = root.into();
        if !root.is_dir() {
            let remedy = "deal keys into it, or name another folder";
            return Err(Error::Missing { path: root, what: "the key folder".into(), remedy });
        }
        Ok(KeyDir { root, party })
    }

    /// Whose keys.
    pub fn party(&self) -> PartyId {
        self.party
    }

    /// Key sets in the folder, sorted.
    pub fn key_sets(&self) -> Result<Vec<KeySetId>> {
        let entries = std::fs::read_dir(&self.root).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.map_err(|e| Error::io(&self.root, "list", e))?;
        let names = entries.iter().filter_map(|e| e.file_name().to_str().and_then(parse_key_set));
        let mut sets: Vec<_> = names.collect();
        sets.sort();
        Ok(sets)
    }

    /// The folder of a key set.
    pub fn path(&self, key_set: KeySetId) -> PathBuf {
        self.root.join(key_set.to_string())
    }

    /// The first key set (by name, so both parties choose alike) that was dealt for `plan` and has unspent images.
    pub fn choose(&self, plan: PlanDigest) -> Result<KeySetId> {
        for key_set in self.key_sets()? {
            let summary = match self.summary(key_set) {
                // A deal that was killed at its very beginning.
                Err(Error::Missing { .. }) => continue,
                other => other?,
            };
            if summary.plan == plan && summary.left() > 0 {
                return Ok(key_set);
            }
        }
        let what = format!("a key set with unspent images for plan {plan}");
        Err(Error::Missing { path: self.root.clone(), what, remedy: "deal keys for this plan" })
    }

    /// Opens a key set for a plan with this digest and layout. `insecure` accepts keys from a test seed.
    pub fn key_set(
        &self,
        key_set: KeySetId,
        plan: PlanDigest,
        layout: Layout,
        insecure: bool,
    ) -> Result<KeySet> {
        let wanted = Wanted { party: self.party, key_set, plan: Some(plan), insecure };
        let dir = self.path(key_set);
        let (Header { trained, .. }, (cut, weight_seed)) = open_set(&dir, &wanted)?;
        Ok(KeySet { dir, wanted, cut, layout, weight_seed, trained, open: Mutex::default() })
    }
}

/// Reads and checks `set.key`.
pub(crate) fn open_set(dir: &Path, wanted: &Wanted) -> Result<(Header, (Cut, Seed))> {
    let path = dir.join(SET);
    let (header, seed) = read_header(&path)?;
    wanted.check(&path, &header, set_kind(&header))?;
    let cut = Cut::new(header.images, header.segment_images)?;
    if cut.segments() != header.segment {
        return Err(Error::corrupt(&path, "the number of segments"));
    }
    Ok((header, (cut, seed)))
}

/// The kind that a `set.key` of images must have: one of the two.
pub(crate) fn set_kind(header: &Header) -> Kind {
    if header.kind == Kind::Trained { Kind::Trained } else { Kind::Set }
}

/// One party's half of one key set, opened for a plan.
pub struct KeySet {
    pub(crate) dir: PathBuf,
    pub(crate) wanted: Wanted,
    pub(crate) cut: Cut,
    pub(crate) layout: Layout,
    weight_seed: Seed,
    pub(crate) trained: Option<Trained>,
    /// Segments whose bytes may still be read: these are not erased.
    open: Mutex<HashMap<u32, Weak<Inner>>>,
}

impl KeySet {
    /// Its name.
    pub fn id(&self) -> KeySetId {
        self.wanted.key_set
    }
    /// Whose half.
    pub fn party(&self) -> PartyId {
        self.wanted.party
    }
    /// Its images and segments.
    pub fn cut(&self) -> Cut {
        self.cut
    }
    /// Seed of this party's share of the weight mask; of no use where the set is for trained weights.
    pub fn weight_seed(&self) -> &Seed {
        &self.weight_seed
    }
    /// Where the masked weights are kept; their format is the caller's.
    pub fn weights_path(&self) -> PathBuf {
        self.dir.join(WEIGHTS)
    }
    /// Whose ledger goes with it.
    pub fn account(&self) -> Account {
        Account { key_set: self.id(), party: self.party(), cut: self.cut }
    }
    /// Opens and locks its ledger.
    pub fn ledger(&self) -> Result<Ledger<FileLog>> {
        Ledger::open_file(&self.dir.join(LEDGER), self.account())
    }
    /// What its ledger says, without locking it.
    pub fn tally(&self) -> Result<Tally> {
        Tally::read(&self.dir.join(LEDGER), &self.account())
    }

    pub(crate) fn segment_path(&self, segment: u32) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    /// One past the last image that can be reserved from image `next` on: up to the first segment file that is not
    /// there. For [`Ledger::propose`].
    pub fn dealt(&self, next: u64) -> u64 {
        let from = (next / u64::from(self.cut.segment_images())).min(self.cut.segments().into()) as u32;
        let present = (from..self.cut.segments()).take_while(|&s| self.segment_path(s).is_file());
        let end = present.last().and_then(|s| self.cut.range(s)).map_or(next, |r| r.end);
        end.max(next)
    }

    /// Uses up a lease: the tiles of its segment. Segments stay mapped while anything reads them.
    pub fn open(&self, lease: Lease) -> Result<Leased> {
        if lease.key_set != self.id() {
            let path = self.dir.clone();
            return Err(Error::WrongKeySet { path, wanted: self.id(), found: lease.key_set });
        }
        Ok(Leased::new(self.segment(lease.segment)?, lease.images))
    }

    /// Looks into a segment without using anything up.
    pub fn peek(&self, segment: u32) -> Result<Peek> {
        self.segment(segment).map(Peek)
    }

    /// Opens a segment, or shares it with those who have it open. One that was dealt again meanwhile is opened anew:
    /// whoever has the old one keeps it.
    pub(crate) fn segment(&self, segment: u32) -> Result<Segment> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.segment_path(segment);
        if let Some(inner) = open.get(&segment).and_then(Weak::upgrade)
            && inner.is(&path)
        {
            return Ok(Segment::from(inner));
        }
        let new = Segment::open(&path, &self.wanted, self.cut, segment, &self.layout)?;
        open.retain(|_, weak| weak.strong_count() > 0);
        open.insert(segment, Arc::downgrade(new.inner()));
        Ok(new)
    }

    /// Overwrites and removes a segment file all of whose images are spent. Refuses while this process still reads
    /// it; other processes are kept out by the lock of `ledger`. A file that is gone already is fine.
    ///
    /// Solid-state disks, copy-on-write file systems, snapshots and backups may keep the old bytes: keep keys on an
    /// encrypted volume or in memory (tmpfs) where that matters.
    pub fn erase<L: Log>(&self, segment: u32, ledger: &Ledger<L>) -> Result<()> {
        let path = self.segment_path(segment);
        let end = self.cut.range(segment).map_or(u64::MAX, |r| r.end);
        if *ledger.account() != self.account() || ledger.tally().next < end {
            return Err(Error::StillNeeded { path, why: "it has unspent images" });
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&segment).is_some_and(|weak| weak.strong_count() > 0) {
            return Err(Error::StillNeeded { path, why: "a run still reads it" });
        }
        if path.exists() { erase(&path) } else { Ok(()) }
    }
}
