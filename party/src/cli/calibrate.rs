//! `twoply calibrate`: from ranges to fraction bits, with the inequality that proves each layer.

use super::output::{Output, shell, table};
use super::samples::Samples;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use twoply_nn::fit::Room;
use twoply_nn::{Error, Fit, Graph, Weights, fit};

/// Find the most fraction bits that fit, layer by layer
///
/// Takes ranges from public sample images, or without any the bounds that no byte image exceeds, and
/// finds for rings of 32 and 64 bits the most fraction bits with which every layer fits with the
/// margin. Shows the inequality that proves it for each layer, and the `twoply plan` line.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply calibrate digits.graph.json --weights digits.weights.safetensors --samples \
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
    /// Bits of the fraction of weights and biases, where they are to have their own, as they have in training
    #[arg(long, value_name = "W")]
    weight_fraction: Option<u32>,
}

/// The JSON result.
#[derive(Serialize)]
struct Found {
    graph: String,
    /// Samples seen; 0 when ranges are bounds.
    samples: usize,
    margin: f64,
    /// One per ring that has room, 32 bits first.
    rings: Vec<Fit>,
    /// Why other rings have none.
    refused: Vec<Refused>,
    recommended: Recommended,
}

#[derive(Serialize)]
struct Refused {
    ring: u32,
    layer: Option<String>,
    why: String,
}

#[derive(Serialize)]
struct Recommended {
    ring: u32,
    fraction: u32,
    command: String,
}

/// Calibrates.
///
/// # Errors
/// 10 when no ring has room, naming the layers and the bits they need; 2 for an impossible margin; 15 when graph,
/// weights or samples are unusable.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let graph = files::read_graph(&args.graph)?;
    let weights = files::read_weights(&args.weights, &graph)?;
    let found = find(&args, (&graph, &weights), out).map_err(|failure| failure.during(Phase::Plan))?;
    show(&found, out)
}

fn find(args: &Args, (graph, weights): (&Graph, &Weights), out: &Output) -> Result<Found, Failure> {
    let margin = args.samples.margin()?;
    let inputs = args.samples.read(graph)?;
    let ranges = args.samples.ranges((graph, weights), inputs.as_ref(), out)?;
    let (rings, refused) = fit::rings((graph, weights), &ranges, (margin, args.weight_fraction));
    let Some(best) = fit::recommended(&rings) else {
        // The wider ring's refusal is the one that counts.
        let failure = refused.into_iter().last().map(|(_, error)| Failure::from(error));
        let failure = failure.unwrap_or_else(|| Failure::new(ExitCode::Internal, "no ring was tried"));
        let more = match inputs {
            Some(_) => "choose a smaller --margin",
            None => "add --samples IMAGES: bounds are mostly far too wide",
        };
        return Err(failure.remedy(format!(
            "{more}, or make the values of that layer smaller: normalise the input, or divide the layer's weights \
             and bias by a constant and multiply the next layer's weights by it"
        )));
    };
    let recommended = Recommended { ring: best.ring, fraction: best.fraction, command: command(args, best) };
    let why = |(ring, error): (u32, Error)| {
        let failure = Failure::from(error);
        let content = failure.content();
        Refused { ring, layer: content.layer.clone(), why: content.what.clone() }
    };
    Ok(Found {
        graph: graph.name.clone(),
        samples: ranges.samples,
        margin,
        refused: refused.into_iter().map(why).collect(),
        rings,
        recommended,
    })
}

/// The line to run next.
fn command(args: &Args, best: &Fit) -> String {
    let flag = |name: &str, path: &Path| format!(" --{name} {}", shell(path));
    let samples = args.samples.samples.as_deref().map(|path| flag("samples", path)).unwrap_or_default();
    let margin = args.samples.margin.map(|margin| format!(" --margin {margin}")).unwrap_or_default();
    let (graph, weights) = (shell(&args.graph), flag("weights", &args.weights));
    let own = best.weight_fraction.map(|w| format!(" --weight-fraction {w}")).unwrap_or_default();
    let (n, f) = (best.ring, best.fraction);
    format!("twoply plan {graph}{weights}{samples}{margin} --ring {n} --fraction {f}{own}")
}

fn show(found: &Found, out: &Output) -> Result<(), Failure> {
    let seen = match found.samples {
        0 => "bounds for any byte image".to_owned(),
        n => format!("ranges of {n} samples"),
    };
    out.line(format_args!("{}: {seen}, margin {}", found.graph, found.margin))?;
    for fit in &found.rings {
        let (n, f, m) = (fit.ring, fit.fraction, fit.truncated);
        out.line(format_args!(
            "\nring {n} bits: fraction {f} bits, {m} bits after a truncation; `{}` allows no more",
            fit.bottleneck
        ))?;
        out.line(table(&rows(fit)))?;
    }
    for refused in &found.refused {
        out.line(format_args!("\nring {} bits: nothing fits: {}", refused.ring, refused.why))?;
    }
    out.line(format_args!("\nrecommended: {}", found.recommended.command))?;
    out.result_json(found)
}

fn rows(fit: &Fit) -> Vec<Vec<String>> {
    let head = ["layer", "observed", "bound", "weights", "most f", "headroom bits", "nothing wraps, for"];
    let row = |room: &Room| {
        vec![
            room.name.clone(),
            format!("{:.3}", room.observed),
            format!("{:.3}", room.bound),
            format!("{:.3}", room.weights),
            room.most_fraction.map_or_else(|| "-".into(), |f| f.to_string()),
            format!("{:.1}", room.headroom_bits),
            room.proof.clone(),
        ]
    };
    [head.map(String::from).to_vec()].into_iter().chain(fit.layers.iter().map(row)).collect()
}
