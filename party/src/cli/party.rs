//! `twoply party`: one of the two parties, serving until it is told to stop.

use super::config::Party as Settings;
use super::device;
use super::output::Output;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::read_plan;
use crate::identity::{Fingerprint, Identity};
use crate::memory::Peak;
use crate::report::{Emulated, Report};
use crate::serve::{Config, Served, Setup, serve};
use crate::transport::{Shape, Transport};
use serde::Serialize;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use twoply_nn::with_ring;
use twoply_primitives::backend::Choice;
use twoply_primitives::{PartyId, with_device};

/// Run one of the two parties
///
/// Serves inferences to the listed clients until SIGTERM, SIGHUP or Ctrl-C; then finishes the run at hand and prints its
/// report. The other party may come, go and come back. Key sets that are put into the folder are taken while it runs.
/// P1 calls P0. Everything may stand in a configuration file (docs/party.toml) or in TWOPLY_* variables instead; flags win.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply party digits.plan.json --role 0 --keys keys/p0 --listen 0.0.0.0:7700 --peer-key \
    tp1-P1 --client tp1-CLIENT --owner tp1-OWNER"
)]
pub struct Args {
    /// The plan, the same file at all machines
    #[arg(value_name = "PLAN.json")]
    plan: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which party: 0 or 1
    #[arg(long, alias = "party", value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    role: Option<u8>,
    /// Folder of this party's key sets
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Folder that this party trained in, for key sets dealt with --trained [default: train in the home folder]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where P0 is (for P1)
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// Fingerprint of the other party's key
    #[arg(long, value_name = "FINGERPRINT")]
    peer_key: Option<String>,
    /// What P1 calls P0 over; who listens takes both [default: auto]
    #[arg(long, value_name = "TRANSPORT")]
    transport: Option<Transport>,
    /// Emulate a link on all connections: dc, lan, wan, slow, or rtt=40ms,rate=400mbit [default: loopback]
    #[arg(long, value_name = "LINK")]
    link: Option<Shape>,
    /// Fingerprint of a data owner that may ask; repeat for more
    #[arg(long = "client", value_name = "FINGERPRINT")]
    clients: Vec<String>,
    /// Fingerprint of a model owner that may provision; repeat for more
    #[arg(long = "owner", value_name = "FINGERPRINT")]
    owners: Vec<String>,
    /// Refuse plans that reveal more than labels
    #[arg(long)]
    labels_only: bool,
    /// End when the other party stays away for so long [default: wait for ever]
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Most images that each data owner's key may ask for while this process runs [default: no limit]
    #[arg(long, value_name = "N")]
    images_per_client: Option<u64>,
    /// What to compute on: auto, cpu, or cuda:N; auto takes cuda:0 if this program can compute on it, else the CPU [default: auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<Choice>,
    /// Threads for computing [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Take keys that were dealt from a public test seed
    #[arg(long)]
    insecure_test_seed: bool,
    /// Write the coins of stochastic roundings to this file, for tests against the oracle
    #[arg(long, value_name = "FILE")]
    insecure_record_coins: Option<PathBuf>,
}

impl Args {
    /// Flags above environment above file.
    fn settings(&self) -> Result<Settings, Failure> {
        let list = |v: &[String]| (!v.is_empty()).then(|| v.to_vec());
        let flags = Settings {
            role: self.role,
            plan: self.plan.clone(),
            keys: self.keys.clone(),
            runs: self.runs.clone(),
            key: self.key.clone(),
            listen: self.listen.clone(),
            peer: self.peer.clone(),
            peer_key: self.peer_key.clone(),
            transport: self.transport,
            link: self.link,
            clients: list(&self.clients),
            owners: list(&self.owners),
            labels_only: self.labels_only.then_some(true),
            patience: self.patience,
            images_per_client: self.images_per_client,
            device: self.device,
            threads: self.threads,
            insecure_test_seed: self.insecure_test_seed.then_some(true),
        };
        Settings::load(self.config.as_deref(), flags)
    }
}

/// The JSON result.
#[derive(Serialize)]
struct Result_<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Images whose keys are left.
    images_left: u64,
    /// Images spent without being used: retries and crashes.
    images_burnt: u64,
    /// Weak modes that were on.
    insecure: Vec<&'static str>,
}

/// Whether SIGHUP was ignored when this process began, as `nohup` has it.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal_hook::consts::SIGHUP - 1) & 1 == 1
}

/// SIGTERM, SIGINT and, unless it is ignored, SIGHUP.
pub(super) fn stopping() -> impl Iterator<Item = i32> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let hangup = if hangup_is_ignored() { None } else { Some(SIGHUP) };
    [SIGTERM, SIGINT].into_iter().chain(hangup)
}

/// What they set.
pub(super) fn stopped_by_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in stopping() {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Failure::io("handle", "signals", &e).during(Phase::Start))?;
    }
    Ok(stop)
}

/// Serves.
///
/// # Errors
/// Each named by its cause; see the exit codes.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let memory = Peak::watch();
    let stop = stopped_by_signals()?;
    let settings = args.settings().map_err(|f| f.during(Phase::Start))?;
    super::threads(settings.threads)?;
    let device = device::resolve(settings.device.unwrap_or_default())?;
    let setup = setup(&settings, args.insecure_record_coins.clone(), out)?;
    let (me, n, link) = (setup.me, setup.plan.options.fixed.n, setup.config.link);
    let mut insecure = vec![];
    insecure.extend(setup.insecure_test_seed.then_some("insecure-test-seed"));
    insecure.extend(args.insecure_record_coins.is_some().then_some("insecure-record-coins"));
    insecure.iter().for_each(|mode| out.warn(format_args!("--{mode} is on: nothing here is private")));
    let say = |text: &str| out.note(text);
    let served: Served = with_ring!(n, R => with_device!(device, R, dev => serve(setup, dev, &stop, &say)))?;
    let mut report = served.tally.report(me.index());
    report.link = Emulated::by(link);
    report.memory.parties[me.index()] = memory.bytes();
    report.devices.parties[me.index()] = Some(device.describe());
    out.line(report.table())?;
    out.line(report.opened_lines())?;
    if let Some(link) = &report.link {
        out.line(format_args!("link: {}", link.what))?;
    }
    out.line(format_args!("{} images left, {} spent without being used", served.left, served.burnt))?;
    let result = Result_ { report: &report, images_left: served.left, images_burnt: served.burnt, insecure };
    out.result_json(&result)
}

/// A setting that must be there.
fn needed<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| {
        let flag = name.replace('_', "-");
        Failure::new(ExitCode::Config, format!("`{name}` is not set"))
            .during(Phase::Start)
            .remedy(format!("add --{flag}, or `{name}` to the configuration file"))
    })
}

fn setup(s: &Settings, record_coins: Option<PathBuf>, out: &Output) -> Result<Setup, Failure> {
    let me = PartyId::BOTH[usize::from(needed(s.role, "role")?.min(1))];
    let fingerprints = |all: &Option<Vec<String>>| {
        all.iter().flatten().map(|k| k.parse()).collect::<Result<Vec<Fingerprint>, _>>()
    };
    let config = Config {
        listen: address(&needed(s.listen.clone(), "listen")?)?,
        peer: needed(s.peer_key.clone(), "peer_key")?.parse::<Fingerprint>()?,
        peer_address: s.peer.clone(),
        transport: s.transport.unwrap_or_default(),
        link: s.link.unwrap_or_default(),
        clients: fingerprints(&s.clients)?,
        owners: fingerprints(&s.owners)?,
        labels_only: s.labels_only.unwrap_or(false),
        patience: s.patience.map(Duration::from_secs),
        images_per_client: s.images_per_client,
        record_coins,
        record_control: None,
    };
    if me == PartyId::P1 {
        needed(config.peer_address.as_ref(), "peer")?;
    }
    // a party that never trained needs no home for it
    let runs = s.runs.clone().or_else(|| Some(out.home().ok()?.join("train"))).unwrap_or_default();
    let identity = Arc::new(Identity::load(&out.key_file(s.key.as_ref())?)?);
    if identity.fingerprint() == config.peer {
        let text = "the peer's key is this machine's own";
        return Err(
            Failure::new(ExitCode::Config, text).remedy("give --peer-key the other machine's fingerprint")
        );
    }
    Ok(Setup {
        me,
        plan: read_plan(&needed(s.plan.clone(), "plan")?)?,
        keys: needed(s.keys.clone(), "keys")?,
        runs: runs.join("runs"),
        identity,
        insecure_test_seed: s.insecure_test_seed.unwrap_or(false),
        config,
    })
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, Failure> {
    let bad = |why: String| {
        Failure::new(ExitCode::Config, format!("`{text}` is no address to listen on: {why}"))
            .remedy("write it as host:port, for example 0.0.0.0:7700")
    };
    text.to_socket_addrs()
        .map_err(|e| bad(e.to_string()))?
        .next()
        .ok_or_else(|| bad("it has no address".into()))
}
