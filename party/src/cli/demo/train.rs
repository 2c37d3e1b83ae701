//! `twoply demo --train`: private training on this machine, all roles as real processes.

use super::{Args, IMAGES, LABELS, MODEL, forward};
use crate::cli::output::{Output, bytes};
use crate::cli::train::{Data, start};
use crate::demo::cast::Stage;
use crate::demo::train::{Learnt, Lesson, run as play};
use crate::exit::{ExitCode, Failure};
use crate::files::read_training_plan;
use std::path::{Path, PathBuf};

/// Digits of this program that are trained on; the others judge.
const DIGITS: &str = "384";

/// Flags of the training demo.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Training {
    /// Train a network privately instead: handwritten digits that this program carries, or --rows
    #[arg(long, conflicts_with_all = ["model", "images", "labels", "samples", "limit", "reveal", "audit", "rounding", "state_dict"])]
    train: bool,
    /// Fine-tune this ONNX model: its weights are what training begins with, brought masked by their owner
    #[arg(long, value_name = "MODEL.onnx", group = "network", requires_all = ["train", "rows"])]
    fine_tune: Option<PathBuf>,
    /// Train only the last N layers that have parameters [default: all]
    #[arg(long, value_name = "N", requires = "fine_tune")]
    train_last: Option<usize>,
    /// Rows to train on, for --zoo or --fine-tune: a file or folder, as `twoply infer --help` lists them
    #[arg(long, value_name = "FILE", requires_all = ["train", "network", "test"])]
    rows: Option<PathBuf>,
    /// Their classes [default: those that the rows carry]
    #[arg(long, value_name = "FILE", requires = "rows")]
    row_labels: Option<PathBuf>,
    /// Rows to judge by
    #[arg(long, value_name = "FILE", requires = "rows")]
    test: Option<PathBuf>,
    /// Their classes [default: those that the rows carry]
    #[arg(long, value_name = "FILE", requires = "test")]
    test_labels: Option<PathBuf>,
    /// Only the first N rows
    #[arg(long, value_name = "N", requires = "rows")]
    first: Option<usize>,
    /// Keep the network's batch normalisations, which train then
    #[arg(long, requires = "rows")]
    keep_batchnorm: bool,
    /// How often all rows are used [default: 15 for the digits, 1 for others]
    #[arg(long, value_name = "E", requires = "train")]
    epochs: Option<u32>,
    /// Learning rate [default: 1/32 for the digits, 1/64 for others]
    #[arg(long, value_name = "X", requires = "train")]
    rate: Option<String>,
    /// Public seed of initial weights and of the order of the rows
    #[arg(long, value_name = "N", requires = "train", default_value_t = 1)]
    seed: u64,
}

impl Training {
    /// Whether it is wanted.
    pub(super) fn wanted(&self) -> bool {
        self.train
    }
}

/// The data's files: rows and labels, then those to judge by.
struct Files {
    rows: [Option<PathBuf>; 2],
    test: [Option<PathBuf>; 2],
}

/// Plans, trains and shows what came out.
pub(super) fn run(args: &Args, folder: &Path, out: &Output) -> Result<(), Failure> {
    let stage = Stage::new(if out.quiet() { |_, _| () } else { forward })?;
    let (training, path) = (&args.training, |name: &str| folder.join(name).display().to_string());
    let digits = training.rows.is_none();
    let files = match digits {
        true => carried(folder)?,
        false => Files {
            rows: [training.rows.clone(), training.row_labels.clone()],
            test: [training.test.clone(), training.test_labels.clone()],
        },
    };
    let mut import = vec!["import".into(), "--out".into(), path("model"), "--quiet".into()];
    import.extend(match (&args.zoo, &training.fine_tune) {
        (Some(zoo), _) => vec!["--zoo".into(), zoo.clone()],
        (None, Some(model)) => [vec![model.display().to_string()], super::normalisation(args)].concat(),
        (None, None) => {
            vec![path("digits.onnx"), "--scale=0.0625".into(), "--mean=0.3125".into(), "--std=0.5".into()]
        }
    });
    import.extend(training.keep_batchnorm.then(|| "--keep-batchnorm".to_owned()));
    stage.act("model", &import)?;
    let flags = |names: [&str; 2], files: &[Option<PathBuf>; 2]| -> Vec<String> {
        let named = names
            .into_iter()
            .zip(files)
            .filter_map(|(n, f)| Some([n.to_owned(), f.as_ref()?.display().to_string()]));
        named.flatten().collect()
    };
    let held = match digits {
        true => Data::named(files.rows.clone(), None, Some(DIGITS.parse().unwrap_or(1))),
        false => Data::named(files.rows.clone(), Some(files.test.clone()), training.first),
    };
    let rows = match (digits, training.first) {
        (true, _) => DIGITS.to_owned(),
        (false, Some(first)) => first.to_string(),
        (false, None) => count(&files, &path("model.graph.json"))?.to_string(),
    };
    let epochs = training.epochs.unwrap_or(if digits { 15 } else { 1 }).to_string();
    let rate = training.rate.clone().unwrap_or(if digits { "1/32" } else { "1/64" }.into());
    let batch = if digits { "32".into() } else { args.batch.to_string() };
    let (graph, seed) = (path("model.graph.json"), training.seed.to_string());
    let mut plan: Vec<String> = ["train", "plan", &graph, "--quiet", "--rows", &rows, "--epochs", &epochs]
        .iter()
        .chain(&["--rate", &rate, "--batch", &batch, "--seed", &seed])
        .map(|s| s.to_string())
        .collect();
    plan.extend(args.compare.iter().flat_map(|v| ["--compare".to_owned(), v.clone()]));
    plan.extend(args.ring.iter().flat_map(|v| ["--ring".to_owned(), v.clone()]));
    plan.extend(flags(["--samples", "--labels"], &files.rows));
    plan.extend(flags(["--test", "--test-labels"], &files.test));
    let start_file = training.fine_tune.as_ref().map(|_| folder.join("model.weights.safetensors"));
    if let Some(file) = &start_file {
        let weights = file.display().to_string();
        plan.extend(
            ["--share", &format!("data=rows:{rows}"), "--share", "model=start", "--weights", &weights]
                .map(String::from),
        );
        plan.extend(training.train_last.iter().map(|n| format!("--train-last={n}")));
    }
    stage.act("model", &plan)?;

    let mut share = flags(["--samples", "--labels"], &files.rows);
    share.extend(["--limit".into(), rows]);
    let (plan, link, device) =
        (folder.join("model.train.json"), args.link.clone(), args.on.device.to_string());
    let lesson = Lesson { plan, rows: share, start: start_file, link, device };
    let learnt = teach(&lesson, &held, folder, &stage)?;
    show(&learnt, out)?;
    match learnt.right {
        [_, Some(private), Some(plain)] if (private as f64) < plain as f64 - 0.05 * learnt.held as f64 => {
            let what =
                format!("private training gets {private} of {} right, plain training {plain}", learnt.held);
            Err(Failure::new(ExitCode::Internal, what))
        }
        _ => Ok(()),
    }
}

/// Trains as planned, judged by what is held out.
///
/// # Errors
/// The first failure of any process, with its exit code.
pub(in crate::cli) fn teach(
    lesson: &Lesson,
    held: &Data,
    folder: &Path,
    stage: &Stage,
) -> Result<Learnt, Failure> {
    let plan = read_training_plan(&lesson.plan)?;
    let (step, weights) = (plan.program()?, start(lesson.start.as_ref(), &plan)?);
    let data = held.read(&step)?;
    let steps = plan.steps() as usize;
    let course = data.course((&plan, &step, &weights), (steps, steps), false);
    play(lesson, &course, folder, stage)
}

/// The digits of this program, as files.
fn carried(folder: &Path) -> Result<Files, Failure> {
    let (images, labels) = (folder.join("digits-images.idx"), folder.join("digits-labels.idx"));
    for (path, bytes) in [(&folder.join("digits.onnx"), MODEL), (&images, IMAGES), (&labels, LABELS)] {
        std::fs::write(path, bytes).map_err(|e| Failure::io("write", path.display(), &e))?;
    }
    Ok(Files { rows: [Some(images), Some(labels)], test: [None, None] })
}

/// How many rows there are.
fn count(files: &Files, graph: &str) -> Result<usize, Failure> {
    let graph = crate::files::read_graph(Path::new(graph))?;
    let rows = files.rows[0].as_deref().unwrap_or(Path::new(""));
    Ok(crate::files::read_images(rows, &graph.input, false)?.images)
}

fn show(learnt: &Learnt, out: &Output) -> Result<(), Failure> {
    let share = |right: Option<usize>| {
        right.map_or("-".into(), |right| {
            format!("{right} of {} ({:.2} %)", learnt.held, right as f64 * 100.0 / learnt.held.max(1) as f64)
        })
    };
    let [before, private, plain] = learnt.right.map(share);
    out.line(format_args!("right on rows that were not trained on: before {before}"))?;
    out.line(format_args!("after {} private steps: {private}; after plain training: {plain}", learnt.steps))?;
    out.line(format_args!("the farthest parameter of the two models differs by {:.4}", learnt.farthest))?;
    let [p0, p1] = learnt.keys.map(bytes);
    out.line(format_args!(
        "{:.1} s with keys, masking and delivery: {:.1} ms a step; {} each way, keys {p0} to P0 and {p1} to P1",
        learnt.seconds,
        learnt.seconds * 1e3 / learnt.steps.max(1) as f64,
        bytes(learnt.sent)
    ))?;
    let [dealer, p0, p1] = learnt.memory.map(|m| m.map_or("-".into(), bytes));
    out.line(format_args!("peak memory: dealer {dealer}, P0 {p0}, P1 {p1}"))?;
    out.line("every counter is what the plan promised")?;
    out.result_json(learnt)
}
