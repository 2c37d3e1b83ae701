//! A text file that only grows, shared by the processes of one home: what a data or model owner must not forget. A line
//! counts once it is whole and durable.

#[cfg(test)]
mod crashes;

use crate::disk::{calls, sync_parent};
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An open record, and how much of it this process has read.
pub struct Record {
    path: PathBuf,
    file: File,
    bytes: u64,
    lines: usize,
}

/// Lines that a process has not seen, with their numbers.
pub type News<'a> = &'a [(usize, &'a str)];

impl Record {
    /// Opens the record, or creates it durably.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = |e| Error::io(path, "open", e);
        let file = calls::create(path).map_err(opened)?;
        if file.metadata().map_err(opened)?.len() == 0 {
            // it may be new: its name must outlive whatever is done on the strength of its first line
            sync_parent(path)?;
        }
        Ok(Record { path: path.into(), file, bytes: 0, lines: 0 })
    }

    /// The failure of a line that is none.
    pub fn corrupt(path: &Path, line: usize) -> Error {
        Error::Record { path: path.into(), why: format!("line {line} is no record") }
    }

    /// Shows `decide` the lines that this process has not seen and appends what it answers, durably. No other process
    /// reads or writes the record meanwhile.
    ///
    /// # Errors
    /// Those of `decide`; when the file was replaced, is no text, or the system refuses.
    pub fn turn<E: From<Error>>(
        &mut self,
        decide: impl FnOnce(&Path, News<'_>) -> std::result::Result<Option<String>, E>,
    ) -> std::result::Result<(), E> {
        self.file.lock().map_err(|e| Error::io(&self.path, "lock", e))?;
        let done = self.locked(decide);
        let unlocked = self.file.unlock().map_err(|e| Error::io(&self.path, "unlock", e).into());
        done.and(unlocked)
    }

    fn locked<E: From<Error>>(
        &mut self,
        decide: impl FnOnce(&Path, News<'_>) -> std::result::Result<Option<String>, E>,
    ) -> std::result::Result<(), E> {
        let path = self.path.clone();
        let failed = |e: io::Error| Error::io(&path, "read", e);
        let here = self.file.metadata().map_err(failed)?;
        let named = std::fs::metadata(&path).is_ok_and(|m| (m.dev(), m.ino()) == (here.dev(), here.ino()));
        if !named || here.len() < self.bytes {
            let why = "moved or replaced while it was in use".into();
            return Err(Error::Record { path, why }.into());
        }
        let mut news = vec![0; (here.len() - self.bytes) as usize];
        self.file.read_exact_at(&mut news, self.bytes).map_err(failed)?;
        // A line without its end was torn by a crash before anything was done on its strength.
        let whole = news.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = self.bytes + whole as u64;
        if whole < news.len() {
            calls::shorten(&self.file, end).map_err(|e| Error::io(&path, "shorten", e))?;
        }
        let text = std::str::from_utf8(&news[..whole]).map_err(|e| {
            let line = news[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Record::corrupt(&path, self.lines + line + 1)
        })?;
        let lines: Vec<(usize, &str)> = (self.lines + 1..).zip(text.lines()).collect();
        let answer = decide(&path, &lines)?;
        // What is appended now is read back in the next turn, as everybody's lines are.
        (self.bytes, self.lines) = (end, self.lines + lines.len());
        let Some(line) = answer else { return Ok(()) };
        let line = line + "\n";
        let written =
            calls::write_at(&self.file, end, line.as_bytes()).and_then(|()| calls::sync(&self.file));
        Ok(written.map_err(|e| Error::writing(&path, end + line.len() as u64, e))?)
    }
}
