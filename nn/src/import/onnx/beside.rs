//! Files beside the model: since 2.9 PyTorch's exporter writes weights into one by default.

use super::proto::TensorProto;
use std::cell::RefCell;
use std::collections::HashMap;

/// How often over, on the whole, a file's bytes may be read: tensors may share their values, but a small file must not
/// become a large network.
const TIMES: u64 = 4;

/// The model's folder, for whoever may read it. Locations are as the model names them: relative, with `/`.
pub trait Folder {
    /// Length of the file in bytes.
    ///
    /// # Errors
    /// Why it cannot be read, in words that follow its name.
    fn length(&self, location: &str) -> Result<u64, String>;
    /// `length` bytes from `offset` on, which are there.
    ///
    /// # Errors
    /// As [`Folder::length`].
    fn read(&self, location: &str, offset: u64, length: usize) -> Result<Vec<u8>, String>;
}

/// The files beside one model while it is read.
pub(super) struct Beside<'a> {
    folder: Option<&'a dyn Folder>,
    /// Bytes read so far, by location.
    read: RefCell<HashMap<String, u64>>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(folder: Option<&'a dyn Folder>) -> Beside<'a> {
        Beside { folder, read: RefCell::default() }
    }

    /// The `length` bytes of a tensor whose values lie in another file.
    pub(super) fn bytes(&self, t: &TensorProto, length: usize) -> Result<Vec<u8>, String> {
        let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| {
            let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("its {key} is no number"));
            entry(key).map(parse).transpose()
        };
        let location = entry("location").ok_or("lies in another file, which the model does not name")?;
        let shown = location.escape_debug();
        let folder = self.folder.ok_or_else(|| {
            format!("lies in `{shown}`, which cannot be read here; export with everything in one file (external_data=False)")
        })?;
        let (offset, given) = (number("offset")?.unwrap_or(0), number("length")?);
        if given.is_some_and(|given| given != length as u64) {
            return Err(format!("{} bytes in `{shown}` for shape {:?}", given.unwrap_or(0), t.dims));
        }
        let size = folder.length(location).map_err(|why| format!("`{shown}` {why}"))?;
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(format!(
                "`{shown}` holds {size} bytes, and {length} from {offset} on are wanted; export again, or copy the whole file"
            ));
        }
        let mut read = self.read.borrow_mut();
        let so_far = read.entry(location.to_owned()).or_default();
        *so_far += length as u64;
        if *so_far > size.saturating_mul(TIMES) {
            return Err(format!("the model reads `{shown}` more than {TIMES} times over"));
        }
        folder.read(location, offset, length).map_err(|why| format!("`{shown}` {why}"))
    }
}
