//! The model's owner: takes both parties' shares of the trained weights, and joins them.

use super::point::{Point, reached};
use super::wire::{ToOwner, ToService};
use super::{COMPUTING, out_of_step};
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use std::time::{Duration, Instant};
use twoply_nn::Weights;
use twoply_nn::train::roles::{Delivered, join, model_bytes};
use twoply_nn::train::{TrainingPlan, initial};
use twoply_preprocessing::run::CheckpointId;
use twoply_primitives::{Channel, Ring};
use zeroize::Zeroizing;

/// After so long whoever waits says so again, then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(5);

/// Waits for the end of the run, at most `within`, and takes the model. `waits` hears now and then for how long it has waited, and for whom.
/// The parties leave when `save` has it.
///
/// # Errors
/// 6 where the parties speak of different checkpoints; what ends the links.
pub fn fetch<R: Ring>(
    plan: &TrainingPlan,
    parties: &mut Parties,
    within: Duration,
    waits: impl FnMut(Duration, &str),
    save: impl FnOnce(&Weights) -> Result<(), Failure>,
) -> Result<CheckpointId, Failure> {
    take::<R>(plan, parties, (within, waits), save).map_err(|f| f.during(Phase::Output))
}

fn take<R: Ring>(
    plan: &TrainingPlan,
    parties: &mut Parties,
    (within, mut waits): (Duration, impl FnMut(Duration, &str)),
    save: impl FnOnce(&Weights) -> Result<(), Failure>,
) -> Result<CheckpointId, Failure> {
    let (step, digest) = (plan.program()?, plan.digest()?.0);
    parties.both(|l| Ok(l.say(&ToService::Fetch(digest))?))?;
    let (since, mut pause) = (Instant::now(), AGAIN);
    let marks = parties.both(|l| {
        let left = || within.saturating_sub(since.elapsed());
        while !l.waiting(pause.min(left()))? {
            if left().is_zero() {
                return Err(late(within));
            }
            waits(since.elapsed(), l.name());
            pause *= 2;
        }
        l.set_patience(COMPUTING);
        match l.hear()? {
            ToOwner::Model(mark) => Ok(mark),
            _ => Err(out_of_step(l)),
        }
    });
    let [mark, other] = marks.map_err(|f| parties.refusal(f))?;
    if mark != other {
        let what = format!("P0 delivers {}, and P1 {} or another state of it", mark.id, other.id);
        return Err(
            Failure::new(ExitCode::PlanMismatch, what).remedy("see `twoply train status` at both parties")
        );
    }
    let bytes = model_bytes(&step) as usize;
    let shares = parties.both(|l| Ok(Zeroizing::new(l.recv(bytes)?)))?;
    reached(Point::SharesTaken);
    let Delivered { weights: learnt, sums } = join::<R>(&step, [&shares[0], &shares[1]])?;
    let mut weights = step.decode(&learnt, &initial(&plan.graph, plan.seed));
    step.set_statistics(&mut weights, &sums, plan.gathered() as usize);
    save(&weights)?;
    reached(Point::ModelWritten);
    // it is here, whether they hear it or not; each of them, whether the other one is there or not
    let _ = parties.both(|l| {
        let _ = l.say(&ToService::Done);
        Ok(())
    });
    Ok(mark.id)
}

fn late(within: Duration) -> Failure {
    let what = format!("the run has not ended within {} s", within.as_secs());
    Failure::new(ExitCode::Unreachable, what)
        .remedy("see at parties and dealer how far it is, and fetch again; --wait SECONDS waits longer")
}
