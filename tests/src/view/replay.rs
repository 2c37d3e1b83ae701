//! The conversation of two parties, made again message for message.

use super::{Facts, Transcript};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use twoply_party::exit::ExitCode;
use twoply_party::identity::Fingerprint;
use twoply_party::jobs::{
    About, Code, Follow, Grant, Job, JobId, Lead, Piece, Provision, Reserved, SetState, Stock, WeightSets,
};
use twoply_party::messages::{Greeting, Hello, Message, PROTOCOL_VERSION, Verdict};
use twoply_party::record::{Hearer, Said};
use twoply_party::transport::Role;
use twoply_preprocessing::chunk;
use twoply_primitives::KeySetId;

/// How often each kind of message was heard.
pub type Heard = BTreeMap<&'static str, usize>;

type Result<T> = std::result::Result<T, String>;

/// What the parties must have of one key set, at this point of their conversation.
#[derive(Clone, Copy, Default)]
struct Progress {
    cursor: u64,
    position: u64,
    /// Whether each party has named its masked weights.
    weights: [bool; 2],
}

struct Replay<'a> {
    facts: &'a Facts,
    said: [VecDeque<&'a Said>; 2],
    sets: BTreeMap<KeySetId, Progress>,
    /// Pieces granted so far of each request, and whether the last one is neither run nor dropped.
    jobs: HashMap<JobId, (usize, bool)>,
    meeting: [u8; 32],
    /// What the owners must have been told.
    grants: Vec<Grant>,
    heard: Heard,
}

/// A message of this kind and nothing beside it.
fn decode<M: Message>(said: &Said) -> Result<M> {
    if said.name != M::NAME {
        return Err(format!("`{}` where `{}` is due", said.name, M::NAME));
    }
    let (message, rest) =
        postcard::take_from_bytes::<M>(&said.bytes).map_err(|e| format!("{}: {e}", M::NAME))?;
    let again = postcard::to_stdvec(&message).map_err(|e| e.to_string())?;
    match rest.is_empty() && again == said.bytes {
        true => Ok(message),
        false => Err(format!("`{}` is not written as it is", M::NAME)),
    }
}

fn same<T: PartialEq + Debug>(got: &T, due: &T) -> Result<()> {
    match got == due {
        true => Ok(()),
        false => Err(format!("said {got:?}, where public facts make {due:?}")),
    }
}

/// A reason is one of the closed list.
fn reason(code: Code) -> Result<()> {
    match Code::from(code.exit()) == code && code.exit() != ExitCode::Success {
        true => Ok(()),
        false => Err(format!("{code:?} is no reason")),
    }
}

/// Goes through a transcript of one meeting; what was heard in it.
pub(super) fn replay(facts: &Facts, transcript: &Transcript) -> Result<Heard> {
    let to = |me: usize| transcript[me].iter().filter(|s| s.to == Hearer::Peer).collect();
    let mut replay = Replay {
        facts,
        said: [to(0), to(1)],
        sets: facts.sets.keys().map(|id| (*id, Progress::default())).collect(),
        jobs: HashMap::new(),
        meeting: [0; 32],
        grants: vec![],
        heard: Heard::new(),
    };
    replay.hello()?;
    while !replay.said[0].is_empty() {
        replay.exchange()?;
    }
    if let Some(more) = replay.said[1].front() {
        return Err(format!("P1 said `{}` unasked", more.name));
    }
    for (id, asked) in &facts.jobs {
        same(&replay.jobs.get(id).copied().unwrap_or_default(), &(asked.pieces.len(), false))?;
    }
    for said in transcript {
        replay.owners(said.iter().filter(|s| s.to == Hearer::Owner))?;
    }
    Ok(replay.heard)
}

impl Replay<'_> {
    fn take<M: Message>(&mut self, me: usize) -> Result<M> {
        let said = self.said[me].pop_front().ok_or_else(|| format!("P{me} did not say `{}`", M::NAME))?;
        decode(said).map_err(|why| format!("P{me}: {why}"))
    }
    fn count(&mut self, kind: &'static str) {
        *self.heard.entry(kind).or_default() += 1;
    }

    fn hello(&mut self) -> Result<()> {
        let mut hellos = vec![];
        for me in 0..2 {
            let Greeting::V1(hello) = self.take(me)?;
            let due = self.due_hello(me, &hello)?;
            same(&hello, &due)?;
            same(&self.take(me)?, &Verdict::Agreed)?;
            hellos.push(hello);
        }
        self.meeting = hellos[0].meeting(&hellos[1]);
        Ok(())
    }
    /// The hello that is due, but for the nonce.
    fn due_hello(&mut self, me: usize, said: &Hello) -> Result<Hello> {
        self.states(me, &said.sets)?;
        let plan = &self.facts.plan;
        let (options, digest) = (&plan.options, plan.digest().map_err(|e| e.to_string())?);
        let rounding = serde_json::to_value(options.rounding).map_err(|e| e.to_string())?;
        Ok(Hello {
            protocol: PROTOCOL_VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            role: [Role::P0, Role::P1][me],
            ring_bits: options.fixed.n,
            fraction_bits: options.fixed.f,
            comparison: options.compare.to_string().as_str().into(),
            truncation: rounding.as_str().unwrap_or_default().into(),
            graph: plan.graph_digest(),
            plan: digest.0,
            sets: said.sets.clone(),
            nonce: said.nonce,
        })
    }
    /// A list of key sets: all that are not spent, with what is known of each.
    fn states(&mut self, me: usize, said: &[SetState]) -> Result<()> {
        let images = self.facts.images[0];
        let (mut due, mut at) = (vec![], 0);
        for (id, set) in &mut self.sets {
            let told = said.get(at).filter(|s| s.key_set == *id);
            if told.is_none() && set.cursor == images {
                continue; // spent, and out of use
            }
            at += 1;
            set.weights[me] |= told.is_some_and(|s| s.weights != [0; 32]);
            let weights = if set.weights[me] { self.facts.sets[id].weights } else { [0; 32] };
            due.push(SetState { key_set: *id, cursor: set.cursor, dealt: images, weights });
        }
        same(&said, &&due[..])
    }

    /// One message of P0's, with all that follows from it.
    fn exchange(&mut self) -> Result<()> {
        match self.take(0)? {
            Lead::Sets(mine) => {
                self.count("sets");
                self.states(0, &mine)?;
                match self.take(1)? {
                    Follow::Sets(theirs) => self.states(1, &theirs),
                    other => Err(format!("{other:?} for an answer to key sets")),
                }
            }
            Lead::Bind(set, digest) => {
                self.count("bind");
                let known = self.facts.sets.get(&set).ok_or("a key set that is not there")?;
                same(&digest, &known.weights)?;
                self.answer().map(drop)
            }
            Lead::Grant(job, client, piece) => self.grant(job, client, piece),
            Lead::Run(id, half, digest) => self.run(id, half, digest),
            Lead::Drop(id, code) => {
                self.count("drop");
                self.open(id)?;
                self.jobs.entry(id).or_default().1 = false;
                reason(code)
            }
            Lead::Bye => {
                self.count("bye");
                match self.said[0].is_empty() {
                    true => Ok(()),
                    false => Err("P0 speaks on after its last word".into()),
                }
            }
        }
    }
    /// P1's word to a question: whether it is ready.
    fn answer(&mut self) -> Result<bool> {
        match self.take(1)? {
            Follow::Ready => {
                self.count("ready");
                Ok(true)
            }
            Follow::NotYet => {
                self.count("not yet");
                Ok(false)
            }
            Follow::Refused(code) => {
                self.count("refused");
                reason(code).map(|()| false)
            }
            other => Err(format!("{other:?} for an answer")),
        }
    }

    fn grant(&mut self, job: Job, client: Fingerprint, piece: Piece) -> Result<()> {
        self.count("grant");
        let asked = self.facts.jobs.get(&job.id).ok_or("a request that nobody made")?;
        let (granted, open) = self.jobs.get(&job.id).copied().unwrap_or_default();
        let seen = asked.pieces.get(granted).filter(|_| !open).ok_or("a piece that no owner was given")?;
        let Grant { key_set, images, .. } = seen.grant;
        let Progress { cursor, position, .. } = self.sets[&key_set];
        let missing = u64::from(images).saturating_sub(cursor - position);
        let to = cursor + if missing > 0 { chunk(missing, self.facts.images[0] - cursor) } else { 0 };
        let weights = self.facts.sets[&key_set].weights;
        let due = Piece { key_set, first: position, images, weights, from: cursor, to };
        same(&(job, client, piece), &(asked.job, asked.client, due))?;
        if !self.answer()? {
            return Ok(());
        }
        if to > cursor {
            for me in 0..2 {
                self.count("reserved");
                same(&self.take::<Reserved>(me)?, &Reserved { key_set, from: cursor, to })?;
            }
        }
        let set = self.sets.entry(key_set).or_default();
        (set.cursor, set.position) = (to, position + u64::from(images));
        let told = Grant { key_set, first: position, images, cursor: to, meeting: self.meeting };
        same(&seen.grant, &told)?;
        self.grants.push(told);
        self.jobs.insert(job.id, (granted + 1, true));
        Ok(())
    }
    /// The piece of a request that was granted last and is still to be run.
    fn open(&self, id: JobId) -> Result<&super::Seen> {
        let (granted, open) = self.jobs.get(&id).copied().unwrap_or_default();
        let asked = self.facts.jobs.get(&id).filter(|_| open).ok_or("a request that was granted nothing")?;
        asked.pieces.get(granted - 1).ok_or_else(|| "a piece that no owner was given".into())
    }
    fn run(&mut self, id: JobId, half: [u8; 16], digest: [u8; 32]) -> Result<()> {
        self.count("run");
        let seen = self.open(id)?;
        let name = self.facts.half(seen.grant.key_set, seen.grant.first);
        let [mine, theirs] = [0, 1].map(|me| *blake3::hash(&seen.inputs[me]).as_bytes());
        same(&(half, digest), &(name, mine))?;
        match self.take(1)? {
            Follow::Running(half, digest) => {
                self.count("running");
                same(&(half, digest), &(name, theirs))?;
            }
            Follow::Refused(code) => {
                self.count("refused");
                reason(code)?;
            }
            Follow::NotYet => {
                self.count("not yet");
                return Ok(());
            }
            other => return Err(format!("{other:?} for an answer to a run")),
        }
        self.jobs.entry(id).or_default().1 = false;
        Ok(())
    }

    /// What one party told its owners, in any order.
    fn owners<'s>(&mut self, said: impl Iterator<Item = &'s Said>) -> Result<()> {
        let mut due = self.grants.clone();
        for said in said {
            match said.name {
                Grant::NAME => {
                    let grant: Grant = decode(said)?;
                    let at = due.iter().position(|d| *d == grant);
                    due.swap_remove(at.ok_or_else(|| format!("an owner was told {grant:?}"))?);
                }
                WeightSets::NAME => {
                    let sets: WeightSets = decode(said)?;
                    same(&sets.key_sets, &self.facts.sets.keys().copied().collect())?;
                }
                Provision::NAME => match decode(said)? {
                    Provision::Bound | Provision::Stored => {}
                    other => return Err(format!("a model owner was told {other:?}")),
                },
                Stock::NAME => {
                    let Stock { images } = decode(said)?;
                    let most = self.facts.images[0] * self.facts.sets.len() as u64;
                    same(&images.min(most), &images)?;
                }
                About::NAME => return Err("nobody asked how things are".into()),
                other => return Err(format!("`{other}` is no word to an owner")),
            }
            self.count("to an owner");
        }
        match due.first() {
            None => Ok(()),
            Some(grant) => Err(format!("no owner was told {grant:?}")),
        }
    }
}
