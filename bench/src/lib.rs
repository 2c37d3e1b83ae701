//! What the benchmarks share: keys in memory, two parties on threads, networks with random weights.
//!
//! Keys are used again and again here, which a real session never does: nothing but time is taken from these runs.

pub mod alone;
pub mod baseline;
pub mod gate;
pub mod linear;
pub mod memory;
pub mod network;
pub mod table;

/// The allocator of the `twoply` binary.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

use twoply_primitives::{Cpu, KeySetId, Origin, Ring, Seed};

/// Key set and segment of everything dealt here.
pub const ORIGIN: Origin = Origin { set: KeySetId([7; 16]), segment: 0 };

/// Both parties' seeds: constants, worth nothing as secrets.
pub fn seeds() -> [Seed; 2] {
    [Seed::new([1; 32]), Seed::new([2; 32])]
}

/// Reproducible ring elements of magnitude below `2^magnitude`, mod `2^bits`.
pub fn values<R: Ring>(len: usize, magnitude: u32, bits: u32) -> Vec<R> {
    let mut state = len as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 1) as i64 >> (62 - magnitude)
    };
    let half = 1i64 << magnitude;
    (0..len).map(|_| R::from_i64(next() - half).and(R::ones(bits))).collect()
}

/// The CPU backend.
pub fn cpu<R: Ring>() -> Cpu<R> {
    Cpu::new()
}
