//! Bits are opened by gates alone.
use twoply_primitives::{Backend, BitShare, Session};

fn open<B: Backend>(s: &mut Session<B>, bits: BitShare) {
    let _ = s.open_bits(bits);
}

fn main() {}
