//! Homes of keys: pinned memory, and a file in the page cache.
#![allow(unsafe_code)] // mapping a file

use memmap2::Mmap;
use std::io::Write;
use std::sync::Arc;
use twoply_primitives::backend::Cuda;
use twoply_primitives::{Error, Result, Ring, TileBytes};

/// Pinned memory, which the device reads by itself.
pub fn pinned<R: Ring>(dev: &Cuda<R>) -> impl Fn(Vec<u8>) -> Result<TileBytes> {
    move |bytes| Ok(Arc::new(dev.pin(&bytes)?))
}

/// A file that was just written and is mapped, as a store of keys maps its own.
///
/// # Errors
/// [`Error::Keys`] if the temporary folder has no room for it.
pub fn in_file(bytes: Vec<u8>) -> Result<TileBytes> {
    if bytes.is_empty() {
        return Ok(Arc::new(bytes));
    }
    let write = || {
        let mut file = tempfile::tempfile()?;
        file.write_all(&bytes)?;
        // SAFETY: the file has no name: nobody else can change or shorten it.
        unsafe { Mmap::map(&file) }
    };
    let mapped = write().map_err(|e| Error::Keys(format!("a temporary file: {e}")))?;
    Ok(Arc::new(mapped))
}
