//! Gates on one batch: the dealer's work, and both parties' on a loopback pair (two threads, one machine).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::LazyCell;
use std::time::Duration;
use twoply_bench::gate::{Dealt, Operand};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Conv2d, Linear, MaxPool, Relu, ReluFloor};
use twoply_primitives::{Form, Gate, Ring, Window};

fn wire(shape: &[usize], bits: u32) -> Operand {
    Operand::Wire(Form::new(twoply_primitives::Shape(shape.to_vec()), bits))
}
fn weight(shape: &[usize], bits: u32) -> Operand {
    Operand::Weight(Form::new(twoply_primitives::Shape(shape.to_vec()), bits))
}

/// Deal and eval of one gate; `count` elements per pass.
fn both<R: Ring, G: Gate + Clone>(
    c: &mut Criterion,
    name: &str,
    gate: &G,
    operands: &[Operand],
    count: usize,
) {
    let dealt =
        LazyCell::new(|| Dealt::<R, G>::new(gate.clone(), operands).expect("a gate that can be dealt"));
    let mut group = c.benchmark_group(format!("{} u{}", G::NAME, R::BITS));
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new("deal", name), |b| b.iter(|| dealt.deal().expect("dealt")));
    group.bench_function(BenchmarkId::new("eval", name), |b| b.iter(|| dealt.eval().expect("evaluated")));
    group.finish();
}

/// n and m of the rings that are timed.
const NARROW: (u32, u32) = (32, 20);
const WIDE: (u32, u32) = (64, 48);

fn rectifiers<R: Ring>(c: &mut Criterion, (n, m): (u32, u32)) {
    let (batch, row) = (16, 4096);
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let name = scheme.to_string();
        let relu = Relu { scheme, shift: 0, out: n };
        both::<R, _>(c, &name, &relu, &[wire(&[batch, row], m)], batch * row);
        let floor = ReluFloor { scheme, cut: n - m };
        both::<R, _>(c, &name, &floor, &[wire(&[batch, row], n)], batch * row);
        let pool = MaxPool { scheme, window: Window::square(2, 2) };
        // three comparisons per window
        both::<R, _>(c, &name, &pool, &[wire(&[batch, 20, 24, 24], m)], batch * 20 * 12 * 12);
    }
}

/// The two largest products of LeNet; elements are multiplications.
fn products<R: Ring>(c: &mut Criterion, (n, m): (u32, u32)) {
    let (batch, cut) = (16, n - m);
    let fc = [wire(&[batch, 800], n), weight(&[500, 800], n), weight(&[500], n)];
    both::<R, _>(c, "800-500", &Linear { cut }, &fc, batch * 800 * 500);
    let conv = Conv2d { window: Window::square(5, 1), groups: 1, cut };
    let operands = [wire(&[batch, 20, 12, 12], n), weight(&[50, 20, 5, 5], n), weight(&[50], n)];
    both::<R, _>(c, "20-50 5x5", &conv, &operands, batch * 50 * 64 * 500);
}

fn gates(c: &mut Criterion) {
    rectifiers::<u32>(c, NARROW);
    rectifiers::<u64>(c, WIDE);
    products::<u32>(c, NARROW);
    products::<u64>(c, WIDE);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = gates
}
criterion_main!(benches);
