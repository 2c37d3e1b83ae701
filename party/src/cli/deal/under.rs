//! `twoply deal --trained`: keys for the weights that a training run ended with.

use crate::cli::output::Output;
use crate::exit::{ExitCode, Failure};
use crate::files::read_training_plan;
use crate::train::trained;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twoply_nn::Plan;
use twoply_preprocessing::run::RunId;
use twoply_preprocessing::{TrainedMasks, parse_key_set};

/// Flags of a dealer that goes on where training ended.
#[derive(Clone, Debug, clap::Args)]
pub struct Under {
    /// Deal for the weights that a run of this training plan ended with, under the mask that they have; PLAN.json is from
    /// `twoply plan --trained`
    #[arg(long, value_name = "PLAN.train.json", conflicts_with_all = ["follow", "insecure_test_seed"])]
    trained: Option<PathBuf>,
    /// Which run, where several have ended
    #[arg(long, value_name = "RUN", requires = "trained")]
    run: Option<String>,
}

impl Under {
    /// The mask of the trained weights, if keys are for such; `runs` is the dealer's folder.
    ///
    /// # Errors
    /// 2 for flags that do not go together, and as [`trained`].
    pub(super) fn masks(
        &self,
        plan: &Plan,
        runs: Option<&Path>,
        out: &Output,
    ) -> Result<Option<Arc<TrainedMasks>>, Failure> {
        let Some(path) = &self.trained else {
            let alone = || Failure::new(ExitCode::Usage, "--runs says nothing without --follow or --trained");
            return runs.map_or(Ok(None), |_| Err(alone().remedy("add one of them, or leave --runs out")));
        };
        let wrong = |text: &String| {
            let what = format!("`{text}` is no name of a run");
            Failure::new(ExitCode::Usage, what).remedy("take it from `twoply train status`")
        };
        let run = self.run.as_ref().map(|text| parse_key_set(text).ok_or_else(|| wrong(text))).transpose()?;
        let training = read_training_plan(path)?;
        let dir = runs.map_or_else(|| Ok(out.home()?.join("train")), |dir| Ok::<_, Failure>(dir.into()))?;
        Ok(Some(Arc::new(trained((&training, plan), &dir, run.map(|id| RunId(id.0)))?)))
    }
}
