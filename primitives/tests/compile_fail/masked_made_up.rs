//! A masked value comes from its owner or from an opening.
use twoply_primitives::{Cpu, Form, Masked};

fn main() {
    let form = Form::new([1, 1], 32);
    let _: Masked<Cpu<u32>> = Masked { form, value: vec![7], share: vec![0] };
}
