//! The demo of training: dealer, two parties, data owner and model's owner as processes of their own on this machine.
//!
//! Only this process sees everything: it judges the models, and trains the same in the clear.

use super::Id;
use super::cast::{Actor, Stage};
use crate::exit::Failure;
use crate::files::{read_training_plan, read_weights};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;
use twoply_nn::Weights;
use twoply_nn::train::{Course, judge, plain};

/// What the demo trains.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The plan, made before.
    pub plan: PathBuf,
    /// Flags of `share` that name its rows.
    pub rows: Vec<String>,
    /// Weights to begin with, if they are the model's owner's.
    pub start: Option<PathBuf>,
    /// Link that all processes emulate, as they take it.
    pub link: String,
    /// What dealer and parties compute on.
    pub device: String,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Learnt {
    /// Training steps.
    pub steps: u64,
    /// Rows that the models were judged by.
    pub held: usize,
    /// Right labels before training, after private training, and after plain training of the same length; null where outputs
    /// are no classes.
    pub right: [Option<usize>; 3],
    /// Largest difference of a private parameter from the plain one.
    pub farthest: f32,
    /// Seconds from the dealer's start to the model's arrival.
    pub seconds: f64,
    /// Bytes that each party sent to the other.
    pub sent: u64,
    /// Bytes of keys that P0 and P1 were sent.
    pub keys: [u64; 2],
    /// Most anonymous memory of dealer, P0 and P1.
    pub memory: [Option<u64>; 3],
}

/// The answer of `twoply train run`.
#[derive(Deserialize)]
struct Ran {
    counted: twoply_nn::plan::Totals,
    peak_anonymous_bytes: Option<u64>,
}

/// The answer of `twoply deal --follow`.
#[derive(Deserialize)]
struct Dealt {
    bytes: [u64; 2],
    peak_anonymous_bytes: Option<u64>,
}

/// Trains in `folder`.
///
/// # Errors
/// The first failure of any process, with its exit code.
pub fn run(lesson: &Lesson, course: &Course<'_>, folder: &Path, stage: &Stage) -> Result<Learnt, Failure> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut keys = vec![];
    for name in ["p0", "p1", "dealer", "owner", "model"] {
        keys.push(stage.json::<Id>(name, &["id", "--new", "--quiet", "--home", &path(name)])?.fingerprint);
    }
    let plan = read_training_plan(&lesson.plan)?;
    let plan_path = lesson.plan.display().to_string();
    let began = Instant::now();
    let parties = start(&plan_path, lesson, &keys, folder, stage)?;
    let mut places = super::places(&parties, &keys);
    places.extend(["--link".into(), lesson.link.clone()]);
    let call = |verb: &[&str], home: &str| -> Vec<String> {
        let own = ["--home".to_owned(), path(home)];
        verb.iter().map(|s| s.to_string()).chain(own).chain(places.clone()).collect()
    };
    let follow = ["deal", &plan_path, "--follow", "--device", &lesson.device, "--format", "json"];
    let dealer = stage.actor("dealer", &call(&follow, "dealer"))?;
    let share: Vec<&str> = ["share", &plan_path, "--as", "data"]
        .into_iter()
        .chain(lesson.rows.iter().map(String::as_str))
        .collect();
    stage.act("owner", &call(&share, "owner"))?;
    if let Some(weights) = &lesson.start {
        let weights = weights.display().to_string();
        let start = ["share", &plan_path, "--as", "model", "--weights", &weights];
        stage.act("model", &call(&start, "model"))?;
    }
    let model = path("learnt");
    stage.act("model", &call(&["train", "fetch", &plan_path, "--out", &model], "model"))?;
    let seconds = began.elapsed().as_secs_f64();
    let dealt: Dealt = dealer.result()?;
    let mut ran = vec![];
    for party in parties {
        ran.push(party.result::<Ran>()?);
    }
    let learnt = read_weights(Path::new(&format!("{model}.weights.safetensors")), &plan.graph)?;
    let plain = plain(course)?;
    let right = |weights: &Weights| -> Result<Option<usize>, Failure> { Ok(judge(course, weights)?.1) };
    let pairs = learnt.0.iter().flatten().zip(plain.0.iter().flatten());
    Ok(Learnt {
        steps: plan.steps(),
        held: course.held.len() / plan.graph.input.row(),
        right: [right(course.weights)?, right(&learnt)?, right(&plain)?],
        farthest: pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max),
        seconds,
        sent: ran.first().map_or(0, |r| r.counted.bytes),
        keys: dealt.bytes,
        memory: [
            dealt.peak_anonymous_bytes,
            ran.first().and_then(|r| r.peak_anonymous_bytes),
            ran.get(1).and_then(|r| r.peak_anonymous_bytes),
        ],
    })
}

fn start(
    plan: &str,
    lesson: &Lesson,
    keys: &[String],
    folder: &Path,
    stage: &Stage,
) -> Result<Vec<Actor>, Failure> {
    let mut parties: Vec<Actor> = vec![];
    let owners = [format!("data={}", keys[3]), format!("model={}", keys[4])];
    for me in 0..2 {
        let (role, home) = (me.to_string(), folder.join(format!("p{me}")).display().to_string());
        let mut args =
            vec!["train", "run", plan, "--role", &role, "--home", &home, "--listen", "127.0.0.1:0"];
        args.extend([
            "--peer-key",
            &keys[1 - me],
            "--dealer",
            &keys[2],
            "--owner",
            &owners[0],
            "--model-owner",
            &keys[4],
        ]);
        if lesson.start.is_some() {
            args.extend(["--owner", &owners[1]]);
        }
        args.extend(["--link", &lesson.link, "--device", &lesson.device, "--format", "json"]);
        let p0 = parties.first().map(|p| p.address.clone()).unwrap_or_default();
        if me == 1 {
            args.extend(["--peer", &p0]);
        }
        parties.push(stage.party(&format!("p{me}"), &args)?);
    }
    Ok(parties)
}
