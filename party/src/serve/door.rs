//! Who comes in: the peer, data owners, the model owner, probes. One thread waits for callers, one serves each of them.

use super::lead::LOOK;
use super::owner::{self, Visit};
use super::state::Party;
use super::{TICK, probe, provision};
use crate::exit::{ExitCode, Failure};
use crate::jobs::{Request, Stock};
use crate::transport::{Detail, Ending, Endpoint, Error, Label, Link, Reason, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;
use twoply_primitives::Backend;

/// How long a caller may stay silent between two requests.
const IDLE: Duration = Duration::from_secs(3600);

/// Takes callers until `over`.
pub fn watch<'s, 'e, B: Backend>(
    scope: &'s Scope<'s, 'e>,
    party: &'e Party<'e, B>,
    endpoint: &'e Endpoint,
    over: &'e Arc<AtomicBool>,
) {
    while !over.load(Ordering::SeqCst) {
        match endpoint.accept(TICK) {
            Ok(link) if is_peer(party, &link) => party.peer_called(link),
            Ok(mut link) => {
                link.stop_with(over.clone());
                scope.spawn(move || listen(party, link, over));
            }
            // The transport says who was refused, and how often.
            Err(Error::NobodyCame { .. } | Error::Uninvited { .. } | Error::Unwanted { .. }) => {}
            // A caller of another version is that caller's trouble, unless it is the peer.
            Err(e @ Error::Version { .. }) => {
                if matches!(&e, Error::Version { peer, .. } if *peer == party.config.peer.short()) {
                    party.door_failed(e.into());
                }
            }
            Err(e) => return party.door_failed(e.into()),
        }
    }
}

fn is_peer<B: Backend>(party: &Party<B>, link: &Link) -> bool {
    link.peer() == party.config.peer && matches!(link.role(), Role::P0 | Role::P1)
}

/// Serves the requests of one caller until it leaves.
fn listen<B: Backend>(party: &Party<B>, link: Link, over: &AtomicBool) {
    let (mut quiet, mut probed, say) = (Duration::ZERO, 0, party.say());
    let mut visit = Visit { link, trusted: false };
    while quiet < IDLE && !over.load(Ordering::SeqCst) {
        let link = &mut visit.link;
        let heard = link.waiting(TICK).and_then(|heard| if heard { link.hear().map(Some) } else { Ok(None) });
        let result = match heard {
            Ok(None) => {
                quiet += TICK;
                continue;
            }
            Ok(Some(Request::Infer(job))) => match admit(party, link, Role::Client, job.plan) {
                Ok(()) => match owner::serve(party, visit, job, over, say) {
                    Some(back) => {
                        visit = back;
                        quiet = Duration::ZERO;
                        continue;
                    }
                    None => return,
                },
                Err(failure) => Err(failure),
            },
            Ok(Some(Request::Stock(plan))) => admit(party, link, Role::Client, plan).and_then(|()| {
                // P1 hears of it when P0 asks; an owner that comes a moment too early there asks again
                if party.met() && party.me.is_p0() {
                    party.stocks.renew(LOOK + TICK, || party.requests.ring());
                }
                let images = party.stocks.left()[0].saturating_sub(party.requests.promised([0; 16]));
                Ok(party.tell_owner(link, &Stock { images })?)
            }),
            Ok(Some(Request::Provision(plan))) => {
                let taken = admit(party, link, Role::ModelOwner, plan)
                    .and_then(|()| provision::take(party, link, over));
                let what = |n| if n == 1 { "1 key set".into() } else { format!("{n} key sets") };
                taken.map(|n| say(&format!("{} provisioned the weights of {}", link.name(), what(n))))
            }
            Ok(Some(Request::Probe(asked))) => probe::answer(party, link, asked, &mut probed),
            Err(e) if gone(&e) => return,
            Err(e) => Err(e.into()),
        };
        quiet = Duration::ZERO;
        if let Err(failure) = result {
            say(&format!("{}: {}", visit.link.name(), failure.content().what));
            let (reason, detail) = failure.reason();
            visit.link.abort(reason, detail);
            // Without its device this party can serve nobody.
            if failure.code() == ExitCode::Device {
                party.door_failed(failure);
            }
            return;
        }
    }
    visit.link.abort(Reason::Interrupted, Detail::None);
}

/// Whether a caller left, in whatever way: between two requests that is no failure.
fn gone(error: &Error) -> bool {
    let left = matches!(
        error.ending(),
        Ending::Stopped | Ending::Crashed | Ending::Cut | Ending::Replaced | Ending::Ousted
    );
    left || matches!(error, Error::Lost { .. })
}

/// Whether the caller may do what it asks for as `role`, on this plan.
fn admit<B: Backend>(party: &Party<B>, link: &Link, role: Role, plan: [u8; 32]) -> Result<(), Failure> {
    let (key, config) = (link.peer(), &party.config);
    let (listed, other) = match role {
        Role::Client => (config.clients.contains(&key), config.owners.contains(&key)),
        _ => (config.owners.contains(&key), config.clients.contains(&key)),
    };
    if !listed || link.role() != role {
        let (what, may) = match role {
            Role::Client => ("a data owner", "listed as a model owner"),
            _ => ("the model owner", "listed as a data owner"),
        };
        let text = format!("the caller is not listed as {what} here");
        let failure = Failure::new(ExitCode::Identity, text);
        return Err(match other {
            true => failure.with_detail(Detail::Item(Label::new(may))),
            false => failure,
        });
    }
    if plan != party.digest.0 {
        let failure = Failure::new(ExitCode::PlanMismatch, "the caller works on another plan");
        return Err(failure.with_detail(Detail::Item(Label::new("plan"))));
    }
    Ok(())
}
