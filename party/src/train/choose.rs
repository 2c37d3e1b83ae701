//! What a dealer begins with: a run, and a data key set for each of its shares; of a new run, or of one that has not ended.

use super::dealer::Dealing;
use super::run_spec;
use super::sets::data_root;
use crate::exit::{ExitCode, Failure};
use crate::files::private_dir;
use std::path::{Path, PathBuf};
use twoply_nn::train::Step;
use twoply_nn::train::roles::{Dealer, data_origin};
use twoply_preprocessing::rows::DataSet;
use twoply_preprocessing::run::{CheckpointId, DealerRun, RunId, RunInfo, survey};
use twoply_preprocessing::{Error as Keys, SeedSource, parse_key_set};
use twoply_primitives::{Backend, KeySetId, PartyId, Seed};

/// A data key set at the dealer: name and both seeds.
pub type Set = (KeySetId, [Seed; 2]);

/// A run to deal for.
pub struct Chosen {
    /// Its name.
    pub run: RunId,
    /// Its data key sets.
    pub sets: Vec<Set>,
    /// Its end, if it has ended, perhaps just before this process was started again.
    pub ended: Option<CheckpointId>,
}

/// The folder of runs.
pub fn runs(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = dir.join("runs");
    private_dir(&dir)?;
    Ok(dir)
}

/// The run to deal for: a new one, or one that has not ended; where there is none to go on with, the last one that has.
pub fn choose<B: Backend>(dealing: &Dealing, step: &Step, dev: &B) -> Result<Chosen, Failure> {
    let (plan, root) = (&dealing.plan, runs(&dealing.dir)?);
    let open = |info: &RunInfo| {
        let fits = info.end.is_none() && info.sets.len() == plan.shares.len();
        let spec = run_spec(plan, info.run, &info.sets).ok().filter(|_| fits)?;
        match DealerRun::open(&root, spec) {
            Ok(_) => Some(Ok(info.clone())),
            Err(Keys::OtherTerms { .. }) => None,
            Err(e) => Some(Err(Failure::from(e))),
        }
    };
    let unended = survey(&root)?.iter().filter_map(open).next().transpose()?;
    match (unended, dealing.resume) {
        (Some(info), true) => {
            let sets = sets(dealing, &info)?;
            begin(dealing, step, dev, info.run, &sets)?;
            Ok(Chosen { run: info.run, sets, ended: None })
        }
        (None, true) => {
            if let Some(info) = ended(dealing)? {
                return Ok(Chosen { run: info.run, sets: sets(dealing, &info)?, ended: info.end });
            }
            let what = format!("{}: no run of this plan", root.display());
            Err(Failure::new(ExitCode::KeysMissing, what).remedy("begin one, without --resume"))
        }
        (Some(info), false) => {
            let path = root.join(info.run.to_string());
            let what = format!("run {} of this plan has not ended", info.run);
            let remedy = format!("go on with it (--resume), or give it up by removing {}", path.display());
            Err(Failure::new(ExitCode::Config, what).remedy(remedy))
        }
        (None, false) => {
            let (run, mut sets) = (RunId::draw()?, vec![]);
            for share in 0..plan.shares.len() {
                sets.push(match known(dealing, share)? {
                    Some(set) => set,
                    None => new_set(dealing, share)?,
                });
            }
            begin(dealing, step, dev, run, &sets)?;
            Ok(Chosen { run, sets, ended: None })
        }
    }
}

/// The run of this plan that ended last, if there is one.
fn ended(dealing: &Dealing) -> Result<Option<RunInfo>, Failure> {
    let (plan, root) = (&dealing.plan, runs(&dealing.dir)?);
    let mut found = None;
    for info in survey(&root)? {
        if info.end.is_none() || info.sets.len() != plan.shares.len() {
            continue;
        }
        match DealerRun::open(&root, run_spec(plan, info.run, &info.sets)?) {
            Ok(_) => {}
            Err(Keys::OtherTerms { .. }) => continue,
            Err(e) => return Err(e.into()),
        }
        let path = root.join(info.run.to_string()).join("ledger");
        let when = path.metadata().and_then(|m| m.modified());
        let when = when.map_err(|e| Failure::io("read", path.display(), &e))?;
        if found.as_ref().is_none_or(|(last, _)| *last < when) {
            found = Some((when, info));
        }
    }
    Ok(found.map(|(_, info)| info))
}

/// The data key sets of a run that is here.
fn sets(dealing: &Dealing, info: &RunInfo) -> Result<Vec<Set>, Failure> {
    let sets = info.sets.iter().enumerate();
    sets.map(|(at, set)| Ok((*set, seeds(dealing, at, *set)?))).collect()
}

/// Begins a run, unless it has begun: a process may have been killed between its ledger and its first masks.
fn begin<B: Backend>(
    dealing: &Dealing,
    step: &Step,
    dev: &B,
    run: RunId,
    sets: &[Set],
) -> Result<(), Failure> {
    let (plan, root) = (&dealing.plan, runs(&dealing.dir)?);
    let ids: Vec<_> = sets.iter().map(|(set, _)| *set).collect();
    let start = plan.start().map(|share| (data_origin(sets[share].0), &sets[share].1));
    let masks = Dealer::begin(dev.clone(), step, vec![], start).masks()?;
    match DealerRun::create(&root, &run_spec(plan, run, &ids)?, CheckpointId::START, &masks) {
        Ok(()) | Err(Keys::Exists { .. }) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The folders of both parties' halves of data key sets.
pub fn halves(dealing: &Dealing) -> Result<[PathBuf; 2], Failure> {
    let root = data_root(&dealing.dir);
    private_dir(&root)?;
    let halves = ["p0", "p1"].map(|half| root.join(half));
    halves.iter().try_for_each(|half| private_dir(half))?;
    Ok(halves)
}

fn seeds(dealing: &Dealing, share: usize, set: KeySetId) -> Result<[Seed; 2], Failure> {
    let (halves, spec) = (halves(dealing)?, dealing.plan.data_spec(share, set)?);
    let seed = |party: PartyId| -> Result<Seed, Failure> {
        Ok(DataSet::open(&halves[party.index()], party, spec.clone(), false)?.seed()?)
    };
    Ok([seed(PartyId::P0)?, seed(PartyId::P1)?])
}

/// The newest data key set of an earlier run for the same rows, unless its owner's are to be masked anew.
fn known(dealing: &Dealing, share: usize) -> Result<Option<Set>, Failure> {
    if dealing.anew.contains(&dealing.plan.shares[share].owner) {
        return Ok(None);
    }
    let [p0, _] = halves(dealing)?;
    let list = |e| Failure::io("list", p0.display(), &e);
    let mut found = None;
    for entry in std::fs::read_dir(&p0).map_err(list)? {
        let entry = entry.map_err(list)?;
        let Some(set) = entry.file_name().to_str().and_then(parse_key_set) else { continue };
        match seeds(dealing, share, set) {
            Ok(seeds) => {
                let made = entry.metadata().and_then(|m| m.modified()).map_err(list)?;
                if found.as_ref().is_none_or(|(newest, _)| *newest < made) {
                    found = Some((made, (set, seeds)));
                }
            }
            Err(e) if e.code() == ExitCode::System => return Err(e),
            // of other rows, retired, or half made by a process that was killed
            Err(_) => {}
        }
    }
    Ok(found.map(|(_, set)| set))
}

fn new_set(dealing: &Dealing, share: usize) -> Result<Set, Failure> {
    let set = SeedSource::Os.key_set()?;
    let (halves, spec) = (halves(dealing)?, dealing.plan.data_spec(share, set)?);
    let make = |party: PartyId| -> Result<Seed, Failure> {
        let seed = SeedSource::Os.seed(party, None)?;
        DataSet::create(&halves[party.index()], party, &spec, &seed, false)?;
        Ok(seed)
    };
    Ok((set, [make(PartyId::P0)?, make(PartyId::P1)?]))
}
