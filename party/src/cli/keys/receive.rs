//! `twoply keys receive`: takes keys from a dealer over the network.

use super::{key_dir, party};
use crate::cli::output::{Output, bytes};
use crate::cli::places::fingerprint;
use crate::deal;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use crate::identity::Identity;
use crate::transport::{Accept, Endpoint, Role};
use serde::Serialize;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use twoply_primitives::PartyId;

/// Flags of `twoply keys receive`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply keys receive --role 0 --plan digits.plan.json --keys keys/p0 --listen 0.0.0.0:7700 \
    --dealer tp1-DEALER"
)]
pub struct Args {
    /// Which party: 0 or 1
    #[arg(long = "role", alias = "party", value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    party: u8,
    /// The plan, the same file at all machines
    #[arg(long, value_name = "PLAN.json")]
    plan: PathBuf,
    /// Folder of this party's key sets; made if it is not there
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// Fingerprint of the dealer's key
    #[arg(long, value_name = "FINGERPRINT")]
    dealer: String,
    /// How long to wait for the dealer
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    patience: u64,
    /// Take keys that were dealt from a public test seed
    #[arg(long)]
    insecure_test_seed: bool,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown {
    key_set: String,
    images: u64,
    segments: u32,
    bytes: u64,
}

/// Waits for the dealer and takes its keys.
///
/// # Errors
/// 4 when nobody comes, 5 when somebody else does, and all of [`deal::receive`].
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let plan = files::read_plan(&args.plan)?;
    let me = party(args.party);
    let dealer = fingerprint("--dealer", &args.dealer)?;
    let identity = Arc::new(Identity::load(&out.key_file(args.key.as_ref())?)?);
    if identity.fingerprint() == dealer {
        let what = "the dealer's key is this machine's own: a party must not deal its own keys";
        return Err(Failure::new(ExitCode::Config, what).remedy("deal on a third machine"));
    }
    let keys = key_dir(&args.keys, me)?;
    if args.insecure_test_seed {
        out.warn("--insecure-test-seed is on: keys that protect nothing are accepted");
    }
    let role = if me == PartyId::P0 { Role::P0 } else { Role::P1 };
    let listen = address(&args.listen)?;
    let endpoint = Endpoint::bind(identity, role, Some(listen), Accept::these([dealer]))?;
    out.note(format_args!("listening on {} for dealer {}", endpoint.address(), dealer));
    let link = endpoint
        .accept(Duration::from_secs(args.patience))
        .map_err(|e| Failure::from(e).during(Phase::Connect))?;
    out.note("the dealer is here");
    let mut progress = out.progress("received MB", 0);
    let told = &mut |done: u64| progress.at(done / 1_000_000);
    let received = deal::receive(link, &plan, &keys, args.insecure_test_seed, told)?;
    drop(progress);
    out.line(format_args!(
        "key set {}: {} images; {} segments, {} came now",
        received.key_set,
        received.images,
        received.segments,
        bytes(received.bytes)
    ))?;
    out.result_json(&Shown {
        key_set: received.key_set.to_string(),
        images: received.images,
        segments: received.segments,
        bytes: received.bytes,
    })
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let bad = |why: String| {
        Failure::new(ExitCode::Config, format!("`{text}` is no address to listen on: {why}"))
            .remedy("write it as host:port, for example 0.0.0.0:7700")
    };
    text.to_socket_addrs()
        .map_err(|e| bad(e.to_string()))?
        .next()
        .ok_or_else(|| bad("it has no address".into()))
}
