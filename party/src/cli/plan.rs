//! `twoply plan`: decides everything that both sides must agree on, and shows the bill before anything runs.

mod alternatives;
mod bill;
mod budget;
mod cheapest;
pub(super) mod forecast;
mod weights;

use super::choices::Choices;
use super::output::{Output, bytes, shell, table};
use super::samples::Samples;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use crate::transport::Shape;
use bill::{Bill, Control};
use budget::Budget;
use forecast::Forecast;
use std::path::{Path, PathBuf};
use twoply_nn::data::{Axes, Pixels};
use twoply_nn::zoo::{self, Seeded, ariann};
use twoply_nn::{Floats, Graph, Images, Imported, Meaning, Options, Plan, calibrate};
use weights::Precision;

/// Plan a network and show what it will cost
///
/// Runs the network on public sample images to see how large its values get, checks that they fit the
/// ring, and writes the plan that both parties, the dealer and the data owner share. Shows, for each
/// gate, comparisons, key bytes, bytes sent and rounds.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply plan digits.graph.json --weights digits.weights.safetensors --samples \
    examples/digits/calibration-images.idx"
)]
pub struct Args {
    /// The graph, from `twoply import`
    #[arg(value_name = "GRAPH.json", required_unless_present_any = ["zoo", "trained"])]
    graph: Option<PathBuf>,
    /// A network of the zoo instead, with made-up weights; writes no plan unless --out names one
    #[arg(long, value_name = "NETWORK", conflicts_with_all = ["graph", "weights", "samples", "unchecked_ranges"])]
    zoo: Option<String>,
    /// For the weights that a run of this training plan ends with, under the mask that they have: its network, ring and fractions.
    /// Nothing is known of their ranges
    #[arg(long, value_name = "PLAN.train.json", conflicts_with_all = ["graph", "zoo", "weights", "samples", "unchecked_ranges", "ring", "fraction", "weight_fraction"])]
    trained: Option<PathBuf>,
    /// Count comparisons as another work's tables do, beside the plan's own count
    #[arg(long, value_enum, value_name = "WHO")]
    count_as: Option<Counting>,
    /// Its weights, needed for calibration; they do not enter the plan, only the ranges do
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    samples: Samples,
    /// Plan without knowing any range: values that do not fit give wrong results, silently
    #[arg(long, conflicts_with_all = ["samples", "weights"])]
    unchecked_ranges: bool,
    #[command(flatten)]
    choices: Choices,
    /// Images of the bill
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    images: u64,
    /// Images per run of the bill [default: all, up to a segment of keys]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    batch: Option<u64>,
    /// Rehearse in this process, with both parties on this machine, and predict times
    #[arg(long)]
    time: bool,
    /// Link of the predicted times: loopback, dc, lan, wan, slow, or rtt=40ms,rate=400mbit
    #[arg(long, value_name = "LINK", default_value = "loopback")]
    link: Shape,
    /// Show what other choices would cost, side by side
    #[arg(long)]
    alternatives: bool,
    /// Let every layer compare in the way that is faster on --link, by rehearsal; --compare-at overrules
    #[arg(long, conflicts_with = "compare")]
    cheapest: bool,
    #[command(flatten)]
    budget: Budget,
    /// The plan file [default: NAME.plan.json beside NAME.graph.json]
    #[arg(long, value_name = "PLAN.json")]
    out: Option<PathBuf>,
    /// Replace the plan if it exists
    #[arg(long)]
    force: bool,
}

/// Whose way of counting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Counting {
    /// AriaNN: an argmax of all pairs, windows of a pool whole
    Ariann,
}

/// Plans.
///
/// # Errors
/// 10 when values or weights may leave the ring, naming the layers; 12 when the plan is beyond a budget; 15 when graph, weights or
/// samples are unusable; 16 when the plan exists or cannot be written.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let path = args.out.clone().or_else(|| args.graph.as_deref().or(args.trained.as_deref()).map(plan_path));
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    if let Some(path) = &path {
        files::vacant(path, existing)?;
    }
    let made = decide(&args, out).map_err(|failure| failure.during(Phase::Plan))?;
    if let Some(path) = &path {
        files::write_public(path, made.plan.to_json()?.as_bytes(), existing)?;
    }
    show(&made, path.as_deref(), args.trained.as_deref(), out)
}

/// A plan and what is known of it.
struct Made {
    plan: Plan,
    precision: Precision,
    bill: Bill,
    /// Why layers compare as they do.
    why: Vec<String>,
    alternatives: Option<Vec<alternatives::Row>>,
}

fn decide(args: &Args, out: &Output) -> Result<Made, Failure> {
    let (mut plan, precision) = match (&args.trained, &args.zoo, &args.graph) {
        (Some(training), ..) => {
            let training = files::read_training_plan(training)?;
            (training.inference(args.choices.options(args.samples.margin()?)?)?, Precision::default())
        }
        (None, Some(name), _) => (from_zoo(args, name)?, Precision::default()),
        (None, None, Some(graph)) => make(args, files::read_graph(graph)?, out)?,
        (None, None, None) => {
            return Err(Failure::new(ExitCode::Usage, "no graph, --zoo or --trained is given"));
        }
    };
    let mut why = vec![];
    let mut bill = Bill::new(&plan, args.images, args.batch)?;
    if args.cheapest {
        let asked = args.choices.options(args.samples.margin()?)?.compare_at;
        (plan, why) = cheapest::choose(plan, &asked, bill.batch, &args.link)?;
        bill = Bill::new(&plan, args.images, args.batch)?;
    }
    let timed = args.time || args.cheapest || args.budget.wants_time();
    if timed {
        out.note("rehearsing on this machine ..");
        bill.forecast = Some(forecast::forecast(&plan, bill.batch, &args.link)?);
    }
    bill.memory_bytes = forecast::memory(&plan, bill.batch);
    bill.ariann = args.count_as.map(|Counting::Ariann| ariann::count(&plan.graph)).transpose()?;
    args.budget.check(&plan, &bill, bill.forecast.as_ref())?;
    let rows = || alternatives::rows(&plan, (args.images, args.batch), timed.then_some(&args.link));
    let alternatives = args.alternatives.then(rows).transpose()?;
    Ok(Made { plan, precision, bill, why, alternatives })
}

/// A network of the zoo, with made-up weights and the ranges of some images of noise.
fn from_zoo(args: &Args, name: &str) -> Result<Plan, Failure> {
    const NOISE: usize = 2;
    let entry = zoo::named(name).map_err(|e| {
        Failure::new(ExitCode::Usage, e.to_string()).remedy("choose one of these names for --zoo")
    })?;
    let Imported { graph, weights } = entry.build(&mut Seeded::default())?;
    let noise = Images {
        shape: graph.input.shape.clone(),
        pixels: Pixels::Raw(entry.noise(NOISE)),
        axes: Axes::Said,
    };
    let inputs = noise.inputs(&graph.input, Floats::Raw)?;
    let ranges = calibrate(&graph, &weights, &inputs, &graph.input.byte_range())?;
    let margin = args.samples.margin.unwrap_or(1.5);
    Ok(Plan::new(graph, args.choices.options(margin)?, Some(ranges))?)
}

/// `x.graph.json` and `x.train.json` become `x.plan.json`; any other name gets the ending too.
fn plan_path(graph: &Path) -> PathBuf {
    let name = graph.file_name().unwrap_or_default().to_string_lossy();
    let stem = [".graph.json", ".train.json", ".json"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    graph.with_file_name(format!("{stem}.plan.json"))
}

fn make(args: &Args, graph: Graph, out: &Output) -> Result<(Plan, Precision), Failure> {
    let options = args.choices.options(args.samples.margin()?)?;
    if args.unchecked_ranges {
        out.warn(
            "ranges are unchecked: a value that does not fit the ring gives a wrong result, silently; nothing is known \
             of the images, and infer takes any",
        );
        return Ok((Plan::new(graph, options, None)?, Precision::default()));
    }
    let Some(path) = &args.weights else {
        let what = "how large this network's values get is unknown without weights and samples";
        return Err(Failure::new(ExitCode::Range, what)
            .remedy("add --weights FILE and --samples IMAGES, or take the risk with --unchecked-ranges"));
    };
    let weights = files::read_weights(path, &graph)?;
    let inputs = args.samples.read(&graph)?;
    let ranges = args.samples.ranges((&graph, &weights), inputs.as_ref(), out)?;
    let made = weights::plan((&graph, &weights), options, ranges);
    let (plan, precision) = made.map_err(|failure| match (inputs, failure.code()) {
        (None, ExitCode::Range) => failure.remedy(
            "these are bounds for any byte image, mostly far too wide: add --samples IMAGES to observe ranges",
        ),
        _ => failure,
    })?;
    for warning in precision.warnings(plan.options.scale().weights()) {
        out.warn(warning);
    }
    Ok((plan, precision))
}

/// What the plan expects of images and of its output.
fn expected(plan: &Plan) -> Result<String, Failure> {
    let images = match plan.ranges.as_ref().map(|ranges| (&ranges.raw, ranges.samples)) {
        Some((Some(raw), samples)) => format!(
            "raw values of {samples} samples: {:.4}..{:.4}, mean {:.4}; infer refuses values beyond {} times their \
             magnitude when normalised",
            raw.low(),
            raw.high(),
            raw.mean(),
            plan.options.margin
        ),
        Some((None, _)) => format!(
            "raw values: bytes, 0..255; infer refuses values beyond {} times their magnitude when normalised",
            plan.options.margin
        ),
        None => "raw values: nothing is known, and infer takes any".to_owned(),
    };
    Ok(format!("{images}\noutput: {}", Meaning::of(&plan.graph)?))
}

fn show(made: &Made, path: Option<&Path>, trained: Option<&Path>, out: &Output) -> Result<(), Failure> {
    let Made { plan, bill, .. } = made;
    let report = &bill.report;
    let Options { fixed, compare, rounding, weight_fraction, .. } = &plan.options;
    let own = weight_fraction.map(|w| format!(" ({w} of weights)")).unwrap_or_default();
    let (images, batch) = (report.images, bill.batch);
    out.line(format_args!("{}, {images} images in runs of {batch}, predicted:", plan.graph.name))?;
    out.line(table(&rows(bill)))?;
    let size = |value: Option<u64>| bytes(value.unwrap_or(0));
    out.line(format_args!("each party sends the data owner {}", size(report.owner_bytes[0])))?;
    let Control { run: [p0, p1], reserved } = bill.control_bytes;
    out.line(format_args!(
        "control messages of a run: {p0} bytes from P0, {p1} from P1; {reserved} more from each where images are reserved"
    ))?;
    let [p0, p1] = bill.key_file_bytes;
    let segment = bill.segment_images;
    out.line(format_args!(
        "key files: {} for P0, {} for P1; {segment} images a segment",
        bytes(p0),
        bytes(p1)
    ))?;
    out.line(format_args!(
        "ring {} bits, fraction {} bits{own}, {compare:?}, {rounding:?}",
        fixed.n, fixed.f
    ))?;
    out.line(expected(plan)?)?;
    out.line(report.opened_lines().trim_end())?;
    out.line(format_args!("a party needs about {} of memory at batch {batch}", bytes(bill.memory_bytes)))?;
    if let Some(forecast) = &bill.forecast {
        out.line(times(forecast, images))?;
    }
    for line in &made.why {
        out.line(line)?;
    }
    if let Some(counts) = &bill.ariann {
        out.line(format_args!(
            "comparisons per image as AriaNN counts them: {} ({} of ReLUs, {} of max pools, {} of the argmax); here {}",
            counts.total(),
            counts.relu,
            counts.max_pool,
            counts.argmax,
            report.comparisons / images.max(1)
        ))?;
    }
    if let Some(rows) = &made.alternatives {
        out.line(alternatives::text(rows))?;
    }
    match path {
        Some(path) => out.line(format_args!("plan {}: {}", bill.plan, path.display()))?,
        None => out.line("no plan was written; --out names a file")?,
    }
    out.result_json(&bill.at(path, made.alternatives.as_deref(), (&made.why, &made.precision)))?;
    if let Some(path) = path.map(shell) {
        let trained = trained.map(|file| format!(" --trained {}", shell(file))).unwrap_or_default();
        out.note(format_args!("next: twoply deal {path} --images {images} --out keys{trained}"));
    }
    Ok(())
}

/// Times of the whole bill.
fn times(f: &Forecast, images: u64) -> String {
    let runs = images as f64 / f.batch.max(1) as f64;
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    format!(
        "rehearsed with both parties on this machine, link {}:\n  a run of {} takes {} online ({} computing, {} on the link), {} per image; all of it {:.1} s online, {:.1} s dealing",
        f.link,
        f.batch,
        ms(f.online),
        ms(f.compute),
        ms(f.wait),
        ms(f.online / f.batch.max(1) as f64),
        f.online * runs,
        f.deal * runs,
    )
}

fn rows(bill: &Bill) -> Vec<Vec<String>> {
    let report = &bill.report;
    let forecast = bill.forecast.as_ref();
    let milliseconds = |value: f64| format!("{:.2} ms", value * 1e3);
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    let size = |value: Option<u64>| bytes(value.unwrap_or(0));
    let head =
        ["layer", "gate", "comparisons", "keys P0", "keys P1", "sent each", "rounds", "observed", "bound"];
    let mut rows = vec![head.map(String::from).to_vec()];
    if forecast.is_some() {
        rows[0].extend(["compute", "on the link"].map(String::from));
    }
    for layer in &report.layers {
        let range = bill.range(&layer.name);
        rows.push(vec![
            layer.name.clone(),
            layer.gate.clone(),
            layer.comparisons.to_string(),
            size(layer.key_bytes[0]),
            size(layer.key_bytes[1]),
            size(layer.bytes_sent[0]),
            layer.rounds.to_string(),
            number(range.map(|range| range.observed)),
            number(range.map(|range| range.bound)),
        ]);
        if let (Some(f), Some(row)) = (forecast, rows.last_mut())
            && let Some(time) = f.layers.iter().find(|t| t.name == layer.name)
        {
            row.extend([milliseconds(time.compute), milliseconds(time.wait)]);
        }
    }
    rows.push(vec![
        "total".into(),
        String::new(),
        report.comparisons.to_string(),
        size(report.key_bytes[0]),
        size(report.key_bytes[1]),
        size(report.bytes_sent[0]),
        report.rounds.to_string(),
    ]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_stands_beside_its_graph() {
        for (graph, plan) in [
            ("a/x.graph.json", "a/x.plan.json"),
            ("x.train.json", "x.plan.json"),
            ("x.json", "x.plan.json"),
            ("x", "x.plan.json"),
        ] {
            assert_eq!(plan_path(Path::new(graph)), Path::new(plan));
        }
    }
}
