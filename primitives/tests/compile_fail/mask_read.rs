//! A mask cannot be looked at, not even by who deals.
use twoply_primitives::{Backend, Mask};

fn peek<B: Backend>(m: &Mask<B>, dev: &B) -> B::Buf {
    m.sum(dev)
}

fn main() {}
