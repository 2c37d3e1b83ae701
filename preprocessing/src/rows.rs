//! A data key set: rows that are masked once, and may then be trained on in every epoch, attempt and run.
//!
//! One mask may cover one integer only. So an owner's rows are on his disk, and both parties are bound to their digest,
//! before a byte of them leaves; then they are the same whatever crashes, or nobody ever gets them:
//!
//! ```text
//! owner    OwnerRows -- write (x^ and its digest durable) --> RowsDigest (to both parties)
//! party    DataSet -- bind (durable) --> Bound (to the owner)
//! owner    OwnerRows -- cleared (both are bound to it) --> Cleared -- bytes (to both parties)
//! party    DataSet -- store (bytes other than bound refused) --> Stored (to the owner)
//! party    DataSet -- data --> Data (to the peer) -- agree (equal) --> Whole: what a run may use
//! ```
//!
//! A chunk's file and what leaves are a salt and the rows. The salt is drawn with the rows and leaves with them only, so a
//! digest says nothing: not even of rows that are refused, since the owner has lost its disk and encoded them anew, to a
//! party that has others under the same mask and could try differences. Neither digest nor root goes to the dealer: he has
//! the mask, and could confirm guesses of rows.
//!
//! `<data>/<data key set>/{set.key, ledger, chunk-00000.rows, ...}`; after [`DataSet::retire`] the ledger alone is left.

#[cfg(test)]
mod crashes;
mod owner;
mod party;
mod record;

pub use owner::{Cleared, OwnerRows};
pub use party::{DataSet, Whole};
pub use record::new_ledger;

use crate::set::{Cut, PlanDigest};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// Bytes of the salt before the rows of a chunk, in its file and on its way.
pub const SALT: usize = 32;

/// What a data key set is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataSpec {
    /// Its name, from the operating system.
    pub set: KeySetId,
    /// Digest of what rows are: their owner, forms and fraction bits.
    pub forms: PlanDigest,
    /// Rows, in chunks.
    pub cut: Cut,
    /// Bytes of a masked row.
    pub row_bytes: u64,
}

impl DataSpec {
    /// The rows of a chunk; an error if it does not exist.
    pub fn rows(&self, chunk: u32) -> Result<Range<u64>> {
        let left = self.cut.segments().into();
        self.cut.range(chunk).ok_or(Error::Short { wanted: u64::from(chunk) + 1, left })
    }
    /// Bytes of a chunk's rows, without the salt; an error if it does not exist.
    pub fn bytes(&self, chunk: u32) -> Result<u64> {
        let (rows, why) = (self.rows(chunk)?, "a chunk is too long");
        (rows.end - rows.start)
            .checked_mul(self.row_bytes)
            .filter(|bytes| bytes.checked_add(SALT as u64).is_some())
            .ok_or(Error::Layout { images: self.cut.images(), why })
    }
    /// The digest of a chunk, of all that it is, its salt and its masked rows; `None` if these have another length.
    fn digest(&self, chunk: u32, parts: [&[u8]; 2]) -> Result<Option<[u8; 32]>> {
        let lengths = [SALT as u64, self.bytes(chunk)?];
        let mut hash = blake3::Hasher::new_derive_key("twoply rows v1 chunk");
        hash.update(&self.set.0).update(&self.forms.0).update(&self.cut.images().to_le_bytes());
        hash.update(&self.cut.segment_images().to_le_bytes()).update(&self.row_bytes.to_le_bytes());
        hash.update(&chunk.to_le_bytes()).update(parts[0]).update(parts[1]);
        let fits = parts.map(|part| part.len() as u64) == lengths;
        Ok(fits.then(|| *hash.finalize().as_bytes()))
    }
}

fn name(chunk: u32) -> String {
    format!("chunk-{chunk:05}.rows")
}

/// The folder of a data key set.
fn dir(root: &Path, set: KeySetId) -> PathBuf {
    root.join(set.to_string())
}

/// The owner to both parties: what a chunk will be. DIGEST.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RowsDigest {
    /// The data key set.
    pub set: KeySetId,
    /// The chunk.
    #[serde(with = "postcard::fixint::le")]
    pub chunk: u32,
    /// Digest of the data key set's forms and cut, and of the chunk's salt and masked rows.
    pub digest: [u8; 32],
}

/// A party to the owner: what a chunk is bound to. BOUND.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Bound(pub RowsDigest);

/// A party to the owner: the chunk is on its disk. STORED.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stored(pub RowsDigest);

/// A party to the peer: all chunks are here. DATA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Data {
    /// The data key set.
    pub set: KeySetId,
    /// Digest of its name and of all chunks' digests.
    pub root: [u8; 32],
}

/// What a data key set holds, as both parties have compared it: [`Whole::root`] alone makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Root(Data);

impl Root {
    /// The data key set.
    pub fn set(&self) -> KeySetId {
        self.0.set
    }
    /// Digest of its name and of all chunks' digests.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.root
    }
}
