//! `twoply train plan`: a run's bill before it, and whether its values fit, by simulation on public data.

mod disk;
mod memory;
mod time;

use super::data::Data;
use super::recipe::Choices;
use super::run::AHEAD;
use super::shares::{reveal, share};
use crate::cli::output::{Output, bytes, shell, table};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use crate::transport::Shape;
use disk::Disks;
use memory::Memory;
use serde::Serialize;
use std::path::{Path, PathBuf};
use time::Forecast;
use twoply_nn::engine::Reach;
use twoply_nn::plan::Totals;
use twoply_nn::train::{
    Brings, Reveal, Share, TrainingPlan, Wanted, all_but_last, index_digest, initial, reach, trunk,
};
use twoply_nn::{Weights, with_ring};

/// How far values may reach into their wires, in parts of half of it: the contract of cuts and lifts.
pub(super) const CONTRACT: f64 = 0.5;
/// What a plan leaves of that for the steps and the data that its simulation has not seen: one bit.
pub(super) const GUARD: f64 = CONTRACT / 2.0;

/// Plan a training run and show what it will cost
///
/// What runs is the same for every input, so keys, bytes, messages and disk are exact; memory is an estimate, and times are
/// rehearsed on this machine where --time asks for them. Whether values stay in their ranges depends on the data: public data of the same kind is trained on in fixed point, and a run whose values come within a bit of their limits
/// is refused.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train plan digits.graph.json --rows 450 --epochs 10 --batch 32 --rate 1/32 --samples \
    examples/digits/digits-images.idx --labels examples/digits/digits-labels.idx"
)]
pub struct Args {
    /// The graph, from `twoply import`
    #[arg(value_name = "GRAPH.json")]
    graph: PathBuf,
    /// Rows of training data
    #[arg(long, value_name = "N")]
    rows: u64,
    /// How often all rows are used
    #[arg(long, value_name = "E", default_value_t = 10)]
    epochs: u32,
    #[command(flatten)]
    choices: Choices,
    /// Public seed of initial weights and of the order of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Who brings what: NAME=rows:N, NAME=columns:A..B, NAME=columns:A..B+targets, NAME=held:N for rows that are not trained on, or
    /// NAME=start for the weights to begin with; may be given again [default: data=rows:ROWS]
    #[arg(long = "share", value_name = "NAME=WHAT", value_parser = share)]
    shares: Vec<Share>,
    /// Reveal a figure to the owner of a share, and to nobody else: accuracy=NAME or loss=NAME, of the rows that are held out, after
    /// every epoch, range-counts=NAME, of values near the end of their range, at every checkpoint; or FIGURE=NAME:STEPS; may be
    /// given again [default: nothing is revealed]
    #[arg(long = "reveal", value_name = "FIGURE=NAME", value_parser = reveal)]
    reveals: Vec<Wanted>,
    /// The order of rows that all owners agree on: a file of one name a line, `#` before anything else. Its digest becomes part of
    /// the plan; a line of random letters behind a `#` keeps it from being guessed
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Steps from one checkpoint to the next: what a crash of anybody may cost
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint: u32,
    #[command(flatten)]
    data: Data,
    /// Weights to begin with in the simulation, instead of those of the seed
    #[arg(long, value_name = "FILE", requires = "samples")]
    weights: Option<PathBuf>,
    /// Steps of the simulation
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    simulate: u32,
    /// Plan without a simulation: a run whose values do not fit fails silently, by learning nothing
    #[arg(long, conflicts_with = "samples")]
    unchecked_ranges: bool,
    /// Rehearse some steps in this process, dealer and both parties on this machine, and predict times
    #[arg(long)]
    time: bool,
    /// Link of the predicted times: loopback, dc, lan, wan, slow, or rtt=40ms,rate=400mbit
    #[arg(long, value_name = "LINK", default_value = "loopback", requires = "time")]
    link: Shape,
    /// The plan file [default: NAME.train.json beside NAME.graph.json]
    #[arg(long, value_name = "PLAN.json")]
    out: Option<PathBuf>,
    /// Replace the plan if it exists
    #[arg(long)]
    force: bool,
}

/// The JSON result.
#[derive(Serialize)]
struct Planned<'a> {
    file: &'a Path,
    /// Digest of the plan.
    plan: String,
    steps: u64,
    batch: usize,
    /// The learning rate as it is run.
    rate: f64,
    /// What one step costs, in the first epoch.
    step: Totals,
    /// What the run costs.
    total: Totals,
    /// Files that parties and dealer keep, to the byte: what a run without restarts leaves, and the most at once. Keys are none of them.
    disk: Disks,
    /// Peaks of anonymous memory, by estimate, with the parties' default of --ahead.
    memory_estimate: Memory,
    /// Seconds, if they were asked for.
    time: Option<Forecast>,
    /// What is revealed, to whom, how often, and what one figure costs.
    reveals: &'a [Reveal],
    /// Layers behind the logits that were left out.
    left_out: &'a [String],
    /// How far values reached in the simulation, the farthest first; null without one.
    reach: Option<&'a [Reach]>,
}

/// Plans.
///
/// # Errors
/// 2 when flags do not go together; 10 when values come too near their limits, or nothing is known of them; 15 when graph, weights or data are unusable, or graph
/// and choices do not go together; 16 when the plan exists or cannot be written.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let path = args.out.clone().unwrap_or_else(|| plan_path(&args.graph));
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    files::vacant(&path, existing)?;
    let mut recipe = args.choices.recipe();
    recipe
        .check()
        .map_err(|e| Failure::new(ExitCode::Usage, e.to_string()).remedy("choose flags that go together"))?;
    let (graph, left) = trunk(&files::read_graph(&args.graph)?, recipe.loss)?;
    if let Some(last) = args.choices.train_last {
        recipe.frozen = all_but_last(&graph, last)?;
    }
    for layer in &left {
        out.note(format_args!("{layer} behind the logits is left out: it has no place in training"));
    }
    let plan = TrainingPlan::new(graph, recipe, (args.rows, args.epochs), args.seed)?;
    let named = &args.shares;
    let held = |s: &Share| matches!(s.brings, Brings::Held(_));
    let shares = if named.iter().all(held) { [&plan.shares[..], named].concat() } else { named.clone() };
    let mut plan = plan.shared(shares, args.checkpoint)?.revealing(&args.reveals)?;
    if let Some(path) = &args.index {
        let bytes = std::fs::read(path).map_err(|e| Failure::io("read", path.display(), &e))?;
        plan.index = Some(index_digest(&bytes));
    }
    let reach = simulated(&args, &plan, out).map_err(|failure| failure.during(Phase::Plan))?;
    let needs = needs(&args, &plan, out).map_err(|failure| failure.during(Phase::Plan))?;
    files::write_public(&path, plan.to_json()?.as_bytes(), existing)?;
    show((&plan, needs), reach.as_deref(), (&path, &left), out)
}

/// What a run takes of its machines.
struct Needs {
    disk: Disks,
    memory: Memory,
    time: Option<Forecast>,
}

impl Needs {
    fn text(&self) -> String {
        let Needs { disk: Disks { party, dealer }, memory, time } = self;
        let [p0, p1] = memory.parties.map(bytes);
        let mut text = format!(
            "disk of each party: {} of rows, {} a checkpoint, at most {}; of the dealer at most {}; keys are streamed and take none\n\
             memory, by estimate, with keys of {AHEAD} steps ahead: dealer {}, P0 {p0}, P1 {p1}",
            bytes(party.rows),
            bytes(party.checkpoint),
            bytes(party.most),
            bytes(dealer.most),
            bytes(memory.dealer)
        );
        if let Some(f) = time {
            let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
            text += &format!(
                "\nrehearsed with dealer and both parties on this machine, link {}: a step takes {} ({} dealing, {} computing, {} on \
                 the link), the run {:.0} s",
                f.link,
                ms(f.step),
                ms(f.dealing),
                ms(f.computing),
                ms(f.waiting),
                f.run
            );
        }
        text
    }
}

fn needs(args: &Args, plan: &TrainingPlan, out: &Output) -> Result<Needs, Failure> {
    let (disk, memory) = (disk::disks(plan)?, memory::memory(plan)?);
    if args.time {
        out.note("rehearsing on this machine ..");
    }
    let time = args.time.then(|| time::forecast(plan, &args.link)).transpose()?;
    Ok(Needs { disk, memory, time })
}

/// `x.graph.json` becomes `x.train.json`.
fn plan_path(graph: &Path) -> PathBuf {
    let name = graph.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".graph.json").or(name.strip_suffix(".json")).unwrap_or(&name);
    graph.with_file_name(format!("{stem}.train.json"))
}

/// The weights of a file, or those of the plan's seed.
pub(in crate::cli) fn start(path: Option<&PathBuf>, plan: &TrainingPlan) -> Result<Weights, Failure> {
    path.map_or_else(|| Ok(initial(&plan.graph, plan.seed)), |path| files::read_weights(path, &plan.graph))
}

fn simulated(args: &Args, plan: &TrainingPlan, out: &Output) -> Result<Option<Vec<Reach>>, Failure> {
    if args.unchecked_ranges {
        out.warn("ranges are unchecked: a run whose values do not fit learns nothing, and nobody is told");
        return Ok(None);
    }
    if !args.data.is_named() {
        let what = "whether the values of this run fit is unknown without public data of its kind";
        return Err(Failure::new(ExitCode::Range, what).remedy(
            "add --samples FILE and --labels FILE, synthetic data will do, or take the risk with --unchecked-ranges",
        ));
    }
    let step = plan.program()?;
    let (rows, weights) = (args.data.read(&step)?, start(args.weights.as_ref(), plan)?);
    let steps = args.simulate as usize;
    let course = rows.course((plan, &step, &weights), (steps, steps), false);
    let mut progress = out.progress("steps simulated", u64::from(args.simulate));
    let told = |done: usize| progress.at(done as u64);
    let mut reach = with_ring!(plan.recipe.n, R => reach::<R>(&course, told))?;
    reach.sort_by(|a, b| b.largest.total_cmp(&a.largest));
    match farthest(&reach).and_then(|far| beyond(far, GUARD)) {
        None => Ok(Some(reach)),
        Some(failure) => Err(failure),
    }
}

/// Where values reached farthest.
pub(super) fn farthest(reach: &[Reach]) -> Option<&Reach> {
    reach.iter().max_by(|a, b| a.largest.total_cmp(&b.largest))
}

/// What reaches beyond a limit.
pub(super) fn beyond(far: &Reach, limit: f64) -> Option<Failure> {
    if far.largest <= limit {
        return None;
    }
    let bits = (far.largest / limit).log2().ceil().max(1.0);
    let what = format!(
        "layer `{}` ({}): values reach {:.2} of half their wire, beyond {limit}: at least {bits} more bits are needed",
        far.layer, far.gate, far.largest
    );
    let remedy = "choose fewer --fractions bits of what the layer holds (activations and weights forward, gradients backward), data \
                  or a --rate that keep values smaller, or --ring 64";
    Some(Failure::new(ExitCode::Range, what).remedy(remedy).in_layer(far.layer.clone()))
}

fn show(
    (plan, needs): (&TrainingPlan, Needs),
    reach: Option<&[Reach]>,
    (path, left): (&Path, &[String]),
    out: &Output,
) -> Result<(), Failure> {
    let (step, steps) = (&plan.step, plan.steps());
    out.line(format_args!(
        "{}: {steps} steps of {} rows, {} epochs; rate {}, ring {} bits",
        plan.graph.name,
        plan.recipe.batch,
        plan.epochs,
        plan.recipe.rate.real(),
        plan.recipe.n
    ))?;
    let row = |what: &str, one: String, all: String| vec![what.to_owned(), one, all];
    let total = plan.total();
    let mut rows = vec![row("", "a step".into(), "the run".into())];
    for (what, one, all) in [
        ("keys of P0", step.key_bytes[0], total.key_bytes[0]),
        ("keys of P1", step.key_bytes[1], total.key_bytes[1]),
        ("sent by each party", step.bytes, total.bytes),
    ] {
        rows.push(row(what, bytes(one), bytes(all)));
    }
    for (what, one, all) in [
        ("comparisons", step.comparisons, total.comparisons),
        ("messages in sequence", step.rounds, total.rounds),
    ] {
        rows.push(row(what, one.to_string(), all.to_string()));
    }
    for (epoch, rate) in &plan.recipe.later {
        out.line(format_args!("rate {} from epoch {epoch} on", rate.real()))?;
    }
    out.line(table(&rows))?;
    out.line(needs.text())?;
    for Reveal { figure, to, every, most, cost } in &plan.reveals {
        out.line(format_args!(
            "revealed to {}: {figure} of {} rows every {every} steps, {most} times at most; each takes {} messages, {} of keys \
             at P1 and {} sent",
            to.join(", "),
            plan.figure_rows(*figure),
            cost.rounds,
            bytes(cost.key_bytes[1]),
            bytes(cost.bytes)
        ))?;
    }
    let short = plan.held() - plan.judged();
    if short > 0 {
        out.note(format_args!("{short} held-out rows fill no batch, and no figure is about them"));
    }
    if let Some([first, ..]) = reach {
        out.line(format_args!(
            "the farthest values, in layer `{}`, reach {:.2} of half their wire; {GUARD} leaves a bit of guard",
            first.layer, first.largest
        ))?;
    }
    out.note(format_args!("plan: {}", shell(path)));
    let plan_digest = plan.digest()?.to_string();
    out.result_json(&Planned {
        file: path,
        plan: plan_digest,
        steps,
        batch: plan.recipe.batch,
        rate: plan.recipe.rate.real(),
        step: *step,
        total,
        disk: needs.disk,
        memory_estimate: needs.memory,
        time: needs.time,
        reveals: &plan.reveals,
        left_out: left,
        reach,
    })
}
