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
mod watch;

pub(super) use data::{Data, targets};
pub(super) use plan::start;

use super::output::Output;
use crate::exit::Failure;
use crate::files::{self, Existing};
use crate::train::Range;
use std::path::{Path, PathBuf};
use twoply_nn::graph::Op;
use twoply_nn::import::folded;
use twoply_nn::{Graph, Weights};

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
    Watch(watch::Args),
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
        Verb::Watch(args) => watch::run(args, out),
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

/// The files of a model, as `twoply import` names them; where it has batch normalisations also those of the folded one, which
/// answers.
struct ModelFiles {
    own: [PathBuf; 2],
    folded: Option<[PathBuf; 2]>,
    existing: Existing,
}

impl ModelFiles {
    /// Those of a model called `name`.
    ///
    /// # Errors
    /// 16 where one exists that must be kept.
    fn new(name: &Path, graph: &Graph, existing: Existing) -> Result<Self, Failure> {
        let files = |more: &str| {
            [".graph.json", ".weights.safetensors"]
                .map(|end| PathBuf::from(format!("{}{more}{end}", name.display())))
        };
        let norms = graph.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. }));
        let (own, folded) = (files(""), norms.then(|| files(".folded")));
        own.iter().chain(folded.iter().flatten()).try_for_each(|path| files::vacant(path, existing))?;
        Ok(ModelFiles { own, folded, existing })
    }
    /// Writes them.
    ///
    /// # Errors
    /// 16 when the system refuses.
    fn write(&self, graph: &Graph, weights: &Weights) -> Result<(), Failure> {
        let write = |[graph_path, weights_path]: &[PathBuf; 2], graph: &Graph, weights: &Weights| {
            files::write_public(graph_path, graph.to_json().as_bytes(), self.existing)?;
            files::write_private(weights_path, &weights.to_safetensors(graph)?, self.existing)
        };
        write(&self.own, graph, weights)?;
        match &self.folded {
            Some(paths) => {
                let folded = folded(graph, weights)?;
                write(paths, &folded.graph, &folded.weights)
            }
            None => Ok(()),
        }
    }
}
