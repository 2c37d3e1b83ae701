//! The segments of an attempt: numbered in order, each number given out once.

use super::{CheckpointId, Frame, Schedule};
use crate::{Error, Result};
use twoply_primitives::KeySetId;

/// What a segment computes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SegmentKind {
    /// One training step.
    Train,
    /// One training step's ranges, with the audit's gates inside.
    Audit,
    /// One batch of an evaluation.
    Evaluate,
}

/// The right to run one segment, once: its masks and words are addressed by its frame. Not `Clone`.
#[must_use = "the segment's number is given out"]
#[derive(Debug)]
pub struct Segment {
    pub(super) frame: Frame,
    /// The step that it makes, if it trains.
    pub(super) makes: Option<u32>,
}

impl Segment {
    /// What frames of this segment say, and the address of its masks and words.
    pub fn frame(&self) -> Frame {
        self.frame
    }
    /// Refuses a frame of another attempt or segment.
    pub fn accepts(&self, frame: &Frame) -> Result<()> {
        let Frame { set, segment } = self.frame;
        match *frame == self.frame {
            true => Ok(()),
            false => Err(Error::OtherFrame { set, segment, found: frame.set, number: frame.segment }),
        }
    }
}

/// The right to send the keys of one segment, once: all that must be durable before is. Not `Clone`:
///
/// ```compile_fail,E0382
/// use twoply_preprocessing::run::Released;
/// use twoply_preprocessing::{StepLayout, StreamWriter};
/// fn twice(writer: &mut StreamWriter, layout: &StepLayout, released: Released) {
///     writer.step(released, layout).unwrap().finish().unwrap();
///     writer.step(released, layout).unwrap();
/// }
/// ```
#[must_use = "the segment's number is given out"]
#[derive(PartialEq, Eq, Debug)]
pub struct Released {
    pub(super) frame: Frame,
}

impl Released {
    /// What frames of this segment say.
    pub fn frame(&self) -> Frame {
        self.frame
    }
}

/// Which segment is next.
pub(super) struct Segments {
    set: KeySetId,
    schedule: Schedule,
    next: u32,
    /// Training steps made by the segments that are done, and before them.
    step: u32,
    open: bool,
}

impl Segments {
    pub fn new(set: KeySetId, from: CheckpointId, schedule: Schedule) -> Segments {
        Segments { set, schedule, next: 0, step: from.step, open: false }
    }

    /// Training steps that are made, before this attempt too.
    pub fn step(&self) -> u32 {
        self.step
    }

    pub fn begin(&mut self, kind: SegmentKind) -> Result<Segment> {
        if self.open {
            return Err(Error::Sequence { wanted: "the end of the segment before" });
        }
        let makes = (kind == SegmentKind::Train).then(|| self.step.saturating_add(1));
        if makes.is_some_and(|step| step > self.schedule.steps) {
            return Err(Error::UsedUp { what: "training steps of this run", remedy: "end it" });
        }
        let frame = Frame { set: self.set, segment: self.next };
        let used_up = Error::UsedUp { what: "segments of this attempt", remedy: "begin another attempt" };
        self.next = self.next.checked_add(1).ok_or(used_up)?;
        self.open = true;
        Ok(Segment { frame, makes })
    }

    /// The step whose state is a checkpoint and which this segment makes, if there is one.
    pub fn saves(&self, segment: &Segment) -> Result<Option<u32>> {
        if !self.open || segment.frame != (Frame { set: self.set, segment: self.next - 1 }) {
            return Err(Error::Sequence { wanted: "the segment that was begun last" });
        }
        Ok(segment.makes.filter(|step| self.schedule.saves(*step)))
    }

    /// Ends a segment; the step that is due to be saved after it.
    pub fn end(&mut self, segment: Segment) -> Result<Option<u32>> {
        let due = self.saves(&segment)?;
        self.step = segment.makes.unwrap_or(self.step);
        self.open = false;
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_used_up_before_a_number_comes_twice() {
        let schedule = Schedule { steps: 1, every: 1 };
        let mut all = Segments::new(KeySetId([1; 16]), CheckpointId::START, schedule);
        all.next = u32::MAX - 1;
        let last = all.begin(SegmentKind::Evaluate).unwrap();
        all.end(last).unwrap();
        for _ in 0..2 {
            let e = all.begin(SegmentKind::Evaluate).unwrap_err().to_string();
            assert_eq!(e, "segments of this attempt are used up: begin another attempt");
        }
    }
}
