//! A run at the dealer, who keeps masks of checkpoints and knows nothing of the values under them.

use super::checkpoint::{self, Header, Masks};
use super::journal::{self, Journal};
use super::record::Entry;
use super::segments::{Released, Segment, SegmentKind, Segments};
use super::{Ask, CheckpointId, FirstCredit, Held, Holder, Mark, Offer, RunSpec};
use crate::folder::{FileFolder, Folder};
use crate::trained::{Trained, TrainedMasks};
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::KeySetId;

/// The ledger and the masks of one run at the dealer, who is in no attempt: an attempt borrows it.
pub struct DealerRun<F> {
    journal: Journal<F>,
}

fn beginning(spec: &RunSpec, at: CheckpointId) -> (Header, Vec<Entry>) {
    let (holder, run, terms, lengths) = (Holder::Dealer, spec.run, spec.shared_hash(), spec.lengths);
    let (set, transcript) = (KeySetId([0; 16]), [0; 32]);
    let mut entries = vec![Entry::Run { holder, run, terms }];
    entries.extend(spec.sets.iter().map(|set| Entry::Data(*set)));
    (Header { holder, run, terms, lengths, id: at, set, transcript }, entries)
}

fn parts(masks: &Masks) -> [&[u8]; 2] {
    [&masks.shares[0], &masks.shares[1]]
}

impl DealerRun<FileFolder> {
    /// Begins a run below `root` (a folder), or does the rest of that if a process was killed at it, with the masks of
    /// the checkpoint `at`: of the start, or, if an earlier dealer's disk is lost, of one that both parties hold.
    pub fn create(root: &Path, spec: &RunSpec, at: CheckpointId, masks: &Masks) -> Result<()> {
        let (header, entries) = beginning(spec, at);
        journal::create(root, &header, &parts(masks), &entries)
    }

    /// Opens the run, locks its ledger and verifies every file of masks.
    pub fn open(root: &Path, spec: RunSpec) -> Result<Self> {
        DealerRun::with(journal::folder(root, spec.run)?, spec)
    }
}

impl<F: Folder> DealerRun<F> {
    /// Begins a run in a folder that is kept anywhere: its first masks; returns the bytes of its ledger.
    pub fn begin(folder: &mut F, spec: &RunSpec, at: CheckpointId, masks: &Masks) -> Result<Vec<u8>> {
        let (header, entries) = beginning(spec, at);
        checkpoint::save(folder, &header, &parts(masks))?;
        Ok(super::record::begin(&entries))
    }

    /// Opens a run whose folder is kept anywhere.
    pub fn with(folder: F, spec: RunSpec) -> Result<Self> {
        let terms = spec.shared_hash();
        Ok(DealerRun { journal: Journal::open(folder, Holder::Dealer, spec, |_| Ok(terms))? })
    }

    /// Checkpoints whose masks are here, the last one last.
    pub fn held(&self) -> impl Iterator<Item = CheckpointId> {
        self.journal.held.iter().map(|mark| mark.id)
    }
    /// What was wrong with files of other checkpoints.
    pub fn damaged(&self) -> &[Error] {
        &self.journal.damaged
    }
    /// The highest attempt that is known here.
    pub fn highest(&self) -> u32 {
        self.held().map(|id| id.attempt).fold(self.journal.history.highest(), u32::max)
    }
    /// The masks of a checkpoint that is held.
    pub fn masks(&self, id: CheckpointId) -> Result<Masks> {
        let journal = &self.journal;
        journal.mark(id)?;
        let mut parts = checkpoint::load(journal.folder(), &journal.wanted(id))?.parts.into_iter();
        Ok(Masks { shares: [0, 1].map(|_| parts.next().unwrap_or_default()) })
    }

    /// Answers the parties' HELLOs with a new attempt, recorded durably: above the highest of all three, with keys of a
    /// name that is fresh from the operating system. Refused without the masks of where it starts.
    pub fn offer(&mut self, asks: [&Ask; 2], set: KeySetId) -> Result<Offered<'_, F>> {
        let highest = asks.iter().map(|ask| ask.highest).fold(self.highest(), u32::max);
        let journal = &mut self.journal;
        let run = journal.spec.run;
        if journal.history.end().is_some() {
            return Err(Error::RunEnded { path: journal.book.name.clone() });
        }
        let differs = |what| Err(Error::RunsDiffer { run, what });
        match asks {
            [a, b] if a.run != run || b.run != run => return differs("the run"),
            [a, b] if a.terms != journal.terms || b.terms != journal.terms => {
                return differs("plan or order");
            }
            [a, b] if a.from != b.from => return differs("the checkpoint to start from"),
            _ => {}
        }
        let from = journal.mark(asks[0].from)?.id;
        let used_up = Error::UsedUp { what: "attempts of this run", remedy: "begin a new run" };
        let attempt = highest.checked_add(1).ok_or(used_up)?;
        if journal.history.knows(set) {
            return Err(Error::OldAttempt { attempt, highest });
        }
        journal.append(Entry::Attempt { attempt, from, set, digest: [0; 12] })?;
        Ok(Offered { journal, offer: Offer { run, attempt, from, set } })
    }

    /// The result, once the run has ended.
    pub fn ended(&self) -> Option<CheckpointId> {
        self.journal.history.end()
    }

    /// Records that the weights of a checkpoint are used otherwise, under this name.
    pub fn provisioned(&mut self, id: CheckpointId, what: &str) -> Result<()> {
        self.journal.mark(id)?;
        self.journal.append(Entry::Provisioned { id, what: super::what(what) })
    }

    /// The mask of the weights that the run ended with, for keys of inference, which are recorded as `what` first.
    ///
    /// # Errors
    /// [`Error::NotTrained`] where the run has not ended, [`Error::NotHeld`] without the masks.
    pub fn trained(&mut self, what: &str) -> Result<TrainedMasks> {
        let journal = &self.journal;
        let (run, bytes) = (journal.spec.run, journal.spec.lengths.weights);
        let Some(at) = self.ended() else {
            let (path, why) = (journal.folder().path(""), "the run has not ended".into());
            let at = journal.held.last().map_or(CheckpointId::START, |mark| mark.id);
            return Err(Error::NotTrained { path, trained: Trained { run, at, bytes }, why });
        };
        let mut masks = self.masks(at)?;
        // weights come first; what is cut off is overwritten with the rest
        masks.shares.iter_mut().for_each(|share| share.truncate(bytes as usize));
        let entry = Entry::Provisioned { id: at, what: super::what(what) };
        if !self.journal.history.has(&entry) {
            self.journal.append(entry)?;
        }
        Ok(TrainedMasks { of: Trained { run, at, bytes }, shares: masks.shares })
    }

    /// Ends the run with a checkpoint that both parties named. Does nothing if it has ended.
    pub fn end(&mut self, id: CheckpointId) -> Result<()> {
        self.journal.mark(id)?;
        if self.journal.history.end().is_some() { Ok(()) } else { self.journal.append(Entry::End(id)) }
    }
}

/// An attempt that is recorded here and that no party has taken up yet.
#[must_use = "the attempt is recorded"]
pub struct Offered<'a, F> {
    journal: &'a mut Journal<F>,
    offer: Offer,
}

impl<'a, F: Folder> Offered<'a, F> {
    /// What to tell both parties.
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Takes the first credit of a party, who has heard that the other recorded the same: masks of all other
    /// checkpoints are dropped, and dealing may begin.
    pub fn credited(self, credit: &FirstCredit) -> Result<Dealing<'a, F>> {
        let Offered { journal, offer } = self;
        if credit.set != offer.set {
            return Err(Error::OldAttempt { attempt: offer.attempt, highest: offer.attempt });
        }
        journal.keep(|id| id == offer.from)?;
        let segments = Segments::new(offer.set, offer.from, journal.spec.schedule);
        Ok(Dealing { journal, offer, segments, heard: None })
    }
}

/// An attempt whose keys are dealt.
pub struct Dealing<'a, F> {
    journal: &'a mut Journal<F>,
    offer: Offer,
    segments: Segments,
    /// The step of the last checkpoint that both parties hold, as one of them said.
    heard: Option<u32>,
}

impl<F: Folder> Dealing<'_, F> {
    /// What was offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Begins the next segment, as the parties do.
    pub fn begin(&mut self, kind: SegmentKind) -> Result<Segment> {
        self.segments.begin(kind)
    }

    /// The checkpoint whose masks must be saved before a key of this segment leaves.
    pub fn makes(&self, segment: &Segment) -> Result<Option<CheckpointId>> {
        let attempt = self.offer.attempt;
        Ok(self.segments.saves(segment)?.map(|step| CheckpointId { attempt, step }))
    }

    /// Lets the keys of a segment leave: to a [`StreamWriter`](crate::StreamWriter). The step before a checkpoint makes its weights, so `masks`
    /// of that checkpoint are saved durably first; no other segment has any.
    pub fn release(&mut self, segment: Segment, masks: Option<&Masks>) -> Result<Released> {
        match (self.makes(&segment)?, masks) {
            (Some(id), Some(masks)) => {
                let header = self.journal.header(id, self.offer.set, [0; 32]);
                self.journal.save(&header, &parts(masks))?;
                self.journal.held.push(Mark { id, digest: [0; 32] });
            }
            (None, None) => {}
            (Some(_), None) => return Err(Error::Sequence { wanted: "the masks of the next checkpoint" }),
            (None, Some(_)) => return Err(Error::Sequence { wanted: "the step before a checkpoint" }),
        }
        let frame = segment.frame();
        self.segments.end(segment)?;
        Ok(Released { frame })
    }

    /// Takes HELD from a party, who has heard that the other holds the same: older masks are dropped. Both say it, and one
    /// may be a checkpoint behind the other: that changes nothing.
    pub fn held(&mut self, held: &Held) -> Result<()> {
        let Held { set, id } = *held;
        if set != self.offer.set || id.attempt != self.offer.attempt {
            return Err(Error::OldAttempt { attempt: id.attempt, highest: self.offer.attempt });
        }
        if self.heard.is_some_and(|step| step > id.step) {
            return Ok(());
        }
        self.journal.mark(id)?;
        self.journal.keep(|other| other.attempt == id.attempt && other.step >= id.step)?;
        self.heard = Some(id.step);
        Ok(())
    }
}
