//! The data owner's side of a request, on a thread of its own: grants and keys go out, masked inputs come in, shares go
//! out. Nothing here waits for the other party, and the work with the other party never waits for an owner.

use super::TICK;
use super::requests::Order;
use super::state::Party;
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{FIRST_GRANT, Grant, Job};
use crate::transport::{Detail, Link, Reason};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use twoply_primitives::{Backend, Channel};

/// Most images in one request.
pub const MOST_IMAGES: u32 = 4096;

/// How long a data owner may be silent when its masked input is awaited; links allow for its length by themselves.
pub const OWNER: Duration = Duration::from_secs(20);

/// A data owner's link, with what it did so far.
pub struct Visit {
    pub link: Link,
    /// Whether a masked input has come over it.
    pub trusted: bool,
}

/// Serves one request; gives the link back for the next one.
pub fn serve<B: Backend>(
    party: &Party<B>,
    mut visit: Visit,
    job: Job,
    over: &AtomicBool,
    say: &dyn Fn(&str),
) -> Option<Visit> {
    let result = admit(party, &visit, &job);
    match result.and_then(|orders| follow(party, &mut visit, &job, &orders, over)) {
        Ok(true) => Some(visit),
        Ok(false) => {
            visit.link.abort(Reason::Interrupted, Detail::None);
            None
        }
        Err(failure) => {
            say(&format!("{}: {}", visit.link.name(), failure.content().what));
            let (reason, detail) = failure.reason();
            visit.link.abort(reason, detail);
            None
        }
    }
}

/// Queues the request.
fn admit<B: Backend>(party: &Party<B>, visit: &Visit, job: &Job) -> Result<Receiver<Order>, Failure> {
    if job.images == 0 || job.images > MOST_IMAGES {
        let text = format!("{} images in one request; ask for 1 to {MOST_IMAGES}", job.images);
        return Err(Failure::new(ExitCode::Model, text));
    }
    party.affords(visit.link.peer(), job.images.into())?;
    let most = if visit.trusted { u32::MAX } else { FIRST_GRANT };
    party.requests.enter(*job, visit.link.peer(), most)
}

/// Does as ordered until the request is done. `false` if the party goes.
fn follow<B: Backend>(
    party: &Party<B>,
    visit: &mut Visit,
    job: &Job,
    orders: &Receiver<Order>,
    over: &AtomicBool,
) -> Result<bool, Failure> {
    loop {
        match orders.recv_timeout(TICK) {
            Ok(Order::Grant(grant, keys, len)) => {
                let input = exchange(party, &mut visit.link, (&grant, &keys), len);
                visit.trusted |= input.is_ok();
                party.requests.arrived(job.id, input);
            }
            Ok(Order::Send(bytes)) => {
                if let Err(e) = visit.link.send(&bytes) {
                    let failure = Failure::on_link(e, &visit.link).during(Phase::Output);
                    party.requests.left(job.id, failure);
                }
            }
            Ok(Order::Done) => return Ok(true),
            Ok(Order::End(failure)) => return Err(failure),
            // what was ordered before this has been done
            Err(RecvTimeoutError::Timeout) if over.load(Ordering::SeqCst) => return Ok(false),
            Err(RecvTimeoutError::Timeout) if visit.link.is_alive() => {}
            Err(RecvTimeoutError::Timeout) => {
                let left = Failure::new(ExitCode::PeerFailed, "the data owner left");
                let why = visit
                    .link
                    .waiting(Duration::ZERO)
                    .err()
                    .map_or(left, |e| Failure::on_link(e, &visit.link));
                party.requests.left(job.id, why);
            }
            Err(RecvTimeoutError::Disconnected) => {
                // forgotten while it waited: its link is dead, or the party goes
                return match visit.link.is_alive() && !over.load(Ordering::SeqCst) {
                    true => Err(Failure::new(ExitCode::Internal, "a request was forgotten")),
                    false => Ok(false),
                };
            }
        }
    }
}

/// Tells the owner of its images, and takes the masked input for these images only.
fn exchange<B: Backend>(
    party: &Party<B>,
    link: &mut Link,
    (grant, keys): (&Grant, &[u8]),
    len: usize,
) -> Result<Vec<u8>, Failure> {
    let mut run = || -> Result<Vec<u8>, Failure> {
        link.set_patience(OWNER);
        link.admit(len);
        party.tell_owner(link, grant)?;
        link.send(keys)?;
        let theirs: Grant = link.hear()?;
        if theirs != *grant {
            let text = format!(
                "masked input for images {}.. of key set {}, which are not the ones granted",
                theirs.first, theirs.key_set
            );
            let spent = Failure::new(ExitCode::KeysSpent, text);
            return Err(spent.remedy("a granted image is used once: ask again"));
        }
        Ok(link.recv(len)?)
    };
    let result = run();
    link.restrict();
    result.map_err(|failure| Failure::on_link(failure, link).during(Phase::Online))
}
