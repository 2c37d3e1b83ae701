//! What one party sees is independent of everything it must not learn: tests that correctness tests cannot replace.
//!
//! 61,440 keys or elements of one party with fixed seeds. `TWOPLY_FULL=1` tests every pair, of small views against every
//! secret bit, and adds the wide comparisons (many minutes). Planted leaks go through the same test function and must be
//! caught.

#[path = "../common/mod.rs"]
mod common;

mod chain;
mod gates;
mod keys;
mod planted;
mod stats;
mod tree;
