//! The dealer of a training run: names run and data key sets, offers attempts, and deals step after step, a bounded number of
//! bytes ahead of the parties. It needs plan, order and masks, and never hears a value.

use super::attempt::kind;
use super::choose::{Chosen, Set, choose, halves, runs};
use super::point::{Passing, Point, reached};
use super::progress::Progress;
use super::wire::{DealerErrand, Invitation, ToDealer, ToParty};
use super::{
    CALL, GOODBYE, Order, PAUSE, TICK, leave, on, out_of_step, passing, patiently, present, run_spec, told,
};
use crate::client::{Call, Place};
use crate::deal::SET_KEY;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::private_dir;
use crate::identity::Identity;
use crate::record::{Hearer, Record};
use crate::transport::{Accept, Dial, Endpoint, Error, Limits, Link, Role};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twoply_nn::train::roles::{Dealer, data_origin};
use twoply_nn::train::{Batch, Held, Piece, Schedule, Step, TrainingPlan};
use twoply_preprocessing::run::{CheckpointId, DealerRun, Dealing as Attempt, RunId};
use twoply_preprocessing::{FileFolder, LateKeys, SeedSource, StepLayout, StreamWriter};
use twoply_primitives::{Backend, Channel, KeySink, Origin, PartyId, Seed};
use zeroize::Zeroizing;

/// What a dealer is told.
pub struct Dealing {
    /// The plan.
    pub plan: TrainingPlan,
    /// Folder of its runs and of both halves of data key sets.
    pub dir: PathBuf,
    /// Its key.
    pub identity: Arc<Identity>,
    /// P0 and P1.
    pub places: [Place; 2],
    /// How they are called.
    pub call: Call,
    /// Whether to go on with a run that has not ended.
    pub resume: bool,
    /// Owners whose rows get a new data key set.
    pub anew: Vec<String>,
    /// How long the parties may stay away.
    pub patience: Duration,
    /// How long one of them that is there may take to its next message, [`COMPUTING`](super::COMPUTING) unless a test is in a hurry.
    pub computing: Duration,
    /// For tests of what is told.
    pub record: Option<Record>,
}

/// What a dealer did.
#[derive(Clone, Debug, Serialize)]
pub struct Dealt {
    /// The run.
    pub run: String,
    /// Step of its result; null where it has not ended.
    pub ended: Option<u32>,
    /// Steps dealt by this process.
    pub steps: u64,
    /// Bytes of keys that each party was sent.
    pub bytes: [u64; 2],
}

/// Deals until the run has ended, or `stop` is set.
///
/// Parties and dealer of one run need thread pools of their own, as processes have: a party's workers wait for keys that
/// the dealer's make.
///
/// # Errors
/// What does not pass by itself, or when a party stayed away too long.
pub fn deal<B: Backend>(
    dealing: &Dealing,
    dev: B,
    stop: &Arc<AtomicBool>,
    progress: &mut Progress<'_>,
    say: &dyn Fn(&str),
) -> Result<Dealt, Failure> {
    let step = dealing.plan.program()?;
    private_dir(&dealing.dir)?;
    let limits = Limits { link: dealing.call.link, ..Limits::default() };
    let endpoint =
        Endpoint::bind_with(dealing.identity.clone(), Role::Dealer, None, Accept::nobody(), limits)?;
    let schedule = dealing.plan.schedule()?;
    let layouts = schedule.programs().iter().map(|p| Ok(StepLayout::new(&p.layout()?)?));
    let layouts = layouts.collect::<Result<Vec<_>, Failure>>()?;
    let figures = dealing.plan.reveals.iter().map(|r| Ok(StepLayout::new(&step.figure_layout(r.figure)?)?));
    let figures = figures.collect::<Result<Vec<_>, Failure>>()?;
    let Chosen { run, sets, ended } = choose(dealing, &step, &dev)?;
    reached(Point::RunBegun);
    match ended {
        None => say(&format!("run {run}: keys for {} steps", dealing.plan.checkpoints().steps)),
        Some(end) => say(&format!("run {run} has ended after step {}", end.step)),
    }
    let mut desk = Desk {
        dealing,
        dev,
        step,
        schedule,
        layouts,
        figures,
        endpoint,
        stop,
        run,
        sets,
        ended,
        met: false,
        steps: 0,
        bytes: [0; 2],
        say,
    };
    let mut since = Instant::now();
    let ended = loop {
        if stop.load(Ordering::SeqCst) {
            break None;
        }
        desk.met = false;
        match desk.meeting(progress) {
            Ok(end) => break Some(end),
            // it had ended before; the parties were told once more, if they are there
            Err(failure) if passing(&failure) && ended.is_some() => break ended,
            Err(failure) if passing(&failure) => {
                if desk.met {
                    since = Instant::now();
                }
                if since.elapsed() > dealing.patience {
                    return Err(failure);
                }
                say(&format!("the attempt is over: {}", failure.content().what));
                std::thread::sleep(PAUSE);
            }
            Err(failure) => return Err(failure),
        }
    };
    Ok(Dealt { run: run.to_string(), ended: ended.map(|id| id.step), steps: desk.steps, bytes: desk.bytes })
}

/// The dealer's work on one run.
struct Desk<'a, B: Backend> {
    dealing: &'a Dealing,
    dev: B,
    step: Step,
    /// The programs of the run's steps, and what they store.
    schedule: Schedule,
    layouts: Vec<StepLayout>,
    /// What a batch of each reveal's figure stores.
    figures: Vec<StepLayout>,
    endpoint: Endpoint,
    stop: &'a Arc<AtomicBool>,
    run: RunId,
    sets: Vec<Set>,
    /// The run's end, if it is in this dealer's ledger: parties that wait for its word are told.
    ended: Option<CheckpointId>,
    /// Whether both parties were there in the last meeting.
    met: bool,
    /// Steps dealt, and their bytes.
    steps: u64,
    bytes: [u64; 2],
    say: &'a dyn Fn(&str),
}

impl<B: Backend> Desk<'_, B> {
    fn call(&self, party: PartyId, errand: &DealerErrand) -> Result<Link, Failure> {
        let place = &self.dealing.places[party.index()];
        let dial = Dial::new(place.address.clone(), place.key).over(place.transport);
        let within = self.dealing.call.within.min(if self.ended.is_some() { CALL } else { Duration::MAX });
        let mut link = self.endpoint.connect(&dial.within(within))?;
        let wanted = [Role::P0, Role::P1][party.index()];
        if link.role() != wanted {
            let what = format!("{} is {}, not {wanted}", place.address, link.role());
            let failure =
                Failure::new(ExitCode::Config, what).remedy("exchange --p0 and --p1 with their keys");
            leave(link, &failure);
            return Err(failure);
        }
        if let Some(record) = &self.dealing.record {
            record.tap(&mut link, Hearer::of(wanted));
        }
        link.stop_with(self.stop.clone());
        link.set_patience(self.dealing.computing);
        link.say(errand).map_err(on(&link))?;
        Ok(link)
    }

    /// From the call to both parties to the end of the run, or of an attempt.
    fn meeting(&mut self, progress: &mut Progress<'_>) -> Result<CheckpointId, Failure> {
        let sets: Vec<_> = self.sets.iter().map(|(set, _)| *set).collect();
        let plan = self.dealing.plan.digest()?.0;
        let errand = DealerErrand::Run(Invitation { plan, run: self.run, sets });
        let mut links = vec![];
        let done = self.with(&errand, &mut links, progress).map_err(|failure| told(failure, &mut links));
        for link in links {
            match &done {
                Ok(_) => drop(link.close(GOODBYE)),
                Err(failure) => leave(link, failure),
            }
        }
        done
    }
    fn with(
        &mut self,
        errand: &DealerErrand,
        links: &mut Vec<Link>,
        progress: &mut Progress<'_>,
    ) -> Result<CheckpointId, Failure> {
        for party in PartyId::BOTH {
            links.push(self.call(party, errand)?);
            reached(Point::PartyCalled);
        }
        for (party, link) in PartyId::BOTH.into_iter().zip(links.iter_mut()) {
            self.bring(party, link).map_err(|f| f.during(Phase::Deal))?;
        }
        (self.say)("both parties are here");
        self.met = true;
        let words = words(links)?;
        match words {
            [ToDealer::Ask(a), ToDealer::Ask(b)] => self.attempt([a, b], links, progress),
            [ToDealer::Ended(a), ToDealer::Ended(b)] if a == b => {
                self.open()?.end(a)?;
                reached(Point::EndRecorded);
                Ok(a)
            }
            _ => Err(out_of_step(&links[0])),
        }
    }
    fn open(&self) -> Result<DealerRun<FileFolder>, Failure> {
        let sets: Vec<_> = self.sets.iter().map(|(set, _)| *set).collect();
        Ok(DealerRun::open(&runs(&self.dealing.dir)?, run_spec(&self.dealing.plan, self.run, &sets)?)?)
    }

    /// Sends what a party lacks of data key sets.
    fn bring(&self, party: PartyId, link: &mut Link) -> Result<(), Failure> {
        let wants = match patiently(link)? {
            ToDealer::Wants(wants) => wants,
            _ => return Err(out_of_step(link)),
        };
        let half = &halves(self.dealing)?[party.index()];
        for share in wants {
            let (set, _) = self.sets.get(usize::from(share)).ok_or_else(|| out_of_step(link))?;
            let path = half.join(set.to_string()).join("set.key");
            let mut page = Zeroizing::new(vec![0; SET_KEY]);
            let read = File::open(&path).and_then(|mut file| file.read_exact(&mut page));
            read.map_err(|e| Failure::io("read", path.display(), &e))?;
            link.send(&page).map_err(|e| Failure::on_link(e, link))?;
        }
        Ok(())
    }

    /// What a segment stores.
    fn layout(&self, piece: Piece) -> &StepLayout {
        match piece {
            Piece::Step(step) => &self.layouts[self.schedule.program(step.into())],
            Piece::Figure(batch) => &self.figures[batch.reveal],
        }
    }

    fn data(&self) -> Result<Vec<Held<[Seed; 2]>>, Failure> {
        let slices = self.dealing.plan.slices()?.into_iter().zip(&self.sets);
        Ok(slices
            .filter_map(|(slice, (set, seeds))| {
                Some(Held { slice: slice?, origin: data_origin(*set), seed: seeds.clone() })
            })
            .collect())
    }

    fn attempt(
        &mut self,
        asks: [twoply_preprocessing::run::Ask; 2],
        links: &mut [Link],
        progress: &mut Progress<'_>,
    ) -> Result<CheckpointId, Failure> {
        let mut run = self.open()?;
        run.damaged().iter().for_each(|e| (self.say)(&format!("not used: {e}")));
        let masks = run.masks(asks[0].from)?;
        let dealer = Dealer::at(self.dev.clone(), &self.step, self.data()?, &masks)?;
        drop(masks);
        let set = SeedSource::Os.key_set()?;
        let offered = run.offer([&asks[0], &asks[1]], set)?;
        let offer = offered.offer();
        reached(Point::AttemptRecorded);
        for link in links.iter_mut() {
            link.say(&ToParty::Offer(offer)).map_err(on(link))?;
        }
        reached(Point::OfferSaid);
        let credits = words(links)?;
        let [ToDealer::Credit(a), ToDealer::Credit(b)] = credits else { return Err(out_of_step(&links[0])) };
        let attempt = match a == b {
            true => offered.credited(&a)?,
            false => return Err(out_of_step(&links[0])),
        };
        let seeds = [SeedSource::Os.seed(PartyId::P0, None)?, SeedSource::Os.seed(PartyId::P1, None)?];
        let mut lines: Vec<Box<dyn Channel>> = vec![];
        for (party, link) in PartyId::BOTH.into_iter().zip(links.iter_mut()) {
            link.send(seeds[party.index()].expose()).map_err(|e| Failure::on_link(e, link))?;
            lines.push(Box::new(Passing(self.call(party, &DealerErrand::Keys(set))?)));
        }
        let lines = <[Box<dyn Channel>; 2]>::try_from(lines).map_err(|_| out_of_step(&links[0]))?;
        (self.say)(&format!("attempt {} goes on after step {}", offer.attempt, offer.from.step));
        progress.begin(offer.from.step.into());
        let mut work = Work {
            dealer,
            seeds,
            writer: StreamWriter::new(set, lines),
            attempt,
            links,
            order: Order::default(),
        };
        for piece in self.dealing.plan.pieces(offer.from.step) {
            work.piece(self, piece).map_err(|f| f.during(Phase::Deal))?;
            let sent = PartyId::BOTH.map(|party| self.layout(piece).bytes(party));
            self.bytes.iter_mut().zip(sent).for_each(|(sum, sent)| *sum += sent);
            if let Piece::Step(step) = piece {
                self.steps += 1;
                progress.at(u64::from(step) + 1, offer.attempt, None)?;
            }
        }
        let Work { writer, mut attempt, links, .. } = work;
        writer.finish()?;
        let words = [last_word(&mut attempt, links, 0)?, last_word(&mut attempt, links, 1)?];
        match words {
            [a, b] if a == b => {
                run.end(a)?;
                reached(Point::EndRecorded);
                Ok(a)
            }
            _ => Err(out_of_step(&links[0])),
        }
    }
}

/// The next word of each party, in whatever order they come, as long as both are there.
fn words(links: &mut [Link]) -> Result<[ToDealer; 2], Failure> {
    let mut heard = [None, None];
    loop {
        for (link, word) in links.iter_mut().zip(&mut heard) {
            if word.is_none() && link.waiting(TICK).map_err(|e| Failure::on_link(e, link))? {
                *word = Some(link.hear().map_err(on(link))?);
            }
            present(link)?;
        }
        heard = match heard {
            [Some(a), Some(b)] => return Ok([a, b]),
            heard => heard,
        };
    }
}

/// An attempt whose keys are dealt.
struct Work<'w, 'r, B: Backend> {
    dealer: Dealer<B>,
    /// Of the next segment.
    seeds: [Seed; 2],
    writer: StreamWriter,
    attempt: Attempt<'r, FileFolder>,
    links: &'w mut [Link],
    order: Order,
}

impl<B: Backend> Work<'_, '_, B> {
    fn piece(&mut self, desk: &Desk<'_, B>, piece: Piece) -> Result<(), Failure> {
        self.hear()?;
        let plan = &desk.dealing.plan;
        let rows = self.order.rows(plan, piece);
        if let Piece::Step(step) = piece
            && u64::from(step) + plan.gathered() == plan.steps()
        {
            self.dealer.forget(&desk.step);
        }
        let segment = self.attempt.begin(kind(piece))?;
        reached(Point::SegmentTaken);
        let frame = segment.frame();
        let (to, layout) =
            ((Origin { set: frame.set, segment: frame.segment }, &self.seeds), desk.layout(piece));
        let mut deal = |sink: &mut dyn KeySink| {
            let dealt = match piece {
                Piece::Step(step) => self.dealer.deal(desk.schedule.at(step.into()), &rows, to, sink),
                Piece::Figure(Batch { reveal, .. }) => {
                    self.dealer.deal_figure((&desk.step, plan.reveals[reveal].figure), &rows, to, sink)
                }
            };
            dealt.map_err(Failure::from)
        };
        // keys of the step before a checkpoint leave when its masks are durable
        if self.attempt.makes(&segment)?.is_some() {
            let mut late = LateKeys::new();
            deal(&mut late)?;
            let released = self.attempt.release(segment, Some(&self.dealer.masks()?))?;
            reached(Point::MasksSaved);
            let mut feeder = self.writer.step(released, layout)?;
            late.leave(&mut feeder)?;
            feeder.finish()?;
        } else {
            let released = self.attempt.release(segment, None)?;
            let mut feeder = self.writer.step(released, layout)?;
            deal(&mut feeder)?;
            feeder.finish()?;
        }
        self.seeds = self.seeds.each_ref().map(Seed::next);
        Ok(())
    }

    /// What the parties said meanwhile: which checkpoints both hold.
    fn hear(&mut self) -> Result<(), Failure> {
        for link in self.links.iter_mut() {
            if link.stopping() {
                return Err(Error::Stopped.into());
            }
            while link.waiting(Duration::ZERO).map_err(|e| Failure::on_link(e, link))? {
                match link.hear().map_err(on(link))? {
                    ToDealer::Held(held) => self.attempt.held(&held)?,
                    _ => return Err(out_of_step(link)),
                }
                reached(Point::HeldHeard);
            }
        }
        Ok(())
    }
}

/// The end, as a party says it, behind its last checkpoint.
fn last_word(
    attempt: &mut Attempt<'_, FileFolder>,
    links: &mut [Link],
    of: usize,
) -> Result<CheckpointId, Failure> {
    loop {
        match patiently(&mut links[of])? {
            ToDealer::Held(held) => {
                attempt.held(&held)?;
                reached(Point::HeldHeard);
            }
            ToDealer::Ended(id) => {
                reached(Point::EndHeard);
                return Ok(id);
            }
            _ => return Err(out_of_step(&links[of])),
        }
    }
}
