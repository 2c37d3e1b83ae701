//! Processes and wires of twoply: who a machine is, how two of them talk, what each role does, how a process ends.
//!
//! The only crate with sockets, and the only asynchronous code (below `transport`). A party's way through it:
//! `cli/party.rs`, `serve.rs`, `serve/job.rs`, and from there into `twoply_nn::roles`.

pub mod cli;
pub mod client;
pub mod deal;
pub mod demo;
pub mod exit;
mod failures;
pub mod files;
pub mod identity;
pub mod jobs;
pub mod memory;
pub mod messages;
pub mod plain;
pub mod probe;
pub mod provision;
pub mod record;
pub mod report;
pub mod seen;
pub mod serve;
pub mod train;
pub mod transport;

use exit::{ExitCode, Failure};

/// Fresh random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let refused =
        |e| Failure::new(ExitCode::System, format!("the operating system gives no randomness: {e}"));
    getrandom::fill(&mut bytes).map_err(refused)?;
    Ok(bytes)
}
