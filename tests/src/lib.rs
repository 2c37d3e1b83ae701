//! What whole-system tests share: processes of the real program with deadlines, a world of four homes, owners that
//! misbehave, and the oracle.

pub mod binary;
pub mod brittle;
pub mod model;
pub mod odd;
pub mod process;
pub mod school;
pub mod soak;
pub mod view;
pub mod world;

pub use model::{Kind, digits};
pub use odd::Odd;
pub use process::{Ended, Proc, Terms};
pub use world::{Pair, World};

use std::time::Duration;

/// Long enough for anything that works, on a busy machine.
pub const SOON: Duration = Duration::from_secs(120);

/// Random numbers of a seeded test: the same on every machine (Marsaglia's xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
