//! P0: picks the next job and leads P1 through it.

use super::job::{self, Outcome};
use super::state::{Party, Waiting};
use super::{Ended, Hooks, TICK};
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{Follow, Lead};
use crate::transport::{Link, Reason};
use std::time::Duration;
use twoply_primitives::Backend;

/// Serves jobs over one link to the peer.
pub fn run<B: Backend>(party: &Party<B>, peer: &mut Link, hooks: &Hooks) -> Result<Ended, Failure> {
    loop {
        if hooks.stopped() {
            let _ = peer.send_message(&Lead::Bye);
            return Ok(Ended::Stopped);
        }
        if let Some(failure) = party.door_failure() {
            return Err(failure);
        }
        match heard(peer) {
            Ok(()) => {}
            Err(e) if super::left(&e) => return Ok(Ended::PeerLeft),
            Err(e) => return Err(e.into()),
        }
        let Some(client) = party.dequeue(TICK, |_| true) else { continue };
        // the peer may have left while nobody asked for anything: the client waits for it to come back
        match heard(peer) {
            Ok(()) => {}
            Err(e) if super::left(&e) => {
                party.put_back(client);
                return Ok(Ended::PeerLeft);
            }
            Err(e) => return Err(job::tell(client.link, e.into())),
        }
        if let Some(ended) = one(party, peer, client, hooks)? {
            return Ok(ended);
        }
    }
}

/// What the peer has to say between jobs: nothing, or that it is gone.
fn heard(peer: &mut Link) -> crate::transport::Result<()> {
    if peer.waiting(Duration::ZERO)? { peer.recv_message() } else { Ok(()) }
}

/// One job; says if the peer left before anything was reserved for it.
fn one<B: Backend>(
    party: &Party<B>,
    peer: &mut Link,
    client: Waiting,
    hooks: &Hooks,
) -> Result<Option<Ended>, Failure> {
    let (job, _serving) = (client.job, party.larder.serving());
    let (weights, reserve) = match prepare(party, u64::from(job.images)) {
        Ok(ready) => ready,
        Err(failure) => {
            hooks.refuse(client.link, failure);
            return Ok(None);
        }
    };
    let order = Lead::Job { job, client: client.link.peer(), weights, reserve };
    match peer.send_message(&order).and_then(|()| peer.recv_message()) {
        Ok(Follow::Ready) => {}
        // It was stopped while the order was on its way.
        Err(e) if super::left(&e) => {
            hooks.refuse(client.link, Failure::from(e).told_as(Reason::Interrupted));
            return Ok(Some(Ended::PeerLeft));
        }
        Err(e) => return Err(job::tell(client.link, e.into())),
        Ok(Follow::Refused(code)) => {
            let code = ExitCode::from_number(code).unwrap_or(ExitCode::PeerFailed);
            let failure = Failure::new(code, "P1 cannot run this job").with_peer(peer.name());
            hooks.refuse(client.link, failure);
            return Ok(None);
        }
    }
    if let Some((from, to)) = reserve {
        let reserved = job::reserve(party, peer, from..to).map_err(|f| f.during(Phase::Reserve));
        if let Err(failure) = reserved {
            return Err(job::tell(client.link, failure));
        }
    }
    match job::run(party, peer, client)? {
        Outcome::Done(link) => (hooks.back)(link),
        Outcome::OwnerFailed(link, failure) => hooks.refuse(link, failure),
    }
    Ok(None)
}

/// Digest of the weights, and what must be reserved for `images`.
type Ready = ([u8; 32], Option<(u64, u64)>);

fn prepare<B: Backend>(party: &Party<B>, images: u64) -> Result<Ready, Failure> {
    let weights = job::weights(party)?.digest;
    if images == 0 || images > job::MOST_IMAGES {
        return Err(Failure::new(
            ExitCode::Model,
            format!("{images} images in one request; ask for 1 to {}", job::MOST_IMAGES),
        ));
    }
    let missing = images.saturating_sub(party.reserved());
    if missing == 0 {
        return Ok((weights, None));
    }
    let book = party.book();
    let range = book.ledger.propose(missing, party.set.dealt(book.ledger.tally().next))?;
    Ok((weights, Some((range.start, range.end))))
}
