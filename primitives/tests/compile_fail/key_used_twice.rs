//! A tile's key is consumed by the comparison it was dealt for.
use twoply_primitives::{Backend, compare::Comparison, session::TileKey};

fn twice<B: Backend, C: Comparison<B>>(c: &C, key: TileKey<B>, x: &B::Buf) {
    let _ = c.begin(key, x);
    let _ = c.begin(key, x);
}

fn main() {}
