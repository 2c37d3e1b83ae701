//! `twoply plan`: decides everything that both sides must agree on, and shows the bill before anything runs.

mod bill;

use super::choices::Choices;
use super::output::{Output, bytes, shell, table};
use super::samples::Samples;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use bill::Bill;
pub(super) use bill::key_files;
use std::path::{Path, PathBuf};
use twoply_nn::{Graph, Options, Plan};

/// Plan a network and show what it will cost
///
/// Runs the network on public sample images to see how large its values get, checks that they fit the
/// ring, and writes the plan that both parties, the dealer and the data owner share. Shows, for each
/// gate, comparisons, key bytes, bytes sent and rounds.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The graph, from `twoply import`
    #[arg(value_name = "GRAPH.json")]
    graph: PathBuf,
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
    /// The plan file [default: NAME.plan.json beside NAME.graph.json]
    #[arg(long, value_name = "PLAN.json")]
    out: Option<PathBuf>,
    /// Replace the plan if it exists
    #[arg(long)]
    force: bool,
}

/// Plans.
///
/// # Errors
/// 10 when values may leave the ring, naming the layers; 15 when graph, weights or samples are unusable; 16 when
/// the plan exists or cannot be written.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let path = args.out.clone().unwrap_or_else(|| plan_path(&args.graph));
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    files::vacant(&path, existing)?;
    let graph = files::read_graph(&args.graph)?;
    let plan = make(&args, graph, out).map_err(|failure| failure.during(Phase::Plan))?;
    files::write_public(&path, plan.to_json()?.as_bytes(), existing)?;
    let bill = Bill::new(&plan, args.images, args.batch).map_err(|failure| failure.during(Phase::Plan))?;
    show(&plan, &bill, &path, out)
}

/// `x.graph.json` becomes `x.plan.json`; any other name gets the ending too.
fn plan_path(graph: &Path) -> PathBuf {
    let name = graph.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".graph.json").or(name.strip_suffix(".json")).unwrap_or(&name);
    graph.with_file_name(format!("{stem}.plan.json"))
}

fn make(args: &Args, graph: Graph, out: &Output) -> Result<Plan, Failure> {
    let options = args.choices.options(args.samples.margin()?)?;
    if args.unchecked_ranges {
        out.warn("ranges are unchecked: a value that does not fit the ring gives a wrong result, silently");
        return Ok(Plan::new(graph, options, None)?);
    }
    let Some(weights) = &args.weights else {
        let what = "how large this network's values get is unknown without weights and samples";
        return Err(Failure::new(ExitCode::Range, what)
            .remedy("add --weights FILE and --samples IMAGES, or take the risk with --unchecked-ranges"));
    };
    let weights = files::read_weights(weights, &graph)?;
    let inputs = args.samples.read(&graph)?;
    let ranges = args.samples.ranges((&graph, &weights), inputs.as_ref(), out)?;
    Plan::new(graph, options, Some(ranges)).map_err(|e| match inputs {
        Some(_) => e.into(),
        None => Failure::from(e).remedy(
            "these are bounds for any byte image, mostly far too wide: add --samples IMAGES to observe ranges",
        ),
    })
}

fn show(plan: &Plan, bill: &Bill, path: &Path, out: &Output) -> Result<(), Failure> {
    let report = &bill.report;
    let Options { fixed, compare, rounding, .. } = &plan.options;
    let (images, batch) = (report.images, bill.batch);
    out.line(format_args!("{}, {images} images in runs of {batch}, predicted:", plan.graph.name))?;
    out.line(table(&rows(bill)))?;
    let size = |value: Option<u64>| bytes(value.unwrap_or(0));
    out.line(format_args!("each party sends the data owner {}", size(report.owner_bytes[0])))?;
    let [p0, p1] = bill.key_file_bytes;
    let segment = bill.segment_images;
    out.line(format_args!(
        "key files: {} for P0, {} for P1; {segment} images a segment",
        bytes(p0),
        bytes(p1)
    ))?;
    out.line(format_args!("ring {} bits, fraction {} bits, {compare:?}, {rounding:?}", fixed.n, fixed.f))?;
    out.line(report.opened_lines().trim_end())?;
    out.line(format_args!("plan {}: {}", bill.plan, path.display()))?;
    out.result_json(&bill.at(path))?;
    let path = shell(path);
    out.note(format_args!("next: twoply deal {path} --images {images} --out keys"));
    Ok(())
}

fn rows(bill: &Bill) -> Vec<Vec<String>> {
    let report = &bill.report;
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    let size = |value: Option<u64>| bytes(value.unwrap_or(0));
    let head =
        ["layer", "gate", "comparisons", "keys P0", "keys P1", "sent each", "rounds", "observed", "bound"];
    let mut rows = vec![head.map(String::from).to_vec()];
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
        for (graph, plan) in
            [("a/x.graph.json", "a/x.plan.json"), ("x.json", "x.plan.json"), ("x", "x.plan.json")]
        {
            assert_eq!(plan_path(Path::new(graph)), Path::new(plan));
        }
    }
}
