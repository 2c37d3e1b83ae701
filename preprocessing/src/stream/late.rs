//! Keys of a step that may not leave yet: a checkpoint's masks are known when its last step is dealt, and saved before.

use super::Feeder;
use twoply_primitives::{KeySink, Result, Site};
use zeroize::Zeroizing;

/// A sink that keeps a step's keys in memory until they may leave. They are overwritten when it is dropped.
#[derive(Default)]
pub struct LateKeys(Vec<Tile>);

struct Tile {
    name: &'static str,
    at: Site,
    tile: usize,
    bytes: [Zeroizing<Vec<u8>>; 2],
}

impl LateKeys {
    /// Nothing so far.
    pub fn new() -> Self {
        LateKeys::default()
    }

    /// Lets them leave, in the order in which they came.
    ///
    /// # Errors
    /// As [`Feeder`]'s.
    pub fn leave(self, feeder: &mut Feeder<'_>) -> Result<()> {
        self.0.into_iter().try_for_each(|mut t| {
            feeder.put(t.name, t.at, t.tile, t.bytes.each_mut().map(|b| std::mem::take(&mut **b)))
        })
    }
}

impl KeySink for LateKeys {
    fn put(&mut self, name: &'static str, at: Site, tile: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        self.0.push(Tile { name, at, tile, bytes: bytes.map(Zeroizing::new) });
        Ok(())
    }
}
