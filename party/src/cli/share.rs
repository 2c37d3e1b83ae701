//! `twoply share`: an owner brings its part of a training run's data.

use super::output::{Output, bytes};
use super::places::Places;
use super::train::targets;
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{read_images, read_training_plan, read_weights};
use crate::identity::Identity;
use crate::train::{Offering, again, bring};
use crate::transport::Role;
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::graph::{Input, Normalise};
use twoply_nn::train::{Slice, Step, TrainingPlan, index_digest};
use twoply_nn::with_ring;

/// Bring your part of a training run's data, masked: rows, columns, or the weights to begin with
///
/// Masked once, for all epochs and runs that use it; neither party sees it. What leaves is written down before, so that the same
/// command goes on after a crash of anybody. Columns of several owners are aligned by an index that they agree on.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply share digits.train.json --as data --samples examples/digits/digits-images.idx --labels \
    examples/digits/digits-labels.idx --p0 p0.example:7700 --p0-key tp1-P0 --p1 p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.train.json")]
    plan: PathBuf,
    /// Name of this share in the plan
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Inputs: a file or folder, as `twoply infer --help` lists them; of columns, only those of this share
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// The inputs are floats that are normalised already
    #[arg(long, requires = "samples")]
    samples_normalised: bool,
    /// Their classes: integers of NPY, NPZ or IDX, or a number a line [default: those that the inputs carry]
    #[arg(long, value_name = "FILE", requires = "samples")]
    labels: Option<PathBuf>,
    /// Values to learn instead of classes, a row for every input
    #[arg(long, value_name = "FILE", requires = "samples", conflicts_with = "labels")]
    targets: Option<PathBuf>,
    /// Only the first N inputs
    #[arg(long, value_name = "N", requires = "samples", conflicts_with = "index")]
    limit: Option<usize>,
    /// Weights to begin with
    #[arg(long, value_name = "FILE", conflicts_with = "samples")]
    weights: Option<PathBuf>,
    /// The order of rows that all owners agree on: a file of one name a line, that of the plan
    #[arg(long, value_name = "FILE", requires = "ids")]
    index: Option<PathBuf>,
    /// Names of this owner's rows, one a line, in the order of its inputs
    #[arg(long, value_name = "FILE", requires = "index")]
    ids: Option<PathBuf>,
    /// How long to go on when a party is lost
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    wait: u64,
    /// Folder of what was masked [default: rows in the home folder]
    #[arg(long, value_name = "DIR")]
    rows: Option<PathBuf>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown {
    /// The data key set.
    key_set: String,
    rows: u64,
    /// Bytes that left for each party by this call.
    bytes: u64,
    /// Whether both parties had all of it before.
    known: bool,
}

fn unfit(what: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Model, what).during(Phase::Import)
}

/// Brings a share.
///
/// # Errors
/// 2 and 15 for what cannot be read or does not fit, 10 for inputs that are too large: then nobody was called; 9 where the parties have
/// other rows; 4, 5, 6, 14 for the parties.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let plan = read_training_plan(&args.plan)?;
    let share = plan.shares.iter().position(|s| s.owner == args.name).ok_or_else(|| {
        let names: Vec<_> = plan.shares.iter().map(|s| s.owner.as_str()).collect();
        let what = format!("the plan has no share `{}`", args.name);
        Failure::new(ExitCode::Usage, what).remedy(format!("choose --as from {}", names.join(", ")))
    })?;
    let offering = offering(&args, &plan, share)?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let dir = args.rows.clone().map_or_else(|| Ok(out.home()?.join("rows")), Ok::<_, Failure>)?;
    let (places, call) = args.places.read()?;
    let total = plan.slices()?[share].as_ref().map_or(1, |slice| slice.rows.end - slice.rows.start);
    let mut progress = out.progress("rows at both parties", total);
    let brought = again(
        Duration::from_secs(args.wait),
        |why| out.note(why),
        || {
            let mut parties = Parties::connect(identity.clone(), Role::Client, &places, call)?;
            let told = |done: u64| progress.at(done);
            let ours = (&plan, share);
            let brought =
                with_ring!(plan.recipe.n, R => bring::<R>(ours, &offering, &mut parties, &dir, told)?);
            parties.close();
            Ok(brought)
        },
    )?;
    drop(progress);
    let rows = brought.rows;
    out.line(match brought.known {
        true => format!("both parties had all of `{}` before", args.name),
        false => format!(
            "both parties have {rows} rows of `{}`; {} left for each",
            args.name,
            bytes(brought.bytes)
        ),
    })?;
    let (key_set, bytes, known) = (brought.set.to_string(), brought.bytes, brought.known);
    out.result_json(&Shown { key_set, rows, bytes, known })
}

fn offering(args: &Args, plan: &TrainingPlan, share: usize) -> Result<Offering, Failure> {
    let step = plan.program()?;
    let Some(slice) = plan.slices()?.swap_remove(share) else {
        let Some(path) = &args.weights else {
            let what = format!("`{}` are the weights to begin with", args.name);
            return Err(Failure::new(ExitCode::Usage, what).remedy("name them with --weights FILE"));
        };
        let weights = read_weights(path, &plan.graph)?;
        with_ring!(plan.recipe.n, R => step.encode::<R>(&weights).map(drop)).map_err(|e| {
            let path = path.display();
            unfit(format!("{path}: {e}")).remedy("bring smaller weights, or plan other --fractions")
        })?;
        return Ok(Offering::Start(weights));
    };
    let Some(samples) = &args.samples else {
        let what = format!("`{}` are rows of inputs", args.name);
        return Err(Failure::new(ExitCode::Usage, what).remedy("name them with --samples FILE"));
    };
    let inputs =
        read_images(samples, &input(plan, &slice, args.samples_normalised)?, args.samples_normalised)?;
    let targets = match slice.targets {
        0 if args.labels.is_some() || args.targets.is_some() => {
            let what = format!("the targets are another owner's, not `{}`'s", args.name);
            return Err(Failure::new(ExitCode::Usage, what).remedy("leave out --labels and --targets"));
        }
        0 => vec![],
        _ => targets(&step, &inputs, args.labels.as_deref(), args.targets.as_deref())?,
    };
    let columns = [slice.inputs.len(), slice.targets];
    let mut picked = picked(args, plan, inputs.images)?;
    picked.truncate(args.limit.unwrap_or(usize::MAX));
    let wanted = slice.rows.end - slice.rows.start;
    if picked.len() as u64 != wanted {
        let what = format!("{} rows where the plan has {wanted} of `{}`", picked.len(), args.name);
        return Err(unfit(what).remedy("bring as many as the plan says, or plan again"));
    }
    let order = |values: Vec<f32>, width: usize| -> Vec<f32> {
        picked.iter().flat_map(|row| values[row * width..(row + 1) * width].iter().copied()).collect()
    };
    let (inputs, targets) = (order(inputs.values, columns[0]), order(targets, columns[1]));
    fits(&step, &picked, (&inputs, &targets), columns)?;
    Ok(Offering::Rows { inputs, targets })
}

/// Rows that do not fit are named before anybody is called: once some are masked, the data key set is theirs, and the others would need
/// a new one. `picked` says which of the owner's rows each is.
fn fits(
    step: &Step,
    picked: &[usize],
    (inputs, targets): (&[f32], &[f32]),
    [input, target]: [usize; 2],
) -> Result<(), Failure> {
    let recipe = step.recipe();
    for (at, row) in picked.iter().enumerate() {
        if let Some(v) = inputs[at * input..][..input].iter().find(|v| !recipe.fits(**v)) {
            let limit = recipe.limit();
            let what = format!(
                "row {row} (the first is 0): an input of {v} is not below {limit}, the limit of these fractions"
            );
            return Err(Failure::new(ExitCode::Range, what)
                .during(Phase::Import)
                .remedy("scale the inputs, or plan other --fractions"));
        }
        step.check_targets(&targets[at * target..][..target]).map_err(|e| {
            unfit(format!("row {row} (the first is 0): {e}")).remedy("correct the targets of this row")
        })?;
    }
    Ok(())
}

/// What the inputs of a share look like: those of the network, or a table of some of its columns.
fn input(plan: &TrainingPlan, slice: &Slice, normalised: bool) -> Result<Input, Failure> {
    let whole = &plan.graph.input;
    if slice.inputs == (0..whole.row()) {
        return Ok(whole.clone());
    }
    let n = &whole.normalise;
    let even = |all: &[f64]| all.windows(2).all(|w| w[0] == w[1]);
    let told_apart = !even(&n.mean) || !even(&n.std);
    if told_apart && !normalised {
        return Err(unfit(
            "the network normalises each channel in its own way, and columns do not tell which they are",
        )
        .remedy("bring columns that are normalised already, with --samples-normalised"));
    }
    let one = |all: &[f64]| all.iter().copied().take(1).collect();
    let normalise = Normalise { scale: n.scale, mean: one(&n.mean), std: one(&n.std) };
    Ok(Input {
        name: whole.name.clone(),
        shape: vec![slice.inputs.len()],
        normalise,
        layout: Default::default(),
    })
}

/// Which of this owner's rows are brought, in the order of the plan.
fn picked(args: &Args, plan: &TrainingPlan, rows: usize) -> Result<Vec<usize>, Failure> {
    let (Some(index), Some(ids)) = (&args.index, &args.ids) else {
        return match &plan.index {
            None => Ok((0..rows).collect()),
            Some(_) => Err(Failure::new(ExitCode::Usage, "this plan aligns rows by an index")
                .remedy("add --index FILE, that of the plan, and --ids FILE with the names of these rows")),
        };
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| Failure::io("read", path.display(), &e).during(Phase::Import))
    };
    let (agreed, own) = (read(index)?, read(ids)?);
    if plan.index.as_deref() != Some(&index_digest(agreed.as_bytes())) {
        let what = format!("{} is not the index of this plan", index.display());
        return Err(unfit(what)
            .remedy("take the file that all owners agreed on, unchanged, or plan again with this one"));
    }
    let own = names(&own, ids)?;
    if own.len() != rows {
        return Err(unfit(format!("{} names for {rows} rows", own.len())));
    }
    let mut missing = vec![];
    let at = |name: &&str| {
        own.get(name).copied().or_else(|| {
            missing.push(name.to_string());
            None
        })
    };
    let mut order: Vec<_> = names(&agreed, index)?.into_iter().map(|(name, at)| (at, name)).collect();
    order.sort_unstable();
    let found: Vec<usize> = order.iter().map(|(_, name)| name).filter_map(at).collect();
    if !missing.is_empty() {
        let some = missing.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        let what = format!("{} rows of the index are not among these, such as {some}", missing.len());
        return Err(unfit(what).remedy("agree on an index of rows that all owners have"));
    }
    Ok(found)
}

/// Names of rows, one a line, with their places; lines that begin with `#` are none.
fn names<'t>(text: &'t str, path: &Path) -> Result<HashMap<&'t str, usize>, Failure> {
    let mut all = HashMap::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (at, line) in lines.enumerate() {
        if all.insert(line, at).is_some() {
            return Err(unfit(format!("{}: row `{line}` twice", path.display())));
        }
    }
    Ok(all)
}
