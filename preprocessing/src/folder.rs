//! A ledger and the files beside it. A trait, so that tests can keep them in memory and search crashes.

use crate::book::{FileLog, Log};
use crate::disk::{PART, PartFile, create_dir, erase, open_private, sync_parent, wipe};
use crate::store::LEDGER;
use crate::{Error, Result};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A locked ledger and complete files beside it.
pub trait Folder: Log {
    /// Names of the files, sorted; neither the ledger nor files in the making.
    fn names(&self) -> Result<Vec<String>>;
    /// Length of a file in bytes, and what reads it.
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + '_>)>;
    /// Writes a file of these parts. It is there durably when this returns, and whole or not at all before; replaces a
    /// file of that name.
    fn save(&mut self, name: &str, parts: &[&[u8]]) -> Result<()>;
    /// Overwrites files and removes them, durably.
    fn erase(&mut self, names: &[String]) -> Result<()>;
    /// What messages call a file.
    fn path(&self, name: &str) -> PathBuf;
}

/// A folder (mode 0700) of files (mode 0600).
pub struct FileFolder {
    dir: PathBuf,
    log: FileLog,
}

impl FileFolder {
    /// Begins the folder `dir` with a ledger of `records`, or does the rest of that if a process was killed at it. The
    /// caller then saves the file `first`. Refused if that is there, if the ledger has gone on, and if it is lost:
    /// what it promised is unknown.
    pub(crate) fn begin(dir: &Path, records: &[u8], first: Option<&str>, remedy: &'static str) -> Result<()> {
        match dir.exists() {
            true => sync_parent(dir)?,
            false => create_dir(dir)?,
        }
        let ledger = dir.join(LEDGER);
        let exists = || Error::Exists { path: dir.into() };
        match (ledger.exists(), names(dir)?.is_empty()) {
            (true, empty) => {
                let fresh = FileLog::peek(&ledger, remedy)? == records && empty && first.is_some();
                fresh.then_some(()).ok_or_else(exists)
            }
            (false, false) => Err(Error::Missing { path: ledger, what: "the ledger".into(), remedy }),
            (false, true) => FileLog::create(ledger, records),
        }
    }

    /// Opens a folder, locks its ledger and removes what killed writers left. `remedy` says what to do if the ledger
    /// is missing.
    pub(crate) fn open(dir: &Path, remedy: &'static str) -> Result<FileFolder> {
        let log = FileLog::open(&dir.join(LEDGER), remedy)?;
        let entries = entries(dir)?;
        let mut left = entries.iter().filter(|path| path.extension().is_some_and(|e| e == PART));
        left.try_for_each(|path| erase(path))?;
        Ok(FileFolder { dir: dir.into(), log })
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Error::io(dir, "list", e))?;
    Ok(entries.iter().map(|entry| entry.path()).collect())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let whole = |path: &PathBuf| path.extension().is_none_or(|e| e != PART);
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_string());
    let mut names: Vec<_> = entries(dir)?.into_iter().filter(whole).filter_map(name).collect();
    names.retain(|name| name != LEDGER);
    names.sort();
    Ok(names)
}

/// Writes the file `path`, of these parts, durably.
pub(crate) fn save(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut file = PartFile::create(path, parts.iter().map(|part| part.len() as u64).sum())?;
    parts.iter().try_for_each(|part| file.put(part))?;
    file.commit()
}

impl Log for FileFolder {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.log.read()
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.log.write(offset, bytes)
    }
}

impl Folder for FileFolder {
    fn names(&self) -> Result<Vec<String>> {
        names(&self.dir)
    }
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + '_>)> {
        let path = self.path(name);
        let file = open_private(&path, false)?;
        let len = file.metadata().map_err(|e| Error::io(&path, "read the length of", e))?.len();
        Ok((len, Box::new(file)))
    }
    fn save(&mut self, name: &str, parts: &[&[u8]]) -> Result<()> {
        save(&self.path(name), parts)
    }
    fn erase(&mut self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| wipe(&self.path(name)))?;
        if names.is_empty() { Ok(()) } else { sync_parent(&self.path(LEDGER)) }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
