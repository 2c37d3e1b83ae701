//! What the ledgers of parties and dealer have in common: records, and the checkpoints beside them.

use super::checkpoint::{self, Header, Wanted};
use super::record::{Entry, Expected, History, MISSING, STYLE};
use super::{CheckpointId, Holder, Mark, RunId, RunSpec, TermsHash};
use crate::book::{Book, FileLog};
use crate::folder::{FileFolder, Folder, save};
use crate::store::LEDGER;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// One holder's ledger of one run, with its checkpoints.
pub(super) struct Journal<F> {
    pub book: Book<F>,
    pub history: History,
    pub holder: Holder,
    pub spec: RunSpec,
    pub terms: TermsHash,
    /// Checkpoints whose files verify, the last one last. At the dealer the digests mean nothing.
    pub held: Vec<Mark>,
    /// What was wrong with other checkpoints' files when the run was opened.
    pub damaged: Vec<Error>,
}

/// The folder of a run.
pub(super) fn dir(root: &Path, run: RunId) -> PathBuf {
    root.join(run.to_string())
}

/// Creates a run's folder: its ledger, which begins with `entries`, then its first checkpoint.
pub(super) fn create(root: &Path, header: &Header, parts: &[&[u8]], entries: &[Entry]) -> Result<()> {
    let (dir, name) = (dir(root, header.run), checkpoint::name(header.id));
    checkpoint::digest_of(header, parts)?;
    FileFolder::begin(&dir, &super::record::begin(entries), Some(&name), MISSING)?;
    checkpoint::write(header, parts, |all| save(&dir.join(&name), all)).map(drop)
}

/// Opens the folder of a run and locks its ledger.
pub(super) fn folder(root: &Path, run: RunId) -> Result<FileFolder> {
    FileFolder::open(&dir(root, run), MISSING)
}

/// The runs in the folder `root` that have not ended and train on this data key set.
pub(crate) fn open_runs(root: &Path, set: KeySetId) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Error::io(root, "list", e))?;
    let mut open = vec![];
    for path in entries.iter().map(|entry| entry.path().join(LEDGER)).filter(|path| path.exists()) {
        let history = History::peek(&FileLog::peek(&path, MISSING)?, &path)?;
        if history.end().is_none() && history.uses(set) {
            open.push(path);
        }
    }
    Ok(open)
}

impl<F: Folder> Journal<F> {
    /// Reads ledger and checkpoints. `terms` says what the run must be about; it may depend on what the ledger says.
    pub fn open(
        folder: F,
        holder: Holder,
        spec: RunSpec,
        terms: impl FnOnce(&History) -> Result<TermsHash>,
    ) -> Result<Self> {
        let name = folder.path(LEDGER);
        let mut history = History::default();
        let expected = Expected { holder, run: spec.run };
        let book =
            Book::open(folder, name.clone(), &STYLE, |record| history.accept(record, &name, Some(expected)))?;
        let terms = terms(&history)?;
        if history.terms() != Some(terms) {
            return Err(Error::OtherTerms { path: name });
        }
        let mut journal = Journal { book, history, holder, spec, terms, held: vec![], damaged: vec![] };
        journal.survey()?;
        Ok(journal)
    }

    pub fn folder(&self) -> &F {
        &self.book.log
    }

    /// Appends a record, durably, if it fits those before it.
    pub fn append(&mut self, entry: Entry) -> Result<()> {
        if !self.history.admits(&entry) {
            return Err(Error::Sequence { wanted: "a record that fits the ledger" });
        }
        entry.write(|kind, parts| self.book.append(kind, parts))?;
        self.history.push(entry);
        Ok(())
    }

    /// Checkpoints whose names are in the folder.
    fn named(&self) -> Result<Vec<CheckpointId>> {
        Ok(self.folder().names()?.iter().filter_map(|name| checkpoint::parse(name)).collect())
    }

    /// Verifies all files. A party's file without a record was not finished: nobody was told of it.
    fn survey(&mut self) -> Result<()> {
        for id in self.named()? {
            let digest = self.recorded(id);
            if self.holder != Holder::Dealer && digest.is_none() {
                continue;
            }
            match checkpoint::read(self.folder(), &self.wanted(id), |_, _| {}) {
                Ok((_, found)) if digest.is_none_or(|digest| digest == found) => {
                    self.held.push(Mark { id, digest: found });
                }
                Ok(_) => self.damaged.push(self.other_digest(id)),
                Err(e @ (Error::Io { .. } | Error::Exposed { .. })) => return Err(e),
                Err(e) => self.damaged.push(e),
            }
        }
        self.held.sort_by_key(|mark| mark.id.rank());
        Ok(())
    }

    /// The digest that was recorded of a checkpoint.
    pub fn recorded(&self, id: CheckpointId) -> Option<[u8; 32]> {
        self.history.checkpoints().find(|(known, _)| *known == id).map(|(_, digest)| digest)
    }
    pub fn other_digest(&self, id: CheckpointId) -> Error {
        let path = self.folder().path(&checkpoint::name(id));
        Error::BadCheckpoint { path, why: "is not the one that the ledger recorded".into() }
    }

    /// The checkpoint that is held under this name.
    pub fn mark(&self, id: CheckpointId) -> Result<Mark> {
        let held = self.held.iter().find(|mark| mark.id == id);
        held.copied().ok_or_else(|| Error::NotHeld { path: self.book.name.clone(), id })
    }

    pub fn wanted(&self, id: CheckpointId) -> Wanted {
        let (holder, run, terms, lengths) = (self.holder, self.spec.run, self.terms, self.spec.lengths);
        Wanted { holder, run, terms, lengths, id }
    }
    /// The header of a checkpoint that is to be written.
    pub fn header(&self, id: CheckpointId, set: KeySetId, transcript: [u8; 32]) -> Header {
        let (holder, run, terms, lengths) = (self.holder, self.spec.run, self.terms, self.spec.lengths);
        Header { holder, run, terms, lengths, id, set, transcript }
    }
    /// Writes a checkpoint's file, durably; the digest of its public part.
    pub fn save(&mut self, header: &Header, parts: &[&[u8]]) -> Result<[u8; 32]> {
        checkpoint::save(&mut self.book.log, header, parts)
    }

    /// Erases the files of all other checkpoints, durably, damaged and unfinished ones too.
    pub fn keep(&mut self, keep: impl Fn(CheckpointId) -> bool) -> Result<()> {
        self.held.retain(|mark| keep(mark.id));
        let others: Vec<_> = self.named()?.into_iter().filter(|id| !keep(*id)).collect();
        self.book.log.erase(&others.into_iter().map(checkpoint::name).collect::<Vec<_>>())
    }
}
