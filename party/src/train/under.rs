//! The dealer of inference under the training mask: the mask of the weights that a run ended with, from its folder.

use super::run_spec;
use crate::exit::{ExitCode, Failure, Phase};
use std::path::Path;
use twoply_nn::Plan;
use twoply_nn::train::TrainingPlan;
use twoply_preprocessing::run::{DealerRun, RunId, RunInfo, survey};
use twoply_preprocessing::{Error as Keys, FileFolder, TrainedMasks};

/// The mask of what a run of `training` ended with, below the dealer's folder `dir`, for keys of `plan`. Without `run` there must be
/// one alone. That it is used is noted in the run's ledger.
///
/// # Errors
/// 6 where the plans do not belong together; 8 where no such run has ended here, 2 where several have.
pub fn trained(
    (training, plan): (&TrainingPlan, &Plan),
    dir: &Path,
    run: Option<RunId>,
) -> Result<TrainedMasks, Failure> {
    find((training, plan), dir, run).map_err(|failure| failure.during(Phase::Deal))
}

fn find(
    (training, plan): (&TrainingPlan, &Plan),
    dir: &Path,
    named: Option<RunId>,
) -> Result<TrainedMasks, Failure> {
    training.fits(plan).map_err(|e| {
        Failure::new(ExitCode::PlanMismatch, e.to_string())
            .remedy("`twoply plan --trained` makes the plan that fits")
    })?;
    let root = dir.join("runs");
    let open = |info: &RunInfo| -> Result<Option<DealerRun<FileFolder>>, Failure> {
        if info.sets.len() != training.shares.len() || named.is_some_and(|run| run != info.run) {
            return Ok(None);
        }
        match DealerRun::open(&root, run_spec(training, info.run, &info.sets)?) {
            Ok(run) => Ok(Some(run)),
            Err(Keys::OtherTerms { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    };
    let (mut ended, mut open_runs) = (vec![], vec![]);
    for info in survey(&root)? {
        if let Some(run) = open(&info)? {
            if info.end.is_some() { ended.push((info.run, run)) } else { open_runs.push(info.run) }
        }
    }
    let names = |runs: &[RunId]| runs.iter().map(RunId::to_string).collect::<Vec<_>>().join(", ");
    match (&mut ended[..], &open_runs[..]) {
        ([(_, run)], _) => {
            let what = format!("inference for plan {}", plan.digest()?);
            Ok(run.trained(&what)?)
        }
        ([], []) => {
            let what = format!("{}: no run of this training plan is here", root.display());
            let remedy = "name the folder that `twoply deal --follow` dealt in with --runs, and the plan that it dealt for";
            Err(Failure::new(ExitCode::KeysMissing, what).remedy(remedy))
        }
        ([], going) => {
            let what =
                format!("{}: run {} has not ended: its weights still move", root.display(), names(going));
            Err(Failure::new(ExitCode::KeysMissing, what)
                .remedy("go on with it (`twoply deal --follow --resume`) until it has"))
        }
        (several, _) => {
            let runs: Vec<_> = several.iter().map(|(run, _)| *run).collect();
            let what = format!("{} runs of this training plan have ended here: {}", runs.len(), names(&runs));
            Err(Failure::new(ExitCode::Usage, what).remedy("name one of them with --run"))
        }
    }
}
