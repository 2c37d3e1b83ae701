//! Ring products beside what the machine's multiply instructions allow.

use super::Row;
use super::timing::{Timed, in_turns};
use crate::cpu;
use crate::linear::{Case, layers, matrices};
use std::hint::black_box;
use twoply_primitives::backend::{Isa, spin};
use twoply_primitives::{Backend, Ring};

/// Rounds of the bound's loop at once.
const ROUNDS: usize = 20_000;

/// Matrices on every rung, layers on the highest.
pub fn rows(top: Isa, out: &mut Vec<Row>, say: &mut dyn FnMut(&str)) {
    for isa in Isa::here().filter(|i| *i <= top) {
        Isa::force(isa);
        let cases: Vec<Case> = match isa == top {
            true => matrices().into_iter().chain(layers()).collect(),
            false => matrices().into_iter().take(2).collect(),
        };
        for case in &cases {
            say(&format!("{} {}, {}", case.name, case.shape, isa.name()));
            product::<u32>(case, isa, top, out);
            product::<u64>(case, isa, top, out);
        }
    }
    Isa::force(top);
}

fn product<R: Ring>(case: &Case, isa: Isa, top: Isa, out: &mut Vec<Row>) {
    let (dev, (forms, x, w)) = (cpu::<R>(), case.operands::<R>());
    for threads in if isa == top { 1..=2 } else { 1..=1 } {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let Ok(pool) = pool else { continue };
        let work = || _ = black_box(dev.product(&case.product, [&forms[0], &forms[1]], &x, &w));
        let spun = spin::<R>(isa, ROUNDS) as f64;
        let mut run = || pool.install(work);
        let mut bound = || _ = black_box(spin::<R>(isa, ROUNDS));
        let got = in_turns(&mut [
            Timed { run: &mut run, units: case.multiplications() as f64 },
            Timed { run: &mut bound, units: spun },
        ]);
        out.push(Row::Product {
            name: format!("{}, {}", case.name, isa.name()),
            shape: case.shape.clone(),
            ring: format!("u{}", R::BITS),
            threads,
            gmac_per_s: 1.0 / got[0].0,
            bound_fraction: got[1].1 / threads as f64,
        });
    }
}
