//! Records of the ledger: 64 bytes each, numbered, chained by digests.
//!
//! A record lies within one disk sector, so a torn write leaves nothing, or a beginning of it followed by nothing or
//! by zeros: its digest, at its end, is missing or zero. Only such a last record is ignored. One that is whole but
//! wrong was damaged later; ignoring it could forget a reservation, so it is an error.

use super::Tally;
use crate::set::Cut;
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::{KeySetId, PartyId};

/// Bytes of a record: kind (u32), number (u32), content (40), digest (16).
pub(super) const RECORD: usize = 64;
const BODY: usize = 48;
const CHECK: usize = RECORD - BODY;
const OPEN: u32 = 1;
const SPEND: u32 = 2;
const BIND: u32 = 3;

/// Whose ledger it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The key set.
    pub key_set: KeySetId,
    /// The party.
    pub party: PartyId,
    /// Its images and segments.
    pub cut: Cut,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// The first record: whose ledger it is.
    Open(Account),
    /// All images below `next` are spent, `used` of them were used.
    Spend { next: u64, used: u64 },
    /// The weight mask belongs to the masked weights with this digest.
    Bind { digest: [u8; 32] },
}

/// The state after reading some records, and what the next one is chained to.
pub(super) struct Replay {
    pub tally: Tally,
    records: u32,
    chain: [u8; CHECK],
}

/// The bytes of a ledger in which nothing is spent.
pub fn new_ledger(account: &Account) -> [u8; 64] {
    Replay::new().encode(&Entry::Open(account.clone()))
}

impl Replay {
    fn new() -> Self {
        Replay { tally: Tally { next: 0, used: 0, weights: None }, records: 0, chain: [0; CHECK] }
    }

    /// Bytes of the records read.
    pub fn end(&self) -> u64 {
        u64::from(self.records) * RECORD as u64
    }

    fn check(&self, body: &[u8]) -> [u8; CHECK] {
        let mut hash = blake3::Hasher::new_derive_key("twoply ledger v1 record");
        let digest = hash.update(&self.chain).update(body).finalize();
        std::array::from_fn(|i| digest.as_bytes()[i])
    }

    /// The bytes of `entry` as the next record.
    pub fn encode(&self, entry: &Entry) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            record[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let kind = match entry {
            Entry::Open(_) => OPEN,
            Entry::Spend { .. } => SPEND,
            Entry::Bind { .. } => BIND,
        };
        put(&kind.to_le_bytes());
        put(&self.records.to_le_bytes());
        match entry {
            Entry::Open(account) => {
                put(&account.key_set.0);
                put(&(account.party.index() as u32).to_le_bytes());
                put(&account.cut.segment_images().to_le_bytes());
                put(&account.cut.images().to_le_bytes());
            }
            Entry::Spend { next, used } => {
                put(&next.to_le_bytes());
                put(&used.to_le_bytes());
            }
            Entry::Bind { digest } => put(digest),
        }
        let check = self.check(&record[..BODY]);
        record[BODY..].copy_from_slice(&check);
        record
    }

    /// Takes `entry`, whose bytes are `record`, as the next one.
    pub fn accept(&mut self, entry: Entry, record: &[u8; RECORD]) {
        match entry {
            Entry::Open(_) => {}
            Entry::Spend { next, used } => (self.tally.next, self.tally.used) = (next, used),
            Entry::Bind { digest } => self.tally.weights = Some(digest),
        }
        self.records += 1;
        self.chain.copy_from_slice(&record[BODY..]);
    }

    /// Reads a whole ledger, which must belong to `account`.
    pub fn run(bytes: &[u8], path: &Path, account: &Account) -> Result<Replay> {
        let mut replay = Replay::new();
        let chunks = bytes.len().div_ceil(RECORD);
        for (number, chunk) in bytes.chunks(RECORD).enumerate() {
            let bad = |why| Error::LedgerCorrupt { path: path.into(), record: number as u64, why };
            let whole = <&[u8; RECORD]>::try_from(chunk).ok().filter(|r| r[BODY..] != [0; CHECK]);
            let Some(record) = whole else {
                // The first record was durable before the key set existed, so it is never torn.
                if number > 0 && number + 1 == chunks {
                    break;
                }
                return Err(bad("is incomplete"));
            };
            let entry = replay.decode(record).map_err(bad)?;
            match (&entry, number) {
                (Entry::Open(found), 0) => same(found, account, path)?,
                (Entry::Open(_), _) | (_, 0) => return Err(bad("is out of place")),
                (Entry::Spend { next, used }, _) => {
                    let sane = *next >= replay.tally.next && *next <= account.cut.images() && used <= next;
                    sane.then_some(()).ok_or_else(|| bad("goes back or too far"))?;
                }
                (Entry::Bind { .. }, _) if replay.tally.weights.is_some() => {
                    return Err(bad("binds the weights again"));
                }
                (Entry::Bind { .. }, _) => {}
            }
            replay.accept(entry, record);
        }
        if replay.records == 0 {
            return Err(Error::LedgerCorrupt { path: path.into(), record: 0, why: "is missing" });
        }
        Ok(replay)
    }

    fn decode(&self, record: &[u8; RECORD]) -> std::result::Result<Entry, &'static str> {
        if self.check(&record[..BODY]) != record[BODY..] {
            return Err("does not match its digest");
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| record[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| record[at + i]));
        if u32_at(4) != self.records {
            return Err("has another number");
        }
        match u32_at(0) {
            OPEN => {
                let party = usize::try_from(u32_at(24)).ok().and_then(|p| PartyId::BOTH.get(p));
                Ok(Entry::Open(Account {
                    key_set: KeySetId(std::array::from_fn(|i| record[8 + i])),
                    party: *party.ok_or("names no party")?,
                    cut: Cut::new(u64_at(32), u32_at(28)).map_err(|_| "names no images")?,
                }))
            }
            SPEND => Ok(Entry::Spend { next: u64_at(8), used: u64_at(16) }),
            BIND => Ok(Entry::Bind { digest: std::array::from_fn(|i| record[8 + i]) }),
            _ => Err("is of a kind unknown to this release"),
        }
    }
}

/// Compares whose ledger it is.
fn same(found: &Account, wanted: &Account, path: &Path) -> Result<()> {
    let path = path.to_path_buf();
    if found.party != wanted.party {
        return Err(Error::WrongParty { path, wanted: wanted.party, found: found.party });
    }
    if found.key_set != wanted.key_set {
        return Err(Error::WrongKeySet { path, wanted: wanted.key_set, found: found.key_set });
    }
    if found.cut != wanted.cut {
        return Err(Error::LedgerCorrupt { path, record: 0, why: "counts other images than set.key" });
    }
    Ok(())
}
