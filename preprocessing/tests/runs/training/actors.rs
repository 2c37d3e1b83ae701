//! A party and a dealer in an attempt, made again from the disk they began with and what happened since.

use crate::memory::{Disk, Memory};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use twoply_preprocessing::run::*;
use twoply_preprocessing::{Error, PlanDigest, Result};
use twoply_primitives::{KeySetId, PartyId};

/// What an attempt from a step runs.
pub fn plan(from: u32) -> &'static [SegmentKind] {
    use SegmentKind::{Evaluate, Train};
    [&[Train, Evaluate, Train][..], &[Evaluate, Train], &[]][from as usize]
}

pub fn spec() -> RunSpec {
    RunSpec {
        run: RunId([7; 16]),
        plan: PlanDigest([1; 32]),
        order: [2; 32],
        sets: vec![],
        schedule: Schedule { steps: 2, every: 1 },
        lengths: Lengths::new(2, 0, 0).unwrap(),
    }
}

/// The integer w(T) is named by the attempts that made its steps: coins differ, so another attempt makes another one.
fn state(lineage: &[u8]) -> Snapshot {
    let mut weights = lineage.to_vec();
    weights.resize(2, 0);
    Snapshot { weights, shares: vec![0; 2].into(), ..Snapshot::default() }
}

fn masks() -> Masks {
    Masks { shares: [vec![0; 2].into(), vec![0; 2].into()] }
}

pub fn fresh_party(party: usize) -> Disk {
    let mut memory = Memory::default();
    let party = PartyId::BOTH[party];
    memory.disk.ledger = PartyRun::begin(&mut &mut memory, party, &spec(), &[], &state(&[])).unwrap();
    memory.disk
}

pub fn fresh_dealer() -> Disk {
    let mut memory = Memory::default();
    memory.disk.ledger = DealerRun::begin(&mut &mut memory, &spec(), CheckpointId::START, &masks()).unwrap();
    memory.disk
}

pub fn party(memory: &mut Memory, party: usize) -> PartyRun<&mut Memory> {
    PartyRun::with(memory, PartyId::BOTH[party], spec(), &[]).expect("every crash leaves a run that opens")
}
pub fn dealer(memory: &mut Memory) -> DealerRun<&mut Memory> {
    DealerRun::with(memory, spec()).expect("every crash leaves a run that opens")
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PartyEvent {
    Offered(Offer),
    /// The peer's RESERVED.
    Agreed(Reserved),
    /// The next segment, whose keys came in this frame.
    Begun(Frame),
    Finished,
    Saved,
    /// The peer's CHECKPOINT.
    Heard(Mark),
}

/// A party after its last event.
pub struct PartyView {
    pub disk: Disk,
    /// What a crash in the last event leaves.
    pub between: Vec<Disk>,
    pub reserved: Reserved,
    pub running: bool,
    /// Segments that are finished.
    pub finished: usize,
    /// The segment that is begun.
    pub frame: Option<Frame>,
    pub due: bool,
    /// The checkpoint that the peer has not answered.
    pub ours: Option<Mark>,
    pub held: Option<Held>,
    /// The attempts that made the weights.
    pub lineage: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum DealerEvent {
    Offer([Ask; 2], KeySetId),
    Credited,
    Released,
    Held(Held),
}

/// The dealer after its last event.
pub struct DealerView {
    pub disk: Disk,
    pub between: Vec<Disk>,
    pub offer: Offer,
    pub credited: bool,
    pub frames: Vec<Frame>,
}

/// What is known of actors: an attempt is made again for every look, so each one is kept. `None` if it was refused.
#[derive(Default)]
pub struct Known {
    parties: Table<(usize, Past<PartyEvent>), Option<Rc<PartyView>>>,
    dealers: Table<Past<DealerEvent>, Option<Rc<DealerView>>>,
    held: Table<(usize, Rc<Disk>), Marks>,
    /// Whether orphans stay when an attempt begins (an older rule).
    orphans: bool,
}

type Table<K, V> = RefCell<HashMap<K, V>>;
type Marks = Rc<Vec<Mark>>;
/// The disk that an attempt began with, and what happened since.
pub type Past<E> = (Rc<Disk>, Vec<E>);

impl Known {
    pub fn new(orphans: bool) -> Known {
        Known { orphans, ..Known::default() }
    }
    pub fn party(&self, p: usize, past: &Past<PartyEvent>) -> Option<Rc<PartyView>> {
        let look = || replay_party(p, past, self.orphans).ok().map(Rc::new);
        self.parties.borrow_mut().entry((p, past.clone())).or_insert_with(look).clone()
    }
    pub fn dealer(&self, past: &Past<DealerEvent>) -> Option<Rc<DealerView>> {
        let look = || replay_dealer(past).ok().map(Rc::new);
        self.dealers.borrow_mut().entry(past.clone()).or_insert_with(look).clone()
    }
    /// Checkpoints on a party's disk.
    pub fn held(&self, p: usize, disk: &Rc<Disk>) -> Marks {
        let mut known = self.held.borrow_mut();
        let look = || Rc::new(party(&mut Memory::new(disk), p).held().to_vec());
        known.entry((p, disk.clone())).or_insert_with(look).clone()
    }
}

fn replay_party(p: usize, (start, events): &Past<PartyEvent>, orphans: bool) -> Result<PartyView> {
    let mut memory = Memory::new(start);
    let keeps = memory.keeps.clone();
    let between = memory.between.clone();
    let mut run = party(&mut memory, p);
    let [PartyEvent::Offered(offer), rest @ ..] = &events[..] else {
        unreachable!("an attempt begins with an offer")
    };
    let mut lineage = run.state(offer.from)?.weights;
    lineage.truncate(offer.from.step as usize);
    let pending = run.offered(offer)?;
    let reserved = pending.reserved();
    let (mut pending, mut attempt) = (Some(pending), None);
    let (mut finished, mut segment, mut ours, mut held) = (0, None, None, None);
    let early = || Error::Sequence { wanted: "another event" };
    for event in rest {
        between.borrow_mut().clear();
        held = None;
        if let PartyEvent::Agreed(peer) = event {
            keeps.set(orphans);
            attempt = Some(pending.take().ok_or_else(early)?.agree(peer)?);
            keeps.set(false);
            continue;
        }
        let mut running: Attempt<'_, _> = attempt.take().ok_or_else(early)?;
        match event {
            PartyEvent::Offered(_) | PartyEvent::Agreed(_) => return Err(early()),
            PartyEvent::Begun(frame) => {
                let begun = running.begin(plan(offer.from.step)[finished])?;
                begun.accepts(frame)?;
                segment = Some(begun);
            }
            PartyEvent::Finished => {
                running.finish(segment.take().ok_or_else(early)?, [finished as u8; 32])?;
                if plan(offer.from.step)[finished] == SegmentKind::Train {
                    lineage.push(offer.attempt as u8);
                }
                finished += 1;
            }
            PartyEvent::Saved => ours = Some(running.checkpoint(&state(&lineage))?),
            PartyEvent::Heard(mark) => {
                let (on, said) = running.hear(ours.take().ok_or_else(early)?, mark)?;
                (running, held) = (on, Some(said));
            }
        }
        attempt = Some(running);
    }
    let running = attempt.is_some();
    let due = attempt.is_some_and(|attempt| attempt.due().is_some());
    let (frame, ours) = (segment.as_ref().map(Segment::frame), ours.as_ref().map(Ours::mark));
    let between = between.take();
    Ok(PartyView { disk: memory.disk, between, reserved, running, finished, frame, due, ours, held, lineage })
}

fn replay_dealer((start, events): &Past<DealerEvent>) -> Result<DealerView> {
    let mut memory = Memory::new(start);
    let between = memory.between.clone();
    let mut run = dealer(&mut memory);
    let [DealerEvent::Offer(asks, set), rest @ ..] = &events[..] else {
        unreachable!("an attempt begins with asks")
    };
    let offered = run.offer([&asks[0], &asks[1]], *set)?;
    let offer = offered.offer();
    let (mut offered, mut dealing, mut frames) = (Some(offered), None, vec![]);
    let early = || Error::Sequence { wanted: "another event" };
    for event in rest {
        between.borrow_mut().clear();
        match (event, &mut dealing) {
            (DealerEvent::Credited, None) => {
                let offered = offered.take().ok_or_else(early)?;
                dealing = Some(offered.credited(&FirstCredit { set: *set })?);
            }
            (DealerEvent::Released, Some(dealing)) => {
                let segment = dealing.begin(plan(offer.from.step)[frames.len()])?;
                let masks = dealing.makes(&segment)?.map(|_| masks());
                frames.push(dealing.release(segment, masks.as_ref())?.frame());
            }
            (DealerEvent::Held(held), Some(dealing)) => dealing.held(held)?,
            _ => return Err(early()),
        }
    }
    let (credited, between) = (dealing.is_some(), between.take());
    Ok(DealerView { disk: memory.disk, between, offer, credited, frames })
}
