//! How bytes reach the other side. Sockets live elsewhere; here are the in-process channels.

mod loopback;
mod recorded;
mod simulated;

pub use loopback::{Loopback, pair};
pub use recorded::{Recorded, Recording};
pub use simulated::{Link, Simulated, simulated_pair};

use crate::Result;

/// A reliable, ordered byte channel to one other process.
///
/// `send` queues and never waits for the receiver, so both sides may send first. Every implementation
/// bounds how long `recv` waits and reports a peer that went away or stopped as an error.
pub trait Channel: Send {
    /// Queues one message.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;
    /// The next message, which must be exactly `len` bytes long; any other length is an error
    /// (the two sides are out of step) and nothing is allocated for it.
    fn recv(&mut self, len: usize) -> Result<Vec<u8>>;
}

/// Time as the session sees it: only differences matter. Passed in, so that tests can hold it still.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> std::time::Duration;
}

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct WallClock(std::time::Instant);

impl Default for WallClock {
    fn default() -> Self {
        WallClock(std::time::Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}

/// A clock that stands still, for runs whose timings nobody reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
