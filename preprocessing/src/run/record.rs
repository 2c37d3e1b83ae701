//! What the records of a run's ledger say.

use super::{CheckpointId, Holder, RunId, RunInfo, TermsHash};
use crate::book::{Chain, Record, Style};
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::KeySetId;

pub(super) const STYLE: Style =
    Style { domain: "twoply run v1 record", remedy: "which attempts there were is unknown: begin a new run" };
pub(super) const MISSING: &str = "without it no attempt is known: begin a new run";

/// Of the first record; the holder's number is added.
const RUN: u32 = 1;
const DATA: u32 = 5;
const ATTEMPT: u32 = 6;
const CHECKPOINT: u32 = 7;
const DELIVERED: u32 = 8;
const PROVISIONED: u32 = 9;
const END: u32 = 10;

/// First bytes of a checkpoint's digest, in the record of an attempt.
pub(super) type Short = [u8; 12];
pub(super) fn short(digest: &[u8; 32]) -> Short {
    std::array::from_fn(|i| digest[i])
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// The first record: whose ledger it is, of which run.
    Run { holder: Holder, run: RunId, terms: TermsHash },
    /// The run trains on this data key set.
    Data(KeySetId),
    /// An attempt from a checkpoint; of its digest zeros at the dealer.
    Attempt { attempt: u32, from: CheckpointId, set: KeySetId, digest: Short },
    /// The digest of a checkpoint that was made here.
    Checkpoint { id: CheckpointId, digest: [u8; 32] },
    /// A listed reveal may leave, in this segment of an attempt.
    Delivered { attempt: u32, segment: u32, what: [u8; 32] },
    /// The weights of a checkpoint are used otherwise: for inference, or for their owner.
    Provisioned { id: CheckpointId, what: [u8; 32] },
    /// No attempt will follow; the result is this checkpoint.
    End(CheckpointId),
}

fn id_bytes(id: CheckpointId) -> [[u8; 4]; 2] {
    [id.attempt.to_le_bytes(), id.step.to_le_bytes()]
}

impl Entry {
    /// Hands kind and content of the record to `put`.
    pub fn write<T>(&self, put: impl FnOnce(u32, &[&[u8]]) -> T) -> T {
        match self {
            Entry::Run { holder, run, terms } => put(RUN + holder.number(), &[&run.0, &terms.0]),
            Entry::Data(set) => put(DATA, &[&set.0]),
            Entry::Attempt { attempt, from, set, digest } => {
                let [a, t] = id_bytes(*from);
                put(ATTEMPT, &[&attempt.to_le_bytes(), &a, &t, &set.0, digest])
            }
            Entry::Checkpoint { id, digest } => {
                let [a, t] = id_bytes(*id);
                put(CHECKPOINT, &[&a, &t, digest])
            }
            Entry::Delivered { attempt, segment, what } => {
                put(DELIVERED, &[&attempt.to_le_bytes(), &segment.to_le_bytes(), what])
            }
            Entry::Provisioned { id, what } => {
                let [a, t] = id_bytes(*id);
                put(PROVISIONED, &[&a, &t, what])
            }
            Entry::End(id) => {
                let [a, t] = id_bytes(*id);
                put(END, &[&a, &t])
            }
        }
    }

    fn read(record: &Record) -> std::result::Result<Entry, &'static str> {
        let id = |at| CheckpointId { attempt: record.u32(at), step: record.u32(at + 4) };
        Ok(match record.kind {
            kind @ RUN..DATA => {
                let holder = Holder::from_number(kind - RUN).ok_or("names no holder")?;
                Entry::Run { holder, run: RunId(record.bytes(0)), terms: TermsHash(record.bytes(16)) }
            }
            DATA => Entry::Data(KeySetId(record.bytes(0))),
            ATTEMPT => Entry::Attempt {
                attempt: record.u32(0),
                from: id(4),
                set: KeySetId(record.bytes(12)),
                digest: record.bytes(28),
            },
            CHECKPOINT => Entry::Checkpoint { id: id(0), digest: record.bytes(8) },
            DELIVERED => {
                Entry::Delivered { attempt: record.u32(0), segment: record.u32(4), what: record.bytes(8) }
            }
            PROVISIONED => Entry::Provisioned { id: id(0), what: record.bytes(8) },
            END => Entry::End(id(0)),
            _ => return Err("is of a kind unknown to this release"),
        })
    }
}

/// Whose ledger a reader expects. `terms` is compared by the caller, who may have to know the start first.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub holder: Holder,
    pub run: RunId,
}

/// What a ledger says: its entries in order, each one checked against those before it.
#[derive(Default)]
pub(super) struct History {
    entries: Vec<Entry>,
}

impl History {
    /// Reads a ledger of anybody, without locking it.
    pub fn peek(bytes: &[u8], path: &Path) -> Result<History> {
        let mut history = History::default();
        Chain::read(&STYLE, bytes, path, |record| history.accept(record, path, None))?;
        Ok(history)
    }

    /// Takes a record of the ledger at `path`, or says what is wrong with it.
    pub fn accept(
        &mut self,
        record: &Record,
        path: &Path,
        wanted: Option<Expected>,
    ) -> Result<std::result::Result<(), &'static str>> {
        let entry = match Entry::read(record) {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        if let (Entry::Run { holder, run, .. }, Some(wanted)) = (entry, wanted) {
            let path = path.to_path_buf();
            if holder != wanted.holder {
                return Err(Error::WrongHolder { path, wanted: wanted.holder, found: holder });
            }
            if run != wanted.run {
                return Err(Error::WrongRun { path, wanted: wanted.run, found: run });
            }
        }
        Ok(self.admits(&entry).then(|| self.push(entry)).ok_or("is out of place"))
    }

    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Whether an entry may come next.
    pub fn admits(&self, entry: &Entry) -> bool {
        let began = self.entries.iter().any(|e| !matches!(e, Entry::Run { .. } | Entry::Data(_)));
        match *entry {
            Entry::Run { .. } => self.entries.is_empty(),
            _ if self.entries.is_empty() => false,
            Entry::Data(_) => !began,
            Entry::Attempt { attempt, set, .. } => {
                self.end().is_none() && attempt > self.highest() && !self.knows(set)
            }
            Entry::Checkpoint { id, .. } => {
                let last = self.checkpoints().map(|(id, _)| id).last();
                let later = last.is_none_or(|last| last.attempt < id.attempt || last.step < id.step);
                let started = id == CheckpointId::START && !began;
                started || (last.is_some() && id.attempt == self.highest() && later && self.end().is_none())
            }
            Entry::Delivered { attempt, .. } => {
                attempt > 0
                    && attempt == self.highest()
                    && self.end().is_none()
                    && !self.entries.contains(entry)
            }
            Entry::Provisioned { .. } => true,
            Entry::End(_) => self.end().is_none(),
        }
    }

    /// What the run is about, as its first record says.
    pub fn terms(&self) -> Option<TermsHash> {
        self.entries.iter().find_map(|e| match e {
            Entry::Run { terms, .. } => Some(*terms),
            _ => None,
        })
    }
    /// The highest attempt.
    pub fn highest(&self) -> u32 {
        let attempt = |e: &Entry| match e {
            Entry::Attempt { attempt, .. } => Some(*attempt),
            _ => None,
        };
        self.entries.iter().filter_map(attempt).max().unwrap_or(0)
    }
    /// Whether an attempt had keys of this name.
    pub fn knows(&self, name: KeySetId) -> bool {
        self.entries.iter().any(|e| matches!(e, Entry::Attempt { set, .. } if *set == name))
    }
    /// Whether the run trains on this data key set.
    pub fn uses(&self, set: KeySetId) -> bool {
        self.entries.contains(&Entry::Data(set))
    }
    /// All checkpoints that were made here, in order.
    pub fn checkpoints(&self) -> impl Iterator<Item = (CheckpointId, [u8; 32])> {
        self.entries.iter().filter_map(|e| match e {
            Entry::Checkpoint { id, digest } => Some((*id, *digest)),
            _ => None,
        })
    }
    /// All of it in brief; `None` for an empty ledger.
    pub fn info(&self) -> Option<RunInfo> {
        let Some(Entry::Run { holder, run, .. }) = self.entries.first() else { return None };
        let data = |e: &Entry| if let Entry::Data(set) = e { Some(*set) } else { None };
        let from = |e: &Entry| if let Entry::Attempt { from, .. } = e { Some(*from) } else { None };
        Some(RunInfo {
            run: *run,
            holder: *holder,
            sets: self.entries.iter().filter_map(data).collect(),
            attempts: self.highest(),
            from: self.entries.iter().filter_map(from).next_back(),
            last: self.checkpoints().map(|(id, _)| id).last(),
            end: self.end(),
            provisioned: self.entries.iter().filter(|e| matches!(e, Entry::Provisioned { .. })).count()
                as u64,
            delivered: self.entries.iter().filter(|e| matches!(e, Entry::Delivered { .. })).count() as u64,
        })
    }
    /// Whether it says this already.
    pub fn has(&self, entry: &Entry) -> bool {
        self.entries.contains(entry)
    }
    /// How often a reveal was delivered, in all attempts.
    pub fn delivered(&self, name: &[u8; 32]) -> u64 {
        let is = |e: &&Entry| matches!(e, Entry::Delivered { what, .. } if what == name);
        self.entries.iter().filter(is).count() as u64
    }
    /// The result, once the run has ended.
    pub fn end(&self) -> Option<CheckpointId> {
        self.entries.iter().find_map(|e| match e {
            Entry::End(id) => Some(*id),
            _ => None,
        })
    }
}

/// The bytes of a ledger that begins with `entries`.
pub(super) fn begin(entries: &[Entry]) -> Vec<u8> {
    let mut chain = Chain::new(&STYLE);
    entries.iter().flat_map(|entry| entry.write(|kind, parts| chain.add(kind, parts))).collect()
}
