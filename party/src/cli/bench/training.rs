//! `twoply bench --table training`: private training in real processes, beside AriaNN's epochs.
//!
//! Every row is dealer, two parties, the rows' owner and the model's as processes of this machine, with TLS, ledgers and checkpoints, on
//! rows of noise at batch 128. Seconds go from the dealer's start to the model's arrival.

use super::networks::Networks;
use crate::cli::device;
use crate::cli::output::{Output, bytes, table};
use crate::cli::train::Data;
use crate::demo::cast::Stage;
use crate::demo::train::{Learnt, Lesson};
use crate::exit::Failure;
use crate::transport::Shape;
use serde::Serialize;

/// Rows of a step.
const BATCH: u64 = 128;
/// Rows of MNIST's training set.
const EPOCH: u64 = 60_000;
/// AriaNN's seconds an epoch (section 6.4), on 16 vCPUs, in one process without a network.
const ARIANN: [(&str, u32); 3] = [("network-1", 2_808), ("network-2", 10_080), ("lenet", 15_120)];

/// Options of this table.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Training {
    /// Steps of training, on at most 10,000 rows of noise
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=77))]
    steps: u32,
}

/// One network.
#[derive(Debug, Serialize)]
struct Row {
    network: String,
    compare: String,
    link: String,
    steps: u64,
    /// Milliseconds of a step, with its part of everything: masking of rows, keys, checkpoints, delivery.
    step_ms: f64,
    /// The same of as many steps as 60,000 rows have.
    epoch_seconds: f64,
    /// AriaNN's.
    ariann_epoch_seconds: Option<u32>,
    /// Bytes of keys that a step takes P0 and P1.
    key_bytes: [u64; 2],
    /// Bytes that each party sends in a step.
    online_bytes: u64,
    /// Most anonymous memory of dealer, P0 and P1.
    memory: [Option<u64>; 3],
}

/// Trains and prints the table.
///
/// # Errors
/// What a process fails with; 13 for the device.
pub(super) fn run((nets, args): (&Networks, &Training), link: &Shape, out: &Output) -> Result<(), Failure> {
    let names: Vec<String> = match nets.networks.is_empty() {
        true => ARIANN.map(|(name, _)| name.to_owned()).to_vec(),
        false => nets.networks.clone(),
    };
    let device = device::resolve(nets.on.device)?;
    let mut rows = vec![];
    for name in &names {
        out.note(format_args!("{name} .."));
        rows.push(row(name, (nets, args), link)?);
    }
    out.line(text(&rows))?;
    out.line(format_args!("dealer and parties compute on {}; batches of {BATCH}", device.describe()))?;
    out.result_json(&rows)
}

fn row(name: &str, (nets, args): (&Networks, &Training), link: &Shape) -> Result<Row, Failure> {
    let folder = tempfile::Builder::new().prefix("twoply-bench-").tempdir();
    let folder = folder.map_err(|e| Failure::io("create", "a temporary folder", &e))?;
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let stage = Stage::new(|_, _| ())?;
    let rows = u64::from(args.steps) * BATCH;
    let all = (rows + BATCH).to_string();
    stage.act("model", &["import", "--zoo", name, "--noise", &all, "--out", &text("model"), "--quiet"])?;
    let graph = crate::files::read_graph(&path("model.graph.json"))?;
    let classes = graph.shapes()?.last().map_or(1, |shape| shape.iter().product::<usize>()) as u64;
    let labels: String = (0..rows + BATCH).map(|row| format!("{}\n", row % classes)).collect();
    std::fs::write(path("labels.txt"), labels).map_err(|e| Failure::io("write", "labels", &e))?;
    let [count, batch] = [rows, BATCH].map(|n| n.to_string());
    let plan = ["train", "plan", &text("model.graph.json"), "--rows", &count, "--batch", &batch];
    let choices = ["--epochs=1", "--unchecked-ranges", "--quiet", "--compare", &nets.compare];
    stage.act("model", &[&plan[..], &choices].concat())?;
    let files = ["model.noise.npy", "labels.txt"].map(|name| Some(path(name)));
    let share = ["--samples", &text("model.noise.npy"), "--labels", &text("labels.txt"), "--limit", &count];
    let lesson = Lesson {
        plan: path("model.train.json"),
        rows: share.map(str::to_owned).to_vec(),
        start: None,
        link: link.setting(),
        device: nets.on.device.to_string(),
    };
    let held = Data::named(files, None, Some(rows as usize));
    let learnt = crate::cli::demo::teach(&lesson, &held, folder.path(), &stage)?;
    Ok(filled(name, &nets.compare, link, &learnt))
}

fn filled(name: &str, compare: &str, link: &Shape, learnt: &Learnt) -> Row {
    let steps = learnt.steps.max(1);
    let step = learnt.seconds / steps as f64;
    Row {
        network: name.into(),
        compare: compare.into(),
        link: link.to_string(),
        steps,
        step_ms: step * 1e3,
        epoch_seconds: step * (EPOCH / BATCH) as f64,
        ariann_epoch_seconds: ARIANN.iter().find(|(n, _)| *n == name).map(|(_, seconds)| *seconds),
        key_bytes: learnt.keys.map(|all| all / steps),
        online_bytes: learnt.sent / steps,
        memory: learnt.memory,
    }
}

fn text(rows: &[Row]) -> String {
    let head = [
        "network",
        "compare",
        "steps",
        "keys of P0",
        "of P1",
        "sent each",
        "ms a step",
        "s an epoch",
        "AriaNN",
        "memory dealer",
        "P0",
        "P1",
    ];
    let mut all = vec![head.map(String::from).to_vec()];
    for r in rows {
        let mut cells = vec![r.network.clone(), r.compare.clone(), r.steps.to_string()];
        cells.extend([r.key_bytes[0], r.key_bytes[1], r.online_bytes].map(bytes));
        cells.push(format!("{:.1}", r.step_ms));
        cells.push(format!("{:.0}", r.epoch_seconds));
        cells.push(r.ariann_epoch_seconds.map_or("-".into(), |s| s.to_string()));
        cells.extend(r.memory.map(|b| b.map_or("-".into(), bytes)));
        all.push(cells);
    }
    table(&all)
}
