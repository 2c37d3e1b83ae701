//! What a process said in control messages, kept for tests of what they tell.

use crate::messages::Message;
use crate::transport::{Link, Role};
use std::sync::{Arc, Mutex, PoisonError};

/// Who was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearer {
    /// By a party: the other one.
    Peer,
    /// By a dealer: P0 or P1, by number.
    Party(usize),
    /// The dealer.
    Dealer,
    /// A data owner, a model owner or a probe.
    Owner,
}

impl Hearer {
    /// Of a process in this role, told by one that is no party, or by a party that it called.
    pub(crate) fn of(role: Role) -> Hearer {
        match role {
            Role::P0 => Hearer::Party(0),
            Role::P1 => Hearer::Party(1),
            Role::Dealer => Hearer::Dealer,
            _ => Hearer::Owner,
        }
    }
}

/// A control message as it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// To whom.
    pub to: Hearer,
    /// Its kind: [`Message::NAME`].
    pub name: &'static str,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// All that was said, in order. Clones keep the same.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Vec<Said>>>);

impl Record {
    /// Keeps a message.
    pub fn keep<M: Message>(&self, to: Hearer, message: &M) {
        self.put(to, M::NAME, postcard::to_stdvec(message).unwrap_or_default());
    }
    /// Keeps all that is said over a link from now on.
    pub(crate) fn tap(&self, link: &mut Link, to: Hearer) {
        let kept = self.clone();
        link.tapped_by(Box::new(move |name, bytes| kept.put(to, name, bytes.to_vec())));
    }
    fn put(&self, to: Hearer, name: &'static str, bytes: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Said { to, name, bytes });
    }
    /// All so far.
    pub fn said(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
