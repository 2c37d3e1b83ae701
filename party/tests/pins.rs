//! Keys decide who talks to whom, over both transports. One text of tests, compiled for each.

#![allow(clippy::duplicate_mod, reason = "the same tests for each transport")]

mod common;
#[path = "cases/pins.rs"]
mod quic;
#[path = "cases/pins.rs"]
mod tcp;
