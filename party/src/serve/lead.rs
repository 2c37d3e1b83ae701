//! P0: leads P1 from message to message. P1 speaks when it is spoken to, so the two never talk past each other; what owners
//! do meanwhile waits in [`super::requests`].

use super::piece::{self, Granted, Mismatch};
use super::requests::Asked;
use super::state::Party;
use super::stocks::Common;
use super::{Ended, Hooks, TICK};
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{Follow, JobId, Lead, Piece};
use crate::transport::{Detail, Label, Link, Reason};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use twoply_preprocessing::Peek;
use twoply_primitives::{Backend, KeySetId};

/// How often the two tell each other what key sets they have.
pub const LOOK: Duration = Duration::from_secs(2);

/// P0's work over one link to P1.
struct Leader<'a, 'p, B: Backend> {
    party: &'a Party<'p, B>,
    peer: &'a mut Link,
    granted: HashMap<JobId, Granted<B>>,
    met: Instant,
    /// When the last look at both parties' key sets began.
    looked: Option<Instant>,
}

/// Leads until the link ends, or this process shall.
pub fn run<B: Backend>(party: &Party<B>, peer: &mut Link, hooks: &Hooks) -> Result<Ended, Failure> {
    let mut leader = Leader { party, peer, granted: HashMap::new(), met: Instant::now(), looked: None };
    let result = leader.work(hooks);
    super::abandon(party, leader.granted.into_values());
    result
}

impl<B: Backend> Leader<'_, '_, B> {
    fn work(&mut self, hooks: &Hooks) -> Result<Ended, Failure> {
        if self.party.stocks.left() == [0, 0] {
            self.look()?; // a ledger that was behind has caught up by now
        }
        loop {
            if hooks.stopped() {
                let _ = self.party.tell(self.peer, &Lead::Bye);
                return Ok(Ended::Stopped);
            }
            if let Some(failure) = self.party.door_failure(true) {
                return Err(failure);
            }
            // between messages, P1 has nothing to say but that it goes
            if self.peer.waiting(Duration::ZERO)? {
                self.peer.hear::<Follow>()?;
            }
            if self.party.peer_waits() {
                return Ok(Ended::Replaced);
            }
            if self.looked.unwrap_or(self.met).elapsed() >= LOOK || self.party.stocks.wanted() {
                self.look()?;
            }
            if !self.something()? {
                self.party.requests.reap();
                self.party.requests.wait(TICK);
            }
        }
    }
    /// Does one thing, if there is something to do.
    fn something(&mut self) -> Result<bool, Failure> {
        let mut did = false;
        if let Some((set, digest)) = self.party.binds.next() {
            self.bind(set, digest)?;
            did = true;
        }
        if let Some(asked) = self.party.requests.waiting() {
            self.give(asked)?;
            did = true;
        }
        if let Some(id) = self.party.requests.ready() {
            self.run(id)?;
            did = true;
        }
        Ok(did)
    }
    fn ask(&mut self, message: &Lead) -> Result<Follow, Failure> {
        self.party.tell(self.peer, message)?;
        Ok(self.peer.hear()?)
    }
    fn out_of_step(&self) -> Failure {
        let text = format!("{} answers something else than it was asked", self.peer.name());
        Failure::new(ExitCode::PlanMismatch, text).told_as(Reason::OutOfStep)
    }

    /// Tells P1 what key sets are here, and hears what is there.
    fn look(&mut self) -> Result<(), Failure> {
        let say = self.party.say();
        self.looked = Some(self.party.stocks.begin());
        self.party.stocks.look(say)?;
        match self.ask(&Lead::Sets(self.party.stocks.states()))? {
            Follow::Sets(theirs) => self.party.stocks.agree(&theirs, self.looked, say),
            _ => Err(self.out_of_step()),
        }
    }
    /// A model owner wants to bind a weight mask: to the same at both parties, or not at all.
    fn bind(&mut self, set: KeySetId, digest: [u8; 32]) -> Result<(), Failure> {
        match self.ask(&Lead::Bind(set, digest))? {
            Follow::Ready => {
                let bound = self.party.stocks.get(set).map(|s| s.bind(digest));
                let gone = || Err(Failure::new(ExitCode::KeysMissing, "the key set is gone"));
                self.party.binds.settle(set, digest, bound.unwrap_or_else(gone));
            }
            Follow::NotYet => self.party.binds.later(set),
            Follow::Refused(code) => {
                let text =
                    "P1 does not bind these weights: its model owner named others, or its mask is bound";
                // P1's troubles are its own
                let code = match code.exit() {
                    ExitCode::Device | ExitCode::System | ExitCode::Internal => ExitCode::PeerFailed,
                    code => code,
                };
                self.party.binds.settle(set, digest, Err(Failure::new(code, text)));
            }
            _ => return Err(self.out_of_step()),
        }
        Ok(())
    }

    /// Grants the next images to a request, if P1 has heard of it.
    fn give(&mut self, asked: Asked) -> Result<(), Failure> {
        let id = asked.job.id;
        // other requests of this key may have used its budget up since this one came
        if let Err(refusal) = self.party.affords(asked.client, asked.left.into()) {
            self.party.requests.end(id, refusal);
            return Ok(());
        }
        // the segment stays open until the piece is leased
        let (common, piece, _peek) = match self.choose(&asked) {
            Ok(chosen) => chosen,
            // nothing is refused by what was known before it was asked for: perhaps there is more by now
            Err(_) if self.looked.is_none_or(|looked| looked <= asked.since) => return self.look(),
            Err(refusal) => {
                self.party.requests.end(id, refusal);
                return Ok(());
            }
        };
        match self.ask(&Lead::Grant(asked.job, asked.client, piece))? {
            Follow::Ready => {}
            Follow::NotYet => {
                if self.party.requests.later(id, None) {
                    let text = format!("the data owner {} reached P0 but not P1", asked.client);
                    let missing = Detail::Item(Label::new("the other party"));
                    self.party
                        .requests
                        .end(id, Failure::new(ExitCode::Unreachable, text).with_detail(missing));
                }
                return Ok(());
            }
            Follow::Refused(code) => {
                self.look()?;
                // if this key set is what is wrong, another one may do
                let (stocks, promised) = (&self.party.stocks, self.party.requests.promised(id));
                let enough = stocks.left()[0].saturating_sub(promised) >= asked.left.into();
                if stocks.has_common(piece.key_set) || !enough {
                    self.party.tell(self.peer, &Lead::Drop(id, code))?;
                    let failure = Failure::new(code.exit(), "P1 cannot run this job");
                    self.party.requests.end(id, failure.with_peer(self.peer.name()));
                }
                return Ok(());
            }
            _ => return Err(self.out_of_step()),
        }
        let reserved = piece::reserve(self.party, self.peer, &common.stock, &piece);
        let granted = reserved
            .and_then(|()| piece::grant(self.party, common.stock.clone(), (id, asked.client), &piece));
        let granted = granted.map_err(|f| f.during(Phase::Reserve))?;
        self.party.stocks.keep_loaded(common.stock.id());
        self.party.stocks.check_low(self.party.say());
        if !self.party.requests.has(id) {
            // nobody would ever ask for it again, here or there
            let failure = Failure::new(ExitCode::PeerFailed, "the data owner left");
            self.party.tell(self.peer, &Lead::Drop(id, failure.code().into()))?;
            return self.lose(granted, failure);
        }
        self.granted.insert(id, granted);
        Ok(())
    }
    /// From which key set a request gets its next images, and which.
    fn choose(&self, asked: &Asked) -> Result<(Common<B>, Piece, Peek), Failure> {
        let party = self.party;
        let [left, bare] = party.stocks.left();
        let free = left.saturating_sub(party.requests.promised(asked.job.id));
        let short = |wanted: u64, free: u64| {
            let text = format!("{wanted} images asked for, keys for {free} are left");
            let failure = Failure::new(ExitCode::KeysMissing, text).with_detail(Detail::Short(wanted, free));
            failure.remedy("deal more keys, and put them into the key folders of both parties")
        };
        if left == 0 && bare > 0 {
            return Err(Failure::new(ExitCode::KeysMissing, "the parties have no weights yet")
                .remedy("let the model owner run `twoply provision` first")
                .with_detail(Detail::Item(Label::new("masked weights"))));
        }
        if free < asked.left.into() {
            return Err(short(asked.left.into(), free));
        }
        loop {
            let common = party.stocks.pick().ok_or_else(|| short(asked.left.into(), free))?;
            let (stock, (first, _)) = (&common.stock, common.stock.position());
            let cut = stock.set.cut();
            let segment = (first / u64::from(cut.segment_images())).min(u32::MAX.into()) as u32;
            // what is damaged shows before anything is reserved for it
            if let Err(failure) = stock.weights(&party.dev, &party.program)
                && failure.code() == ExitCode::KeysMissing
            {
                (party.say())(&failure.content().what);
                continue;
            }
            let peek = match stock.set.peek(segment) {
                Ok(peek) => peek,
                Err(e) => {
                    party.stocks.condemn(stock.id(), &e.to_string(), party.say());
                    continue;
                }
            };
            let end = cut.range(segment).map_or(first, |r| r.end).min(common.dealt);
            let images = (end - first).min(asked.most.into()) as u32;
            let reserve = stock.propose(images.into(), common.dealt)?;
            let weights = common.weights.unwrap_or_default();
            let key_set = stock.id();
            let piece = Piece { key_set, first, images, weights, from: reserve.start, to: reserve.end };
            return Ok((common, piece, peek));
        }
    }

    /// Runs what was granted for a request, if P1 has its input too.
    fn run(&mut self, id: JobId) -> Result<(), Failure> {
        let Some(input) = self.party.requests.input(id, Duration::ZERO) else { return Ok(()) };
        let Some(granted) = self.granted.remove(&id) else {
            self.party.requests.end(id, Failure::new(ExitCode::PlanMismatch, "nothing was granted"));
            return Ok(());
        };
        let input = match input {
            Ok(input) => input,
            Err(failure) => {
                self.party.tell(self.peer, &Lead::Drop(id, failure.code().into()))?;
                return self.lose(granted, failure);
            }
        };
        let _serving = self.party.larder.serving();
        let digest = *blake3::hash(&input).as_bytes();
        let answer = match self.ask(&Lead::Run(id, granted.half(), digest)) {
            Ok(answer) => answer,
            Err(failure) => {
                self.granted.insert(id, granted); // to be named among what is lost
                return Err(failure);
            }
        };
        match answer {
            Follow::Running(half, theirs) => match granted.fits(&input, half, theirs) {
                Ok(()) => granted.run(self.party, self.peer, input),
                Err(mismatch) => self.mismatch(granted, mismatch),
            },
            Follow::NotYet => {
                // P1 gives its owner up in time
                self.party.requests.later(id, Some(input));
                self.granted.insert(id, granted);
                Ok(())
            }
            Follow::Refused(code) => {
                let lost = Failure::new(code.exit(), "the other party lost the data owner");
                self.lose(granted, lost)
            }
            _ => Err(self.out_of_step()),
        }
    }
    fn mismatch(&mut self, granted: Granted<B>, mismatch: Mismatch) -> Result<(), Failure> {
        super::mismatch(self.party, granted, mismatch)
    }
    fn lose(&mut self, granted: Granted<B>, failure: Failure) -> Result<(), Failure> {
        super::lose(self.party, granted, failure)
    }
}
