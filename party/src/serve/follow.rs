//! P1: does what P0 leads it to, if it can. Every message of P0's but two gets one answer.

use super::piece::{self, Granted};
use super::state::Party;
use super::stock::Stock;
use super::{Ended, Hooks, TICK};
use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::Fingerprint;
use crate::jobs::{Follow, Job, JobId, Lead, Piece};
use crate::transport::{Detail, Label, Link};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use twoply_preprocessing::Peek;
use twoply_primitives::{Backend, KeySetId};

/// How long P1 waits for what its owner sent to both parties at once. Then it says that it has not heard of it, and P0 does
/// something else.
const GRACE: Duration = Duration::from_millis(20);

/// P1's work over one link to P0.
struct Follower<'a, 'p, B: Backend> {
    party: &'a Party<'p, B>,
    peer: &'a mut Link,
    granted: HashMap<JobId, Granted<B>>,
}

/// Follows until the link ends, or this process shall.
pub fn run<B: Backend>(party: &Party<B>, peer: &mut Link, hooks: &Hooks) -> Result<Ended, Failure> {
    let mut follower = Follower { party, peer, granted: HashMap::new() };
    let result = follower.work(hooks);
    super::abandon(party, follower.granted.into_values());
    result
}

impl<B: Backend> Follower<'_, '_, B> {
    fn work(&mut self, hooks: &Hooks) -> Result<Ended, Failure> {
        loop {
            if hooks.stopped() {
                return Ok(Ended::Stopped);
            }
            if let Some(failure) = self.party.door_failure(true) {
                return Err(failure);
            }
            if !self.peer.waiting(TICK)? {
                self.party.requests.reap();
                continue;
            }
            match self.peer.hear()? {
                Lead::Sets(theirs) => self.look(&theirs)?,
                Lead::Bind(set, digest) => {
                    let answer = self.bind(set, digest);
                    self.party.tell(self.peer, &answer)?;
                }
                Lead::Grant(job, client, piece) => self.give(&job, client, &piece)?,
                Lead::Run(id, half, digest) => self.run(id, half, digest)?,
                Lead::Drop(id, code) => {
                    let told = Failure::new(code.exit(), "P0 ended this request");
                    // of an owner that left, this party knows itself how, or is about to
                    let own = match self.granted.contains_key(&id) {
                        true => self.party.requests.input(id, GRACE).and_then(Result::err),
                        false => None,
                    };
                    self.lose(id, own.unwrap_or(told))?;
                }
                Lead::Bye => return Ok(Ended::PeerLeft("it was stopped".into())),
            }
        }
    }

    fn look(&mut self, theirs: &[crate::jobs::SetState]) -> Result<(), Failure> {
        let (stocks, say) = (&self.party.stocks, self.party.say());
        let began = stocks.begin();
        stocks.look(say)?;
        let mine = stocks.states();
        stocks.agree(theirs, Some(began), say)?;
        Ok(self.party.tell(self.peer, &Follow::Sets(mine))?)
    }

    /// Binds a weight mask if this party's model owner named the same, now or before.
    fn bind(&self, set: KeySetId, digest: [u8; 32]) -> Follow {
        let Some(stock) = self.party.stocks.get(set) else {
            return Follow::Refused(ExitCode::KeysMissing.into());
        };
        match stock.tally().weights {
            Some(bound) if bound == digest => Follow::Ready,
            Some(_) => Follow::Refused(ExitCode::KeysSpent.into()),
            None => self.party.binds.answer(set, digest, |digest| stock.bind(digest)),
        }
    }

    fn give(&mut self, job: &Job, client: Fingerprint, piece: &Piece) -> Result<(), Failure> {
        let Some(asked) = self.party.requests.find(job, client, GRACE) else {
            return Ok(self.party.tell(self.peer, &Follow::NotYet)?);
        };
        // the segment stays open until the piece is leased
        let checked =
            self.party.affords(client, asked.left.into()).and_then(|()| self.check(piece, asked.left));
        let (stock, _peek) = match checked {
            Ok(checked) => checked,
            Err(failure) => {
                self.party.tell(self.peer, &Follow::Refused(failure.code().into()))?;
                // if this key set is what is wrong, P0 takes another one
                let usable = |stock: Arc<Stock<B>>| stock.weights_digest().is_some();
                if self.party.stocks.get(piece.key_set).is_some_and(usable) {
                    self.party.requests.end(job.id, failure);
                }
                return Ok(());
            }
        };
        self.party.tell(self.peer, &Follow::Ready)?;
        let reserved = piece::reserve(self.party, self.peer, &stock, piece);
        let granted =
            reserved.and_then(|()| piece::grant(self.party, stock.clone(), (job.id, client), piece));
        self.granted.insert(job.id, granted.map_err(|f| f.during(Phase::Reserve))?);
        self.party.stocks.keep_loaded(stock.id());
        self.party.stocks.check_low(self.party.say());
        Ok(())
    }
    /// Whether this party can do its part of a piece.
    fn check(&self, piece: &Piece, left: u32) -> Result<(Arc<Stock<B>>, Peek), Failure> {
        let stock = self.party.stocks.get(piece.key_set);
        let none = || Failure::new(ExitCode::KeysMissing, format!("key set {} is not here", piece.key_set));
        let stock = stock.ok_or_else(none)?;
        if stock.weights_digest() != Some(piece.weights) {
            let text = "this party has other masked weights than P0, or none";
            let item = Detail::Item(Label::new("masked weights"));
            return Err(Failure::new(ExitCode::KeysMissing, text)
                .remedy("let the model owner run `twoply provision` for both parties")
                .with_detail(item));
        }
        let ((position, reserved), next) = (stock.position(), stock.tally().next);
        let (dealt, images) = (stock.set.dealt(next), u64::from(piece.images));
        let (cut, end) = (stock.set.cut(), piece.first.saturating_add(images));
        let segment = (piece.first / u64::from(cut.segment_images())).min(u32::MAX.into()) as u32;
        let inside = cut.range(segment).is_some_and(|r| end <= r.end);
        let reserve = match piece.from == piece.to {
            true => reserved >= images,
            false => {
                let more = piece.from == next && piece.to > next && piece.to <= dealt;
                more && reserved + (piece.to - piece.from) >= images
            }
        };
        if images == 0 || piece.images > left || piece.first != position || !inside || !reserve {
            let text = format!("this party stands at image {position} and has keys up to {dealt}");
            return Err(Failure::new(ExitCode::KeysMissing, text));
        }
        // what is damaged shows before anything is reserved for it
        if let Err(failure) = stock.weights(&self.party.dev, &self.party.program)
            && failure.code() == ExitCode::KeysMissing
        {
            (self.party.say())(&failure.content().what);
            return Err(failure.with_detail(Detail::Item(Label::new("masked weights"))));
        }
        match stock.set.peek(segment) {
            Ok(peek) => Ok((stock, peek)),
            Err(e) => {
                self.party.stocks.condemn(stock.id(), &e.to_string(), self.party.say());
                Err(e.into())
            }
        }
    }

    fn run(&mut self, id: JobId, half: [u8; 16], digest: [u8; 32]) -> Result<(), Failure> {
        if !self.granted.contains_key(&id) {
            return Ok(self.party.tell(self.peer, &Follow::Refused(ExitCode::PlanMismatch.into()))?);
        }
        let Some(input) = self.party.requests.input(id, GRACE) else {
            return Ok(self.party.tell(self.peer, &Follow::NotYet)?);
        };
        let input = match input {
            Ok(input) => input,
            Err(failure) => {
                self.party.tell(self.peer, &Follow::Refused(ExitCode::PeerFailed.into()))?;
                return self.lose(id, failure);
            }
        };
        let _serving = self.party.larder.serving();
        let mine = *blake3::hash(&input).as_bytes();
        if let Some(granted) = self.granted.get(&id) {
            self.party.tell(self.peer, &Follow::Running(granted.half(), mine))?;
        }
        let Some(granted) = self.granted.remove(&id) else { return Ok(()) };
        match granted.fits(&input, half, digest) {
            Ok(()) => granted.run(self.party, self.peer, input),
            Err(mismatch) => super::mismatch(self.party, granted, mismatch),
        }
    }
    fn lose(&mut self, id: JobId, failure: Failure) -> Result<(), Failure> {
        match self.granted.remove(&id) {
            Some(granted) => super::lose(self.party, granted, failure),
            None => {
                self.party.requests.end(id, failure);
                Ok(())
            }
        }
    }
}
