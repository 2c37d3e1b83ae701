//! Keys through a stream within one process: from the dealer's tiles to a party that lets go of them at once. Bytes are
//! copied into frames, hashed twice, and wiped twice.

#[path = "../tests/stream/released.rs"]
mod released;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use released::released;
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use twoply_preprocessing::{GateLayout, Layout, StepLayout, StreamReader, StreamWriter};
use twoply_primitives::channel::{Loopback, pair};
use twoply_primitives::{KeySetId, KeySink, KeySource, Part, PartyId, Site, TILE};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const SET: KeySetId = KeySetId([1; 16]);
/// P1's keys of a step.
const BYTES: usize = 58 << 20;

/// Deals `steps` steps of these tiles, with their lengths, to P1, who takes them all.
fn run(steps: u64, layout: &Arc<StepLayout>, sites: &[(Site, usize, usize)], credit: u64) {
    let ((a, silent), (b, end)) = (pair(), pair());
    thread::scope(|scope| {
        scope.spawn(|| {
            let (party, credit) = (PartyId::P0, layout.longest(PartyId::P0));
            let mut reader = StreamReader::start(Box::new(silent), SET, party, credit, PATIENCE).unwrap();
            (0..steps).for_each(|_| reader.step(layout).unwrap().finish().unwrap());
            reader.finish().unwrap();
        });
        scope.spawn(|| deal([a, b], steps, layout, sites));
        let mut reader = StreamReader::start(Box::new(end), SET, PartyId::P1, credit, PATIENCE).unwrap();
        // the next step comes in while one is used
        let begin = |reader: &mut StreamReader| reader.step(layout).unwrap();
        let mut feeds = vec![begin(&mut reader)];
        for step in 1..=steps {
            if step < steps {
                feeds.push(begin(&mut reader));
            }
            let feed = feeds.remove(0);
            for (at, tile, _) in sites {
                std::hint::black_box(feed.tile("relu", *at, *tile).unwrap());
            }
            feed.finish().unwrap();
        }
        reader.finish().unwrap();
    });
}

fn deal(channels: [Loopback; 2], steps: u64, layout: &StepLayout, sites: &[(Site, usize, usize)]) {
    let mut writer = StreamWriter::new(SET, channels.map(|c| Box::new(c) as _));
    for released in released(SET, steps as u32) {
        let mut feeder = writer.step(released, layout).unwrap();
        for (at, tile, len) in sites {
            feeder.put("relu", *at, *tile, [vec![], vec![7; *len]]).unwrap();
        }
        feeder.finish().unwrap();
    }
    writer.finish().unwrap();
}

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    group.sample_size(10);
    // digits and words of a ReLU; a short last tile per part, as of biases
    for (name, bits, elements) in [("tiles of 71 KB", 142, 1 << 20), ("tiles of 1 KB", 32, 256)] {
        let part = Part { elements, fields: [vec![], vec![bits]] };
        let parts = BYTES * 8 / bits as usize / elements;
        let gates = vec![GateLayout { name: "relu".into(), parts: vec![part.clone(); parts] }];
        let layout = Arc::new(StepLayout::new(&Layout { gates }).unwrap());
        let site = |p| Site { gate: 0, part: p as u32 };
        let tiles = (0..parts).flat_map(|p| (0..elements.div_ceil(TILE)).map(move |t| (site(p), t)));
        let sites: Vec<_> = tiles.map(|(at, t)| (at, t, part.tile_bytes(1, part.tile_len(t)))).collect();
        group.throughput(Throughput::Bytes(layout.bytes(PartyId::P1)));
        for credit in [1 << 20, 128 << 20] {
            group.bench_function(format!("{name}, credit {} MB", credit >> 20), |b| {
                b.iter_custom(|steps| {
                    let begun = Instant::now();
                    run(steps, &layout, &sites, credit);
                    begun.elapsed()
                });
            });
        }
    }
}

criterion_group!(benches, streams);
criterion_main!(benches);
