//! The runs of a folder, as their ledgers tell them, without locking any.

use super::record::{History, MISSING};
use super::{CheckpointId, Holder, RunId};
use crate::book::FileLog;
use crate::store::LEDGER;
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::KeySetId;

/// What a ledger says of its run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunInfo {
    /// Its name.
    pub run: RunId,
    /// Whose ledger it is.
    pub holder: Holder,
    /// Data key sets that it trains on, in order.
    pub sets: Vec<KeySetId>,
    /// Attempts so far.
    pub attempts: u32,
    /// Where the last attempt started.
    pub from: Option<CheckpointId>,
    /// The last checkpoint that was made here; a dealer's ledger names none.
    pub last: Option<CheckpointId>,
    /// The result, once the run has ended.
    pub end: Option<CheckpointId>,
    /// How often weights were used otherwise, for inference or for their owner.
    pub provisioned: u64,
    /// How many figures that the plan lists were delivered, in all attempts.
    pub delivered: u64,
}

/// All runs below `root`, by name; none where there is no such folder.
pub fn survey(root: &Path) -> Result<Vec<RunInfo>> {
    if !root.exists() {
        return Ok(vec![]);
    }
    let entries = std::fs::read_dir(root).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut paths: Vec<_> = entries
        .map_err(|e| Error::io(root, "list", e))?
        .iter()
        .map(|entry| entry.path().join(LEDGER))
        .filter(|path| path.exists())
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let history = History::peek(&FileLog::peek(path, MISSING)?, path)?;
        let info = history.info();
        info.ok_or_else(|| Error::corrupt(path, "the first record"))
    };
    paths.iter().map(read).collect()
}
