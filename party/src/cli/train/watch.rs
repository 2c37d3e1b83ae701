//! `twoply train watch`: an owner takes the figures that the plan reveals to it.

use crate::cli::output::Output;
use crate::cli::places::Places;
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, read_training_plan};
use crate::identity::Identity;
use crate::train::{Shown, Watch, again};
use crate::transport::Role;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::train::TrainingPlan;

/// Take the figures that a plan reveals to you, while its run goes on and after its end
///
/// Both parties' shares are joined here and nowhere else: neither party sees a figure, and the dealer hears of none. Shows each
/// figure as it comes, and ends with the run; with exit 10 where range counts found values near the end of their range or beyond
/// it. After a restart of anybody there may be another figure of the same step, of another
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
    /// Accept that values came near the end of their range, or left it: say so, and end with exit 0
    #[arg(long)]
    allow_out_of_range: bool,
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
/// 2 for a share that the plan does not have or reveals nothing to; 10, behind the result, for values that range counts found, unless they
/// are allowed; 4, 5, 6, 9, 14, 16: each named by its cause.
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
    out.result_json(&Taken { figures: &watch.shown, ended: end.step, attempt: end.attempt })?;
    if !args.allow_out_of_range {
        judge(&watch.shown)?;
    }
    Ok(())
}

/// Whether range counts found values. The figures are shown by then.
///
/// # Errors
/// 10, with all layers and gates that they were found at.
fn judge(figures: &[Shown]) -> Result<(), Failure> {
    let mut found: BTreeMap<&str, (i64, u32)> = BTreeMap::new();
    for Shown { step, large, .. } in figures {
        for (name, count) in large.iter().flatten() {
            let (all, first) = found.entry(name).or_insert((0, *step));
            (*all, *first) = (*all + count, (*step).min(*first));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let named =
        found.iter().map(|(name, (count, first))| format!("`{name}` ({count}, first at step {first})"));
    let what = format!(
        "values came near the end of their range or left it, at {}: what was learnt may be wrong",
        named.collect::<Vec<_>>().join(", ")
    );
    Err(Failure::new(ExitCode::Range, what).during(Phase::Output).remedy(
        "are these data like the plan's samples, and on their scale? plan with samples like them, fewer --fractions bits, a smaller \
         --rate, or --ring 64; --allow-out-of-range takes the run as it is",
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use twoply_nn::train::Figure;

    fn counts(step: u32, large: &[(&str, i64)]) -> Shown {
        Shown {
            run: String::new(),
            figure: Figure::RangeCounts,
            step,
            epoch: 0,
            attempt: 1,
            count: 1,
            rows: 16,
            right: None,
            loss: None,
            large: Some(large.iter().map(|(name, count)| (name.to_string(), *count)).collect()),
        }
    }

    #[test]
    fn values_that_range_counts_found_are_named_and_end_with_their_code() {
        assert!(judge(&[]).is_ok());
        assert!(judge(&[counts(5, &[]), Shown { large: None, ..counts(10, &[]) }]).is_ok());
        let shown =
            [counts(10, &[("fc1 sum", 7)]), counts(5, &[("fc1 sum", 2), ("loss mul", 1)]), counts(15, &[])];
        let failure = judge(&shown).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Range);
        let said = failure.to_string();
        for part in
            ["`fc1 sum` (9, first at step 5)", "`loss mul` (1, first at step 5)", "--allow-out-of-range"]
        {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}
