//! Masks that serve twice, and what a party sees of whole networks.
//!
//! A mask that serves twice leaves every result right and is invisible to a view that looks at bits and pairs of one gate.
//! So two things are done here. Deterministic: whatever the dealer and the parties expand is noted, stream by stream, and
//! no piece of any stream may be expanded twice ([`once`]). Statistical: everything one party sees of a run of a whole
//! network on equal images, every bit and pair, and every linear relation between any number of bits ([`whole`]). Faults
//! that are planted on the way to the device must be caught ([`planted`]).

#[path = "../common/mod.rs"]
mod common;
mod figures;
mod hollow;
mod memory;
mod networks;
mod notes;
mod once;
mod planted;
mod play;
mod ranges;
mod redirect;
mod relations;
#[path = "../../../primitives/tests/views/stats.rs"]
#[allow(dead_code)] // the views of single gates use more of it
mod stats;
mod steps;
mod training;
mod watched;
mod whole;
