//! What all actors of a soak share: the world with its homes and ports, both parties, the record, the settings.

use super::party::Slot;
use super::record::{Blow, Granted, Outage, Record, Run, Set};
use super::{Clock, Settings, nap};
use crate::model::PLAIN;
use crate::world::adjusted;
use crate::{Dice, Proc, World, digits};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_nn::Evaluator;

/// How far the plain network's best output must be above the next: stochastic rounding moves outputs by less.
const CLEAR: f32 = 0.15;

/// A data owner.
pub struct Owner {
    /// Its home.
    pub home: String,
    /// What it calls the parties over.
    pub transport: &'static str,
    /// Images per request, one of these.
    pub batches: &'static [u64],
    /// Its process, while there is one; whether the soak has killed it.
    pub running: Mutex<(Option<Proc>, bool)>,
}

/// Transports and batches of the owners in turn.
const KINDS: [(&str, &[u64]); 5] =
    [("tcp", &[1, 2]), ("quic", &[4, 16]), ("auto", &[8, 40]), ("quic", &[1, 5]), ("tcp", &[25, 64])];

/// The stage.
pub struct Stage<'a> {
    pub settings: &'a Settings,
    pub interrupt: &'a AtomicBool,
    pub world: World,
    pub owners: Vec<Owner>,
    pub parties: [Mutex<Slot>; 2],
    /// Images whose label is clear.
    pub images: Vec<usize>,
    /// How `infer` is asked to try again, if it can.
    pub retry: Option<&'static [&'static str]>,
    pub clock: Clock,
    /// Requests refused for lack of keys or weights.
    pub refused: AtomicU64,
    ports: [u16; 2],
    record: Mutex<Record>,
}

/// A mutex whose holder panicked is a soak that failed already.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Stage<'a> {
    /// Homes and empty key folders.
    pub fn new(settings: &'a Settings, interrupt: &'a AtomicBool) -> Self {
        let mut world = World::new(PLAIN);
        let names = ["client", "other", "third", "fourth", "fifth"];
        for name in &names[2..] {
            let key = world.home(name);
            world.keys.push(key);
        }
        let owner = |at: usize| {
            let (transport, batches) = KINDS[at % KINDS.len()];
            Owner { home: names[at].into(), transport, batches, running: Mutex::default() }
        };
        for me in 0..2 {
            let folder = world.path(&format!("keys/p{me}"));
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.expect("a folder for keys");
        }
        let owners = (0..settings.owners.min(names.len())).map(owner).collect();
        let record = Record {
            seed: settings.seed,
            seconds: settings.time.as_secs_f64(),
            least_kills: settings.least_kills,
            slowest: settings.slowest,
            ..Record::default()
        };
        Stage {
            settings,
            interrupt,
            owners,
            parties: [Mutex::default(), Mutex::default()],
            images: clear_images(),
            retry: retry(),
            clock: Clock(Instant::now()),
            refused: AtomicU64::new(0),
            ports: free_ports(),
            record: Mutex::new(record),
            world,
        }
    }

    /// Random numbers of an actor.
    pub fn dice(&self, actor: u64) -> Dice {
        let mut dice = Dice::new(self.settings.seed.wrapping_mul(1009).wrapping_add(actor));
        (0..8).for_each(|_| _ = dice.below(2)); // seeds differ in few bits
        dice
    }
    pub fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
    /// Something failed outside the runs.
    pub fn trouble(&self, what: String) {
        self.record().troubles.push(format!("{:.1} s: {what}", self.clock.now()));
    }

    /// Arguments of a party.
    pub fn party_args(&self, me: usize) -> Vec<String> {
        let [p0, _] = &self.addresses();
        let mut args = self.world.party_args(me, p0);
        // As operators have it: for ever, between jobs.
        if let Some(at) = args.iter().position(|arg| arg == "--patience") {
            args.drain(at..at + 2);
        }
        let listen = format!("127.0.0.1:{}", self.ports[me]);
        let more = self.world.keys[5..].iter().flat_map(|key| ["--client", key]);
        args.extend(more.map(String::from).collect::<Vec<_>>());
        adjusted(args, &["--listen", &listen, "--threads", "1"])
    }
    fn addresses(&self) -> [String; 2] {
        self.ports.map(|port| format!("127.0.0.1:{port}"))
    }
    /// Arguments of an owner: verb, plan, home, both parties.
    pub fn owner_args(&self, verb: &str, home: &str) -> Vec<String> {
        let mut args = vec![verb.to_owned(), self.world.path("plan.json")];
        args.extend(["--home".into(), self.world.path(home), "--patience".into(), "20".into()]);
        for (me, address) in self.addresses().into_iter().enumerate() {
            args.extend([format!("--p{me}"), address, format!("--p{me}-key"), self.world.keys[me].clone()]);
        }
        args
    }

    /// Whether both parties run and are connected.
    pub fn whole(&self) -> bool {
        self.parties.iter().all(|slot| lock(slot).connected())
    }
    /// Waits until both parties are connected; whether they are.
    pub fn connected(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while !self.whole() && Instant::now() < until {
            if nap(Duration::from_millis(20), &[self.interrupt]) {
                return false;
            }
        }
        self.whole()
    }
    /// Waits until the last blow is over: both parties are connected and stay so.
    pub fn settle(&self) {
        let settled = self.connected(Duration::from_secs(60)) && {
            nap(Duration::from_secs(1), &[self.interrupt]);
            self.connected(Duration::from_secs(30))
        };
        if !settled {
            self.trouble("the parties did not find each other again".into());
        }
    }

    /// Notes the beginning of an outage, whose end is not known yet; its number.
    pub fn lost(&self, party: usize, blow: Blow, from: f64) -> usize {
        let mut record = self.record();
        record.outages.push(Outage { party, blow, from, until: f64::INFINITY });
        record.outages.len() - 1
    }
    pub fn back(&self, outage: usize) {
        self.record().outages[outage].until = self.clock.now();
    }
    pub fn ran(&self, run: Run) {
        self.record().runs.push(run);
    }
    /// One line about what was reached.
    pub fn progress(&self) -> String {
        let now = self.clock.now();
        let record = self.record();
        let failures = record.runs.iter().filter(|run| run.failure().is_some()).count();
        format!(
            "{now:.0} s: {} images answered, {} kills of parties, {failures} failures told, {} key sets",
            record.images(),
            record.blows(Blow::Kill),
            record.dealt
        )
    }

    /// Reads what is left after the end.
    pub fn audit(self) -> Record {
        let sets = [0, 1].map(|me| super::stock::list(&self, me).unwrap_or_default());
        let granted = self.owners.iter().map(|owner| (owner.home.clone(), granted(&self.world, &owner.home)));
        let granted = granted.collect();
        let mut record = std::mem::take(&mut *self.record());
        record.sets = sets.map(|list| {
            list.into_iter().map(|s| Set { name: s.name, images: s.images, spent: s.spent }).collect()
        });
        record.granted = granted;
        let noted = record.granted.iter().any(|(_, list)| !list.is_empty());
        if !noted && record.images() > 0 {
            record.troubles.push("no owner has a record of its grants that can be read".into());
        }
        record
    }
}

/// What an owner's record says: lines that begin `key-set first end`; others are no grants.
fn granted(world: &World, home: &str) -> Vec<Granted> {
    let text = std::fs::read_to_string(world.path(&format!("{home}/seen"))).unwrap_or_default();
    let line = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [set, first, end, ..] = parts[..] else { return None };
        Some(Granted { set: set.into(), first: first.parse().ok()?, end: end.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Images about which the plain network is sure.
fn clear_images() -> Vec<usize> {
    let digits = digits();
    let outputs = Evaluator::new(&digits.graph, &digits.weights).and_then(|e| e.run(&digits.inputs));
    let clear = |row: &Vec<f32>| {
        let mut row = row.clone();
        row.sort_by(|a, b| b.total_cmp(a));
        row[0] - row[1] > CLEAR
    };
    let outputs = outputs.expect("the plain network runs");
    outputs.iter().enumerate().filter(|(_, row)| clear(row)).map(|(at, _)| at).collect()
}

/// Ports that are free for UDP and TCP now.
fn free_ports() -> [u16; 2] {
    let draw = || loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = tcp.local_addr().expect("an address").port();
        if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
            return (tcp, udp, port);
        }
    };
    let (a, b) = (draw(), draw());
    [a.2, b.2]
}

/// How `infer` of this build is asked to try again.
fn retry() -> Option<&'static [&'static str]> {
    let help = Proc::start("help", &["infer", "--help"]).finish_within(Duration::from_secs(30)).out;
    let line = help.lines().find(|line| line.trim_start().starts_with("--retry"))?;
    Some(if line.contains('<') { &["--retry", "3"] } else { &["--retry"] })
}
