//! A share is opened once, or given to its owner, never both.
use twoply_primitives::{Backend, Session, Share};

fn both<B: Backend>(s: &mut Session<B>, share: Share<B>) {
    let _ = s.open(share);
    let _ = s.for_owner(share);
}

fn main() {}
