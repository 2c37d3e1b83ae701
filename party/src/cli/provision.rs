//! `twoply provision`: the model owner opens its weights to both parties, masked.

use super::output::Output;
use super::places::Places;
use super::stop::Stop;
use crate::client::Parties;
use crate::exit::{Failure, Phase};
use crate::files::{read_plan, read_weights};
use crate::identity::Identity;
use crate::provision::provision;
use crate::transport::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use twoply_nn::{fit, with_ring};
use twoply_primitives::KeySetId;

/// Open the model's weights to both parties, masked; neither sees them
///
/// Once per key set, for all that both parties have, those in reserve too: the parties keep the masked weights, and need not
/// be started again. Doing it again with the same weights is harmless; other weights need a new deal.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply provision digits.plan.json --weights digits.weights.safetensors --p0 p0.example:7700 \
    --p0-key tp1-P0 --p1 p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// The private weights
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Record of bound weight masks [default: bound in the home folder]
    #[arg(long, value_name = "FILE")]
    bound: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown {
    /// Key sets of which both parties hold the masked weights.
    key_sets: Vec<String>,
    /// Key sets that only one of the parties has: nothing was opened for them.
    alone: Vec<String>,
}

/// Opens the weights.
///
/// # Errors
/// 4, 5, 6, 9, 10, 14, 15: each named by its cause.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let stop = Stop::watch()?;
    stop.obey(open(args, out, &stop), out)
}

fn open(args: Args, out: &Output, stop: &Stop) -> Result<(), Failure> {
    let plan = read_plan(&args.plan)?;
    let weights = read_weights(&args.weights, &plan.graph)?;
    // Before anyone is called: weights that do not fit would bind nothing.
    fit::parameters(&plan.graph, &weights, plan.options.scale())
        .map_err(|e| Failure::from(e).during(Phase::Provision))?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let record = match &args.bound {
        Some(path) => path.clone(),
        None => out.home()?.join("bound"),
    };
    let (places, call) = args.places.read()?;
    let mut parties = stop.connect(|| Parties::connect(identity, Role::ModelOwner, &places, call))?;
    let said = |set| out.note(format_args!("key set {set}: both parties hold the masked weights"));
    let done = with_ring!(plan.options.fixed.n, R => {
        provision::<R>((&plan, &weights), &mut parties, &record, said)?
    });
    parties.close();
    stop.left();
    for (set, party) in &done.alone {
        out.warn(format_args!("key set {set} is at P{party} only; give its other half to the other party"));
    }
    match &done.key_sets[..] {
        [set] => out.line(format_args!("both parties hold the masked weights of key set {set}"))?,
        sets => out.line(format_args!("both parties hold the masked weights of {} key sets", sets.len()))?,
    }
    let names = |ids: Vec<KeySetId>| ids.iter().map(KeySetId::to_string).collect();
    let alone = names(done.alone.iter().map(|(id, _)| *id).collect());
    out.result_json(&Shown { key_sets: names(done.key_sets), alone })
}
