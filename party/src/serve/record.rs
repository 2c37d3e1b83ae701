//! What a party said in control messages, from the hello that was agreed on, kept for tests of what they tell.

use crate::messages::Message;
use std::sync::{Arc, Mutex, PoisonError};

/// Who was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearer {
    /// The other party.
    Peer,
    /// A data owner, a model owner or a probe.
    Owner,
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
        let bytes = postcard::to_stdvec(message).unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Said { to, name: M::NAME, bytes });
    }
    /// All so far.
    pub fn said(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
