//! The soak: two parties and several data owners for minutes, with kills, stops, suspensions, several key sets and top-up,
//! and an audit at the end. `tests/soak.sh` runs it for minutes, a test for seconds; one verdict judges both.

mod blows;
mod owners;
mod party;
pub mod record;
mod stage;
mod stock;
pub mod summary;
pub mod verdict;

use record::Record;
use stage::Stage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a soak does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long blows fall.
    pub time: Duration,
    /// Where its random numbers come from. Processes have their own clocks, so a seed repeats what is done, not what happens.
    pub seed: u64,
    /// Pause between two blows to parties, at least and at most.
    pub pause: [Duration; 2],
    /// Kills of parties that it must reach.
    pub least_kills: u64,
    /// Seconds from the loss of a party within which everybody must have an answer or an error.
    pub slowest: f64,
    /// Images of a key set.
    pub set: u64,
    /// Images that are kept in stock: below it the next set is dealt.
    pub stock: u64,
    /// Images of a segment.
    pub segment: u32,
    /// Data owners.
    pub owners: usize,
}

impl Settings {
    /// A soak of minutes: at least four kills of parties in each.
    pub fn minutes(minutes: u64, seed: u64) -> Settings {
        Settings {
            time: Duration::from_secs(60 * minutes),
            seed,
            pause: [Duration::from_secs(4), Duration::from_secs(8)],
            least_kills: 4 * minutes,
            slowest: verdict::SLOWEST,
            set: 3000,
            stock: 4500,
            segment: 250,
            owners: 5,
        }
    }
    /// A soak of seconds, for a test: how fast its machine is is no matter of it.
    pub fn short(seed: u64) -> Settings {
        Settings {
            time: Duration::from_secs(15),
            pause: [Duration::from_millis(1500), Duration::from_millis(2500)],
            least_kills: 3,
            slowest: f64::INFINITY,
            set: 400,
            // What is asked for while a new set waits for parties that are down half of the time.
            stock: 1600,
            segment: 100,
            owners: 3,
            ..Settings::minutes(1, seed)
        }
    }
}

/// When a soak began; what its records count from.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
    fn at(self, when: Instant) -> f64 {
        when.saturating_duration_since(self.0).as_secs_f64()
    }
}

/// Sleeps, but no longer than until a flag is set; whether it was.
fn nap(time: Duration, over: &[&AtomicBool]) -> bool {
    let until = Instant::now() + time;
    loop {
        if over.iter().any(|flag| flag.load(Ordering::SeqCst)) {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Runs a soak; `None` when `interrupt` was set before its end. All processes have ended then, all files are gone.
pub fn run(settings: &Settings, interrupt: &AtomicBool, say: &(dyn Fn(&str) + Sync)) -> Option<Record> {
    let stage = Stage::new(settings, interrupt);
    (0..settings.stock.div_ceil(settings.set)).for_each(|_| _ = stage.top_up());
    let (quiet, closing) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (stage, quiet, closing) = (&stage, &quiet, &closing);
        let keeper = scope.spawn(move || party::keep(stage, closing));
        stage.connected(Duration::from_secs(30));
        stock::provision(stage, None);
        let owners: Vec<_> =
            (0..settings.owners).map(|at| scope.spawn(move || owners::ask(stage, at, quiet))).collect();
        let stock = scope.spawn(move || stock::keep(stage, quiet));
        let killer = scope.spawn(move || blows::owners(stage, quiet));
        let teller = scope.spawn(move || tell(stage, quiet, say));
        blows::parties(stage);
        stage.settle();
        quiet.store(true, Ordering::SeqCst);
        owners.into_iter().for_each(join);
        [stock, killer, teller].into_iter().for_each(join);
        stage.settle();
        (0..settings.owners).for_each(|at| owners::last(stage, at));
        closing.store(true, Ordering::SeqCst);
        join(keeper);
        party::stop_both(stage);
    });
    (!interrupt.load(Ordering::SeqCst)).then(|| stage.audit())
}

fn join(thread: std::thread::ScopedJoinHandle<'_, ()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A line about what was reached, every half minute.
fn tell(stage: &Stage, quiet: &AtomicBool, say: &(dyn Fn(&str) + Sync)) {
    while !nap(Duration::from_secs(30), &[quiet, stage.interrupt]) {
        say(&stage.progress());
    }
}
