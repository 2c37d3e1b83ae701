//! A data key set at the owner of its rows: what left, or may have left, stays what it is.

use super::record::{self, Entry, Journal};
use super::{Bound, DataSpec, RowsDigest, SALT, Stored};
use crate::folder::{FileFolder, Folder};
use crate::run::Holder;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use twoply_primitives::PartyId;

/// The masked rows of a data key set and their ledger, until both parties have them.
pub struct OwnerRows<F> {
    journal: Journal<F>,
    /// What the parties have said to have stored.
    stored: BTreeSet<(u32, usize)>,
}

impl OwnerRows<FileFolder> {
    /// Begins below `root` (a folder). A name that was used before is refused.
    pub fn create(root: &Path, spec: &DataSpec) -> Result<()> {
        let records = record::new_ledger(Holder::Owner, spec);
        FileFolder::begin(&super::dir(root, spec.set), &records, None, record::MISSING)
    }

    /// Opens the rows and locks their ledger.
    pub fn open(root: &Path, spec: DataSpec) -> Result<Self> {
        OwnerRows::with(FileFolder::open(&super::dir(root, spec.set), record::MISSING)?, spec)
    }
}

impl<F: Folder> OwnerRows<F> {
    /// Opens rows whose folder is kept anywhere.
    pub fn with(folder: F, spec: DataSpec) -> Result<Self> {
        Ok(OwnerRows { journal: Journal::open(folder, Holder::Owner, spec)?, stored: BTreeSet::new() })
    }

    /// What the parties are to be told of a chunk that is on disk: DIGEST. After a crash only these rows may leave.
    pub fn digest(&self, chunk: u32) -> Option<RowsDigest> {
        let digest = *self.journal.account.bound.get(&chunk)?;
        Some(RowsDigest { set: self.journal.spec.set, chunk, digest })
    }

    /// Writes the masked rows of a chunk behind a fresh salt, and their digest, durably. Refused if the chunk has rows, the same or not.
    pub fn write(&mut self, chunk: u32, bytes: &[u8]) -> Result<RowsDigest> {
        let set = self.journal.spec.set;
        self.journal.book.sure()?;
        if self.digest(chunk).is_some() {
            return Err(Error::RowsBound { path: self.journal.book.name.clone(), chunk });
        }
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|e| Error::Randomness(e.to_string()))?;
        let digest = self.journal.spec.digest(chunk, [&salt, bytes])?;
        let digest = digest.ok_or(Error::Sequence { wanted: "rows of the plan's length" })?;
        self.journal.book.log.save(&super::name(chunk), &[&salt, bytes])?;
        self.journal.append(Entry::Rows(chunk, digest))?;
        Ok(RowsDigest { set, chunk, digest })
    }

    /// Takes what both parties are bound to, each as it came over the channel of that party. If it is what is on disk, the
    /// rows may leave.
    pub fn cleared(&self, chunk: u32, answers: [(PartyId, &Bound); 2]) -> Result<Cleared<'_, F>> {
        let ours = self.digest(chunk).ok_or(Error::Sequence { wanted: "the rows of this chunk" })?;
        if answers[0].0 == answers[1].0 {
            return Err(Error::Sequence { wanted: "BOUND of the other party" });
        }
        match answers.iter().all(|(_, bound)| bound.0 == ours) {
            true => Ok(Cleared { journal: &self.journal, chunk }),
            false => Err(Error::RowsBound { path: self.journal.book.name.clone(), chunk }),
        }
    }

    /// Takes STORED of a party.
    pub fn stored(&mut self, party: PartyId, stored: &Stored) -> Result<()> {
        let chunk = stored.0.chunk;
        if self.digest(chunk) != Some(stored.0) {
            return Err(Error::RowsBound { path: self.journal.book.name.clone(), chunk });
        }
        self.stored.insert((chunk, party.index()));
        Ok(())
    }

    /// Erases the rows when both parties have stored all of them; the ledger stays, so that no others follow.
    pub fn finish(mut self) -> Result<()> {
        if self.stored.len() as u64 != 2 * u64::from(self.journal.spec.cut.segments()) {
            return Err(Error::Sequence { wanted: "STORED of both parties for all rows" });
        }
        self.journal.append(Entry::Retired)?;
        self.journal.erase()
    }
}

/// A chunk that may leave: both parties are bound to it.
pub struct Cleared<'a, F> {
    journal: &'a Journal<F>,
    chunk: u32,
}

impl<F: Folder> Cleared<'_, F> {
    /// What leaves: the salt and the masked rows, as they are on disk.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let [salt, rows] = self.journal.rows(self.chunk)?;
        Ok([salt, rows].concat())
    }
}
