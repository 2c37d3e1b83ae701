//! The disk that a run takes at parties and dealer, to the byte: lengths of files, as the formats of rows, checkpoints, ledgers and
//! figures fix them. Keys of steps are streamed and never stored.

use super::super::run::AHEAD;
use crate::deal::SET_KEY;
use crate::exit::Failure;
use serde::Serialize;
use twoply_nn::train::TrainingPlan;
use twoply_nn::train::roles::figure_bytes;
use twoply_preprocessing::rows::SALT;
use twoply_primitives::KeySetId;

/// A record of a ledger.
const RECORD: u64 = 64;
/// What a checkpoint's file has beside the state: header and digests.
const CHECKPOINT: u64 = 168 + 64;
/// What a figure's file has beside the share: header and digest.
const FIGURE: u64 = 12 + 32;

/// What a party notes of whose a data key set is: a fingerprint.
const OWNER: u64 = 51;

/// Bytes of the files of one role, in its folder of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Disk {
    /// Masked rows, and the files of data key sets; at the dealer these files alone, of both halves.
    pub rows: u64,
    /// One checkpoint; at the dealer its masks.
    pub checkpoint: u64,
    /// Checkpoints that there may be at once, one that is being written too.
    pub checkpoints: u64,
    /// Ledgers of run and data key sets, at the end of a run whose model was fetched once.
    pub ledgers: u64,
    /// Shares of the figures that the plan reveals.
    pub figures: u64,
    /// What a run without restarts leaves, with one checkpoint.
    pub left: u64,
    /// The most at once.
    pub most: u64,
}

/// Of either party, and of the dealer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Disks {
    pub party: Disk,
    pub dealer: Disk,
}

impl Disk {
    fn new(rows: u64, (checkpoint, checkpoints): (u64, u64), records: u64, figures: u64) -> Disk {
        let ledgers = records * RECORD;
        let left = rows + checkpoint + ledgers + figures;
        let most = left + (checkpoints - 1) * checkpoint;
        Disk { rows, checkpoint, checkpoints, ledgers, figures, left, most }
    }
}

/// What a run takes.
///
/// # Errors
/// Those of the graph.
pub(super) fn disks(plan: &TrainingPlan) -> Result<Disks, Failure> {
    let (step, schedule) = (plan.program()?, plan.checkpoints());
    let (shares, page) = (plan.shares.len() as u64, SET_KEY as u64);
    let (mut rows, mut bound) = (0, 0);
    for share in 0..plan.shares.len() {
        let spec = plan.data_spec(share, KeySetId([0; 16]))?;
        let chunks = u64::from(spec.cut.segments());
        rows += page + OWNER + chunks * SALT as u64 + spec.cut.images() * spec.row_bytes;
        // opened; each chunk bound and stored; whole
        bound += 1 + 2 * chunks + 1;
    }
    let (mut figures, mut delivered) = (0, 0);
    for reveal in &plan.reveals {
        let times = reveal.count(plan.steps());
        figures += times * (FIGURE + figure_bytes(&step, reveal.figure)?);
        delivered += times;
    }
    let checkpoint = CHECKPOINT + 2 * step.lengths()?.total();
    let saves = u64::from(schedule.steps.div_ceil(schedule.every.max(1)));
    // the run, its data, an attempt, the end; at a party the start's checkpoint, the others, and the model's owner
    let run = 1 + shares + 1 + 1;
    let party = bound + run + 1 + saves + delivered + 1;
    // masks stay until both parties hold what they are for, and he may be some steps ahead of them
    let ahead = (AHEAD + 2).div_ceil(schedule.every.max(1));
    Ok(Disks {
        party: Disk::new(rows, (checkpoint, 1 + saves.min(1)), party, figures),
        dealer: Disk::new(2 * shares * page, (checkpoint, 1 + saves.min(ahead.into())), 2 * shares + run, 0),
    })
}
