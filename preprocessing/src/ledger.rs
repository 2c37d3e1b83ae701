//! The one-time ledger: which images of a key set are spent, durably, before anything masked with them leaves.
//!
//! The order that makes reuse impossible whatever crashes: reserve here, durably; tell the peer ([`Claim`]); hear
//! that the peer reserved the same; only then use. The types follow it: [`Ledger::reserve`] gives a [`Pending`],
//! only the peer's equal claim makes it a [`Reservation`], and only that gives out [`Lease`]s, which are used up by
//! opening their segment. `tests/model.rs` searches all crashes and finds the reuses when a step is left out.

mod record;

pub use record::{Account, new_ledger};

use crate::book::{Book, Chain, FileLog, Log};
use crate::{Error, Result};
use record::{Entry, STYLE};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// Images to reserve at once when a run needs `b` and `remaining` are left: enough that the fsync (about 5 ms) is
/// shared by up to 64 images, and few enough that a crash wastes at most a sixteenth of what is left.
pub fn chunk(b: u64, remaining: u64) -> u64 {
    b.max(64.min(remaining / 16)).min(remaining)
}

/// What a ledger says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// First image that is not spent; all below it are.
    pub next: u64,
    /// Spent images known to have been used. A crash loses the count of its reservation, never the reservation.
    pub used: u64,
    /// Digest of the masked weights, once bound.
    pub weights: Option<[u8; 32]>,
}

impl Tally {
    /// Reads a ledger without locking it, for listings: it may be behind a running party.
    pub fn read(path: &Path, account: &Account) -> Result<Tally> {
        let mut tally = Tally::NEW;
        let bytes = FileLog::peek(path, MISSING)?;
        Chain::read(&STYLE, &bytes, path, |record| tally.accept(record, path, account))?;
        Ok(tally)
    }
    /// Images spent without being used (or in a reservation that is still running).
    pub fn burnt(&self) -> u64 {
        self.next - self.used
    }
}

/// The ledger of one key set and one party, over whatever keeps its bytes.
pub struct Ledger<L> {
    book: Book<L>,
    account: Account,
    tally: Tally,
}

pub(crate) const MISSING: &str = "without it no key is known to be unspent: deal a new key set";

impl Ledger<FileLog> {
    /// Opens and locks the ledger in a file. A missing ledger is an error: without it no key is known to be unspent.
    pub fn open_file(path: &Path, account: Account) -> Result<Self> {
        Ledger::open(FileLog::open(path, MISSING)?, path, account)
    }
}

impl<L: Log> Ledger<L> {
    /// Reads a ledger and checks that it is of this key set, party and size.
    pub fn open(log: L, name: impl Into<PathBuf>, account: Account) -> Result<Self> {
        let name = name.into();
        let mut tally = Tally::NEW;
        let book = Book::open(log, name.clone(), &STYLE, |record| tally.accept(record, &name, &account))?;
        Ok(Ledger { book, account, tally })
    }

    /// What it says now.
    pub fn tally(&self) -> Tally {
        self.tally
    }
    /// Images not spent.
    pub fn remaining(&self) -> u64 {
        self.account.cut.images() - self.tally.next
    }
    /// Key set, party and size.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The images to reserve for a run of `b`, of those below `dealt`. See [`chunk`].
    pub fn propose(&self, b: u64, dealt: u64) -> Result<Range<u64>> {
        let next = self.tally.next;
        let left = dealt.min(self.account.cut.images()).saturating_sub(next);
        if b == 0 || b > left {
            return Err(Error::Short { wanted: b, left });
        }
        Ok(next..next + chunk(b, left))
    }

    /// Marks `images` as spent, durably. They must not start below the first unspent image; those skipped are burnt.
    pub fn reserve(&mut self, images: Range<u64>) -> Result<Pending> {
        let next = self.tally.next;
        let total = self.account.cut.images();
        if images.start < next {
            return Err(Error::Spent { from: images.start, next });
        }
        if images.is_empty() || images.end > total {
            return Err(Error::Short { wanted: images.end.saturating_sub(images.start), left: total - next });
        }
        self.append(Entry::Spend { next: images.end, used: self.tally.used })?;
        let claim = Claim { key_set: self.account.key_set, from: images.start, to: images.end };
        Ok(Pending { claim, account: self.account.clone() })
    }

    /// Burns all images below `next`, durably, because the peer has spent them. Does nothing if they are spent.
    pub fn advance_to(&mut self, next: u64) -> Result<()> {
        let Tally { next: ours, used, .. } = self.tally;
        if next <= ours {
            return Ok(());
        }
        if next > self.account.cut.images() {
            return Err(Error::Short { wanted: next - ours, left: self.remaining() });
        }
        self.append(Entry::Spend { next, used })
    }

    /// Ends a reservation: counts its leased images as used. Becomes durable with the next reservation or
    /// [`Ledger::close`], since only the statistics depend on it.
    pub fn settle(&mut self, done: Reservation) {
        if done.account == self.account {
            self.tally.used += done.taken();
        }
    }

    /// Counts spent images as used. Durable as after [`Ledger::settle`].
    pub fn used(&mut self, images: u64) {
        let tally = &mut self.tally;
        tally.used = tally.next.min(tally.used + images);
    }

    /// Ties the weight mask to the masked weights with this digest, durably, before they leave. The same digest may
    /// be bound again; another one never: the difference of two models under one mask is public.
    pub fn bind_weights(&mut self, digest: [u8; 32]) -> Result<()> {
        match self.tally.weights {
            Some(bound) if bound == digest => Ok(()),
            Some(_) => Err(Error::WeightsBound { path: self.book.name.clone() }),
            None => self.append(Entry::Bind { digest }),
        }
    }

    /// Makes the statistics durable. Leaving it out costs nothing but them.
    pub fn close(mut self) -> Result<()> {
        self.settle_counts()
    }

    /// The same, of a ledger that goes on.
    pub fn settle_counts(&mut self) -> Result<()> {
        let Tally { next, used, .. } = self.tally;
        self.append(Entry::Spend { next, used })
    }

    fn append(&mut self, entry: Entry) -> Result<()> {
        entry.write(|kind, parts| self.book.append(kind, parts))?;
        self.tally.apply(&entry);
        Ok(())
    }
}

/// A range that one party says it has durably reserved: the content of the message RESERVED.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The key set.
    pub key_set: KeySetId,
    /// First image.
    pub from: u64,
    /// One past the last image.
    pub to: u64,
}

/// Images spent here, of which the peer has not yet said the same. Dropping it burns them.
#[must_use = "the images are spent"]
pub struct Pending {
    claim: Claim,
    account: Account,
}

impl Pending {
    /// What to tell the peer.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Takes the peer's claim, which must be the same.
    pub fn acknowledged(self, peer: &Claim) -> Result<Reservation> {
        if *peer != self.claim {
            return Err(Error::PeerDiffers {
                set: self.claim.key_set,
                ours: self.claim.from..self.claim.to,
                theirs: peer.from..peer.to,
            });
        }
        Ok(Reservation {
            account: self.account,
            from: self.claim.from,
            images: self.claim.from..self.claim.to,
        })
    }
}

/// Images that both parties have durably reserved: the only way to keys. Not `Clone`.
#[must_use = "the images are spent"]
pub struct Reservation {
    account: Account,
    from: u64,
    /// Not yet leased.
    images: Range<u64>,
}

impl Reservation {
    /// Images not yet leased.
    pub fn left(&self) -> u64 {
        self.images.end - self.images.start
    }
    /// Images leased so far.
    pub fn taken(&self) -> u64 {
        self.images.start - self.from
    }

    /// Leases the next `b` images, one piece for each segment they lie in.
    pub fn take(&mut self, b: u64) -> Result<Vec<Lease>> {
        if b == 0 || b > self.left() {
            return Err(Error::Short { wanted: b, left: self.left() });
        }
        let start = self.images.start;
        self.images.start += b;
        let Account { key_set, cut, .. } = self.account;
        let lease = |(segment, images)| Lease { key_set, segment, images };
        Ok(cut.pieces(start..start + b).map(lease).collect())
    }
}

/// The right to use some images of one segment, once: given up to [`crate::KeySet::open`]. Not `Clone`.
#[must_use = "the images are spent"]
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    pub(crate) key_set: KeySetId,
    pub(crate) segment: u32,
    pub(crate) images: Range<u32>,
}

impl Lease {
    /// The segment.
    pub fn segment(&self) -> u32 {
        self.segment
    }
    /// The images, numbered within the segment.
    pub fn images(&self) -> Range<u32> {
        self.images.clone()
    }
    /// One lease of both, if `next` goes on where this one ends; else both back.
    pub fn join(self, next: Lease) -> std::result::Result<Lease, (Lease, Lease)> {
        let same = self.key_set == next.key_set && self.segment == next.segment;
        match same && self.images.end == next.images.start {
            true => Ok(Lease { images: self.images.start..next.images.end, ..self }),
            false => Err((self, next)),
        }
    }
}

#[cfg(test)]
mod tests;
