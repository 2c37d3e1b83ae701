//! Halves of key sets that nobody can have used: what may be written anew, or erased without being spent.

#[cfg(test)]
mod crashes;

use crate::book::FileLog;
use crate::disk::{calls, erase, sync_parent};
use crate::ledger::{Account, Ledger};
use crate::set::Cut;
use crate::store::{KeyDir, LEDGER, SET, WEIGHTS};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// The ledger of a half in which nothing is spent or bound, locked, so that no party begins to use it; `None` where
/// there is none yet.
fn untouched(dir: &Path, account: &Account) -> Result<Option<Ledger<FileLog>>> {
    let path = dir.join(LEDGER);
    if !path.exists() {
        return Ok(None);
    }
    let ledger = Ledger::open_file(&path, account.clone())?;
    let tally = ledger.tally();
    if tally.next > 0 || tally.weights.is_some() || dir.join(WEIGHTS).exists() {
        return Err(Error::Used { path: dir.into() });
    }
    Ok(Some(ledger))
}

/// The same of a half without `set.key`, which holds no segments either: those of a half that lost it are of use again
/// once it is back.
pub(crate) fn unused(dir: &Path, account: &Account) -> Result<Option<Ledger<FileLog>>> {
    let remedy = "restore it, or deal a new key set";
    let lost = || Error::Missing { path: dir.join(SET), what: "the file".into(), remedy };
    let ledger = untouched(dir, account).map_err(|e| match e {
        Error::Used { .. } => lost(),
        e => e,
    })?;
    let keys = files(dir)?.iter().any(|path| path.extension() == Some(OsStr::new("key")));
    if keys { Err(lost()) } else { Ok(ledger) }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Error::io(dir, "list", e))?;
    Ok(entries.iter().map(|entry| entry.path()).collect())
}

impl KeyDir {
    /// Erases what a process left that was killed while it began a key set: a half without `set.key` and segments, of
    /// which nothing is spent. Whatever else lacks `set.key` is an error: its ledger may know of keys that are spent.
    pub fn clear_stillborn(&self, key_set: KeySetId, cut: Cut) -> Result<()> {
        let dir = self.path(key_set);
        if !dir.exists() || dir.join(SET).exists() {
            return Ok(());
        }
        let held = unused(&dir, &Account { key_set, party: self.party(), cut })?;
        remove(&dir, held)
    }

    /// Erases a half that was delivered elsewhere. Refuses one that a party uses or has used here.
    pub fn clear_delivered(&self, key_set: KeySetId, cut: Cut) -> Result<()> {
        let dir = self.path(key_set);
        if !dir.exists() {
            return Ok(());
        }
        let held = untouched(&dir, &Account { key_set, party: self.party(), cut })?;
        remove(&dir, held)
    }
}

/// Erases every file of a half, removes its ledger (held until then) last, and then the folder. No secret is in a ledger, and one that
/// is half overwritten could not be read by whoever goes on after a crash.
fn remove(dir: &Path, held: Option<Ledger<FileLog>>) -> Result<()> {
    let ledger = dir.join(LEDGER);
    files(dir)?.iter().filter(|path| **path != ledger).try_for_each(|path| erase(path))?;
    if ledger.exists() {
        calls::remove(&ledger).map_err(|e| Error::io(&ledger, "remove", e))?;
    }
    drop(held);
    calls::remove_dir(dir).map_err(|e| Error::io(dir, "remove", e))?;
    sync_parent(dir)
}
