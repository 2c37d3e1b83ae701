//! What the records of a key set's ledger say.

use super::Tally;
use crate::book::{Chain, Record, Style};
use crate::set::Cut;
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::{KeySetId, PartyId};

pub(super) const STYLE: Style =
    Style { domain: "twoply ledger v1 record", remedy: "the spent images are unknown: deal a new key set" };
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

/// The bytes of a ledger in which nothing is spent.
pub fn new_ledger(account: &Account) -> [u8; 64] {
    Entry::Open(account.clone()).write(|kind, parts| Chain::new(&STYLE).add(kind, parts))
}

impl Entry {
    /// Hands kind and content of the record to `put`.
    pub fn write<T>(&self, put: impl FnOnce(u32, &[&[u8]]) -> T) -> T {
        match self {
            Entry::Open(account) => {
                let party = (account.party.index() as u32).to_le_bytes();
                let [size, images] =
                    [u64::from(account.cut.segment_images()), account.cut.images()].map(u64::to_le_bytes);
                put(OPEN, &[&account.key_set.0, &party, &size[..4], &images])
            }
            Entry::Spend { next, used } => put(SPEND, &[&next.to_le_bytes(), &used.to_le_bytes()]),
            Entry::Bind { digest } => put(BIND, &[digest]),
        }
    }

    fn read(record: &Record) -> std::result::Result<Entry, &'static str> {
        match record.kind {
            OPEN => {
                let party = usize::try_from(record.u32(16)).ok().and_then(|p| PartyId::BOTH.get(p));
                Ok(Entry::Open(Account {
                    key_set: KeySetId(record.bytes(0)),
                    party: *party.ok_or("names no party")?,
                    cut: Cut::new(record.u64(24), record.u32(20)).map_err(|_| "names no images")?,
                }))
            }
            SPEND => Ok(Entry::Spend { next: record.u64(0), used: record.u64(8) }),
            BIND => Ok(Entry::Bind { digest: record.bytes(0) }),
            _ => Err("is of a kind unknown to this release"),
        }
    }
}

impl Tally {
    pub(super) const NEW: Tally = Tally { next: 0, used: 0, weights: None };

    /// Takes a record of the ledger at `path`, which must belong to `account`, or says what is wrong with it.
    pub(super) fn accept(
        &mut self,
        record: &Record,
        path: &Path,
        account: &Account,
    ) -> Result<std::result::Result<(), &'static str>> {
        let entry = match Entry::read(record) {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        match (&entry, record.number) {
            (Entry::Open(found), 0) => return same(found, account, path),
            (Entry::Open(_), _) | (_, 0) => return Ok(Err("is out of place")),
            (Entry::Spend { next, used }, _)
                if *next < self.next || *next > account.cut.images() || used > next =>
            {
                return Ok(Err("goes back or too far"));
            }
            (Entry::Bind { .. }, _) if self.weights.is_some() => return Ok(Err("binds the weights again")),
            _ => self.apply(&entry),
        }
        Ok(Ok(()))
    }

    /// What it says after `entry`.
    pub(super) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Open(_) => {}
            Entry::Spend { next, used } => (self.next, self.used) = (*next, *used),
            Entry::Bind { digest } => self.weights = Some(*digest),
        }
    }
}

/// Compares whose ledger it is.
fn same(found: &Account, wanted: &Account, path: &Path) -> Result<std::result::Result<(), &'static str>> {
    let path = path.to_path_buf();
    if found.party != wanted.party {
        return Err(Error::WrongParty { path, wanted: wanted.party, found: found.party });
    }
    if found.key_set != wanted.key_set {
        return Err(Error::WrongKeySet { path, wanted: wanted.key_set, found: found.key_set });
    }
    Ok(if found.cut == wanted.cut { Ok(()) } else { Err("counts other images than set.key") })
}
