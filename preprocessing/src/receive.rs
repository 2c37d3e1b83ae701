//! Taking key files from a dealer elsewhere. What arrives is checked to the last tile before it gets a name.

use crate::book::FileLog;
use crate::disk::{PartFile, create_dir};
use crate::file::{Header, Wanted};
use crate::layout::PAGE;
use crate::ledger::{Account, new_ledger};
use crate::set::Cut;
use crate::store::{KeyDir, KeySet, LEDGER, SET, Segment, set_kind};
use crate::trained::{file_bytes, seal};
use crate::{Error, Result};
use std::io::{Read, copy};
use std::path::Path;
use twoply_primitives::KeySetId;
use zeroize::Zeroizing;

impl KeyDir {
    /// Takes a `set.key`: 4,096 bytes, and of trained weights, `weights` bytes, the share of their mask with its digest. Begins the key
    /// set with a new ledger. Fails if the key set exists: its ledger must survive.
    pub fn receive_set(&self, bytes: &mut impl Read, weights: u64) -> Result<KeySetId> {
        let mut page = Zeroizing::new(vec![0; PAGE]);
        let name = Path::new(SET);
        bytes.read_exact(&mut page).map_err(|e| Error::io(name, "receive", e))?;
        let (header, _) = Header::decode(name, &page)?;
        let (key_set, party) = (header.key_set, self.party());
        // Plan and seeds are compared when the key set is opened for a run.
        let wanted = Wanted { party, key_set, plan: None, insecure: true };
        wanted.check(name, &header, set_kind(&header))?;
        let cut = Cut::new(header.images, header.segment_images)?;
        let mut tail = Zeroizing::new(vec![]);
        if let Some(trained) = header.trained {
            if trained.bytes != weights {
                return Err(Error::Length { path: name.into(), wanted: weights, found: trained.bytes });
            }
            tail.resize((trained.file_bytes() - PAGE as u64) as usize, 0);
            bytes.read_exact(&mut tail).map_err(|e| Error::io(name, "receive", e))?;
            let (share, found) = tail.split_at(trained.bytes as usize);
            if found != seal(&page, share) {
                return Err(Error::corrupt(name, "the share of the weights' mask"));
            }
        }
        let dir = self.path(key_set);
        create_dir(&dir)?;
        FileLog::create(dir.join(LEDGER), &new_ledger(&Account { key_set, party, cut }))?;
        let mut file = PartFile::create(dir.join(SET), file_bytes(&header))?;
        file.put(&page)?;
        file.put(&tail)?;
        file.commit()?;
        Ok(key_set)
    }
}

impl KeySet {
    /// Takes a segment file: reads exactly the planned length, in order. Returns its bytes.
    pub fn receive(&self, segment: u32, bytes: &mut impl Read) -> Result<u64> {
        let left = self.cut.segments().into();
        let range = self.cut.range(segment).ok_or(Error::Short { wanted: u64::from(segment) + 1, left })?;
        let need = self.layout.file_bytes(self.party(), (range.end - range.start) as u32)?;
        let path = self.segment_path(segment);
        let mut file = PartFile::create(&path, need)?;
        let found = copy(&mut bytes.take(need), &mut file).map_err(|e| Error::writing(&path, need, e))?;
        if found != need {
            return Err(Error::Length { path, wanted: need, found });
        }
        let arrived = Segment::open(file.temporary(), &self.wanted, self.cut, segment, &self.layout)?;
        arrived.verify()?;
        file.commit()?;
        Ok(need)
    }
}
