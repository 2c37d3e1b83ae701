//! AES expansion, comparisons (with `fss-rs`'s DCF as baseline in the same run), ring products.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fss_rs::dcf::{BoundState, CmpFn, Dcf, DcfImpl};
use fss_rs::group::{Group, byte::ByteGroup};
use fss_rs::prg::Aes128MatyasMeyerOseasPrg;
use std::hint::black_box;
use std::time::Duration;
use twoply_bench::memory::Discard;
use twoply_bench::{ORIGIN, cpu, seeds, values};
use twoply_primitives::backend::{DpfTile, Packed, Product};
use twoply_primitives::compare::{AnyComparison, Comparison, Scheme, Widths, digits::Digits};
use twoply_primitives::prg::{Field, Stream, TreeHash};
use twoply_primitives::{Backend, Cpu, Deal, Form, Part, Ring, Seed, TILE};

/// Compared bits: a ReLU behind a truncation at n=32, f=12, and one on all of 32 bits.
const WIDTHS: [u32; 2] = [19, 31];
/// Keys of the baseline's batch.
const BASELINE: usize = 256;

fn stream() -> Stream {
    Stream::new(&Seed::new([9; 32]), ORIGIN, Field { gate: 0, part: 0, field: 1 })
}

fn aes(c: &mut Criterion) {
    let mut group = c.benchmark_group("aes");
    group.throughput(Throughput::Bytes(TILE as u64 * 16));
    let cipher = Aes128::new(&Array([3; 16]));
    let mut blocks = vec![Array([5; 16]); TILE];
    group.bench_function("blocks of the aes crate", |b| {
        b.iter(|| blocks.chunks_mut(128).for_each(|c| cipher.encrypt_blocks(c)));
    });
    let stream = stream();
    group.bench_function("expand u32", |b| b.iter(|| cpu::<u32>().expand(&stream, 0, TILE * 4, 32)));
    group.bench_function("expand u64", |b| b.iter(|| cpu::<u64>().expand(&stream, 0, TILE * 2, 64)));
    group.finish();
}

fn comparison(scheme: Scheme, w: u32) -> AnyComparison {
    scheme.at(Widths { w, low: None })
}

/// Both parties' keys of one tile, as the dealer writes them.
fn generate(c: &mut Criterion) {
    let mut group = c.benchmark_group("compare generate");
    for w in WIDTHS {
        for scheme in [Scheme::Dpf, Scheme::Digits] {
            let (how, alpha) = (comparison(scheme, w), values::<u32>(TILE, w - 1, w));
            let part = Part { elements: TILE, fields: Comparison::<Cpu<u32>>::fields(&how) };
            group.throughput(Throughput::Elements(TILE as u64));
            group.bench_function(BenchmarkId::new(scheme.to_string(), w), |b| {
                b.iter(|| {
                    let mut sink = Discard;
                    let mut deal = Deal::new(cpu::<u32>(), seeds(), ORIGIN, 1, &mut sink);
                    deal.tiles("bench", 0, &part, |t| how.deal(t, &alpha))
                });
            });
        }
        let baseline = Baseline::new(w);
        group.throughput(Throughput::Elements(BASELINE as u64));
        group.bench_function(BenchmarkId::new("fss-rs dcf", w), |b| {
            b.iter(|| baseline.functions.iter().for_each(|f| _ = black_box(baseline.generate(f))));
        });
    }
    group.finish();
}

/// One party's answers on one tile. For digits: the lookups in all tables, without the exchange and the merge, which only
/// a gate can do (see `gates`).
fn evaluate(c: &mut Criterion) {
    let mut group = c.benchmark_group("compare evaluate");
    let dev = cpu::<u32>();
    for w in WIDTHS {
        group.throughput(Throughput::Elements(TILE as u64));
        let x = values::<u32>(TILE, w - 1, w);
        let hash = TreeHash::new(ORIGIN, 0, 0, 0);
        let root =
            |p: usize| (0..TILE as u128).map(|i| (i * 0x9e37_79b9 * 2) | p as u128).collect::<Vec<_>>();
        let roots = [root(0), root(1)];
        let words = dev.dpf_generate(&hash, w, [&roots[0], &roots[1]], &values::<u32>(TILE, w - 1, w));
        group.bench_function(BenchmarkId::new("dpf", w), |b| {
            let tile = DpfTile { words: &words, tile_len: TILE, from: 0 };
            b.iter(|| dev.dpf_evaluate(&hash, w, &roots[0], tile, &x));
        });
        let mut shift = w;
        let digit = |&m: &u32| {
            shift -= m;
            let table =
                Packed { bytes: stream().bytes(0, TILE << m >> 3).into(), at: 0, width: 1 << m, len: TILE };
            (table, shift)
        };
        let tables: Vec<(Packed, u32)> =
            Digits::new(Widths { w, low: None }).split().iter().map(digit).collect();
        group.bench_function(BenchmarkId::new("digits (lookups)", w), |b| {
            b.iter(|| tables.iter().for_each(|(t, shift)| _ = black_box(dev.digit_lookup(t, &x, *shift))));
        });
        let baseline = Baseline::new(w);
        let keys: Vec<_> = baseline.functions.iter().map(|f| baseline.generate(f)).collect();
        group.throughput(Throughput::Elements(BASELINE as u64));
        group.bench_function(BenchmarkId::new("fss-rs dcf", w), |b| {
            b.iter(|| {
                keys.iter().zip(&baseline.points).for_each(|(k, x)| _ = black_box(baseline.evaluate(k, x)))
            });
        });
    }
    group.finish();
}

type Function = CmpFn<4, 16, ByteGroup<16>>;
type Key = fss_rs::Share<16, ByteGroup<16>>;

/// `fss-rs`'s comparison function with its stock generator, one key after another.
struct Baseline {
    dcf: DcfImpl<4, 16, Aes128MatyasMeyerOseasPrg<16, 2, 4>>,
    functions: Vec<Function>,
    points: Vec<[u8; 4]>,
}

impl Baseline {
    fn new(w: u32) -> Baseline {
        let prg = Aes128MatyasMeyerOseasPrg::new(&[&[1; 16], &[2; 16], &[3; 16], &[4; 16]]);
        // big-endian, the compared bits leftmost
        let aligned = |v: &u32| (v << (32 - w)).to_be_bytes();
        let alphas = values::<u32>(BASELINE, w - 1, w);
        let function = |v| CmpFn { alpha: aligned(v), beta: ByteGroup([1; 16]), bound: BoundState::LtAlpha };
        Baseline {
            dcf: DcfImpl::new_with_filter(prg, w as usize),
            functions: alphas.iter().map(function).collect(),
            points: alphas.iter().rev().map(aligned).collect(),
        }
    }
    fn generate(&self, f: &Function) -> Key {
        self.dcf.r#gen(f, [&[5; 16], &[6; 16]])
    }
    fn evaluate(&self, key: &Key, x: &[u8; 4]) -> ByteGroup<16> {
        let mut y = ByteGroup::zero();
        self.dcf.eval(false, key, &[x], &mut [&mut y]);
        y
    }
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
    targets = aes, generate, evaluate, product::<u32>, product::<u64>
}
criterion_main!(benches);
