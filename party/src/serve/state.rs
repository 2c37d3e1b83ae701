//! What the threads of a party share.

use super::prepare::Larder;
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::{Fingerprint, Identity};
use crate::jobs::Job;
use crate::report::Tally;
use crate::transport::{Detail, Link, Reason, Shape, Transport};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_nn::{Plan, Program, Reveal, roles};
use twoply_preprocessing::{FileLog, KeyDir, KeySet, Lease, Ledger, PlanDigest, Reservation};
use twoply_primitives::{Backend, Masked, PartyId};

/// How long a data owner may wait for its turn; beyond it, the peer may never have heard of its job.
const ORPHAN: Duration = Duration::from_secs(600);

/// Who may speak to a party, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The peer's key.
    pub peer: Fingerprint,
    /// The peer's address; P1 needs it.
    pub peer_address: Option<String>,
    /// What P1 calls P0 over.
    pub transport: Transport,
    /// What its links emulate.
    pub link: Shape,
    /// Keys of data owners.
    pub clients: Vec<Fingerprint>,
    /// Keys of model owners.
    pub owners: Vec<Fingerprint>,
    /// Refuse plans that give more than labels.
    pub labels_only: bool,
    /// How long the peer may take to appear or to answer.
    pub patience: Duration,
    /// Write the coins of stochastic roundings to this file; for tests with the fixed-point oracle.
    pub record_coins: Option<std::path::PathBuf>,
}

impl Config {
    /// Every key that may connect.
    pub fn everyone(&self) -> Vec<Fingerprint> {
        let owners = self.clients.iter().chain(&self.owners);
        owners.copied().chain([self.peer]).collect()
    }
}

/// What a party is started with.
pub struct Setup {
    /// Which party.
    pub me: PartyId,
    /// The plan.
    pub plan: Plan,
    /// Folder of key sets.
    pub keys: std::path::PathBuf,
    /// This machine's key.
    pub identity: Arc<Identity>,
    /// Whether keys from a test seed are taken.
    pub insecure_test_seed: bool,
    /// Who may speak to it, and how.
    pub config: Config,
}

/// What a party did.
#[derive(Debug)]
pub struct Served {
    /// Counters of all runs.
    pub tally: Tally,
    /// Images whose keys are left.
    pub left: u64,
    /// Images spent without being used.
    pub burnt: u64,
}

/// A data owner that waits for its job.
pub struct Waiting {
    /// Its link.
    pub link: Link,
    /// What it asked for.
    pub job: Job,
    since: Instant,
}

impl Waiting {
    fn hopeless(&self) -> bool {
        self.since.elapsed() >= ORPHAN || !self.link.is_alive()
    }
}

/// The opened weights.
pub struct Weights<B: Backend> {
    /// As wires.
    pub wires: Vec<Masked<B>>,
    /// Digest of `w^`.
    pub digest: [u8; 32],
}

/// The ledger with the reservations that are not used up.
pub struct Book {
    pub(super) ledger: Ledger<FileLog>,
    pub(super) reserved: VecDeque<Reservation>,
    /// Names the link to the peer that they were made over.
    pub(super) meeting: [u8; 32],
}

/// One party: device, plan, keys, ledger, weights, and whoever waits.
pub struct Party<B: Backend> {
    pub me: PartyId,
    pub dev: B,
    pub plan: Plan,
    pub program: Program,
    pub digest: PlanDigest,
    pub set: KeySet,
    pub config: Config,
    pub larder: Larder<B>,
    book: Mutex<Book>,
    weights: Mutex<Option<Arc<Weights<B>>>>,
    waiting: Mutex<VecDeque<Waiting>>,
    peers: Mutex<VecDeque<Link>>,
    door: Mutex<Option<Failure>>,
    bell: Condvar,
    tally: Mutex<Tally>,
    wasted: AtomicU64,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Backend> Party<B> {
    /// Opens keys, ledger and, if they are there, weights.
    pub fn new(setup: Setup, dev: B) -> Result<Self, Failure> {
        let start = |f: Failure| f.during(Phase::Start);
        let policy = setup.config.labels_only && setup.plan.options.reveal != Reveal::Label;
        if policy {
            let text = "this party gives labels only, and the plan gives logits";
            return Err(
                start(Failure::new(ExitCode::Policy, text)).remedy("plan with --reveal label and deal again")
            );
        }
        let program = setup.plan.program().map_err(|e| start(e.into()))?;
        let digest = setup.plan.digest().map_err(|e| start(e.into()))?;
        let dir = KeyDir::open(&setup.keys, setup.me).map_err(|e| start(e.into()))?;
        let id = dir.choose(digest).map_err(|e| start(e.into()))?;
        let layout = setup.plan.layout();
        let set = dir.key_set(id, digest, layout, setup.insecure_test_seed).map_err(|e| start(e.into()))?;
        let ledger = set.ledger().map_err(|e| start(e.into()))?;
        set.gc(&ledger).map_err(|e| start(e.into()))?; // what a crash kept from being erased
        let party = Party {
            me: setup.me,
            dev,
            larder: Larder::new(&setup.plan),
            plan: setup.plan,
            program,
            digest,
            set,
            config: setup.config,
            book: Mutex::new(Book { ledger, reserved: VecDeque::new(), meeting: [0; 32] }),
            weights: Mutex::new(None),
            waiting: Mutex::default(),
            peers: Mutex::default(),
            door: Mutex::default(),
            bell: Condvar::new(),
            tally: Mutex::default(),
            wasted: AtomicU64::new(0),
        };
        party.load_weights().map_err(start)?;
        Ok(party)
    }

    /// Reads the masked weights from disk, if they were provisioned.
    fn load_weights(&self) -> Result<(), Failure> {
        let path = self.set.weights_path();
        let Some(bound) = self.book().ledger.tally().weights else { return Ok(()) };
        let packed = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Failure::io("read", path.display(), &e)),
        };
        if *blake3::hash(&packed).as_bytes() != bound {
            let text = format!("{}: not the masked weights this key set is bound to", path.display());
            return Err(
                Failure::new(ExitCode::KeysSpent, text).remedy("provision again with the same weights")
            );
        }
        self.set_weights(&packed)
    }
    /// Takes masked weights into use.
    pub fn set_weights(&self, packed: &[u8]) -> Result<(), Failure> {
        let wires =
            roles::masked_weights(&self.dev, &self.program, self.set.id(), self.set.weight_seed(), packed)?;
        *lock(&self.weights) = Some(Arc::new(Weights { wires, digest: *blake3::hash(packed).as_bytes() }));
        self.larder.wake();
        Ok(())
    }
    pub fn weights(&self) -> Option<Arc<Weights<B>>> {
        lock(&self.weights).clone()
    }
    pub fn weights_digest(&self) -> Option<[u8; 32]> {
        lock(&self.weights).as_ref().map(|w| w.digest)
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
    /// First image that this party has not spent.
    pub fn cursor(&self) -> Result<u64, Failure> {
        Ok(self.book().ledger.tally().next)
    }
    /// Burns what the peer has spent and this party has not.
    pub fn catch_up(&self, theirs: u64) -> Result<(), Failure> {
        Ok(self.book().ledger.advance_to(theirs)?)
    }
    /// Both parties have met, under this name.
    pub fn meet(&self, meeting: [u8; 32]) {
        self.book().meeting = meeting;
    }
    /// Reservations made with a peer that is gone are burnt: it may not know how far they were used.
    pub fn forget_reservations(&self) {
        let mut book = self.book();
        while let Some(r) = book.reserved.pop_front() {
            book.ledger.settle(r);
        }
    }
    /// Images left and images burnt; makes the statistics durable as far as that goes.
    pub fn account(&self) -> Result<(u64, u64), Failure> {
        self.forget_reservations();
        let book = self.book();
        let wasted = self.wasted.load(Ordering::Relaxed);
        Ok((book.ledger.remaining(), book.ledger.tally().burnt() + wasted))
    }
    /// Leased images whose data owner failed: the ledger takes them for used.
    pub fn waste(&self, images: u64) {
        self.wasted.fetch_add(images, Ordering::Relaxed);
    }
    /// The next `images` of what is reserved: at most one lease for each segment, wherever reservations end.
    pub fn lease(&self, images: u64) -> Result<Vec<Lease>, Failure> {
        let mut book = self.book();
        let (mut wanted, mut leases) = (images, Vec::<Lease>::new());
        while wanted > 0 {
            let Some(front) = book.reserved.front_mut() else {
                return Err(Failure::new(ExitCode::KeysMissing, format!("{wanted} images are not reserved")));
            };
            let now = front.left().min(wanted);
            for next in front.take(now)? {
                match leases.pop() {
                    None => leases.push(next),
                    Some(last) => match last.join(next) {
                        Ok(joined) => leases.push(joined),
                        Err((last, next)) => leases.extend([last, next]),
                    },
                }
            }
            wanted -= now;
            if front.left() == 0
                && let Some(done) = book.reserved.pop_front()
            {
                book.ledger.settle(done);
            }
        }
        Ok(leases)
    }
    /// Images that are reserved and not leased.
    pub fn reserved(&self) -> u64 {
        self.book().reserved.iter().map(Reservation::left).sum()
    }

    /// A data owner waits.
    pub fn enqueue(&self, link: Link, job: Job) {
        lock(&self.waiting).push_back(Waiting { link, job, since: Instant::now() });
        self.bell.notify_all();
    }
    /// A data owner that was taken from the queue waits on, before all others.
    pub fn put_back(&self, waiting: Waiting) {
        lock(&self.waiting).push_front(waiting);
    }
    /// The next data owner that `wanted` describes; waits at most `within`.
    pub fn dequeue(&self, within: Duration, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let until = Instant::now() + within;
        let mut queue = lock(&self.waiting);
        loop {
            while let Some(at) = queue.iter().position(Waiting::hopeless) {
                if let Some(orphan) = queue.remove(at) {
                    orphan.link.abort(Reason::Deadline, Detail::None);
                }
            }
            if let Some(at) = queue.iter().position(&wanted) {
                return queue.remove(at);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            queue = self.bell.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// Lets go of data owners who have left or waited too long.
    pub fn reap(&self) {
        let _ = self.dequeue(Duration::ZERO, |_| false);
    }
    /// The peer called.
    pub fn peer_called(&self, link: Link) {
        lock(&self.peers).push_back(link);
        self.bell.notify_all();
    }
    /// The last link the peer opened; earlier ones are dropped.
    pub fn peer_link(&self, within: Duration) -> Option<Link> {
        let until = Instant::now() + within;
        let mut peers = lock(&self.peers);
        loop {
            if let Some(link) = peers.pop_back() {
                for old in peers.drain(..) {
                    old.abort(Reason::Interrupted, Detail::None);
                }
                return Some(link);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            peers = self.bell.wait_timeout(peers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// The door cannot go on.
    pub fn door_failed(&self, failure: Failure) {
        lock(&self.door).get_or_insert(failure);
    }
    pub fn door_failure(&self) -> Option<Failure> {
        lock(&self.door).take()
    }
    /// Drops everyone who waits.
    pub fn close(&self) {
        let waiting = lock(&self.waiting).drain(..).map(|w| w.link).collect::<Vec<_>>();
        for link in waiting.into_iter().chain(lock(&self.peers).drain(..)) {
            link.abort(Reason::Interrupted, Detail::None);
        }
    }

    pub fn count(&self, f: impl FnOnce(&mut Tally)) {
        f(&mut lock(&self.tally));
    }
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}
