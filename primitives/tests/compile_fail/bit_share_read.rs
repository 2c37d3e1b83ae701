//! Nor can shared bits.
use twoply_primitives::{BitShare, bits::Bits};

fn peek(s: &BitShare) -> &Bits {
    &s.0
}

fn main() {}
