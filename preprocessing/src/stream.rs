//! Keys as a stream: those of a training step are dealt shortly before it runs and are never stored (training, section 9).
//!
//! A dealer goes through the segments of one key set, step after step, and has a channel to each party.
//! [`StreamWriter::step`] takes what the run's ledger released, and gives the [`Feeder`] of a step, the sink of its deal;
//! [`StreamReader::step`] gives a party its [`Feed`], from which the run takes its tiles. A party is sent frames:
//!
//! ```text
//! 0         16             20            end - 32
//! | key set | segment, u32 | tiles ...   | link   |
//! ```
//!
//! Which tiles a frame holds, and so its length, follows from the plan alone. Its link is the BLAKE3 hash of its tiles under
//! the link before as key; the first of these is derived from key set, segment, party and layout. So a frame is right only
//! at its own place, after all that was sent before it, and no tile of it is handed out otherwise. The last frame of a step
//! has no tiles: the step is whole.
//!
//! What comes back are grants, 8 bytes: how many bytes of frames the dealer may have sent since the stream began. They add up to
//! what the party has used and its credit. So a party holds at most its credit, in its channel and here together, and the
//! dealer may be steps ahead. Credit belongs to the stream; steps do not wait for each other. The last grant is the credit and all that
//! was sent: everything was used.
//!
//! A reader waits for nothing longer than its patience: neither for the dealer, nor for a run that does not ask.

mod feed;
mod late;
mod layout;
mod reader;
mod writer;

pub use feed::Feed;
pub use late::LateKeys;
pub use layout::StepLayout;
pub use reader::StreamReader;
pub use writer::{Feeder, StreamWriter};

use twoply_primitives::{Error, Origin};

/// Bytes of key set and segment, before the tiles of a frame.
const HEAD: usize = 16 + 4;
/// Bytes of a frame that are not tiles.
const FRAMING: usize = HEAD + 32;
/// Bytes of a grant.
const GRANT: usize = 8;

/// The head of every frame of a segment.
fn head(of: Origin) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..16].copy_from_slice(&of.set.0);
    head[16..].copy_from_slice(&of.segment.to_le_bytes());
    head
}

/// The link that follows `link` behind these tiles.
fn next(link: &[u8; 32], tiles: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(link, tiles).as_bytes()
}

/// What a channel says, and of what.
fn during(what: impl FnOnce() -> String) -> impl FnOnce(Error) -> Error {
    |e| match e {
        Error::Channel(why) => Error::Channel(format!("{}: {why}", what())),
        e => e,
    }
}
