//! The model owner: opens its weights under the parties' weight mask.

use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::jobs::{Provision, Request, WeightGrant};
use crate::seen::bind_weights;
use std::path::Path;
use twoply_nn::{Plan, Weights, roles};
use twoply_primitives::{Channel, KeySetId, Ring};

/// Opens the weights to both parties: keys from both, digest bound here and there before the masked weights leave.
/// Returns the key set they are for.
pub fn provision<R: Ring>(
    plan: &Plan,
    weights: &Weights,
    parties: &mut Parties,
    record: &Path,
) -> Result<KeySetId, Failure> {
    let during = |f: Failure| f.during(Phase::Provision);
    let (program, digest) = (plan.program()?, plan.digest()?);
    let params = program.params().len();
    parties.both(|l| Ok(l.send_message(&Request::Provision(digest.0))?)).map_err(during)?;
    let grants = parties.both(|l| Ok(l.recv_message::<WeightGrant>()?));
    let grants = grants.map_err(|f| during(parties.refusal(f)))?;
    if grants[0] != grants[1] {
        let text =
            format!("the parties use different key sets: {} and {}", grants[0].key_set, grants[1].key_set);
        return Err(during(Failure::new(ExitCode::PlanMismatch, text)));
    }
    let keys = parties.both(|l| Ok(l.recv(16 * params)?)).map_err(during)?;
    let keys = keys.map(|k| k.as_chunks::<16>().0.to_vec());
    let packed = roles::mask_weights::<R>(&program, weights, [&keys[0], &keys[1]])?;
    let bound = *blake3::hash(&packed).as_bytes();
    bind_weights(record, grants[0].key_set, &bound).map_err(during)?;
    parties.both(|l| Ok(l.send_message(&Provision::Bind(bound))?)).map_err(during)?;
    hear(parties, Provision::Bound).map_err(|f| during(parties.refusal(f)))?;
    parties.both(|l| Ok(l.send(&packed)?)).map_err(during)?;
    hear(parties, Provision::Stored).map_err(during)?;
    Ok(grants[0].key_set)
}

/// Both parties must say this next.
fn hear(parties: &mut Parties, wanted: Provision) -> Result<(), Failure> {
    match parties.both(|l| Ok(l.recv_message::<Provision>()?))? == [wanted; 2] {
        true => Ok(()),
        false => Err(Failure::new(ExitCode::PlanMismatch, "a party is out of step")),
    }
}
