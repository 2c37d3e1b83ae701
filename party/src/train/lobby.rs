//! Who calls a party: the dealer, the peer, owners. One thread waits for callers, one hears what each of them wants.

use super::figures::{self, Figures};
use super::owners;
use super::sets::Sets;
use super::wire::{DealerErrand, Invitation, ToService};
use super::{TICK, leave, on, out_of_step};
use crate::exit::{ExitCode, Failure};
use crate::files::{Existing, private_dir, write_private};
use crate::identity::Fingerprint;
use crate::record::{Hearer, Record};
use crate::transport::{Detail, Endpoint, Error, Label, Link, Role};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};
use twoply_nn::train::{Step, TrainingPlan};
use twoply_primitives::KeySetId;

/// How long a caller may take to say what it wants.
const WORD: Duration = Duration::from_secs(20);

/// Whose calls are taken.
pub struct Guests {
    /// The other party.
    pub peer: Fingerprint,
    /// The maker of keys.
    pub dealer: Fingerprint,
    /// Who may bring each share of the plan, in order.
    pub owners: Vec<Fingerprint>,
    /// Who may fetch the model.
    pub model_owners: Vec<Fingerprint>,
}

impl Guests {
    /// All of them.
    pub fn everyone(&self) -> Vec<Fingerprint> {
        [&[self.peer, self.dealer], &self.owners[..], &self.model_owners].concat()
    }
}

/// Callers that wait for the party, and what they all need to know of it.
pub struct Lobby<'a> {
    /// The plan.
    pub plan: &'a TrainingPlan,
    /// Its step.
    pub step: &'a Step,
    /// Digest of the plan.
    pub digest: [u8; 32],
    /// Folder of runs and rows.
    dir: &'a Path,
    guests: Guests,
    state: Mutex<State>,
    changed: Condvar,
    /// For tests of what is told to those who call.
    pub record: Option<Record>,
    /// Set when this process is to end.
    pub stop: &'a Arc<AtomicBool>,
    /// Hears what happens.
    pub say: &'a (dyn Fn(&str) + Sync),
}

/// A dealer with its invitation.
pub type Invited = (Link, Invitation);

#[derive(Default)]
struct State {
    dealer: Option<Invited>,
    keys: Option<(Link, KeySetId)>,
    peer: Option<Link>,
    fetchers: VecDeque<Link>,
    sets: Option<Arc<Sets>>,
    figures: Option<Figures>,
    failure: Option<Failure>,
    /// Whether the party is in a meeting, which a dealer's call of another plan does not end.
    busy: bool,
    /// Why the dealer was turned away, which would be so again.
    refused: Option<Failure>,
}

impl<'a> Lobby<'a> {
    /// Nobody is there yet.
    pub fn new(
        (plan, step, dir): (&'a TrainingPlan, &'a Step, &'a Path),
        guests: Guests,
        stop: &'a Arc<AtomicBool>,
        say: &'a (dyn Fn(&str) + Sync),
    ) -> Result<Self, Failure> {
        let digest = plan.digest()?.0;
        let (state, changed) = (Mutex::default(), Condvar::new());
        Ok(Lobby { plan, step, digest, dir, guests, state, changed, record: None, stop, say })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What is known of figures, changed; whoever waits for them looks again.
    pub fn figures<T>(&self, f: impl FnOnce(&mut Option<Figures>) -> T) -> T {
        let found = f(&mut self.state().figures);
        self.changed.notify_all();
        found
    }
    /// The next thing that `take` finds among the figures; `None` after a moment.
    pub fn news<T>(&self, mut take: impl FnMut(&Figures) -> Option<T>) -> Result<Option<T>, Failure> {
        self.wait(TICK, |s| take(s.figures.as_ref()?))
    }
    fn put(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state());
        self.changed.notify_all();
    }
    /// Waits until `take` finds something. `None` after `within`, or when this process is to end.
    fn wait<T>(
        &self,
        within: Duration,
        mut take: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let until = Instant::now() + within;
        let mut state = self.state();
        loop {
            if let Some(failure) = state.failure.clone() {
                return Err(failure);
            }
            if let Some(found) = take(&mut state) {
                return Ok(Some(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            state =
                self.changed.wait_timeout(state, left.min(TICK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// The dealer that called last; an error where one called that works on another plan.
    pub fn dealer(&self, within: Duration) -> Result<Option<Invited>, Failure> {
        self.put(|s| s.busy = false);
        let came = self.wait(within, |s| match s.dealer.take() {
            Some(invited) => {
                (s.busy, s.refused) = (true, None);
                Some(Ok(invited))
            }
            None => s.refused.take().map(Err),
        });
        came?.transpose()
    }
    /// The dealer's link for the keys of this attempt.
    pub fn keys(&self, set: KeySetId, within: Duration) -> Result<Option<Link>, Failure> {
        // one of an older attempt is let go of
        self.wait(within, |s| s.keys.take().filter(|(_, of)| *of == set).map(|(link, _)| link))
    }
    /// The peer, where it calls.
    pub fn peer(&self, within: Duration) -> Result<Option<Link>, Failure> {
        self.wait(within, |s| s.peer.take())
    }
    /// Somebody who wants the model.
    pub fn fetcher(&self, within: Duration) -> Result<Option<Link>, Failure> {
        self.wait(within, |s| s.fetchers.pop_front())
    }
    /// Whether a dealer called that nobody has heard.
    pub fn dealer_waits(&self) -> bool {
        self.state().dealer.is_some()
    }
    /// Whether a data key set is this owner's: it is whose it was first, durably, before a key of its masks leaves. Names of
    /// shares may come again in other plans, for others.
    pub fn belongs(&self, set: KeySetId, owner: Fingerprint) -> Result<(), Failure> {
        let (dir, _one) = (self.dir.join("owners"), self.state());
        private_dir(&dir)?;
        let (path, owner) = (dir.join(set.to_string()), owner.to_string());
        match std::fs::read_to_string(&path) {
            Ok(first) if first == owner => Ok(()),
            Ok(_) => {
                let what = "the data key set of this share is another owner's";
                Err(Failure::new(ExitCode::KeysSpent, what)
                    .remedy("ask the dealer for a new one: `twoply deal --follow --new-data NAME`"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_private(&path, owner.as_bytes(), Existing::Keep)
            }
            Err(e) => Err(Failure::io("read", path.display(), &e)),
        }
    }
    /// The data key sets that owners bring rows for.
    pub fn opened(&self, sets: Option<Arc<Sets>>) {
        self.put(|s| s.sets = sets);
    }
    /// The same, once there are any.
    pub fn sets(&self, within: Duration) -> Result<Option<Arc<Sets>>, Failure> {
        self.wait(within, |s| s.sets.clone())
    }
    /// Something has changed that somebody may wait for.
    pub fn ring(&self) {
        self.changed.notify_all();
    }

    /// Takes callers until `over`.
    pub fn watch<'s, 'e>(
        &'e self,
        scope: &'s Scope<'s, 'e>,
        endpoint: &'e Endpoint,
        over: &'e Arc<AtomicBool>,
    ) {
        while !over.load(Ordering::SeqCst) {
            match endpoint.accept(TICK) {
                Ok(mut link) => {
                    link.stop_with(over.clone());
                    scope.spawn(move || self.receive(link));
                }
                // The transport says who was refused, and how often.
                Err(Error::NobodyCame { .. } | Error::Uninvited { .. } | Error::Unwanted { .. }) => {}
                Err(e @ Error::Version { .. }) => (self.say)(&e.to_string()),
                Err(e) => return self.put(|s| s.failure = Some(e.into())),
            }
        }
    }

    /// Hears what a caller wants, and puts its link where that is done.
    fn receive(&self, mut link: Link) {
        link.set_patience(WORD);
        // the peer's is tapped where it is taken
        if let Some(record) = self.record.as_ref().filter(|_| link.peer() != self.guests.peer) {
            let to = Hearer::of(link.role());
            record.tap(&mut link, to);
        }
        let done = match self.hear(&mut link) {
            Ok(Errand::Peer) => {
                link.admit_all();
                return self.put(|s| s.peer = Some(link));
            }
            Ok(Errand::Run(invited)) => return self.put(|s| s.dealer = Some((link, invited))),
            Ok(Errand::Keys(set)) => {
                link.admit_all();
                return self.put(|s| s.keys = Some((link, set)));
            }
            Ok(Errand::Fetch) => return self.put(|s| s.fetchers.push_back(link)),
            Ok(Errand::Bring(share)) => owners::serve(self, &mut link, share),
            Ok(Errand::Watch(share)) => figures::serve(self, &mut link, share),
            Err(failure) => Err(failure),
        };
        match done {
            // all is stored here, or was said, and the owner has heard it
            Ok(()) => drop(link.close(super::GOODBYE)),
            Err(failure) => {
                (self.say)(&format!("{}: {}", link.name(), failure.content().what));
                if link.role() == Role::Dealer && failure.code() == ExitCode::PlanMismatch {
                    self.put(|s| s.refused = Some(failure.clone()).filter(|_| !s.busy));
                }
                leave(link, &failure);
            }
        }
    }
    /// Whether this key is the one that is listed for a share.
    fn owns(&self, share: u8, key: Fingerprint) -> bool {
        self.guests.owners.get(usize::from(share)) == Some(&key)
    }
    fn hear(&self, link: &mut Link) -> Result<Errand, Failure> {
        let (key, role) = (link.peer(), link.role());
        match role {
            Role::P0 | Role::P1 if key == self.guests.peer => Ok(Errand::Peer),
            Role::Dealer if key == self.guests.dealer => match link.hear().map_err(on(link))? {
                DealerErrand::Run(invited) if invited.plan != self.digest => Err(other_plan("the dealer")),
                DealerErrand::Run(invited) => Ok(Errand::Run(invited)),
                DealerErrand::Keys(set) => Ok(Errand::Keys(set)),
            },
            Role::Client | Role::ModelOwner => match link.hear().map_err(on(link))? {
                ToService::Bring { plan, .. } | ToService::Fetch(plan) | ToService::Watch { plan, .. }
                    if plan != self.digest =>
                {
                    Err(other_plan("the caller"))
                }
                ToService::Bring { share, .. } if self.owns(share, key) => Ok(Errand::Bring(share.into())),
                ToService::Watch { share, .. } if self.owns(share, key) => Ok(Errand::Watch(share.into())),
                ToService::Bring { .. } | ToService::Watch { .. } => Err(stranger("the owner of this share")),
                ToService::Fetch(_) if self.guests.model_owners.contains(&key) => Ok(Errand::Fetch),
                ToService::Fetch(_) => Err(stranger("a model owner")),
                _ => Err(out_of_step(link)),
            },
            role => Err(stranger(&role.to_string())),
        }
    }
}

/// What a caller wants.
enum Errand {
    Peer,
    Run(Invitation),
    Keys(KeySetId),
    Bring(usize),
    Watch(usize),
    Fetch,
}

fn other_plan(who: &str) -> Failure {
    let what = format!("{who} works on another plan");
    Failure::new(ExitCode::PlanMismatch, what)
        .with_detail(Detail::Item(Label::new("plan")))
        .remedy("use the same plan file everywhere")
}

fn stranger(as_what: &str) -> Failure {
    Failure::new(ExitCode::Identity, format!("the caller is not listed as {as_what} here"))
}
