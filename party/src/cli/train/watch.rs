//! `twoply train watch`: an owner takes the figures that the plan reveals to it.

use crate::cli::output::Output;
use crate::cli::places::Places;
use crate::client::Parties;
use crate::exit::{ExitCode, Failure};
use crate::files::{self, read_training_plan};
use crate::identity::Identity;
use crate::train::{Shown, Watch, again};
use crate::transport::Role;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::train::TrainingPlan;

/// Take the figures that a plan reveals to you, while its run goes on and after its end
///
/// Both parties' shares are joined here and nowhere else: neither party sees a figure, and the dealer hears of none. Shows each
/// figure as it comes, and ends with the run. After a restart of anybody there may be another figure of the same step, of another
/// attempt; what counts in the end is the last attempt's.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train watch digits.train.json --as judge --p0 p0.example:7700 --p0-key tp1-P0 --p1 \
    p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.train.json")]
    plan: PathBuf,
    /// Name of your share in the plan
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Append a line of JSON for every figure to this file, as it comes
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long a party may be away
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    wait: u64,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

/// The JSON result.
#[derive(Serialize)]
struct Taken<'a> {
    /// All figures, in the order in which they came.
    figures: &'a [Shown],
    /// Step of the run's result.
    ended: u32,
    /// The attempt that made it.
    attempt: u32,
}

/// Watches.
///
/// # Errors
/// 2 for a share that the plan does not have or reveals nothing to; 4, 5, 6, 9, 14, 16: each named by its cause.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let plan = read_training_plan(&args.plan)?;
    let share = share(&plan, &args.name)?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let (places, call) = args.places.read()?;
    let mut log = args.log.as_deref().map(opened).transpose()?;
    let mut watch = Watch::new(&plan, share)?;
    out.note("waits for figures");
    let end = again(
        Duration::from_secs(args.wait),
        |why| out.note(why),
        || {
            let mut parties = Parties::connect(identity.clone(), Role::Client, &places, call)?;
            let end = watch.take(&mut parties, |shown| {
                out.line(told(shown))?;
                log.iter_mut().try_for_each(|log| written(log, shown))
            })?;
            parties.close();
            Ok(end)
        },
    )?;
    out.note(format_args!("the run has ended after step {}", end.step));
    out.result_json(&Taken { figures: &watch.shown, ended: end.step, attempt: end.attempt })
}

/// Number of the share, if the plan reveals anything to it.
fn share(plan: &TrainingPlan, name: &str) -> Result<usize, Failure> {
    let to = |at: usize| (0..plan.reveals.len()).any(|reveal| plan.reveals_to(reveal, at));
    let found = plan.shares.iter().position(|s| s.owner == name).filter(|at| to(*at));
    found.ok_or_else(|| {
        let names: Vec<&str> = plan.reveals.iter().flat_map(|r| &r.to).map(String::as_str).collect();
        let failure = Failure::new(ExitCode::Usage, format!("this plan reveals nothing to a share `{name}`"));
        match names.is_empty() {
            true => failure.remedy("it reveals nothing at all: plan with --reveal FIGURE=NAME"),
            false => failure.remedy(format!("choose --as from {}", names.join(", "))),
        }
    })
}

fn opened(path: &Path) -> Result<(PathBuf, File), Failure> {
    let file = File::options().append(true).create(true).open(path);
    file.map(|file| (path.to_path_buf(), file)).map_err(|e| files::refused("open", path, &e))
}

fn written((path, file): &mut (PathBuf, File), shown: &Shown) -> Result<(), Failure> {
    let line = serde_json::to_string(shown).unwrap_or_default();
    writeln!(file, "{line}").map_err(|e| files::refused("write", path, &e))
}

/// A figure, as a line.
fn told(shown: &Shown) -> String {
    let Shown { figure, step, epoch, attempt, count, rows, right, loss, large, .. } = shown;
    let what = match (right, loss, large) {
        (Some(right), ..) => {
            let percent = *right as f64 * 100.0 / (*rows).max(1) as f64;
            format!("{right} of {rows} ({percent:.2} %)")
        }
        (_, Some(loss), _) => format!("{loss:.4}"),
        (.., Some(large)) if !large.is_empty() => {
            let all = large.iter().map(|(name, count)| format!("{name}: {count}"));
            all.collect::<Vec<_>>().join("; ")
        }
        _ => "none".into(),
    };
    format!("step {step} (epoch {epoch}, attempt {attempt}): {figure} {what}, figure {count}")
}
