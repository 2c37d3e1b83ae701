//! Key tiles in memory, where a store would read files.

use std::collections::HashMap;
use std::sync::Arc;
use twoply_primitives::{Cost, Error, KeySink, KeySource, PartyId, Result, Site, TileBytes};

type Tiles = HashMap<(Site, usize), [Arc<Vec<u8>>; 2]>;

/// Both parties' tiles of one deal.
#[derive(Default)]
pub struct Memory {
    tiles: Tiles,
    elements: HashMap<Site, usize>,
}

impl Memory {
    /// An empty store for the gates with these bills, in the order of their numbers.
    pub fn new<'a>(bills: impl Iterator<Item = &'a Cost>) -> Memory {
        let mut elements = HashMap::new();
        for (gate, cost) in bills.enumerate() {
            for (part, layout) in cost.parts.iter().enumerate() {
                elements.insert(Site { gate: gate as u32, part: part as u32 }, layout.elements);
            }
        }
        Memory { tiles: HashMap::new(), elements }
    }
    /// One party's half.
    pub fn half(self: &Arc<Self>, party: PartyId) -> Arc<dyn KeySource> {
        Arc::new(Half { memory: self.clone(), party })
    }
}

impl KeySink for Memory {
    fn put(&mut self, _: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        self.tiles.insert((at, tile), bytes.map(Arc::new));
        Ok(())
    }
}

struct Half {
    memory: Arc<Memory>,
    party: PartyId,
}

impl KeySource for Half {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let missing = || Error::Keys(format!("{name}: no tile {tile} of {at:?}"));
        let both = self.memory.tiles.get(&(at, tile)).ok_or_else(missing)?;
        Ok(both[self.party.index()].clone())
    }
    fn elements(&self, at: Site) -> Result<usize> {
        self.memory
            .elements
            .get(&at)
            .copied()
            .ok_or_else(|| Error::Keys(format!("nothing was dealt for {at:?}")))
    }
}
