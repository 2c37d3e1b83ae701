//! P1: does what P0 leads it to, if it can.

use super::job::{self, Outcome};
use super::state::{Party, Waiting};
use super::{Ended, Hooks, TICK};
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Fingerprint;
use crate::jobs::{Follow, Job, Lead};
use crate::transport::Link;
use std::time::Duration;
use twoply_primitives::Backend;

/// How long the data owner may take to reach this party after it reached P0.
const GATHER: Duration = Duration::from_secs(10);

/// Serves jobs over one link to the peer.
pub fn run<B: Backend>(party: &Party<B>, peer: &mut Link, hooks: &Hooks) -> Result<Ended, Failure> {
    loop {
        if hooks.stopped() {
            return Ok(Ended::Stopped);
        }
        if let Some(failure) = party.door_failure() {
            return Err(failure);
        }
        let heard =
            peer.waiting(TICK).and_then(|heard| if heard { peer.recv_message().map(Some) } else { Ok(None) });
        match heard {
            Ok(None) => party.reap(),
            Ok(Some(Lead::Job { job, client, weights, reserve })) => {
                one(party, peer, (job, client, weights, reserve), hooks)?;
            }
            Ok(Some(Lead::Bye)) => return Ok(Ended::PeerLeft),
            Err(e) if super::left(&e) => return Ok(Ended::PeerLeft),
            Err(e) => return Err(e.into()),
        }
    }
}

type Order = (Job, Fingerprint, [u8; 32], Option<(u64, u64)>);

fn one<B: Backend>(party: &Party<B>, peer: &mut Link, order: Order, hooks: &Hooks) -> Result<(), Failure> {
    let (reserve, _serving) = (order.3, party.larder.serving());
    let client = match prepare(party, order) {
        Ok(client) => client,
        Err(refusal) => {
            let (link, failure) = *refusal;
            let said = peer.send_message(&Follow::refused(failure.code()));
            match link {
                Some(link) => hooks.refuse(link, failure),
                None => (hooks.say)(&failure.content().what),
            }
            return Ok(said?);
        }
    };
    let ready = peer.send_message(&Follow::Ready).map_err(Failure::from).and_then(|()| match reserve {
        Some((from, to)) => job::reserve(party, peer, from..to).map_err(|f| f.during(Phase::Reserve)),
        None => Ok(()),
    });
    if let Err(failure) = ready {
        return Err(job::tell(client.link, failure));
    }
    match job::run(party, peer, client)? {
        Outcome::Done(link) => (hooks.back)(link),
        Outcome::OwnerFailed(link, failure) => hooks.refuse(link, failure),
    }
    Ok(())
}

/// Finds the data owner and checks that this party can do its part.
fn prepare<B: Backend>(
    party: &Party<B>,
    (job, client, weights, reserve): Order,
) -> Result<Waiting, Box<(Option<Link>, Failure)>> {
    let found = party.dequeue(GATHER, |w| w.job == job && w.link.peer() == client);
    let Some(waiting) = found else {
        let text = format!("the data owner {client} reached P0 but not this party");
        return Err(Box::new((None, Failure::new(ExitCode::Unreachable, text))));
    };
    let check = || -> Result<(), Failure> {
        if job::weights(party)?.digest != weights {
            let text = "the parties hold different masked weights";
            return Err(Failure::new(ExitCode::PlanMismatch, text)
                .remedy("provision both parties again from the same weights"));
        }
        let reserved = party.reserved();
        let book = party.book();
        let next = book.ledger.tally().next;
        let fits = match reserve {
            Some((from, to)) => {
                from == next
                    && to > from
                    && to <= party.set.dealt(next)
                    && reserved + (to - from) >= job.images.into()
            }
            None => reserved >= job.images.into(),
        };
        if !fits {
            let text =
                format!("this party has keys up to image {} and {reserved} reserved", party.set.dealt(next));
            return Err(Failure::new(ExitCode::KeysMissing, text));
        }
        Ok(())
    };
    match check() {
        Ok(()) => Ok(waiting),
        Err(failure) => Err(Box::new((Some(waiting.link), failure))),
    }
}
