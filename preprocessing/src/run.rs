//! The ledger of one training run: attempts, checkpoints, and what was delivered. At a party and at the dealer.
//!
//! A run trains in **attempts**. An attempt starts from a checkpoint, has keys of its own under a fresh name, and ends
//! with whatever process or link dies first; nothing is taken up inside one, and no step runs again under its keys. So
//! a mask meets one integer, whatever crashes, if this order is kept, and the types follow it:
//!
//! ```text
//! party    PartyRun -- hello, common --> Common -- ask --> (dealer)
//!          PartyRun -- offered --> PendingAttempt -- agree --> Attempt -- begin --> Segment -- finish
//!          Attempt -- checkpoint --> Ours -- hear --> Held (to the dealer)
//! dealer   DealerRun -- offer --> Offered -- credited --> Dealing -- begin --> Segment -- release --> Released (StreamWriter)
//! ```
//!
//! An attempt borrows its run, so a HELLO is said, and an offer taken, by nobody who is in one:
//!
//! ```compile_fail
//! use twoply_preprocessing::{Folder, run::{Offer, PartyRun}};
//! fn both<F: Folder>(run: &mut PartyRun<F>, offer: &Offer) {
//!     let pending = run.offered(offer).unwrap();
//!     run.hello().unwrap();
//!     pending.reserved();
//! }
//! ```
//!
//! A session with the peer, keys and seeds live as long as an attempt. `tests/training.rs` searches crashes and finds the
//! reuses and dead ends of older rules.
//!
//! `<runs>/<run>/{ledger, <attempt>-<step>.checkpoint, ...}`, at parties and at the dealer; at parties also shares of the figures that
//! a plan lists, `<attempt>-<step>-<reveal>.figure`.

mod checkpoint;
#[cfg(test)]
mod crashes;
mod dealer;
mod ended;
mod figure;
mod journal;
mod message;
mod party;
mod record;
mod segments;
mod survey;
mod terms;

pub use checkpoint::{Masks, Snapshot};
pub use dealer::{DealerRun, Dealing, Offered};
pub use ended::{Ended, EndedWeights};
pub use figure::FigureShare;
pub(crate) use journal::open_runs;
pub use message::{Ask, FirstCredit, Frame, Held, Hello, Mark, Offer, Reserved};
pub use party::{Attempt, Common, Ours, PartyRun, PendingAttempt};
pub use segments::{Released, Segment, SegmentKind};
pub use survey::{RunInfo, survey};
pub use terms::{CheckpointId, Holder, Lengths, RunId, RunSpec, Schedule, TermsHash};

/// A name in a record.
fn what(name: &str) -> [u8; 32] {
    blake3::derive_key("twoply run v1 name", name.as_bytes())
}

/// `h_0` of an attempt's chained transcript, from everything that both parties have reserved.
fn first_transcript(reserved: &Reserved) -> [u8; 32] {
    let Reserved { run, terms, attempt, from, set } = reserved;
    let mut hash = blake3::Hasher::new_derive_key("twoply run v1 transcript");
    hash.update(&run.0).update(&terms.0).update(&attempt.to_le_bytes());
    hash.update(&from.id.attempt.to_le_bytes()).update(&from.id.step.to_le_bytes());
    *hash.update(&from.digest).update(&set.0).finalize().as_bytes()
}

/// `h_(sigma+1)` from `h_sigma` and the transcript of segment sigma.
fn next_transcript(before: &[u8; 32], segment: &[u8; 32]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("twoply run v1 segment");
    *hash.update(before).update(segment).finalize().as_bytes()
}
