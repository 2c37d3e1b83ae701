//! `twoply deal`: makes keys, into a folder or straight to both parties.

mod follow;
mod under;

use super::device::{self, On};
use super::output::{Output, bytes, shell};
use super::places::fingerprint;
use crate::deal::{self, Order, Peer, Route};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use crate::identity::Identity;
use crate::memory::Peak;
use crate::transport::{Shape, Transport};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use twoply_preprocessing::{Cut, SeedSource};

/// Make one-time keys for a plan
///
/// With --out, writes both parties' halves into DIR/p0 and DIR/p1, to be moved (not copied) to the parties. With --p0
/// and --p1, delivers them over the network and keeps nothing. With --follow, makes the keys of a training run's steps as the
/// parties use them, and none is ever stored. With --trained, keys are for the weights that such a run ended with, under the mask
/// that they have: nobody opens or provisions them. The dealer must not be one of the parties: whoever
/// holds both halves can read everything masked with them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply deal digits.plan.json --images 1000 --out keys")]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// Images the keys are for; one key is used up by each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), required_unless_present_any = ["resume", "follow"])]
    images: Option<u64>,
    /// Folder for both halves
    #[arg(long, value_name = "DIR", conflicts_with = "p0", required_unless_present = "p0")]
    out: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    follow: follow::Follow,
    #[command(flatten)]
    under: under::Under,
    /// Go on with a deal that was interrupted
    #[arg(long)]
    resume: bool,
    /// Images of a segment, the unit in which keys are made, sent and erased [default: from the plan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    segment: Option<u32>,
    #[command(flatten)]
    on: On,
    /// Threads for dealing [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Make keys from this public number: the same every time, and no secret
    #[arg(long, value_name = "N")]
    insecure_test_seed: Option<u64>,
}

/// Where the parties are that get their keys over the network.
#[derive(Clone, Debug, clap::Args)]
struct Network {
    /// Address of P0, which runs `twoply keys receive`
    #[arg(long, value_name = "HOST:PORT", requires_all = ["p0_key", "p1", "p1_key"])]
    p0: Option<String>,
    /// Fingerprint of P0's key
    #[arg(long, value_name = "FINGERPRINT", requires = "p0")]
    p0_key: Option<String>,
    /// Address of P1
    #[arg(long, value_name = "HOST:PORT", requires = "p0")]
    p1: Option<String>,
    /// Fingerprint of P1's key
    #[arg(long, value_name = "FINGERPRINT", requires = "p0")]
    p1_key: Option<String>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE", requires = "p0")]
    key: Option<PathBuf>,
    /// Private folder for what is not delivered yet; erased at the end [default: deal in the home folder]
    #[arg(long, value_name = "DIR", requires = "p0")]
    work: Option<PathBuf>,
    /// How long the parties may take to answer a call
    #[arg(long, value_name = "SECONDS", default_value = "30", requires = "p0")]
    patience: u64,
    /// What to call the parties over; they take both
    #[arg(long, value_name = "TRANSPORT", env = "TWOPLY_TRANSPORT", default_value = "auto")]
    transport: Transport,
    /// With --follow: emulate a link, as the parties do: dc, lan, wan, slow, or rtt=40ms,rate=400mbit
    #[arg(long, value_name = "LINK", env = "TWOPLY_LINK", default_value = "loopback")]
    link: Shape,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown {
    key_set: Option<String>,
    images: u64,
    segments: u32,
    segment_images: u32,
    /// Segments made by this call.
    dealt: u32,
    /// Length of the key files of P0 and P1; over the network, what was sent by this call.
    bytes: [u64; 2],
    /// Where the halves are; null when they were delivered.
    folders: Option<[PathBuf; 2]>,
    seconds: f64,
    /// The trained weights that the keys are for; null where weights are provisioned.
    trained: Option<String>,
    /// What computed.
    device: String,
    /// Most anonymous memory this process held.
    peak_anonymous_bytes: Option<u64>,
    insecure_test_seed: Option<u64>,
}

/// Deals.
///
/// # Errors
/// 13 for the device, 16 for disks and folders, 4 to 7 and 14 for the parties, 6 for another plan: each named by its cause.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    if args.follow.wanted() {
        return follow::run(&args, out);
    }
    let memory = Peak::watch();
    let device = device::resolve(args.on.device)?;
    let plan = files::read_plan(&args.plan)?;
    let place = place(&args, out)?;
    let cut = match args.images {
        Some(images) => Cut::new(images, args.segment.unwrap_or(plan.segment_images())).map_err(|e| {
            Failure::new(ExitCode::Usage, e.to_string()).remedy("choose other --images or --segment")
        })?,
        None => deal::cut_of(&place)?,
    };
    let seeds = args.insecure_test_seed.map_or(SeedSource::Os, SeedSource::InsecureTest);
    if seeds.insecure() {
        out.warn("--insecure-test-seed is on: these keys protect nothing");
    }
    let trained = args.under.masks(&plan, args.follow.runs(), out)?;
    let order = Order { plan, cut, seeds, trained, device };
    let work = || match &args.network.p0 {
        Some(_) => to_network(&args, &order, &place, (&memory, out)),
        None => to_folder(&args, &order, &place, (&memory, out)),
    };
    super::threads(args.threads.map(usize::from))?;
    work()
}

/// The folder of the deal.
fn place(args: &Args, out: &Output) -> Result<PathBuf, Failure> {
    match (&args.out, &args.network.work) {
        (Some(place), _) | (None, Some(place)) => Ok(place.clone()),
        (None, None) => Ok(out.home()?.join("deal")),
    }
}

fn to_folder(
    args: &Args,
    order: &Order,
    place: &Path,
    (memory, out): (&Peak, &Output),
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut progress = out.progress("dealt images", order.cut.images());
    let dealt = deal::into_folder(order, place, args.resume, &mut |done| progress.at(done))?;
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    let (images, segments) = (order.cut.images(), order.cut.segments());
    let [p0, p1] = &dealt.folders;
    out.line(format_args!("key set {}: {images} images in {segments} segments", dealt.key_set))?;
    out.line(format_args!("P0: {} in {}", bytes(dealt.bytes[0]), p0.display()))?;
    out.line(format_args!("P1: {} in {}", bytes(dealt.bytes[1]), p1.display()))?;
    if dealt.old > 0 {
        out.note(format_args!("{} segments were there already, {} are new", dealt.old, dealt.new));
    }
    if let Some(masks) = &order.trained {
        out.note(format_args!("the keys are for the weights of {}: nobody provisions them", masks.of));
    }
    let (plan, test) = (shell(&args.plan), if order.seeds.insecure() { " --insecure-test-seed" } else { "" });
    let owner = if order.trained.is_some() { "" } else { " --owner OWNER_FINGERPRINT" };
    out.note("move each folder to its party (one machine must never hold both), then run there:");
    out.note(format_args!("  {} on the machine of P0:", shell(p0)));
    out.note(format_args!(
        "    twoply party {plan} --role 0 --keys p0 --listen 0.0.0.0:7700 --peer-key P1_FINGERPRINT \
         --client CLIENT_FINGERPRINT{owner}{test}"
    ));
    out.note(format_args!("  {} on the machine of P1:", shell(p1)));
    out.note(format_args!(
        "    twoply party {plan} --role 1 --keys p1 --listen 0.0.0.0:7700 --peer P0_HOST:7700 \
         --peer-key P0_FINGERPRINT --client CLIENT_FINGERPRINT{owner}{test}"
    ));
    let shown = shown(order, (Some(dealt.key_set.to_string()), dealt.new, dealt.bytes), seconds);
    let peak_anonymous_bytes = memory.bytes();
    out.result_json(&Shown { folders: Some(dealt.folders), peak_anonymous_bytes, ..shown })
}

fn to_network(
    args: &Args,
    order: &Order,
    place: &Path,
    (memory, out): (&Peak, &Output),
) -> Result<(), Failure> {
    let route = route(&args.network, out).map_err(|failure| failure.during(Phase::Start))?;
    let start = Instant::now();
    let mut progress = out.progress("delivered images", order.cut.images());
    let delivered = deal::to_parties(order, place, args.resume, &route, &mut |done| progress.at(done));
    drop(progress);
    let delivered = delivered.inspect_err(|_| {
        if place.exists() {
            out.note(format_args!("what is not delivered stays in {}; go on with --resume", shell(place)));
        }
    })?;
    let key_set = delivered.key_set.map(|id| id.to_string());
    match &key_set {
        Some(id) => out.line(format_args!(
            "key set {id}: P0 and P1 hold {} images in {} segments",
            order.cut.images(),
            order.cut.segments()
        ))?,
        None => out.line("everything had been delivered before")?,
    }
    let [a, b] = delivered.bytes;
    out.line(format_args!("sent now: {} to P0, {} to P1; nothing is kept here", bytes(a), bytes(b)))?;
    let shown = shown(order, (key_set, delivered.new, delivered.bytes), start.elapsed().as_secs_f64());
    out.result_json(&Shown { peak_anonymous_bytes: memory.bytes(), ..shown })
}

fn shown(order: &Order, (key_set, dealt, bytes): (Option<String>, u32, [u64; 2]), seconds: f64) -> Shown {
    Shown {
        key_set,
        images: order.cut.images(),
        segments: order.cut.segments(),
        segment_images: order.cut.segment_images(),
        dealt,
        bytes,
        folders: None,
        seconds,
        trained: order.trained.as_ref().map(|masks| masks.of.to_string()),
        device: order.device.describe(),
        peak_anonymous_bytes: None,
        insecure_test_seed: match order.seeds {
            SeedSource::Os => None,
            SeedSource::InsecureTest(number) => Some(number),
        },
    }
}

fn route(network: &Network, out: &Output) -> Result<Route, Failure> {
    let (me, peers) = parties(network, out)?;
    let within = Duration::from_secs(network.patience);
    Ok(Route { me, peers, within, transport: network.transport })
}

/// This dealer's identity, and both parties.
fn parties(network: &Network, out: &Output) -> Result<(Arc<Identity>, [Peer; 2]), Failure> {
    let peer = |address: &Option<String>, key: &Option<String>, flag: &str| -> Result<Peer, Failure> {
        match (address, key) {
            (Some(address), Some(key)) => Ok(Peer { address: address.clone(), key: fingerprint(flag, key)? }),
            // clap asks for all four together.
            _ => Err(Failure::new(ExitCode::Usage, "--p0, --p0-key, --p1 and --p1-key belong together")),
        }
    };
    let peers =
        [peer(&network.p0, &network.p0_key, "--p0-key")?, peer(&network.p1, &network.p1_key, "--p1-key")?];
    if peers[0].key == peers[1].key {
        let what = "--p0-key and --p1-key are one key: one machine must not be both parties";
        return Err(Failure::new(ExitCode::Config, what).remedy("give each party's own fingerprint"));
    }
    let me = Arc::new(Identity::load(&out.key_file(network.key.as_ref())?)?);
    if peers.iter().any(|peer| peer.key == me.fingerprint()) {
        let what = "this machine's key is a party's: the dealer must not be a party";
        return Err(Failure::new(ExitCode::Config, what).remedy("deal on a third machine"));
    }
    Ok((me, peers))
}
