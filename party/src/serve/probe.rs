//! Answers a probe, on the thread that reads its link: no job waits for it, and no key is touched.

use super::state::Party;
use crate::exit::{ExitCode, Failure};
use crate::jobs::{About, PROBE_CAP, Probe};
use crate::messages::PROTOCOL_VERSION;
use crate::probe::now;
use crate::transport::{Label, Link, Role};
use twoply_primitives::{Backend, Channel};

/// Most bytes that the probes of one link may move: a probe shall not hold up the party's own messages for long.
const BUDGET: u64 = 32 << 20;
/// What a probe costs at least.
const LEAST: u64 = 1 << 10;

/// Answers one; `moved` counts the bytes of its link.
pub fn answer<B: Backend>(
    party: &Party<B>,
    link: &mut Link,
    probe: Probe,
    moved: &mut u64,
) -> Result<(), Failure> {
    if link.role() != Role::Probe {
        return Err(Failure::new(ExitCode::Identity, "a caller probes that does not call itself a probe"));
    }
    let (up, down) = match probe {
        Probe::About => (0, 0),
        Probe::Echo { up, down } => (up, down),
    };
    *moved += LEAST.max(u64::from(up) + u64::from(down));
    if up.max(down) > PROBE_CAP || *moved > BUDGET {
        return Err(Failure::new(ExitCode::Policy, "a probe asks for more bytes than probes may"));
    }
    match probe {
        Probe::About => party.tell_owner(link, &about(party)?)?,
        Probe::Echo { up, down } => {
            link.admit(up as usize);
            link.recv(up as usize)?;
            link.restrict();
            link.send(&vec![0; down as usize])?;
        }
    }
    Ok(())
}

fn about<B: Backend>(party: &Party<B>) -> Result<About, Failure> {
    Ok(About {
        protocol: PROTOCOL_VERSION,
        software: Label::new(env!("CARGO_PKG_VERSION")),
        plan: party.digest.0,
        provisioned: party.stocks.provisioned(),
        met: party.met(),
        sets: party.stocks.ids().len() as u32,
        images: party.stocks.left()[0],
        concern: party.stocks.concern(),
        clock: now()?,
    })
}
