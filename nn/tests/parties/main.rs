//! Two parties and their owners in one process. One binary: each of these builds all gates of all rings.

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod audit;
mod networks;
mod prepared;
mod two_parties;
