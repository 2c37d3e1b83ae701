//! The dealer's side of a deal over the network: each segment is made in a private folder, sent to both parties, and
//! erased once both have it.

use super::folder::{halves, set as open_set};
use super::note::{Note, Way};
use super::receive::segment_file;
use super::wire::{ASK, Answer, Greeting, Held, Offer, SET_KEY, ToDealer, ToParty};
use super::{Order, Steps, Told, each_segment, room};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use crate::identity::{Fingerprint, Identity};
use crate::transport::{Accept, Dial, Endpoint, Link, Role, Transport};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twoply_preprocessing::{Header, Segment, SetWriter, Wanted};
use twoply_primitives::{Channel, KeySetId, PartyId};
use zeroize::Zeroizing;

/// How long a party may take to verify and store a segment.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time for the last words.
const GOODBYE: Duration = Duration::from_secs(20);

/// Where a party is.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// Its key.
    pub key: Fingerprint,
}

/// The dealer's way to both parties.
pub struct Route {
    /// Who calls.
    pub me: Arc<Identity>,
    /// P0 and P1.
    pub peers: [Peer; 2],
    /// How long to keep calling a party that does not answer yet.
    pub within: Duration,
    /// What to call them over.
    pub transport: Transport,
}

/// What was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The key set; `None` if an earlier call had delivered all and only erasing was left.
    pub key_set: Option<KeySetId>,
    /// Key bytes sent to each party by this call.
    pub bytes: [u64; 2],
    /// Segments dealt by this call.
    pub new: u32,
}

/// Deals into the private folder `work` and delivers to both parties. When all has arrived the folder is erased:
/// weight seeds, segments and notes. `resume` goes on after a crash of anyone; segments that both parties hold are not
/// dealt again.
///
/// # Errors
/// As [`super::into_folder`], and whatever keeps a party from taking its keys. The folder then stays, for `resume`.
pub fn to_parties(
    order: &Order,
    work: &Path,
    resume: bool,
    route: &Route,
    told: &mut Told<'_>,
) -> Result<Delivered, Failure> {
    run(order, work, resume, route, told).map_err(|failure| failure.during(Phase::Deal))
}

fn run(
    order: &Order,
    work: &Path,
    resume: bool,
    route: &Route,
    told: &mut Told<'_>,
) -> Result<Delivered, Failure> {
    if resume {
        let note = Note::resume(work, order, Way::Network)?;
        if note.delivered() {
            note.erase()?;
            return Ok(Delivered { key_set: None, bytes: [0; 2], new: 0 });
        }
        return deliver(order, work, note, route, told);
    }
    deliver(order, work, Note::begin(work, order, Way::Network)?, route, told)
}

fn deliver(
    order: &Order,
    work: &Path,
    mut note: Note,
    route: &Route,
    told: &mut Told<'_>,
) -> Result<Delivered, Failure> {
    room::one_segment(order, work)?;
    // Reached before anything is made: a wrong address should not cost an hour of dealing.
    let endpoint = Endpoint::bind(route.me.clone(), Role::Dealer, None, Accept::nobody())?;
    let mut lines = call_both(&endpoint, route)?;
    let done = serve(order, (work, &mut note), &mut lines, told);
    let [a, b] = lines;
    match done {
        Ok((key_set, new)) => {
            let bytes = [a.bytes, b.bytes];
            // Both have said that all is durable; how they take their leave does not matter.
            let _ = (a.link.close(GOODBYE), b.link.close(GOODBYE));
            note.finish()?;
            Ok(Delivered { key_set: Some(key_set), bytes, new })
        }
        Err(failure) => {
            a.abort(&failure);
            b.abort(&failure);
            Err(failure)
        }
    }
}

fn call_both(endpoint: &Endpoint, route: &Route) -> Result<[Line; 2], Failure> {
    let a = Line::call(endpoint, route, PartyId::P0)?;
    match Line::call(endpoint, route, PartyId::P1) {
        Ok(b) => Ok([a, b]),
        Err(failure) => {
            a.abort(&failure);
            Err(failure)
        }
    }
}

fn serve(
    order: &Order,
    (work, note): (&Path, &mut Note),
    lines: &mut [Line; 2],
    told: &mut Told<'_>,
) -> Result<(KeySetId, u32), Failure> {
    let set = open_set(order, work, note)?;
    let folders = halves(work).map(|half| half.join(set.key_set().to_string()));
    both(lines, |line| line.offer(order, set.key_set(), &folders[line.party.index()]))?;
    both(lines, |line| line.survey(order.cut.segments()))?;
    let mut steps = Sending { order, folders, lines, new: 0 };
    each_segment(order, &set, &mut steps, told)?;
    let new = steps.new;
    both(lines, |line| {
        line.send(&ToParty::Done)?;
        line.stored()
    })?;
    Ok((set.key_set(), new))
}

/// Does the same with both parties at once. The first failure counts, P0's before P1's.
fn both(lines: &mut [Line; 2], f: impl Fn(&mut Line) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let [a, b] = lines;
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| f(b));
        (f(a), other.join())
    });
    a?;
    b.unwrap_or_else(|_| Err(Failure::new(ExitCode::Internal, "sending to P1 panicked")))
}

/// One party, as the dealer sees it.
struct Line {
    party: PartyId,
    link: Link,
    /// What it holds, segment by segment.
    held: Vec<Held>,
    bytes: u64,
}

impl Line {
    fn call(endpoint: &Endpoint, route: &Route, party: PartyId) -> Result<Self, Failure> {
        let peer = &route.peers[party.index()];
        let dial = Dial::new(peer.address.clone(), peer.key).within(route.within).over(route.transport);
        let mut link = endpoint.connect(&dial)?;
        let wanted = [Role::P0, Role::P1][party.index()];
        if link.role() != wanted {
            let what = format!("{} is {}, not {wanted}", peer.address, link.role());
            let failure = Failure::new(ExitCode::Config, what)
                .with_peer(link.name())
                .remedy("exchange --p0 and --p1 with their keys, or the role of that party");
            let (reason, detail) = failure.reason();
            link.abort(reason, detail);
            return Err(failure);
        }
        link.set_patience(PATIENCE);
        Ok(Line { party, link, held: Vec::new(), bytes: 0 })
    }

    /// Tells the party why the dealer stops.
    fn abort(self, failure: &Failure) {
        let (reason, detail) = failure.reason();
        self.link.abort(reason, detail);
    }

    fn send<T: serde::Serialize>(&mut self, message: &T) -> Result<(), Failure> {
        self.link.send_message(message).map_err(|e| Failure::on_link(e, &self.link))
    }
    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        self.link.recv_message().map_err(|e| Failure::on_link(e, &self.link))
    }
    fn stored(&mut self) -> Result<(), Failure> {
        match self.hear()? {
            ToDealer::Stored => Ok(()),
            ToDealer::Holds(_) => Err(self.out_of_step()),
        }
    }
    fn out_of_step(&self) -> Failure {
        let what = format!("{} gave an answer that does not belong here", self.link.name());
        Failure::new(ExitCode::PlanMismatch, what).with_peer(self.link.name())
    }

    /// Agrees on plan and key set, and sends `set.key` if it is not there.
    fn offer(&mut self, order: &Order, key_set: KeySetId, folder: &Path) -> Result<(), Failure> {
        let offer = Offer {
            party: self.party,
            plan: order.plan.digest()?,
            key_set,
            images: order.cut.images(),
            segment_images: order.cut.segment_images(),
            insecure: order.seeds.insecure(),
        };
        let trained = order.trained.as_ref().map(|masks| masks.of);
        self.send(&match trained {
            Some(trained) => Greeting::V2(offer, trained.into()),
            None => Greeting::V1(offer),
        })?;
        match self.hear()? {
            Answer::Agreed { begun: true } => Ok(()),
            Answer::Agreed { begun: false } => {
                let path = folder.join("set.key");
                let len = trained.map_or(SET_KEY, |trained| trained.file_bytes() as usize);
                let mut bytes = Zeroizing::new(vec![0; len]);
                let read = File::open(&path).and_then(|mut file| file.read_exact(&mut bytes));
                read.map_err(|e| Failure::io("read", path.display(), &e))?;
                self.link.send(&bytes).map_err(|e| Failure::on_link(e, &self.link))?;
                self.stored()
            }
            Answer::OtherPlan(theirs) => {
                let what = format!("{} runs plan {theirs}, not {}", self.party, order.plan.digest()?);
                Err(Failure::new(ExitCode::PlanMismatch, what)
                    .remedy("give dealer and parties the same plan file"))
            }
            Answer::OtherParty(theirs) => {
                let what = format!("{} says that it is {theirs}", self.link.name());
                Err(Failure::new(ExitCode::Config, what).remedy("exchange --p0 and --p1 with their keys"))
            }
            Answer::Insecure => {
                let what = format!("{} does not take keys from --insecure-test-seed", self.party);
                Err(Failure::new(ExitCode::KeysSpent, what)
                    .remedy("deal without it, or start that party with --insecure-test-seed too"))
            }
        }
        .map_err(|failure| failure.with_peer(self.link.name()))
    }

    /// Learns what the party holds.
    fn survey(&mut self, segments: u32) -> Result<(), Failure> {
        while (self.held.len() as u32) < segments {
            let from = self.held.len() as u32;
            let count = ASK.min(segments - from);
            self.send(&ToParty::Ask { from, count })?;
            match self.hear()? {
                ToDealer::Holds(held) if held.len() == count as usize => self.held.extend(held),
                _ => return Err(self.out_of_step()),
            }
        }
        Ok(())
    }

    /// Sends a segment, unless the party has this very one.
    fn segment(&mut self, path: &Path, header: &Header) -> Result<(), Failure> {
        let segment = header.segment;
        if self.held.get(segment as usize) == Some(&Held::Whole(header.id)) {
            return Ok(());
        }
        let mut file = File::open(path).map_err(|e| Failure::io("open", path.display(), &e))?;
        let bytes = file.metadata().map_err(|e| Failure::io("look at", path.display(), &e))?.len();
        self.send(&ToParty::Segment { segment, id: header.id, bytes })?;
        let sent = self.link.send_file(&mut file, bytes, |_| {});
        sent.map_err(|e| Failure::on_link(e, &self.link))?;
        self.stored()?;
        self.bytes += bytes;
        Ok(())
    }
}

/// Deals what is missing, sends it, erases it.
struct Sending<'a> {
    order: &'a Order,
    folders: [PathBuf; 2],
    lines: &'a mut [Line; 2],
    new: u32,
}

impl Sending<'_> {
    fn paths(&self, segment: u32) -> [PathBuf; 2] {
        [0, 1].map(|party| segment_file(&self.folders[party], segment))
    }
    fn erase(&self, segment: u32) -> Result<(), Failure> {
        self.paths(segment).iter().try_for_each(|path| files::wipe(path))
    }
}

impl Steps for Sending<'_> {
    fn wanted(&mut self, _: &SetWriter, segment: u32) -> Result<bool, Failure> {
        let held = |line: &Line| line.held.get(segment as usize).copied().unwrap_or(Held::Nothing);
        let wanted = match [held(&self.lines[0]), held(&self.lines[1])] {
            [Held::Whole(a), Held::Whole(b)] => a != b,
            // One party has spent its images: they are lost, whatever the other holds.
            held => !held.contains(&Held::Spent),
        };
        if !wanted {
            self.erase(segment)?;
        }
        Ok(wanted)
    }

    fn dealt(&mut self, set: &SetWriter, segment: u32, new: bool) -> Result<(), Failure> {
        self.new += u32::from(new);
        let (paths, order) = (self.paths(segment), self.order);
        let (plan, layout) = (order.plan.digest()?, order.plan.layout());
        both(self.lines, |line| {
            let (party, path) = (line.party, &paths[line.party.index()]);
            let insecure = order.seeds.insecure();
            let wanted = Wanted { party, key_set: set.key_set(), plan: Some(plan), insecure };
            let header = Segment::open(path, &wanted, order.cut, segment, &layout)?.header().clone();
            line.segment(path, &header)
        })?;
        self.erase(segment)
    }
}
