//! `twoply train fetch`: the model's owner takes the trained model.

use super::ModelFiles;
use crate::cli::output::{Output, shell};
use crate::cli::places::Places;
use crate::client::Parties;
use crate::exit::Failure;
use crate::files::{Existing, read_training_plan};
use crate::identity::Identity;
use crate::train::{again, fetch};
use crate::transport::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::{Weights, with_ring};

/// Take the trained model: both parties' shares, joined here and nowhere else
///
/// Waits for the end of the run. Writes NAME.graph.json and NAME.weights.safetensors as `twoply import` does; the tensors have
/// the names of the imported model, so that PyTorch loads them as a state dictionary. A model with batch normalisations is written
/// once more as NAME.folded, which answers.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train fetch digits.train.json --out learnt --p0 p0.example:7700 --p0-key tp1-P0 --p1 \
    p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.train.json")]
    plan: PathBuf,
    /// Name of the files
    #[arg(long, value_name = "NAME")]
    out: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// How long the run may still take
    #[arg(long, value_name = "SECONDS", default_value = "86400")]
    wait: u64,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown<'a> {
    graph: &'a PathBuf,
    weights: &'a PathBuf,
    /// Graph and weights with batch normalisations folded, which answer; null where there are none.
    folded: Option<&'a [PathBuf; 2]>,
    /// Training steps that the model has behind it.
    step: u32,
    /// The attempt that made it.
    attempt: u32,
}

/// Fetches.
///
/// # Errors
/// 4, 5, 6, 14, 16: each named by its cause.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let plan = read_training_plan(&args.plan)?;
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let model = ModelFiles::new(&args.out, &plan.graph, existing)?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let (places, call) = args.places.read()?;
    let wait = Duration::from_secs(args.wait);
    out.note("waits for the end of the run");
    let id = again(
        wait,
        |why| out.note(why),
        || {
            let mut parties = Parties::connect(identity.clone(), Role::ModelOwner, &places, call)?;
            let save = |weights: &Weights| model.write(&plan.graph, weights);
            let waits = |since: Duration, name: &str| {
                let seconds = since.as_secs();
                out.note(format_args!(
                    "still waits for {name} to end the run, for {seconds} s now; parties and dealer say how far it is"
                ));
            };
            let id = with_ring!(plan.recipe.n, R => fetch::<R>(&plan, &mut parties, wait, waits, save)?);
            parties.close();
            Ok(id)
        },
    )?;
    let ([graph, weights], folded) = (&model.own, &model.folded);
    out.line(format_args!("{}: the model after step {}", shell(weights), id.step))?;
    if let Some([graph, _]) = folded {
        out.note(format_args!("{}: the same with its normalisations folded, to answer", shell(graph)));
    }
    out.result_json(&Shown { graph, weights, folded: folded.as_ref(), step: id.step, attempt: id.attempt })
}
