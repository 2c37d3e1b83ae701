//! What two parties, their dealer and the links between them are at one moment.

use super::actors::{DealerEvent, PartyEvent, Past};
use crate::memory::Disk;
use std::collections::BTreeSet;
use std::rc::Rc;
use twoply_preprocessing::run::*;
use twoply_primitives::KeySetId;

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    Offer(Offer),
    Key(Frame),
    Reserved(Reserved),
    Open(Frame),
    Saved(Mark),
}

/// A durable part, and an attempt: the disk it began with and what happened since, from which the real one is made again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Actor<E> {
    pub disk: Rc<Disk>,
    pub attempt: Option<Past<E>>,
}

impl<E: Clone> Actor<E> {
    pub fn new(disk: Disk) -> Self {
        Actor { disk: Rc::new(disk), attempt: None }
    }
    /// The attempt with one more event.
    pub fn with(&self, event: E) -> Past<E> {
        let (start, mut events) = self.attempt.clone().unwrap_or_else(|| (self.disk.clone(), vec![]));
        events.push(event);
        (start, events)
    }
    pub fn after(&self, event: E, disk: &Disk) -> Self {
        Actor { disk: Rc::new(disk.clone()), attempt: Some(self.with(event)) }
    }
}

/// An address of a mask, and the integer under it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Spent {
    pub set: [u8; 16],
    pub place: u32,
    /// Whether it trains, the attempts that made the weights, and the one that runs.
    pub integer: (bool, Vec<u8>, u32),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub parties: [Actor<PartyEvent>; 2],
    pub dealer: Actor<DealerEvent>,
    /// P0 to P1, P1 to P0, the dealer to P0 and to P1.
    pub links: [Vec<Message>; 4],
    pub spent: BTreeSet<Spent>,
    pub crashes: u8,
}

/// Links out of P0, P1 and the dealer, and into them.
pub const OUT: [&[usize]; 3] = [&[0], &[1], &[2, 3]];
pub const IN: [&[usize]; 3] = [&[1, 2], &[0, 3], &[]];
pub const DEALER: usize = 2;

impl World {
    /// `who` leaves its attempt; a crash leaves it with this disk.
    pub fn leave(&mut self, who: usize, disk: Option<Disk>) {
        IN[who].iter().for_each(|link| self.links[*link].clear());
        let disk = disk.map(Rc::new);
        match who {
            DEALER => self.dealer = Actor { disk: disk.unwrap_or(self.dealer.disk.clone()), attempt: None },
            p => {
                let disk = disk.unwrap_or(self.parties[p].disk.clone());
                self.parties[p] = Actor { disk, attempt: None };
            }
        }
    }
    pub fn disk(&self, who: usize) -> Disk {
        if who == DEALER { (*self.dealer.disk).clone() } else { (*self.parties[who].disk).clone() }
    }
}

impl Message {
    pub fn offer(&self) -> Option<Option<KeySetId>> {
        match self {
            Message::Offer(offer) => Some(Some(offer.set)),
            _ => None,
        }
    }
}
