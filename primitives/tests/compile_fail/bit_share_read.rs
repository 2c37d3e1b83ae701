//! Nor can shared bits.
use twoply_primitives::{Backend, BitShare};

fn peek<B: Backend>(s: &BitShare<B>) -> &B::Planes {
    &s.planes
}

fn main() {}
