//! Gates on one batch: the dealer's work, both parties' on a loopback pair (two threads, one machine), and one party's
//! alone on one thread. Below them the parts: digit comparison, packing, the arithmetic on a tile.

mod cpu;

use cpu::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::sync::LazyLock;
use std::time::Duration;
use twoply_bench::alone::Compared;
use twoply_bench::gate::{Dealt, Operand};
use twoply_bench::memory::in_memory;
use twoply_bench::{cpu, values};
use twoply_primitives::backend::Packed;
use twoply_primitives::compare::{Scheme, Widths};
use twoply_primitives::gate::{Conv2d, Linear, MaxPool, Mul, Relu, ReluFloor, Staircase, Step, Table};
use twoply_primitives::{Backend, Form, Gate, PartyId, Ring, TILE, Window};

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
    let dealt = LazyLock::new(|| {
        Dealt::new(cpu::<R>(), gate.clone(), operands, &in_memory).expect("a gate that can be dealt")
    });
    let mut group = c.benchmark_group(format!("{} u{}", G::NAME, R::BITS));
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new("deal", name), |b| b.iter(|| dealt.deal().expect("dealt")));
    group.bench_function(BenchmarkId::new("eval", name), |b| b.iter(|| dealt.eval().expect("evaluated")));
    group.finish();
}

/// One party's whole gate, with a peer that only echoes.
fn alone<R: Ring, G: Gate + Clone>(
    c: &mut Criterion<CpuTime>,
    name: &str,
    gate: &G,
    operands: &[Operand],
    count: usize,
) {
    let dealt = LazyLock::new(|| {
        Dealt::new(cpu::<R>(), gate.clone(), operands, &in_memory).expect("a gate that can be dealt")
    });
    let mut group = c.benchmark_group(format!("{} u{} alone", G::NAME, R::BITS));
    group.throughput(Throughput::Elements(count as u64));
    for me in PartyId::BOTH {
        group.bench_function(BenchmarkId::new(me.to_string(), name), |b| {
            one_thread(|| b.iter(|| dealt.alone(me).expect("evaluated")))
        });
    }
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
        // as wide as the ring: w = n - 1, nothing to lift
        let full = Relu { scheme, shift: 0, out: n };
        both::<R, _>(c, &format!("{name} w={}", n - 1), &full, &[wire(&[batch, row], n)], batch * row);
        let floor = ReluFloor { scheme, cut: n - m };
        both::<R, _>(c, &name, &floor, &[wire(&[batch, row], n)], batch * row);
        let pool = MaxPool { scheme, window: Window::square(2, 2) };
        // three comparisons per window
        both::<R, _>(c, &name, &pool, &[wire(&[batch, 20, 24, 24], m)], batch * 20 * 12 * 12);
    }
}

/// The two largest products of LeNet, and one of two wires; elements are multiplications.
fn products<R: Ring>(c: &mut Criterion, (n, m): (u32, u32)) {
    let (batch, cut) = (16, n - m);
    let fc = [wire(&[batch, 800], n), weight(&[500, 800], n), weight(&[500], n)];
    both::<R, _>(c, "800-500", &Linear { cut }, &fc, batch * 800 * 500);
    let conv = Conv2d { window: Window::square(5, 1), groups: 1, cut };
    let operands = [wire(&[batch, 20, 12, 12], n), weight(&[50, 20, 5, 5], n), weight(&[50], n)];
    both::<R, _>(c, "20-50 5x5", &conv, &operands, batch * 50 * 64 * 500);
    let operands = [wire(&[batch, 4096], n), wire(&[batch, 4096], n)];
    both::<R, _>(c, "two wires", &Mul { cut }, &operands, batch * 4096);
}

/// A table of exponentials of 15 bits, for places of `width` bits.
fn table(width: u32) -> Table {
    let entry = |j: u32| (16384.0 * (-f64::from(j) / f64::from(1 << (width - 4))).exp()).round() as u32;
    Table { width, shift: 0, bits: 15, entries: (0..1 << width).map(entry).collect() }
}

/// Thresholds in a geometric row, four an octave from 2^4 on.
fn staircase(scheme: Scheme, count: i32) -> Staircase {
    let steps = (0..count).map(|i| Step { at: 2f64.powf(4.0 + f64::from(i) / 4.0) as i64, by: -1000 });
    Staircase { scheme, base: 1 << 20, steps: steps.collect() }
}

/// Tables of the widths of a softmax and the widest, and staircases.
fn functions<R: Ring>(c: &mut Criterion) {
    let (batch, row) = (16, 4096);
    for width in [8, 10, 13] {
        let row = if width > 10 { row / 8 } else { row };
        both::<R, _>(c, &format!("w={width}"), &table(width), &[wire(&[batch, row], width)], batch * row);
    }
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let (gate, operands) = (staircase(scheme, 32), [wire(&[batch, 256], 20)]);
        both::<R, _>(c, &format!("{scheme} 32 steps"), &gate, &operands, batch * 256);
    }
}

/// Runs `f` on a pool of one thread, so that what is timed is one core's work and no hand-over.
fn one_thread(f: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread").install(f);
}

/// Tiles of a comparison: few enough for keys and buffers to stay in the cache.
const TILES: usize = 4;

/// Comparisons without the exchange, per party: the message and, for digits, the merge.
fn comparisons<R: Ring>(c: &mut Criterion<CpuTime>, widths: &[u32]) {
    for scheme in [Scheme::Digits, Scheme::Dpf] {
        let mut group = c.benchmark_group(format!("{scheme} u{}", R::BITS));
        group.throughput(Throughput::Elements((TILES * TILE) as u64));
        for &w in widths {
            let (alpha, x) =
                (values::<R>(TILES * TILE, w - 1, w), values::<R>(TILES * TILE + 1, w - 1, w)[1..].to_vec());
            let compared = Compared::new(cpu::<R>(), scheme.at(Widths { w, low: None }), &alpha, &in_memory)
                .expect("a comparison that can be dealt");
            group.bench_function(BenchmarkId::new("deal", w), |b| {
                one_thread(|| b.iter(|| compared.deal().expect("dealt")))
            });
            for me in PartyId::BOTH {
                group.bench_function(BenchmarkId::new(me.to_string(), w), |b| {
                    one_thread(|| b.iter(|| compared.evaluate(me, &x).expect("evaluated")))
                });
            }
        }
        group.finish();
    }
}

/// Element-wise work on a tile in the cache.
fn words<R: Ring>(c: &mut Criterion<CpuTime>, widths: &[u32]) {
    let (dev, x, y) = (cpu::<R>(), values::<R>(TILE, 30, R::BITS), values::<R>(TILE, 20, R::BITS));
    let mut group = c.benchmark_group(format!("words u{}", R::BITS));
    group.throughput(Throughput::Elements(TILE as u64));
    for &width in widths {
        let bytes = dev.pack(&x, width);
        let packed = Packed { bytes: bytes.into(), at: 0, width, len: TILE };
        group.bench_function(BenchmarkId::new("pack", width), |b| b.iter(|| dev.pack(&x, width)));
        group.bench_function(BenchmarkId::new("unpack", width), |b| b.iter(|| dev.unpack(&packed)));
    }
    let bits = dev.bit(&x, 7);
    let minus = R::ZERO.sub(R::ONE);
    group.bench_function("bit", |b| b.iter(|| dev.bit(&x, R::BITS - 1)));
    group.bench_function("of_bits", |b| b.iter(|| dev.of_bits(&bits)));
    group.bench_function("shift", |b| b.iter(|| dev.shift(&x, 3, 12, R::BITS - 12)));
    group.bench_function("lin", |b| b.iter(|| dev.lin(&[(R::ONE, &x), (minus, &y)], R::BITS - 12)));
    group.bench_function("mul", |b| b.iter(|| dev.mul(&x, &y)));
    group.finish();
}

/// ReLU of each width, and with exact rounding, tables, staircases, and products of two wires, for one party.
fn one_party<R: Ring>(c: &mut Criterion<CpuTime>, (n, m): (u32, u32)) {
    let (batch, row) = (16, 4096);
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let count = batch * row;
        for bits in [m, n] {
            let (relu, name) = (Relu { scheme, shift: 0, out: n }, format!("{scheme} w={}", bits - 1));
            alone::<R, _>(c, &name, &relu, &[wire(&[batch, row], bits)], count);
        }
        let floor = ReluFloor { scheme, cut: n - m };
        alone::<R, _>(c, &scheme.to_string(), &floor, &[wire(&[batch, row], n)], count);
    }
    for width in [8, 10, 13] {
        let row = if width > 10 { row / 8 } else { row };
        alone::<R, _>(c, &format!("w={width}"), &table(width), &[wire(&[batch, row], width)], batch * row);
    }
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let (gate, operands) = (staircase(scheme, 32), [wire(&[batch, 256], m)]);
        alone::<R, _>(c, &format!("{scheme} 32 steps"), &gate, &operands, batch * 256);
    }
    let (cut, operands) = (n - m, [wire(&[batch, row], n), wire(&[batch, row], n)]);
    alone::<R, _>(c, "two wires", &Mul { cut }, &operands, batch * row);
}

fn parts(c: &mut Criterion<CpuTime>) {
    comparisons::<u32>(c, &[15, 19, 31]);
    comparisons::<u64>(c, &[31, 47, 63]);
    words::<u32>(c, &[1, 12, 20, 31, 32]);
    words::<u64>(c, &[16, 48, 63, 64]);
    one_party::<u32>(c, NARROW);
    one_party::<u64>(c, WIDE);
}

fn gates(c: &mut Criterion) {
    rectifiers::<u32>(c, NARROW);
    rectifiers::<u64>(c, WIDE);
    products::<u32>(c, NARROW);
    products::<u64>(c, WIDE);
    functions::<u32>(c);
    functions::<u64>(c);
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = both_parties;
    config = config();
    targets = gates
}
criterion_group! {
    name = one_core;
    config = config().with_measurement(CpuTime);
    targets = parts
}
criterion_main!(one_core, both_parties);
