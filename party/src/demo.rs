//! The demo: every role as a process of its own on this machine, with real keys and real TLS over loopback.
//!
//! Only this process sees everything: it plays data owner and model owner, and so may compare with the plain network.

pub mod cast;
pub mod train;

use crate::exit::{ExitCode, Failure};
use crate::files::{read_images, read_labels, read_plan, read_weights};
use crate::jobs::{control, runs};
use crate::plain;
use crate::report::{Report, Seconds};
use cast::{Actor, Stage};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use twoply_nn::Meaning;
use twoply_nn::roles::Answer;
use twoply_preprocessing::Cut;
use twoply_primitives::backend::Choice;

/// What the demo runs: files and options as the verbs take them.
#[derive(Clone, Debug)]
pub struct Play {
    /// ONNX model; with none, `import` names a network of the zoo.
    pub model: Option<PathBuf>,
    /// Options of `import`: normalisation.
    pub import: Vec<String>,
    /// Images to classify.
    pub images: PathBuf,
    /// Their true labels.
    pub labels: Option<PathBuf>,
    /// Public samples for the ranges.
    pub samples: PathBuf,
    /// Options of `plan`.
    pub plan: Vec<String>,
    /// Only the first images.
    pub limit: Option<usize>,
    /// Options of `infer`.
    pub infer: Vec<String>,
    /// Images per request.
    pub batch: u16,
    /// Link that all processes emulate, as they take it.
    pub link: String,
    /// What dealer and parties compute on.
    pub device: Choice,
}

/// The answer of `twoply id`.
#[derive(Deserialize)]
struct Id {
    fingerprint: String,
}

/// The answer of `twoply deal`.
#[derive(Deserialize)]
struct Dealt {
    device: String,
    peak_anonymous_bytes: Option<u64>,
}

/// The answer of `twoply infer`.
#[derive(Deserialize)]
struct Inferred {
    #[serde(flatten)]
    report: Report,
    labels: Option<Vec<usize>>,
    logits: Option<Vec<Vec<f64>>>,
}

/// Runs the play in `folder` and returns the merged report.
///
/// # Errors
/// The first failure of any process, with its exit code.
pub fn run(play: &Play, folder: &Path, stage: &Stage) -> Result<Report, Failure> {
    let began = Instant::now();
    let path = |name: &str| folder.join(name).display().to_string();
    let names = ["p0", "p1", "owner", "client"];
    let mut keys = vec![];
    for name in names {
        keys.push(stage.json::<Id>(name, &["id", "--new", "--quiet", "--home", &path(name)])?.fingerprint);
    }
    let plan_path = prepare(play, folder, stage)?;
    let plan = read_plan(Path::new(&plan_path))?;
    let output = Meaning::of(&plan.graph)?;
    if let (Some(why), Some(_)) = (output.no_labels(), &play.labels) {
        return Err(Failure::new(ExitCode::Model, why).remedy("leave out --labels"));
    }
    let mut inputs = read_images(&play.images, &plan.graph.input, false)?;
    if let Some(limit) = play.limit {
        inputs = inputs.first(limit);
    }
    let images = inputs.images.to_string();

    let dealing = Instant::now();
    let device = play.device.to_string();
    let (keys_path, on) = (path("keys"), ["--device", &device]);
    let deal = ["deal", &plan_path, "--images", &images, "--out", &keys_path, "--quiet"];
    let dealt: Dealt = stage.json("dealer", &[&deal[..], &on].concat())?;
    let deal = dealing.elapsed().as_secs_f64();

    let parties = start((&plan_path, &play.link, &device), &keys, folder, stage)?;
    let mut places = places(&parties, &keys);
    places.extend(["--link".into(), play.link.clone()]);
    let weights_path = path("model.weights.safetensors");
    let call =
        |verb: &[&str]| -> Vec<String> { verb.iter().map(|s| s.to_string()).chain(places.clone()).collect() };
    let provision = call(&["provision", &plan_path, "--weights", &weights_path, "--home", &path("owner")]);
    stage.act("owner", &provision)?;
    let (batch, image_path) = (play.batch.to_string(), play.images.display().to_string());
    let infer = [
        "infer",
        &plan_path,
        "--images",
        &image_path,
        "--limit",
        &images,
        "--batch",
        &batch,
        "--home",
        &path("client"),
    ];
    let infer: Vec<&str> = infer.into_iter().chain(play.infer.iter().map(String::as_str)).collect();
    let inferred: Inferred = stage.json("client", &call(&infer))?;
    let mut report = inferred.report;
    for party in parties {
        report.merge(&party.finish::<Report>()?);
    }

    let weights = read_weights(Path::new(&weights_path), &plan.graph)?;
    let answer = match inferred.logits {
        Some(rows) => Answer::Logits(rows),
        None => Answer::Labels(inferred.labels.unwrap_or_default()),
    };
    let plain = plain::compare(&mut report, (&plan, &weights), &inputs.values, &answer)?;
    let truth = play.labels.as_ref().map(|path| read_labels(path)).transpose()?;
    let truth = truth.or_else(|| inputs.labels(&output));
    report.correct_private = plain::correct(output.labels(&answer).as_deref(), truth.as_ref());
    report.correct_plain = plain::correct(plain.as_deref(), truth.as_ref());
    let total = Some(began.elapsed().as_secs_f64());
    report.memory.dealer = dealt.peak_anonymous_bytes;
    report.devices.dealer = Some(dealt.device);
    report.seconds = Seconds { deal: Some(deal), total, ..report.seconds };
    same_as_planned(&plan, &report, play.batch)?;
    Ok(report)
}

/// Import and plan; returns the plan's path.
fn prepare(play: &Play, folder: &Path, stage: &Stage) -> Result<String, Failure> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut import = vec!["import".into(), "--out".into(), path("model"), "--quiet".into()];
    import.extend(play.model.iter().map(|model| model.display().to_string()));
    import.extend(play.import.clone());
    stage.act("owner", &import)?;
    let (graph, weights, out) =
        (path("model.graph.json"), path("model.weights.safetensors"), path("plan.json"));
    let samples = play.samples.display().to_string();
    let mut plan: Vec<String> =
        ["plan", &graph, "--weights", &weights, "--samples", &samples, "--out", &out, "--quiet"]
            .map(String::from)
            .to_vec();
    plan.extend(play.plan.clone());
    stage.act("owner", &plan)?;
    Ok(out)
}

fn start(
    (plan, link, device): (&str, &str, &str),
    keys: &[String],
    folder: &Path,
    stage: &Stage,
) -> Result<Vec<Actor>, Failure> {
    let mut parties: Vec<Actor> = vec![];
    for me in 0..2 {
        let path = |name: String| folder.join(name).display().to_string();
        let (role, home, dealt) = (me.to_string(), path(format!("p{me}")), path(format!("keys/p{me}")));
        let mut args = vec![
            "party",
            plan,
            "--role",
            &role,
            "--home",
            &home,
            "--keys",
            &dealt,
            "--listen",
            "127.0.0.1:0",
        ];
        args.extend([
            "--peer-key",
            &keys[1 - me],
            "--client",
            &keys[3],
            "--owner",
            &keys[2],
            "--link",
            link,
            "--device",
            device,
            "--format",
            "json",
        ]);
        let p0 = parties.first().map(|p| p.address.clone()).unwrap_or_default();
        if me == 1 {
            args.extend(["--peer", &p0]);
        }
        parties.push(stage.party(&format!("p{me}"), &args)?);
    }
    Ok(parties)
}

fn places(parties: &[Actor], keys: &[String]) -> Vec<String> {
    let flag = |me: usize| {
        let flags =
            [format!("--p{me}"), parties[me].address.clone(), format!("--p{me}-key"), keys[me].clone()];
        flags.into_iter()
    };
    flag(0).chain(flag(1)).collect()
}

/// The plan is a promise: what the processes counted must be what it says.
fn same_as_planned(plan: &twoply_nn::Plan, report: &Report, batch: u16) -> Result<(), Failure> {
    let cut = Cut::new(report.images, plan.segment_images())?;
    let runs = runs(cut, batch.into());
    let want = plan.predict(&runs)?;
    let got = (report.comparisons, report.rounds, report.bytes_sent, report.owner_bytes, report.key_bytes);
    let promised = (
        want.comparisons,
        want.rounds,
        [Some(want.bytes); 2],
        [Some(want.owner_bytes); 2],
        want.key_bytes.map(Some),
    );
    if got != promised {
        let text = format!("the plan promises {promised:?}, the run counted {got:?}");
        return Err(Failure::new(ExitCode::Internal, text));
    }
    control::settled(report, runs.len() as u64).map_err(|why| {
        Failure::new(ExitCode::Internal, format!("the parties said something that is on no bill: {why}"))
    })
}
