//! Bits are said and heard by gates alone.
use twoply_primitives::{Backend, Session};

fn open<B: Backend>(s: &mut Session<B>) {
    let _ = &mut s.talk;
}

fn main() {}
