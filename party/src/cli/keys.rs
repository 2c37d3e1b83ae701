//! `twoply keys`: what a party's key folder holds, whether it is whole, and what can go.

mod receive;

use super::output::{Output, bytes, table};
use crate::exit::{ExitCode, Failure};
use crate::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use twoply_nn::Plan;
use twoply_preprocessing::{Blame, DAMAGED, KeyDir, Layout, PlanDigest, SegmentState, Summary};
use twoply_primitives::{KeySetId, PartyId};

/// List, verify, clean or receive a party's keys
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply keys ls --keys keys/p0 --role 0")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List key sets: images dealt, spent, burnt and left, sizes, segments
    #[command(after_help = "Example:\n  twoply keys ls --keys keys/p0 --role 0")]
    Ls(Place),
    /// Read every unspent segment to the last tile; exit 9 with every file that is damaged
    #[command(after_help = "Example:\n  twoply keys verify --keys keys/p0 --role 0 --plan digits.plan.json")]
    Verify(Checked),
    /// Erase segments whose images are all spent, and what killed writers left
    #[command(after_help = "Example:\n  twoply keys gc --keys keys/p0 --role 0")]
    Gc(Place),
    /// Take keys from a dealer over the network, then end
    Receive(receive::Args),
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Folder of this party's key sets
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Which party: 0 or 1
    #[arg(long = "role", alias = "party", value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    party: u8,
}

#[derive(Clone, Debug, clap::Args)]
struct Checked {
    #[command(flatten)]
    place: Place,
    /// The plan: it says how long everything must be
    #[arg(long, value_name = "PLAN.json")]
    plan: PathBuf,
}

impl Place {
    fn open(&self) -> Result<KeyDir, Failure> {
        Ok(KeyDir::open(&self.keys, party(self.party))?)
    }
}

/// The party of a number that clap has checked.
fn party(number: u8) -> PartyId {
    PartyId::BOTH[usize::from(number.min(1))]
}

/// Does what the verb says.
///
/// # Errors
/// 8 when the folder is missing, 9 when keys are damaged, foreign or another party's, 16 when the system refuses.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    match args.verb {
        Verb::Ls(place) => list(&place, out),
        Verb::Verify(checked) => verify(&checked, out),
        Verb::Gc(place) => gc(&place, out),
        Verb::Receive(args) => receive::run(args, out),
    }
}

/// A key set in a listing.
#[derive(Serialize)]
struct Listed {
    key_set: String,
    plan: String,
    insecure_test_seed: bool,
    /// The trained weights that it is for; null where weights are provisioned.
    trained: Option<String>,
    /// Images of the whole key set.
    images: u64,
    /// Images spent, used or not.
    spent: u64,
    /// Of these, images that are not known to have been used.
    burnt: u64,
    /// Images not spent.
    left: u64,
    /// Images not spent whose segment is there.
    ready: u64,
    bytes: u64,
    segments: Vec<Segment>,
    /// Incomplete files.
    partial: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Segment {
    segment: u32,
    images: u64,
    state: &'static str,
    bytes: u64,
}

fn state(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Ready => "ready",
        SegmentState::Spent => "spent",
        SegmentState::Erased => "erased",
        SegmentState::Missing => "missing",
    }
}

impl From<Summary> for Listed {
    fn from(summary: Summary) -> Self {
        let segment = |s: &twoply_preprocessing::SegmentInfo| Segment {
            segment: s.segment,
            images: s.images,
            state: state(s.state),
            bytes: s.bytes,
        };
        Listed {
            key_set: summary.key_set.to_string(),
            plan: summary.plan.to_string(),
            insecure_test_seed: summary.insecure,
            trained: summary.trained.map(|trained| trained.to_string()),
            images: summary.images,
            spent: summary.spent,
            burnt: summary.burnt,
            left: summary.left(),
            ready: summary.ready,
            bytes: summary.bytes,
            segments: summary.segments.iter().map(segment).collect(),
            partial: summary.partial,
        }
    }
}

/// The key sets of a folder that began completely; `None` stands for what a dealer left that was killed at once.
pub(super) fn summaries(dir: &KeyDir) -> Result<Vec<Summary>, Failure> {
    let mut all = Vec::new();
    for id in dir.key_sets()? {
        match dir.summary(id) {
            Err(e) if e.blame() == Blame::Short && !dir.path(id).join("set.key").exists() => {}
            summary => all.push(summary?),
        }
    }
    Ok(all)
}

fn list(place: &Place, out: &Output) -> Result<(), Failure> {
    let dir = place.open()?;
    let sets: Vec<Listed> = summaries(&dir)?.into_iter().map(Listed::from).collect();
    let head = ["key set", "plan", "images", "spent", "burnt", "left", "ready", "size", "segments"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for set in &sets {
        let count = |state: &str| set.segments.iter().filter(|s| s.state == state).count();
        let states = ["ready", "missing", "spent", "erased"];
        let counts = states.iter().map(|&s| (count(s), s)).filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, s)| format!("{n} {s}")).collect();
        let numbers = [set.images, set.spent, set.burnt, set.left, set.ready].map(|n| n.to_string());
        let mut row = vec![set.key_set.clone(), set.plan.clone()];
        row.extend(numbers);
        row.extend([bytes(set.bytes), counts.join(", ")]);
        rows.push(row);
    }
    match sets.len() {
        0 => out.line(format_args!("no key sets in {}", place.keys.display()))?,
        _ => out.line(table(&rows))?,
    }
    for (set, trained) in sets.iter().filter_map(|set| Some((set, set.trained.as_ref()?))) {
        out.line(format_args!("key set {} is for the weights of {trained}", set.key_set))?;
    }
    for set in sets.iter().filter(|set| set.insecure_test_seed) {
        out.warn(format_args!(
            "key set {} is from --insecure-test-seed: worth nothing as a secret",
            set.key_set
        ));
    }
    #[derive(Serialize)]
    struct Shown {
        party: u8,
        key_sets: Vec<Listed>,
    }
    out.result_json(&Shown { party: place.party, key_sets: sets })
}

/// A segment that `verify` has read.
#[derive(Serialize)]
struct Verified {
    key_set: String,
    segment: u32,
    /// Null if it is whole.
    fault: Option<String>,
}

fn verify(checked: &Checked, out: &Output) -> Result<(), Failure> {
    let plan = files::read_plan(&checked.plan)?;
    let dir = checked.place.open()?;
    let (digest, mut segments, mut others) = (plan.digest()?, Vec::new(), Vec::new());
    for summary in summaries(&dir)? {
        if summary.plan == digest {
            segments.extend(verify_set(&dir, summary.key_set, &plan)?);
        } else {
            others.push(summary.key_set.to_string());
        }
    }
    for id in &others {
        out.note(format_args!("key set {id} is for another plan and was not read"));
    }
    let faults: Vec<&String> = segments.iter().filter_map(|s| s.fault.as_ref()).collect();
    for fault in &faults {
        out.line(fault)?;
    }
    let (good, bad) = (segments.len() - faults.len(), faults.len());
    out.line(format_args!("{good} segments are whole, {bad} are damaged"))?;
    #[derive(Serialize)]
    struct Shown<'a> {
        segments: &'a [Verified],
        not_read: &'a [String],
    }
    out.result_json(&Shown { segments: &segments, not_read: &others })?;
    if segments.is_empty() {
        let what = format!("{} holds no unspent segments for plan {digest}", checked.place.keys.display());
        return Err(Failure::new(ExitCode::KeysMissing, what));
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(ExitCode::KeysSpent, format!("{bad} key files are damaged")).remedy(DAMAGED)),
    }
}

fn verify_set(dir: &KeyDir, id: KeySetId, plan: &Plan) -> Result<Vec<Verified>, Failure> {
    // Test seeds are accepted: whether they may be used is another question.
    let set = dir.key_set(id, plan.digest()?, plan.layout(), true)?;
    let verified = |(segment, result): (u32, twoply_preprocessing::Result<()>)| match result {
        Ok(()) => Ok(Verified { key_set: id.to_string(), segment, fault: None }),
        // The system's refusal says nothing about the keys.
        Err(e) if e.blame() == Blame::Local => Err(Failure::from(e)),
        Err(e) => Ok(Verified { key_set: id.to_string(), segment, fault: Some(e.to_string()) }),
    };
    set.verify()?.into_iter().map(verified).collect()
}

/// What `gc` did in a key set.
#[derive(Serialize)]
struct Cleaned {
    key_set: String,
    erased: Vec<u32>,
    in_use: Vec<u32>,
    partial: Vec<PathBuf>,
}

fn gc(place: &Place, out: &Output) -> Result<(), Failure> {
    let dir = place.open()?;
    let mut all = Vec::new();
    for summary in summaries(&dir)? {
        let (id, cleaned) = (summary.key_set, clean(&dir, summary.key_set, summary.plan)?);
        out.line(format_args!(
            "key set {id}: {} segments erased, {} incomplete files removed",
            cleaned.erased.len(),
            cleaned.partial.len()
        ))?;
        all.push(cleaned);
    }
    if all.is_empty() {
        out.line(format_args!("no key sets in {}", place.keys.display()))?;
    }
    #[derive(Serialize)]
    struct Shown {
        key_sets: Vec<Cleaned>,
    }
    out.result_json(&Shown { key_sets: all })
}

fn clean(dir: &KeyDir, id: KeySetId, plan: PlanDigest) -> Result<Cleaned, Failure> {
    // Erasing opens no segment, so no layout is needed.
    let set = dir.key_set(id, plan, Layout::default(), true)?;
    let done = set.gc(&set.ledger()?)?;
    Ok(Cleaned { key_set: id.to_string(), erased: done.erased, in_use: done.in_use, partial: done.partial })
}

/// Creates a key folder that only this user may enter.
fn key_dir(path: &Path, party: PartyId) -> Result<KeyDir, Failure> {
    files::private_dir(path)?;
    Ok(KeyDir::open(path, party)?)
}
