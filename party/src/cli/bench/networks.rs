//! `twoply bench --table networks`: the zoo in real processes, beside AriaNN's published columns.
//!
//! Every row is dealer, two parties, model owner and data owner as processes of this machine, with TLS, files and OS
//! randomness, on images of noise and made-up weights. Online time is the data owner's, from request to answer; medians
//! over requests after a first one. Bytes are payload that one party sends, keys apart.

use crate::cli::device::{self, On};
use crate::cli::output::{Output, bytes, table};
use crate::demo::cast::Stage;
use crate::demo::{self, Play};
use crate::exit::{ExitCode, Failure};
use crate::jobs::runs;
use crate::report::{Devices, Memory, Report};
use crate::transport::Shape;
use serde::Serialize;
use twoply_nn::zoo::{self, ariann};
use twoply_preprocessing::Cut;

/// Options of this table.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Networks {
    /// Only this network of the zoo; repeat for more [default: all, and for training AriaNN's three for MNIST]
    #[arg(long = "network", value_name = "NAME")]
    pub(super) networks: Vec<String>,
    /// Comparison: digits or dpf
    #[arg(long, value_name = "KIND", default_value = "digits")]
    pub(super) compare: String,
    /// Images per request
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Requests that count; one more comes first and does not
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    requests: u16,
    #[command(flatten)]
    pub(super) on: On,
}

/// One network. Bytes, comparisons and seconds are per image but for the requests'.
#[derive(Debug, Serialize)]
struct Row {
    network: String,
    compare: String,
    batch: u16,
    link: String,
    comparisons: u64,
    /// As AriaNN counts them.
    comparisons_as_ariann: u64,
    /// That one party sends to the other.
    online_bytes: u64,
    /// P0 and P1.
    key_bytes: [u64; 2],
    /// Of a run, which a request is unless it crosses a segment's end.
    rounds: u64,
    /// Of a request: median, least, most.
    request_seconds: [f64; 3],
    /// The same from the departure of the masked input on.
    answer_seconds: [f64; 3],
    /// Median of a request by its images.
    online_seconds: f64,
    /// Dealing, writing included.
    deal_seconds: f64,
    memory: Memory,
    devices: Devices,
    /// Labels that are the plain network's, of `images`.
    agree: u64,
    images: u64,
    ariann: Option<ariann::Published>,
}

/// Runs the networks and prints the table.
///
/// # Errors
/// What a process fails with; 13 for the device; 1 when private labels differ from plain ones in more than 1 % of the images.
pub(super) fn run(args: &Networks, link: &Shape, out: &Output) -> Result<(), Failure> {
    let names: Vec<String> = match args.networks.is_empty() {
        true => zoo::ALL.iter().map(|e| e.name.to_owned()).collect(),
        false => args.networks.clone(),
    };
    let device = device::resolve(args.on.device)?;
    for name in &names {
        zoo::named(name).map_err(|e| {
            Failure::new(ExitCode::Usage, e.to_string()).remedy("choose one of these names for --network")
        })?;
    }
    let mut rows = vec![];
    for name in &names {
        out.note(format_args!("{name} .."));
        rows.push(row(name, args, link)?);
    }
    out.line(text(&rows))?;
    out.line(format_args!("dealer and parties compute on {}", device.describe()))?;
    out.line("per image; AriaNN's figures: one party at 8 bytes an element and 920 a comparison, one process on 16 vCPUs without a network")?;
    out.result_json(&rows)?;
    match rows.iter().find(|r| (r.agree as f64) < 0.99 * r.images as f64) {
        Some(r) => Err(Failure::new(
            ExitCode::Internal,
            format!("{}: only {} of {} labels are the plain network's", r.network, r.agree, r.images),
        )),
        None => Ok(()),
    }
}

fn row(name: &str, args: &Networks, link: &Shape) -> Result<Row, Failure> {
    let folder = tempfile::Builder::new().prefix("twoply-bench-").tempdir();
    let folder = folder.map_err(|e| Failure::io("create", "a temporary folder", &e))?;
    let images = usize::from(args.batch) * (usize::from(args.requests) + 1);
    let play = Play {
        model: None,
        import: ["--zoo", name, "--noise", &images.to_string()].map(String::from).to_vec(),
        images: folder.path().join("model.noise.npy"),
        labels: None,
        samples: folder.path().join("model.noise.npy"),
        plan: ["--compare", &args.compare, "--samples-limit", "16"].map(String::from).to_vec(),
        infer: vec![],
        limit: Some(images),
        batch: args.batch,
        link: link.setting(),
        device: args.on.device,
    };
    let report = demo::run(&play, folder.path(), &Stage::new(|_, _| ())?)?;
    let graph = crate::files::read_graph(&folder.path().join("model.graph.json"))?;
    let plan = crate::files::read_plan(&folder.path().join("plan.json"))?;
    let runs = runs(Cut::new(report.images, plan.segment_images())?, args.batch.into()).len() as u64;
    Ok(fill(name, args, link, (&report, runs), ariann::count(&graph)?.total()))
}

fn fill(name: &str, args: &Networks, link: &Shape, (r, runs): (&Report, u64), as_ariann: u64) -> Row {
    let each = |total: u64| total / r.images.max(1);
    let (request_seconds, answer_seconds) = (spread(&r.requests), spread(&r.answers));
    Row {
        network: name.into(),
        compare: args.compare.clone(),
        batch: args.batch,
        link: link.to_string(),
        comparisons: each(r.comparisons),
        comparisons_as_ariann: as_ariann,
        online_bytes: each(r.bytes_sent[0].unwrap_or(0)),
        key_bytes: r.key_bytes.map(|b| each(b.unwrap_or(0))),
        rounds: r.rounds / runs.max(1),
        request_seconds,
        answer_seconds,
        online_seconds: request_seconds[0] / f64::from(args.batch),
        deal_seconds: r.seconds.deal.unwrap_or(0.0) / r.images.max(1) as f64,
        memory: r.memory,
        devices: r.devices.clone(),
        agree: r.agree.unwrap_or(0),
        images: r.images,
        ariann: ariann::PUBLISHED.into_iter().find(|p| p.name == name),
    }
}

/// Median, least and most, the first one left out.
fn spread(times: &[f64]) -> [f64; 3] {
    let mut times = times.get(1..).unwrap_or_default().to_vec();
    times.sort_by(f64::total_cmp);
    [times.len() / 2, 0, times.len().saturating_sub(1)].map(|i| times.get(i).copied().unwrap_or(0.0))
}

fn text(rows: &[Row]) -> String {
    let head = [
        "network",
        "compare",
        "batch",
        "comparisons",
        "AriaNN",
        "sent each",
        "AriaNN",
        "keys of both",
        "AriaNN",
        "dealing ms",
        "online ms",
        "from masked input",
        "least..most",
        "AriaNN LAN",
        "WAN",
        "labels as plain",
        "memory dealer / party",
    ];
    let mut all = vec![head.map(String::from).to_vec()];
    for r in rows {
        let theirs = |f: fn(&ariann::Published) -> String| r.ariann.as_ref().map_or("-".into(), f);
        let ms = |seconds: f64| format!("{:.2}", seconds * 1e3);
        let [_, least, most] = r.request_seconds.map(|s| ms(s / f64::from(r.batch)));
        let memory = |b: Option<u64>| b.map_or("-".into(), bytes);
        let party = r.memory.parties.iter().flatten().max().copied();
        all.push(vec![
            r.network.clone(),
            r.compare.clone(),
            r.batch.to_string(),
            r.comparisons.to_string(),
            r.comparisons_as_ariann.to_string(),
            bytes(r.online_bytes),
            theirs(|p| bytes(p.online_bytes as u64)),
            bytes(r.key_bytes.iter().sum()),
            theirs(|p| bytes(2 * p.key_bytes as u64)),
            ms(r.deal_seconds),
            ms(r.online_seconds),
            ms(r.answer_seconds[0] / f64::from(r.batch)),
            format!("{least}..{most}"),
            theirs(|p| format!("{:.0}", p.lan_seconds * 1e3)),
            theirs(|p| format!("{:.0}", p.wan_seconds * 1e3)),
            format!("{} of {}", r.agree, r.images),
            format!("{} / {}", memory(r.memory.dealer), memory(party)),
        ]);
    }
    table(&all)
}
