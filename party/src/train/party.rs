//! A party of a training run: waits for dealer and peer, for the owners' rows, trains, and hands the model to its owner.

mod deliver;

use super::attempt::{Bench, Links, Over, figures, programs};
use super::figures::Figures;
use super::lobby::{Guests, Lobby};
use super::point::{Point, reached};
use super::progress::Progress;
use super::sets::Sets;
use super::wire::{Invitation, Peer, ToDealer};
use super::{
    CALL, GOODBYE, PAUSE, TICK, leave, on, out_of_step, passing, patiently, present, run_spec, told,
};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::private_dir;
use crate::identity::Identity;
use crate::record::{Hearer, Record};
use crate::transport::{Accept, Dial, Endpoint, Error, Limits, Link, Role, Shape, Transport};
use deliver::{Others, Wait};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twoply_nn::plan::Totals;
use twoply_nn::train::roles::{Learner, data_origin};
use twoply_nn::train::{TrainingPlan, initial};
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::run::{CheckpointId, PartyRun, RunId, RunInfo, survey};
use twoply_primitives::{Backend, PartyId};

/// How often a party says what it waits for.
const REMIND: Duration = Duration::from_secs(60);

/// What a party is told.
pub struct Setup {
    /// Which party.
    pub me: PartyId,
    /// The plan.
    pub plan: TrainingPlan,
    /// Folder of its runs and rows.
    pub dir: PathBuf,
    /// Its key.
    pub identity: Arc<Identity>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where P0 is, for P1.
    pub peer_address: Option<String>,
    /// What P1 calls P0 over.
    pub transport: Transport,
    /// What its links emulate.
    pub link: Shape,
    /// Whose calls it takes.
    pub guests: Guests,
    /// Whether a run may begin here; else only one that is here goes on.
    pub begins: bool,
    /// Steps of keys that the dealer may be ahead.
    pub ahead: u32,
    /// How long the others may stay away.
    pub patience: Duration,
    /// How long one of them that is there may take to its next message, [`COMPUTING`](super::COMPUTING) unless a test is in a hurry.
    pub computing: Duration,
    /// For tests of what is told.
    pub record: Option<Record>,
}

/// What a party did.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The run, once a dealer has named it.
    pub run: Option<String>,
    /// Step of its result; null where it has not ended.
    pub ended: Option<u32>,
    /// Steps of this process, those of attempts that came to nothing too.
    pub steps: u64,
    /// What they counted together: what the plan says, each of them.
    pub counted: Totals,
    /// Figures that the plan reveals, those of attempts that came to nothing too.
    pub figures: u64,
    /// Whether the model went to its owner.
    pub delivered: bool,
}

/// Runs a party until the run has ended and its model is delivered, or `stop` is set.
///
/// Parties and dealer of one run need thread pools of their own, as processes have: a party's workers wait for keys that
/// the dealer's make.
///
/// # Errors
/// What does not pass by itself, or when the others stayed away too long.
pub fn serve<B: Backend>(
    setup: &Setup,
    dev: B,
    stop: &Arc<AtomicBool>,
    progress: &mut Progress<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Outcome, Failure> {
    let (role, step) = ([Role::P0, Role::P1][setup.me.index()], setup.plan.program()?);
    private_dir(&setup.dir)?;
    let peer = setup.guests.peer;
    let guests = Guests {
        owners: setup.guests.owners.clone(),
        model_owners: setup.guests.model_owners.clone(),
        ..setup.guests
    };
    let limits = Limits { link: setup.link, ..Limits::service([peer]) };
    let accept = Accept::these(guests.everyone());
    let endpoint = Endpoint::bind_with(setup.identity.clone(), role, Some(setup.listen), accept, limits)?;
    say(&format!("{} listens on {} as {}", setup.me, endpoint.address(), endpoint.fingerprint()));
    let mut lobby = Lobby::new((&setup.plan, &step, &setup.dir), guests, stop, say)?;
    lobby.record = setup.record.clone();
    let schedule = setup.plan.schedule()?;
    let (me, ahead, computing, programs) = (setup.me, setup.ahead, setup.computing, programs(&schedule)?);
    let (figures, schedule) = (figures(&setup.plan, &step)?, &schedule);
    let (steps, revealed, counted) = (0, 0, Totals::default());
    let bench = Bench {
        me,
        dev,
        lobby: &lobby,
        schedule,
        programs,
        figures,
        ahead,
        computing,
        steps,
        revealed,
        counted,
    };
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| lobby.watch(scope, &endpoint, &over));
        let _ends = (Over(over.clone()), Over(stop.clone()));
        let (sets, met, others, delivered) = (None, false, Others::Know, false);
        Party { setup, bench, endpoint: &endpoint, sets, run: None, ended: None, met, others, delivered }
            .run(progress)
    })
}

struct Party<'a, B: Backend> {
    setup: &'a Setup,
    bench: Bench<'a, B>,
    endpoint: &'a Endpoint,
    sets: Option<Arc<Sets>>,
    run: Option<RunId>,
    ended: Option<CheckpointId>,
    /// Whether dealer and peer were there in the last meeting.
    met: bool,
    /// Whether the others know that the run has ended.
    others: Others,
    /// Whether the model's owner has the model.
    delivered: bool,
}

impl<B: Backend> Party<'_, B> {
    fn run(&mut self, progress: &mut Progress<'_>) -> Result<Outcome, Failure> {
        let lobby = self.bench.lobby;
        let mut since = Instant::now();
        let mut finished = self.finished()?;
        while !lobby.stop.load(Ordering::SeqCst) {
            if let Some(mut run) = finished.take() {
                match self.deliver(&mut run)? {
                    Wait::Over => break,
                    // the dealer or the peer was not there at the end, and has come back
                    Wait::Called => {}
                }
            }
            self.met = false;
            let failed = match self.meeting(progress) {
                Ok(Some(run)) => {
                    finished = Some(run);
                    continue;
                }
                Ok(None) => None,
                Err(failure) if lobby.stop.load(Ordering::SeqCst) && passing(&failure) => break,
                Err(failure) if passing(&failure) => Some(failure),
                Err(failure) => return Err(failure),
            };
            if self.met {
                since = Instant::now();
            }
            if since.elapsed() > self.setup.patience {
                let what = format!("dealer or peer stayed away for {} s", self.setup.patience.as_secs());
                let away = Failure::new(ExitCode::Unreachable, what).during(Phase::Connect);
                return Err(failed.unwrap_or(away));
            }
            if self.ended.is_some() {
                finished = self.finished()?;
            }
            if let Some(failure) = failed {
                (lobby.say)(&format!("the attempt is over: {}", failure.content().what));
                std::thread::sleep(PAUSE);
            }
        }
        Ok(Outcome {
            run: self.run.map(|run| run.to_string()),
            ended: self.ended.map(|id| id.step),
            steps: self.bench.steps,
            counted: self.bench.counted,
            figures: self.bench.revealed,
            delivered: self.delivered,
        })
    }

    /// A run of this plan that has ended here, where there is none to go on with, or the one that ended in this process: its model
    /// may still be wanted.
    fn finished(&mut self) -> Result<Option<PartyRun<FileFolder>>, Failure> {
        let known = self.ended.is_some();
        if self.setup.begins && !known {
            return Ok(None);
        }
        let here = |info: &RunInfo| !known || self.run == Some(info.run);
        let (lobby, me, root, mut found) = (self.bench.lobby, self.setup.me, self.run_dir()?, None);
        let shares = lobby.plan.shares.len();
        let mut all: Vec<_> =
            survey(&root)?.into_iter().filter(|info| info.sets.len() == shares && here(info)).collect();
        let age = |info: &RunInfo| root.join(info.run.to_string()).metadata().and_then(|m| m.modified()).ok();
        all.sort_by_key(age);
        for info in all {
            let spec = run_spec(lobby.plan, info.run, &info.sets)?;
            let open = self.sets.clone().filter(|sets| sets.ids == info.sets);
            let at = || Sets::at((lobby.plan, me, &self.setup.dir), &info.sets).map(Arc::new);
            let Ok(sets) = open.map_or_else(at, Ok) else { continue };
            let data = sets.lock_all();
            let roots = data.iter().map(|set| Ok(set.whole()?.root())).collect::<Result<Vec<_>, Failure>>();
            match roots.and_then(|roots| Ok(PartyRun::open(&root, me, spec, &roots)?)) {
                Ok(run) => match run.ended() {
                    Some(end) => found = Some((run, end, info.run)),
                    None => return Ok(None),
                },
                Err(_) => continue,
            }
        }
        let Some((run, end, name)) = found else { return Ok(None) };
        if !known {
            (self.run, self.ended, self.others) = (Some(name), Some(end), Others::MayKnow);
        }
        self.show(&run)?;
        // whoever fetches the model again need not wait for the owners of figures
        let again = !known && !self.setup.guests.model_owners.is_empty();
        lobby.figures(|all| all.iter_mut().filter(|_| again).for_each(|all| all.waited = false));
        Ok(Some(run))
    }

    /// From the dealer's call to the end of an attempt; the run, if it has ended. `None` where no dealer came.
    fn meeting(&mut self, progress: &mut Progress<'_>) -> Result<Option<PartyRun<FileFolder>>, Failure> {
        let called = self.bench.lobby.dealer(self.setup.patience)?;
        let Some((mut dealer, invited)) = called else { return Ok(None) };
        dealer.stop_with(self.bench.lobby.stop.clone());
        dealer.admit_all();
        let sets = match self.invited(&mut dealer, &invited) {
            Ok(sets) => sets,
            Err(failure) => {
                let failure = told(failure, [&mut dealer]);
                leave(dealer, &failure);
                return Err(failure);
            }
        };
        let peer = match self.peer(&mut dealer) {
            Ok(Some(peer)) => peer,
            Ok(None) => return Ok(None),
            Err(failure) => {
                leave(dealer, &failure);
                return Err(failure);
            }
        };
        let mut links = Links { dealer, peer };
        self.met = true;
        match self.train(&invited, &sets, &mut links, progress) {
            Ok(run) => {
                let Links { dealer, peer } = links;
                // all is durable on both sides
                let _ = (dealer.close(GOODBYE), peer.close(GOODBYE));
                Ok(Some(run))
            }
            Err(failure) => {
                let failure = told(failure, [&mut links.peer, &mut links.dealer]);
                let Links { dealer, peer } = links;
                leave(dealer, &failure);
                leave(peer, &failure);
                Err(failure)
            }
        }
    }

    /// Opens the data key sets that the dealer names.
    fn invited(&mut self, dealer: &mut Link, invited: &Invitation) -> Result<Arc<Sets>, Failure> {
        let lobby = self.bench.lobby;
        let here = self.run_dir()?.join(invited.run.to_string()).exists();
        if !here && !self.setup.begins {
            let what = format!("run {} is not here, and this party only resumes", invited.run);
            let remedy = "start this party with `twoply train run`, if its folder is the right one";
            return Err(Failure::new(ExitCode::KeysMissing, what).remedy(remedy));
        }
        self.run = Some(invited.run);
        if let Some(sets) = self.sets.clone().filter(|sets| sets.ids == invited.sets) {
            dealer.say(&ToDealer::Wants(vec![])).map_err(on(dealer))?;
            return Ok(sets);
        }
        lobby.opened(None);
        self.sets = None;
        let sets = Sets::open((lobby.plan, self.setup.me, &self.setup.dir), invited, dealer)?;
        let sets = Arc::new(sets);
        self.sets = Some(sets.clone());
        lobby.opened(Some(sets.clone()));
        Ok(sets)
    }

    fn run_dir(&self) -> Result<PathBuf, Failure> {
        let dir = self.setup.dir.join("runs");
        private_dir(&dir)?;
        Ok(dir)
    }

    /// The peer, while the dealer is there.
    fn peer(&self, dealer: &mut Link) -> Result<Option<Link>, Failure> {
        let (lobby, until) = (self.bench.lobby, Instant::now() + self.setup.patience);
        while Instant::now() < until && !lobby.stop.load(Ordering::SeqCst) {
            if !dealer.is_alive() || lobby.dealer_waits() {
                let left = Failure::new(ExitCode::Unreachable, "the dealer has left");
                return Err(if dealer.is_alive() { left } else { told(left, [dealer]) });
            }
            let link = match &self.setup.peer_address {
                None => lobby.peer(CALL)?,
                Some(address) => {
                    let dial = Dial::new(address.clone(), self.setup.guests.peer);
                    match self.endpoint.connect(&dial.within(CALL).over(self.setup.transport)) {
                        Ok(link) => Some(link),
                        Err(Error::Unreachable { .. }) => None,
                        Err(e) => return Err(Failure::from(e).during(Phase::Connect)),
                    }
                }
            };
            // one that called and has gone again is of no use
            if let Some(mut link) = link
                && link.gone().is_none()
            {
                if let Some(record) = &self.setup.record {
                    record.tap(&mut link, Hearer::Peer);
                }
                link.stop_with(lobby.stop.clone());
                link.set_patience(self.setup.computing);
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    fn train(
        &mut self,
        invited: &Invitation,
        sets: &Arc<Sets>,
        links: &mut Links,
        progress: &mut Progress<'_>,
    ) -> Result<PartyRun<FileFolder>, Failure> {
        let lobby = self.bench.lobby;
        match links.exchange(&Peer::Run(lobby.digest, invited.run)).map_err(|f| f.during(Phase::Hello))? {
            Peer::Run(plan, _) if plan != lobby.digest => {
                let what = "the other party works on another plan";
                let failure = Failure::new(ExitCode::PlanMismatch, what).during(Phase::Hello);
                return Err(failure.remedy("use the same plan file on both machines"));
            }
            Peer::Run(_, run) if run != invited.run => {
                let what = "the other party has not heard of this run yet";
                return Err(Failure::new(ExitCode::Unreachable, what));
            }
            Peer::Run(..) => {}
            _ => return Err(out_of_step(&links.peer)),
        }
        self.rows(sets, links)?;
        let mut run = self.open(invited, sets)?;
        self.show(&run)?;
        let peer = match links.exchange(&Peer::Hello(run.hello()?))? {
            Peer::Hello(peer) => peer,
            _ => return Err(out_of_step(&links.peer)),
        };
        let common = run.common(&peer)?;
        let end = if peer.ended || run.ended().is_some() {
            run.end(&common)?;
            common.id()
        } else {
            let ask = run.ask(&common);
            links.dealer.say(&ToDealer::Ask(ask)).map_err(on(&links.dealer))?;
            self.bench.attempt(&mut run, sets, links, progress)?
        };
        self.ended = Some(end);
        self.show(&run)?;
        // a dealer that did not hear it calls again
        let _ = links.dealer.say(&ToDealer::Ended(end));
        reached(Point::EndSaid);
        links.peer.set_patience(GOODBYE);
        // whether the peer hears of it here does not matter: a dealer that parts has the word of both
        let _ = links.exchange(&Peer::Hello(run.hello()?));
        self.others = if parted(&mut links.dealer) { Others::Know } else { Others::DoNot };
        (lobby.say)(&format!("run {} has ended after step {}", invited.run, end.step));
        Ok(run)
    }

    /// Waits until all owners have brought their shares, and compares them with the peer.
    fn rows(&self, sets: &Sets, links: &mut Links) -> Result<(), Failure> {
        let (lobby, mut told) = (self.bench.lobby, None::<Instant>);
        loop {
            let missing = sets.missing();
            if missing.is_empty() {
                break;
            }
            if told.is_none_or(|told| told.elapsed() > REMIND) {
                let names: Vec<_> = missing.iter().map(|at| lobby.plan.shares[*at].owner.as_str()).collect();
                (lobby.say)(&format!("waits for the rows of {}", names.join(", ")));
                told = Some(Instant::now());
            }
            present(&mut links.dealer)?;
            present(&mut links.peer)?;
            std::thread::sleep(TICK);
        }
        let ours = sets.data()?;
        for data in &ours {
            links.peer.say(&Peer::Data(*data)).map_err(on(&links.peer))?;
        }
        // owners may need the sets meanwhile
        let mut theirs = vec![];
        for _ in &ours {
            match patiently(&mut links.peer)? {
                Peer::Data(data) => theirs.push(data),
                _ => return Err(out_of_step(&links.peer)),
            }
        }
        for (set, data) in sets.lock_all().iter_mut().zip(&theirs) {
            set.agree(data)?;
        }
        Ok(())
    }

    /// Opens the run, or begins it.
    fn open(&self, invited: &Invitation, sets: &Sets) -> Result<PartyRun<FileFolder>, Failure> {
        let (lobby, me, root) = (self.bench.lobby, self.setup.me, self.run_dir()?);
        let spec = run_spec(lobby.plan, invited.run, &sets.ids)?;
        let known = survey(&root)?.iter().any(|info| info.run == invited.run);
        let data = sets.lock_all();
        let wholes = data.iter().map(|set| set.whole()).collect::<Result<Vec<_>, _>>()?;
        let roots: Vec<_> = wholes.iter().map(|whole| whole.root()).collect();
        // a process may have been killed between the ledger and the start
        let begun = |run: PartyRun<_>| run.highest() > 0 || !run.held().is_empty();
        if !known || !begun(PartyRun::open(&root, me, spec.clone(), &roots)?) {
            let dev = self.bench.dev.clone();
            let learner = match lobby.plan.start() {
                None => {
                    Learner::begin(dev, lobby.step, vec![], &initial(&lobby.plan.graph, lobby.plan.seed))?
                }
                Some(share) => {
                    let (origin, seed) = (data_origin(sets.ids[share]), data[share].seed()?);
                    let packed = wholes[share].chunk(0)?;
                    Learner::begin_private(dev, lobby.step, vec![], (origin, &seed, &packed))?
                }
            };
            PartyRun::create(&root, me, &spec, &wholes.iter().collect::<Vec<_>>(), &learner.snapshot()?)?;
            reached(Point::RunBegun);
        }
        let run = PartyRun::open(&root, me, spec, &roots)?;
        run.damaged().iter().for_each(|e| (lobby.say)(&format!("not used: {e}")));
        Ok(run)
    }

    /// Lets owners see the figures of this run, and whether it has ended.
    fn show(&self, run: &PartyRun<FileFolder>) -> Result<(), Failure> {
        let (Some(name), false) = (self.run, self.bench.lobby.plan.reveals.is_empty()) else { return Ok(()) };
        let figures = Figures::new(name, run.sets(), run.figures()?, run.ended());
        self.bench.lobby.figures(|all| match all {
            Some(known) if known.run == name => known.update(figures),
            other => *other = Some(figures),
        });
        Ok(())
    }
}

/// Whether the dealer ends its link in order, as it does when it has heard both parties and the end is in its ledger.
fn parted(dealer: &mut Link) -> bool {
    let until = Instant::now() + GOODBYE;
    while Instant::now() < until && !dealer.stopping() {
        match dealer.gone() {
            Some(end) => return matches!(end, Error::Closed { .. }),
            None => std::thread::sleep(TICK),
        }
    }
    false
}
