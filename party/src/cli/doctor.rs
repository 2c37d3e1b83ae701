//! `twoply doctor`: what stands in the way of a run, seen from this machine.

mod here;
mod there;

use super::output::Output;
use crate::exit::{ExitCode, Failure};
use crate::files::read_plan;
use crate::identity::Identity;
use crate::transport::Transport;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Check this machine, and the parties as it reaches them
///
/// Says of every point whether it is in order, and if not, on which side and what to do. Parties that run are asked over a
/// link of their own: no job is disturbed and no key is spent. They answer keys that they list: run it on the machine of a
/// client, of the model owner or of the other party. Ends with the exit code of the first failure; warnings are none.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twoply doctor --plan digits.plan.json --p0 p0.example:7700 --p0-key tp1-P0 --p1 \
    p1.example:7700 --p1-key tp1-P1"
)]
pub struct Args {
    /// The plan: parties must run the same
    #[arg(long, value_name = "PLAN.json")]
    plan: Option<PathBuf>,
    /// Images that keys or disk space must suffice for
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
    /// Folder of this party's key sets
    #[arg(long, value_name = "DIR", requires = "role")]
    keys: Option<PathBuf>,
    /// Which party this machine is: 0 or 1
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    role: Option<u8>,
    /// This machine's key [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where this machine is to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address of P0
    #[arg(long, value_name = "HOST:PORT", requires = "p0_key")]
    p0: Option<String>,
    /// Fingerprint of P0's key
    #[arg(long, value_name = "FINGERPRINT", requires = "p0")]
    p0_key: Option<String>,
    /// Address of P1
    #[arg(long, value_name = "HOST:PORT", requires = "p1_key")]
    p1: Option<String>,
    /// Fingerprint of P1's key
    #[arg(long, value_name = "FINGERPRINT", requires = "p1")]
    p1_key: Option<String>,
    /// How long a party may take to answer a call
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    patience: u64,
    /// What to call the parties over; auto tries both
    #[arg(long, value_name = "TRANSPORT", env = "TWOPLY_TRANSPORT", default_value = "auto")]
    transport: Transport,
}

/// How a point stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Failure,
}

/// One point that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// Whose: "here", "P0" or "P1".
    side: &'static str,
    point: &'static str,
    state: State,
    found: String,
    /// What to do, if something is to be done.
    remedy: Option<String>,
    /// Exit code of a failure.
    code: Option<ExitCode>,
}

/// All points of one side, in the order in which they were looked at.
struct Findings {
    side: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    fn of(side: &'static str) -> Self {
        Self { side, all: vec![] }
    }

    fn add(&mut self, point: &'static str, state: State, found: impl Into<String>) -> &mut Finding {
        let found = found.into();
        self.all.push(Finding { side: self.side, point, state, found, remedy: None, code: None });
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    fn ok(&mut self, point: &'static str, found: impl Into<String>) {
        self.add(point, State::Ok, found);
    }

    fn warn(&mut self, point: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(point, State::Warning, found).remedy = Some(remedy.into());
    }

    fn fail(&mut self, point: &'static str, failure: &Failure) {
        let content = failure.content();
        let finding = self.add(point, State::Failure, &content.what);
        (finding.remedy, finding.code) = (Some(content.remedy.clone()), Some(content.code));
    }

    /// The value, or nothing and a failure.
    fn note<T>(&mut self, point: &'static str, result: Result<T, Failure>) -> Option<T> {
        result.inspect_err(|failure| self.fail(point, failure)).ok()
    }
}

/// Looks at everything.
///
/// # Errors
/// The code of the first failure: 3 no identity, 4 a party unreachable, 5 a key that is not the expected one, 6 another plan,
/// 7 another version, 8 too few keys, 16 the system, such as a port in use or a full disk.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let mut here = Findings::of("here");
    let identity = out.key_file(args.key.as_ref()).and_then(|path| Ok(Identity::load(&path)?));
    let identity = here.note("identity", identity).map(Arc::new);
    if let Some(identity) = &identity {
        here.ok("identity", identity.fingerprint().to_string());
    }
    here::machine(&mut here);
    if let Some(listen) = &args.listen {
        here::listen(&mut here, listen);
    }
    let plan = args.plan.as_ref().and_then(|path| here.note("plan", read_plan(path)));
    let digest = plan.as_ref().and_then(|plan| here.note("plan", plan.digest().map_err(Failure::from)));
    if let Some(digest) = digest {
        here.ok("plan", digest.to_string());
    }
    here::keys_and_disk(&mut here, &args, plan.as_ref());
    let mut all = here.all;
    all.extend(there::parties(&args, identity.as_ref(), digest));
    show(&all, out)?;
    match all.iter().find(|finding| finding.state == State::Failure) {
        None => Ok(()),
        Some(first) => {
            let what = format!("{}: {}: {}", first.side, first.point, first.found);
            let failure = Failure::new(first.code.unwrap_or(ExitCode::Internal), what);
            Err(failure.remedy(first.remedy.clone().unwrap_or_default()))
        }
    }
}

fn show(all: &[Finding], out: &Output) -> Result<(), Failure> {
    for Finding { side, point, state, found, remedy, .. } in all {
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failure => "FAILURE",
        };
        out.line(format_args!("{state:<8} {side:<5} {point:<10} {found}"))?;
        if let Some(remedy) = remedy {
            out.line(format_args!("{:<26}{remedy}", ""))?;
        }
    }
    let count = |state| all.iter().filter(|finding| finding.state == state).count();
    let (good, warnings, failures) = (count(State::Ok), count(State::Warning), count(State::Failure));
    out.line(format_args!("{good} points in order, {warnings} warnings, {failures} failures"))?;
    #[derive(Serialize)]
    struct Shown<'a> {
        findings: &'a [Finding],
    }
    out.result_json(&Shown { findings: all })
}
