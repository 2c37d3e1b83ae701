//! A data key set at a party, and each party's half at the dealer, who binds and stores nothing.

use super::record::{self, Entry, Journal};
use super::{Bound, Data, DataSpec, Root, RowsDigest, SALT, Stored};
use crate::file::{Header, Kind, Wanted};
use crate::folder::{FileFolder, Folder, save};
use crate::layout::PAGE;
use crate::run::{Holder, open_runs};
use crate::set::SegmentId;
use crate::store::{SET, read_header};
use crate::{Error, Result};
use std::io::Read;
use std::path::Path;
use twoply_primitives::{PartyId, Seed};
use zeroize::Zeroizing;

/// One party's half of a data key set, its ledger locked.
pub struct DataSet<F> {
    journal: Journal<F>,
    party: PartyId,
}

impl DataSet<FileFolder> {
    /// Begins the half of `party` below `root` (a folder), or does the rest of that if a process was killed at it:
    /// the ledger, then `set.key` with the seed of its mask share. A name that was used before, retired or not, is
    /// refused. `insecure` stamps a set whose seed is public.
    pub fn create(root: &Path, party: PartyId, spec: &DataSpec, seed: &Seed, insecure: bool) -> Result<()> {
        let page = header(party, spec, insecure).encode(seed);
        create(root, party, spec, &page)
    }

    /// Begins it with the 4,096 bytes of a `set.key` that the dealer sent.
    pub fn receive(root: &Path, party: PartyId, spec: &DataSpec, bytes: &mut impl Read) -> Result<()> {
        let mut page = Zeroizing::new(vec![0; PAGE]);
        let name = Path::new(SET);
        bytes.read_exact(&mut page).map_err(|e| Error::io(name, "receive", e))?;
        let (found, _) = Header::decode(name, &page)?;
        check(name, &found, party, spec, true)?;
        create(root, party, spec, &page)
    }

    /// Opens it and locks its ledger. `insecure` accepts a seed that is public.
    pub fn open(root: &Path, party: PartyId, spec: DataSpec, insecure: bool) -> Result<Self> {
        let dir = super::dir(root, spec.set);
        let set = DataSet::with(FileFolder::open(&dir, record::MISSING)?, party, spec)?;
        let path = dir.join(SET);
        check(&path, &read_header(&path)?.0, party, &set.journal.spec, insecure)?;
        Ok(set)
    }

    /// The seed of this party's share of the rows' mask.
    pub fn seed(&self) -> Result<Seed> {
        Ok(read_header(&self.journal.folder().path(SET))?.1)
    }

    /// Retires the set for ever, and erases seed and rows. Refused while a run in the folder `runs` that has not ended
    /// trains on it. None is begun on it afterwards:
    ///
    /// ```compile_fail,E0505
    /// use std::path::Path;
    /// use twoply_preprocessing::FileFolder;
    /// use twoply_preprocessing::rows::DataSet;
    /// use twoply_preprocessing::run::{PartyRun, RunSpec, Snapshot};
    /// fn both(set: DataSet<FileFolder>, runs: &Path, spec: &RunSpec, start: &Snapshot) {
    ///     let (party, whole) = (set.party(), set.whole().unwrap());
    ///     set.retire(runs).unwrap();
    ///     PartyRun::create(runs, party, spec, &[&whole], start).unwrap();
    /// }
    /// ```
    pub fn retire(mut self, runs: &Path) -> Result<()> {
        if let Some(path) = open_runs(runs, self.journal.spec.set)?.pop() {
            return Err(Error::StillNeeded { path, why: "a run that has not ended trains on this data" });
        }
        self.journal.append(Entry::Retired)?;
        self.journal.erase()
    }
}

fn header(party: PartyId, spec: &DataSpec, insecure: bool) -> Header {
    Header {
        kind: Kind::Data,
        party,
        insecure,
        key_set: spec.set,
        plan: spec.forms,
        segment: spec.cut.segments(),
        segment_images: spec.cut.segment_images(),
        id: SegmentId([0; 16]),
        first: 0,
        images: spec.cut.images(),
        trained: None,
    }
}

fn check(path: &Path, found: &Header, party: PartyId, spec: &DataSpec, insecure: bool) -> Result<()> {
    let wanted = Wanted { party, key_set: spec.set, plan: Some(spec.forms), insecure };
    wanted.check(path, found, Kind::Data)?;
    match *found == header(party, spec, found.insecure) {
        true => Ok(()),
        false => Err(Error::corrupt(path, "the number of rows (another cut than the plan's): it")),
    }
}

fn create(root: &Path, party: PartyId, spec: &DataSpec, page: &[u8]) -> Result<()> {
    let (dir, records) = (super::dir(root, spec.set), record::new_ledger(Holder::Party(party), spec));
    FileFolder::begin(&dir, &records, Some(SET), record::MISSING).map_err(|e| match e {
        // a retired one says so
        Error::Exists { .. } => reopen(&dir, party, spec).err().unwrap_or(e),
        e => e,
    })?;
    save(&dir.join(SET), &[page])
}

fn reopen(dir: &Path, party: PartyId, spec: &DataSpec) -> Result<()> {
    DataSet::with(FileFolder::open(dir, record::MISSING)?, party, spec.clone()).map(drop)
}

impl<F: Folder> DataSet<F> {
    /// Opens a set whose folder is kept anywhere.
    pub fn with(folder: F, party: PartyId, spec: DataSpec) -> Result<Self> {
        Ok(DataSet { journal: Journal::open(folder, Holder::Party(party), spec)?, party })
    }

    /// Whose half.
    pub fn party(&self) -> PartyId {
        self.party
    }

    /// What it is.
    pub fn spec(&self) -> &DataSpec {
        &self.journal.spec
    }

    /// Whether a chunk is bound to rows.
    pub fn is_bound(&self, chunk: u32) -> bool {
        self.journal.account.bound.contains_key(&chunk)
    }

    fn same_set(&self, rows: &RowsDigest) -> Result<()> {
        let (path, wanted) = (self.journal.book.name.clone(), self.journal.spec.set);
        match rows.set == wanted {
            true => Ok(()),
            false => Err(Error::WrongKeySet { path, wanted, found: rows.set }),
        }
    }

    /// Binds a chunk to what the owner says it is, durably, unless it is bound; what it is bound to.
    pub fn bind(&mut self, rows: &RowsDigest) -> Result<Bound> {
        self.same_set(rows)?;
        self.journal.spec.bytes(rows.chunk)?;
        let digest = match self.journal.account.bound.get(&rows.chunk) {
            Some(digest) => *digest,
            None => {
                self.journal.append(Entry::Bound(rows.chunk, rows.digest))?;
                rows.digest
            }
        };
        Ok(Bound(RowsDigest { digest, ..*rows }))
    }

    /// Takes the salt and the masked rows of a chunk, which must be those that it is bound to. They are durable when this returns.
    pub fn store(&mut self, chunk: u32, bytes: &[u8]) -> Result<Stored> {
        let set = self.journal.spec.set;
        let (salt, rows) = bytes.split_at(bytes.len().min(SALT));
        let found = self.journal.spec.digest(chunk, [salt, rows])?;
        let wanted = self.journal.account.bound.get(&chunk).copied();
        let wanted = wanted.ok_or(Error::Sequence { wanted: "the digest of these rows" })?;
        if found != Some(wanted) {
            return Err(Error::RowsBound { path: self.journal.book.name.clone(), chunk });
        }
        let recorded = self.journal.account.stored.contains(&chunk);
        if !recorded || self.journal.rows(chunk).is_err() {
            self.journal.book.log.save(&super::name(chunk), &[bytes])?;
        }
        if !recorded {
            self.journal.append(Entry::Stored(chunk))?;
        }
        Ok(Stored(RowsDigest { set, chunk, digest: wanted }))
    }

    /// STORED again, of a chunk whose file is here and verifies; `None` if its rows are to be sent.
    pub fn stored(&self, chunk: u32) -> Option<Stored> {
        let journal = &self.journal;
        journal.account.stored.contains(&chunk).then(|| journal.rows(chunk).ok()).flatten()?;
        let (set, digest) = (journal.spec.set, *journal.account.bound.get(&chunk)?);
        Some(Stored(RowsDigest { set, chunk, digest }))
    }

    /// What to tell the peer when all chunks are here: DATA.
    pub fn data(&self) -> Result<Data> {
        let all = self.journal.account.stored.len() as u64 == self.journal.spec.cut.segments().into();
        self.journal.root().filter(|_| all).ok_or(Error::Sequence { wanted: "all rows of the data set" })
    }

    /// Takes the peer's DATA. If it is the same, the set is whole, durably.
    pub fn agree(&mut self, peer: &Data) -> Result<()> {
        let ours = self.data()?;
        if *peer != ours {
            return Err(Error::RowsDiffer { set: ours.set });
        }
        if self.journal.account.whole.is_none() {
            self.journal.append(Entry::Whole(ours.root))?;
        }
        Ok(())
    }

    /// The rows, once both parties have the same.
    pub fn whole(&self) -> Result<Whole<'_, F>> {
        let set = self.journal.spec.set;
        let root = self.journal.account.whole.ok_or(Error::Sequence { wanted: "the peer's equal DATA" })?;
        Ok(Whole { journal: &self.journal, root: Root(Data { set, root }) })
    }
}

/// A data key set of which both parties hold the same rows.
pub struct Whole<'a, F> {
    journal: &'a Journal<F>,
    root: Root,
}

impl<F: Folder> Whole<'_, F> {
    /// What a run is bound to.
    pub fn root(&self) -> Root {
        self.root
    }
    /// The masked rows of a chunk, verified.
    pub fn chunk(&self, chunk: u32) -> Result<Vec<u8>> {
        let [_, rows] = self.journal.rows(chunk)?;
        Ok(rows)
    }
}
