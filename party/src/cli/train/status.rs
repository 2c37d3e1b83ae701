//! `twoply train status`: the runs of a folder, as their ledgers tell them.

use crate::cli::output::{Output, table};
use crate::exit::Failure;
use serde::Serialize;
use std::path::PathBuf;
use twoply_preprocessing::run::survey;

/// List the training runs of a party's or a dealer's folder
///
/// Reads their ledgers, also while a process works on them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply train status --runs train")]
pub struct Args {
    /// The folder [default: train in the home folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
}

/// A run, in JSON.
#[derive(Serialize)]
struct Shown {
    run: String,
    holder: String,
    attempts: u32,
    /// Where the last attempt started.
    from: Option<u32>,
    /// Step of the last checkpoint that was made here; a dealer's ledger names none.
    checkpoint: Option<u32>,
    /// Step of the result; null while the run has not ended.
    ended: Option<u32>,
    /// Data key sets.
    sets: Vec<String>,
    /// How often the result was handed out.
    provisioned: u64,
    /// How many figures that the plan reveals were delivered, in all attempts.
    revealed: u64,
}

/// Lists.
///
/// # Errors
/// 9 for a ledger that is damaged, 16 where the system refuses.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let dir = args.runs.map_or_else(|| Ok(out.home()?.join("train")), Ok::<_, Failure>)?;
    let all: Vec<Shown> = survey(&dir.join("runs"))?
        .into_iter()
        .map(|info| Shown {
            run: info.run.to_string(),
            holder: info.holder.to_string(),
            attempts: info.attempts,
            from: info.from.map(|id| id.step),
            checkpoint: info.last.map(|id| id.step),
            ended: info.end.map(|id| id.step),
            sets: info.sets.iter().map(ToString::to_string).collect(),
            provisioned: info.provisioned,
            revealed: info.delivered,
        })
        .collect();
    if all.is_empty() {
        out.line(format_args!("no training runs in {}", dir.display()))?;
        return out.result_json(&all);
    }
    let step = |step: Option<u32>| step.map_or("-".into(), |step| step.to_string());
    let head = ["run", "kept by", "attempts", "checkpoint", "ended", "handed out", "figures"];
    let head = head.map(String::from).to_vec();
    let row = |s: &Shown| {
        let (attempts, given) = (s.attempts.to_string(), s.provisioned.to_string());
        let (last, end, figures) = (step(s.checkpoint), step(s.ended), s.revealed.to_string());
        vec![s.run.clone(), s.holder.clone(), attempts, last, end, given, figures]
    };
    out.line(table(&[head].into_iter().chain(all.iter().map(row)).collect::<Vec<_>>()))?;
    out.result_json(&all)
}
