//! Who comes in: the peer, data owners, the model owner, probes. One thread waits for callers, one reads each caller's request.

use super::state::Party;
use super::{TICK, probe, provision};
use crate::exit::{ExitCode, Failure};
use crate::jobs::{Job, Request};
use crate::transport::{Detail, Endpoint, Error, Link, Reason, Role};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;
use twoply_primitives::Backend;

/// How long a caller may stay silent between two requests.
const IDLE: Duration = Duration::from_secs(3600);

/// Takes callers until `over`.
pub fn watch<'s, 'e, B: Backend>(
    scope: &'s Scope<'s, 'e>,
    party: &'e Party<B>,
    endpoint: &'e Endpoint,
    over: &'e AtomicBool,
    say: &'e (dyn Fn(&str) + Sync),
) {
    while !over.load(Ordering::SeqCst) {
        match endpoint.accept(TICK) {
            Ok(link) if is_peer(party, &link) => party.peer_called(link),
            Ok(link) => {
                scope.spawn(move || listen(party, link, over, say));
            }
            Err(Error::NobodyCame { .. }) => {}
            Err(e @ (Error::Uninvited { .. } | Error::Unwanted { .. })) => {
                say(&format!("refused a caller: {e}"))
            }
            // Another version of a data owner is that owner's trouble; of the peer, everybody's.
            Err(Error::Version { peer, theirs }) if peer != party.config.peer.short() => {
                say(&format!("refused a caller: {}", Error::Version { peer, theirs }));
            }
            Err(e) => return party.door_failed(e.into()),
        }
    }
}

fn is_peer<B: Backend>(party: &Party<B>, link: &Link) -> bool {
    link.peer() == party.config.peer && matches!(link.role(), Role::P0 | Role::P1)
}

/// Reads requests of one caller. A job hands the link over to the party; it comes back after the job.
pub fn listen<B: Backend>(party: &Party<B>, mut link: Link, over: &AtomicBool, say: &dyn Fn(&str)) {
    let (mut quiet, mut probed) = (Duration::ZERO, 0);
    while quiet < IDLE && !over.load(Ordering::SeqCst) {
        let heard =
            link.waiting(TICK).and_then(|heard| if heard { link.recv_message().map(Some) } else { Ok(None) });
        let result = match heard {
            Ok(None) => {
                quiet += TICK;
                continue;
            }
            Ok(Some(Request::Infer(job))) => match admit_data_owner(party, &link, &job) {
                Ok(()) => return party.enqueue(link, job),
                Err(failure) => Err(failure),
            },
            Ok(Some(Request::Provision(plan))) => {
                let taken =
                    admit_model_owner(party, &link, plan).and_then(|()| provision::take(party, &mut link));
                taken.map(|()| say(&format!("{} provisioned the weights", link.name())))
            }
            Ok(Some(Request::Probe(asked))) => probe::answer(party, &mut link, asked, &mut probed),
            Err(Error::Closed { .. } | Error::Lost { .. }) => return, // it left
            Err(e) => Err(e.into()),
        };
        quiet = Duration::ZERO;
        if let Err(failure) = result {
            say(&format!("{}: {}", link.name(), failure.content().what));
            let (reason, detail) = failure.reason();
            link.abort(reason, detail);
            // Without its device this party can serve nobody.
            if failure.code() == ExitCode::Device {
                party.door_failed(failure);
            }
            return;
        }
    }
    link.abort(Reason::Interrupted, Detail::None);
}

fn admit_data_owner<B: Backend>(party: &Party<B>, link: &Link, job: &Job) -> Result<(), Failure> {
    let listed = party.config.clients.contains(&link.peer()) && link.role() == Role::Client;
    check(listed, "a data owner", job.plan == party.digest.0)
}

fn admit_model_owner<B: Backend>(party: &Party<B>, link: &Link, plan: [u8; 32]) -> Result<(), Failure> {
    let listed = party.config.owners.contains(&link.peer()) && link.role() == Role::ModelOwner;
    check(listed, "the model owner", plan == party.digest.0)
}

fn check(listed: bool, what: &str, same_plan: bool) -> Result<(), Failure> {
    if !listed {
        let text = format!("the caller is not listed as {what} here");
        return Err(Failure::new(ExitCode::Identity, text));
    }
    if !same_plan {
        return Err(Failure::new(ExitCode::PlanMismatch, "the caller works on another plan"));
    }
    Ok(())
}
