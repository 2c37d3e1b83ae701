//! `twoply demo`: private inference on this machine, all roles as real processes.

mod train;

pub(super) use train::teach;

use super::device::{self, On};
use super::inputs::Admit;
use super::output::{Output, bytes};
use crate::demo::cast::Stage;
use crate::demo::{self, Play};
use crate::exit::{ExitCode, Failure};
use crate::report::Report;
use crate::transport::{NoShape, Shape};
use std::io::Write;
use std::path::{Path, PathBuf};

const MODEL: &[u8] = include_bytes!("../../../examples/digits/digits.onnx");
const IMAGES: &[u8] = include_bytes!("../../../examples/digits/digits-images.idx");
const LABELS: &[u8] = include_bytes!("../../../examples/digits/digits-labels.idx");
const SAMPLES: &[u8] = include_bytes!("../../../examples/digits/calibration-images.idx");

/// See private inference at work: dealer, two parties, model owner and client on this machine
///
/// Without options: a small network and 500 handwritten digits that this program carries. With --model, --images, --samples
/// (and --labels): any importable network and its data. With --train: private training instead of inference. Fails unless private and plain labels agree, and unless the counters
/// are what the plan promised.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply demo --limit 50 --link wan")]
pub struct Args {
    /// ONNX model [default: the digits network of this program]
    #[arg(long, value_name = "FILE", group = "network", requires_all = ["images", "samples"])]
    model: Option<PathBuf>,
    /// A network of the zoo, with made-up weights on images of noise unless told otherwise; --limit says how many [default: 1]
    #[arg(long, value_name = "NETWORK", group = "network", conflicts_with_all = ["scale", "mean", "std"])]
    zoo: Option<String>,
    /// Parameters of the network of the zoo: a PyTorch state dictionary saved as safetensors
    #[arg(long, value_name = "FILE", requires = "zoo")]
    state_dict: Option<PathBuf>,
    /// Images to classify: a file or folder, as `twoply infer --help` lists them
    #[arg(long, value_name = "FILE", requires_all = ["network", "samples"])]
    images: Option<PathBuf>,
    /// Their true labels [default: those in the images' file, if it holds any]
    #[arg(long, value_name = "FILE", requires = "images")]
    labels: Option<PathBuf>,
    /// Public sample inputs, for the ranges
    #[arg(long, value_name = "FILE", requires = "images")]
    samples: Option<PathBuf>,
    /// Factor on raw pixels
    #[arg(long, value_name = "S", requires = "network")]
    scale: Option<f64>,
    /// Mean per channel, after scaling
    #[arg(long, value_name = "M", requires = "network", num_args = 1..)]
    mean: Vec<f64>,
    /// Standard deviation per channel, after scaling
    #[arg(long, value_name = "D", requires = "network", num_args = 1..)]
    std: Vec<f64>,
    #[command(flatten)]
    admit: Admit,
    /// Only the first N images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Images per request
    #[arg(long, value_name = "B", default_value = "128", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Comparison: digits or dpf
    #[arg(long, value_name = "KIND")]
    compare: Option<String>,
    /// Truncation: public-coin or floor
    #[arg(long, value_name = "MODE")]
    rounding: Option<String>,
    /// Ring: 32 or 64 bits
    #[arg(long, value_name = "N")]
    ring: Option<String>,
    /// What the client learns: logits or label
    #[arg(long, value_name = "WHAT")]
    reveal: Option<String>,
    /// Let the client learn how many values of each layer came near the end of their range or left it
    #[arg(long)]
    audit: bool,
    /// Emulate a link between all processes: dc, lan, wan, slow, or rtt=40ms,rate=400mbit
    #[arg(long, value_name = "LINK", env = "TWOPLY_LINK", default_value = "loopback", value_parser = link)]
    link: String,
    #[command(flatten)]
    on: On,
    /// Least share of labels that must agree with the plain network
    #[arg(long, value_name = "SHARE", default_value = "0.99")]
    agreement: f64,
    /// Fail if the private accuracy is more than this many points below the plain network's
    #[arg(long, value_name = "POINTS")]
    accuracy_loss: Option<f64>,
    #[command(flatten)]
    training: train::Training,
    /// Work here, and leave all files (keys are erased otherwise)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// Whatever a process failed with; 1 when labels disagree or counters break the plan's promise.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    device::resolve(args.on.device)?;
    let scratch = tempfile::Builder::new().prefix("twoply-demo-").tempdir();
    let scratch = scratch.map_err(|e| Failure::io("create", "a temporary folder", &e))?;
    let folder = args.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    crate::files::private_dir(&folder)?;
    if args.training.wanted() {
        return train::run(&args, &folder, out);
    }
    let play = play(&args, &folder)?;
    let stage = Stage::new(if out.quiet() { |_, _| () } else { forward })?;
    let report = demo::run(&play, &folder, &stage)?;
    show(&report, out)?;
    // Where there are no labels to agree on, the values have to.
    if let (None, Some(worst)) = (report.agree, report.worst_relative.filter(|worst| *worst > MOST_APART)) {
        let text = format!(
            "the private output differs from the plain network's by {:.2} % of the largest value",
            worst * 100.0
        );
        return Err(Failure::new(ExitCode::Internal, text));
    }
    let agree = report.agree.map_or(1.0, |agree| agree as f64 / report.images.max(1) as f64);
    if agree < args.agreement {
        let text = format!("only {:.2} % of the private labels are the plain network's", agree * 100.0);
        return Err(Failure::new(ExitCode::Internal, text));
    }
    if let (Some(most), Some(private), Some(plain)) =
        (args.accuracy_loss, report.correct_private, report.correct_plain)
    {
        let loss = (plain as f64 - private as f64) * 100.0 / report.images.max(1) as f64;
        if loss > most {
            return Err(Failure::new(
                ExitCode::Internal,
                format!("the private accuracy is {loss:.2} points lower"),
            ));
        }
    }
    Ok(())
}

/// Most that outputs without labels may differ, beside the largest value.
const MOST_APART: f64 = 0.02;

fn forward(who: &str, line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{who:>6} | {line}");
}

/// The text as the processes take it, once it is known that they do.
fn link(text: &str) -> Result<String, NoShape> {
    text.parse::<Shape>().map(|_| text.to_owned())
}

fn play(args: &Args, folder: &Path) -> Result<Play, Failure> {
    let option = |flag: &str, value: &Option<String>| {
        value.iter().flat_map(|v| [flag.to_owned(), v.clone()]).collect::<Vec<_>>()
    };
    let mut plan = option("--compare", &args.compare);
    plan.extend(option("--rounding", &args.rounding));
    plan.extend(option("--ring", &args.ring));
    plan.extend(option("--reveal", &args.reveal));
    plan.extend(args.audit.then(|| "--audit".to_owned()));
    let mut play = Play {
        model: Some(folder.join("digits.onnx")),
        import: ["--scale", "0.0625", "--mean", "0.3125", "--std", "0.5"].map(String::from).to_vec(),
        images: folder.join("digits-images.idx"),
        labels: Some(folder.join("digits-labels.idx")),
        samples: folder.join("calibration-images.idx"),
        plan,
        limit: args.limit,
        infer: args.admit.allow_out_of_range.then(|| "--allow-out-of-range".to_owned()).into_iter().collect(),
        batch: args.batch,
        link: args.link.clone(),
        device: args.on.device,
    };
    if let Some(zoo) = &args.zoo {
        let images = args.limit.unwrap_or(1);
        play.model = None;
        play.import = ["--zoo", zoo, "--noise", &images.to_string()].map(String::from).to_vec();
        play.import
            .extend(option("--state-dict", &args.state_dict.as_ref().map(|p| p.display().to_string())));
        let noise = folder.join("model.noise.npy");
        play.images = args.images.clone().unwrap_or(noise.clone());
        play.samples = args.samples.clone().unwrap_or(noise);
        play.labels = args.labels.clone();
        play.limit = args.limit.or(args.images.is_none().then_some(images));
        return Ok(play);
    }
    let (Some(model), Some(images), Some(samples)) = (&args.model, &args.images, &args.samples) else {
        let carried = [
            (&folder.join("digits.onnx"), MODEL),
            (&play.images, IMAGES),
            (&play.samples, SAMPLES),
            (&folder.join("digits-labels.idx"), LABELS),
        ];
        for (path, bytes) in carried {
            std::fs::write(path, bytes).map_err(|e| Failure::io("write", path.display(), &e))?;
        }
        return Ok(play);
    };
    play.import = normalisation(args);
    (play.model, play.images, play.samples, play.labels) =
        (Some(model.clone()), images.clone(), samples.clone(), args.labels.clone());
    Ok(play)
}

/// Flags of `import` for what is done to pixels.
fn normalisation(args: &Args) -> Vec<String> {
    let list = |flag: &str, values: &[f64]| {
        let flag = (!values.is_empty()).then(|| flag.to_owned());
        flag.into_iter().chain(values.iter().map(f64::to_string)).collect::<Vec<_>>()
    };
    [list("--scale", args.scale.as_slice()), list("--mean", &args.mean), list("--std", &args.std)].concat()
}

fn show(r: &Report, out: &Output) -> Result<(), Failure> {
    let of = |v: Option<u64>| {
        v.map_or("-".into(), |v| {
            format!("{v} of {} ({:.2} %)", r.images, v as f64 * 100.0 / r.images.max(1) as f64)
        })
    };
    let seconds = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2} s"));
    out.line(r.table())?;
    out.line(r.opened_lines())?;
    if let Some(link) = &r.link {
        out.line(format_args!("link: {}", link.what))?;
    }
    match r.agree {
        Some(_) => out.line(format_args!("private labels equal the plain network's: {}", of(r.agree)))?,
        None => out.line("the output is no vector of classes: there are no labels to compare")?,
    }
    out.line(format_args!(
        "correct labels: private {}, plain {}",
        of(r.correct_private),
        of(r.correct_plain)
    ))?;
    let ulp = r.worst_ulp.map_or("-".into(), |v| format!("{v:.1}"));
    out.line(format_args!("worst output error: {ulp} ulp; values out of range: {}", r.wraps.unwrap_or(0)))?;
    let s = &r.seconds;
    out.line(format_args!(
        "dealing {}, online {}, everything {}",
        seconds(s.deal),
        seconds(s.online),
        seconds(s.total)
    ))?;
    let mb = |v: Option<u64>| v.map_or("-".into(), bytes);
    let (dealer, [p0, p1]) = (mb(r.memory.dealer), r.memory.parties.map(mb));
    out.line(format_args!("peak memory: dealer {dealer}, P0 {p0}, P1 {p1}"))?;
    let device = |d: &Option<String>| d.clone().unwrap_or("-".into());
    let (dealer, [p0, p1]) = (device(&r.devices.dealer), r.devices.parties.each_ref().map(device));
    out.line(format_args!("computed on: dealer {dealer}, P0 {p0}, P1 {p1}"))?;
    for (p, k) in r.key_reading.iter().enumerate().filter_map(|(p, k)| Some((p, k.as_ref()?))) {
        let (mb, ahead) = (k.bytes as f64 / 1e6, 100.0 * k.ahead as f64 / k.bytes.max(1) as f64);
        let ms = k.seconds * 1e3;
        out.line(format_args!(
            "keys of P{p}: {mb:.1} MB verified in {ms:.1} ms, {ahead:.0} % of them before they were asked for"
        ))?;
    }
    out.line("every counter is what the plan promised")?;
    out.result_json(r)
}
