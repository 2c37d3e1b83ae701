//! The memory that a run takes, by estimate: what a role holds by the plan, each part times a factor that was measured.
//!
//! The factors are from peaks of real processes, dealer and parties of AriaNN's networks for MNIST at batch 128 on two cores; README's table
//! of training has those of another machine.

use super::super::run::AHEAD;
use crate::exit::Failure;
use crate::train::MOST_AHEAD;
use serde::Serialize;
use twoply_nn::train::TrainingPlan;
use twoply_preprocessing::StepLayout;
use twoply_primitives::{KeySetId, PartyId};

/// What a party needs beside all of this: code, stacks, buffers of links.
const BASE: u64 = 70 << 20;
/// The same of the dealer, whom nobody calls.
const DEALER: u64 = 66 << 20;

/// Peaks of anonymous memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    pub dealer: u64,
    pub parties: [u64; 2],
}

/// Estimates the peaks of all three, with parties that let the dealer be as far ahead as they do by default.
///
/// # Errors
/// What a gate refuses.
pub(super) fn memory(plan: &TrainingPlan) -> Result<Memory, Failure> {
    let (step, word) = (plan.program()?, u64::from(plan.recipe.n / 8));
    let results: u64 = step.planned()?.gates.iter().map(|g| g.output.len() as u64 * word).sum();
    let state = 2 * step.lengths()?.total();
    let mut rows = 0;
    for share in 0..plan.shares.len() {
        let spec = plan.data_spec(share, KeySetId([0; 16]))?;
        rows += spec.cut.images() * spec.row_bytes;
    }
    let mut layouts = vec![];
    for program in plan.schedule()?.programs() {
        layouts.push(StepLayout::new(&program.layout()?)?);
    }
    for reveal in &plan.reveals {
        layouts.push(StepLayout::new(&step.figure_layout(reveal.figure)?)?);
    }
    let keys = PartyId::BOTH.map(|party| layouts.iter().map(|l| l.bytes(party)).max().unwrap_or(0));
    let ahead = keys.map(|bytes| bytes.saturating_mul(AHEAD.into()).min(MOST_AHEAD));
    let party = |ahead: u64| BASE + state + rows * 9 / 8 + results * 16 / 5 + ahead * 6 / 5;
    // keys of the step before a checkpoint wait for its masks
    let dealer = DEALER + state + results * 2 + keys[0] + keys[1];
    Ok(Memory { dealer, parties: ahead.map(party) })
}
