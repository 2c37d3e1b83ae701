//! Nor can the key be copied first.
use twoply_primitives::{Backend, session::TileKey};

fn copy<B: Backend>(key: &TileKey<B>) -> TileKey<B> {
    key.clone()
}

fn main() {}
