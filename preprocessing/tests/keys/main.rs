//! Key files of inference: their life, what a crash or damage makes of them.

mod ahead;
#[path = "../common/mod.rs"]
mod common;
mod lifecycle;
mod malformed;
mod model;
