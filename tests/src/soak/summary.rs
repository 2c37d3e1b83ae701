//! What a soak reached, as a table and as JSON.

use super::record::{Blow, Fate, Record, Verb};
use super::verdict::{self, Fault, Rule};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use twoply_party::exit::ExitCode;

/// How many faults of a rule are shown; all are counted.
const SHOWN: usize = 4;

/// The figures of a soak.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether every rule holds.
    pub passed: bool,
    /// Where the random numbers came from.
    pub seed: u64,
    /// How long blows fell.
    pub seconds: f64,
    /// Data owners.
    pub owners: usize,
    /// Processes that asked.
    pub requests: u64,
    /// Images asked about.
    pub images_asked: u64,
    /// Images answered.
    pub images_answered: u64,
    /// Answers that are not the plain network's.
    pub wrong_labels: u64,
    /// SIGKILL to parties.
    pub party_kills: u64,
    /// SIGKILL to owners.
    pub owner_kills: u64,
    /// SIGTERM to parties, before the end.
    pub stops: u64,
    /// SIGSTOP and SIGCONT.
    pub suspensions: u64,
    /// Starts of parties, the first ones not counted.
    pub restarts: u64,
    /// Ends of parties that nobody asked for.
    pub parties_ended: u64,
    /// How often owners said that they tried again.
    pub retries: u64,
    /// Failures of owners by kind.
    pub failures: BTreeMap<String, u64>,
    /// Seconds from a loss to the next answer or error, at worst.
    pub slowest: f64,
    /// Seconds without keys.
    pub downtime: f64,
    /// Key sets dealt.
    pub key_sets: u64,
    /// Key sets used to their end.
    pub used_up: u64,
    /// Images spent, by P0 and P1.
    pub spent: [u64; 2],
    /// Images spent without an answer.
    pub burnt: u64,
    /// The most that the model allows.
    pub burnt_bound: u64,
    /// Broken rules, how often each.
    pub faults: BTreeMap<String, u64>,
    /// The first of each.
    pub first_faults: Vec<Fault>,
}

fn name(rule: impl Serialize) -> String {
    serde_json::to_value(rule).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

impl Summary {
    /// Judges a record.
    pub fn of(record: &Record) -> Summary {
        let faults = verdict::faults(record);
        let (burnt, burnt_bound) = verdict::burnt(record);
        let asked = || record.runs.iter().filter(|run| run.verb == Verb::Infer);
        let wrong =
            |run: &super::record::Run| run.answers.iter().zip(&run.wanted).filter(|(a, w)| a != w).count();
        let losses = record.outages.iter().filter(|o| o.blow != Blow::Suspend).count() as u64;
        let [a, _] = &record.sets;
        Summary {
            passed: faults.is_empty(),
            seed: record.seed,
            seconds: record.seconds,
            owners: record.granted.len(),
            requests: asked().count() as u64,
            images_asked: asked().map(|run| run.wanted.len() as u64).sum(),
            images_answered: record.images(),
            wrong_labels: asked().map(|run| wrong(run) as u64).sum(),
            party_kills: record.blows(Blow::Kill),
            owner_kills: record.runs.iter().filter(|run| run.fate == Fate::Killed).count() as u64,
            stops: record.blows(Blow::Stop),
            suspensions: record.blows(Blow::Suspend),
            restarts: losses,
            parties_ended: record.blows(Blow::Itself),
            retries: record.runs.iter().map(|run| run.retries).sum(),
            failures: failures(record),
            slowest: verdict::slowest(record).map_or(0.0, |(took, _)| took),
            downtime: verdict::downtime(record),
            key_sets: record.dealt,
            used_up: a.iter().filter(|set| set.spent == set.images).count() as u64,
            spent: record.sets.each_ref().map(|sets| sets.iter().map(|s| s.spent).sum()),
            burnt,
            burnt_bound,
            faults: count(faults.iter().map(|fault| name(fault.rule))),
            first_faults: first(faults),
        }
    }
    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("figures are JSON")
    }
}

/// The first faults of each rule.
fn first(faults: Vec<Fault>) -> Vec<Fault> {
    let mut shown: BTreeMap<Rule, usize> = BTreeMap::new();
    let few = |fault: &Fault| {
        let n = shown.entry(fault.rule).or_default();
        *n += 1;
        *n <= SHOWN
    };
    faults.into_iter().filter(few).collect()
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// Failures of owners by the name of their exit code.
fn failures(record: &Record) -> BTreeMap<String, u64> {
    let kind = |code: i32| {
        let code = u16::try_from(code).ok().and_then(ExitCode::from_number);
        code.map_or("a signal".to_owned(), |code| code.name().to_owned())
    };
    count(record.runs.iter().filter_map(|run| run.failure()).map(kind))
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| match counts.is_empty() {
            true => "none".into(),
            false => counts.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", "),
        };
        let burnt = format!("{}, at most {} allowed", self.burnt, self.burnt_bound);
        let rows: [(&str, String); 18] = [
            ("seed", self.seed.to_string()),
            ("seconds", format!("{:.0}", self.seconds)),
            ("data owners, requests", format!("{}, {}", self.owners, self.requests)),
            ("images asked, answered", format!("{}, {}", self.images_asked, self.images_answered)),
            ("wrong labels", self.wrong_labels.to_string()),
            ("kills of parties, owners", format!("{}, {}", self.party_kills, self.owner_kills)),
            ("stops, suspensions", format!("{}, {}", self.stops, self.suspensions)),
            ("restarts", self.restarts.to_string()),
            ("parties that ended", self.parties_ended.to_string()),
            ("retries told", self.retries.to_string()),
            ("failures told", list(&self.failures)),
            ("slowest after a loss", format!("{:.1} s", self.slowest)),
            ("downtime for keys", format!("{:.1} s", self.downtime)),
            ("key sets dealt, used up", format!("{}, {}", self.key_sets, self.used_up)),
            ("images spent, P0 and P1", format!("{}, {}", self.spent[0], self.spent[1])),
            ("images burnt", burnt),
            ("broken rules", list(&self.faults)),
            ("verdict", if self.passed { "passed" } else { "FAILED" }.into()),
        ];
        rows.iter().try_for_each(|(what, value)| writeln!(f, "{what:<26}{value}"))?;
        for fault in &self.first_faults {
            let at = fault.at.map_or(String::new(), |at| format!("{at:.1} s: "));
            writeln!(f, "  {}: {at}{}", name(fault.rule), fault.what)?;
        }
        Ok(())
    }
}
