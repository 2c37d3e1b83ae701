//! Seeds have no `Debug`: they get into no log.
use twoply_primitives::Seed;

fn main() {
    println!("{:?}", Seed::new([0; 32]));
}
