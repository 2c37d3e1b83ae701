//! One key set in use: its files, its ledger, what is reserved of it, the masked weights under its mask.

use crate::exit::{ExitCode, Failure};
use crate::jobs::{Grant, SetState};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twoply_nn::Program;
use twoply_nn::roles::{self, Provisioned};
use twoply_preprocessing::run::Ended;
use twoply_preprocessing::{
    Claim, Error, FileLog, KeyDir, KeySet, Layout, Ledger, Pending, PlanDigest, Reservation,
};
use twoply_preprocessing::{Leased, Tally, Trained};
use twoply_primitives::{Backend, KeySetId};

/// One party's half of a key set.
pub struct Stock<B: Backend> {
    pub set: KeySet,
    book: Mutex<Book>,
    bound: Mutex<Bound<B>>,
    /// Why it cannot be used, if so.
    fault: Mutex<Option<String>>,
}

/// The ledger with the reservations that are not used up.
struct Book {
    ledger: Ledger<FileLog>,
    reserved: VecDeque<Reservation>,
    /// Images spent last, of which the peer has not said the same yet.
    pending: u64,
}

/// What is known of the masked weights.
struct Bound<B: Backend> {
    /// Digest of the file that is there and is the one bound.
    digest: Option<[u8; 32]>,
    loaded: Option<Arc<Provisioned<B>>>,
    /// Where trained weights lie, in a set for such.
    trained: Option<Arc<Ended>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Backend> Stock<B> {
    /// Opens a key set with its ledger, and looks for its masked weights. Segments that a crash kept from being erased are
    /// erased.
    pub fn open(
        dir: &KeyDir,
        id: KeySetId,
        (plan, layout): (PlanDigest, Layout),
        insecure: bool,
    ) -> Result<Self, Error> {
        let set = dir.key_set(id, plan, layout, insecure)?;
        let ledger = set.ledger()?;
        set.gc(&ledger)?;
        let book = Mutex::new(Book { ledger, reserved: VecDeque::new(), pending: 0 });
        let bound = Mutex::new(Bound { digest: None, loaded: None, trained: None });
        let stock = Stock { set, book, bound, fault: Mutex::default() };
        Ok(stock)
    }
    /// Looks whether the weights that the mask is bound to are on disk; trained ones in the folder of runs, `runs`.
    ///
    /// # Errors
    /// 9 when they are others; 8 when trained ones are not there; 16 when they cannot be read.
    pub fn find_weights(&self, runs: &Path) -> Result<(), Failure> {
        if let Some(trained) = self.set.trained() {
            return self.find_trained(runs, trained);
        }
        let Some(wanted) = self.tally().weights else { return Ok(()) };
        let found = self.read_weights()?.map(|packed| *blake3::hash(&packed).as_bytes());
        let path = self.set.weights_path();
        if found.is_some_and(|digest| digest != wanted) {
            let text = format!("{}: not the masked weights this key set is bound to", path.display());
            return Err(
                Failure::new(ExitCode::KeysSpent, text).remedy("provision again with the same weights")
            );
        }
        lock(&self.bound).digest = found;
        Ok(())
    }
    /// Trained weights are bound to what the run's ledger says that they are; the run notes that they are used.
    fn find_trained(&self, runs: &Path, trained: Trained) -> Result<(), Failure> {
        let ended = Ended::find(runs, self.set.party(), trained)?;
        if *ended.weights()?.share != *self.set.mask_share()? {
            let text = format!(
                "key set {} was dealt against another mask than that of the weights of {trained}",
                self.id()
            );
            return Err(Failure::new(ExitCode::KeysSpent, text)
                .remedy("deal a new key set from the dealer's folder of that run"));
        }
        ended.note(&format!("inference with key set {}", self.id()))?;
        let digest = ended.mark().digest;
        self.bind(digest)?;
        let mut bound = lock(&self.bound);
        (bound.digest, bound.trained) = (Some(digest), Some(Arc::new(ended)));
        Ok(())
    }
    fn read_weights(&self) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.set.weights_path();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::io("read", path.display(), &e)),
        }
    }

    pub fn id(&self) -> KeySetId {
        self.set.id()
    }
    /// What its ledger says.
    pub fn tally(&self) -> Tally {
        lock(&self.book).ledger.tally()
    }
    /// Images not spent.
    pub fn left(&self) -> u64 {
        self.set.cut().images() - self.tally().next
    }
    /// What the other party is told of it.
    pub fn state(&self) -> SetState {
        let cursor = self.tally().next;
        let weights = self.weights_digest().unwrap_or_default();
        SetState { key_set: self.id(), cursor, dealt: self.set.dealt(cursor), weights }
    }
    /// Next image that nobody was given, and how many from it on are reserved.
    pub fn position(&self) -> (u64, u64) {
        let book = lock(&self.book);
        let reserved = book.reserved.iter().map(Reservation::left).sum::<u64>();
        (book.ledger.tally().next - reserved - book.pending, reserved)
    }

    /// Marks it as unusable; the first reason stays.
    pub fn condemn(&self, why: impl Into<String>) {
        lock(&self.fault).get_or_insert(why.into());
    }
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Digest of the masked weights, once they are there.
    pub fn weights_digest(&self) -> Option<[u8; 32]> {
        lock(&self.bound).digest
    }
    /// The weights on the device; reads them the first time. If the file is not the one that is bound any more, the key
    /// set counts as one without weights.
    pub fn weights(&self, dev: &B, program: &Program) -> Result<Arc<Provisioned<B>>, Failure> {
        let mut bound = lock(&self.bound);
        if let Some(weights) = &bound.loaded {
            return Ok(weights.clone());
        }
        if let Some(ended) = bound.trained.clone() {
            let (of, share) = (ended.weights()?, self.set.mask_share()?);
            let wires = roles::trained_weights(dev, program, (&of.values, &share))?;
            return Ok(bound.loaded.insert(Arc::new(Provisioned::new(dev.clone(), wires))).clone());
        }
        let packed = match bound.digest {
            Some(digest) => self.read_weights()?.filter(|p| *blake3::hash(p).as_bytes() == digest),
            None => None,
        };
        let Some(packed) = packed else {
            bound.digest = None;
            let text = format!("the masked weights of key set {} are not there, or damaged", self.id());
            return Err(Failure::new(ExitCode::KeysMissing, text).remedy("provision again"));
        };
        let wires = roles::masked_weights(dev, program, self.id(), self.set.weight_seed(), &packed)?;
        let weights = Arc::new(Provisioned::new(dev.clone(), wires));
        bound.loaded = Some(weights.clone());
        Ok(weights)
    }
    /// Takes the weights off the device.
    pub fn unload(&self) {
        lock(&self.bound).loaded = None;
    }
    /// The masked weights of this digest are on disk now.
    pub fn provisioned(&self, digest: [u8; 32]) {
        *lock(&self.bound) = Bound { digest: Some(digest), loaded: None, trained: None };
    }
    /// Ties the weight mask to masked weights, durably.
    pub fn bind(&self, digest: [u8; 32]) -> Result<(), Failure> {
        Ok(lock(&self.book).ledger.bind_weights(digest)?)
    }

    /// Burns what the peer has spent and this party has not; the images, if there are any.
    pub fn catch_up(&self, theirs: u64) -> Result<Range<u64>, Failure> {
        let mut book = lock(&self.book);
        let ours = book.ledger.tally().next;
        book.ledger.advance_to(theirs)?;
        Ok(ours..theirs.max(ours))
    }
    /// The images to reserve so that `images` are, of those below `dealt`; equal ends if they are.
    pub fn propose(&self, images: u64, dealt: u64) -> Result<Range<u64>, Failure> {
        let (_, reserved) = self.position();
        let book = lock(&self.book);
        let next = book.ledger.tally().next;
        match images.saturating_sub(reserved) {
            0 => Ok(next..next),
            missing => Ok(book.ledger.propose(missing, dealt)?),
        }
    }
    /// Spends images, durably.
    pub fn reserve(&self, images: Range<u64>) -> Result<Pending, Failure> {
        let mut book = lock(&self.book);
        let pending = book.ledger.reserve(images.clone())?;
        book.pending = images.end - images.start;
        Ok(pending)
    }
    /// The peer has spent the same.
    pub fn reserved(&self, pending: Pending, claim: &Claim) -> Result<(), Failure> {
        let reservation = pending.acknowledged(claim)?;
        let mut book = lock(&self.book);
        book.reserved.push_back(reservation);
        book.pending = 0;
        Ok(())
    }
    /// Reservations made with a peer that is gone are burnt: it may not know how far they were used.
    pub fn forget_reservations(&self) {
        let mut book = lock(&self.book);
        book.reserved.clear();
        book.pending = 0;
    }
    /// The keys of the next `images` of what is reserved, all of one segment, and the grant for them.
    pub fn lease(&self, images: u32, meeting: [u8; 32]) -> Result<(Leased, Grant), Failure> {
        let (first, _) = self.position();
        let mut book = lock(&self.book);
        let (mut wanted, mut lease) = (u64::from(images), None);
        let missing = || Failure::new(ExitCode::KeysMissing, format!("{images} images are not reserved"));
        while wanted > 0 {
            let front = book.reserved.front_mut().ok_or_else(missing)?;
            let now = front.left().min(wanted);
            for next in front.take(now)? {
                lease = Some(match lease {
                    None => next,
                    Some(last) => {
                        let joined: Result<_, (_, _)> = twoply_preprocessing::Lease::join(last, next);
                        let apart =
                            |_| Failure::new(ExitCode::Internal, "a piece crosses a segment's border");
                        joined.map_err(apart)?
                    }
                });
            }
            wanted -= now;
            if front.left() == 0 {
                book.reserved.pop_front();
            }
        }
        let cursor = book.ledger.tally().next;
        let keys = self.set.open(lease.ok_or_else(missing)?)?;
        Ok((keys, Grant { key_set: self.id(), first, images, cursor, meeting }))
    }
    /// A run has used these images.
    pub fn used(&self, images: u64) {
        lock(&self.book).ledger.used(images);
    }
    /// Erases a segment all of whose images were given away, unless a piece still reads it.
    pub fn sweep(&self, segment: u32) -> Result<(), Failure> {
        let (position, _) = self.position();
        let end = self.set.cut().range(segment).map_or(u64::MAX, |r| r.end);
        if position < end {
            return Ok(());
        }
        let book = lock(&self.book);
        match self.set.erase(segment, &book.ledger) {
            Ok(()) | Err(Error::StillNeeded { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
    /// Makes the counts durable.
    pub fn settle(&self) -> Result<(), Failure> {
        Ok(lock(&self.book).ledger.settle_counts()?)
    }
}
