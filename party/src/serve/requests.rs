//! Data owners' requests, between the threads that speak with them and the one that speaks with the other party.
//!
//! Each request has a thread, which holds the owner's link all the time: it hands on grants, waits for masked inputs, sends
//! shares. So an owner that is slow, silent or gone holds up its own request and no other.

use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Fingerprint;
use crate::jobs::{Grant, Job, JobId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request may wait for one turn; beyond it, the other party may never have heard of it.
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
    /// Since when it waits for its next images.
    since: Instant,
    orders: Sender<Order>,
    stage: Stage,
    /// Images granted so far.
    granted: u32,
    /// Whether a masked input has come for some of them.
    answered: bool,
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
    /// Since when it waits for its next images.
    pub since: Instant,
}

/// All requests of a party.
#[derive(Default)]
pub struct Requests {
    all: Mutex<Vec<Entry>>,
    bell: Condvar,
    /// The bell rang since [`Requests::wait`] last listened. Changed with `all` locked.
    rang: AtomicBool,
}

impl Requests {
    fn all(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn change<T>(&self, id: JobId, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let changed = self.all().iter_mut().find(|e| e.job.id == id).map(f);
        self.ring();
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
        all.push(Entry {
            job,
            client,
            since,
            orders,
            stage,
            granted,
            most,
            next,
            tries,
            unknown,
            answered: false,
        });
        drop(all);
        self.ring();
        Ok(receiver)
    }
    /// The owner's masked input came, or the owner failed.
    pub fn arrived(&self, id: JobId, input: Result<Vec<u8>, Failure>) {
        self.change(id, |e| {
            e.known();
            e.answered |= input.is_ok();
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

    /// Waits until something may be to do: the bell rang since the last call, or P1 is to be asked again.
    pub fn wait(&self, within: Duration) {
        let all = self.all();
        if self.rang.swap(false, Ordering::Relaxed) {
            return;
        }
        let later = all.iter().map(|e| e.next.saturating_duration_since(Instant::now()));
        let within = later.filter(|t| !t.is_zero()).min().map_or(within, |t| t.min(within));
        drop(self.bell.wait_timeout(all, within));
    }
    /// Wakes who waits, or will.
    pub fn ring(&self) {
        let all = self.all();
        self.rang.store(true, Ordering::Relaxed);
        drop(all);
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
    /// Whether a request is here. Once it is granted something, it stays until it is run or ended.
    pub fn has(&self, id: JobId) -> bool {
        self.all().iter().any(|e| e.job.id == id)
    }
    /// Waits at most `within` for the input of a request, or for the end of its owner, who may have left before the grant
    /// came to it. It has to be run, ended or put back.
    pub fn input(&self, id: JobId, within: Duration) -> Option<Result<Vec<u8>, Failure>> {
        self.until(within, |all| {
            let Some(entry) = all.iter_mut().find(|e| e.job.id == id) else {
                return Some(Err(gone()));
            };
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

    /// Grants images to a request: its thread tells the owner. One that is not [here](Requests::has) any more hears nothing.
    pub fn grant(&self, id: JobId, grant: Grant, keys: Vec<u8>, len: usize) {
        self.change(id, |e| {
            (e.stage, e.granted) = (Stage::Granted(len), e.granted + grant.images);
            e.most = u32::MAX;
            e.known();
            if e.orders.send(Order::Grant(grant, keys, len)).is_err() {
                e.stage = Stage::Lost(gone());
            }
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
                entry.since = Instant::now();
                entry.known();
                all.push(entry);
            }
        }
        drop(all);
        self.ring();
    }
    /// Ends a request: its owner hears why.
    pub fn end(&self, id: JobId, failure: Failure) {
        let mut all = self.all();
        if let Some(at) = all.iter().position(|e| e.job.id == id) {
            let _ = all.remove(at).orders.send(Order::End(failure));
        }
        drop(all);
        self.ring();
    }
    /// Images promised to requests that have sent a masked input and wait for the rest. One that was granted its first images
    /// and is silent keeps nothing from others.
    pub fn promised(&self, but: JobId) -> u64 {
        let begun = |e: &&Entry| e.answered && e.job.id != but;
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

/// The owner's thread is not there any more.
fn gone() -> Failure {
    Failure::new(ExitCode::PeerFailed, "the data owner left")
}

impl Entry {
    /// P1 knows it, or is another one.
    fn known(&mut self) {
        (self.next, self.tries, self.unknown) = (Instant::now(), 0, None);
    }
    fn asked(&self) -> Asked {
        let left = self.job.images.saturating_sub(self.granted);
        Asked { job: self.job, client: self.client, left, most: self.most.min(left), since: self.since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twoply_primitives::KeySetId;

    fn job(id: u8, images: u32) -> Job {
        Job { id: [id; 16], plan: [0; 32], images }
    }

    fn key(client: u8) -> Fingerprint {
        Fingerprint::of_spki(&[client])
    }

    fn grant(requests: &Requests, id: u8, images: u32) {
        let grant = Grant { key_set: KeySetId([1; 16]), first: 0, images, cursor: 64, meeting: [2; 32] };
        requests.grant([id; 16], grant, vec![], 4);
    }

    #[test]
    fn repro_a_grant_to_an_owner_that_left_meanwhile_is_seen() {
        let requests = Requests::default();
        let _orders = requests.enter(job(1, 1), key(1), 1).unwrap();
        assert!(requests.waiting().is_some());
        // between being chosen and being granted, the owner leaves
        requests.left([1; 16], gone());
        grant(&requests, 1, 1);
        assert!(!requests.has([1; 16]));
        // the other party, where it left too, does not say for ever that it has not heard of its input
        assert!(requests.input([1; 16], Duration::ZERO).unwrap().is_err());
    }

    #[test]
    fn a_granted_request_stays_until_it_is_run_or_ended() {
        let requests = Requests::default();
        let orders = requests.enter(job(1, 1), key(1), 1).unwrap();
        grant(&requests, 1, 1);
        assert!(requests.input([1; 16], Duration::ZERO).is_none(), "awaited");
        requests.left([1; 16], gone());
        assert!(requests.has([1; 16]));
        assert_eq!(requests.ready(), Some([1; 16]));
        assert!(requests.input([1; 16], Duration::ZERO).unwrap().is_err());
        requests.end([1; 16], gone());
        assert!(!requests.has([1; 16]));
        assert!(matches!(orders.recv(), Ok(Order::Grant(..))));
        assert!(matches!(orders.recv(), Ok(Order::End(_))));
    }

    #[test]
    fn a_thread_that_is_gone_loses_its_grant_at_once() {
        let requests = Requests::default();
        drop(requests.enter(job(1, 1), key(1), 1).unwrap());
        grant(&requests, 1, 1);
        assert_eq!(requests.ready(), Some([1; 16]));
    }

    #[test]
    fn repro_each_turn_of_a_long_request_is_waited_for_anew() {
        let requests = Requests::default();
        let _orders = requests.enter(job(1, 2), key(1), 1).unwrap();
        let long_ago = Instant::now().checked_sub(2 * ORPHAN).unwrap();
        requests.change([1; 16], |e| e.since = long_ago);
        grant(&requests, 1, 1);
        requests.arrived([1; 16], Ok(vec![0; 4]));
        assert!(requests.input([1; 16], Duration::ZERO).unwrap().is_ok());
        requests.ran([1; 16]);
        requests.reap();
        assert!(requests.has([1; 16]), "it waits since its last piece");
        requests.change([1; 16], |e| e.since = long_ago);
        requests.reap();
        assert!(!requests.has([1; 16]));
    }

    #[test]
    fn of_one_key_one_request_is_served_and_others_go_while_p1_does_not_know_one() {
        let requests = Requests::default();
        let orders: Vec<_> = [(1, 1), (2, 1), (3, 2)]
            .map(|(id, client)| requests.enter(job(id, 2), key(client), 1).unwrap())
            .into();
        let next = || requests.waiting().map(|asked| asked.job.id[0]);
        assert_eq!(next(), Some(1));
        assert!(!requests.later([1; 16], None));
        assert_eq!(next(), Some(2));
        grant(&requests, 2, 1);
        assert_eq!(next(), Some(3), "of the first key one is served");
        requests.arrived([2; 16], Ok(vec![0; 4]));
        assert!(requests.input([2; 16], Duration::ZERO).unwrap().is_ok());
        requests.ran([2; 16]);
        assert_eq!(next(), Some(3), "whoever had a turn goes to the end");
        grant(&requests, 3, 1);
        assert_eq!(next(), Some(2));
        drop(orders);
    }

    #[test]
    fn repro_a_bell_that_rings_before_the_wait_ends_it() {
        let requests = Requests::default();
        let _orders = requests.enter(job(1, 1), key(1), 1).unwrap();
        // hangs without the mending
        requests.wait(Duration::MAX);
        assert!(!requests.rang.load(Ordering::Relaxed));
    }

    #[test]
    fn repro_what_is_due_later_is_waited_for_though_something_else_is_due_now() {
        let requests = Requests::default();
        let _orders = [1, 2].map(|id| requests.enter(job(id, 1), key(id), 1).unwrap());
        grant(&requests, 1, 1);
        requests.later([2; 16], None);
        requests.wait(Duration::MAX); // for the bell that rang
        requests.wait(Duration::MAX); // hangs without the mending
        requests.change([2; 16], |e| e.next = Instant::now());
        assert!(requests.waiting().is_some());
    }
}
