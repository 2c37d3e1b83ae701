//! Faults to plant: one stream instead of another, wherever it is asked for.

use super::notes::{Name, name};
use std::collections::HashMap;
use twoply_primitives::prg::{Stream, Streams};

/// Which streams are replaced by which. Dealer, parties and owners take the same way, so results stay right.
#[derive(Default)]
pub struct Redirect {
    streams: HashMap<Name, (Streams, u32)>,
    keys: HashMap<[u8; 16], [u8; 16]>,
}

impl Redirect {
    /// Field `field` of `from` becomes that of `to`.
    pub fn stream(&mut self, from: &Streams, to: Streams, field: u32) {
        self.streams.insert(name(from.field(field)), (to, field));
    }
    /// A key that an owner is sent becomes another.
    pub fn key(&mut self, from: [u8; 16], to: [u8; 16]) {
        self.stream(&Streams::from_key(&from), Streams::from_key(&to), 0);
        self.keys.insert(from, to);
    }
    /// Where this stream leads.
    pub fn of<'a>(&'a self, stream: Stream<'a>) -> Stream<'a> {
        if self.streams.is_empty() {
            return stream;
        }
        self.streams.get(&name(stream)).map_or(stream, |(streams, field)| streams.field(*field))
    }
    /// Where these keys lead.
    pub fn keys(&self, keys: &[[u8; 16]]) -> Vec<[u8; 16]> {
        keys.iter().map(|k| *self.keys.get(k).unwrap_or(k)).collect()
    }
}
