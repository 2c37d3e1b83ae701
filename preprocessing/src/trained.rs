//! Key sets for weights that a training run ended with: under the mask that they have there, and never masked anew.
//!
//! That mask is no expansion of a seed, so `set.key` (format 2) carries this party's share of it:
//!
//! ```text
//!     0  header page, which names run and checkpoint       4096  the share of every parameter's mask, packed, in order
//!   ...  BLAKE3 digest of the share, keyed by the header, 32
//! ```
//!
//! No digest of the weights stands in it: the dealer has the mask, and could confirm guesses. What the parties hold under it they
//! compare with each other.

use crate::disk::open_private;
use crate::file::Header;
use crate::layout::PAGE;
use crate::run::{CheckpointId, RunId};
use crate::store::{KeySet, SET};
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::io::Read;
use twoply_primitives::PartyId;
use zeroize::Zeroizing;

/// Bytes of the digest behind the share.
const SEAL: usize = 32;

/// The weights that a training run ended with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Trained {
    /// The run.
    pub run: RunId,
    /// Its last checkpoint.
    pub at: CheckpointId,
    /// Bytes of all parameters, packed; a share of their mask has as many.
    pub bytes: u64,
}

impl fmt::Display for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} at {}", self.run, self.at)
    }
}

impl Serialize for Trained {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Trained {
    /// Length of a `set.key` for these weights.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.saturating_add((PAGE + SEAL) as u64)
    }
}

/// Length of a `set.key`.
pub(crate) fn file_bytes(header: &Header) -> u64 {
    header.trained.map_or(PAGE as u64, |trained| trained.file_bytes())
}

/// Both parties' shares of the mask of trained weights: a dealer's.
#[derive(Clone)]
pub struct TrainedMasks {
    /// Whose mask it is.
    pub of: Trained,
    /// Of P0 and P1, of all parameters, packed, in order.
    pub shares: [Zeroizing<Vec<u8>>; 2],
}

impl fmt::Debug for TrainedMasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrainedMasks({})", self.of)
    }
}

impl TrainedMasks {
    /// A party's share.
    ///
    /// # Errors
    /// [`Error::Sequence`] for one of another length than all parameters have.
    pub(crate) fn share(&self, party: PartyId) -> Result<&[u8]> {
        let share = &self.shares[party.index()][..];
        match share.len() as u64 == self.of.bytes {
            true => Ok(share),
            false => Err(Error::Sequence { wanted: "shares of the length of all parameters" }),
        }
    }
}

/// The digest of a share behind this header page.
pub(crate) fn seal(page: &[u8], share: &[u8]) -> [u8; SEAL] {
    let mut hash = Header::digests(page).shares();
    *hash.update(share).finalize().as_bytes()
}

impl KeySet {
    /// The trained weights that it is for, if it is not for weights that are provisioned.
    pub fn trained(&self) -> Option<Trained> {
        self.trained
    }

    /// This party's share of the mask of all parameters, packed, from a `set.key` that carries it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Length`] for a damaged file, [`Error::Sequence`] where it carries none.
    pub fn mask_share(&self) -> Result<Zeroizing<Vec<u8>>> {
        let trained = self.trained.ok_or(Error::Sequence { wanted: "a key set for trained weights" })?;
        let path = self.dir.join(SET);
        let mut file = open_private(&path, false)?;
        let failed = |e| Error::io(&path, "read", e);
        let (wanted, found) = (trained.file_bytes(), file.metadata().map_err(failed)?.len());
        if wanted != found {
            return Err(Error::Length { path, wanted, found });
        }
        let mut page = Zeroizing::new(vec![0; PAGE]);
        file.read_exact(&mut page).map_err(failed)?;
        let (header, _) = Header::decode(&path, &page)?;
        let mut share = Zeroizing::new(vec![0; trained.bytes as usize]);
        file.read_exact(&mut share).map_err(failed)?;
        let mut found = [0; SEAL];
        file.read_exact(&mut found).map_err(failed)?;
        match header.trained == Some(trained) && found == seal(&page, &share) {
            true => Ok(share),
            false => Err(Error::corrupt(&path, "the share of the weights' mask")),
        }
    }
}
