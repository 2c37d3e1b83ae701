//! One job: reserve, grant, run piece by piece, erase what is spent.

use super::state::{Party, Waiting, Weights};
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{Grant, Reserved, Served};
use crate::transport::{Detail, Label, Link};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use twoply_nn::roles;
use twoply_preprocessing::Lease;
use twoply_primitives::session::Setup;
use twoply_primitives::{Backend, Channel, Error, Ring, Session, WallClock};

/// Most images in one request: bounds what a data owner can make a party reserve at once.
pub const MOST_IMAGES: u64 = 4096;

/// How long a data owner that holds up both parties may be silent.
const OWNER: Duration = Duration::from_secs(20);

/// How long the peer may be silent, beside the time that a data owner may take with it.
const PEER: Duration = Duration::from_secs(60);

/// Slowest upload of a masked input, in bytes per second; links allow for it by themselves.
const SLOWEST: u64 = 256 << 10;

/// How a job ended, if the peer is still there.
pub enum Outcome {
    /// Done; the link is free for the next request.
    Done(Link),
    /// The data owner failed; its images are spent.
    OwnerFailed(Link, Failure),
}

/// The weights, or what to do about it.
pub fn weights<B: Backend>(party: &Party<B>) -> Result<Arc<Weights<B>>, Failure> {
    party.weights().ok_or_else(|| {
        Failure::new(ExitCode::KeysMissing, "this party has no weights yet")
            .remedy("let the model owner run `twoply provision` first")
            .with_detail(Detail::Item(Label::new("masked weights")))
    })
}

/// Reserves images durably, tells the peer, hears the same. Nothing that depends on their keys may leave before.
pub fn reserve<B: Backend>(party: &Party<B>, peer: &mut Link, images: Range<u64>) -> Result<(), Failure> {
    let pending = party.book().ledger.reserve(images)?;
    peer.send_message(&Reserved(pending.claim()))?;
    let Reserved(claim) = peer.recv_message()?;
    let reservation = pending.acknowledged(&claim)?;
    party.book().reserved.push_back(reservation);
    Ok(())
}

/// Runs a job whose images are reserved.
pub fn run<B: Backend>(party: &Party<B>, peer: &mut Link, client: Waiting) -> Result<Outcome, Failure> {
    let mut link = client.link;
    link.set_patience(OWNER);
    party.larder.asked_for(client.job.images.into());
    let leases = match party.lease(client.job.images.into()) {
        Ok(leases) => leases,
        Err(failure) => return Err(tell(link, failure)),
    };
    let mut unserved = u64::from(client.job.images);
    let mut segments: VecDeque<u32> = leases.iter().map(Lease::segment).collect();
    for lease in leases {
        let images = lease.images().len() as u64;
        // This party may be done with the data owner long before the peer is.
        let upload = images * party.plan.graph.input.row() as u64 * u64::from(B::Ring::BITS / 8);
        peer.set_patience(PEER + 2 * OWNER + Duration::from_secs(upload / SLOWEST));
        let result = piece(party, peer, &mut link, lease);
        if let Some(segment) = segments.pop_front()
            && !segments.contains(&segment)
            && let Err(failure) = erase(party, segment)
        {
            return Err(tell(link, failure));
        }
        let failed = match result {
            Ok(()) => {
                unserved -= images;
                None
            }
            Err(Stop::Owner(failure)) => Some(failure),
            Err(Stop::Peer(failure)) => return Err(tell(link, failure)),
        };
        let failed = match segments.is_empty() {
            true => failed,
            false => match in_step(peer, failed) {
                Ok(failed) => failed,
                Err(failure) => return Err(tell(link, failure)),
            },
        };
        if let Some(failure) = failed {
            if let Err(failure) = segments.into_iter().try_for_each(|segment| erase(party, segment)) {
                return Err(tell(link, failure));
            }
            party.waste(unserved);
            return Ok(Outcome::OwnerFailed(link, failure));
        }
    }
    Ok(Outcome::Done(link))
}

/// Ends a data owner's link because of what ends this process.
pub fn tell(link: Link, failure: Failure) -> Failure {
    let (reason, detail) = failure.reason();
    link.abort(reason, detail);
    failure
}

/// Neither party begins the next piece unless both have served the data owner. Returns why not.
fn in_step(peer: &mut Link, failed: Option<Failure>) -> Result<Option<Failure>, Failure> {
    peer.send_message(&Served(failed.is_none()))?;
    let Served(theirs) = peer.recv_message()?;
    let lost = || Failure::new(ExitCode::PeerFailed, "the other party lost the data owner");
    Ok(failed.or_else(|| (!theirs).then(lost)))
}

/// Whose fault it was.
enum Stop {
    Owner(Failure),
    Peer(Failure),
}

fn piece<B: Backend>(party: &Party<B>, peer: &mut Link, link: &mut Link, lease: Lease) -> Result<(), Stop> {
    let fatal = |e: Failure| Stop::Peer(e.during(Phase::Online));
    let weights = weights(party).map_err(fatal)?;
    let keys = party.set.open(lease).map_err(|e| fatal(e.into()))?;
    let (images, segment) = (keys.images(), keys.origin().segment);
    let start = party.set.cut().range(segment).map_or(0, |r| r.start) + u64::from(images.start);
    let grant = grant(party, start, images.end - images.start);
    let half = keys.segment_id().0;
    let keys = Arc::new(keys);
    let began = Instant::now();
    let setup = Setup {
        me: party.me,
        dev: party.dev.clone(),
        seed: keys.seed().clone(),
        origin: keys.origin(),
        images: images.start as usize..images.end as usize,
        peer,
        keys: keys.clone(),
        clock: Arc::new(WallClock::default()),
    };
    let mut owner = Owner { link, grant, granted: false, failure: None };
    let record = party.config.record_coins.is_some();
    let mut session = Session::new(setup);
    if let Some(prepared) = party.larder.take(keys.origin(), keys.segment_id()) {
        session.prepared(prepared);
    }
    let ran = roles::run(&party.program, &weights.wires, session, (&mut owner, half), record);
    let owner_failure = owner.failure.take();
    match ran {
        Ok(ran) => {
            let seconds = began.elapsed().as_secs_f64();
            party.count(|t| {
                super::count(t, grant.images as usize, &ran, seconds);
                t.add_reading(&keys.reading());
            });
            if let Some(path) = &party.config.record_coins {
                append_coins(path, &ran.coins).map_err(fatal)?;
            }
            Ok(())
        }
        Err(twoply_nn::Error::Gate(Error::Owner(why))) => {
            let failure = owner_failure.unwrap_or_else(|| Failure::new(ExitCode::PeerFailed, why));
            Err(Stop::Owner(failure.during(Phase::Online)))
        }
        Err(e) => Err(fatal(e.into())),
    }
}

/// What the data owner is told. Both parties have reserved the same ranges since they met, so they say the same.
fn grant<B: Backend>(party: &Party<B>, first: u64, images: u32) -> Grant {
    let book = party.book();
    let (cursor, meeting) = (book.ledger.tally().next, book.meeting);
    Grant { key_set: party.set.id(), first, images, cursor, meeting }
}

/// Erases a segment all of whose images are spent.
fn erase<B: Backend>(party: &Party<B>, segment: u32) -> Result<(), Failure> {
    party.larder.let_go();
    let end = party.set.cut().range(segment).map_or(u64::MAX, |r| r.end);
    let book = party.book();
    let reserved: u64 = book.reserved.iter().map(|r| r.left()).sum();
    if book.ledger.tally().next - reserved >= end {
        party.set.erase(segment, &book.ledger)?;
    }
    Ok(())
}

/// One JSON line per run: gate numbers with their coins.
fn append_coins(path: &std::path::Path, coins: &[(u32, Vec<u64>)]) -> Result<(), Failure> {
    use std::io::Write;
    let line = serde_json::to_string(coins).map_err(|e| Failure::new(ExitCode::Internal, e.to_string()))?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut f| writeln!(f, "{line}")).map_err(|e| Failure::io("write", path.display(), &e))
}

/// The data owner's link during one run: announces the images first, and takes masked values for these images only.
struct Owner<'a> {
    link: &'a mut Link,
    grant: Grant,
    granted: bool,
    failure: Option<Failure>,
}

impl Owner<'_> {
    fn keep(&mut self, e: Failure) -> Error {
        let why = e.content().what.clone();
        self.failure.get_or_insert(Failure::on_link(e, self.link));
        Error::Owner(why)
    }
}

impl Channel for Owner<'_> {
    fn send(&mut self, bytes: &[u8]) -> twoply_primitives::Result<()> {
        if !self.granted {
            self.granted = true;
            let grant = self.grant;
            self.link.send_message(&grant).map_err(|e| self.keep(e.into()))?;
        }
        self.link.send(bytes).map_err(|e| self.keep(e.into()))
    }
    fn recv(&mut self, len: usize) -> twoply_primitives::Result<Vec<u8>> {
        let theirs: Grant = self.link.recv_message().map_err(|e| self.keep(e.into()))?;
        if theirs != self.grant {
            let text = format!(
                "masked input for images {}.. of key set {}, which are not the ones granted",
                theirs.first, theirs.key_set
            );
            let failure =
                Failure::new(ExitCode::KeysSpent, text).remedy("a granted image is used once: ask again");
            return Err(self.keep(failure));
        }
        self.link.recv(len).map_err(|e| self.keep(e.into()))
    }
}
