//! All key sets of a party, and what the two parties have in common: those that both name, from the larger cursor on, up
//! to where both have keys, under the same masked weights.

use super::stock::Stock;
use crate::exit::{ExitCode, Failure};
use crate::jobs::{Concern, MOST_SETS, SetState};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_nn::Plan;
use twoply_preprocessing::{Error, KeyDir, Layout, PlanDigest};
use twoply_primitives::{Backend, KeySetId, PartyId};

/// Shares of the full stock at which its end is said to be near, in percent.
const LOW: [u64; 2] = [20, 5];

/// A key set that both parties have.
pub struct Common<B: Backend> {
    pub stock: Arc<Stock<B>>,
    /// One past the last image for which both have keys.
    pub dealt: u64,
    /// Digest of the masked weights that both have; `None` as long as one of them has none.
    pub weights: Option<[u8; 32]>,
}

impl<B: Backend> Common<B> {
    /// Whether both parties have the weights of this set.
    fn is_provisioned(&self) -> bool {
        self.weights.is_some() && self.stock.weights_digest() == self.weights
    }
    /// Images that can still be given away.
    pub fn left(&self) -> u64 {
        self.dealt.saturating_sub(self.stock.position().0)
    }
}

impl<B: Backend> Clone for Common<B> {
    fn clone(&self) -> Self {
        Common { stock: self.stock.clone(), ..*self }
    }
}

/// The key sets of a party.
pub struct Stocks<B: Backend> {
    dir: KeyDir,
    /// Folder of training runs, for sets of trained weights.
    runs: PathBuf,
    plan: PlanDigest,
    layout: Layout,
    insecure: bool,
    inner: Mutex<Inner<B>>,
    /// Held by the one thread that looks into the folder: a ledger is opened once.
    looking: Mutex<()>,
    /// When the last look at both parties' key sets began that is over.
    agreed: Mutex<Instant>,
    bell: Condvar,
    /// Whether somebody waits for another look.
    wanted: AtomicBool,
}

struct Inner<B: Backend> {
    open: BTreeMap<KeySetId, Arc<Stock<B>>>,
    /// Key sets all of whose images are spent, how many these are, and what was burnt of them.
    spent: BTreeMap<KeySetId, u64>,
    burnt: u64,
    common: Vec<Common<B>>,
    /// What was said of key sets that cannot be used.
    faults: HashMap<KeySetId, String>,
    /// Key sets that only one of the two parties has, of which it was said.
    alone: BTreeSet<KeySetId>,
    /// Images left when it was last looked whether the stock is low, images when it was full, and how many of [`LOW`] have
    /// been said since.
    last: u64,
    full: u64,
    low: usize,
    concern: Concern,
}

impl<B: Backend> Inner<B> {
    /// Says it once of a key set with keys left that only one of the two has.
    fn name_alone(&mut self, theirs: &[SetState], say: Say<'_>) {
        let both = |id: &KeySetId| self.common.iter().any(|c| c.stock.id() == *id);
        let here =
            self.open.values().filter(|s| s.fault().is_none() && s.left() > 0).map(|s| (s.id(), "this"));
        let known = |id: &KeySetId| self.open.contains_key(id) || self.spent.contains_key(id);
        let fit =
            |t: &&SetState| t.cursor < t.dealt && !known(&t.key_set) && !self.faults.contains_key(&t.key_set);
        let there = theirs.iter().filter(fit).map(|t| (t.key_set, "the other"));
        let alone: BTreeMap<_, _> = here.filter(|(id, _)| !both(id)).chain(there).collect();
        for (id, whose) in alone.iter().filter(|(id, _)| !self.alone.contains(id)) {
            say(&format!(
                "key set {id} cannot be used as long as only {whose} party has it whole: put its other half into the other \
                 party's key folder"
            ));
        }
        self.alone = alone.into_keys().collect();
    }
}

/// What to do with something worth saying.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

impl<B: Backend> Stocks<B> {
    /// Opens the folder of key sets. One that cannot be used is said and left out.
    ///
    /// # Errors
    /// What the first unusable one fails with, if none is usable; 8 if there is none at all.
    pub fn open(
        (keys, runs): (PathBuf, PathBuf),
        me: PartyId,
        (plan, insecure): (&Plan, bool),
        say: Say<'_>,
    ) -> Result<Self, Failure> {
        let dir = KeyDir::open(keys, me)?;
        let inner = Inner {
            open: BTreeMap::new(),
            spent: BTreeMap::new(),
            burnt: 0,
            common: vec![],
            faults: HashMap::new(),
            alone: BTreeSet::new(),
            last: 0,
            full: 0,
            low: 0,
            concern: Concern::None,
        };
        let (plan, layout, inner) = (plan.digest()?, plan.layout(), Mutex::new(inner));
        let (looking, agreed, bell) = (Mutex::default(), Mutex::new(Instant::now()), Condvar::new());
        let wanted = AtomicBool::new(false);
        let stocks = Stocks { dir, runs, plan, layout, insecure, inner, looking, agreed, bell, wanted };
        let first = stocks.look(say)?;
        if stocks.inner().open.is_empty() {
            // says that none is there
            let none = || stocks.dir.choose(stocks.plan).err().map(Failure::from);
            let nothing = || Failure::new(ExitCode::KeysMissing, "there is no usable key set");
            return Err(first.or_else(none).unwrap_or_else(nothing));
        }
        Ok(stocks)
    }
    fn inner(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks into the folder: takes key sets that are new, lets go of those that are spent. Gives the first thing that is
    /// wrong with one that cannot be used; the others go on.
    pub fn look(&self, say: Say<'_>) -> Result<Option<Failure>, Failure> {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let started = self.begun();
        self.retire()?;
        let (ids, mut first) = (self.dir.key_sets()?, None);
        let known =
            |inner: &Inner<B>, id: &KeySetId| inner.open.contains_key(id) || inner.spent.contains_key(id);
        let new: Vec<_> = ids.into_iter().filter(|id| !known(&self.inner(), id)).collect();
        for id in new {
            match self.take(id, say) {
                Ok(Some(stock)) => {
                    let mut inner = self.inner();
                    let images = stock.set.cut().images();
                    inner.open.insert(id, Arc::new(stock));
                    if started {
                        say(&format!("key set {id} with {images} images is new"));
                    }
                    inner.faults.remove(&id);
                }
                Ok(None) => {}
                Err(failure) => {
                    let what = failure.content().what.clone();
                    if self.inner().faults.insert(id, what.clone()).as_ref() != Some(&what) {
                        say(&format!("key set {id} cannot be used: {what}; {}", failure.content().remedy));
                    }
                    first.get_or_insert(failure);
                }
            }
        }
        Ok(first)
    }
    fn begun(&self) -> bool {
        let inner = self.inner();
        !inner.open.is_empty() || !inner.spent.is_empty()
    }
    /// Opens a key set, if it is for this plan, begun and not spent.
    fn take(&self, id: KeySetId, say: Say<'_>) -> Result<Option<Stock<B>>, Failure> {
        let summary = match self.dir.summary(id) {
            Err(Error::Missing { .. }) => return Ok(None), // a deal that is under way, or was killed at its beginning
            other => other?,
        };
        if summary.plan != self.plan {
            return Ok(None);
        }
        let opened = Stock::open(&self.dir, id, (self.plan, self.layout.clone()), self.insecure);
        if summary.left() == 0 {
            // opened only to erase what a crash kept of it
            if let Err(e) = opened {
                say(&format!("key set {id} is spent, and what is left of it cannot be erased: {e}"));
            }
            let mut inner = self.inner();
            inner.burnt += summary.burnt;
            inner.spent.insert(id, summary.images);
            return Ok(None);
        }
        let stock = opened?;
        match stock.find_weights(&self.runs) {
            // as good as none: they are taken again
            Err(failure) if failure.code() == ExitCode::KeysSpent && summary.trained.is_none() => {
                say(&format!("{}; {}", failure.content().what, failure.content().remedy));
            }
            other => other?,
        }
        Ok(Some(stock))
    }
    /// Lets go of key sets all of whose images are spent and given away.
    fn retire(&self) -> Result<(), Failure> {
        let inner = &mut *self.inner();
        let over = |s: &Arc<Stock<B>>| s.position().0 == s.set.cut().images() && Arc::strong_count(s) <= 2;
        let ids: Vec<_> = inner.open.iter().filter(|(_, s)| over(s)).map(|(id, _)| *id).collect();
        for id in ids {
            inner.common.retain(|c| c.stock.id() != id);
            let Some(stock) = inner.open.remove(&id) else { continue };
            stock.settle()?;
            (0..stock.set.cut().segments()).try_for_each(|segment| stock.sweep(segment))?;
            inner.burnt += stock.tally().burnt();
            inner.spent.insert(id, stock.set.cut().images());
        }
        Ok(())
    }

    /// What the other party is told when the two meet: also of what is spent here, as far as there is room. It may have been
    /// lost while the other one had not noted the last images.
    pub fn all_states(&self) -> Vec<SetState> {
        let mut all = self.states();
        let spent = self.inner().spent.clone();
        let over = |(key_set, images)| SetState { key_set, cursor: images, dealt: images, weights: [0; 32] };
        all.extend(spent.into_iter().map(over).take(MOST_SETS - all.len()));
        all
    }
    /// What the other party is told.
    pub fn states(&self) -> Vec<SetState> {
        let good = |s: &&Arc<Stock<B>>| s.fault().is_none();
        self.inner().open.values().filter(good).take(MOST_SETS).map(|s| s.state()).collect()
    }
    /// Takes what the other party told: burns what only one of the two has spent, and finds what both have.
    /// `began`: when the look at both began. A hello is no look, since it may have waited on its way.
    pub fn agree(&self, theirs: &[SetState], began: Option<Instant>, say: Say<'_>) -> Result<(), Failure> {
        let inner = &mut *self.inner();
        let mut common = vec![];
        for theirs in theirs {
            let named = |c: &Common<B>| c.stock.id() == theirs.key_set;
            let open = inner.open.get(&theirs.key_set).filter(|s| s.fault().is_none());
            let Some(stock) = open.filter(|_| !common.iter().any(named)) else { continue };
            let (mine, images) = (stock.state(), stock.set.cut().images());
            if theirs.cursor > images {
                let why = format!("the other party has spent {} of its {images} images", theirs.cursor);
                say(&format!("key set {} is not used any more: {why}", stock.id()));
                inner.concern = Concern::Damaged;
                stock.condemn(why);
                continue;
            }
            if mine.cursor != theirs.cursor {
                // what is reserved no longer ends at the cursor; the other party sees the same and lets go too
                stock.forget_reservations();
            }
            let burnt = stock.catch_up(theirs.cursor)?;
            if mine.cursor != theirs.cursor {
                let (behind, concern) = match mine.cursor < theirs.cursor {
                    true => ("this party's", Concern::RestoredHere),
                    false => ("the other party's", Concern::RestoredThere),
                };
                let apart = mine.cursor.abs_diff(theirs.cursor);
                say(&format!(
                    "key set {}: {behind} ledger was {apart} images behind: after a crash while reserving, or because \
                     its key folder was restored from a copy{}",
                    stock.id(),
                    if burnt.is_empty() { String::new() } else { format!("; images {burnt:?} are burnt") }
                ));
                // a crash loses what one piece reserves; a clone's folder is a copy, too
                let far = apart > 64.max(u64::from(stock.set.cut().segment_images()));
                if far && inner.concern != Concern::Cloned {
                    inner.concern = concern;
                }
            }
            let weights = mine.weights().filter(|_| mine.weights == theirs.weights);
            let others = theirs.weights().is_some_and(|theirs| mine.weights() != Some(theirs));
            if let Some(trained) = stock.set.trained().filter(|_| others) {
                let why = format!("the other party does not hold the same weights of {trained}");
                say(&format!(
                    "key set {} is not used any more: {why}; see `twoply train status` at both, and deal keys for a run that ended at \
                     both",
                    stock.id()
                ));
                inner.concern = Concern::Damaged;
                stock.condemn(why);
                continue;
            }
            common.push(Common { stock: stock.clone(), dealt: mine.dealt.min(theirs.dealt), weights });
        }
        // what was begun is used up first
        common.sort_by_key(|c| (c.stock.position().0 == 0, c.stock.id()));
        inner.common = common;
        inner.name_alone(theirs, say);
        if let Some(began) = began {
            *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = began;
        }
        self.bell.notify_all();
        Ok(())
    }
    /// Whether somebody waits until the two parties have told each other again.
    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }
    /// A look at both parties' key sets begins now: who asks for one from here on wants another.
    pub fn begin(&self) -> Instant {
        self.wanted.store(false, Ordering::SeqCst);
        Instant::now()
    }
    /// Waits until the two parties have told each other again, or for `within`: what was dealt or provisioned a moment ago
    /// counts, so a look that is under way does not do.
    pub fn renew(&self, within: Duration, ring: impl FnOnce()) {
        let asked = Instant::now();
        self.wanted.store(true, Ordering::SeqCst);
        ring();
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.bell.wait_timeout_while(agreed, within, |began| *began <= asked));
    }
    /// The peer is gone, and with it what is reserved. Segments of which nothing else is left are erased.
    pub fn alone(&self) {
        for stock in self.inner().open.values() {
            let (first, reserved) = stock.position();
            stock.forget_reservations();
            for (segment, _) in stock.set.cut().pieces(first..first + reserved) {
                // what cannot be erased now is erased with the key set, or at the next start
                let _ = stock.sweep(segment);
            }
        }
    }

    /// One key set.
    pub fn get(&self, id: KeySetId) -> Option<Arc<Stock<B>>> {
        self.inner().open.get(&id).filter(|s| s.fault().is_none()).cloned()
    }
    /// Those whose weights are provisioned, by name.
    pub fn provisionable(&self) -> Vec<KeySetId> {
        let open = |s: &Arc<Stock<B>>| s.fault().is_none() && s.set.trained().is_none();
        self.inner().open.iter().filter(|(_, s)| open(s)).map(|(id, _)| *id).collect()
    }
    /// All that are open here, by name.
    pub fn ids(&self) -> Vec<KeySetId> {
        self.inner().open.iter().filter(|(_, s)| s.fault().is_none()).map(|(id, _)| *id).collect()
    }
    /// Whether both parties have a key set, and can use it.
    pub fn has_common(&self, id: KeySetId) -> bool {
        let able = |c: &Common<B>| c.stock.id() == id && c.stock.fault().is_none() && c.is_provisioned();
        self.inner().common.iter().any(able)
    }
    /// The first key set from which both parties can give images away.
    pub fn pick(&self) -> Option<Common<B>> {
        let inner = self.inner();
        let able = |c: &&Common<B>| c.stock.fault().is_none() && c.is_provisioned() && c.left() > 0;
        inner.common.iter().find(able).cloned()
    }
    /// Images that both parties can give away, and those that only lack weights.
    pub fn left(&self) -> [u64; 2] {
        let inner = self.inner();
        let good = || inner.common.iter().filter(|c| c.stock.fault().is_none());
        let sum = |weights: bool| good().filter(|c| c.is_provisioned() == weights).map(Common::left).sum();
        [sum(true), sum(false)]
    }
    /// Whether masked weights are there for a key set that is not spent.
    pub fn provisioned(&self) -> bool {
        self.inner().open.values().any(|s| s.weights_digest().is_some())
    }
    /// Takes the weights of all others than this one off the device, unless they are in use.
    pub fn keep_loaded(&self, id: KeySetId) {
        let inner = self.inner();
        inner.open.values().filter(|s| s.id() != id).for_each(|s| s.unload());
    }
    /// Marks a key set as unusable, and says so.
    pub fn condemn(&self, id: KeySetId, why: &str, say: Say<'_>) {
        let mut inner = self.inner();
        inner.concern = Concern::Damaged;
        if let Some(stock) = inner.open.get(&id) {
            stock.condemn(why);
            say(&format!("key set {id} is not used any more: {why}"));
        }
    }
    /// What the operator should look at.
    pub fn concern(&self) -> Concern {
        self.inner().concern
    }
    /// Notes something for the operator.
    pub fn worry(&self, concern: Concern) {
        self.inner().concern = concern;
    }

    /// Says it when the stock goes to its end.
    pub fn check_low(&self, say: Say<'_>) {
        let left = self.left()[0];
        let inner = &mut *self.inner();
        let good = |c: &&Common<B>| c.stock.fault().is_none() && c.weights.is_some() && c.left() > 0;
        if left > inner.last {
            let sum = inner.common.iter().filter(good).map(|c| c.stock.set.cut().images()).sum();
            inner.full = left.max(sum);
        }
        let passed = LOW.iter().filter(|&&percent| left * 100 <= inner.full * percent).count();
        let said = std::mem::replace(&mut inner.low, passed);
        inner.last = left;
        if passed > said && inner.full > 0 {
            let (percent, full) = (LOW[passed - 1], inner.full);
            say(&format!(
                "keys are running low: {left} images left, less than {percent} % of {full}; deal more (`twoply deal`), \
                 put them into the key folders of both parties, and have them provisioned"
            ));
        }
    }
    /// Images left and images burnt, over all key sets; makes the counts durable.
    pub fn account(&self) -> Result<(u64, u64), Failure> {
        let inner = self.inner();
        let (mut left, mut burnt) = (0, inner.burnt);
        for stock in inner.open.values() {
            stock.forget_reservations();
            stock.settle()?;
            left += stock.left();
            burnt += stock.tally().burnt();
        }
        Ok((left, burnt))
    }
}
