//! `twoply import`: an ONNX model, or a network of the zoo, becomes a public graph and a private weights file.

mod beside;
mod example;
mod operators;

use super::output::{Output, shell, table};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{self, Existing};
use beside::Beside;
use example::Compared;
use serde::Serialize;
use std::path::{Path, PathBuf};
use twoply_nn::data::npy;
use twoply_nn::import::onnx::{self, Dropped, Options, Report};
use twoply_nn::zoo::{self, Entry, Seeded, StateDict};
use twoply_nn::{Graph, Imported, Layout, Normalise, Op};
use zeroize::Zeroizing;

/// Import an ONNX model, or a network of the zoo: a public graph and a private weights file
///
/// Writes NAME.graph.json, which both parties, the dealer and the data owner may read, and
/// NAME.weights.safetensors, which stays with the model owner (mode 0600). A model that cannot be
/// taken as it is fails with everything that stands in the way. Weights may lie in a file beside the
/// model. A last Softmax, LogSoftmax or Sigmoid is dropped, and said so: the output is the logits.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply import examples/digits/digits.onnx --scale 1/16 --mean 0.3125 --std 0.5"
)]
pub struct Args {
    /// The model, as torch.onnx.export writes it
    #[arg(value_name = "MODEL.onnx", required_unless_present_any = ["zoo", "list_operators"])]
    model: Option<PathBuf>,
    /// A network of AriaNN's evaluation instead, ResNet-20 or ResNet-8; an unknown name lists them
    #[arg(long, value_name = "NETWORK", conflicts_with_all = ["model", "scale", "mean", "std"])]
    zoo: Option<String>,
    /// Its parameters: a PyTorch state dictionary saved as safetensors [default: made up, for cost runs]
    #[arg(long, value_name = "FILE", requires = "zoo")]
    state_dict: Option<PathBuf>,
    /// Seed of parameters that are made up
    #[arg(long, value_name = "N", requires = "zoo", conflicts_with = "state_dict", default_value_t = 0)]
    seed: u64,
    /// Also write N images of noise, NAME.noise.npy, to plan and run with
    #[arg(long, value_name = "N", requires = "zoo", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    noise: Option<u32>,
    /// The model's output to take [default: the only one that can be taken]
    #[arg(long, value_name = "NAME", conflicts_with = "zoo")]
    output: Option<String>,
    /// Refuse the model if its last Softmax, LogSoftmax or Sigmoid would be dropped
    #[arg(long, conflicts_with = "zoo")]
    keep_probabilities: bool,
    /// Keep dropouts, which inference does without, for training
    #[arg(long, conflicts_with = "zoo")]
    keep_dropout: bool,
    /// Keep batch normalisations as layers of their own, for `twoply train`; only folded ones can answer
    #[arg(long)]
    keep_batchnorm: bool,
    /// List the operators that can be imported, and stop
    #[arg(long, exclusive = true)]
    list_operators: bool,
    /// Path and name of the results, without endings [default: the model's own name, in this folder]
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
    /// Factor on raw pixels, before mean and std: a number, or a fraction such as 1/255
    #[arg(long, value_name = "S", value_parser = number, default_value = "1")]
    scale: f64,
    /// Mean of each channel, subtracted after scaling
    #[arg(long, value_name = "M", value_parser = number, num_args = 1.., value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f64>,
    /// Standard deviation of each channel, divided by after the mean
    #[arg(long, value_name = "S", value_parser = number, num_args = 1.., value_delimiter = ',')]
    std: Vec<f64>,
    /// Where the model has the channels of its pictures, if that is not evident
    #[arg(long, value_enum, conflicts_with = "zoo")]
    layout: Option<Axes>,
    #[command(flatten)]
    example: example::Flags,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// Layouts of pictures by their names.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Axes {
    /// [c, h, w], as PyTorch has them
    ChannelsFirst,
    /// [h, w, c], as Keras has them
    ChannelsLast,
}

impl From<Axes> for Layout {
    fn from(axes: Axes) -> Layout {
        match axes {
            Axes::ChannelsFirst => Layout::ChannelsFirst,
            Axes::ChannelsLast => Layout::ChannelsLast,
        }
    }
}

/// A finite number, or a fraction of two.
fn number(text: &str) -> Result<f64, String> {
    let parse = |part: &str| part.trim().parse::<f64>().map_err(|e| format!("`{part}`: {e}"));
    let value = match text.split_once('/') {
        Some((above, below)) => parse(above)? / parse(below)?,
        None => parse(text)?,
    };
    if value.is_finite() { Ok(value) } else { Err(format!("`{text}` is not a finite number")) }
}

/// The JSON result.
#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    graph: &'a Path,
    weights: &'a Path,
    digest: String,
    input: &'a [usize],
    output: &'a [usize],
    /// The model's output that was taken, and those that were left; null and none for a network of the zoo.
    output_name: Option<&'a str>,
    other_outputs: &'a [String],
    /// Functions at the model's end that the network does without.
    dropped: &'a [Dropped],
    /// Names of the classes, in the order of the logits, where the file has them.
    classes: &'a [String],
    parameters: usize,
    layers: Vec<Layer<'a>>,
    /// How near the network came to --expect; null without an example.
    example: Option<Compared>,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    op: &'static str,
    shape: Vec<usize>,
    parameters: usize,
}

/// Imports the model.
///
/// # Errors
/// 15 with every obstacle when the model cannot be taken, and when it gives something else for the example; 16 when a result exists or cannot be written.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    if args.list_operators {
        return operators::list(out);
    }
    let base = match &args.out {
        Some(base) => base.clone(),
        None => {
            let given = args.zoo.as_ref().map(PathBuf::from).or(args.model.clone()).unwrap_or_default();
            PathBuf::from(given.file_stem().unwrap_or_default())
        }
    };
    let name = base.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() {
        return Err(
            Failure::new(ExitCode::Usage, "the results need a name").remedy("give one with --out NAME")
        );
    }
    let ending = |ending: &str| base.with_file_name(format!("{name}{ending}"));
    let (graph_path, weights_path) = (ending(".graph.json"), ending(".weights.safetensors"));
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    files::vacant(&graph_path, existing)?;
    files::vacant(&weights_path, existing)?;
    if let (Some(name), Some(count)) = (&args.zoo, args.noise) {
        noise(name, count as usize, &ending(".noise.npy"), existing)?;
    }

    let during = |failure: Failure| failure.during(Phase::Import);
    let (model, report) = load(&args, &name).map_err(during)?;
    let example = args.example.compare(&model, &report).map_err(during)?;
    let Imported { graph, weights } = model;
    let bytes = Zeroizing::new(weights.to_safetensors(&graph)?);
    // The private half first: a graph without weights would look like a finished import.
    files::write_private(&weights_path, &bytes, existing)?;
    files::write_public(&graph_path, graph.to_json().as_bytes(), existing)?;
    show(&graph, (&graph_path, &weights_path), &report, example, out)
}

fn noise(name: &str, count: usize, path: &Path, existing: Existing) -> Result<(), Failure> {
    let entry = zoo::named(name).map_err(|e| no_network(&e))?;
    let shape: Vec<usize> = std::iter::once(count).chain(entry.input).collect();
    let bytes = npy::write_bytes(&shape, &entry.noise(count)).unwrap_or_default();
    files::write_public(path, &bytes, existing)
}

fn no_network(error: &twoply_nn::Error) -> Failure {
    Failure::new(ExitCode::Usage, error.to_string()).remedy("choose one of these names for --zoo")
}

/// The network, and what was left of its file on the way.
fn load(args: &Args, name: &str) -> Result<(Imported, Report), Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| files::refused("read", path, &e));
    if let Some(network) = &args.zoo {
        let entry = zoo::named(network).map_err(|e| no_network(&e))?;
        let build = if args.keep_batchnorm { Entry::with_norms } else { Entry::build };
        let network = match &args.state_dict {
            Some(path) => build(entry, &mut StateDict::read(&Zeroizing::new(read(path)?))?)?,
            None => build(entry, &mut Seeded(args.seed))?,
        };
        return Ok((network, Report::default()));
    }
    let model = args.model.as_deref().unwrap_or(Path::new(""));
    let bytes = read(model)?;
    let normalise = Normalise { scale: args.scale, mean: args.mean.clone(), std: args.std.clone() };
    let options = Options {
        name: Some(name),
        normalise: Some(&normalise),
        output: args.output.as_deref(),
        folder: Some(&Beside::of(model)),
        keep_probabilities: args.keep_probabilities,
        keep_dropout: args.keep_dropout,
        keep_batchnorm: args.keep_batchnorm,
        layout: args.layout.map(Layout::from),
    };
    onnx::read(&bytes, &options).map_err(|error| {
        let failure = Failure::from(error);
        let content = failure.content();
        let what = format!("{}: {}", model.display(), content.what);
        let named = Failure::new(content.code, what).remedy(content.remedy.clone());
        named.with_obstacles(content.obstacles.clone())
    })
}

fn show(
    graph: &Graph,
    (graph_path, weights_path): (&Path, &Path),
    report: &Report,
    example: Option<Compared>,
    out: &Output,
) -> Result<(), Failure> {
    let shapes = graph.shapes()?;
    let size = |index: usize| graph.params[index].shape.iter().product::<usize>();
    let layer = |(node, shape): (&'_ twoply_nn::Node, &Vec<usize>)| {
        let parameters = node.op.params().map(size).sum();
        (node.name.clone(), node.op.kind(), shape.clone(), parameters)
    };
    let layers: Vec<(String, &'static str, Vec<usize>, usize)> =
        graph.nodes.iter().zip(&shapes).map(layer).collect();
    let parameters: usize = layers.iter().map(|layer| layer.3).sum();
    let output = shapes.last().map(Vec::as_slice).unwrap_or_default();

    let mut rows = vec![["layer", "operation", "shape", "parameters"].map(String::from).to_vec()];
    rows.push(vec![graph.input.name.clone(), "input".into(), format!("{:?}", graph.input.shape), "0".into()]);
    rows.extend(layers.iter().map(|(name, op, shape, parameters)| {
        vec![name.clone(), (*op).to_owned(), format!("{shape:?}"), parameters.to_string()]
    }));
    out.line(table(&rows))?;
    out.line(format_args!("{} layers, {parameters} parameters", layers.len()))?;
    if !report.others.is_empty() {
        out.line(format_args!("output:   {} (left: {})", report.output, report.others.join(", ")))?;
    }
    for Dropped { node, op, meaning, .. } in &report.dropped {
        out.line(format_args!("dropped:  {op} `{node}`; {meaning}"))?;
    }
    if !report.classes.is_empty() {
        out.line(format_args!("classes:  {}", report.classes.join(", ")))?;
    }
    out.line(format_args!("graph:    {} (public)", graph_path.display()))?;
    out.line(format_args!("weights:  {} (private, stays here)", weights_path.display()))?;
    out.result_json(&Summary {
        name: &graph.name,
        graph: graph_path,
        weights: weights_path,
        digest: graph.digest().iter().map(|byte| format!("{byte:02x}")).collect(),
        input: &graph.input.shape,
        output,
        output_name: Some(report.output.as_str()).filter(|name| !name.is_empty()),
        other_outputs: &report.others,
        dropped: &report.dropped,
        classes: &report.classes,
        parameters,
        layers: layers
            .iter()
            .map(|(name, op, shape, parameters)| Layer {
                name,
                op,
                shape: shape.clone(),
                parameters: *parameters,
            })
            .collect(),
        example,
    })?;
    let (path, weights) = (shell(graph_path), shell(weights_path));
    match graph.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. })) {
        true => out.note(format_args!("next: twoply train plan {path} --rows N --samples FILE")),
        false => out.note(format_args!("next: twoply plan {path} --weights {weights} --samples IMAGES")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_fractions_and_must_be_finite() {
        assert_eq!(number("1/256"), Ok(1.0 / 256.0));
        assert_eq!(number("-0.5"), Ok(-0.5));
        for bad in ["", "x", "1/0", "inf", "1/2/3", "NaN"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    /// With `--format json` a failed import is one object with a list.
    #[test]
    fn obstacles_are_a_list() {
        let obstacle = |op: &str| twoply_nn::Obstacle {
            node: "n".into(),
            op: op.into(),
            times: 2,
            reason: "not supported".into(),
            remedy: "train without it".into(),
        };
        let error = twoply_nn::Error::Import { obstacles: vec![obstacle("Gelu"), obstacle("LSTM")] };
        let json = serde_json::to_value(Failure::from(error)).unwrap();
        assert_eq!(json["obstacles"][1]["op"], "LSTM");
        assert_eq!((&json["code"], &json["obstacles"][0]["times"]), (&15.into(), &2.into()));
        let plain = serde_json::to_value(Failure::new(ExitCode::Model, "x")).unwrap();
        assert!(plain.get("obstacles").is_none());
    }
}
