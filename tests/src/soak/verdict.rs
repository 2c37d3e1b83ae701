//! The rules of a soak, in one place: what a record must show to pass.

use super::record::{Blow, Fate, Outage, Record, Run, Set, Verb};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use twoply_party::exit::ExitCode;

/// Seconds from the loss of a party within which everybody must have an answer or an error, in a soak of minutes.
pub const SLOWEST: f64 = 30.0;

/// Seconds after a party's return within which its loss may still make something fail: links that have not noticed.
pub const AFTERMATH: f64 = 5.0;

/// Images that a reservation may hold, if no request is larger.
const RESERVED: u64 = 64;

/// What a soak must not show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// An answer that is not the plain network's, or more answers than questions.
    WrongLabel,
    /// Two grants of one image.
    GrantedTwice,
    /// An owner's grants of a key set do not rise.
    GrantsFell,
    /// An image was granted that the parties do not call spent.
    GrantedUnspent,
    /// The parties do not hold the same key sets, or not as many spent images in them.
    UnequalSpent,
    /// A request was refused for lack of keys while sets were topped up.
    Downtime,
    /// A failure that does not name the lost party.
    Nameless,
    /// The loss of a party told as something else: neither that it was lost nor that it stopped.
    WrongKind,
    /// A failure while no party was lost.
    Unprovoked,
    /// A failure that was told as a mistake in the program.
    Internal,
    /// An answer or an error came too late.
    Slow,
    /// An owner's process that said nothing any more.
    Hung,
    /// A party's process ended because something else did.
    PartyEnded,
    /// A party that was told to stop did not end with success.
    Unclean,
    /// More images burnt than the model allows.
    Burnt,
    /// The soak was too gentle, or nothing was answered.
    Gentle,
    /// Something around the runs failed.
    Trouble,
}

/// A broken rule.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// Which.
    pub rule: Rule,
    /// When, in seconds from the start; null for what the audit found.
    pub at: Option<f64>,
    /// What happened.
    pub what: String,
}

fn fault(rule: Rule, at: impl Into<Option<f64>>, what: impl Into<String>) -> Fault {
    Fault { rule, at: at.into(), what: what.into() }
}

/// Every broken rule; a soak passes if there is none.
pub fn faults(record: &Record) -> Vec<Fault> {
    let mut all = vec![];
    for run in &record.runs {
        all.extend(labels(run));
        all.extend(failure(record, run));
    }
    all.extend(parties(record));
    all.extend(slow(record));
    all.extend(grants(record));
    all.extend(spent(record));
    let (burnt, most) = burnt(record);
    if burnt > most {
        all.push(fault(Rule::Burnt, None, format!("{burnt} images burnt, {most} allowed")));
    }
    let kills = record.blows(Blow::Kill);
    if kills < record.least_kills {
        all.push(fault(Rule::Gentle, None, format!("{kills} kills, wanted {}", record.least_kills)));
    }
    if record.images() == 0 {
        all.push(fault(Rule::Gentle, None, "nothing was answered"));
    }
    all.extend(record.troubles.iter().map(|what| fault(Rule::Trouble, None, what)));
    all
}

/// Answers are the plain network's, one for each image.
fn labels(run: &Run) -> Option<Fault> {
    let wrong = run.answers.iter().zip(&run.wanted).position(|(a, w)| a != w);
    let (got, wanted) = (run.answers.len(), run.wanted.len());
    let what = match wrong {
        Some(at) => format!("image {at}: {} instead of {}", run.answers[at], run.wanted[at]),
        None if got > wanted => format!("{got} answers for {wanted} images"),
        None if got < wanted && run.fate == Fate::Exit(0) && run.verb == Verb::Infer => {
            format!("success with {got} answers for {wanted} images")
        }
        None => return None,
    };
    Some(fault(Rule::WrongLabel, run.to, format!("{}: {what}", run.owner)))
}

/// Owners fail for the loss of a party alone, and say of which.
fn failure(record: &Record, run: &Run) -> Option<Fault> {
    let told = |rule, what: &str| Some(fault(rule, run.to, format!("{} {what}: {}", run.owner, run.said)));
    if run.fate == Fate::Hung {
        return told(Rule::Hung, "said nothing any more");
    }
    let code = run.failure()?;
    if code == ExitCode::KeysMissing as i32 {
        return told(Rule::Downtime, "was refused for lack of keys");
    }
    if code == ExitCode::Internal as i32 || run.said.contains("please report") {
        return told(Rule::Internal, "was told of a mistake in the program");
    }
    if code == ExitCode::KeysSpent as i32 {
        return told(Rule::GrantedTwice, "was refused for spent keys");
    }
    let loss = [ExitCode::Unreachable as i32, ExitCode::PeerFailed as i32];
    match record.causes(run.from, run.to) {
        lost if lost.is_empty() => told(Rule::Unprovoked, &format!("failed ({code}) while both parties ran")),
        lost if !names(&run.said, &lost) => told(Rule::Nameless, &format!("failed ({code})")),
        _ if !loss.contains(&code) => told(Rule::WrongKind, &format!("failed ({code})")),
        _ => None,
    }
}

/// Whether a failure names one of the lost parties.
fn names(said: &str, lost: &[Outage]) -> bool {
    lost.iter().any(|o| said.contains(&format!("P{}", o.party)))
}

/// Parties end when they are killed or told to, and in no other way.
fn parties(record: &Record) -> Vec<Fault> {
    let mut all = vec![];
    for end in &record.ends {
        let me = format!("P{}", end.party);
        let code = end.code.map_or("a signal".into(), |code| format!("exit {code}"));
        let what = format!("{me} ended with {code}: {}", end.said);
        match end.blow {
            Blow::Itself => {
                let others = |o: &Outage| o.party != end.party;
                let lost: Vec<Outage> =
                    record.causes(end.at - SLOWEST, end.at).into_iter().filter(others).collect();
                if !lost.is_empty() && !names(&end.said, &lost) {
                    all.push(fault(Rule::Nameless, end.at, what.clone()));
                }
                all.push(fault(Rule::PartyEnded, end.at, what));
            }
            Blow::Stop if end.code != Some(0) => all.push(fault(Rule::Unclean, end.at, what)),
            _ => {}
        }
    }
    all
}

/// The longest time from a party's loss to the next answer or the end of a run that was under way, and in which run.
pub fn slowest(record: &Record) -> Option<(f64, &Run)> {
    let next = |run: &Run, from: f64| match run.answered.iter().copied().find(|at| *at > from) {
        None if run.fate == Fate::Killed => None,
        None => Some(run.to),
        at => at,
    };
    let mut worst: Option<(f64, &Run)> = None;
    for run in &record.runs {
        for outage in record.outages.iter().filter(|o| o.from <= run.to && run.from <= o.until) {
            let from = outage.from.max(run.from);
            let took = next(run, from).map_or(0.0, |at| at - from);
            if worst.is_none_or(|(w, _)| took > w) {
                worst = Some((took, run));
            }
        }
    }
    worst
}

fn slow(record: &Record) -> Option<Fault> {
    let (took, run) = slowest(record).filter(|(took, _)| *took > record.slowest)?;
    Some(fault(Rule::Slow, run.to, format!("{} heard nothing for {took:.1} s after a loss", run.owner)))
}

/// Within a key set no image is granted twice, whoever asks, and each owner's grants rise.
fn grants(record: &Record) -> Vec<Fault> {
    let mut all = vec![];
    let mut union: BTreeMap<&str, Vec<(u64, u64, &str)>> = BTreeMap::new();
    for (owner, granted) in &record.granted {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for g in granted {
            let end = last.entry(&g.set).or_default();
            if g.first < *end {
                let what = format!("{owner}: {}..{} of {} after {end}", g.first, g.end, g.set);
                all.push(fault(Rule::GrantsFell, None, what));
            }
            *end = g.end.max(*end);
            union.entry(&g.set).or_default().push((g.first, g.end, owner));
        }
    }
    for (set, mut ranges) in union {
        ranges.sort_unstable();
        for pair in ranges.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
            let what = format!("images {}.. of {set}: {} and {}", pair[1].0, pair[0].2, pair[1].2);
            all.push(fault(Rule::GrantedTwice, None, what));
        }
        let end = ranges.iter().map(|r| r.1).max().unwrap_or(0);
        for (me, sets) in record.sets.iter().enumerate() {
            let spent = sets.iter().find(|s| s.name == set).map(|s| s.spent);
            if spent.is_none_or(|spent| spent < end) {
                let what = format!("image {} of {set} was granted, P{me} has {spent:?} spent", end - 1);
                all.push(fault(Rule::GrantedUnspent, None, what));
            }
        }
    }
    all
}

/// Both parties hold the same key sets with the same number of spent images.
fn spent(record: &Record) -> Vec<Fault> {
    let names: BTreeSet<&str> = record.sets.iter().flatten().map(|s| s.name.as_str()).collect();
    let of = |me: usize, name: &str| record.sets[me].iter().find(|s| s.name == name).map(|s| s.spent);
    let show = |spent: Option<u64>| spent.map_or("no such set".to_owned(), |n| format!("{n} spent"));
    let check = |name: &str| {
        let (p0, p1) = (of(0, name), of(1, name));
        let what = || format!("{name}: P0 has {}, P1 {}", show(p0), show(p1));
        (p0 != p1).then(|| fault(Rule::UnequalSpent, None, what()))
    };
    names.into_iter().filter_map(check).collect()
}

/// Images spent without an answer, and the most there may be: each loss of a party costs what it had reserved and the
/// request under way, each owner that did not finish what it had asked for and was not answered, unless it was refused.
pub fn burnt(record: &Record) -> (u64, u64) {
    let spent = |sets: &[Set]| sets.iter().map(|s| s.spent).sum::<u64>();
    let spent = record.sets.iter().map(|sets| spent(sets)).max().unwrap_or(0);
    let largest = record.runs.iter().map(|run| run.batch).max().unwrap_or(0);
    let losses = record.outages.iter().filter(|o| o.blow != Blow::Suspend).count() as u64;
    let done = [Fate::Exit(0), Fate::Exit(ExitCode::KeysMissing as i32)];
    let unfinished = record.runs.iter().filter(|run| !done.contains(&run.fate));
    let lost: u64 = unfinished.map(|run| run.wanted.len().saturating_sub(run.answers.len()) as u64).sum();
    (spent.saturating_sub(record.images()), losses * (largest.max(RESERVED) + largest) + lost)
}

/// Seconds in which requests were refused for lack of keys, each from the refusal to the next answer to anybody.
pub fn downtime(record: &Record) -> f64 {
    let refused = record.runs.iter().filter(|run| run.failure() == Some(ExitCode::KeysMissing as i32));
    let answers: Vec<f64> = record.runs.iter().flat_map(|run| run.answered.iter().copied()).collect();
    let next = |at: f64| answers.iter().copied().filter(|a| *a >= at).min_by(f64::total_cmp);
    let (mut total, mut covered) = (0.0, 0.0f64);
    let mut spans: Vec<(f64, f64)> =
        refused.map(|run| (run.to, next(run.to).unwrap_or(record.seconds))).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (from, to) in spans {
        total += (to - from.max(covered)).max(0.0);
        covered = covered.max(to);
    }
    total
}

#[cfg(test)]
mod tests;
