//! `twoply train`: private training, as far as one machine goes: its plan, and a rehearsal of it.

mod check;
mod data;
mod page;
mod plan;
mod recipe;

use super::output::Output;
use crate::exit::Failure;

/// Plan a private training run, and rehearse it on public data
///
/// Two parties train a network on inputs, labels and weights that neither sees: nothing is opened but masked values. A plan says
/// what a run will do and cost; a check trains public data three times, in floating point, in fixed point and between two parties
/// in this process.
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
}

/// Plans or checks.
///
/// # Errors
/// Those of the verb.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    match args.verb {
        Verb::Plan(args) => plan::run(args, out),
        Verb::Check(args) => check::run(args, out),
    }
}
