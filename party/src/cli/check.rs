//! `twoply check`: float32, fixed point and two parties on the same public samples, layer by layer.

pub(super) mod page;

use super::choices::Choices;
use super::inputs::Admit;
use super::output::{Output, shell, table};
use super::samples::Samples;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing, Inputs};
use serde::Serialize;
use std::path::PathBuf;
use twoply_nn::accuracy::{self, Layer, Lost};
use twoply_nn::{Accuracy, Error, Graph, Plan, Weights, with_ring};

/// Check how exactly a network runs in fixed point and between two parties, layer by layer
///
/// Runs public sample images three times: in float32, in fixed point, and between two parties in this
/// process, with real keys in memory. Fixed point is compared with float32 after every layer. What the
/// parties hold between layers is never opened: they are compared at the output, which must equal
/// fixed point bit for bit.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply check digits.graph.json --weights digits.weights.safetensors --samples \
    examples/digits/calibration-images.idx"
)]
pub struct Args {
    /// The graph, from `twoply import`
    #[arg(value_name = "GRAPH.json")]
    graph: PathBuf,
    /// Its weights
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    samples: Samples,
    /// Check this plan instead of one made from the flags below
    #[arg(long, value_name = "PLAN.json", conflicts_with_all = ["margin", "ring", "fraction", "compare", "compare_at", "rounding", "reveal", "audit"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    admit: Admit,
    #[command(flatten)]
    choices: Choices,
    /// Most samples to compare
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Mean error of a layer over its mean magnitude beyond which precision counts as lost
    #[arg(long, value_name = "X", default_value_t = 0.02)]
    tolerance: f64,
    /// Write the table and a plot of every layer to one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the page if it exists
    #[arg(long)]
    force: bool,
}

/// The JSON result.
#[derive(Serialize)]
struct Checked<'a> {
    graph: &'a str,
    /// Digest of the plan.
    plan: String,
    /// What is wrong, in the words of the failure.
    trouble: Option<&'a str>,
    #[serde(flatten)]
    accuracy: &'a Accuracy,
}

/// Checks.
///
/// # Errors
/// 10 when values leave the ring or precision is lost, naming the layer and the bits, or when samples are beyond the plan's;
/// 6 when the plan is another
/// graph's; 2 for flags that do not go together; 15 when graph, weights, plan or samples are unusable; 1 when the
/// parties compute something else than fixed point does. The report comes first.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    if !(args.tolerance > 0.0 && args.tolerance.is_finite()) {
        let what = format!("a tolerance of {} is not possible", args.tolerance);
        return Err(Failure::new(ExitCode::Usage, what).remedy("choose a number above 0, such as 0.02"));
    }
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    args.html.as_ref().map(|path| files::vacant(path, existing)).transpose()?;
    let graph = files::read_graph(&args.graph)?;
    let weights = files::read_weights(&args.weights, &graph)?;
    let Some(inputs) = args.samples.read(&graph)? else {
        return Err(Failure::new(ExitCode::Usage, "a check runs samples, and none are named")
            .remedy("add --samples IMAGES"));
    };
    let (plan, tight) =
        plan(&args, (&graph, &weights), &inputs, out).map_err(|failure| failure.during(Phase::Plan))?;
    let found = compare(&args, (&plan, &weights), inputs, out)?;
    let trouble = trouble(&found, tight);
    if let Some(path) = &args.html {
        let page = page::page(&graph.name, &found, trouble.as_ref().map(|t| t.content().what.as_str()));
        files::write_public(path, page.as_bytes(), existing)?;
        out.note(format_args!("plots: {}", shell(path)));
    }
    show(&plan, &found, trouble.as_ref(), out)?;
    trouble.map_or(Ok(()), Err)
}

/// The plan to check. Ranges that do not fit with the margin are no reason not to look: they come beside it.
fn plan(
    args: &Args,
    (graph, weights): (&Graph, &Weights),
    inputs: &Inputs,
    out: &Output,
) -> Result<(Plan, Option<Failure>), Failure> {
    if let Some(path) = &args.plan {
        let plan = files::read_plan(path)?;
        if plan.graph_digest() != graph.digest() {
            let what = format!("{} is not a plan of {}", path.display(), args.graph.display());
            return Err(Failure::new(ExitCode::PlanMismatch, what)
                .remedy("name the graph that was planned, or plan this one with `twoply plan`"));
        }
        args.admit.check(&plan, inputs, (args.samples.samples_normalised, "--samples-normalised"), out)?;
        return Ok((plan, None));
    }
    let options = args.choices.options(args.samples.margin()?)?;
    let ranges = args.samples.ranges((graph, weights), Some(inputs), out)?;
    match Plan::new(graph.clone(), options.clone(), Some(ranges)) {
        Ok(plan) => Ok((plan, None)),
        Err(e @ Error::Ranges { .. }) => {
            Ok((Plan::new(graph.clone(), options, None)?, Some(Failure::from(e).during(Phase::Plan))))
        }
        Err(e) => Err(e.into()),
    }
}

fn compare(
    args: &Args,
    (plan, weights): (&Plan, &Weights),
    inputs: Inputs,
    out: &Output,
) -> Result<Accuracy, Failure> {
    let inputs = inputs.first(args.limit as usize);
    let mut progress = out.progress("images checked", inputs.images as u64);
    let told = |done: usize| progress.at(done as u64);
    let (n, tolerance) = (plan.options.fixed.n, args.tolerance);
    Ok(with_ring!(n, R => accuracy::compare::<R>(plan, weights, &inputs.values, tolerance, told))?)
}

/// What is wrong, the worst first. Beyond the contract the parties need not agree with the oracle, so wraps come before
/// differences.
fn trouble(found: &Accuracy, tight: Option<Failure>) -> Option<Failure> {
    if let Some(layer) = found.layers.iter().find(|layer| layer.wraps > 0) {
        return Some(wraps(found, layer));
    }
    if found.differing > 0 {
        let what = format!(
            "two parties differ from fixed point in {} of {} output values",
            found.differing, found.outputs
        );
        return Some(Failure::new(ExitCode::Internal, what));
    }
    tight.or_else(|| found.lost.as_ref().map(lost))
}

fn wraps(found: &Accuracy, layer: &Layer) -> Failure {
    let finest = found.fraction + found.fraction.max(found.weight_fraction.unwrap_or(0));
    let bits = layer.peak.log2().ceil() as i64 + i64::from(finest) + 2;
    let what = format!(
        "layer `{}`: {} of {} values leave the range of {} ring bits with {} fraction bits: up to {:.3}, beyond \
         {:.3}; needs {bits} bits",
        layer.name, layer.wraps, layer.values, found.ring, found.fraction, layer.peak, layer.limit
    );
    let remedy = match found.ring {
        32 => "use --ring 64 or fewer --fraction bits; `twoply calibrate` says how many fit",
        _ => "use fewer --fraction bits; `twoply calibrate` says how many fit",
    };
    Failure::new(ExitCode::Range, what).remedy(remedy).in_layer(layer.name.clone())
}

fn lost(lost: &Lost) -> Failure {
    let cause = if lost.weights { ": its weights are too small for the fraction bits" } else { "" };
    let what = format!(
        "layer `{}` is the first to lose precision: mean error {:.1} % of its mean magnitude, tolerance {:.1} %{cause}",
        lost.layer,
        lost.relative * 100.0,
        lost.tolerance * 100.0
    );
    let f = lost.fraction;
    let own = |what: &str| lost.weight_fraction.map_or_else(String::new, |w| format!("{what} {w}"));
    let bits = match lost.ring {
        Some(n) => format!("use --ring {n} --fraction {f}{}", own(" --weight-fraction")),
        None => format!("{f} fraction bits{} would do, and no ring has room for them", own(", of weights")),
    };
    let rescale =
        "multiply that layer's weights and bias by a constant and divide the next layer's weights by it";
    Failure::new(ExitCode::Range, what).remedy(format!("{bits}, or {rescale}")).in_layer(lost.layer.clone())
}

fn show(plan: &Plan, found: &Accuracy, trouble: Option<&Failure>, out: &Output) -> Result<(), Failure> {
    let (name, images) = (&plan.graph.name, found.images);
    out.line(format_args!(
        "{name}, {images} images, ring {} bits, fraction {} bits: fixed point against float32; 1 ulp = 2^-{}",
        found.ring, found.fraction, found.fraction
    ))?;
    out.line(table(&rows(found)))?;
    match found.labels {
        Some(labels) => out.line(format_args!(
            "labels that agree, of {images}: float/fixed {}, fixed/two parties {}, float/two parties {}",
            labels.float_fixed, labels.fixed_private, labels.float_private
        ))?,
        None => out.line("the output is no vector of classes: there are no labels to compare")?,
    }
    out.line(format_args!("output against float32: {}", output(found)))?;
    out.line(format_args!(
        "two parties against fixed point, at the output (nothing else is opened): {} of {} values differ",
        found.differing, found.outputs
    ))?;
    let trouble = trouble.map(|failure| failure.content().what.as_str());
    let plan = plan.digest()?.to_string();
    out.result_json(&Checked { graph: name, plan, trouble, accuracy: found })
}

/// How far the output was from float32, and how far it can be; the page says the same.
fn output(found: &Accuracy) -> String {
    let seen = short(found.layers.last().map_or(0.0, |layer| layer.worst_ulp));
    match found.bound_ulp {
        Some(bound) => format!(
            "largest difference seen {seen} ulp, at most {} ulp by the bound on rounding for these samples",
            short(bound)
        ),
        None => format!("largest difference seen {seen} ulp; no bound where values leave the ring"),
    }
}

fn short(value: f64) -> String {
    if value.abs() < 1e5 { format!("{value:.2}") } else { format!("{value:.1e}") }
}

/// The head of the table, and a row per layer; the page shows the same.
fn rows(found: &Accuracy) -> Vec<Vec<String>> {
    let head = [
        "layer",
        "operation",
        "largest",
        "headroom bits",
        "worst ulp",
        "mean ulp",
        "worst %",
        "mean %",
        "own mean %",
        "wraps",
    ];
    let row = |layer: &Layer| {
        vec![
            layer.name.clone(),
            layer.op.to_owned(),
            format!("{:.3}", layer.peak),
            format!("{:.1}", layer.headroom_bits),
            short(layer.worst_ulp),
            short(layer.mean_ulp),
            format!("{:.3}", layer.worst_relative * 100.0),
            format!("{:.3}", layer.mean_relative * 100.0),
            format!("{:.3}", layer.own_relative * 100.0),
            layer.wraps.to_string(),
        ]
    };
    [head.map(String::from).to_vec()].into_iter().chain(found.layers.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twoply_nn::accuracy::Agreement;

    /// A good check of a network of one layer.
    pub(super) fn good(name: &str) -> Accuracy {
        let layer = Layer {
            name: name.into(),
            op: "linear",
            values: 10,
            peak: 5.0,
            limit: 64.0,
            headroom_bits: 3.7,
            worst_ulp: 2.0,
            mean_ulp: 0.5,
            worst_relative: 0.01,
            mean_relative: 0.005,
            own_relative: 0.005,
            weights_relative: 0.0,
            wraps: 0,
            histogram: vec![7, 2, 1],
        };
        Accuracy {
            images: 1,
            ring: 32,
            fraction: 12,
            labels: Some(Agreement { float_fixed: 1, fixed_private: 1, float_private: 1 }),
            differing: 0,
            outputs: 10,
            wraps: 0,
            bound_ulp: Some(17.5),
            lost: None,
            weight_fraction: None,
            layers: vec![layer],
        }
    }

    #[test]
    fn the_bound_is_told_unless_values_left_the_ring() {
        let mut found = good("fc");
        assert!(output(&found).contains("seen 2.00 ulp, at most 17.50 ulp"), "{}", output(&found));
        found.bound_ulp = None;
        assert!(output(&found).ends_with("no bound where values leave the ring"));
    }

    #[test]
    fn the_worst_trouble_is_the_one_that_is_told() {
        let tight = || Some(Failure::new(ExitCode::Range, "tight"));
        let what =
            |found: &Accuracy, tight| trouble(found, tight).map(|f| (f.code(), f.content().what.clone()));
        let mut found = good("fc");
        assert_eq!(what(&found, None), None);
        let relative = 0.1;
        found.lost = Some(Lost {
            layer: "fc".into(),
            relative,
            tolerance: 0.02,
            weights: false,
            weight_fraction: None,
            fraction: 16,
            ring: None,
        });
        let (code, text) = what(&found, None).unwrap();
        assert!(code == ExitCode::Range && text.contains("10.0 %"), "{text}");
        assert_eq!(what(&found, tight()).unwrap().1, "tight");
        // Parties that compute something else are a mistake in this program ...
        found.differing = 3;
        let (code, text) = what(&found, tight()).unwrap();
        assert!(code == ExitCode::Internal && text.contains("3 of 10"), "{text}");
        // ... unless values left the contract, beyond which nothing is promised.
        (found.layers[0].wraps, found.layers[0].peak) = (1, 100.0);
        let failure = trouble(&found, tight()).unwrap();
        assert_eq!((failure.code(), failure.content().layer.as_deref()), (ExitCode::Range, Some("fc")));
        // 100 is below 2^7, and 7 + 24 + 2 = 33
        assert!(failure.content().what.contains("33 bits"), "{failure}");
    }
}
