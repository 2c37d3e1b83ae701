//! Key records: what the dealer writes for one tile of one gate, and how a store hands it back.
//!
//! A tile is 4,096 consecutive elements of a gate's segment, ordered (image, element); the last one is short.
//! Its bytes are the gate's fields one after the other, each packed at its width over the whole tile, so a
//! tile's length follows from the plan alone.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Elements per tile.
pub const TILE: usize = 4096;

/// A place in the plan where keys are used: gate number and part (for example the level of a MaxPool tree).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Gate number, counted from 0 in the order of the program.
    pub gate: u32,
    /// Part of the gate, counted from 0.
    pub part: u32,
}

/// What one part of a gate stores: for each element, fields of these widths in bits, per party.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// Elements in the run (all images together).
    pub elements: usize,
    /// Widths of P0's fields and of P1's, in order.
    pub fields: [Vec<u32>; 2],
}

impl Part {
    /// Bits per element that `party` (0 or 1) stores.
    pub fn bits(&self, party: usize) -> u64 {
        self.fields[party].iter().map(|&w| w as u64).sum()
    }
    /// Length in bytes of a tile of `len` elements for `party`.
    pub fn tile_bytes(&self, party: usize, len: usize) -> usize {
        self.fields[party].iter().map(|&w| packed_len(w, len)).sum()
    }
    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.elements.div_ceil(TILE)
    }
    /// Elements of tile `tile`.
    pub fn tile_len(&self, tile: usize) -> usize {
        TILE.min(self.elements - tile * TILE)
    }
}

/// Bytes of `len` values packed at `width` bits.
pub const fn packed_len(width: u32, len: usize) -> usize {
    (len * width as usize).div_ceil(8)
}

/// Shared, immutable bytes of a tile, typically a part of a memory-mapped file.
pub type TileBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Where a dealer puts tiles. Called gate by gate, part by part, tile by tile, in the order of the plan.
pub trait KeySink {
    /// Takes both parties' bytes of one tile of the gate called `name`.
    fn put(&mut self, name: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()>;
}

/// Where a party gets the tiles of the segment it runs on.
pub trait KeySource: Send + Sync {
    /// The bytes of one tile, verified against its digest. `name` is the gate that asks: a tile that was dealt
    /// for another gate is refused with [`crate::Error::PlanMismatch`].
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes>;
    /// Elements of this part in the dealt segment (all its images), from which tile lengths follow.
    fn elements(&self, at: Site) -> Result<usize>;
}
