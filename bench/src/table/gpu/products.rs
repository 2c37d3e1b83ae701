//! Ring products, splitting into digits included, beside the same in plain integers.

use super::limits::Work;
use super::{Bench, Beside, Unit};
use crate::linear::Case;
use twoply_primitives::backend::{Backend, Cuda};
use twoply_primitives::{Result, Ring};

/// Largest matrices that the plain kernel is timed on too.
const PLAIN: usize = 1024;

/// Square matrices in both rings.
pub fn rows(b: &mut Bench) -> Result<()> {
    for side in b.pick(&[1024, 4096][..], &[64]) {
        (b.say)(&format!("products of {side}^3"));
        product(b, &b.dev.clone(), *side)?;
        product(b, &b.dev.at::<u64>(), *side)?;
    }
    Ok(())
}

/// Products of bytes that a product of words takes: all pairs of digits that do not fall out of the ring.
pub fn digit_products(bits: u32) -> f64 {
    let digits = f64::from(bits / 8);
    digits * (digits + 1.0) / 2.0
}

fn product<R: Ring>(b: &mut Bench, dev: &Cuda<R>, side: usize) -> Result<()> {
    let case = Case::dense("matrix", [side; 3]);
    let (forms, x, w) = case.operands::<R>();
    let (forms, x, w) = ([&forms[0], &forms[1]], dev.upload(&x), dev.upload(&w));
    let macs = case.multiplications() as f64;
    let unit = Unit::PerSecond(1e12, "T MAC/s");
    let seconds = b.time(|| {
        dev.product(&case.product, forms, &x, &w);
        Ok(())
    })?;
    let plain = match side {
        0..=PLAIN => Some(b.time(|| {
            dev.plain_product(forms, &x, &w);
            Ok(())
        })?),
        _ => None,
    };
    let words = 3 * side * side * size_of::<R>();
    let int8 = macs * digit_products(R::BITS);
    let work = Work { int8, memory: words as f64, ..Work::default() };
    let row = b.row("product", &format!("u{} {side}^3", R::BITS), unit, (macs, seconds), work);
    row.beside = plain.map(|s| Beside { name: "plain", value: unit.of(macs, s), times: s / seconds });
    Ok(())
}
