//! One attempt at a party: from the dealer's offer to the run's last checkpoint, step after step.

use super::lobby::Lobby;
use super::progress::Progress;
use super::sets::{Sets, stored};
use super::wire::{Peer, ToDealer, ToParty};
use super::{Order, PATIENCE, on, out_of_step, patiently, present};
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::Link;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twoply_nn::engine::PlannedGate;
use twoply_nn::plan::Totals;
use twoply_nn::train::roles::{Learner, Learnt};
use twoply_nn::train::{Held, Schedule, Step, Stored, miscounted};
use twoply_preprocessing::run::{Attempt, CheckpointId, Frame, PartyRun, Segment, SegmentKind};
use twoply_preprocessing::{Feed, FileFolder, StepLayout, StreamReader};
use twoply_primitives::session::Setup as Gates;
use twoply_primitives::{Backend, Channel, Origin, PartyId, Seed, Session, WallClock};
use zeroize::Zeroizing;

/// How long a dealer that has offered an attempt may take to bring its keys.
const KEYS: Duration = Duration::from_secs(60);

/// The most bytes of keys that a party lets a dealer send ahead, unless one frame is longer.
const MOST_AHEAD: u64 = 256 << 20;

/// A party's links in one meeting.
pub struct Links {
    /// The dealer's, for everything but keys.
    pub dealer: Link,
    /// The other party's.
    pub peer: Link,
}

impl Links {
    /// Says a word to the peer and hears its word.
    pub fn exchange(&mut self, word: &Peer) -> Result<Peer, Failure> {
        self.peer.say(word).map_err(on(&self.peer))?;
        patiently(&mut self.peer)
    }
}

/// What every attempt of a process has in common.
pub struct Bench<'a, B: Backend> {
    /// Which party.
    pub me: PartyId,
    /// What to compute on.
    pub dev: B,
    /// Plan, callers, words.
    pub lobby: &'a Lobby<'a>,
    /// The programs of the run's steps.
    pub schedule: &'a Schedule,
    /// What they store, and what their gates should count: one for each program.
    pub programs: Vec<Program>,
    /// Steps of keys that the dealer may be ahead.
    pub ahead: u32,
    /// Steps so far.
    pub steps: u64,
    /// What they counted.
    pub counted: Totals,
}

/// What is known of one of a run's programs before it runs.
pub struct Program {
    /// What it stores.
    pub layout: Arc<StepLayout>,
    /// What its gates should count.
    pub gates: Vec<PlannedGate>,
}

/// What is known of a run's programs.
pub fn programs(schedule: &Schedule) -> Result<Vec<Program>, Failure> {
    let program = |step: &Step| -> Result<Program, Failure> {
        Ok(Program { layout: Arc::new(StepLayout::new(&step.layout()?)?), gates: step.planned()?.gates })
    };
    schedule.programs().iter().map(program).collect()
}

/// Ends what waits for this flag, however the work is left.
pub struct Over(pub Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<B: Backend> Bench<'_, B> {
    /// This party's rows.
    pub fn rows(&self, sets: &Sets) -> Result<Vec<Held<Stored>>, Failure> {
        let sets = sets.lock_all();
        let mut all = vec![];
        for set in &sets {
            all.push((set.whole()?, set.seed()?));
        }
        let all: Vec<_> = all.iter().map(|(whole, seed)| (whole, seed.clone())).collect();
        stored(self.lobby.plan, &all)
    }

    /// Does the steps from the last checkpoint that both parties hold to the last one.
    pub fn attempt(
        &mut self,
        run: &mut PartyRun<FileFolder>,
        sets: &Sets,
        links: &mut Links,
        progress: &mut Progress<'_>,
    ) -> Result<CheckpointId, Failure> {
        let lobby = self.lobby;
        let ToParty::Offer(offer) = patiently(&mut links.dealer)?;
        let state = run.state(offer.from)?;
        let learner = Learner::at(self.dev.clone(), lobby.step, self.rows(sets)?, &state)?;
        drop(state);
        let pending = run.offered(&offer)?;
        let attempt = match links.exchange(&Peer::Reserved(pending.reserved()))? {
            Peer::Reserved(peer) => pending.agree(&peer)?,
            _ => return Err(out_of_step(&links.peer)),
        };
        links.dealer.say(&ToDealer::Credit(attempt.first_credit())).map_err(on(&links.dealer))?;
        links.dealer.set_patience(KEYS);
        let seed = Zeroizing::new(links.dealer.recv(32).map_err(|e| Failure::on_link(e, &links.dealer))?);
        let mut first = Zeroizing::new([0; 32]);
        first.copy_from_slice(&seed);
        let (reader, over) = self.reader(&attempt)?;
        let (number, from) = (offer.attempt, offer.from.step);
        (lobby.say)(&format!("attempt {number} goes on after step {from}"));
        progress.begin(from.into());
        let (next, seed) = (None, Seed::new(*first));
        let steps = Steps { bench: self, learner, reader, next, seed, links, progress, number };
        let ended = steps.run(attempt, from);
        drop(over);
        ended
    }

    fn reader(&self, attempt: &Attempt<'_, FileFolder>) -> Result<(StreamReader, Over), Failure> {
        let set = attempt.reserved().set;
        let link = self.lobby.keys(set, KEYS)?;
        let mut link = link.ok_or_else(|| {
            Failure::new(ExitCode::Unreachable, "the dealer offered an attempt and brought no keys")
        })?;
        let over = Arc::new(AtomicBool::new(false));
        link.stop_with(over.clone());
        link.set_patience(PATIENCE);
        let most = |of: fn(&StepLayout, PartyId) -> u64| {
            self.programs.iter().map(|p| of(&p.layout, self.me)).max().unwrap_or(0)
        };
        let ahead = most(StepLayout::bytes).saturating_mul(self.ahead.into()).min(MOST_AHEAD);
        let credit = ahead.max(most(StepLayout::longest));
        Ok((StreamReader::start(Box::new(link), set, self.me, credit, PATIENCE)?, Over(over)))
    }
}

/// The steps of an attempt under way.
struct Steps<'b, 'a, 'p, B: Backend> {
    bench: &'b mut Bench<'a, B>,
    learner: Learner<B>,
    reader: StreamReader,
    /// Keys of the next step, which come in while one runs.
    next: Option<Arc<Feed>>,
    /// Of the next segment.
    seed: Seed,
    links: &'b mut Links,
    progress: &'b mut Progress<'p>,
    number: u32,
}

impl<B: Backend> Steps<'_, '_, '_, B> {
    fn run(mut self, mut attempt: Attempt<'_, FileFolder>, from: u32) -> Result<CheckpointId, Failure> {
        let plan = self.bench.lobby.plan;
        let (mut order, steps) = (Order::default(), plan.checkpoints().steps);
        for step in from..steps {
            present(&mut self.links.peer)?;
            if u64::from(step) + plan.gathered() == plan.steps() {
                self.learner.forget(self.bench.lobby.step);
            }
            let segment = attempt.begin(SegmentKind::Train)?;
            let feed = self.feed(&segment, step, steps)?;
            let learnt = self.step(feed, step, order.of(plan, step)).map_err(|f| f.during(Phase::Online))?;
            self.count(&learnt, step)?;
            attempt.finish(segment, learnt.transcript)?;
            if attempt.due().is_some() {
                attempt = self.checkpoint(attempt)?;
            }
            self.progress.at(u64::from(step) + 1, self.number, Some(self.reader.ahead()))?;
        }
        let _ = self.reader.finish()?;
        Ok(attempt.end()?)
    }

    /// The keys of a segment, which does step `step`; from now on those of the next one come in too.
    fn feed(&mut self, segment: &Segment, step: u32, steps: u32) -> Result<Arc<Feed>, Failure> {
        let bench = &*self.bench;
        let program = |step: u32| &bench.programs[bench.schedule.program(step.into())];
        let mut begin = |step: u32| self.reader.step(&program(step).layout).map(Arc::new);
        let feed = self.next.take().map_or_else(|| begin(step), Ok)?;
        let Origin { set, segment: number } = feed.origin();
        segment.accepts(&Frame { set, segment: number })?;
        if step + 1 < steps {
            self.next = Some(begin(step + 1)?);
        }
        Ok(feed)
    }

    fn step(&mut self, feed: Arc<Feed>, step: u32, rows: &[usize]) -> Result<Learnt, Failure> {
        let (bench, peer) = (&*self.bench, &mut self.links.peer);
        let origin = feed.origin();
        let session = Session::new(Gates {
            me: bench.me,
            dev: bench.dev.clone(),
            seed: self.seed.clone(),
            origin,
            images: 0..1,
            peer: &mut *peer,
            keys: feed.clone(),
            clock: Arc::new(WallClock::default()),
        });
        let learnt = self.learner.learn(bench.schedule.at(step.into()), rows, session);
        let learnt = learnt.map_err(|e| match peer.fault() {
            Some(_) => Failure::on_link(e, peer),
            None => e.into(),
        })?;
        feed.finish()?;
        self.seed = self.seed.next();
        Ok(learnt)
    }

    /// The plan is a promise: what was counted is what it says.
    fn count(&mut self, learnt: &Learnt, step: u32) -> Result<(), Failure> {
        let bench = &mut *self.bench;
        let gates = &bench.programs[bench.schedule.program(step.into())].gates;
        let wrong = miscounted(bench.me, &learnt.stats, gates);
        if wrong > 0 {
            let what = format!("{wrong} gates of a step counted something else than planned");
            return Err(Failure::new(ExitCode::Internal, what));
        }
        bench.counted.add_gates(gates);
        bench.steps += 1;
        Ok(())
    }

    fn checkpoint<'r>(
        &mut self,
        mut attempt: Attempt<'r, FileFolder>,
    ) -> Result<Attempt<'r, FileFolder>, Failure> {
        let ours = attempt.checkpoint(&self.learner.snapshot()?)?;
        let theirs = match self.links.exchange(&Peer::Checkpoint(ours.mark()))? {
            Peer::Checkpoint(mark) => mark,
            _ => return Err(out_of_step(&self.links.peer)),
        };
        let (attempt, held) = attempt.hear(ours, &theirs)?;
        let dealer = &mut self.links.dealer;
        dealer.say(&ToDealer::Held(held)).map_err(on(dealer))?;
        Ok(attempt)
    }
}
