//! A run's life at a party and at its dealer: two attempts with checkpoints, a reveal, the end. The peer is as the party.

use super::*;
use crate::disk::life::{self, Found, Life};
use crate::{Error, PlanDigest, Result};
use std::path::{Path, PathBuf};
use twoply_primitives::{KeySetId, PartyId};

const RUN: RunId = RunId([7; 16]);
const P0: PartyId = PartyId::P0;
const PLACES: [&str; 2] = ["party", "dealer"];
const REVEAL: &str = "range-counts";
/// Of a checkpoint's public values: files are longer than a page.
const BYTES: u8 = 200;

fn spec() -> RunSpec {
    RunSpec {
        run: RUN,
        plan: PlanDigest([1; 32]),
        order: [2; 32],
        sets: vec![],
        schedule: Schedule { steps: 3, every: 1 },
        lengths: Lengths::new(u64::from(BYTES) * 9, u64::from(BYTES) * 9, u64::from(BYTES)).unwrap(),
    }
}

fn state(step: u8) -> Snapshot {
    let bytes = |times: usize| vec![step + 1; times * usize::from(BYTES)];
    let (weights, velocities, accumulators) = (bytes(9), bytes(9), bytes(1));
    Snapshot { weights, velocities, accumulators, shares: bytes(19).into() }
}

fn masks(step: u8) -> Masks {
    Masks { shares: [1, 2].map(|party| vec![10 * party + step; 19 * usize::from(BYTES)].into()) }
}

/// What was promised of the checkpoint of an attempt, at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise {
    Begun(usize),
    /// The attempt is recorded at a place.
    Attempt(usize, u32),
    Saved(usize, CheckpointId),
    Dropping(usize, CheckpointId),
    Dropped(usize, CheckpointId),
    /// The reveal was delivered so often.
    Delivered(u64),
    Ended,
}

fn file(place: usize, id: CheckpointId) -> PathBuf {
    [PLACES[place], &RUN.to_string(), &checkpoint::name(id)].iter().collect()
}

impl life::Promise for Promise {
    fn erases(&self) -> Option<(PathBuf, bool)> {
        match self {
            Promise::Dropping(place, id) => Some((file(*place, *id), false)),
            Promise::Dropped(place, id) => Some((file(*place, *id), true)),
            _ => None,
        }
    }
}

fn party(root: &Path) -> Result<PartyRun<crate::FileFolder>> {
    PartyRun::open(&root.join(PLACES[0]), P0, spec(), &[])
}
fn dealer(root: &Path) -> Result<DealerRun<crate::FileFolder>> {
    DealerRun::open(&root.join(PLACES[1]), spec())
}

fn id(attempt: u32, step: u32) -> CheckpointId {
    CheckpointId { attempt, step }
}

/// One attempt of one step and its checkpoint, at both places.
fn attempt(root: &Path, number: u32, from: CheckpointId, promise: &mut dyn FnMut(Promise)) {
    let (mut run, mut deals) = (party(root).unwrap(), dealer(root).unwrap());
    let common = run.common(&run.hello().unwrap()).unwrap();
    assert_eq!(common.id(), from);
    let ask = run.ask(&common);
    let offered = deals.offer([&ask, &ask], KeySetId([number as u8; 16])).unwrap();
    promise(Promise::Attempt(1, number));
    let pending = run.offered(&offered.offer()).unwrap();
    promise(Promise::Attempt(0, number));
    let peer = pending.reserved();
    let mut attempt = pending.agree(&peer).unwrap();
    let mut dealing = offered.credited(&attempt.first_credit()).unwrap();
    let made = id(number, from.step + 1);
    let segment = dealing.begin(SegmentKind::Train).unwrap();
    let frame = dealing.release(segment, Some(&masks(made.step as u8))).unwrap();
    promise(Promise::Saved(1, made));
    let segment = attempt.begin(SegmentKind::Train).unwrap();
    segment.accepts(&frame.frame()).unwrap();
    attempt.deliver(&segment, REVEAL, 9).unwrap();
    promise(Promise::Delivered(number.into()));
    attempt.finish(segment, [number as u8; 32]).unwrap();
    let ours = attempt.checkpoint(&state(made.step as u8)).unwrap();
    promise(Promise::Saved(0, made));
    promise(Promise::Dropping(0, from));
    let peer = ours.mark();
    let (attempt, held) = attempt.hear(ours, &peer).unwrap();
    promise(Promise::Dropped(0, from));
    promise(Promise::Dropping(1, from));
    dealing.held(&held).unwrap();
    promise(Promise::Dropped(1, from));
    if number == 2 {
        assert_eq!(attempt.end().unwrap(), made);
        promise(Promise::Ended);
    }
}

fn live(root: &Path, promise: &mut dyn FnMut(Promise)) {
    PartyRun::create(&root.join(PLACES[0]), P0, &spec(), &[], &state(0)).unwrap();
    promise(Promise::Begun(0));
    DealerRun::create(&root.join(PLACES[1]), &spec(), CheckpointId::START, &masks(0)).unwrap();
    promise(Promise::Begun(1));
    attempt(root, 1, CheckpointId::START, promise);
    attempt(root, 2, id(1, 1), promise);
}

fn exists(result: Result<()>) -> Result<()> {
    result.or_else(|e| if matches!(e, Error::Exists { .. }) { Ok(()) } else { Err(e) })
}

/// A machine finds this after a crash, and goes on.
fn found(root: &Path, told: &[Promise]) -> Found {
    let text = |e: Error| e.to_string();
    for place in 0..2 {
        let began = told.contains(&Promise::Begun(place));
        let again = match place {
            _ if began => Ok(()),
            0 => PartyRun::create(&root.join(PLACES[0]), P0, &spec(), &[], &state(0)),
            _ => DealerRun::create(&root.join(PLACES[1]), &spec(), CheckpointId::START, &masks(0)),
        };
        exists(again).map_err(text)?;
    }
    let (mut run, mut deals) = (party(root).map_err(text)?, dealer(root).map_err(text)?);
    let held = [run.held().iter().map(|mark| mark.id).collect(), deals.held().collect::<Vec<_>>()];
    for promise in told {
        let dropping = |place, id| told.contains(&Promise::Dropping(place, id));
        let kept = match *promise {
            Promise::Begun(_) | Promise::Dropping(..) => true,
            Promise::Attempt(place, number) => [run.highest(), deals.highest()][place] >= number,
            Promise::Saved(place, id) => held[place].contains(&id) || dropping(place, id),
            Promise::Dropped(place, id) => !root.join(file(place, id)).exists(),
            Promise::Delivered(times) => run.delivered(REVEAL) >= times,
            Promise::Ended => run.ended() == Some(id(2, 2)),
        };
        kept.then_some(()).ok_or_else(|| format!("{promise:?}"))?;
    }
    let erasing = told.iter().any(|p| matches!(p, Promise::Dropping(..)));
    if !erasing && run.damaged().len() + deals.damaged().len() > 0 {
        return Err(format!("{:?} {:?}", run.damaged(), deals.damaged()));
    }
    for mark in run.held() {
        let whole = run.state(mark.id).is_ok_and(|found| found == state(mark.id.step as u8));
        whole.then_some(()).ok_or_else(|| format!("the state of {} is another", mark.id))?;
    }
    if run.ended().is_some() {
        return Ok(());
    }
    // The next attempt begins from what is here.
    let common = run.common(&run.hello().map_err(text)?).map_err(text)?;
    let ask = run.ask(&common);
    let offered = deals.offer([&ask, &ask], KeySetId([99; 16])).map_err(text)?;
    let pending = run.offered(&offered.offer()).map_err(text)?;
    let peer = pending.reserved();
    let attempt = pending.agree(&peer).map_err(text)?;
    let _ = offered.credited(&attempt.first_credit()).map_err(text)?;
    let left = [run.held().len(), deals.held().count()];
    if left == [1, 1] { Ok(()) } else { Err(format!("{left:?} checkpoints are left")) }
}

#[test]
fn a_crash_between_any_two_calls_forgets_no_attempt_and_loses_no_checkpoint_and_every_sync_is_needed() {
    Life::record(&PLACES, live).crash(30, found);
}
