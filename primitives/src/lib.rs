//! Mathematics and two-party gates of twoply: sharing, one-time keys, exact comparisons.
//!
//! No sockets, no files, no clocks, no runtime: bytes, keys, time and randomness come from outside.
//! The mathematics is that of masked wires (Boyle, Gilboa, Ishai, TCC 2019): a value `x` travels as the public
//! `x + r`, whose mask `r` only the dealer knows; see `ARCHITECTURE.md`.

pub mod backend;
pub mod bits;
pub mod channel;
pub mod compare;
pub mod deal;
pub mod error;
pub mod fixed;
pub mod gate;
mod kept;
pub mod local;
pub mod owner;
mod pool;
pub mod prg;
pub mod record;
pub mod ring;
pub mod session;
pub mod tensor;
pub mod wire;

pub use backend::{Backend, Cpu};
pub use channel::{Channel, Clock, NoClock, WallClock};
pub use deal::Deal;
pub use error::{Error, Result};
pub use fixed::Fixed;
pub use gate::{Coins, Cost, Gate};
pub use local::Local;
pub use prg::{KeySetId, Origin, Seed};
pub use record::{KeySink, KeySource, Part, Site, TILE, TileBytes};
pub use ring::Ring;
pub use session::Session;
pub use tensor::{Form, Shape, Window};
pub use wire::{BitMask, BitShare, Mask, Masked, MaskedBit, PartyId, Share};
