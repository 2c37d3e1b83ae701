//! Private files: created 0600, written under another name, renamed when complete, overwritten when spent.

pub(crate) mod calls;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crashes;
#[cfg(test)]
pub(crate) mod life;
mod watch;

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Suffix of files that are not complete.
pub(crate) const PART: &str = "part";

/// Opens a file for reading (and writing, if `write`) and refuses one that other users may read or write.
pub(crate) fn open_private(path: &Path, write: bool) -> Result<File> {
    let file = OpenOptions::new().read(true).write(write).open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            path: path.into(),
            what: "the file".into(),
            remedy: "bring it back from where it was moved, or deal a new key set",
        },
        _ => Error::io(path, "open", e),
    })?;
    refuse_exposed(path, &file)?;
    Ok(file)
}

fn refuse_exposed(path: &Path, file: &File) -> Result<()> {
    let mode = file.metadata().map_err(|e| Error::io(path, "read the mode of", e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.into(), mode });
    }
    Ok(())
}

/// Takes the exclusive lock of an open file, which ends with the file; [`Error::Locked`] if another has it.
pub(crate) fn lock(path: &Path, file: &File) -> Result<()> {
    file.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => Error::Locked { path: path.into() },
        TryLockError::Error(e) => Error::io(path, "lock", e),
    })
}

/// Creates a folder that only this user may enter; its parents must exist.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    calls::create_dir(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.into() },
        _ => Error::io(path, "create", e),
    })?;
    sync_parent(path)
}

/// Makes the creation, renaming or removal of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    calls::sync_dir(parent).map_err(|e| Error::io(parent, "sync", e))
}

/// A file in the making. It carries its own name only after [`PartFile::commit`]; dropped before, it is erased.
pub struct PartFile {
    /// `None` once committed.
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
    need: u64,
}

impl PartFile {
    /// Begins the file that will be called `path` and be `need` bytes long. What a killed process left under the
    /// temporary name is overwritten; what a living one writes is left alone ([`Error::Locked`]).
    pub fn create(path: impl Into<PathBuf>, need: u64) -> Result<Self> {
        let path = path.into();
        let mut temporary = path.clone().into_os_string();
        temporary.push(".");
        temporary.push(PART);
        let temporary = PathBuf::from(temporary);
        let file = calls::create(&temporary).map_err(|e| Error::io(&temporary, "create", e))?;
        lock(&temporary, &file)?;
        refuse_exposed(&temporary, &file)?;
        calls::shorten(&file, 0).map_err(|e| Error::io(&temporary, "shorten", e))?;
        Ok(PartFile { file: Some(file), temporary, path, need })
    }

    /// The name the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name it has until then.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Writes all of `bytes` next.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| Error::writing(&self.path, self.need, e))
    }

    /// Makes the content durable, then the name. Replaces a file of that name.
    pub fn commit(mut self) -> Result<()> {
        let file = self.file.take().ok_or_else(|| Error::Exists { path: self.path.clone() })?;
        calls::sync(&file).map_err(|e| Error::writing(&self.path, self.need, e))?;
        calls::rename(&self.temporary, &self.path).map_err(|e| Error::io(&self.path, "rename", e))?;
        sync_parent(&self.path)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_ref().map_or(Err(io::ErrorKind::NotConnected.into()), |file| calls::write(file, bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nobody waits for this: whatever is left, `gc` removes.
            let _ = erase(&self.temporary);
        }
    }
}

/// Overwrites a file with zeros, its first page (the seed) first, and removes it.
///
/// What this does not promise: a solid-state disk writes zeros elsewhere and keeps the old cells for a while; so do
/// copy-on-write file systems, snapshots, backups and journals of data. Keep keys on an encrypted volume, or in
/// memory (tmpfs), where that matters.
pub(crate) fn erase(path: &Path) -> Result<()> {
    wipe(path)?;
    sync_parent(path)
}

/// The same, but its name may come back after a crash, with zeros, until its folder is synced.
pub(crate) fn wipe(path: &Path) -> Result<()> {
    let run = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        let (mut at, mut left) = (0, file.metadata()?.len());
        let zeros = vec![0; 1 << 20];
        while left > 0 {
            let chunk = if at == 0 { crate::layout::PAGE } else { zeros.len() };
            let now = left.min(chunk as u64);
            calls::write_at(&file, at, &zeros[..now as usize])?;
            if at == 0 && left > now {
                calls::sync(&file)?;
            }
            (at, left) = (at + now, left - now);
        }
        calls::sync(&file)?;
        calls::remove(path)
    };
    run().map_err(|e| Error::io(path, "erase", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, read, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_has_its_name_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = PartFile::create(&path, 3).unwrap();
        file.put(b"abc").unwrap();
        assert!(!path.exists());
        assert!(matches!(PartFile::create(&path, 3), Err(Error::Locked { .. })));
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut file = PartFile::create(&path, 3).unwrap();
        file.put(b"abc").unwrap();
        file.commit().unwrap();
        assert_eq!(read(&path).unwrap(), b"abc");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let left = dir.path().join("a.part");
        write(&left, b"longer than the new content").unwrap();
        set_permissions(&left, Permissions::from_mode(0o600)).unwrap();
        let mut file = PartFile::create(&path, 1).unwrap();
        file.put(b"x").unwrap();
        file.commit().unwrap();
        assert_eq!(read(&path).unwrap(), b"x");
    }

    #[test]
    fn files_that_others_may_read_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o666] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let e = open_private(&path, false).unwrap_err();
            assert!(matches!(e, Error::Exposed { mode: m, .. } if m == mode));
            assert!(e.to_string().contains("chmod 600"), "{e}");
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        open_private(&path, true).unwrap();
    }

    #[test]
    fn an_erased_file_is_zeros_before_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        write(&path, vec![7; (2 << 20) + 5]).unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        erase(&path).unwrap();
        assert!(!path.exists());
        assert!(read(&other).unwrap() == vec![0; (2 << 20) + 5]);
    }
}
