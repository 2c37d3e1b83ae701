//! Taking key files from a dealer elsewhere. What arrives is checked to the last tile before it gets a name.

use crate::book::FileLog;
use crate::disk::{PartFile, create_dir};
use crate::file::{Header, Kind, Wanted};
use crate::layout::PAGE;
use crate::ledger::{Account, new_ledger};
use crate::set::Cut;
use crate::store::{KeyDir, KeySet, LEDGER, SET, Segment};
use crate::{Error, Result};
use std::io::{Read, copy};
use std::path::Path;
use twoply_primitives::KeySetId;
use zeroize::Zeroizing;

impl KeyDir {
    /// Takes the 4,096 bytes of a `set.key`, and begins the key set with a new ledger. Fails if the key set exists:
    /// its ledger must survive.
    pub fn receive_set(&self, bytes: &mut impl Read) -> Result<KeySetId> {
        let mut page = Zeroizing::new(vec![0; PAGE]);
        let name = Path::new(SET);
        bytes.read_exact(&mut page).map_err(|e| Error::io(name, "receive", e))?;
        let (header, _) = Header::decode(name, &page)?;
        let (key_set, party) = (header.key_set, self.party());
        // Plan and seeds are compared when the key set is opened for a run.
        let wanted = Wanted { party, key_set, plan: None, insecure: true };
        wanted.check(name, &header, Kind::Set)?;
        let cut = Cut::new(header.images, header.segment_images)?;
        let dir = self.path(key_set);
        create_dir(&dir)?;
        FileLog::create(dir.join(LEDGER), &new_ledger(&Account { key_set, party, cut }))?;
        let mut file = PartFile::create(dir.join(SET), PAGE as u64)?;
        file.put(&page)?;
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
