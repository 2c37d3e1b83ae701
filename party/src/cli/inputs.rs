//! Images against what the plan was made for, before anybody is called.

use super::output::Output;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::Inputs;
use twoply_nn::Plan;
use twoply_nn::data::Kind;
use twoply_nn::inputs::{Doubt, Given, Grade, examine};

/// What images may be let through.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Admit {
    /// Go on with images beyond the plan's samples or on another scale: labels may be wrong
    #[arg(long)]
    pub allow_out_of_range: bool,
}

/// What images hold, where `normalised` says what floats are.
pub(super) fn given(inputs: &Inputs, normalised: bool) -> Given {
    match (inputs.kind, normalised) {
        (Kind::Bytes, _) => Given::Bytes,
        (Kind::Whole, _) => Given::Whole,
        (Kind::Floats, false) => Given::Floats,
        (Kind::Floats, true) => Given::Normalised,
    }
}

impl Admit {
    /// Refuses images that the plan was not made for, and warns of those that only look so. `flag` is what says that floats
    /// are `normalised`.
    ///
    /// # Errors
    /// 10 when values are beyond the samples' with the margin; 15 when they are certainly on another scale.
    pub(super) fn check(
        &self,
        plan: &Plan,
        inputs: &Inputs,
        (normalised, flag): (bool, &str),
        out: &Output,
    ) -> Result<(), Failure> {
        if normalised && inputs.kind != Kind::Floats {
            out.note(format_args!("the images are integers, which are raw: {flag} says nothing of them"));
        }
        if plan.ranges.is_none() {
            out.note("this plan knows no ranges: whether the images fit is not checked");
        }
        let Some(Doubt { grade, what, remedy }) =
            examine(plan, &inputs.values, given(inputs, normalised), flag, inputs.skipped)
        else {
            return Ok(());
        };
        let code = match grade {
            Grade::Beyond => ExitCode::Range,
            Grade::Certain => ExitCode::Model,
            Grade::Likely => {
                out.warn(format_args!("{what}; {remedy}"));
                return Ok(());
            }
        };
        if self.allow_out_of_range {
            out.warn(format_args!("{what}; labels may be wrong"));
            return Ok(());
        }
        let remedy = format!("{remedy}; --allow-out-of-range goes on, and labels may be wrong");
        Err(Failure::new(code, what).remedy(remedy).during(Phase::Import))
    }
}
