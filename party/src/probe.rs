//! Asking a running party how it is, over a link of its own ([`crate::transport::Role::Probe`]).

use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{About, PROBE_CAP, Probe, Request};
use crate::transport::{Error, Link, Reason};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use twoply_primitives::Channel;

/// Round trips of which the median counts.
const TRIPS: usize = 9;
/// A transfer that took so long says enough about the bandwidth; shorter ones are repeated with more bytes.
const ENOUGH: Duration = Duration::from_millis(50);
/// Bytes of the first transfer; each further one has eight times as many.
const FIRST: u32 = 64 << 10;

/// Microseconds since 1970 by this machine's clock.
///
/// # Errors
/// 16 when it stands before 1970.
pub fn now() -> Result<u64, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| Failure::new(ExitCode::System, "the clock stands before 1970"))?;
    Ok(since.as_micros() as u64)
}

/// What a party runs, and by how many seconds its clock is ahead of this machine's (known to half a round trip).
///
/// # Errors
/// 7 when it does not know the question; whatever ends a link.
pub fn about(link: &mut Link) -> Result<(About, f64), Failure> {
    let before = now()?;
    ask(link, Probe::About)?;
    let about: About = link.recv_message().map_err(|e| unknown(e, link))?;
    let middle = before + now()?.saturating_sub(before) / 2;
    let ahead = about.clock as f64 - middle as f64;
    Ok((about, ahead / 1e6))
}

/// Seconds of a small message's way there and back: the median of some.
///
/// # Errors
/// As [`about`].
pub fn round_trip(link: &mut Link) -> Result<f64, Failure> {
    let mut times = [0.0; TRIPS];
    for time in &mut times {
        *time = echo(link, 0, 0)?.as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    Ok(times[TRIPS / 2])
}

/// Bits per second to the party and from it, of a few megabytes at most: a long link takes longer to come up to speed.
///
/// # Errors
/// As [`about`].
pub fn bandwidth(link: &mut Link, round_trip: f64) -> Result<[f64; 2], Failure> {
    let mut way = |bytes: fn(u32) -> (u32, u32)| -> Result<f64, Failure> {
        let mut length = FIRST;
        loop {
            let (up, down) = bytes(length);
            let took = echo(link, up, down)?;
            if took >= ENOUGH || length == PROBE_CAP {
                let seconds = (took.as_secs_f64() - round_trip).max(1e-6);
                return Ok(f64::from(length) * 8.0 / seconds);
            }
            length = length.saturating_mul(8).min(PROBE_CAP);
        }
    };
    Ok([way(|length| (length, 0))?, way(|length| (0, length))?])
}

fn echo(link: &mut Link, up: u32, down: u32) -> Result<Duration, Failure> {
    let bytes = vec![0; up as usize];
    let start = Instant::now();
    ask(link, Probe::Echo { up, down })?;
    let answered = link.send(&bytes).and_then(|()| link.recv(down as usize));
    answered.map_err(|e| Failure::on_link(e, link).during(Phase::Hello))?;
    Ok(start.elapsed())
}

fn ask(link: &mut Link, probe: Probe) -> Result<(), Failure> {
    link.send_message(&Request::Probe(probe)).map_err(|e| Failure::on_link(e, link).during(Phase::Hello))
}

/// A party that finds a probe out of step has never heard of probes.
fn unknown(error: Error, link: &Link) -> Failure {
    let failure = match &error {
        Error::PeerFailed { reason: Reason::OutOfStep, .. } | Error::Malformed { .. } => {
            Failure::new(ExitCode::Version, "the party speaks another version: it cannot be probed")
        }
        _ => Failure::from(error),
    };
    Failure::on_link(failure, link).during(Phase::Hello)
}
