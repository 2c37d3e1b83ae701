//! Pinned memory of the host: what a device reads and writes without the CPU's help.

use super::device::bind;
use super::driver::refused;
use crate::Result;
use cudarc::driver::{CudaContext, DriverError, result, sys};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Bytes of the smallest buffer.
const LEAST: usize = 4 << 10;
/// Bytes of buffers that are kept while nobody uses them.
const KEPT: usize = 512 << 20;

/// Pinned buffers, used again and again.
pub struct Pinned {
    context: Arc<CudaContext>,
    free: Arc<Mutex<Vec<Pages>>>,
}

/// Page-locked memory, wiped when it goes.
struct Pages {
    context: Arc<CudaContext>,
    ptr: *mut u8,
    len: usize,
}
// SAFETY: memory of the process; whoever has the pages has them alone.
unsafe impl Send for Pages {}
// SAFETY: shared references only read.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(context: &Arc<CudaContext>, len: usize) -> std::result::Result<Self, DriverError> {
        bind(context)?;
        // cached by the CPU, which reads what comes out
        // SAFETY: written before it is read: zeroed here.
        let ptr = unsafe { result::malloc_host(len, sys::CU_MEMHOSTALLOC_PORTABLE) }?.cast::<u8>();
        // SAFETY: `len` bytes.
        unsafe { ptr.write_bytes(0, len) };
        Ok(Pages { context: context.clone(), ptr, len })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nobody uses the pages any more.
        unsafe {
            zeroize::Zeroize::zeroize(std::slice::from_raw_parts_mut(self.ptr, self.len));
            // there is nobody left to tell that it failed
            let _ = bind(&self.context).and_then(|()| result::free_host(self.ptr.cast()));
        }
    }
}

/// A pinned buffer; goes back to the others when dropped.
pub struct Buffer {
    pages: Option<Pages>,
    home: Arc<Mutex<Vec<Pages>>>,
}

impl Pinned {
    /// None yet.
    pub fn new(context: Arc<CudaContext>) -> Self {
        Pinned { context, free: Arc::default() }
    }
    /// At least `len` bytes.
    pub fn take(&self, len: usize) -> std::result::Result<Buffer, DriverError> {
        let size = len.max(LEAST).next_power_of_two();
        let kept = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = free.iter().position(|pages| pages.len == size);
            fits.map(|i| free.swap_remove(i))
        };
        // taking new ones is slow: nobody else waits for that
        let pages = match kept {
            Some(pages) => pages,
            None => Pages::new(&self.context, size)?,
        };
        Ok(Buffer { pages: Some(pages), home: self.free.clone() })
    }
}

impl Buffer {
    /// The first `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &mut [u8] {
        let Some(pages) = &mut self.pages else { return &mut [] };
        // SAFETY: as long as the pages are.
        unsafe { std::slice::from_raw_parts_mut(pages.ptr, len.min(pages.len)) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else { return };
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if home.iter().map(|p| p.len).sum::<usize>() + pages.len <= KEPT {
            home.push(pages);
        }
    }
}

/// Where pinned memory of [`PinnedTile`]s lies: address and length.
static PINNED: RwLock<std::collections::BTreeMap<usize, usize>> =
    RwLock::new(std::collections::BTreeMap::new());

/// Whether these bytes lie in a [`PinnedTile`].
pub fn is_pinned(bytes: &[u8]) -> bool {
    let at = bytes.as_ptr() as usize;
    let pinned = PINNED.read().unwrap_or_else(PoisonError::into_inner);
    pinned.range(..=at).next_back().is_some_and(|(from, len)| at + bytes.len() <= from + len)
}

/// Key bytes in pinned memory, which a device reads without the CPU's help.
pub struct PinnedTile(Pages, usize);

impl PinnedTile {
    /// A copy of these bytes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the memory cannot be had.
    pub fn copy(context: &Arc<CudaContext>, bytes: &[u8]) -> Result<Self> {
        let pages =
            Pages::new(context, bytes.len().max(1)).map_err(|e| refused("taking pinned memory", &e))?;
        // SAFETY: as many bytes, of the pages' own.
        unsafe { pages.ptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        PINNED.write().unwrap_or_else(PoisonError::into_inner).insert(pages.ptr as usize, bytes.len());
        Ok(PinnedTile(pages, bytes.len()))
    }
}

impl AsRef<[u8]> for PinnedTile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as long as the pages are, which are at least so long.
        unsafe { std::slice::from_raw_parts(self.0.ptr, self.1) }
    }
}

impl Drop for PinnedTile {
    fn drop(&mut self) {
        PINNED.write().unwrap_or_else(PoisonError::into_inner).remove(&(self.0.ptr as usize));
    }
}
