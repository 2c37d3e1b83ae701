//! `twoply train`: private training: its plan, a rehearsal of it, its parties, the model that comes out.

mod check;
mod data;
mod fetch;
mod page;
mod plan;
mod recipe;
mod run;
mod shares;
mod status;

pub(super) use data::{Data, targets};
pub(super) use plan::start;

use super::output::Output;
use crate::exit::Failure;
use crate::train::Range;
use std::path::{Path, PathBuf};

/// Train a network privately: plan, rehearse, run
///
/// Two parties train a network on inputs, labels and weights that neither sees: nothing is opened but masked values. A plan says
/// what a run will do and cost; a check trains public data three times, in floating point, in fixed point and between two parties
/// in this process. A run takes two parties (`run`), a dealer (`twoply deal --follow`), owners of data (`twoply share`) and the
/// model's owner (`fetch`), each on a machine of its own; `twoply demo --train` shows them all on one.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train plan digits.graph.json --rows 450 --batch 32 --rate 1/32 --samples \
    examples/digits/digits-images.idx --labels examples/digits/digits-labels.idx"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    Plan(plan::Args),
    Check(check::Args),
    Run(run::Args),
    Resume(run::Resume),
    Status(status::Args),
    Fetch(fetch::Args),
}

/// Does what the verb says.
///
/// # Errors
/// Those of the verb.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    match args.verb {
        Verb::Plan(args) => plan::run(args, out),
        Verb::Check(args) => check::run(args, out),
        Verb::Run(args) => run::run(args, out),
        Verb::Resume(args) => run::resume(args, out),
        Verb::Status(args) => status::run(args, out),
        Verb::Fetch(args) => fetch::run(args, out),
    }
}

/// Says ranges of steps on standard error.
pub(super) fn told(out: &Output) -> impl FnMut(&Range) {
    move |range| {
        let ahead = range.key_bytes_ahead.map(|n| format!(", {} of keys ahead", super::output::bytes(n)));
        out.note(format_args!(
            "step {} of {}, epoch {}: {:.1} steps/s, {:.0} s left{}",
            range.to,
            range.of,
            range.epoch,
            range.steps_per_second,
            range.seconds_left,
            ahead.unwrap_or_default()
        ));
    }
}

/// The files of a model called `name`, as `twoply import` names them.
fn model_files(name: &Path) -> [PathBuf; 2] {
    [".graph.json", ".weights.safetensors"].map(|end| PathBuf::from(format!("{}{end}", name.display())))
}
