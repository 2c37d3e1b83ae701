//! Network-1 and LeNet with random weights, dealt into memory and run by two parties in this process. Elements are images.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::LazyCell;
use std::time::Duration;
use twoply_bench::cpu;
use twoply_bench::memory::in_memory;
use twoply_bench::network::{Dealt, of_zoo};
use twoply_nn::{Graph, Options, Weights};
use twoply_primitives::compare::Scheme;

const BATCHES: [usize; 2] = [1, 32];

fn network(c: &mut Criterion, name: &str, model: &(Graph, Weights)) {
    let mut group = c.benchmark_group(name);
    for compare in [Scheme::Dpf, Scheme::Digits] {
        for batch in BATCHES {
            let options = Options { compare, ..Options::default() };
            let dealt = LazyCell::new(|| {
                Dealt::new(cpu::<u32>(), model.clone(), options.clone(), batch, &in_memory)
                    .expect("a network that can be dealt")
            });
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(format!("deal {compare}"), batch), |b| {
                b.iter(|| dealt.deal().expect("dealt"));
            });
            group.bench_function(BenchmarkId::new(format!("run {compare}"), batch), |b| {
                b.iter(|| dealt.run().expect("run"));
            });
        }
    }
    group.finish();
}

fn networks(c: &mut Criterion) {
    network(c, "network-1", &of_zoo("network-1"));
    network(c, "lenet", &of_zoo("lenet"));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = networks
}
criterion_main!(benches);
