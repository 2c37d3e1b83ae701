//! Keys that come as a stream while they are used.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod faults;
mod flow;
mod gates;
mod released;
mod world;
