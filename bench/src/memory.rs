//! Where the dealer's tiles go: into memory, or nowhere.

use std::hint::black_box;
use twoply_primitives::{KeySink, Result, Site};

pub use twoply_nn::rehearsal::Memory;

/// A sink that forgets, to time the dealer alone.
pub struct Discard;

impl KeySink for Discard {
    fn put(&mut self, _: &'static str, _: Site, _: usize, bytes: [Vec<u8>; 2]) -> Result<()> {
        black_box(bytes);
        Ok(())
    }
}
