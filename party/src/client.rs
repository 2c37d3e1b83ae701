//! The data owner: masks its images for both parties, joins their shares of the answer.

use crate::exit::{ExitCode, Failure, Phase};
use crate::identity::{Fingerprint, Identity};
use crate::jobs::{Grant, Job, Request, Stock};
use crate::seen::Seen;
use crate::transport::{Accept, Detail, Dial, Endpoint, Error, Limits, Link, Reason, Role, Shape, Transport};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use twoply_nn::program::RangeAudit;
use twoply_nn::roles::{self, Answer};
use twoply_nn::{Plan, Program};
use twoply_primitives::{Channel, Ring};

/// Where a party is and who it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// `host:port`.
    pub address: String,
    /// Its key.
    pub key: Fingerprint,
    /// What to call it over.
    pub transport: Transport,
}

/// How both parties are called.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// How long they may take to answer.
    pub within: Duration,
    /// What the links emulate.
    pub link: Shape,
}

/// Links to both parties.
pub struct Parties {
    links: Vec<Link>,
    // Kept: dropping it closes the links.
    _endpoint: Endpoint,
}

impl Parties {
    /// Calls both, as `role`; tries until the call's time is over.
    pub fn connect(
        identity: Arc<Identity>,
        role: Role,
        places: &[Place; 2],
        call: Call,
    ) -> Result<Self, Failure> {
        if places[0].key == places[1].key {
            let text = "both parties have the same key: whoever holds it would see everything";
            return Err(Failure::new(ExitCode::Config, text).remedy("give each party's own fingerprint"));
        }
        let limits = Limits { link: call.link, ..Limits::default() };
        let endpoint = Endpoint::bind_with(identity, role, None, Accept::nobody(), limits)?;
        let mut links = vec![];
        for (place, wanted) in places.iter().zip([Role::P0, Role::P1]) {
            let dial = Dial::new(&place.address, place.key).within(call.within).over(place.transport);
            let at = |f: Failure| f.during(Phase::Connect).with_peer(format!("{wanted:?}"));
            let link = endpoint.connect(&dial).map_err(|e| at(e.into()))?;
            if link.role() != wanted {
                let text = format!("{} is {:?}, not {wanted:?}", place.address, link.role());
                return Err(Failure::new(ExitCode::PlanMismatch, text).remedy("swap --p0 and --p1"));
            }
            links.push(link);
        }
        Ok(Parties { links, _endpoint: endpoint })
    }
    /// Once this is set, nothing is waited for, and both parties hear that this process was stopped.
    pub fn stop_with(&mut self, stop: &Arc<AtomicBool>) {
        self.links.iter_mut().for_each(|link| link.stop_with(stop.clone()));
    }
    /// Whether this process is to stop.
    fn stopping(&self) -> bool {
        self.links.iter().any(Link::stopping)
    }
    /// Does the same with both links; a failure names the party, and prefers a reason that a party gave.
    pub fn both<T>(&mut self, mut f: impl FnMut(&mut Link) -> Result<T, Failure>) -> Result<[T; 2], Failure> {
        let mut out = vec![];
        for at in 0..2 {
            match f(&mut self.links[at]) {
                Ok(v) => out.push(v),
                Err(e) => return Err(self.explain(at, e)),
            }
        }
        <[T; 2]>::try_from(out).map_err(|_| missing())
    }
    /// Hears a word of both parties once it is this client's turn there. If one of them goes away, the other one waits for
    /// it, and this client need not; what it said before counts.
    fn in_turn<T>(
        &mut self,
        mut hear: impl FnMut(&mut Link) -> Result<T, Failure>,
    ) -> Result<[T; 2], Failure> {
        let (until, mut heard) = (Instant::now() + TURN, [None, None]);
        for at in 0..2 {
            let [here, there] = self.links.get_disjoint_mut([at, 1 - at]).map_err(|_| missing())?;
            while heard[at].is_none()
                && here.waiting(TICK).is_ok_and(|said| !said)
                && Instant::now() < until
                && !here.stopping()
            {
                if heard[1 - at].is_none() && !there.is_alive() {
                    match hear(there) {
                        Ok(word) => heard[1 - at] = Some(word),
                        Err(e) => return Err(self.explain(1 - at, e)),
                    }
                }
            }
            if heard[at].is_none() {
                match hear(here) {
                    Ok(word) => heard[at] = Some(word),
                    Err(e) => return Err(self.explain(at, e)),
                }
            }
        }
        match heard {
            [Some(a), Some(b)] => Ok([a, b]),
            _ => Err(missing()),
        }
    }
    /// The other party may know better why this one failed.
    fn explain(&mut self, at: usize, failure: Failure) -> Failure {
        let failure = Failure::on_link(failure, &self.links[at]);
        let telling = |f: &Failure| f.code() == ExitCode::PeerFailed;
        // A party that only tells of the other one's failure knows less than that one.
        let only_told = hearsay(&self.links[at]);
        if telling(&failure) && !only_told {
            return failure;
        }
        let other = &mut self.links[1 - at];
        let more = match other.waiting(WORD) {
            Ok(true) => other.hear::<Grant>().err(),
            Ok(false) => None,
            Err(e) => Some(e),
        };
        // keys or shares that wait behind its last word say nothing of a failure
        let more = more.filter(|e| !matches!(e, Error::OutOfStep { .. }));
        match more.map(|e| Failure::on_link(e, other)) {
            Some(better) if !hearsay(other) && (telling(&better) || only_told) => better,
            _ => failure,
        }
    }
    /// A party that turned the request down: its kind of failure is this process's too, with what to do here.
    pub fn refusal(&mut self, failure: Failure) -> Failure {
        if self.stopping() {
            return failure;
        }
        let mut best = None;
        for link in &mut self.links {
            if let Ok(true) = link.waiting(WORD) {
                let _ = link.hear::<Grant>(); // for its fault
            }
        }
        let first_hand = self.links.iter().any(|link| link.fault().is_some() && !hearsay(link));
        for link in self.links.iter().filter(|link| !first_hand || !hearsay(link)) {
            // a party that only lost the other one knows less than that one
            if let Some(Error::PeerFailed { reason: Reason::Failed(code), detail, .. }) = link.fault()
                && REFUSALS.contains(code)
                && best.as_ref().is_none_or(|(c, d, _)| *d == Detail::None || *c == ExitCode::Unreachable)
            {
                best = Some((*code, detail.clone(), link.name().to_owned()));
            }
        }
        let Some((code, detail, name)) = best else { return failure };
        let what = format!("{name} refused: {}{detail}", code.name());
        let refused = Failure::new(code, what).with_peer(name);
        match (code, detail) {
            (ExitCode::KeysMissing, Detail::Item(_)) => {
                refused.remedy("let the model owner run `twoply provision` for both parties first")
            }
            (ExitCode::KeysMissing, Detail::Short(_, left)) => refused.remedy(format!(
                "ask for at most {left} images, or have more keys dealt and put into both parties' key folders"
            )),
            (ExitCode::PlanMismatch, Detail::Item(_)) => {
                refused.remedy("use the plan that the parties use, the same file everywhere")
            }
            (ExitCode::Identity, Detail::Item(item)) => refused.remedy(match item.as_str() {
                "listed as a model owner" => {
                    "this key may provision weights and not ask for inferences: ask with a data owner's key, or have \
                     both parties list this one as --client too"
                }
                _ => {
                    "this key may ask for inferences and not provision weights: provision with the model owner's key, or \
                     have both parties list this one as --owner too"
                }
            }),
            (ExitCode::Identity, _) => refused.remedy("have both parties list this machine's key (`twoply id`)"),
            (ExitCode::Unreachable, Detail::Item(party)) => refused.remedy(format!(
                "{party} was lost while it worked for you: see whether it runs, and ask again (--retry does)"
            )),
            (ExitCode::Budget, _) => refused.remedy("ask the parties' operators for a larger --images-per-client"),
            _ => refused,
        }
    }
    /// Whether both links can still be used.
    pub fn alive(&self) -> bool {
        self.links.iter().all(|link| link.is_alive() && link.fault().is_none())
    }
    /// Closes both links.
    pub fn close(mut self) {
        for link in std::mem::take(&mut self.links) {
            let _ = link.close(GOODBYE);
        }
    }
}

impl Drop for Parties {
    /// Parties that wait for a process that was stopped hear that it was.
    fn drop(&mut self) {
        if self.stopping() {
            for link in self.links.drain(..) {
                link.abort(Reason::Interrupted, Detail::None);
            }
        }
    }
}

/// Whether all that a party said at its end is that the other one failed, or was lost.
fn hearsay(link: &Link) -> bool {
    match link.fault() {
        Some(Error::PeerFailed { reason: Reason::Failed(code), detail, .. }) => match code {
            ExitCode::Internal | ExitCode::PeerFailed => true,
            ExitCode::Unreachable => matches!(detail, Detail::Item(_)),
            _ => false,
        },
        _ => false,
    }
}

/// How long parties that are alive may serve others first.
pub const TURN: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(20);

/// The second party's word on a failure comes a moment after the first one's.
const WORD: Duration = Duration::from_millis(500);

/// How long a party may take to acknowledge that this client is done.
const GOODBYE: Duration = Duration::from_secs(2);

fn missing() -> Failure {
    Failure::new(ExitCode::Internal, "two links gave not two answers")
}

/// What a party turns a request down for, before anything was done.
const REFUSALS: [ExitCode; 8] = [
    ExitCode::Unreachable,
    ExitCode::Budget,
    ExitCode::Identity,
    ExitCode::PlanMismatch,
    ExitCode::KeysMissing,
    ExitCode::KeysSpent,
    ExitCode::Policy,
    ExitCode::Model,
];

/// A data owner with a plan.
pub struct Client<R> {
    plan: Plan,
    program: Program,
    parties: Parties,
    seen: Seen,
    /// Seconds from each request to its answer.
    pub online: Vec<f64>,
    /// Of these, from the masked input's departure on.
    pub answered: Vec<f64>,
    ring: std::marker::PhantomData<R>,
}

impl<R: Ring> Client<R> {
    /// A client on open links. `seen` remembers which images it was granted before.
    pub fn new(plan: Plan, parties: Parties, seen: Seen) -> Result<Self, Failure> {
        let program = plan.program()?;
        Ok(Client {
            plan,
            program,
            parties,
            seen,
            online: vec![],
            answered: vec![],
            ring: std::marker::PhantomData,
        })
    }
    /// For how many images both parties have keys and weights, as far as they know.
    pub fn stock(&mut self) -> Result<u64, Failure> {
        let plan = self.plan.digest()?.0;
        self.parties.both(|l| Ok(l.say(&Request::Stock(plan))?))?;
        let stocks = self.parties.both(|l| Ok(l.hear::<Stock>()?));
        let stocks = stocks.map_err(|f| self.parties.refusal(f).during(Phase::Reserve))?;
        Ok(stocks[0].images.min(stocks[1].images))
    }
    /// Goes on over other links to the same parties.
    pub fn reconnected(&mut self, parties: Parties) {
        self.parties = parties;
    }
    /// The answer for some normalised images, and what an audit counted of them.
    pub fn infer(&mut self, inputs: &[f32]) -> Result<(Answer, RangeAudit), Failure> {
        let row = self.plan.graph.input.row();
        let x = self.program.encode_input::<R>(inputs).map_err(Failure::from)?;
        let began = Instant::now();
        let images = (x.len() / row) as u32;
        let job = Job { id: crate::random()?, plan: self.plan.digest()?.0, images };
        self.answered.push(0.0);
        self.parties.both(|l| Ok(l.say(&Request::Infer(job))?))?;
        let (mut done, mut logits, mut labels) = (0usize, vec![], vec![]);
        let mut audit = RangeAudit::default();
        while done < images as usize {
            let (answer, counted) = self.piece(&x[done * row..])?;
            audit.extend(counted);
            match answer {
                Answer::Logits(mut l) => logits.append(&mut l),
                Answer::Labels(mut l) => labels.append(&mut l),
            }
            done = logits.len() + labels.len();
        }
        self.online.push(began.elapsed().as_secs_f64());
        Ok((if labels.is_empty() { Answer::Logits(logits) } else { Answer::Labels(labels) }, audit))
    }

    /// One granted range: keys from both, masked values to both, shares from both.
    fn piece(&mut self, x: &[R]) -> Result<(Answer, RangeAudit), Failure> {
        let row = self.plan.graph.input.row();
        let grants = self.parties.in_turn(|l| Ok(l.hear::<Grant>()?));
        let grants = grants.map_err(|f| self.parties.refusal(f).during(Phase::Reserve))?;
        let grant = self.check(grants, x.len() / row)?;
        let batch = grant.images as usize;
        let keys = self.parties.both(|l| Ok(l.recv(16 * batch)?))?;
        let keys = keys.map(|k| k.as_chunks::<16>().0.to_vec());
        let packed = roles::mask_input(&self.program, &x[..batch * row], [&keys[0], &keys[1]])?;
        let masked = Instant::now();
        self.parties.both(|l| {
            l.say(&grant)?;
            Ok(l.send(&packed)?)
        })?;
        let len = self.program.reply(batch)?.bytes();
        // the inputs of others may be run before it
        let answers = self.parties.in_turn(|l| Ok(l.recv(len)?));
        let answers = answers.map_err(|f| self.parties.refusal(f).during(Phase::Output))?;
        if let Some(seconds) = self.answered.last_mut() {
            *seconds += masked.elapsed().as_secs_f64();
        }
        Ok(roles::join::<R>(&self.plan, &self.program, [&answers[0], &answers[1]], batch)?)
    }

    /// The parties must grant the same images, and never ones that were granted before: two inputs under one mask would
    /// show their difference.
    fn check(&mut self, [a, b]: [Grant; 2], left: usize) -> Result<Grant, Failure> {
        if a != b {
            let text = format!("the parties grant different images: {a:?} and {b:?}");
            return Err(Failure::new(ExitCode::PlanMismatch, text).during(Phase::Reserve));
        }
        if a.images == 0 || a.images as usize > left {
            let text = format!("the parties grant {} images, {left} are left", a.images);
            return Err(Failure::new(ExitCode::PlanMismatch, text).during(Phase::Reserve));
        }
        self.seen.grant(&a).map_err(|f| f.during(Phase::Reserve))?;
        Ok(a)
    }
    /// Ends the session with both parties.
    pub fn close(self) {
        self.parties.close();
    }
}
