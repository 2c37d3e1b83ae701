//! A piece of a job: some images of one segment, from the grant to the shares.

use super::requests::Order;
use super::state::Party;
use super::stock::Stock;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use crate::identity::Fingerprint;
use crate::jobs::{Grant, JobId, Piece, Reserved};
use crate::transport::{Detail, Label, Link};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;
use twoply_nn::roles::{self, Provisioned, Ran};
use twoply_preprocessing::Leased;
use twoply_primitives::session::{Prepared, Setup};
use twoply_primitives::{Backend, Channel, Error, Ring, Session, WallClock};

/// Images that were granted to a data owner.
pub struct Granted<B: Backend> {
    pub job: JobId,
    client: Fingerprint,
    grant: Grant,
    stock: Arc<Stock<B>>,
    keys: Arc<Leased>,
    weights: Arc<Provisioned<B>>,
    prepared: Option<Prepared<B>>,
}

/// Reserves images durably, tells the peer, hears the same. Nothing that depends on their keys may leave before.
pub fn reserve<B: Backend>(
    party: &Party<B>,
    peer: &mut Link,
    stock: &Stock<B>,
    piece: &Piece,
) -> Result<(), Failure> {
    if piece.from == piece.to {
        return Ok(());
    }
    let pending = stock.reserve(piece.from..piece.to)?;
    party.tell(peer, &Reserved::from(pending.claim()))?;
    let claim: Reserved = peer.hear()?;
    stock.reserved(pending, &claim.into())
}

/// Leases the reserved images of a piece and grants them to the owner.
pub fn grant<B: Backend>(
    party: &Party<B>,
    stock: Arc<Stock<B>>,
    (job, client): (JobId, Fingerprint),
    piece: &Piece,
) -> Result<Granted<B>, Failure> {
    let weights = stock.weights(&party.dev, &party.program)?;
    let (keys, grant) = stock.lease(piece.images, party.meeting())?;
    if grant.first != piece.first {
        let text = format!("the parties stand at different images: {} and {}", grant.first, piece.first);
        return Err(Failure::new(ExitCode::PlanMismatch, text));
    }
    let mask_keys = roles::input_keys(keys.seed(), keys.origin(), keys.images()).as_flattened().to_vec();
    let row = party.plan.graph.input.row() * piece.images as usize;
    party.requests.grant(job, grant, mask_keys, row * (B::Ring::BITS as usize / 8));
    let prepared = party.larder.take(keys.origin(), keys.segment_id());
    party.larder.asked_for(piece.images.into());
    party.charge(client, piece.images.into());
    Ok(Granted { job, client, grant, stock, keys: Arc::new(keys), weights, prepared })
}

impl<B: Backend> Granted<B> {
    /// Name of this party's half of the segment.
    pub fn half(&self) -> [u8; 16] {
        self.keys.segment_id().0
    }
    /// In words, for who looks for the images that were lost.
    pub fn describe(&self) -> String {
        let Grant { key_set, first, images, .. } = self.grant;
        let (end, client) = (first + u64::from(images), self.client.short());
        format!("images {first}..{end} of key set {key_set}, granted to {client}, are burnt")
    }
    /// Whether this party and the peer may run on what they have: halves of one deal, and the same masked input.
    pub fn fits(&self, input: &[u8], half: [u8; 16], digest: [u8; 32]) -> Result<(), Mismatch> {
        if half != self.half() {
            return Err(Mismatch::Halves);
        }
        match *blake3::hash(input).as_bytes() == digest {
            true => Ok(()),
            false => Err(Mismatch::Inputs),
        }
    }
    /// The key set it is of.
    pub fn stock(&self) -> &Arc<Stock<B>> {
        &self.stock
    }

    /// Runs it. The shares leave for the owner as soon as they are there.
    ///
    /// # Errors
    /// What ends the work with the peer. The images are spent either way.
    pub fn run(mut self, party: &Party<B>, peer: &mut Link, input: Vec<u8>) -> Result<(), Failure> {
        let orders = party.requests.orders(self.job);
        let began = Instant::now();
        let images = self.keys.images();
        let setup = Setup {
            me: party.me,
            dev: party.dev.clone(),
            seed: self.keys.seed().clone(),
            origin: self.keys.origin(),
            images: images.start as usize..images.end as usize,
            peer,
            keys: self.keys.clone(),
            clock: Arc::new(WallClock::default()),
        };
        let mut session = Session::new(setup);
        if let Some(prepared) = self.prepared.take() {
            session.prepared(prepared);
        }
        let mut owner = Owner { input: Some(input), orders, keys: true };
        let record = party.config.record_coins.is_some();
        let ran = roles::run(&party.program, &self.weights, session, (&mut owner, None), record);
        let ran = ran.map_err(|e| {
            (party.say())(&self.describe());
            self.blame(party, e.into()).during(Phase::Online)
        })?;
        self.count(party, &ran, began)?;
        party.requests.ran(self.job);
        self.finish(party)
    }
    fn count(&self, party: &Party<B>, ran: &Ran, began: Instant) -> Result<(), Failure> {
        self.stock.used(self.grant.images.into());
        let seconds = began.elapsed().as_secs_f64();
        party.count(|t| {
            t.add_run(self.grant.images as usize, ran, seconds);
            t.add_reading(&self.keys.reading());
        });
        match &party.config.record_coins {
            Some(path) => append_coins(path, &ran.coins),
            None => Ok(()),
        }
    }
    /// Keys that are damaged are nobody's fault but this key set's, which is not used any more.
    fn blame(&self, party: &Party<B>, failure: Failure) -> Failure {
        if matches!(failure.code(), ExitCode::KeysSpent | ExitCode::KeysMissing) {
            party.stocks.condemn(self.stock.id(), &failure.content().what, party.say());
        }
        failure
    }
    /// Lets go of the keys; a segment that is used up is erased.
    pub fn finish(self, party: &Party<B>) -> Result<(), Failure> {
        let (stock, segment) = (self.stock.clone(), self.keys.origin().segment);
        drop(self);
        party.larder.let_go();
        stock.sweep(segment)
    }
}

/// Why the parties do not run a piece that both have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// Their halves of the segment come from different deals.
    Halves,
    /// The owner sent them different inputs.
    Inputs,
}

impl From<Mismatch> for Failure {
    fn from(m: Mismatch) -> Failure {
        match m {
            Mismatch::Halves => Failure::new(
                ExitCode::KeysSpent,
                "the parties' key files of this segment come from different deals",
            ),
            Mismatch::Inputs => Failure::new(
                ExitCode::PeerFailed,
                "the data owner sent the two parties different masked inputs; nothing was computed",
            )
            .with_detail(Detail::Item(Label::new("masked input, which is another one for the other party")))
            .remedy(
                "ask again; if it comes back, one of the two links or the data owner's machine changes bytes",
            ),
        }
    }
}

/// One JSON line per run: gate numbers with their coins.
fn append_coins(path: &std::path::Path, coins: &[(u32, Vec<u64>)]) -> Result<(), Failure> {
    let line = serde_json::to_string(coins).map_err(|e| Failure::new(ExitCode::Internal, e.to_string()))?;
    files::append_private(path, &line)
}

/// The data owner as a run sees it: its input is here, its keys are with it, and shares are handed on.
struct Owner {
    input: Option<Vec<u8>>,
    orders: Option<Sender<Order>>,
    /// The next bytes are the keys, which went with the grant.
    keys: bool,
}

impl Channel for Owner {
    fn send(&mut self, bytes: &[u8]) -> twoply_primitives::Result<()> {
        if !std::mem::take(&mut self.keys)
            && let Some(orders) = &self.orders
        {
            // an owner that is gone misses its shares; the parties stay in step
            let _ = orders.send(Order::Send(bytes.to_vec()));
        }
        Ok(())
    }
    fn recv(&mut self, len: usize) -> twoply_primitives::Result<Vec<u8>> {
        let input = self.input.take().filter(|i| i.len() == len);
        input.ok_or_else(|| Error::Owner("there is no input of this length".into()))
    }
}
