//! What the threads of a party share.

use super::prepare::Larder;
use super::provision::Binds;
use super::requests::Requests;
use super::stocks::Stocks;
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::{Fingerprint, Identity};
use crate::jobs::control::{Counts, Kind};
use crate::messages::{Greeting, Hello, Message, Verdict};
use crate::record::{Hearer, Record};
use crate::report::Tally;
use crate::transport::{Detail, Link, Reason, Shape, Transport};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_nn::{Plan, Program, Reveal};
use twoply_preprocessing::PlanDigest;
use twoply_primitives::{Backend, PartyId};

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
    /// How long the peer may stay away; for ever if not set.
    pub patience: Option<Duration>,
    /// Most images that each data owner's key may ask for while this process runs.
    pub images_per_client: Option<u64>,
    /// Write the coins of stochastic roundings to this file; for tests with the fixed-point oracle.
    pub record_coins: Option<std::path::PathBuf>,
    /// Keeps every control message; for tests of what they say.
    pub record_control: Option<Record>,
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
    /// Folder of its training runs, where key sets for trained weights find them.
    pub runs: std::path::PathBuf,
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

/// One party: device, plan, key sets, and whoever waits.
pub struct Party<'a, B: Backend> {
    pub me: PartyId,
    pub dev: B,
    pub plan: Plan,
    pub program: Program,
    pub digest: PlanDigest,
    pub config: Config,
    pub stocks: Stocks<B>,
    pub larder: Larder<B>,
    pub requests: Requests,
    pub binds: Binds,
    say: &'a (dyn Fn(&str) + Sync),
    /// Whether the other party is connected.
    met: AtomicBool,
    /// Names the link to it.
    meeting: Mutex<[u8; 32]>,
    /// The peer's newest link, until somebody takes it.
    caller: Mutex<Option<Link>>,
    door: Mutex<Option<Failure>>,
    bell: Condvar,
    tally: Mutex<Tally>,
    control: Mutex<Counts>,
    charged: Mutex<HashMap<Fingerprint, u64>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, B: Backend> Party<'a, B> {
    /// Opens the key sets with their ledgers and, where they are there, weights.
    pub fn new(setup: Setup, dev: B, say: &'a (dyn Fn(&str) + Sync)) -> Result<Self, Failure> {
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
        let with = (&setup.plan, setup.insecure_test_seed);
        let folders = (setup.keys, setup.runs);
        let stocks = Stocks::open(folders, setup.me, with, say).map_err(start)?;
        Ok(Party {
            me: setup.me,
            dev,
            larder: Larder::new(&setup.plan),
            plan: setup.plan,
            program,
            digest,
            config: setup.config,
            stocks,
            requests: Requests::default(),
            binds: Binds::default(),
            say,
            met: AtomicBool::new(false),
            meeting: Mutex::default(),
            caller: Mutex::default(),
            door: Mutex::default(),
            bell: Condvar::new(),
            tally: Mutex::default(),
            control: Mutex::default(),
            charged: Mutex::default(),
        })
    }

    /// What hears what is worth telling the operator.
    pub fn say(&self) -> &'a (dyn Fn(&str) + Sync) {
        self.say
    }
    /// Sends the peer a control message, counted for the bill.
    pub fn tell(&self, peer: &mut Link, message: &impl Kind) -> Result<(), crate::transport::Error> {
        lock(&self.control).add(message);
        self.keep(Hearer::Peer, message);
        peer.say(message)
    }
    /// Two hellos agreed: this party's and its verdict are on the bill.
    pub fn greeted(&self, ours: &Hello) {
        let greeting = Greeting::V1(ours.clone());
        let mut control = lock(&self.control);
        control.add(&greeting);
        control.add(&Verdict::Agreed);
        self.keep(Hearer::Peer, &greeting);
        self.keep(Hearer::Peer, &Verdict::Agreed);
    }
    /// Sends an owner or a probe a control message.
    pub fn tell_owner(&self, link: &mut Link, message: &impl Message) -> Result<(), crate::transport::Error> {
        self.keep(Hearer::Owner, message);
        link.say(message)
    }
    fn keep(&self, to: Hearer, message: &impl Message) {
        if let Some(record) = &self.config.record_control {
            record.keep(to, message);
        }
    }
    /// A meeting with the peer is over; payload bytes of everything that was sent over its link.
    pub fn sent(&self, bytes: u64) {
        lock(&self.tally).peer_bytes += bytes;
    }
    /// Whether the other party is connected.
    pub fn met(&self) -> bool {
        self.met.load(Ordering::SeqCst)
    }
    /// The other party came; the two name their meeting so.
    pub fn meets(&self, meeting: [u8; 32]) {
        *lock(&self.meeting) = meeting;
        self.met.store(true, Ordering::SeqCst);
        self.requests.ring();
    }
    /// The other party left.
    pub fn parts(&self) {
        self.met.store(false, Ordering::SeqCst);
        self.requests.ring();
    }
    /// The name of this meeting with the other party.
    pub fn meeting(&self) -> [u8; 32] {
        *lock(&self.meeting)
    }
    /// Takes images that are granted from the budget of a data owner's key.
    pub fn charge(&self, client: Fingerprint, images: u64) {
        if self.config.images_per_client.is_some() {
            *lock(&self.charged).entry(client).or_default() += images;
        }
    }
    /// Whether the budget of a data owner's key is enough for a request.
    ///
    /// # Errors
    /// 12 when it has not so many left.
    pub fn affords(&self, client: Fingerprint, images: u64) -> Result<(), Failure> {
        let Some(most) = self.config.images_per_client else { return Ok(()) };
        let left = most.saturating_sub(lock(&self.charged).get(&client).copied().unwrap_or(0));
        if images > left {
            let text = format!("{images} images asked for, {left} are left of this key's budget of {most}");
            return Err(Failure::new(ExitCode::Budget, text).with_detail(Detail::Short(images, left)));
        }
        Ok(())
    }

    /// The peer called. Of its links that wait, only the last counts.
    pub fn peer_called(&self, link: Link) {
        let older = lock(&self.caller).replace(link);
        if let Some(older) = older {
            older.abort(Reason::Interrupted, Detail::None);
        }
        self.bell.notify_all();
        self.requests.ring();
    }
    /// Whether the peer has called since its last link was taken.
    pub fn peer_waits(&self) -> bool {
        lock(&self.caller).is_some()
    }
    /// The last link the peer opened.
    pub fn peer_link(&self, within: Duration) -> Option<Link> {
        let until = Instant::now() + within;
        let mut caller = lock(&self.caller);
        loop {
            if let Some(link) = caller.take() {
                return Some(link);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            caller = self.bell.wait_timeout(caller, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// The door cannot go on.
    pub fn door_failed(&self, failure: Failure) {
        lock(&self.door).get_or_insert(failure);
        self.requests.ring();
    }
    /// Why the door cannot go on. That somebody with the peer's key speaks another version says nothing of a peer with
    /// whom this party has worked already.
    pub fn door_failure(&self, known: bool) -> Option<Failure> {
        lock(&self.door).take().filter(|f| !known || f.code() != ExitCode::Version)
    }
    /// Drops everyone who waits.
    pub fn close(&self) {
        let stopped = Failure::new(ExitCode::PeerFailed, "this party was stopped");
        self.requests.close(&stopped.told_as(Reason::Interrupted));
        let caller = lock(&self.caller).take();
        if let Some(link) = caller {
            link.abort(Reason::Interrupted, Detail::None);
        }
    }

    pub fn count(&self, f: impl FnOnce(&mut Tally)) {
        f(&mut lock(&self.tally));
    }
    pub fn tally(&self) -> Tally {
        let mut tally = lock(&self.tally).clone();
        tally.control = lock(&self.control).sent();
        tally
    }
}
