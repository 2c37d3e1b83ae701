//! Every call by which this crate changes the disk. What a crash leaves is decided by their order alone, so tests record
//! it ([`super::watch`]) and look at what any crash between two of them leaves (`disk/crash.rs`).

use super::watch::{Call, note};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Creates a folder that only this user may enter.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    note(|| Call::Folder(path.into()));
    Ok(())
}

/// Opens a file for reading and writing, which is created (mode 0600) if it is not there.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    note(|| Call::file(path, &file));
    Ok(file)
}

/// Removes what is beyond the first `length` bytes.
pub(crate) fn shorten(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    note(|| Call::shortened(file, length));
    Ok(())
}

/// Writes what fits at the file's own position.
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    let written = file.write(bytes)?;
    note(|| Call::written(file, &bytes[..written]));
    Ok(written)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    note(|| Call::written_at(file, offset, bytes));
    Ok(())
}

/// Makes a file's content and length durable.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    file.sync_all()?;
    note(|| Call::synced(file));
    Ok(())
}

/// Gives a file another name in its folder.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    note(|| Call::Renamed(from.into(), to.into()));
    Ok(())
}

/// Removes the name of a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    note(|| Call::Removed(path.into()));
    Ok(())
}

/// Removes a folder, which is empty.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)?;
    note(|| Call::Removed(path.into()));
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    note(|| Call::SyncedFolder(path.into()));
    Ok(())
}
