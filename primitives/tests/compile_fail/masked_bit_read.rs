//! A party's own share of a bit's mask stays inside.
use twoply_primitives::{Backend, MaskedBit};

fn peek<B: Backend>(bit: &MaskedBit<B>) -> &B::Buf {
    &bit.share
}

fn main() {}
