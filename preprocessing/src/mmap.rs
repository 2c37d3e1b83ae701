//! The one `unsafe` of this crate: mapping a key file into memory.
#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// Maps `file` read-only.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapping is sound as long as nobody changes or shortens the file below it. Key files are
    // written under another name and renamed when complete, never changed afterwards, and mode 0600 keeps
    // other users out; `KeySet::erase`, the only code that overwrites one, refuses while a mapping lives. A
    // process of the same user that breaks these rules can stop this one (SIGBUS) or feed it bytes that
    // differ from those it verified; it could read this process's memory anyway.
    unsafe { Mmap::map(file) }
}
