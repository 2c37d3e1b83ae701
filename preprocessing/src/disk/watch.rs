//! What the calls that change the disk are told to: in tests to a recorder, in a program to nobody.
#![cfg_attr(not(test), allow(dead_code))] // described by calls, read by tests

use std::fs::File;
use std::io::Seek;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A call that changed the disk. Files go by their inode number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// A folder was created.
    Folder(PathBuf),
    /// A file was created or opened for writing under this name.
    File(PathBuf, u64),
    /// A file lost what was beyond these bytes.
    Shortened(u64, u64),
    /// Bytes were written from this position on.
    Written(u64, u64, Vec<u8>),
    /// A file's content was made durable.
    Synced(u64),
    /// A file got another name in its folder.
    Renamed(PathBuf, PathBuf),
    /// A file or a folder lost its name.
    Removed(PathBuf),
    /// The names in a folder were made durable.
    SyncedFolder(PathBuf),
}

fn inode(file: &File) -> u64 {
    file.metadata().map_or(0, |facts| facts.ino())
}

impl Call {
    pub fn file(path: &Path, file: &File) -> Call {
        Call::File(path.into(), inode(file))
    }
    pub fn shortened(file: &File, length: u64) -> Call {
        Call::Shortened(inode(file), length)
    }
    /// Bytes that end at the file's own position.
    pub fn written(mut file: &File, bytes: &[u8]) -> Call {
        let end = file.stream_position().unwrap_or(0);
        Call::Written(inode(file), end.saturating_sub(bytes.len() as u64), bytes.into())
    }
    pub fn written_at(file: &File, offset: u64, bytes: &[u8]) -> Call {
        Call::Written(inode(file), offset, bytes.into())
    }
    pub fn synced(file: &File) -> Call {
        Call::Synced(inode(file))
    }
}

#[cfg(test)]
thread_local! {
    static CALLS: std::cell::RefCell<Option<Vec<Call>>> = const { std::cell::RefCell::new(None) };
}

/// Tells whoever listens; without one the call is not even described.
#[inline(always)]
pub(crate) fn note(_call: impl FnOnce() -> Call) {
    #[cfg(test)]
    CALLS.with_borrow_mut(|calls| {
        if let Some(calls) = calls {
            calls.push(_call());
        }
    });
}

/// Records this thread's calls from now on.
#[cfg(test)]
pub(crate) fn begin() {
    CALLS.set(Some(vec![]));
}

/// How many calls were recorded so far.
#[cfg(test)]
pub(crate) fn count() -> usize {
    CALLS.with_borrow(|calls| calls.as_ref().map_or(0, Vec::len))
}

/// Ends recording.
#[cfg(test)]
pub(crate) fn end() -> Vec<Call> {
    CALLS.take().unwrap_or_default()
}
