//! A text file that only grows, shared by the processes of one home. A line counts once it is whole and durable.

use crate::exit::{ExitCode, Failure};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open record, and how much of it this process has read.
pub(super) struct Record {
    path: PathBuf,
    file: File,
    bytes: u64,
    lines: usize,
}

/// The failure of a line that is none.
pub(super) fn corrupt(path: &Path, line: usize) -> Failure {
    damaged(format!("{}: line {line} is no record", path.display()))
}

fn damaged(what: String) -> Failure {
    Failure::new(ExitCode::KeysSpent, what).remedy(
        "restore the file; without it images might be masked twice. With a new deal it may be moved away",
    )
}

impl Record {
    /// Opens the record, or creates it durably.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let run = || {
            let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
            if file.metadata()?.len() == 0 {
                // it may be new: its name must outlive whatever is done on the strength of its first line
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(folder)?.sync_all()?;
            }
            Ok(file)
        };
        let file = run().map_err(|e| Failure::io("open", path.display(), &e))?;
        Ok(Record { path: path.into(), file, bytes: 0, lines: 0 })
    }

    /// Shows `decide` the lines that this process has not seen, with their numbers, and appends what it answers,
    /// durably. No other process reads or writes the record meanwhile.
    pub fn turn(
        &mut self,
        decide: impl FnOnce(&Path, &[(usize, &str)]) -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        self.file.lock().map_err(|e| Failure::io("lock", self.path.display(), &e))?;
        let done = self.locked(decide);
        let unlocked = self.file.unlock().map_err(|e| Failure::io("unlock", self.path.display(), &e));
        done.and(unlocked)
    }

    fn locked(
        &mut self,
        decide: impl FnOnce(&Path, &[(usize, &str)]) -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        let path = self.path.clone();
        let failed = |e: io::Error| Failure::io("read", path.display(), &e);
        let here = self.file.metadata().map_err(failed)?;
        let named = std::fs::metadata(&path).is_ok_and(|m| (m.dev(), m.ino()) == (here.dev(), here.ino()));
        if !named || here.len() < self.bytes {
            return Err(damaged(format!("{}: moved or replaced while it was in use", path.display())));
        }
        let mut news = vec![0; (here.len() - self.bytes) as usize];
        self.file.read_exact_at(&mut news, self.bytes).map_err(failed)?;
        // A line without its end was torn by a crash before anything was done on its strength.
        let whole = news.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < news.len() {
            self.file.set_len(self.bytes + whole as u64).map_err(failed)?;
        }
        let text = std::str::from_utf8(&news[..whole]).map_err(|e| {
            let line = news[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            corrupt(&path, self.lines + line + 1)
        })?;
        let lines: Vec<(usize, &str)> = (self.lines + 1..).zip(text.lines()).collect();
        let answer = decide(&path, &lines)?;
        // What is appended now is read back in the next turn, as everybody's lines are.
        (self.bytes, self.lines) = (self.bytes + whole as u64, self.lines + lines.len());
        let Some(line) = answer else { return Ok(()) };
        let written =
            self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| Failure::io("write", self.path.display(), &e))
    }
}
