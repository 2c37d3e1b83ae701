//! The model owner opens its weights: keys of the mask shares out, digest bound durably, masked weights in.

use super::state::Party;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{Existing, write_private};
use crate::jobs::{Provision, WeightGrant};
use crate::transport::Link;
use twoply_nn::roles;
use twoply_primitives::{Backend, Channel};

/// Serves one provisioning. The weight mask is bound to a digest before the owner lets `w^` leave; another digest under
/// the same mask is refused for good.
pub fn take<B: Backend>(party: &Party<B>, link: &mut Link) -> Result<(), Failure> {
    exchange(party, link).map_err(|f| Failure::on_link(f, link).during(Phase::Provision))
}

fn exchange<B: Backend>(party: &Party<B>, link: &mut Link) -> Result<(), Failure> {
    let set = party.set.id();
    link.send_message(&WeightGrant { key_set: set })?;
    let keys = roles::weight_keys(&party.program, set, party.set.weight_seed());
    link.send(keys.as_flattened())?;
    let Provision::Bind(digest) = link.recv_message()? else {
        return Err(Failure::new(ExitCode::PlanMismatch, "the model owner is out of step"));
    };
    party.book().ledger.bind_weights(digest)?;
    link.send_message(&Provision::Bound)?;
    let packed = link.recv(roles::masked_weights_len(&party.program))?;
    if *blake3::hash(&packed).as_bytes() != digest {
        return Err(Failure::new(ExitCode::KeysSpent, "masked weights that are not the ones bound"));
    }
    write_private(&party.set.weights_path(), &packed, Existing::Replace)?;
    party.set_weights(&packed)?;
    link.send_message(&Provision::Stored)?;
    Ok(())
}
