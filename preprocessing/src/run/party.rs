//! A run at a party: attempts that both parties have recorded, checkpoints that both hold.

use super::checkpoint::{self, Header, Snapshot};
use super::figure::{self, FigureShare};
use super::journal::{self, Journal};
use super::record::{Entry, short};
use super::segments::{Segment, SegmentKind, Segments};
use super::{Ask, CheckpointId, FirstCredit, Frame, Held, Hello, Holder, Mark, Offer, Reserved, RunSpec};
use crate::folder::{FileFolder, Folder};
use crate::rows::{Root, Whole};
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::{KeySetId, PartyId};

/// The ledger and the checkpoints of one run at one party, who is in no attempt: an attempt borrows it.
pub struct PartyRun<F> {
    journal: Journal<F>,
}

/// The last checkpoint that both parties hold with equal digests: only two equal HELLOs make one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Common {
    mark: Mark,
}

impl Common {
    /// The checkpoint.
    pub fn id(&self) -> CheckpointId {
        self.mark.id
    }
}

fn public_parts(state: &Snapshot) -> [&[u8]; 4] {
    [&state.weights, &state.velocities, &state.accumulators, &state.shares]
}

impl PartyRun<FileFolder> {
    /// Begins a run below `root` (a folder), or does the rest of that if a process was killed at it. `data` are the
    /// run's data sets, in order: themselves and not their roots, so that none is retired before the run's ledger names
    /// it. The start is its first checkpoint.
    pub fn create(
        root: &Path,
        party: PartyId,
        spec: &RunSpec,
        data: &[&Whole<'_, FileFolder>],
        start: &Snapshot,
    ) -> Result<()> {
        let (header, entries) = beginning(party, spec, &roots(data), start)?;
        journal::create(root, &header, &public_parts(start), &entries)
    }

    /// Opens the run, locks its ledger and verifies every checkpoint. A missing ledger is an error: without it no
    /// attempt is known.
    pub fn open(root: &Path, party: PartyId, spec: RunSpec, roots: &[Root]) -> Result<Self> {
        PartyRun::with(journal::folder(root, spec.run)?, party, spec, roots)
    }
}

fn roots<F: Folder>(data: &[&Whole<'_, F>]) -> Vec<Root> {
    data.iter().map(|whole| whole.root()).collect()
}

/// The start's header and the first records.
fn beginning(
    party: PartyId,
    spec: &RunSpec,
    roots: &[Root],
    start: &Snapshot,
) -> Result<(Header, Vec<Entry>)> {
    let (holder, run, lengths) = (Holder::Party(party), spec.run, spec.lengths);
    let (id, set, transcript) = (CheckpointId::START, KeySetId([0; 16]), [0; 32]);
    let mut header = Header { holder, run, terms: spec.shared_hash(), lengths, id, set, transcript };
    let digest = checkpoint::digest_of(&header, &public_parts(start))?;
    header.terms = spec.party_hash(roots, &digest)?;
    let mut entries = vec![Entry::Run { holder, run, terms: header.terms }];
    entries.extend(spec.sets.iter().map(|set| Entry::Data(*set)));
    entries.push(Entry::Checkpoint { id, digest });
    Ok((header, entries))
}

impl<F: Folder> PartyRun<F> {
    /// Begins a run in a folder that is kept anywhere: its first checkpoint; returns the bytes of its ledger.
    pub fn begin(
        folder: &mut F,
        party: PartyId,
        spec: &RunSpec,
        data: &[&Whole<'_, F>],
        start: &Snapshot,
    ) -> Result<Vec<u8>> {
        let (header, entries) = beginning(party, spec, &roots(data), start)?;
        checkpoint::save(folder, &header, &public_parts(start))?;
        Ok(super::record::begin(&entries))
    }

    /// Opens a run whose folder is kept anywhere.
    pub fn with(folder: F, party: PartyId, spec: RunSpec, roots: &[Root]) -> Result<Self> {
        let hashed = spec.clone();
        let journal = Journal::open(folder, Holder::Party(party), spec, |history| {
            let start = history.checkpoints().next().map_or([0; 32], |(_, digest)| digest);
            hashed.party_hash(roots, &start)
        })?;
        Ok(PartyRun { journal })
    }

    /// Checkpoints whose files verify, the last one last.
    pub fn held(&self) -> &[Mark] {
        &self.journal.held
    }
    /// What was wrong with files of other checkpoints.
    pub fn damaged(&self) -> &[Error] {
        &self.journal.damaged
    }
    /// The highest attempt.
    pub fn highest(&self) -> u32 {
        self.journal.history.highest()
    }
    /// Data key sets that the run trains on.
    pub fn sets(&self) -> &[KeySetId] {
        &self.journal.spec.sets
    }
    /// The result, once the run has ended.
    pub fn ended(&self) -> Option<CheckpointId> {
        self.journal.history.end()
    }
    /// How often a listed reveal was delivered, in all attempts.
    pub fn delivered(&self, reveal: &str) -> u64 {
        self.journal.history.delivered(&super::what(reveal))
    }
    /// Shares of figures that are kept here, in the order of attempts and steps.
    pub fn figures(&self) -> Result<Vec<FigureShare>> {
        figure::all(self.journal.folder(), self.journal.spec.run)
    }
    /// The state at a checkpoint that is held.
    pub fn state(&self, id: CheckpointId) -> Result<Snapshot> {
        let journal = &self.journal;
        let mark = journal.mark(id)?;
        let body = checkpoint::load(journal.folder(), &journal.wanted(id))?;
        if body.digest != mark.digest {
            return Err(journal.other_digest(id));
        }
        let mut parts = body.parts.into_iter().map(|mut part| std::mem::take(&mut *part));
        let mut next = || parts.next().unwrap_or_default();
        let (weights, velocities, accumulators) = (next(), next(), next());
        Ok(Snapshot { weights, velocities, accumulators, shares: next().into() })
    }

    /// HELLO to the peer.
    pub fn hello(&self) -> Result<Hello> {
        let journal = &self.journal;
        let mut last = journal.held.iter().rev().copied();
        let lost = || Error::NotHeld { path: journal.book.name.clone(), id: CheckpointId::START };
        let newest = last.next().ok_or_else(lost)?;
        Ok(Hello {
            run: journal.spec.run,
            terms: journal.terms,
            highest: self.highest(),
            held: [newest, last.next().unwrap_or(newest)],
            ended: self.ended().is_some(),
        })
    }

    /// What both parties hold, from the peer's HELLO.
    pub fn common(&self, peer: &Hello) -> Result<Common> {
        let ours = self.hello()?;
        let what = match () {
            () if peer.run != ours.run => "the run",
            () if peer.terms != ours.terms => "plan, data, start or order",
            () => match ours.held.into_iter().find(|mark| peer.held.contains(mark)) {
                Some(mark) => return Ok(Common { mark }),
                None => "every checkpoint",
            },
        };
        Err(Error::RunsDiffer { run: ours.run, what })
    }

    /// HELLO to the dealer, with what both parties hold.
    pub fn ask(&self, common: &Common) -> Ask {
        let (run, terms) = (self.journal.spec.run, self.journal.spec.shared_hash());
        Ask { run, terms, highest: self.highest(), from: common.id() }
    }

    /// Records the attempt that the dealer offers, durably. One that is not above the highest is refused, and so is
    /// one from a checkpoint that is not held.
    pub fn offered(&mut self, offer: &Offer) -> Result<PendingAttempt<'_, F>> {
        let journal = &mut self.journal;
        if journal.history.end().is_some() {
            return Err(Error::RunEnded { path: journal.book.name.clone() });
        }
        if offer.run != journal.spec.run {
            return Err(Error::RunsDiffer { run: journal.spec.run, what: "the run" });
        }
        let highest = journal.history.highest();
        if offer.attempt <= highest || journal.history.knows(offer.set) {
            return Err(Error::OldAttempt { attempt: offer.attempt, highest });
        }
        let from = journal.mark(offer.from)?;
        let (attempt, set) = (offer.attempt, offer.set);
        journal.append(Entry::Attempt { attempt, from: from.id, set, digest: short(&from.digest) })?;
        let (run, terms) = (journal.spec.run, journal.terms);
        Ok(PendingAttempt { journal, reserved: Reserved { run, terms, attempt, from, set } })
    }

    /// Records that the weights of a checkpoint that is held are used otherwise, under this name: for inference, or for
    /// their owner.
    pub fn provisioned(&mut self, id: CheckpointId, what: &str) -> Result<()> {
        self.journal.mark(id)?;
        self.journal.append(Entry::Provisioned { id, what: super::what(what) })
    }

    /// Ends the run with what both parties hold. Does nothing if it has ended.
    pub fn end(&mut self, common: &Common) -> Result<()> {
        self.journal.mark(common.id())?;
        if self.ended().is_some() { Ok(()) } else { self.journal.append(Entry::End(common.id())) }
    }
}

/// An attempt that is recorded here, of which the peer has not yet said the same.
#[must_use = "the attempt is recorded"]
pub struct PendingAttempt<'a, F> {
    journal: &'a mut Journal<F>,
    reserved: Reserved,
}

impl<'a, F: Folder> PendingAttempt<'a, F> {
    /// What to tell the peer.
    pub fn reserved(&self) -> Reserved {
        self.reserved
    }

    /// Takes what the peer has reserved, which must be the same. All other checkpoints are dropped: both parties have
    /// this one.
    pub fn agree(self, peer: &Reserved) -> Result<Attempt<'a, F>> {
        let PendingAttempt { journal, reserved } = self;
        if *peer != reserved {
            let what = match () {
                () if peer.attempt != reserved.attempt || peer.set != reserved.set => "the attempt",
                () if peer.from != reserved.from => "the checkpoint to start from",
                () => "the run, or plan, data, start or order",
            };
            return Err(Error::RunsDiffer { run: reserved.run, what });
        }
        journal.keep(|id| id == reserved.from.id)?;
        let segments = Segments::new(reserved.set, reserved.from.id, journal.spec.schedule);
        let transcript = super::first_transcript(&reserved);
        Ok(Attempt {
            journal,
            reserved,
            segments,
            transcript,
            due: None,
            waiting: false,
            agreed: reserved.from,
        })
    }
}

/// An attempt that both parties have recorded: it gives out segments, each once, and makes checkpoints. When it ends or
/// fails, nothing goes on inside it; the next one begins with HELLO.
pub struct Attempt<'a, F> {
    journal: &'a mut Journal<F>,
    reserved: Reserved,
    segments: Segments,
    /// Chained over all segments that are done.
    transcript: [u8; 32],
    /// The step whose state must be saved before anything goes on.
    due: Option<u32>,
    /// Whether the peer has not yet answered the last checkpoint.
    waiting: bool,
    /// The last checkpoint that both parties hold.
    agreed: Mark,
}

impl<F: Folder> Attempt<'_, F> {
    /// What both parties have recorded.
    pub fn reserved(&self) -> &Reserved {
        &self.reserved
    }
    /// What lets the dealer's first key come.
    pub fn first_credit(&self) -> FirstCredit {
        FirstCredit { set: self.reserved.set }
    }

    /// Begins the next segment. Segments are numbered over everything that the plan runs.
    pub fn begin(&mut self, kind: SegmentKind) -> Result<Segment> {
        match self.due {
            Some(_) => Err(Error::Sequence { wanted: "the checkpoint that is due" }),
            None => self.segments.begin(kind),
        }
    }

    /// Ends a segment, whose session had this transcript. If it was the step before a checkpoint, that is due now.
    pub fn finish(&mut self, segment: Segment, transcript: [u8; 32]) -> Result<()> {
        self.due = self.segments.end(segment)?;
        self.transcript = super::next_transcript(&self.transcript, &transcript);
        Ok(())
    }

    /// The step whose state is to be saved now.
    pub fn due(&self) -> Option<u32> {
        self.due
    }

    /// Makes the checkpoint that is due: file and record are durable when this returns. Training may go on, but
    /// there is no second one before the peer has answered.
    pub fn checkpoint(&mut self, state: &Snapshot) -> Result<Ours> {
        if self.waiting {
            return Err(Error::Sequence { wanted: "the peer's answer to the checkpoint before" });
        }
        let step = self.due.ok_or(Error::Sequence { wanted: "the step before a checkpoint" })?;
        let id = CheckpointId { attempt: self.reserved.attempt, step };
        self.journal.book.sure()?;
        let header = self.journal.header(id, self.reserved.set, self.transcript);
        let digest = self.journal.save(&header, &public_parts(state))?;
        self.journal.append(Entry::Checkpoint { id, digest })?;
        let mark = Mark { id, digest };
        self.journal.held.push(mark);
        (self.due, self.waiting) = (None, true);
        Ok(Ours { set: self.reserved.set, mark })
    }

    /// Takes the peer's CHECKPOINT. If it is the same, older checkpoints are dropped, and the dealer may hear it. If not,
    /// this one is dropped, and the attempt is over.
    pub fn hear(mut self, ours: Ours, peer: &Mark) -> Result<(Self, Held)> {
        if ours.set != self.reserved.set {
            return Err(Error::Sequence { wanted: "a checkpoint of this attempt" });
        }
        let Mark { id, .. } = ours.mark;
        if *peer != ours.mark {
            self.journal.keep(|other| other != id)?;
            return Err(Error::CheckpointsDiffer { run: self.reserved.run, id });
        }
        self.journal.keep(|other| other.attempt == id.attempt && other.step >= id.step)?;
        (self.waiting, self.agreed) = (false, ours.mark);
        Ok((self, Held { set: ours.set, id }))
    }

    /// Records, before its share leaves, that a listed reveal is delivered in this segment. At most `at_most` times in
    /// all attempts: after a restart it is another number of other weights.
    pub fn deliver(&mut self, segment: &Segment, reveal: &str, at_most: u64) -> Result<()> {
        let Frame { set, segment } = segment.frame();
        let what = super::what(reveal);
        if set != self.reserved.set {
            return Err(Error::Sequence { wanted: "a segment of this attempt" });
        }
        if self.journal.history.delivered(&what) >= at_most {
            return Err(Error::RevealSpent { reveal: reveal.into(), at_most });
        }
        self.journal.append(Entry::Delivered { attempt: self.reserved.attempt, segment, what })
    }

    /// Records that reveal number `reveal`, called `name`, is delivered in this segment, as [`Attempt::deliver`] does, and then
    /// keeps this party's share of it, durably.
    pub fn keep(
        &mut self,
        segment: &Segment,
        (reveal, name, at_most): (u32, &str, u64),
        share: &[u8],
    ) -> Result<FigureShare> {
        self.deliver(segment, name, at_most)?;
        let id = CheckpointId { attempt: self.reserved.attempt, step: self.segments.step() };
        let count = self.journal.history.delivered(&super::what(name)).try_into().unwrap_or(u32::MAX);
        let figure = FigureShare { id, reveal, count, share: share.to_vec().into() };
        figure::save(&mut self.journal.book.log, self.journal.spec.run, &figure)?;
        Ok(figure)
    }

    /// Ends the run with the last checkpoint that both parties hold: after its last step, or when it must stop there.
    /// Refused while the peer's answer is awaited: it may have dropped the older one.
    pub fn end(self) -> Result<CheckpointId> {
        if self.waiting {
            return Err(Error::Sequence { wanted: "the peer's answer to the last checkpoint" });
        }
        let id = self.agreed.id;
        self.journal.append(Entry::End(id))?;
        Ok(id)
    }
}

/// A checkpoint that is durable here; the peer has not yet said that it has the same.
#[must_use = "the dealer waits for the peer's"]
#[derive(Debug)]
pub struct Ours {
    set: KeySetId,
    mark: Mark,
}

impl Ours {
    /// What to tell the peer: CHECKPOINT.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}
