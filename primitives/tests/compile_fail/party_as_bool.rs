//! A party is not a bool.
use twoply_primitives::PartyId;

fn main() {
    let _: PartyId = true;
}
