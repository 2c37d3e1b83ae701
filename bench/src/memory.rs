//! Where the dealer's tiles go: to a home of the caller's choice, or nowhere.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use twoply_primitives::{Cost, Error, KeySink, KeySource, PartyId, Result, Site, TileBytes};

/// Brings one party's tiles of one part to where they shall lie.
pub type Home<'a> = &'a dyn Fn(Vec<u8>) -> Result<TileBytes>;

/// Ordinary memory.
///
/// # Errors
/// None.
pub fn in_memory(bytes: Vec<u8>) -> Result<TileBytes> {
    Ok(Arc::new(bytes))
}

/// One party's tiles of a part, one behind the other.
struct Row<T> {
    bytes: T,
    tiles: Vec<Range<usize>>,
}

/// Both parties' tiles while they are dealt.
#[derive(Default)]
pub struct Dealt {
    elements: HashMap<Site, usize>,
    rows: HashMap<Site, [Row<Vec<u8>>; 2]>,
}

impl Dealt {
    /// For the gates with these bills, in the order of their numbers.
    pub fn new<'a>(bills: impl Iterator<Item = &'a Cost>) -> Self {
        let mut elements = HashMap::new();
        for (gate, cost) in bills.enumerate() {
            for (part, layout) in cost.parts.iter().enumerate() {
                elements.insert(Site { gate: gate as u32, part: part as u32 }, layout.elements);
            }
        }
        Dealt { elements, rows: HashMap::new() }
    }
    /// All of them at home.
    ///
    /// # Errors
    /// What the home says.
    pub fn at_home(self, home: Home) -> Result<Arc<Memory>> {
        let mut rows = HashMap::with_capacity(self.rows.len());
        let settle = |r: Row<Vec<u8>>| home(r.bytes).map(|bytes| Row { bytes, tiles: r.tiles });
        for (site, [a, b]) in self.rows {
            rows.insert(site, [settle(a)?, settle(b)?]);
        }
        Ok(Arc::new(Memory { elements: self.elements, rows }))
    }
}

impl KeySink for Dealt {
    fn put(&mut self, _: &'static str, at: Site, _: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        let empty = || [0, 1].map(|_| Row { bytes: vec![], tiles: vec![] });
        let rows = self.rows.entry(at).or_insert_with(empty);
        for (row, tile) in rows.iter_mut().zip(bytes) {
            let from = row.bytes.len();
            row.bytes.extend_from_slice(&tile);
            row.tiles.push(from..row.bytes.len());
        }
        Ok(())
    }
}

/// Both parties' tiles of one deal, where a store would read files.
#[derive(Default)]
pub struct Memory {
    elements: HashMap<Site, usize>,
    rows: HashMap<Site, [Row<TileBytes>; 2]>,
}

impl Memory {
    /// One party's half.
    pub fn half(self: &Arc<Self>, party: PartyId) -> Arc<dyn KeySource> {
        Arc::new(Half { memory: self.clone(), party })
    }
    /// Bytes that a party stores.
    pub fn bytes(&self, party: PartyId) -> usize {
        let row = |rows: &[Row<TileBytes>; 2]| rows[party.index()].tiles.last().map_or(0, |t| t.end);
        self.rows.values().map(row).sum()
    }
}

struct Half {
    memory: Arc<Memory>,
    party: PartyId,
}

/// A part of some bytes.
struct Tile {
    whole: TileBytes,
    at: Range<usize>,
}

impl AsRef<[u8]> for Tile {
    fn as_ref(&self) -> &[u8] {
        &(*self.whole).as_ref()[self.at.clone()]
    }
}

impl KeySource for Half {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> Result<TileBytes> {
        let missing = || Error::Keys(format!("{name}: no tile {tile} of {at:?}"));
        let row = &self.memory.rows.get(&at).ok_or_else(missing)?[self.party.index()];
        let at = row.tiles.get(tile).ok_or_else(missing)?.clone();
        Ok(Arc::new(Tile { whole: row.bytes.clone(), at }))
    }
    fn elements(&self, at: Site) -> Result<usize> {
        let known = self.memory.elements.get(&at).copied();
        known.ok_or_else(|| Error::Keys(format!("nothing was dealt for {at:?}")))
    }
}

/// A sink that forgets, to time the dealer alone.
pub struct Discard;

impl KeySink for Discard {
    fn put(&mut self, _: &'static str, _: Site, _: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        black_box(bytes);
        Ok(())
    }
}
