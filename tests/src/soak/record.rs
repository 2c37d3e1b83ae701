//! What a soak writes down: plain facts, so that the verdict can be tried on made-up ones. Times are seconds from the start.

use serde::Serialize;

/// What was done to a party, or what it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP, and SIGCONT some seconds later.
    Suspend,
    /// It ended without being told to.
    Itself,
}

/// A time in which a party was not there.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Which party.
    pub party: usize,
    /// Why.
    pub blow: Blow,
    /// When it went away.
    pub from: f64,
    /// When it was back and the two parties were connected.
    pub until: f64,
}

/// How a process of a party ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Which party.
    pub party: usize,
    /// When.
    pub at: f64,
    /// Why.
    pub blow: Blow,
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// Its failure, if it named one.
    pub said: String,
}

/// What an owner's process did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// A data owner asked.
    Infer,
    /// The model owner opened weights.
    Provision,
}

/// How an owner's process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// With this exit code.
    Exit(i32),
    /// The soak killed it at random.
    Killed,
    /// It said nothing for so long that the soak gave it up.
    Hung,
}

/// One process of an owner.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whose.
    pub owner: String,
    /// What it did.
    pub verb: Verb,
    /// Images per request; 0 for provisioning.
    pub batch: u64,
    /// The plain network's labels of the images it asked about.
    pub wanted: Vec<usize>,
    /// The labels it printed.
    pub answers: Vec<usize>,
    /// When each of them came.
    pub answered: Vec<f64>,
    /// When it began.
    pub from: f64,
    /// When it ended.
    pub to: f64,
    /// How.
    pub fate: Fate,
    /// Its failure, if it named one.
    pub said: String,
    /// How often it said that it tried again.
    pub retries: u64,
}

/// Images that a data owner noted as granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Key set.
    pub set: String,
    /// First image.
    pub first: u64,
    /// Behind the last image.
    pub end: u64,
}

/// A key set as `keys ls` lists it after the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// Name.
    pub name: String,
    /// Images dealt.
    pub images: u64,
    /// Images spent, used or not.
    pub spent: u64,
}

/// Everything a soak wrote down.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Where its random numbers come from.
    pub seed: u64,
    /// How long blows fell.
    pub seconds: f64,
    /// Kills of parties that it was to reach.
    pub least_kills: u64,
    /// Seconds from the loss of a party within which everybody must have an answer or an error.
    pub slowest: f64,
    /// Every outage of a party.
    pub outages: Vec<Outage>,
    /// Every end of a party's process.
    pub ends: Vec<End>,
    /// Every process of an owner.
    pub runs: Vec<Run>,
    /// Each data owner's record, in its order.
    pub granted: Vec<(String, Vec<Granted>)>,
    /// Key sets of P0 and P1 after the end.
    pub sets: [Vec<Set>; 2],
    /// Key sets dealt, those from before the first request included.
    pub dealt: u64,
    /// What failed outside the runs: dealing, listing keys, starting a party, an owner that was locked out.
    pub troubles: Vec<String>,
}

impl Run {
    /// The exit code of a failure.
    pub fn failure(&self) -> Option<i32> {
        match self.fate {
            Fate::Exit(code) if code != 0 => Some(code),
            _ => None,
        }
    }
}

impl Record {
    /// How many images were answered.
    pub fn images(&self) -> u64 {
        self.runs.iter().map(|run| run.answers.len() as u64).sum()
    }
    /// Blows of a kind.
    pub fn blows(&self, blow: Blow) -> u64 {
        self.outages.iter().filter(|o| o.blow == blow).count() as u64
    }
    /// Outages that may have made something fail that ran from `from` to `to`.
    pub fn causes(&self, from: f64, to: f64) -> Vec<Outage> {
        let may = |o: &&Outage| o.from <= to && from <= o.until + super::verdict::AFTERMATH;
        self.outages.iter().filter(may).copied().collect()
    }
}
