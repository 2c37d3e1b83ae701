//! Data owners' requests, between the threads that speak with them and the one that speaks with the other party.
//!
//! Each request has a thread, which holds the owner's link all the time: it hands on grants, waits for masked inputs, sends
//! shares. So an owner that is slow, silent or gone holds up its own request and no other.

use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Fingerprint;
use crate::jobs::{Grant, Job, JobId};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request may wait for its turn; beyond it, the other party may never have heard of it.
const ORPHAN: Duration = Duration::from_secs(600);

/// How long a data owner may take to reach P1 after it reached P0.
const GATHER: Duration = Duration::from_secs(10);

/// Pause before P1 is asked again for what it did not know; doubled each time.
const AGAIN: Duration = Duration::from_millis(10);

/// Most bytes of masked inputs that are waited for at once, and most of them (one always may).
const MOST_BYTES: usize = 256 << 20;
const MOST_GRANTED: usize = 16;

/// What the thread of a request is to do.
pub enum Order {
    /// Tell the owner of these images, with the keys of their mask shares, and wait for so many bytes of masked input.
    Grant(Grant, Vec<u8>, usize),
    /// Send this to the owner.
    Send(Vec<u8>),
    /// All is answered.
    Done,
    /// End the link for this reason.
    End(Failure),
}

/// How far a request is.
enum Stage {
    /// It waits for (more) images.
    Waiting,
    /// Its masked input of so many bytes is awaited.
    Granted(usize),
    /// It is here.
    Here(Vec<u8>),
    /// The owner failed.
    Lost(Failure),
    /// It is being run.
    Running,
}

struct Entry {
    job: Job,
    client: Fingerprint,
    since: Instant,
    orders: Sender<Order>,
    stage: Stage,
    /// Images granted so far.
    granted: u32,
    /// Most images of the next grant.
    most: u32,
    /// When to ask P1 next, how often it did not know, and since when.
    next: Instant,
    tries: u32,
    unknown: Option<Instant>,
}

/// A request as the work with the other party sees it.
#[derive(Clone, Copy)]
pub struct Asked {
    pub job: Job,
    pub client: Fingerprint,
    /// Images not granted yet.
    pub left: u32,
    /// Of these, most that may be granted next.
    pub most: u32,
}

/// All requests of a party.
#[derive(Default)]
pub struct Requests {
    all: Mutex<Vec<Entry>>,
    bell: Condvar,
}

impl Requests {
    fn all(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn change<T>(&self, id: JobId, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let changed = self.all().iter_mut().find(|e| e.job.id == id).map(f);
        self.bell.notify_all();
        changed
    }

    /// Queues a request whose first grant has at most `most` images.
    ///
    /// # Errors
    /// 6 when a request of this name is there.
    pub fn enter(&self, job: Job, client: Fingerprint, most: u32) -> Result<Receiver<Order>, Failure> {
        let mut all = self.all();
        if all.iter().any(|e| e.job.id == job.id) {
            return Err(Failure::new(ExitCode::PlanMismatch, "a request of this name is here already"));
        }
        let (orders, receiver) = channel();
        let (since, next) = (Instant::now(), Instant::now());
        let (stage, granted, tries, unknown) = (Stage::Waiting, 0, 0, None);
        all.push(Entry { job, client, since, orders, stage, granted, most, next, tries, unknown });
        drop(all);
        self.bell.notify_all();
        Ok(receiver)
    }
    /// The owner's masked input came, or the owner failed.
    pub fn arrived(&self, id: JobId, input: Result<Vec<u8>, Failure>) {
        self.change(id, |e| {
            e.known();
            e.stage = input.map_or_else(Stage::Lost, Stage::Here);
        });
    }
    /// The owner left. One that was granted nothing is forgotten.
    pub fn left(&self, id: JobId, failure: Failure) {
        let mut all = self.all();
        all.retain(|e| e.job.id != id || !matches!(e.stage, Stage::Waiting));
        drop(all);
        self.change(id, |e| {
            if !matches!(e.stage, Stage::Running) {
                e.stage = Stage::Lost(failure);
            }
        });
    }

    /// Waits until something may be to do.
    pub fn wait(&self, within: Duration) {
        let all = self.all();
        let soonest = all.iter().map(|e| e.next.saturating_duration_since(Instant::now())).min();
        let within = soonest.filter(|t| !t.is_zero()).map_or(within, |t| t.min(within));
        drop(self.bell.wait_timeout(all, within));
    }
    /// Wakes who waits.
    pub fn ring(&self) {
        self.bell.notify_all();
    }
    /// The first request that waits for images, if there is room for one more input. Of one key one request is served at a
    /// time, so that nobody's requests crowd out others'.
    pub fn waiting(&self) -> Option<Asked> {
        let all = self.all();
        let (count, bytes) = all.iter().fold((0, 0), |(count, bytes), e| match &e.stage {
            Stage::Granted(len) => (count + 1, bytes + len),
            Stage::Here(input) => (count + 1, bytes + input.len()),
            _ => (count, bytes),
        });
        if count >= MOST_GRANTED || bytes > MOST_BYTES {
            return None;
        }
        let begun = |e: &Entry| e.granted > 0 || !matches!(e.stage, Stage::Waiting);
        let alone = |e: &Entry| !all.iter().any(|o| o.client == e.client && o.job.id != e.job.id && begun(o));
        let due = |e: &&Entry| matches!(e.stage, Stage::Waiting) && e.next <= Instant::now() && alone(e);
        all.iter().find(due).map(Entry::asked)
    }
    /// The first request whose input is here, or whose owner failed after a grant.
    pub fn ready(&self) -> Option<JobId> {
        let due = |e: &&Entry| matches!(e.stage, Stage::Here(_) | Stage::Lost(_)) && e.next <= Instant::now();
        self.all().iter().find(due).map(|e| e.job.id)
    }
    /// Waits at most `within` for a request, as P0 describes it.
    pub fn find(&self, job: &Job, client: Fingerprint, within: Duration) -> Option<Asked> {
        let same = |e: &&Entry| e.job == *job && e.client == client && matches!(e.stage, Stage::Waiting);
        self.until(within, |all| all.iter().find(same).map(Entry::asked))
    }
    /// Waits at most `within` for the input of a request, or for the end of its owner. It has to be run, ended or put back.
    pub fn input(&self, id: JobId, within: Duration) -> Option<Result<Vec<u8>, Failure>> {
        self.until(within, |all| {
            let entry = all.iter_mut().find(|e| e.job.id == id)?;
            match std::mem::replace(&mut entry.stage, Stage::Running) {
                Stage::Here(input) => Some(Ok(input)),
                Stage::Lost(failure) => Some(Err(failure)),
                other => {
                    entry.stage = other;
                    None
                }
            }
        })
    }
    fn until<T>(&self, within: Duration, mut f: impl FnMut(&mut Vec<Entry>) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut all = self.all();
        loop {
            if let Some(found) = f(&mut all) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            all = self.bell.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// P1 does not know the request, or has not its input: asks again later, others go first meanwhile. Says whether it has
    /// been long enough.
    pub fn later(&self, id: JobId, input: Option<Vec<u8>>) -> bool {
        let mut all = self.all();
        let Some(at) = all.iter().position(|e| e.job.id == id) else { return false };
        let mut entry = all.remove(at);
        if let Some(input) = input {
            entry.stage = Stage::Here(input);
        }
        entry.next = Instant::now() + AGAIN * (1 << entry.tries.min(6));
        entry.tries += 1;
        let since = *entry.unknown.get_or_insert_with(Instant::now);
        all.push(entry);
        since.elapsed() >= GATHER
    }

    /// Grants images to a request: its thread tells the owner.
    pub fn grant(&self, id: JobId, grant: Grant, keys: Vec<u8>, len: usize) {
        self.change(id, |e| {
            (e.stage, e.granted) = (Stage::Granted(len), e.granted + grant.images);
            e.most = u32::MAX;
            e.known();
            // a thread that is gone has said so, or will
            let _ = e.orders.send(Order::Grant(grant, keys, len));
        });
    }
    /// Where the shares of a request go.
    pub fn orders(&self, id: JobId) -> Option<Sender<Order>> {
        self.change(id, |e| e.orders.clone())
    }
    /// A piece was run: the request goes to the end of the queue for the rest, or is done.
    pub fn ran(&self, id: JobId) {
        let mut all = self.all();
        if let Some(at) = all.iter().position(|e| e.job.id == id) {
            let mut entry = all.remove(at);
            if entry.granted >= entry.job.images {
                let _ = entry.orders.send(Order::Done);
            } else {
                entry.stage = Stage::Waiting;
                entry.known();
                all.push(entry);
            }
        }
        drop(all);
        self.bell.notify_all();
    }
    /// Ends a request: its owner hears why.
    pub fn end(&self, id: JobId, failure: Failure) {
        let mut all = self.all();
        if let Some(at) = all.iter().position(|e| e.job.id == id) {
            let _ = all.remove(at).orders.send(Order::End(failure));
        }
        drop(all);
        self.bell.notify_all();
    }
    /// Images promised to requests that were granted some and wait for the rest.
    pub fn promised(&self, but: JobId) -> u64 {
        let begun = |e: &&Entry| e.granted > 0 && e.job.id != but;
        self.all().iter().filter(begun).map(|e| u64::from(e.job.images.saturating_sub(e.granted))).sum()
    }
    /// Lets go of requests that waited too long.
    pub fn reap(&self) {
        let old = |e: &&Entry| matches!(e.stage, Stage::Waiting) && e.since.elapsed() >= ORPHAN;
        let ids: Vec<_> = self.all().iter().filter(old).map(|e| e.job.id).collect();
        for id in ids {
            let text = "the request waited too long for its turn";
            self.end(
                id,
                Failure::new(ExitCode::Unreachable, text).told_as(crate::transport::Reason::Deadline),
            );
        }
    }
    /// The link to the peer broke: what was granted with it ends; what waits, waits on. The jobs that ended.
    pub fn break_off(&self, failure: &Failure) -> Vec<JobId> {
        let granted = |e: &&Entry| !matches!(e.stage, Stage::Waiting);
        let ids: Vec<_> = self.all().iter().filter(granted).map(|e| e.job.id).collect();
        ids.iter().for_each(|id| self.end(*id, failure.clone().during(Phase::Online)));
        self.all().iter_mut().for_each(Entry::known);
        ids
    }
    /// Ends everything.
    pub fn close(&self, failure: &Failure) {
        let ids: Vec<_> = self.all().iter().map(|e| e.job.id).collect();
        ids.into_iter().for_each(|id| self.end(id, failure.clone()));
    }
}

impl Entry {
    /// P1 knows it, or is another one.
    fn known(&mut self) {
        (self.next, self.tries, self.unknown) = (Instant::now(), 0, None);
    }
    fn asked(&self) -> Asked {
        let left = self.job.images.saturating_sub(self.granted);
        Asked { job: self.job, client: self.client, left, most: self.most.min(left) }
    }
}
