//! `twoply id`: this machine's key and the name under which others pin it.

use super::output::{Output, shell};
use crate::exit::{Failure, Phase};
use crate::files;
use crate::identity::Identity;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Show this machine's fingerprint, or make its key
///
/// A machine is known to others by the fingerprint of its key. The key never leaves its file
/// (identity.key in the home folder, mode 0600) and is never overwritten.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  twoply id --new")]
pub struct Args {
    /// Key file [default: identity.key in the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make a new key; fails when there is one
    #[arg(long)]
    new: bool,
}

/// The JSON result.
#[derive(Serialize)]
struct Shown<'a> {
    fingerprint: String,
    key: &'a Path,
    created: bool,
}

/// Shows the fingerprint.
///
/// # Errors
/// 3 when there is no key, or one is there that `--new` must not replace; 16 when the system refuses.
pub fn run(args: Args, out: &Output) -> Result<(), Failure> {
    let path = out.key_file(args.key.as_ref())?;
    let identity = if args.new {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::private_dir(folder)?;
        }
        Identity::create(&path).map_err(Failure::from)
    } else {
        Identity::load(&path).map_err(Failure::from)
    };
    let fingerprint = identity.map_err(|failure| failure.during(Phase::Start))?.fingerprint().to_string();
    out.line(&fingerprint)?;
    out.result_json(&Shown { fingerprint: fingerprint.clone(), key: &path, created: args.new })?;
    if args.new {
        out.note(format_args!("new key in {}; keep a copy in a safe place, and nowhere else", shell(&path)));
    }
    out.note("others name this machine by that line; read it to them over a channel you trust:");
    out.note(format_args!("  other party:  twoply party ... --peer-key {fingerprint}"));
    out.note(format_args!("  client:       twoply infer ... --p0-key (or --p1-key) {fingerprint}"));
    out.note(format_args!("  dealer:       twoply deal ... --p0-key (or --p1-key) {fingerprint}"));
    Ok(())
}
