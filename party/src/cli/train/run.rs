//! `twoply train run` and `resume`: a party of a training run.

use super::told;
use crate::cli::device::{self, On};
use crate::cli::output::{Output, bytes};
use crate::cli::party::{address, stopped_by_signals};
use crate::cli::places::fingerprint;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::read_training_plan;
use crate::identity::{Fingerprint, Identity};
use crate::memory::Peak;
use crate::train::{COMPUTING, Guests, Outcome, Progress, Setup, serve};
use crate::transport::{Shape, Transport};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use twoply_nn::train::TrainingPlan;
use twoply_nn::with_ring;
use twoply_primitives::{PartyId, with_device};

/// Run one of the two parties of a training run
///
/// Waits for the dealer (`twoply deal --follow`) and the other party, takes the owners' masked rows (`twoply share`), trains, and
/// hands the model to its owner (`twoply train fetch`). When anybody dies, the others wait for it and go on from the last
/// checkpoint. P1 calls P0.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train run digits.train.json --role 0 --listen 0.0.0.0:7700 --peer-key tp1-P1 --dealer \
    tp1-DEALER --owner data=tp1-OWNER --model-owner tp1-MODEL"
)]
pub struct Args {
    #[command(flatten)]
    party: Party,
}

/// Go on with a training run that is here, and with none that begins
///
/// As `twoply train run`, for runs that were begun before: restarts of a service, and a model that is to be fetched again.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply train resume digits.train.json --role 0 --listen 0.0.0.0:7700 --peer-key tp1-P1 --dealer \
    tp1-DEALER --owner data=tp1-OWNER --model-owner tp1-MODEL"
)]
pub struct Resume {
    #[command(flatten)]
    party: Party,
}

/// Flags of a party.
#[derive(Clone, Debug, clap::Args)]
struct Party {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.train.json")]
    plan: PathBuf,
    /// Which party: 0 or 1
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    role: u8,
    /// Folder of this party's runs, checkpoints and masked rows [default: train in the home folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// Where P0 is (for P1)
    #[arg(long, value_name = "HOST:PORT", required_if_eq("role", "1"))]
    peer: Option<String>,
    /// Fingerprint of the other party's key
    #[arg(long, value_name = "FINGERPRINT")]
    peer_key: String,
    /// Fingerprint of the dealer's key
    #[arg(long, value_name = "FINGERPRINT")]
    dealer: String,
    /// Name in the plan and fingerprint of the owner of a share; once for each share
    #[arg(long = "owner", value_name = "NAME=FINGERPRINT")]
    owners: Vec<String>,
    /// Fingerprint of who may fetch the model; without one this party ends when the run has ended
    #[arg(long = "model-owner", value_name = "FINGERPRINT")]
    model_owners: Vec<String>,
    /// Steps of keys that the dealer may be ahead
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    ahead: u32,
    /// How long the others may stay away
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    patience: u64,
    /// Append a line of JSON for every range of steps to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What P1 calls P0 over; who listens takes both
    #[arg(long, value_name = "TRANSPORT", env = "TWOPLY_TRANSPORT", default_value = "auto")]
    transport: Transport,
    /// Emulate a link on all connections: dc, lan, wan, slow, or rtt=40ms,rate=400mbit
    #[arg(long, value_name = "LINK", env = "TWOPLY_LINK", default_value = "loopback")]
    link: Shape,
    #[command(flatten)]
    on: On,
    /// Threads for computing [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    seconds: f64,
    /// Most anonymous memory this process held.
    peak_anonymous_bytes: Option<u64>,
    /// What computed.
    device: String,
}

/// Runs a party.
///
/// # Errors
/// Each named by its cause; see the exit codes.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    start(args.party, true, out)
}

/// Runs a party that begins nothing.
///
/// # Errors
/// As [`run`].
pub fn resume(args: Resume, out: &Output) -> Result<(), Failure> {
    start(args.party, false, out)
}

fn start(args: Party, begins: bool, out: &Output) -> Result<(), Failure> {
    let (memory, began) = (Peak::watch(), Instant::now());
    let stop = stopped_by_signals()?;
    crate::cli::threads(args.threads.map(usize::from))?;
    let device = device::resolve(args.on.device)?;
    let setup = setup(&args, begins, out).map_err(|f| f.during(Phase::Start))?;
    let plan = &setup.plan;
    let mut say_range = told(out);
    let steps = [plan.steps(), plan.epoch()];
    let mut progress = Progress::new(steps, args.log.as_deref(), &mut say_range)?;
    let say = |text: &str| out.note(text);
    let (all, say) = (&mut progress, &say as &(dyn Fn(&str) + Sync));
    let outcome =
        with_ring!(plan.recipe.n, R => with_device!(device, R, dev => serve(&setup, dev, &stop, all, say)))?;
    drop(progress);
    show(&outcome, out)?;
    let (seconds, peak_anonymous_bytes) = (began.elapsed().as_secs_f64(), memory.bytes());
    out.result_json(&Shown { outcome: &outcome, seconds, peak_anonymous_bytes, device: device.describe() })
}

fn show(outcome: &Outcome, out: &Output) -> Result<(), Failure> {
    let Some(run) = &outcome.run else { return out.line("no dealer came") };
    match outcome.ended {
        Some(step) => out.line(format_args!("run {run} has ended after step {step}"))?,
        None => out.line(format_args!("run {run} has not ended: go on with `twoply train resume`"))?,
    }
    let t = &outcome.counted;
    out.line(format_args!(
        "{} steps here: {} sent to the peer in {} messages, {} comparisons; every counter is what the plan promised",
        outcome.steps,
        bytes(t.bytes),
        t.rounds,
        t.comparisons
    ))?;
    match outcome.delivered {
        true => out.line("the model's owner has the model"),
        false => Ok(()),
    }
}

fn setup(args: &Party, begins: bool, out: &Output) -> Result<Setup, Failure> {
    let plan = read_training_plan(&args.plan)?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    let me = PartyId::BOTH[usize::from(args.role.min(1))];
    let guests = Guests {
        peer: fingerprint("--peer-key", &args.peer_key)?,
        dealer: fingerprint("--dealer", &args.dealer)?,
        owners: owners(&plan, &args.owners)?,
        model_owners: args
            .model_owners
            .iter()
            .map(|k| fingerprint("--model-owner", k))
            .collect::<Result<_, _>>()?,
    };
    let bad = |what: &str, remedy: &str| Err(Failure::new(ExitCode::Config, what).remedy(remedy));
    if identity.fingerprint() == guests.peer {
        return bad(
            "the peer's key is this machine's own",
            "give --peer-key the other machine's fingerprint",
        );
    }
    if [identity.fingerprint(), guests.peer].contains(&guests.dealer) {
        return bad(
            "the dealer's key is a party's: whoever deals must not be a party",
            "deal on a third machine",
        );
    }
    let owners = [&guests.owners[..], &guests.model_owners].concat();
    if owners.contains(&guests.dealer) {
        return bad(
            "the dealer's key is an owner's: whoever deals has the masks",
            "give owners keys of their own",
        );
    }
    Ok(Setup {
        me,
        plan,
        dir: args.runs.clone().map_or_else(|| Ok(out.home()?.join("train")), Ok::<_, Failure>)?,
        identity,
        listen: address(&args.listen)?,
        peer_address: args.peer.clone().filter(|_| me == PartyId::P1),
        transport: args.transport,
        link: args.link,
        guests,
        begins,
        ahead: args.ahead,
        patience: Duration::from_secs(args.patience),
        computing: COMPUTING,
        record: None,
    })
}

/// The keys of the plan's owners, in its order.
fn owners(plan: &TrainingPlan, named: &[String]) -> Result<Vec<Fingerprint>, Failure> {
    let names: Vec<&str> = plan.shares.iter().map(|s| s.owner.as_str()).collect();
    let bad = |what: String| {
        let remedy =
            format!("the plan has the shares {}: add --owner NAME=FINGERPRINT for each", names.join(", "));
        Failure::new(ExitCode::Config, what).remedy(remedy)
    };
    let mut found = vec![None; names.len()];
    for text in named {
        let (name, key) =
            text.split_once('=').ok_or_else(|| bad(format!("--owner {text} names no share")))?;
        let at = names.iter().position(|n| *n == name);
        let at = at.ok_or_else(|| bad(format!("the plan has no share `{name}`")))?;
        if found[at].replace(fingerprint("--owner", key)?).is_some() {
            return Err(bad(format!("--owner names `{name}` twice")));
        }
    }
    let all = found.into_iter().zip(&names);
    all.map(|(key, name)| key.ok_or_else(|| bad(format!("nobody is named as the owner of `{name}`"))))
        .collect()
}
