//! One attempt at a party: from the dealer's offer to the run's last checkpoint, step after step.

use super::lobby::Lobby;
use super::point::{self, Passing, Point, reached};
use super::progress::Progress;
use super::sets::{Sets, stored};
use super::wire::{Peer, ToDealer, ToParty};
use super::{Order, on, out_of_step, patiently, present};
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::Link;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twoply_nn::engine::PlannedGate;
use twoply_nn::plan::Totals;
use twoply_nn::train::roles::{Learner, Learnt, Tally};
use twoply_nn::train::{Batch, Held, Piece, Schedule, Step, Stored, TrainingPlan, miscounted};
use twoply_preprocessing::run::{Attempt, CheckpointId, Frame, PartyRun, Segment, SegmentKind};
use twoply_preprocessing::{Error as Keys, Feed, FileFolder, StepLayout, StreamReader};
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
    /// The same of a batch of each reveal's figure.
    pub figures: Vec<Program>,
    /// Steps of keys that the dealer may be ahead.
    pub ahead: u32,
    /// How long the dealer may take to the next message.
    pub computing: Duration,
    /// Steps so far.
    pub steps: u64,
    /// Figures so far.
    pub revealed: u64,
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

/// What is known of the programs of a plan's reveals, of the run's step.
pub fn figures(plan: &TrainingPlan, step: &Step) -> Result<Vec<Program>, Failure> {
    let program = |figure| -> Result<Program, Failure> {
        let layout = Arc::new(StepLayout::new(&step.figure_layout(figure)?)?);
        Ok(Program { layout, gates: step.planned_figure(figure)?.gates })
    };
    plan.reveals.iter().map(|reveal| program(reveal.figure)).collect()
}

/// Ends what waits for this flag, however the work is left.
pub struct Over(pub Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<B: Backend> Bench<'_, B> {
    /// The program of a segment.
    fn program(&self, piece: Piece) -> &Program {
        match piece {
            Piece::Step(step) => &self.programs[self.schedule.program(step.into())],
            Piece::Figure(batch) => &self.figures[batch.reveal],
        }
    }
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
        reached(Point::AttemptRecorded);
        let attempt = match links.exchange(&Peer::Reserved(pending.reserved()))? {
            Peer::Reserved(peer) => pending.agree(&peer)?,
            _ => return Err(out_of_step(&links.peer)),
        };
        reached(Point::AttemptAgreed);
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
        let tally = Tally::default();
        let steps = Steps { bench: self, learner, reader, next, seed, links, progress, number, tally };
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
        link.set_patience(self.computing);
        let most = |of: fn(&StepLayout, PartyId) -> u64| {
            self.programs.iter().chain(&self.figures).map(|p| of(&p.layout, self.me)).max().unwrap_or(0)
        };
        let ahead = most(StepLayout::bytes).saturating_mul(self.ahead.into()).min(MOST_AHEAD);
        let credit = ahead.max(most(StepLayout::longest));
        Ok((StreamReader::start(Box::new(link), set, self.me, credit, self.computing)?, Over(over)))
    }
}

/// What ledgers call a piece.
pub(super) fn kind(piece: Piece) -> SegmentKind {
    match piece {
        Piece::Step(_) => SegmentKind::Train,
        Piece::Figure(_) => SegmentKind::Evaluate,
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
    /// The figure whose batches are under way.
    tally: Tally<B>,
}

impl<B: Backend> Steps<'_, '_, '_, B> {
    fn run(mut self, mut attempt: Attempt<'_, FileFolder>, from: u32) -> Result<CheckpointId, Failure> {
        let plan = self.bench.lobby.plan;
        let (mut order, mut pieces) = (Order::default(), plan.pieces(from).peekable());
        while let Some(piece) = pieces.next() {
            present(&mut self.links.peer)?;
            if let Piece::Step(step) = piece
                && u64::from(step) + plan.gathered() == plan.steps()
            {
                self.learner.forget(self.bench.lobby.step);
            }
            let segment = attempt.begin(kind(piece))?;
            reached(Point::SegmentTaken);
            let feed = self.feed(&segment, piece, pieces.peek().copied())?;
            let learnt = self.run_piece(feed, piece, &order.rows(plan, piece));
            let learnt = learnt.map_err(|f| f.during(Phase::Online))?;
            self.count(&learnt, piece)?;
            if let Piece::Figure(batch @ Batch { last: true, .. }) = piece {
                self.keep(&mut attempt, &segment, batch)?;
            }
            attempt.finish(segment, learnt.transcript)?;
            if attempt.due().is_some() {
                attempt = self.checkpoint(attempt)?;
            }
            if let Piece::Step(step) = piece {
                self.progress.at(u64::from(step) + 1, self.number, Some(self.reader.ahead()))?;
            }
        }
        let _ = self.reader.finish()?;
        let end = attempt.end()?;
        reached(Point::EndRecorded);
        Ok(end)
    }

    /// The keys of a segment, which does this piece; from now on those of the next one come in too.
    fn feed(&mut self, segment: &Segment, piece: Piece, next: Option<Piece>) -> Result<Arc<Feed>, Failure> {
        let bench = &*self.bench;
        let mut begin = |piece| self.reader.step(&bench.program(piece).layout).map(Arc::new);
        let feed = self.next.take().map_or_else(|| begin(piece), Ok)?;
        let Origin { set, segment: number } = feed.origin();
        segment.accepts(&Frame { set, segment: number })?;
        self.next = next.map(begin).transpose()?;
        Ok(feed)
    }

    fn run_piece(&mut self, feed: Arc<Feed>, piece: Piece, rows: &[usize]) -> Result<Learnt, Failure> {
        let (bench, peer) = (&*self.bench, &mut self.links.peer);
        let (origin, mut passing) = (feed.origin(), Passing(&mut *peer));
        let session = Session::new(Gates {
            me: bench.me,
            dev: bench.dev.clone(),
            seed: self.seed.clone(),
            origin,
            images: 0..1,
            peer: &mut passing,
            keys: feed.clone(),
            clock: Arc::new(WallClock::default()),
        });
        let learnt = match piece {
            Piece::Step(step) => self.learner.learn(bench.schedule.at(step.into()), rows, session),
            Piece::Figure(Batch { reveal, .. }) => {
                let figure = bench.lobby.plan.reveals[reveal].figure;
                self.learner.figure((bench.lobby.step, figure), rows, session, &mut self.tally)
            }
        };
        let learnt = learnt.map_err(|e| match peer.fault() {
            Some(_) => Failure::on_link(e, peer),
            None => e.into(),
        })?;
        feed.finish()?;
        self.seed = self.seed.next();
        Ok(learnt)
    }

    /// The plan is a promise: what was counted is what it says.
    fn count(&mut self, learnt: &Learnt, piece: Piece) -> Result<(), Failure> {
        let gates = &self.bench.program(piece).gates;
        let wrong = miscounted(self.bench.me, &learnt.stats, gates);
        if wrong > 0 {
            let what = format!("{wrong} gates of a step counted something else than planned");
            return Err(Failure::new(ExitCode::Internal, what));
        }
        let mut counted = self.bench.counted;
        counted.add_gates(gates);
        self.bench.counted = counted;
        match piece {
            Piece::Step(_) => self.bench.steps += 1,
            Piece::Figure(batch) => self.bench.revealed += u64::from(batch.last),
        }
        Ok(())
    }

    /// Keeps this party's share of a figure that is complete, once its delivery is recorded; one too many in all attempts is let go.
    fn keep(
        &mut self,
        attempt: &mut Attempt<'_, FileFolder>,
        segment: &Segment,
        batch: Batch,
    ) -> Result<(), Failure> {
        let (bench, tally) = (&*self.bench, std::mem::take(&mut self.tally));
        let (lobby, reveal) = (bench.lobby, &bench.lobby.plan.reveals[batch.reveal]);
        let share = tally.for_owner(&bench.dev, bench.me)?;
        let name = reveal.figure.name();
        match attempt.keep(segment, (batch.reveal as u32, name, reveal.most.into()), &share) {
            Ok(figure) => lobby.figures(|all| all.iter_mut().for_each(|all| all.all.push(figure.clone()))),
            Err(spent @ Keys::RevealSpent { .. }) => (lobby.say)(&format!("not revealed: {spent}")),
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn checkpoint<'r>(
        &mut self,
        mut attempt: Attempt<'r, FileFolder>,
    ) -> Result<Attempt<'r, FileFolder>, Failure> {
        let ours = attempt.checkpoint(&point::state(self.learner.snapshot()?))?;
        reached(Point::CheckpointSaved);
        let Links { dealer, peer } = &mut *self.links;
        peer.say(&Peer::Checkpoint(ours.mark())).map_err(on(peer))?;
        reached(Point::CheckpointSaid);
        let theirs = match patiently(peer)? {
            Peer::Checkpoint(mark) => mark,
            _ => return Err(out_of_step(peer)),
        };
        let (attempt, held) = attempt.hear(ours, &theirs)?;
        reached(Point::CheckpointAgreed);
        dealer.say(&ToDealer::Held(held)).map_err(on(dealer))?;
        reached(Point::HeldSaid);
        Ok(attempt)
    }
}
