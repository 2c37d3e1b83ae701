//! Ring products: matrices on every rung, layers of LeNet, ResNet-18 and VGG-16 and the gradients of LeNet's on the
//! highest, on one thread and on two. Elements are multiplications of ring elements; `bound` is what the multipliers
//! alone allow one core.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use twoply_bench::cpu;
use twoply_bench::linear::{Case, gradients, layers, matrices};
use twoply_primitives::backend::{Isa, spin};
use twoply_primitives::{Backend, Ring};

const ROUNDS: usize = 20_000;

fn bounds<R: Ring>(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("bound u{}", R::BITS));
    for isa in Isa::here() {
        group.throughput(Throughput::Elements(spin::<R>(isa, ROUNDS)));
        group.bench_function(isa.name(), |b| b.iter(|| black_box(spin::<R>(isa, ROUNDS))));
    }
    group.finish();
}

/// One case on this process's rung, on one thread and on two.
fn product<R: Ring>(c: &mut Criterion, case: &Case, isa: Isa) {
    Isa::force(isa);
    let mut group = c.benchmark_group(format!("{} u{} {}", case.name, R::BITS, isa.name()));
    group.throughput(Throughput::Elements(case.multiplications()));
    for threads in [1, 2] {
        let (dev, (forms, x, w)) = (cpu::<R>(), case.operands::<R>());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let id = BenchmarkId::new(format!("{threads} threads"), &case.shape);
        group.bench_function(id, |b| {
            pool.install(|| b.iter(|| dev.product(&case.product, [&forms[0], &forms[1]], &x, &w)))
        });
    }
    group.finish();
}

fn linear(c: &mut Criterion) {
    let top = Isa::current();
    bounds::<u32>(c);
    bounds::<u64>(c);
    for isa in Isa::here().filter(|i| *i <= top) {
        for case in &matrices()[..2] {
            product::<u32>(c, case, isa);
            product::<u64>(c, case, isa);
        }
    }
    for case in matrices()[2..].iter().chain(&layers()).chain(&gradients()) {
        product::<u32>(c, case, top);
        product::<u64>(c, case, top);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = linear
}
criterion_main!(benches);
