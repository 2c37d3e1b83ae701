//! Named points of a training run's work, at each of which a test lets a process end as `kill -9` ends it, or be wrong.
//!
//! Builds with debug assertions read two variables, others have no code for them:
//!
//! ```text
//! TWOPLY_TEST_DIE=POINT:N      this process ends the N-th time that it comes to a point
//! TWOPLY_TEST_WRONG=N          its N-th checkpoint has a weight of which one bit is another
//! ```

use crate::transport::Link;
use std::borrow::BorrowMut;
use twoply_preprocessing::run::Snapshot;
use twoply_primitives::{Channel, Result};

/// Where a process may end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// A party has bound a chunk of an owner's rows, and has not said so.
    ChunkBound,
    /// A party has stored a chunk, and has not said so.
    ChunkStored,
    /// A run has its ledger and its first state, at a party or at the dealer.
    RunBegun,
    /// The dealer has called a party.
    PartyCalled,
    /// An attempt is in this process's ledger, and nobody has heard of it.
    AttemptRecorded,
    /// A party has heard that the other one has recorded the same attempt.
    AttemptAgreed,
    /// The dealer has offered an attempt to both parties.
    OfferSaid,
    /// A segment is taken, of which nothing was used or made.
    SegmentTaken,
    /// A message of a step has left: a party's masked values, or a dealer's keys.
    InStep,
    /// The dealer has written the masks of a checkpoint, and no key of the step before has left.
    MasksSaved,
    /// A party has written a checkpoint and its record, and has said nothing.
    CheckpointSaved,
    /// A party has said CHECKPOINT, and has not heard the other one's.
    CheckpointSaid,
    /// A party has heard that both hold the checkpoint, and has dropped older ones.
    CheckpointAgreed,
    /// A party has said HELD.
    HeldSaid,
    /// The dealer has heard HELD, and has dropped older masks.
    HeldHeard,
    /// The dealer has heard a party's word of the end.
    EndHeard,
    /// The run's end is in this process's ledger.
    EndRecorded,
    /// A party has told the dealer of the end.
    EndSaid,
    /// A party's shares of the model have left, and the owner has not said that it has them.
    SharesSent,
    /// The owner of a share has written down what it masked, and has said nothing of it.
    ChunkMasked,
    /// An owner has heard that both parties are bound to a chunk, and not one byte of it has left.
    ChunkCleared,
    /// A chunk has left for both parties.
    ChunkSent,
    /// An owner has recorded that both parties have stored a chunk.
    ChunkKept,
    /// The model's owner has both parties' shares, and no file.
    SharesTaken,
    /// The model's owner has the model, and has not said so.
    ModelWritten,
}

impl Point {
    /// All of them.
    pub const ALL: [Point; 25] = [
        Point::ChunkBound,
        Point::ChunkStored,
        Point::RunBegun,
        Point::PartyCalled,
        Point::AttemptRecorded,
        Point::AttemptAgreed,
        Point::OfferSaid,
        Point::SegmentTaken,
        Point::InStep,
        Point::MasksSaved,
        Point::CheckpointSaved,
        Point::CheckpointSaid,
        Point::CheckpointAgreed,
        Point::HeldSaid,
        Point::HeldHeard,
        Point::EndHeard,
        Point::EndRecorded,
        Point::EndSaid,
        Point::SharesSent,
        Point::ChunkMasked,
        Point::ChunkCleared,
        Point::ChunkSent,
        Point::ChunkKept,
        Point::SharesTaken,
        Point::ModelWritten,
    ];
}

/// This process has come to a point.
#[inline]
pub(super) fn reached(point: Point) {
    #[cfg(debug_assertions)]
    planted::reached(point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// The state of a checkpoint, as it is.
#[inline]
pub(super) fn state(state: Snapshot) -> Snapshot {
    #[cfg(debug_assertions)]
    let state = planted::state(state);
    state
}

/// A link that comes to [`Point::InStep`] behind every message that leaves.
pub(super) struct Passing<L>(pub L);

impl<L: BorrowMut<Link> + Send> Channel for Passing<L> {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let link: &mut Link = self.0.borrow_mut();
        link.send(bytes)?;
        reached(Point::InStep);
        Ok(())
    }
    fn recv(&mut self, len: usize) -> Result<Vec<u8>> {
        let link: &mut Link = self.0.borrow_mut();
        link.recv(len)
    }
}

#[cfg(debug_assertions)]
mod planted {
    use super::super::TICK;
    use super::{Point, Snapshot};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Where to end, and how often this process comes there before.
    static DIE: LazyLock<Option<(Point, AtomicU32)>> = LazyLock::new(|| {
        let named = std::env::var("TWOPLY_TEST_DIE").ok()?;
        let (name, times) = named.split_once(':')?;
        let point = Point::ALL.into_iter().find(|point| format!("{point:?}") == name)?;
        Some((point, times.parse::<u32>().ok()?.into()))
    });

    /// Checkpoints up to the one that is wrong.
    static WRONG: LazyLock<Option<AtomicU32>> =
        LazyLock::new(|| Some(std::env::var("TWOPLY_TEST_WRONG").ok()?.parse::<u32>().ok()?.into()));

    fn now(left: &AtomicU32) -> bool {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1)
    }

    pub(super) fn reached(point: Point) {
        match &*DIE {
            Some((at, left)) if *at == point && now(left) => die(point),
            _ => {}
        }
    }

    fn die(point: Point) -> ! {
        // what was said is on its way, and not in this process any more
        if format!("{point:?}").ends_with("Said") || matches!(point, Point::SharesSent | Point::ChunkSent) {
            std::thread::sleep(TICK);
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    pub(super) fn state(mut state: Snapshot) -> Snapshot {
        if let (Some(left), Some(weight)) = (&*WRONG, state.weights.first_mut())
            && now(left)
        {
            *weight ^= 1;
        }
        state
    }
}
