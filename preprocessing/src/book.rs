//! A ledger's book: records of 64 bytes, numbered, chained by digests, written at the end and durable one by one.
//!
//! A record lies within one disk sector, so a torn write leaves nothing, or a beginning of it followed by nothing or
//! by zeros: its digest, at its end, is missing or zero. Only such a last record is ignored. One that is whole but
//! wrong was damaged later; ignoring it could forget what was promised, so it is an error.

mod log;

pub use log::{FileLog, Log};

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Bytes of a record: kind (u32), number (u32), content (40), digest (16).
pub(crate) const RECORD: usize = 64;
/// Bytes of a record's content; all of them are under its digest.
pub(crate) const CONTENT: usize = 40;
const BODY: usize = RECORD - CHECK;
const CHECK: usize = 16;

/// What distinguishes the ledgers of one purpose.
pub(crate) struct Style {
    /// Domain of the digests.
    pub domain: &'static str,
    /// What to do when a ledger cannot be trusted.
    pub remedy: &'static str,
}

/// A record that was read.
pub(crate) struct Record {
    /// From 0.
    pub number: u32,
    pub kind: u32,
    content: [u8; CONTENT],
}

impl Record {
    pub fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.content[at + i])
    }
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
}

/// How many records there are, and what the next one is chained to.
pub(crate) struct Chain {
    style: &'static Style,
    records: u32,
    last: [u8; CHECK],
}

impl Chain {
    pub fn new(style: &'static Style) -> Chain {
        Chain { style, records: 0, last: [0; CHECK] }
    }

    /// Bytes of all records.
    pub fn end(&self) -> u64 {
        u64::from(self.records) * RECORD as u64
    }

    fn check(&self, body: &[u8]) -> [u8; CHECK] {
        let mut hash = blake3::Hasher::new_derive_key(self.style.domain);
        let digest = hash.update(&self.last).update(body).finalize();
        std::array::from_fn(|i| digest.as_bytes()[i])
    }

    /// The next record. `parts` follow each other in its content, which ends in zeros.
    fn encode(&self, kind: u32, parts: &[&[u8]]) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let number = self.records.to_le_bytes();
        let kind = kind.to_le_bytes();
        let all = [&kind[..], &number[..]].into_iter().chain(parts.iter().copied());
        record[..BODY].iter_mut().zip(all.flatten()).for_each(|(to, from)| *to = *from);
        let check = self.check(&record[..BODY]);
        record[BODY..].copy_from_slice(&check);
        record
    }

    fn accept(&mut self, record: &[u8; RECORD]) {
        self.records += 1;
        self.last.copy_from_slice(&record[BODY..]);
    }

    /// A record, and what follows it chained to it: for the beginning of a new ledger.
    pub fn add(&mut self, kind: u32, parts: &[&[u8]]) -> [u8; RECORD] {
        let record = self.encode(kind, parts);
        self.accept(&record);
        record
    }

    /// An error of record `record` of the ledger at `path`.
    fn bad(&self, path: &Path, record: u32, why: &'static str) -> Error {
        Error::LedgerCorrupt { path: path.into(), record: record.into(), why, remedy: self.style.remedy }
    }

    /// Reads a whole ledger. `accept` takes record after record, or says what is wrong with one.
    pub fn read(
        style: &'static Style,
        bytes: &[u8],
        path: &Path,
        mut accept: impl FnMut(&Record) -> Result<std::result::Result<(), &'static str>>,
    ) -> Result<Chain> {
        let mut chain = Chain::new(style);
        let chunks = bytes.len().div_ceil(RECORD);
        for (number, chunk) in bytes.chunks(RECORD).enumerate() {
            let whole = <&[u8; RECORD]>::try_from(chunk).ok().filter(|r| r[BODY..] != [0; CHECK]);
            let Some(record) = whole else {
                // The first record was durable before the ledger had its name, so it is never torn.
                if number > 0 && number + 1 == chunks {
                    break;
                }
                return Err(chain.bad(path, number as u32, "is incomplete"));
            };
            let known = chain.decode(record).map_err(|why| chain.bad(path, number as u32, why))?;
            accept(&known)?.map_err(|why| chain.bad(path, number as u32, why))?;
            chain.accept(record);
        }
        if chain.records == 0 {
            return Err(chain.bad(path, 0, "is missing"));
        }
        Ok(chain)
    }

    fn decode(&self, record: &[u8; RECORD]) -> std::result::Result<Record, &'static str> {
        if self.check(&record[..BODY]) != record[BODY..] {
            return Err("does not match its digest");
        }
        let content = std::array::from_fn(|i| record[8 + i]);
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| record[at + i]));
        let found = Record { kind: word(0), number: word(4), content };
        if found.number == self.records { Ok(found) } else { Err("has another number") }
    }
}

/// A book over whatever keeps its bytes.
pub(crate) struct Book<L> {
    pub log: L,
    /// For messages.
    pub name: PathBuf,
    chain: Chain,
    /// Set before a write and cleared after it: an error in between leaves the durable state unknown.
    in_doubt: bool,
}

impl<L: Log> Book<L> {
    /// Reads all records, as [`Chain::read`] does.
    pub fn open(
        mut log: L,
        name: PathBuf,
        style: &'static Style,
        accept: impl FnMut(&Record) -> Result<std::result::Result<(), &'static str>>,
    ) -> Result<Self> {
        let bytes = log.read().map_err(|e| Error::io(&name, "read", e))?;
        let chain = Chain::read(style, &bytes, &name, accept)?;
        Ok(Book { log, name, chain, in_doubt: false })
    }

    /// Refused after a failed append, whose record may be durable: also whoever would replace a file that it speaks of.
    pub fn sure(&self) -> Result<()> {
        match self.in_doubt {
            true => Err(Error::LedgerFailed { path: self.name.clone() }),
            false => Ok(()),
        }
    }

    /// Appends a record and returns when it is durable.
    pub fn append(&mut self, kind: u32, parts: &[&[u8]]) -> Result<()> {
        self.sure()?;
        let record = self.chain.encode(kind, parts);
        self.in_doubt = true;
        let end = self.chain.end();
        let need = end + RECORD as u64;
        self.log.write(end, &record).map_err(|e| Error::writing(&self.name, need, e))?;
        self.in_doubt = false;
        self.chain.accept(&record);
        Ok(())
    }
}
