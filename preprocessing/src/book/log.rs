//! The bytes below a ledger. A trait, so that tests can tear writes, skip syncs and roll back.

use crate::disk::{PartFile, calls, lock, open_private};
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Durable bytes that grow at the end.
pub trait Log {
    /// All bytes.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes `bytes` at `offset` (the end, or the beginning of a torn record) and returns when they are durable.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A ledger's file, locked against every other process while this lives.
pub struct FileLog(File);

impl FileLog {
    /// Creates a new ledger with these records, durably.
    pub(crate) fn create(path: PathBuf, records: &[u8]) -> Result<()> {
        let mut file = PartFile::create(path, records.len() as u64)?;
        file.put(records)?;
        file.commit()
    }

    /// Opens and locks a ledger. `remedy` says what to do if it is missing.
    pub(crate) fn open(path: &Path, remedy: &'static str) -> Result<FileLog> {
        let file = open_private(path, true).map_err(|e| missing(e, remedy))?;
        lock(path, &file)?;
        Ok(FileLog(file))
    }

    /// Reads a ledger without locking it.
    pub(crate) fn peek(path: &Path, remedy: &'static str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = open_private(path, false).map_err(|e| missing(e, remedy))?;
        file.read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
        Ok(bytes)
    }
}

fn missing(e: Error, remedy: &'static str) -> Error {
    match e {
        Error::Missing { path, .. } => Error::Missing { path, what: "the ledger".into(), remedy },
        e => e,
    }
}

impl Log for FileLog {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.0.metadata()?.len() as usize];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        calls::write_at(&self.0, offset, bytes)?;
        calls::sync(&self.0)
    }
}
