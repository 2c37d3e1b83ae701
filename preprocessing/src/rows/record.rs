//! What the records of a data key set's ledger say, at a party, at the dealer (who has both parties' halves) and at the
//! owner of the rows.

use super::{Data, DataSpec, SALT};
use crate::book::{Book, Chain, Record, Style};
use crate::folder::Folder;
use crate::run::Holder;
use crate::set::Cut;
use crate::store::LEDGER;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use twoply_primitives::KeySetId;

const STYLE: Style = Style {
    domain: "twoply rows v1 record",
    remedy: "which rows the mask is bound to is unknown: deal a new data key set",
};
pub(super) const MISSING: &str = "without it no binding is known: deal a new data key set";

const OPEN: u32 = 1;
const ROWS: u32 = 2;
const BOUND: u32 = 3;
const STORED: u32 = 4;
const WHOLE: u32 = 5;
const RETIRED: u32 = 6;

/// What a record says, behind the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// The owner's rows of a chunk are on his disk and have this digest.
    Rows(u32, [u8; 32]),
    /// A party's share of a chunk's mask is bound to rows of this digest.
    Bound(u32, [u8; 32]),
    /// A party has them.
    Stored(u32),
    /// Both parties have the same.
    Whole([u8; 32]),
    /// Seeds and rows are erased or will be: the name is never used again.
    Retired,
}

impl Entry {
    fn write<T>(&self, put: impl FnOnce(u32, &[&[u8]]) -> T) -> T {
        match self {
            Entry::Rows(chunk, digest) => put(ROWS, &[&chunk.to_le_bytes(), digest]),
            Entry::Bound(chunk, digest) => put(BOUND, &[&chunk.to_le_bytes(), digest]),
            Entry::Stored(chunk) => put(STORED, &[&chunk.to_le_bytes()]),
            Entry::Whole(root) => put(WHOLE, &[root]),
            Entry::Retired => put(RETIRED, &[]),
        }
    }
    fn read(record: &Record) -> std::result::Result<Entry, &'static str> {
        match record.kind {
            ROWS => Ok(Entry::Rows(record.u32(0), record.bytes(4))),
            BOUND => Ok(Entry::Bound(record.u32(0), record.bytes(4))),
            STORED => Ok(Entry::Stored(record.u32(0))),
            WHOLE => Ok(Entry::Whole(record.bytes(0))),
            RETIRED => Ok(Entry::Retired),
            _ => Err("is of a kind unknown to this release"),
        }
    }
}

/// The bytes of a new ledger, of a party or the owner of the rows.
pub fn new_ledger(holder: Holder, spec: &DataSpec) -> [u8; 64] {
    let words = [holder.number(), spec.cut.segment_images()].map(u32::to_le_bytes);
    let longs = [spec.cut.images(), spec.row_bytes].map(u64::to_le_bytes);
    let parts = [&spec.set.0[..], &words[0], &words[1], &longs[0], &longs[1]];
    Chain::new(&STYLE).add(OPEN, &parts)
}

/// What a ledger says.
#[derive(Default)]
pub(super) struct Account {
    /// Digests of chunks: the owner's rows, or what a party is bound to.
    pub bound: BTreeMap<u32, [u8; 32]>,
    pub stored: BTreeSet<u32>,
    pub whole: Option<[u8; 32]>,
    pub retired: bool,
}

impl Account {
    /// Whether an entry may come next, of a holder of a set of so many chunks.
    fn admits(&self, entry: &Entry, holder: Holder, chunks: u32) -> bool {
        let owns = holder == Holder::Owner;
        let free = |chunk: &u32| *chunk < chunks && !self.bound.contains_key(chunk);
        let fits = match entry {
            Entry::Rows(chunk, _) => owns && free(chunk),
            Entry::Bound(chunk, _) => !owns && free(chunk),
            Entry::Stored(chunk) => !owns && self.bound.contains_key(chunk),
            Entry::Whole(_) => self.stored.len() as u64 == chunks.into() && self.whole.is_none(),
            Entry::Retired => true,
        };
        fits && !self.retired
    }

    fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Rows(chunk, digest) | Entry::Bound(chunk, digest) => {
                self.bound.insert(chunk, digest);
            }
            Entry::Stored(chunk) => {
                self.stored.insert(chunk);
            }
            Entry::Whole(root) => self.whole = Some(root),
            Entry::Retired => self.retired = true,
        }
    }
}

/// One holder's ledger of one data key set, with the files beside it.
pub(super) struct Journal<F> {
    pub book: Book<F>,
    pub account: Account,
    pub spec: DataSpec,
    holder: Holder,
}

impl<F: Folder> Journal<F> {
    /// Reads a ledger. What a process left that was killed while it retired the set is erased.
    pub fn open(folder: F, holder: Holder, spec: DataSpec) -> Result<Self> {
        let path = folder.path(LEDGER);
        let mut account = Account::default();
        let book = Book::open(folder, path.clone(), &STYLE, |record| match (record.kind, record.number) {
            (OPEN, 0) => same(record, holder, &spec, &path),
            (OPEN, _) | (_, 0) => Ok(Err("is out of place")),
            _ => Ok(Entry::read(record).and_then(|entry| {
                let fits = account.admits(&entry, holder, spec.cut.segments());
                fits.then(|| account.push(entry)).ok_or("is out of place")
            })),
        })?;
        let mut journal = Journal { book, account, spec, holder };
        if journal.account.retired {
            journal.erase()?;
            return Err(journal.retired());
        }
        Ok(journal)
    }

    pub fn folder(&self) -> &F {
        &self.book.log
    }
    pub fn retired(&self) -> Error {
        Error::Retired { path: self.book.name.clone() }
    }

    /// Appends a record, durably, if it fits those before it.
    pub fn append(&mut self, entry: Entry) -> Result<()> {
        if !self.account.admits(&entry, self.holder, self.spec.cut.segments()) {
            return Err(Error::Sequence { wanted: "a record that fits the ledger" });
        }
        entry.write(|kind, parts| self.book.append(kind, parts))?;
        self.account.push(entry);
        Ok(())
    }

    /// Erases every file beside the ledger.
    pub fn erase(&mut self) -> Result<()> {
        let names = self.folder().names()?;
        self.book.log.erase(&names)
    }

    /// Reads the salt and the rows of a chunk, which must be those of its digest.
    pub fn rows(&self, chunk: u32) -> Result<[Vec<u8>; 2]> {
        let len = self.spec.bytes(chunk)?;
        let wanted = len + SALT as u64;
        let name = super::name(chunk);
        let path = self.folder().path(&name);
        let (found, mut reader) = self.folder().open(&name)?;
        if found != wanted {
            return Err(Error::Length { path, wanted, found });
        }
        let mut parts = [vec![0; SALT], vec![0; len as usize]];
        for part in &mut parts {
            reader.read_exact(part).map_err(|e| Error::io(&path, "read", e))?;
        }
        let digest = self.spec.digest(chunk, parts.each_ref().map(|part| &part[..]))?;
        match digest.is_some() && digest.as_ref() == self.account.bound.get(&chunk) {
            true => Ok(parts),
            false => Err(Error::RowsBound { path, chunk }),
        }
    }

    /// Digest of the set's name and of all chunks' digests; `None` if one is not known.
    pub fn root(&self) -> Option<Data> {
        let mut hash = blake3::Hasher::new_derive_key("twoply rows v1 root");
        hash.update(&self.spec.set.0);
        for chunk in 0..self.spec.cut.segments() {
            hash.update(self.account.bound.get(&chunk)?);
        }
        Some(Data { set: self.spec.set, root: *hash.finalize().as_bytes() })
    }
}

/// Compares whose ledger it is.
fn same(
    record: &Record,
    holder: Holder,
    spec: &DataSpec,
    path: &Path,
) -> Result<std::result::Result<(), &'static str>> {
    let path = path.to_path_buf();
    let Some(found) = Holder::from_number(record.u32(16)) else { return Ok(Err("names no holder")) };
    if found != holder {
        return Err(Error::WrongHolder { path, wanted: holder, found });
    }
    let found = KeySetId(record.bytes(0));
    if found != spec.set {
        return Err(Error::WrongKeySet { path, wanted: spec.set, found });
    }
    let cut = Cut::new(record.u64(24), record.u32(20));
    let same = cut.is_ok_and(|cut| cut == spec.cut) && record.u64(32) == spec.row_bytes;
    Ok(same.then_some(()).ok_or("counts other rows than the plan"))
}
