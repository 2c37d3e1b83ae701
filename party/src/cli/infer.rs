//! `twoply infer`: the data owner's side of private inference.

mod answer;
mod audit;

use super::inputs::Admit;
use super::output::Output;
use super::places::Places;
use crate::client::{Client, Parties};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{read_images, read_labels, read_plan, read_weights};
use crate::identity::Identity;
use crate::plain;
use crate::report::{Emulated, Report};
use crate::seen::Seen;
use crate::transport::Role;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use twoply_nn::program::RangeAudit;
use twoply_nn::roles::Answer;
use twoply_nn::{Labels, Meaning, Plan, with_ring};

/// Classify images with both parties; neither sees them
///
/// Reads IDX, NPY, PNG or CIFAR-10 files (also gzipped, or a folder of them), masks them for both parties and prints one
/// label a line; for one score its class and the score, and for outputs that are no classes their values. Images beyond the
/// plan's samples, or on another scale, are refused before anybody is called. With --weights (for owners of both data and model) the plain network runs beside it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply infer digits.plan.json --images examples/digits/digits-images.idx --p0 \
    p0.example:7700 --p0-key tp1-P0 --p1 p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// Images
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// True labels (IDX or NPY), to count correct answers
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Floating-point images are normalised already
    #[arg(long)]
    normalised: bool,
    #[command(flatten)]
    admit: Admit,
    /// Only the first N images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Images per request
    #[arg(long, value_name = "B", default_value = "128", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
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

/// Runs the inference.
///
/// # Errors
/// 4, 5, 6, 8, 9, 10, 14, 15: each named by its cause.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let plan = read_plan(&args.plan)?;
    let output = Meaning::of(&plan.graph)?;
    answer::comparable(&output, args.labels.is_some())?;
    let mut inputs = read_images(&args.images, &plan.graph.input, args.normalised)?;
    if let Some(limit) = args.limit {
        inputs = inputs.first(limit as usize);
    }
    args.admit.check(&plan, &inputs, (args.normalised, "--normalised"), out)?;
    let truth = match &args.labels {
        Some(path) => Some(read_labels(path)?),
        // What the images' file holds cannot be compared either where there are no labels.
        None => inputs.labels.clone().filter(|_| output.no_labels().is_none()),
    };
    if let Some(Labels(l)) = &truth
        && l.len() < inputs.images
    {
        let text = format!("{} labels for {} images", l.len(), inputs.images);
        return Err(Failure::new(ExitCode::Model, text).during(Phase::Import));
    }
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
    let parties = Parties::connect(identity, Role::Client, &places, call)?;
    out.note("connected to both parties");
    let work = (&inputs.values[..], args.batch as usize);
    let (answer, audit, [requests, answers]) =
        with_ring!(plan.options.fixed.n, R => batches::<R>(&plan, parties, Seen::open(&seen)?, work, out)?);
    let mut report =
        Report { images: inputs.images as u64, link: Emulated::by(call.link), ..Report::default() };
    report.seconds.online = Some(requests.iter().sum());
    report.seconds.total = Some(began.elapsed().as_secs_f64());
    if let Some(weights) = &weights {
        let plain = plain::compare(&mut report, (&plan, weights), &inputs.values, &answer)?;
        report.correct_plain = plain::correct(plain.as_deref(), truth.as_ref());
    }
    report.correct_private = plain::correct(output.labels(&answer).as_deref(), truth.as_ref());
    (report.requests, report.answers) = (requests, answers);
    report.range_audit = audit.0.iter().cloned().collect();
    show(&report, (&output, &answer), out)?;
    audit::judge(&audit, args.admit.allow_out_of_range, out)
}

fn batches<R: twoply_primitives::Ring>(
    plan: &Plan,
    parties: Parties,
    seen: Seen,
    (values, batch): (&[f32], usize),
    out: &Output,
) -> Result<(Answer, RangeAudit, [Vec<f64>; 2]), Failure> {
    let row = plan.graph.input.row();
    let mut client = Client::<R>::new(plan.clone(), parties, seen)?;
    let mut progress = out.progress("images", (values.len() / row) as u64);
    let (mut logits, mut labels) = (vec![], vec![]);
    for part in values.chunks(row * batch) {
        match client.infer(part)? {
            Answer::Logits(mut l) => logits.append(&mut l),
            Answer::Labels(mut l) => labels.append(&mut l),
        }
        progress.at((logits.len() + labels.len()) as u64);
    }
    let times = [std::mem::take(&mut client.online), std::mem::take(&mut client.answered)];
    let audit = std::mem::take(&mut client.audit);
    client.close();
    Ok((if labels.is_empty() { Answer::Logits(logits) } else { Answer::Labels(labels) }, audit, times))
}

fn show(report: &Report, (output, answer): (&Meaning, &Answer), out: &Output) -> Result<(), Failure> {
    for line in answer::lines(output, answer) {
        out.line(line)?;
    }
    if let Some(words) = answer::words(output, answer) {
        out.note(words);
    }
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
    out.result_json(&answer::shown(report, output, answer))
}
