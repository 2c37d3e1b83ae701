//! The model owner: opens its weights under the parties' weight masks, one for each key set.

use crate::client::{Parties, TURN};
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{Provision, Request, WeightSets};
use crate::seen::bind_weights;
use std::path::Path;
use twoply_nn::{Plan, Program, Weights, roles};
use twoply_primitives::{Channel, KeySetId, Ring};

/// What a provisioning did.
#[derive(Clone, Debug, Default)]
pub struct Provisioned {
    /// Key sets that both parties hold the weights of.
    pub key_sets: Vec<KeySetId>,
    /// Key sets that only one party has, and which one.
    pub alone: Vec<(KeySetId, usize)>,
}

/// Opens the weights of every key set that both parties have: keys from both, digest bound by both and here before the
/// masked weights leave. What a party holds already is not sent again. `done` hears each key set.
///
/// # Errors
/// 8 if they have none in common; 9 if a mask is bound to other weights; what ends the links.
pub fn provision<R: Ring>(
    (plan, weights): (&Plan, &Weights),
    parties: &mut Parties,
    record: &Path,
    mut done: impl FnMut(KeySetId),
) -> Result<Provisioned, Failure> {
    let during = |f: Failure| f.during(Phase::Provision);
    let (program, digest) = (plan.program()?, plan.digest()?);
    parties.both(|l| Ok(l.say(&Request::Provision(digest.0))?)).map_err(during)?;
    let sets = parties.both(|l| Ok(l.hear::<WeightSets>()?.key_sets));
    let [a, b] = sets.map_err(|f| during(parties.refusal(f)))?;
    let only = |mine: &[KeySetId], theirs: &[KeySetId], at: usize| {
        mine.iter().filter(|id| !theirs.contains(id)).map(|id| (*id, at)).collect::<Vec<_>>()
    };
    let alone = [only(&a, &b, 0), only(&b, &a, 1)].concat();
    let key_sets: Vec<KeySetId> = a.into_iter().filter(|id| b.contains(id)).collect();
    if key_sets.is_empty() {
        let what = "the two parties have no key set in common that is not spent";
        return Err(during(
            Failure::new(ExitCode::KeysMissing, what)
                .remedy("put the two halves of one deal into the parties' key folders"),
        ));
    }
    for set in &key_sets {
        one::<R>((&program, weights), parties, record, *set).map_err(during)?;
        done(*set);
    }
    Ok(Provisioned { key_sets, alone })
}

fn one<R: Ring>(
    (program, weights): (&Program, &Weights),
    parties: &mut Parties,
    record: &Path,
    set: KeySetId,
) -> Result<(), Failure> {
    parties.both(|l| Ok(l.say(&Provision::Open(set))?))?;
    let params = program.params().len();
    let keys = parties.both(|l| Ok(l.recv(16 * params)?)).map_err(|f| parties.refusal(f))?;
    let keys = keys.map(|k| k.as_chunks::<16>().0.to_vec());
    let packed = roles::mask_weights::<R>(program, weights, [&keys[0], &keys[1]])?;
    let bound = *blake3::hash(&packed).as_bytes();
    bind_weights(record, set, &bound)?;
    parties.both(|l| Ok(l.say(&Provision::Bind(bound))?))?;
    let answers = parties.both(|l| Ok(l.hear::<Provision>()?)).map_err(|f| parties.refusal(f))?;
    let mut wants = answers.iter().map(|a| *a == Provision::Bound).collect::<Vec<_>>().into_iter();
    parties.both(|l| match wants.next() {
        Some(true) => Ok(l.send(&packed)?),
        _ => Ok(()),
    })?;
    let mut answers = answers.into_iter();
    let stored = parties.both(|l| match answers.next() {
        Some(Provision::Bound) => {
            l.set_patience(TURN); // all of it has to get there first
            Ok(l.hear::<Provision>()?)
        }
        said => Ok(said.unwrap_or(Provision::Bound)),
    })?;
    match stored == [Provision::Stored; 2] {
        true => Ok(()),
        false => Err(Failure::new(ExitCode::PlanMismatch, "a party is out of step")),
    }
}
