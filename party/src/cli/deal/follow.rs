//! `twoply deal --follow`: keys of a training run, step after step, as the parties use them.

use super::{Args, Network, parties};
use crate::cli::output::{Output, bytes};
use crate::cli::party::stopped_by_signals;
use crate::cli::{device, train};
use crate::client::{Call, Place};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::read_training_plan;
use crate::memory::Peak;
use crate::train::{COMPUTING, Dealing, Dealt, Progress, deal};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use twoply_nn::with_ring;
use twoply_primitives::with_device;

/// Flags of a dealer that follows a training run.
#[derive(Clone, Debug, clap::Args)]
pub struct Follow {
    /// Deal for a training run: PLAN.train.json, step after step, as the parties use the keys; with --resume, go on with one
    /// that has not ended
    #[arg(long, requires = "p0", conflicts_with_all = ["images", "out", "segment", "work", "insecure_test_seed"])]
    follow: bool,
    /// With --follow or --trained: folder of runs and of the masks of data [default: train in the home folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Mask the rows of this owner anew, who lost what it had masked, or brings other rows; may be given again
    #[arg(long = "new-data", value_name = "NAME", requires = "follow")]
    anew: Vec<String>,
    /// Append a line of JSON for every range of steps to this file
    #[arg(long, value_name = "FILE", requires = "follow")]
    log: Option<PathBuf>,
    /// How long the parties may stay away once a run has begun
    #[arg(long, value_name = "SECONDS", default_value = "3600", requires = "follow")]
    stay: u64,
}

impl Follow {
    /// The folder of runs, if one is named.
    pub(super) fn runs(&self) -> Option<&Path> {
        self.runs.as_deref()
    }
    /// Whether it does.
    pub(super) fn wanted(&self) -> bool {
        self.follow
    }
}

/// The JSON result.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    dealt: &'a Dealt,
    seconds: f64,
    /// Most anonymous memory this process held.
    peak_anonymous_bytes: Option<u64>,
    /// What computed.
    device: String,
}

/// Deals for a training run.
pub(super) fn run(args: &Args, out: &Output) -> Result<(), Failure> {
    let (memory, began) = (Peak::watch(), Instant::now());
    let stop = stopped_by_signals()?;
    crate::cli::threads(args.threads.map(usize::from))?;
    let device = device::resolve(args.on.device)?;
    let dealing = dealing(args, out).map_err(|f| f.during(Phase::Start))?;
    let plan = &dealing.plan;
    let mut say_range = train::told(out);
    let steps = [plan.steps(), plan.epoch()];
    let mut progress = Progress::new(steps, args.follow.log.as_deref(), &mut say_range)?;
    let say = |text: &str| out.note(text);
    let all = &mut progress;
    let dealt = with_ring!(plan.recipe.n, R => with_device!(device, R, dev => deal(&dealing, dev, &stop, all, &say)))?;
    drop(progress);
    match dealt.ended {
        Some(step) => out.line(format_args!("run {} has ended after step {step}", dealt.run))?,
        None => out.line(format_args!("run {} has not ended: go on with --resume", dealt.run))?,
    }
    let [a, b] = dealt.bytes;
    out.line(format_args!(
        "{} steps dealt: {} to P0, {} to P1; no key is kept",
        dealt.steps,
        bytes(a),
        bytes(b)
    ))?;
    let (seconds, peak_anonymous_bytes) = (began.elapsed().as_secs_f64(), memory.bytes());
    out.result_json(&Shown { dealt: &dealt, seconds, peak_anonymous_bytes, device: device.describe() })
}

fn dealing(args: &Args, out: &Output) -> Result<Dealing, Failure> {
    let (plan, follow, network) = (read_training_plan(&args.plan)?, &args.follow, &args.network);
    if let Some(name) = follow.anew.iter().find(|name| plan.shares.iter().all(|s| s.owner != **name)) {
        let names: Vec<_> = plan.shares.iter().map(|s| s.owner.as_str()).collect();
        let what = format!("the plan has no share `{name}`");
        return Err(Failure::new(ExitCode::Usage, what).remedy(format!("choose from {}", names.join(", "))));
    }
    let Network { transport, patience, link, .. } = network;
    let (identity, peers) = parties(network, out)?;
    let place =
        |peer: crate::deal::Peer| Place { address: peer.address, key: peer.key, transport: *transport };
    Ok(Dealing {
        plan,
        dir: follow.runs.clone().map_or_else(|| Ok(out.home()?.join("train")), Ok::<_, Failure>)?,
        identity,
        places: peers.map(place),
        call: Call { within: Duration::from_secs(*patience), link: *link },
        resume: args.resume,
        anew: follow.anew.clone(),
        patience: Duration::from_secs(follow.stay),
        computing: COMPUTING,
        record: None,
    })
}
