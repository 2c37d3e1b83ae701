//! The model owner opens its weights, key set by key set: keys of the mask shares out, digest bound durably by both
//! parties to the same, masked weights in.

use super::TICK;
use super::state::Party;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{Existing, write_private};
use crate::jobs::{Follow, MOST_SETS, Provision, WeightSets};
use crate::transport::{Detail, Error, Label, Link};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twoply_nn::roles;
use twoply_primitives::{Backend, Channel, KeySetId};

/// How long the other party may take to hear the same from the model owner.
const SAME: Duration = Duration::from_secs(30);

/// Pause before the other party is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Serves one provisioning: as many key sets as the owner opens. How many it bound.
pub fn take<B: Backend>(party: &Party<B>, link: &mut Link, over: &AtomicBool) -> Result<usize, Failure> {
    exchange(party, link, over).map_err(|f| Failure::on_link(f, link).during(Phase::Provision))
}

fn exchange<B: Backend>(party: &Party<B>, link: &mut Link, over: &AtomicBool) -> Result<usize, Failure> {
    party.stocks.look(party.say())?; // what was dealt a moment ago
    let mut key_sets = party.stocks.provisionable();
    key_sets.truncate(MOST_SETS);
    party.tell_owner(link, &WeightSets { key_sets })?;
    let mut sets = 0;
    loop {
        match link.hear() {
            Ok(Provision::Open(set)) => one(party, link, set, over)?,
            Ok(_) => return Err(Failure::new(ExitCode::PlanMismatch, "the model owner is out of step")),
            // that was all
            Err(Error::Closed { .. }) => return Ok(sets),
            Err(e) => return Err(e.into()),
        }
        sets += 1;
    }
}

/// One key set. The weight mask is bound to a digest before the owner lets `w^` leave; another digest under the same mask is
/// refused for good.
fn one<B: Backend>(
    party: &Party<B>,
    link: &mut Link,
    id: KeySetId,
    over: &AtomicBool,
) -> Result<(), Failure> {
    let gone = || Failure::new(ExitCode::KeysMissing, format!("key set {id} is not here"));
    let stock = party.stocks.get(id).ok_or_else(gone)?;
    if let Some(trained) = stock.set.trained() {
        let text = format!("key set {id} is for the weights of {trained}: nobody provisions them");
        return Err(Failure::new(ExitCode::KeysSpent, text).remedy("provision other key sets"));
    }
    party.dev.health()?; // weights are taken by a party that can compute with them
    let keys = roles::weight_keys(&party.program, id, stock.set.weight_seed());
    link.send(keys.as_flattened())?;
    let Provision::Bind(digest) = link.hear()? else {
        return Err(Failure::new(ExitCode::PlanMismatch, "the model owner is out of step"));
    };
    if stock.tally().weights.is_some_and(|bound| bound != digest) {
        stock.bind(digest)?; // says that it is bound to others
    }
    if stock.weights_digest() != Some(digest) {
        // P0 asks even if it is bound: P1's folder may be an older copy. P1 that is bound is ready without being asked.
        if party.me.is_p0() || stock.tally().weights != Some(digest) {
            let wanted = || link.is_alive() && !over.load(Ordering::SeqCst);
            let missing = |f: Failure| match f.code() {
                ExitCode::Unreachable => {
                    f.with_detail(Detail::Item(Label::new(&party.me.peer().to_string())))
                }
                _ => f,
            };
            let busy = || party.larder.is_serving();
            party.binds.agree((id, digest), &wanted, &busy).map_err(missing)?;
        }
        let len = roles::masked_weights_len(&party.program);
        link.admit(len);
        party.tell_owner(link, &Provision::Bound)?;
        let packed = link.recv(len)?;
        link.restrict();
        if *blake3::hash(&packed).as_bytes() != digest {
            return Err(Failure::new(ExitCode::KeysSpent, "masked weights that are not the ones bound"));
        }
        write_private(&stock.set.weights_path(), &packed, Existing::Replace)?;
        stock.provisioned(digest);
        party.larder.wake();
    }
    Ok(party.tell_owner(link, &Provision::Stored)?)
}

/// What model owners want to bind, until the other party's has said the same.
#[derive(Default)]
pub struct Binds {
    all: Mutex<HashMap<KeySetId, Bind>>,
    bell: Condvar,
}

struct Bind {
    digest: [u8; 32],
    /// When the other party is asked next.
    next: Instant,
    outcome: Option<Result<(), Failure>>,
}

impl Binds {
    fn all(&self) -> MutexGuard<'_, HashMap<KeySetId, Bind>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until both parties have bound the mask of a key set to this digest, as long as that is `wanted`. While this
    /// party is `busy` with a run, nobody is asked, and no time goes by.
    ///
    /// # Errors
    /// 4 when the other party does not hear the same in time, 6 when it hears something else, 9 when it is bound already.
    fn agree(
        &self,
        (set, digest): (KeySetId, [u8; 32]),
        wanted: &dyn Fn() -> bool,
        busy: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let mut all = self.all();
        if all.contains_key(&set) {
            let text = format!("another model owner provisions key set {set} at this moment");
            return Err(Failure::new(ExitCode::KeysSpent, text).remedy("wait until it is done"));
        }
        all.insert(set, Bind { digest, next: Instant::now(), outcome: None });
        let mut until = Instant::now() + SAME;
        loop {
            if let Some(outcome) = all.get_mut(&set).and_then(|b| b.outcome.take()) {
                all.remove(&set);
                return outcome;
            }
            let ended = !wanted();
            if ended || Instant::now() >= until {
                all.remove(&set);
                let text = match ended {
                    true => "it ended before the other party had heard of the same weights",
                    false => {
                        "the other party has not heard of the same weights, or is not connected to this one"
                    }
                };
                return Err(Failure::new(ExitCode::Unreachable, text)
                    .remedy("see that both parties run and reach each other, and provision both again"));
            }
            let before = Instant::now();
            all = self.bell.wait_timeout(all, TICK).unwrap_or_else(PoisonError::into_inner).0;
            if busy() {
                until += before.elapsed();
            }
        }
    }

    /// P0: what P1 is to be asked about now.
    pub fn next(&self) -> Option<(KeySetId, [u8; 32])> {
        let due = |b: &Bind| b.outcome.is_none() && b.next <= Instant::now();
        self.all().iter().find(|(_, b)| due(b)).map(|(set, b)| (*set, b.digest))
    }
    /// P0: P1 has not heard of it yet.
    pub fn later(&self, set: KeySetId) {
        if let Some(bind) = self.all().get_mut(&set) {
            bind.next = Instant::now() + AGAIN;
        }
    }
    /// P0: what came of it.
    pub fn settle(&self, set: KeySetId, digest: [u8; 32], outcome: Result<(), Failure>) {
        if let Some(bind) = self.all().get_mut(&set).filter(|b| b.digest == digest) {
            bind.outcome = Some(outcome);
        }
        self.bell.notify_all();
    }
    /// P1: binds what its own model owner named too, and says what came of it. Nothing is bound unless both named the same.
    pub fn answer(
        &self,
        set: KeySetId,
        digest: [u8; 32],
        bind: impl FnOnce([u8; 32]) -> Result<(), Failure>,
    ) -> Follow {
        let mut all = self.all();
        let Some(mine) = all.get_mut(&set).filter(|b| b.outcome.is_none()) else { return Follow::NotYet };
        let outcome = match mine.digest == digest {
            true => bind(digest),
            false => {
                let text = "the model owner sent the two parties different masked weights";
                Err(Failure::new(ExitCode::PlanMismatch, text).remedy("provision again"))
            }
        };
        let answer = match &outcome {
            Ok(()) => Follow::Ready,
            Err(failure) => Follow::Refused(failure.code().into()),
        };
        mine.outcome = Some(outcome);
        self.bell.notify_all();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: KeySetId = KeySetId([7; 16]);

    /// P0's and P1's owners' words, in either order; what each party bound.
    fn play(words: [[u8; 32]; 2]) -> ([bool; 2], [bool; 2]) {
        let (p0, p1) = (Binds::default(), Binds::default());
        std::thread::scope(|scope| {
            let heard = [(&p0, words[0]), (&p1, words[1])].map(|(binds, word)| {
                scope.spawn(move || binds.agree((SET, word), &|| true, &|| false).is_ok())
            });
            let mut bound = [false, false];
            loop {
                let Some((set, digest)) = p0.next() else { continue };
                match p1.answer(set, digest, |_| {
                    bound[1] = true;
                    Ok(())
                }) {
                    Follow::Ready => {
                        bound[0] = true;
                        p0.settle(set, digest, Ok(()));
                        break;
                    }
                    Follow::NotYet => p0.later(set),
                    _ => {
                        p0.settle(set, digest, Err(Failure::new(ExitCode::PlanMismatch, "differs")));
                        break;
                    }
                }
            }
            (bound, heard.map(|h| h.join().unwrap()))
        })
    }

    #[test]
    fn repro_neither_party_binds_unless_both_heard_the_same() {
        assert_eq!(play([[1; 32], [1; 32]]), ([true; 2], [true; 2]));
        assert_eq!(play([[1; 32], [2; 32]]), ([false; 2], [false; 2]));
    }

    #[test]
    fn two_owners_do_not_provision_one_key_set_at_once() {
        let binds = Binds::default();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| binds.agree((SET, [1; 32]), &|| true, &|| false));
            while binds.next().is_none() {
                std::thread::yield_now();
            }
            assert!(binds.agree((SET, [1; 32]), &|| true, &|| false).is_err());
            binds.settle(SET, [1; 32], Ok(()));
            first.join().unwrap().unwrap();
        });
    }
}
