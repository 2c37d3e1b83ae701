//! Masks come from the dealer alone.
use twoply_primitives::{Cpu, Form, Mask};

fn main() {
    let form = Form::new([1, 1], 32);
    let _: Mask<Cpu<u32>> = Mask { form, shares: [vec![0], vec![0]] };
}
