//! The data key sets of a run at a party: one per share of the plan, in order.

use super::wire::{Invitation, ToDealer};
use super::{COMPUTING, on};
use crate::deal::SET_KEY;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::private_dir;
use crate::transport::Link;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use twoply_nn::train::roles::data_origin;
use twoply_nn::train::{Held, Stored, TrainingPlan};
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::rows::{Data, DataSet, Whole};
use twoply_primitives::{Channel, KeySetId, PartyId, Seed};
use zeroize::Zeroizing;

/// Data key sets, each locked by whoever works on it.
pub struct Sets {
    /// Their names.
    pub ids: Vec<KeySetId>,
    all: Vec<Mutex<DataSet<FileFolder>>>,
}

/// Where data key sets are below a folder of runs.
pub fn data_root(dir: &Path) -> PathBuf {
    dir.join("data")
}

impl Sets {
    /// Opens those of an invitation; what is not there yet comes from the dealer, over its own link.
    pub fn open(
        (plan, me, dir): (&TrainingPlan, PartyId, &Path),
        invited: &Invitation,
        link: &mut Link,
    ) -> Result<Sets, Failure> {
        let root = data_root(dir);
        private_dir(&root)?;
        if invited.sets.len() != plan.shares.len() {
            let what = format!(
                "the dealer names {} data key sets, the plan has {} shares",
                invited.sets.len(),
                plan.shares.len()
            );
            return Err(Failure::new(ExitCode::PlanMismatch, what).with_peer(link.name()));
        }
        let here = |set: &KeySetId| root.join(set.to_string()).join("set.key").exists();
        let wants = (0u8..).zip(&invited.sets).filter(|(_, set)| !here(set)).map(|(at, _)| at);
        let wants: Vec<u8> = wants.collect();
        link.say(&ToDealer::Wants(wants.clone())).map_err(on(link))?;
        link.set_patience(COMPUTING);
        for at in wants {
            let page = Zeroizing::new(link.recv(SET_KEY).map_err(|e| Failure::on_link(e, link))?);
            let spec = plan.data_spec(at.into(), invited.sets[usize::from(at)])?;
            DataSet::receive(&root, me, &spec, &mut &page[..])?;
        }
        Sets::at((plan, me, dir), &invited.sets)
    }
    /// Opens those of these names, in order.
    pub fn at((plan, me, dir): (&TrainingPlan, PartyId, &Path), ids: &[KeySetId]) -> Result<Sets, Failure> {
        let root = data_root(dir);
        let open = |(at, set): (usize, &KeySetId)| -> Result<_, Failure> {
            Ok(Mutex::new(DataSet::open(&root, me, plan.data_spec(at, *set)?, false)?))
        };
        let all = ids.iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(Sets { ids: ids.to_vec(), all })
    }
    /// One of them.
    pub fn lock(&self, share: usize) -> Option<MutexGuard<'_, DataSet<FileFolder>>> {
        Some(self.all.get(share)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// All of them.
    pub fn lock_all(&self) -> Vec<MutexGuard<'_, DataSet<FileFolder>>> {
        self.all.iter().map(|set| set.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }
    /// Shares whose rows are not all here.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|at| self.lock(*at).is_some_and(|set| set.data().is_err())).collect()
    }
    /// What to compare with the peer.
    pub fn data(&self) -> Result<Vec<Data>, Failure> {
        Ok(self.lock_all().iter().map(|set| set.data()).collect::<Result<_, _>>()?)
    }
}

/// A party's rows of all shares but the start, from sets that are whole.
pub fn stored(
    plan: &TrainingPlan,
    sets: &[(&Whole<'_, FileFolder>, Seed)],
) -> Result<Vec<Held<Stored>>, Failure> {
    let mut all = vec![];
    for (at, (slice, (whole, seed))) in plan.slices()?.into_iter().zip(sets).enumerate() {
        let Some(slice) = slice else { continue };
        let set = whole.root().set();
        let chunks = plan.data_spec(at, set)?.cut.segments();
        let chunks = (0..chunks).map(|chunk| whole.chunk(chunk)).collect::<Result<_, _>>();
        let chunks = chunks.map_err(|e| Failure::from(e).during(Phase::Start))?;
        all.push(Held { slice, origin: data_origin(set), seed: Stored { seed: seed.clone(), chunks } });
    }
    Ok(all)
}
