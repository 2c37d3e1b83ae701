//! `twoply infer`: the data owner's side of private inference.

mod answer;
mod audit;
mod batches;

use super::inputs::Admit;
use super::output::Output;
use super::places::Places;
use super::stop::Stop;
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{Inputs, read_images, read_labels, read_plan, read_weights};
use crate::identity::Identity;
use crate::plain;
use crate::report::{Emulated, Report};
use crate::seen::Seen;
use crate::transport::Role;
use batches::{Batches, Done, Sink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use twoply_nn::data::FORMATS;
use twoply_nn::{Labels, Meaning, with_ring};

/// Classify images with both parties; neither sees them
///
/// Reads images or rows of a table (see Data below), masks them for both parties and prints one label a line, of a folder with
/// its file behind it; for one score its class and the score, and for outputs that are no classes their values. Images beyond the
/// plan's samples, or on another scale, are refused before anybody is called. Answers are printed as their requests end; where
/// a run breaks off, it says from which image on to ask again. With --weights (for owners of both data and model) the plain
/// network runs beside it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = format!("{}\n\n{EXAMPLE}", data()))]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// Images or rows: a file, a part of one (file.npz:name, file.csv:columns), or a folder
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// True labels (integers of NPY, NPZ or IDX, or a number a line), to count correct answers [default: the classes of a
    /// CIFAR file, or of a folder's subfolders]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Floating-point images, and numbers of tables, are normalised already; integers are raw
    #[arg(long)]
    normalised: bool,
    #[command(flatten)]
    admit: Admit,
    /// Go on from this image, counted from 0: those before it are passed over
    #[arg(long, value_name = "ROW", default_value = "0")]
    from: u64,
    /// Only N images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Images per request
    #[arg(long, value_name = "B", default_value = "128", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Ask again, up to N times for each request, when a party was lost; the images of a broken request cost keys
    #[arg(long, value_name = "N", default_value = "0")]
    retry: u32,
    /// With --format json: a line of JSON for every image as its request is answered, and the report as the last line
    #[arg(long)]
    stream: bool,
    /// The model's weights: also run the plain network here, and compare
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Record of granted images [default: seen in the home folder]
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

const EXAMPLE: &str = "Example:\n  twoply infer digits.plan.json --images examples/digits/digits-images.idx --p0 \
    p0.example:7700 --p0-key tp1-P0 --p1 p1.example:7700 --p1-key tp1-P1";

/// What is read, for the help.
fn data() -> String {
    let line = |(name, what): &(&str, &str)| format!("  {name:<7} {what}");
    let lines = FORMATS.iter().map(line).collect::<Vec<_>>().join("\n");
    format!(
        "Data (also gzipped):\n{lines}\n  folder  files in the order of the numbers in their names, hidden ones left out; or a \
        subfolder of files for each class, in alphabetical order"
    )
}

/// Runs the inference.
///
/// # Errors
/// 4, 5, 6, 8, 9, 10, 12, 14, 15: each named by its cause. What was answered before is printed.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let stop = Stop::watch()?;
    stop.obey(ask(args, out, &stop), out)
}

fn ask(args: Args, out: &Output, stop: &Stop) -> Result<(), Failure> {
    let plan = read_plan(&args.plan)?;
    let output = Meaning::of(&plan.graph)?;
    answer::comparable(&output, args.labels.is_some())?;
    let skipped = args.from as usize;
    let mut inputs = read_images(&args.images, &plan.graph.input, args.normalised)?.from(skipped)?;
    if let Some(limit) = args.limit {
        inputs = inputs.first(limit as usize);
    }
    args.admit.check(&plan, &inputs, (args.normalised, "--normalised"), out)?;
    let truth = truth(&args, &inputs, &output)?;
    // All of it before anyone is called: a value that does not fit must not cost the images before it.
    let program = plan.program()?;
    with_ring!(plan.options.fixed.n, R => program.encode_input::<R>(&inputs.values).map(drop)?);
    let weights = args.weights.as_ref().map(|path| read_weights(path, &plan.graph)).transpose()?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let seen = match &args.seen {
        Some(path) => path.clone(),
        None => out.home()?.join("seen"),
    };
    let (places, call) = args.places.read()?;
    let began = Instant::now();
    let connect = || stop.connect(|| Parties::connect(identity.clone(), Role::Client, &places, call));
    let batches =
        Batches { plan: &plan, batch: args.batch as usize, retry: args.retry, connect: &connect, stop };
    let mut sink = Sink::new(out, &output, (args.stream, skipped), inputs.names.as_deref());
    let parties = connect()?;
    out.note("connected to both parties");
    let seen = Seen::open(&seen)?;
    let done: Done =
        with_ring!(plan.options.fixed.n, R => batches.run::<R>((parties, seen), &inputs.values, &mut sink))?;
    stop.left();
    let images = done.images();
    let mut report = Report { images: images as u64, link: Emulated::by(call.link), ..Report::default() };
    report.seconds.online = Some(done.requests.iter().sum());
    report.seconds.total = Some(began.elapsed().as_secs_f64());
    if let Some(weights) = &weights {
        let values = &inputs.values[..images * plan.graph.input.row()];
        let plain = plain::compare(&mut report, (&plan, weights), values, &done.answer)?;
        report.correct_plain = plain::correct(plain.as_deref(), truth.as_ref());
    }
    report.correct_private = plain::correct(output.labels(&done.answer).as_deref(), truth.as_ref());
    (report.requests, report.answers) = (done.requests, done.answers);
    report.range_audit = done.audit.0.iter().cloned().collect();
    summary(&report, out);
    sink.end(&report, &done.answer)?;
    let doubt = audit::judge(&done.audit, (args.admit.allow_out_of_range, skipped), out);
    match done.failure {
        Some(failure) => Err(broken_off(failure, (images, skipped), doubt.err())),
        None => doubt,
    }
}

/// The true labels, if they are known.
fn truth(args: &Args, inputs: &Inputs, output: &Meaning) -> Result<Option<Labels>, Failure> {
    let truth = match &args.labels {
        Some(path) => {
            let Labels(mut labels) = read_labels(path)?;
            labels.drain(..labels.len().min(args.from as usize));
            Some(Labels(labels))
        }
        // What the images' file holds cannot be compared either where there are no labels.
        None => inputs.labels(output),
    };
    if let Some(Labels(l)) = &truth
        && l.len() < inputs.images
    {
        let text = format!("{} labels for {} images", l.len(), inputs.images);
        return Err(Failure::new(ExitCode::Model, text).during(Phase::Import));
    }
    Ok(truth)
}

/// A failure behind answers: how to go on, and what to think of the answers.
fn broken_off(failure: Failure, (answered, skipped): (usize, usize), doubt: Option<Failure>) -> Failure {
    if answered == 0 {
        return failure;
    }
    let doubt = doubt.map_or(String::new(), |doubt| format!("; of those before, {}", doubt.content().what));
    let remedy = format!(
        "{}; the first {answered} images are answered: go on with --from {}{doubt}",
        failure.content().remedy,
        skipped + answered
    );
    failure.remedy(remedy)
}

fn summary(report: &Report, out: &Output) {
    let online = report.seconds.online.unwrap_or(0.0);
    out.note(format_args!(
        "{} images in {online:.3} s online, {:.2} ms each",
        report.images,
        online * 1e3 / report.images.max(1) as f64
    ));
    if let Some(link) = &report.link {
        out.note(format_args!("link: {}", link.what));
    }
    if let Some(correct) = report.correct_private {
        out.note(format_args!("{correct} of {} labels are the given ones", report.images));
    }
    if let Some(agree) = report.agree {
        out.note(format_args!("{agree} of {} labels are the plain network's", report.images));
    }
}
