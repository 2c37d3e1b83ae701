//! AES expansion, comparisons (with `fss-rs`'s DCF as baseline in the same run), ring products.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use twoply_bench::baseline::Baseline;
use twoply_bench::memory::Discard;
use twoply_bench::{ORIGIN, cpu, seeds, values};
use twoply_primitives::backend::{DpfTile, Isa, Product};
use twoply_primitives::compare::{AnyComparison, Comparison, Scheme, Widths};
use twoply_primitives::prg::{Roots, Streams, TreeHash};
use twoply_primitives::{Backend, Cpu, Deal, Form, Part, PartyId, Ring, Site, TILE};

/// Compared bits: ReLU behind a truncation by 16 and by 12 bits at n=32, on all of 32 bits, on all of 64.
const WIDTHS: [u32; 4] = [15, 19, 31, 63];
/// Keys of the baseline's batch.
const BASELINE: usize = 256;
/// Where the keys lie; nothing depends on it.
const AT: Site = Site { gate: 0, part: 0 };

/// One party's streams of one part of a gate.
fn streams(isa: Isa, party: PartyId) -> Streams {
    Streams::on(isa, &[party.index() as u8; 16])
}

/// Independent blocks in registers, the ceiling of everything below; then ring vectors from a stream.
fn aes(c: &mut Criterion) {
    let mut group = c.benchmark_group("aes");
    group.throughput(Throughput::Bytes(TILE as u64 * 16));
    for isa in Isa::here() {
        let streams = streams(isa, PartyId::P0);
        let stream = streams.field(1);
        group.bench_function(BenchmarkId::new("ceiling", isa.name()), |b| {
            b.iter(|| streams.ceiling(black_box(TILE)))
        });
        group.bench_function(BenchmarkId::new("expand u32", isa.name()), |b| {
            b.iter(|| cpu::<u32>().expand(stream, 0, TILE * 4, 32))
        });
        group.bench_function(BenchmarkId::new("expand u64", isa.name()), |b| {
            b.iter(|| cpu::<u64>().expand(stream, 0, TILE * 2, 64))
        });
        group.bench_function(BenchmarkId::new("expand 20 of 32 bits", isa.name()), |b| {
            b.iter(|| cpu::<u32>().expand(stream, 0, TILE * 4, 20))
        });
    }
    group.finish();
}

/// Point functions on each rung: a tile's words for both parties, and one party's answers, keys in memory.
fn dpf(c: &mut Criterion) {
    let dev = cpu::<u64>();
    for w in WIDTHS {
        let mut group = c.benchmark_group(format!("dpf {w}"));
        group.throughput(Throughput::Elements(TILE as u64));
        let (alpha, x) = (values::<u64>(TILE, w - 1, w), values::<u64>(TILE + 1, w - 1, w));
        let x = x[1..].to_vec();
        for isa in Isa::here() {
            let streams = PartyId::BOTH.map(|p| streams(isa, p));
            let roots = PartyId::BOTH.map(|p| Roots::new(streams[p.index()].field(1), p, 0));
            let hash = TreeHash::on(isa, ORIGIN, AT, 0);
            let mut words = vec![0; TILE * (w as usize - 6) * 16];
            group.bench_function(BenchmarkId::new("generate", isa.name()), |b| {
                b.iter(|| dev.dpf_generate(&hash, w, roots, &alpha, &mut words))
            });
            let tile = DpfTile { words: &words, tile_len: TILE, from: 0 };
            group.bench_function(BenchmarkId::new("evaluate", isa.name()), |b| {
                b.iter(|| dev.dpf_evaluate(&hash, w, roots[0], tile, &x))
            });
        }
        match w {
            0..=32 => baseline::<4>(&mut group, w),
            _ => baseline::<8>(&mut group, w),
        }
        group.finish();
    }
}

fn comparison(scheme: Scheme, w: u32) -> AnyComparison {
    scheme.at(Widths { w, low: None })
}

/// Both parties' keys of one tile, as the dealer writes them.
fn generate(c: &mut Criterion) {
    let mut group = c.benchmark_group("compare generate");
    group.throughput(Throughput::Elements(TILE as u64));
    for w in WIDTHS {
        for scheme in [Scheme::Dpf, Scheme::Digits] {
            let (how, alpha) = (comparison(scheme, w), values::<u64>(TILE, w - 1, w));
            let part = Part { elements: TILE, fields: Comparison::<Cpu<u64>>::fields(&how) };
            group.bench_function(BenchmarkId::new(scheme.to_string(), w), |b| {
                b.iter(|| {
                    let mut sink = Discard;
                    let mut deal = Deal::new(cpu::<u64>(), seeds(), ORIGIN, 1, &mut sink);
                    deal.tiles("bench", 0, &part, |t| how.deal(t, &alpha))
                });
            });
        }
    }
    group.finish();
}

/// `fss-rs`'s comparison of points of `N` bytes in the same group.
fn baseline<const N: usize>(group: &mut BenchmarkGroup<WallTime>, w: u32) {
    let baseline = Baseline::<N>::new(w, BASELINE);
    group.throughput(Throughput::Elements(BASELINE as u64));
    group.bench_function(BenchmarkId::new("generate", "fss-rs dcf"), |b| b.iter(|| baseline.generate()));
    let keys = baseline.generate();
    group.bench_function(BenchmarkId::new("evaluate", "fss-rs dcf"), |b| b.iter(|| baseline.evaluate(&keys)));
}

/// `512 x 512 x 512`, by the backend's linear product: multiplications per second.
fn product<R: Ring>(c: &mut Criterion) {
    let size = 512;
    let form = Form::new([size, size], R::BITS);
    let (x, w) = (values::<R>(size * size, 20, R::BITS), values::<R>(size * size, 12, R::BITS));
    let mut group = c.benchmark_group("matmul 512");
    group.throughput(Throughput::Elements((size * size * size) as u64));
    group.bench_function(format!("u{}", R::BITS), |b| {
        b.iter(|| cpu::<R>().product(&Product::Linear, [&form, &form], &x, &w));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = aes, dpf, generate, product::<u32>, product::<u64>
}
criterion_main!(benches);
