//! The offline phase: dealt tiles become key files, or a stream, and are handed out exactly once.
//!
//! A **key set** is one deal for one plan, cut into **segments** of some images. Each party has a folder
//!
//! ```text
//! <keys>/<key set>/set.key        header and the seed of the weight mask, or this party's share of that of trained weights
//!                  seg-00000.key  header and seed, tiles in plan order, index of tile digests
//!                  ledger         which images are spent: append-only, one record per fsync
//!                  weights.masked the opened weights, once bound
//! ```
//!
//! The way of a key: [`SetWriter`] deals it into a segment file, [`Ledger`] reserves its image durably, the
//! peer's [`Claim`] turns the [`Pending`] range into a [`Reservation`], [`Reservation::take`] cuts a
//! [`Lease`] from it, and [`KeySet::open`] exchanges the lease for [`Leased`] tiles. Each step consumes the
//! one before, so a key that nobody reserved, or that was used before, cannot be named.
//!
//! Keys of training steps are never on disk: [`StreamWriter`] deals them to both parties' [`StreamReader`] step by step.
//! Training has ledgers of its own: [`run`], of attempts and checkpoints, and [`rows`], of data that is masked once.

mod book;
mod disk;
mod error;
mod file;
mod folder;
mod layout;
mod ledger;
mod mmap;
mod receive;
mod record;
pub mod rows;
pub mod run;
mod set;
mod store;
mod stream;
mod survey;
mod trained;
mod unused;
mod writer;

pub use book::{FileLog, Log};
pub use disk::PartFile;
pub use error::{Blame, DAMAGED, Error, Result};
pub use file::{FORMAT, FORMAT_SHARES, Header, Kind, Wanted};
pub use folder::{FileFolder, Folder};
pub use layout::{GateLayout, Layout, SegmentLayout};
pub use ledger::{Account, Claim, Lease, Ledger, Pending, Reservation, Tally, chunk, new_ledger};
pub use record::{News, Record};
pub use set::{Cut, PlanDigest, SeedSource, SegmentId, parse_key_set};
pub use store::{KeyDir, KeySet, Leased, Peek, Reading, Segment};
pub use stream::{Feed, Feeder, LateKeys, StepLayout, StreamReader, StreamWriter};
pub use survey::{Gc, SegmentInfo, SegmentState, Summary};
pub use trained::{Trained, TrainedMasks};
pub use writer::{DealSpec, HalfWriter, SegmentWriter, SetWriter};
