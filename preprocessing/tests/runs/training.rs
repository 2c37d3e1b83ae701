//! Can any schedule of crashes make a mask meet two integers, or lose a run? Dealer and two parties, each with the real
//! ledger and checkpoints: every schedule of a few crashes is searched, in the middle of writes too. The rules of the
//! reference's model (`train_crash_model.py`, section 9), and older ones that must be caught.
//!
//! The plan: train 0, checkpoint 1, evaluate w(1), train 1, checkpoint 2 = the end. A segment is one message each way.

mod actors;
mod world;

use crate::memory::Disk;
use crate::search::{Model, Verdict, explore};
use actors::*;
use std::collections::BTreeSet;
use std::rc::Rc;
use twoply_preprocessing::run::*;
use twoply_primitives::KeySetId;
use world::*;

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// As it is.
    Full,
    /// Masks come from seeds of the run and not of the attempt.
    SeedsOfTheRun,
    /// An evaluation has the address of its step.
    AddressByStep,
    /// Parties go on from the last step, whichever attempt made it, and keep what one of them has.
    StepAlone,
    /// HELD is said on one's own write.
    HeldOnOwnWrite,
    /// Older checkpoints are dropped on one's own write.
    DropOnOwnWrite,
}

struct Training {
    rule: Rule,
    crashes: u8,
    /// Whether crashes come in the middle of an event too: between or within its writes.
    within: bool,
    known: Known,
}

impl Training {
    fn party(&self, w: &World, p: usize) -> Option<Rc<PartyView>> {
        self.known.party(p, w.parties[p].attempt.as_ref()?)
    }
    fn dealer(&self, w: &World) -> Option<Rc<DealerView>> {
        self.known.dealer(w.dealer.attempt.as_ref()?)
    }
    /// Name of the keys of the attempt that someone is in.
    fn set(&self, w: &World, who: usize) -> Option<KeySetId> {
        match who {
            DEALER => self.dealer(w).map(|view| view.offer.set),
            p => self.party(w, p).map(|view| view.reserved.set),
        }
    }

    /// A crash of `who`, whose disk holds one of these then; of what it had sent, any beginning arrives.
    fn crash(&self, w: &World, who: usize, disks: &[Disk], out: &mut Vec<(World, bool)>) {
        let now = [w.disk(who)];
        let disks = if self.within { disks } else { &now };
        if w.crashes == self.crashes {
            return;
        }
        let lengths = |link: usize| 0..=w.links[link].len();
        let first = OUT[who][0];
        for said in lengths(first) {
            for more in OUT[who].get(1).map_or(0..=0, |link| lengths(*link)) {
                for disk in disks {
                    let mut world = w.clone();
                    world.links[first].truncate(said);
                    if let Some(link) = OUT[who].get(1) {
                        world.links[*link].truncate(more);
                    }
                    world.leave(who, Some(disk.clone()));
                    world.crashes += 1;
                    out.push((world, true));
                }
            }
        }
    }

    /// The last checkpoint that both parties hold, as each of them names it, and their highest attempts.
    fn common(&self, w: &World) -> Option<([CheckpointId; 2], [u32; 2])> {
        let mut memories = [0, 1].map(|p| crate::memory::Memory::new(&w.parties[p].disk));
        let [a, b] = &mut memories;
        let (a, b) = (party(a, 0), party(b, 1));
        let highest = [a.highest(), b.highest()];
        if self.rule == Rule::StepAlone {
            let last = |run: &[Mark], step| run.iter().rev().map(|mark| mark.id).find(|id| id.step == step);
            let both = |step| Some([last(a.held(), step)?, last(b.held(), step)?]);
            return Some(((0..3).rev().find_map(both)?, highest));
        }
        let [m, n] = [a.hello().ok()?, b.hello().ok()?];
        Some(([a.common(&n).ok()?.id(), b.common(&m).ok()?.id()], highest))
    }

    /// HELLO, the choice of a checkpoint, OFFER over new links.
    fn meet(&self, w: &World, out: &mut Vec<(World, bool)>) -> Option<()> {
        let (from, highest) = self.common(w)?;
        let (run, terms) = (spec().run, spec().shared_hash());
        let asks = highest.map(|highest| Ask { run, terms, highest, from: from[0] });
        let dealt = dealer(&mut crate::memory::Memory::new(&w.dealer.disk)).highest();
        let fresh = KeySetId([1 + dealt.max(highest[0]).max(highest[1]) as u8; 16]);
        let event = DealerEvent::Offer(asks, fresh);
        let view = self.known.dealer(&w.dealer.with(event.clone()))?;
        self.crash(w, DEALER, &view.between, out);
        let mut world = w.clone();
        world.dealer = w.dealer.after(event, &view.disk);
        world.links = Default::default();
        for (link, from) in world.links[2..].iter_mut().zip(from) {
            link.push(Message::Offer(Offer { from, ..view.offer }));
        }
        out.push((world, false));
        Some(())
    }

    /// Tells the dealer, if it is in this attempt: late or lost, a word only lets it keep more.
    fn tell(&self, w: &mut World, set: KeySetId, event: DealerEvent) {
        let view = self.dealer(w);
        let first = |view: &DealerView| event != DealerEvent::Credited || !view.credited;
        if view.is_some_and(|view| view.offer.set == set && first(&view))
            && let Some(view) = self.known.dealer(&w.dealer.with(event.clone()))
        {
            w.dealer = w.dealer.after(event, &view.disk);
        }
    }

    /// `p` takes the next step of its program, for which it has heard the first message of `from`, if of any; `then` goes
    /// on. A refusal is silence: the message is dropped.
    fn step(
        &self,
        w: &World,
        p: usize,
        from: Option<usize>,
        event: PartyEvent,
        then: impl Fn(&mut World, &PartyView),
        out: &mut Vec<(World, bool)>,
    ) {
        let mut world = w.clone();
        if let Some(link) = from {
            world.links[link].remove(0);
        }
        if let Some(view) = self.known.party(p, &w.parties[p].with(event.clone())) {
            self.crash(w, p, &view.between, out);
            world.parties[p] = w.parties[p].after(event, &view.disk);
            then(&mut world, &view);
        }
        out.push((world, false));
    }

    fn act(&self, w: &World, p: usize, out: &mut Vec<(World, bool)>) {
        let (mine, peers, keys) = (p, 1 - p, 2 + p);
        let (heard, key) = (w.links[peers].first(), w.links[keys].first());
        let Some(view) = self.party(w, p) else {
            if let Some(Message::Offer(offer)) = key {
                let then = |w: &mut World, v: &PartyView| w.links[mine].push(Message::Reserved(v.reserved));
                self.step(w, p, Some(keys), PartyEvent::Offered(*offer), then, out);
            }
            return;
        };
        let set = view.reserved.set;
        match heard {
            Some(Message::Reserved(peer)) if !view.running => {
                let peer = if self.rule == Rule::StepAlone { view.reserved } else { *peer };
                let then = |w: &mut World, _: &PartyView| self.tell(w, set, DealerEvent::Credited);
                self.step(w, p, Some(peers), PartyEvent::Agreed(peer), then, out);
            }
            Some(Message::Open(frame)) if view.frame == Some(*frame) => {
                self.step(w, p, Some(peers), PartyEvent::Finished, |_, _| {}, out);
            }
            Some(Message::Saved(mark)) if view.ours.is_some() => {
                let then = |w: &mut World, v: &PartyView| {
                    if let Some(held) = v.held.filter(|_| self.rule != Rule::HeldOnOwnWrite) {
                        self.tell(w, set, DealerEvent::Held(held));
                    }
                };
                self.step(w, p, Some(peers), PartyEvent::Heard(*mark), then, out);
            }
            Some(Message::Saved(mark)) if self.known.held(p, &w.parties[p].disk).contains(mark) => {
                let mut world = w.clone();
                world.links[peers].remove(0);
                out.push((world, false));
            }
            _ => {}
        }
        if view.due && view.ours.is_none() {
            self.step(w, p, None, PartyEvent::Saved, |w, v| self.saved(w, p, v), out);
        }
        if let (Some(Message::Key(frame)), true, false, None) = (key, view.running, view.due, view.frame) {
            let then = |w: &mut World, v: &PartyView| {
                w.spent.insert(self.spent(v, frame));
                w.links[mine].push(Message::Open(*frame));
            };
            self.step(w, p, Some(keys), PartyEvent::Begun(*frame), then, out);
        }
    }

    /// CHECKPOINT to the peer; by older rules more.
    fn saved(&self, w: &mut World, p: usize, view: &PartyView) {
        let Some(mark) = view.ours else { return };
        w.links[p].push(Message::Saved(mark));
        if self.rule == Rule::HeldOnOwnWrite {
            let held = Held { set: view.reserved.set, id: mark.id };
            self.tell(w, view.reserved.set, DealerEvent::Held(held));
        }
        if self.rule == Rule::DropOnOwnWrite {
            let heard = PartyEvent::Heard(mark);
            if let Some(view) = self.known.party(p, &w.parties[p].with(heard.clone())) {
                w.parties[p] = w.parties[p].after(heard, &view.disk);
            }
        }
    }

    /// The mask that the segment of this frame uses, and what it covers.
    fn spent(&self, view: &PartyView, frame: &Frame) -> Spent {
        let Frame { set, segment } = *frame;
        let from = view.reserved.from.id.step;
        let kind = plan(from)[segment as usize];
        let trains = kind == SegmentKind::Train;
        // Which of the plan's segments it is, whatever attempt runs it.
        let of_plan = segment + [0, 1, 3][from as usize];
        let (set, place) = match self.rule {
            Rule::SeedsOfTheRun => ([0; 16], of_plan),
            Rule::AddressByStep => (set.0, [0, 1, 1][of_plan as usize]),
            _ => (set.0, segment),
        };
        Spent { set, place, integer: (trains, view.lineage.clone(), view.reserved.attempt) }
    }
}

impl Model for Training {
    type State = World;

    fn start(&self) -> World {
        World {
            parties: [0, 1].map(|p| Actor::new(fresh_party(p))),
            dealer: Actor::new(fresh_dealer()),
            links: Default::default(),
            spent: BTreeSet::new(),
            crashes: 0,
        }
    }

    fn next(&self, w: &World) -> Vec<(World, bool)> {
        let mut out = vec![];
        let sets = [0, 1, DEALER].map(|who| self.set(w, who));
        let offered = |p: usize| w.links[2 + p].iter().any(|message| matches!(message, Message::Offer(_)));
        for who in [0, 1, DEALER] {
            let linked = OUT[who].iter().chain(IN[who]).any(|link| !w.links[*link].is_empty());
            if sets[who].is_some() || linked {
                self.crash(w, who, &[w.disk(who)], &mut out);
            }
            // It notices, sooner or later, that another has left.
            let left = |other: usize| sets[other] != sets[who] && !(other != DEALER && offered(other));
            if sets[who].is_some() && (0..3).any(left) {
                let mut world = w.clone();
                world.leave(who, None);
                out.push((world, false));
            }
        }
        if sets == [None; 3] {
            self.meet(w, &mut out);
        }
        (0..2).for_each(|p| self.act(w, p, &mut out));
        if let Some(view) = self.dealer(w) {
            let done = (0..2).filter_map(|p| self.party(w, p)).filter(|v| v.reserved.set == view.offer.set);
            // One segment ahead.
            let ahead = 1 + done.map(|v| v.finished).max().unwrap_or(0);
            let dealt = view.frames.len();
            if view.credited && dealt <= ahead && dealt < plan(view.offer.from.step).len() {
                let view = self.known.dealer(&w.dealer.with(DealerEvent::Released)).unwrap();
                self.crash(w, DEALER, &view.between, &mut out);
                let mut world = w.clone();
                world.dealer = w.dealer.after(DealerEvent::Released, &view.disk);
                let frame = *view.frames.last().unwrap();
                (2..4).for_each(|link| world.links[link].push(Message::Key(frame)));
                out.push((world, false));
            }
        }
        // Addresses of keys that nobody can use any more say nothing.
        if self.rule != Rule::SeedsOfTheRun {
            for (world, _) in &mut out {
                let live = [0, 1, DEALER].map(|who| self.set(world, who));
                let offers: Vec<_> = world.links.iter().flatten().filter_map(Message::offer).collect();
                let of = |spent: &Spent| Some(KeySetId(spent.set));
                world.spent.retain(|spent| live.contains(&of(spent)) || offers.contains(&of(spent)));
            }
        }
        out
    }

    fn done(&self, w: &World) -> bool {
        let [held, others] = [0, 1].map(|p| self.known.held(p, &w.parties[p].disk));
        held.iter().any(|mark| mark.id.step == 2 && others.contains(mark))
    }

    fn wrong(&self, w: &World) -> Option<String> {
        let twice = |(a, b): (&Spent, &Spent)| a.set == b.set && a.place == b.place;
        if w.spent.iter().zip(w.spent.iter().skip(1)).any(twice) {
            return Some("a mask meets two integers".into());
        }
        if let (Some(a), Some(b)) = (self.party(w, 0), self.party(w, 1)) {
            let together = a.reserved.set == b.reserved.set && a.running && b.running;
            if together && a.reserved.from != b.reserved.from {
                return Some("one attempt from two checkpoints".into());
            }
        }
        let [held, others] = [0, 1].map(|p| self.known.held(p, &w.parties[p].disk));
        let differ = |mark: &Mark| others.iter().any(|other| other.id == mark.id && other != mark);
        held.iter().any(differ).then(|| "one checkpoint is two states".into())
    }
}

fn search(name: &str, rule: Rule, crashes: u8, within: bool) -> Verdict {
    let known = Known::new(rule == Rule::StepAlone);
    explore(name, &Training { rule, crashes, within, known })
}

fn is_sound(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Sound(states) if states > 10_000)
}

#[test]
fn no_crash_within_an_event_makes_a_mask_meet_two_integers_or_loses_the_run() {
    assert!(is_sound(search("one crash, within events too", Rule::Full, 1, true)));
}

#[test]
fn no_schedule_of_crashes_makes_a_mask_meet_two_integers_or_loses_the_run() {
    assert!(is_sound(search("two crashes", Rule::Full, 2, false)));
}

#[test]
fn seeds_of_the_run_are_found() {
    let found = search("seeds of the run", Rule::SeedsOfTheRun, 2, false);
    assert_eq!(found, Verdict::Wrong("a mask meets two integers".into()));
}

#[test]
fn an_evaluation_addressed_by_its_step_is_found() {
    let found = search("address by step", Rule::AddressByStep, 0, false);
    assert_eq!(found, Verdict::Wrong("a mask meets two integers".into()));
}

#[test]
fn a_step_without_its_attempt_is_found() {
    let found = search("the step alone", Rule::StepAlone, 2, false);
    assert_eq!(found, Verdict::Wrong("one attempt from two checkpoints".into()));
}

#[test]
fn held_on_ones_own_write_is_found() {
    let found = search("HELD on one's own write", Rule::HeldOnOwnWrite, 1, false);
    assert!(matches!(found, Verdict::DeadEnds(_)));
}

#[test]
fn dropping_on_ones_own_write_is_found() {
    let found = search("dropping on one's own write", Rule::DropOnOwnWrite, 1, false);
    assert!(matches!(found, Verdict::DeadEnds(_)));
}
