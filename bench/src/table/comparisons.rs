//! AES, point functions, digit tables, and a whole gate around a comparison.

use super::Row;
use super::timing::{Timed, in_turns};
use crate::alone::Compared;
use crate::baseline::Baseline;
use crate::gate::{Dealt, Operand};
use crate::memory::in_memory;
use crate::{ORIGIN, cpu, values};
use rayon::prelude::*;
use std::hint::black_box;
use twoply_primitives::backend::{DpfTile, Isa};
use twoply_primitives::compare::{Comparison, Scheme, Widths};
use twoply_primitives::gate::Relu;
use twoply_primitives::prg::{Roots, Streams, TreeHash};
use twoply_primitives::{Backend, Cpu, Form, PartyId, Result, Ring, Site, TILE};

/// Tiles of a point-function row: more than any cache of a core holds.
const TILES: usize = 32;

/// Blocks timed at once for the ceiling.
const BLOCKS: usize = 1 << 16;

/// Keys of the baseline's batch.
const BASELINE: usize = 256;

/// Compared bits: ReLU behind a truncation by 16 and by 12 bits at n=32, on all of 32 bits, on all of 64.
const WIDTHS: [u32; 4] = [15, 19, 31, 63];

const AT: Site = Site { gate: 0, part: 0 };

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap_or_else(|e| panic!("threads: {e}"))
}

fn streams(isa: Isa) -> [Streams; 2] {
    [1, 2].map(|key| Streams::on(isa, &[key; 16]))
}

/// All rows, on the rung `top` and, where it differs, on the one of AES-NI.
pub fn rows(top: Isa, out: &mut Vec<Row>, say: &mut dyn FnMut(&str)) -> Result<()> {
    for isa in Isa::here().filter(|i| *i <= top && *i != Isa::Portable) {
        say(&format!("AES, {}", isa.name()));
        aes(isa, out);
    }
    for w in WIDTHS {
        say(&format!("point functions of {w} bits"));
        match w {
            0..=32 => dpf::<u32, 4>(w, top, out),
            _ => dpf::<u64, 8>(w, top, out),
        }
        say(&format!("digits of {w} bits"));
        match w {
            0..=32 => digits::<u32>(w, out)?,
            _ => digits::<u64>(w, out)?,
        }
    }
    say("whole gates");
    gates(out)
}

fn row(name: &str, (n, w, threads): (u32, u32, usize), ns: f64) -> Row {
    let (name, key_bytes) = (name.to_string(), None);
    Row::Comparison { name, n, w, threads, ns, ceiling_fraction: None, ratio_fss_rs: None, key_bytes }
}

fn aes(isa: Isa, out: &mut Vec<Row>) {
    let [s, _] = streams(isa);
    let field = s.field(1);
    let mut ceiling = || _ = black_box(s.ceiling(black_box(BLOCKS)));
    let mut expand = || _ = black_box(cpu::<u32>().expand(field, 0, BLOCKS * 4, 32));
    let mut things =
        [&mut ceiling as &mut dyn FnMut(), &mut expand].map(|run| Timed { run, units: BLOCKS as f64 });
    let got = in_turns(&mut things);
    for (name, (ns, by)) in ["AES block, ceiling", "AES block, expanded"].into_iter().zip(got) {
        let mut r = row(&format!("{name}, {}", isa.name()), (128, 0, 1), ns);
        if let Row::Comparison { ceiling_fraction, .. } = &mut r {
            *ceiling_fraction = Some(1.0 / by);
        }
        out.push(r);
    }
}

/// Point functions whose keys lie in memory, of ring `R`, beside the ceiling and `fss-rs` on points of `N` bytes.
fn dpf<R: Ring, const N: usize>(w: u32, top: Isa, out: &mut Vec<Row>) {
    let baseline = Baseline::<N>::new(w, BASELINE);
    let keys = baseline.generate();
    for isa in Isa::here().filter(|i| *i <= top && *i != Isa::Portable) {
        let (dev, streams) = (cpu::<R>(), streams(isa));
        let hash = TreeHash::on(isa, ORIGIN, AT, 0);
        let roots =
            |tile: usize| PartyId::BOTH.map(|p| Roots::new(streams[p.index()].field(1), p, tile * TILE));
        let (alpha, x) = (values::<R>(TILE, w - 1, w), values::<R>(TILE + 1, w - 1, w)[1..].to_vec());
        let bytes = TILE * (w as usize - 6) * 16;
        let mut tiles = vec![vec![0; bytes]; TILES];
        let generate =
            |(i, words): (usize, &mut Vec<u8>)| dev.dpf_generate(&hash, w, roots(i), &alpha, words);
        tiles.iter_mut().enumerate().for_each(generate);
        // the dealer hands a tile on before it makes the next: one per thread, written again and again
        let scratch = [0, 1].map(|_| std::sync::Mutex::new(vec![0; bytes]));
        let deal = |i: usize| {
            if let Ok(mut tile) = scratch[rayon::current_thread_index().unwrap_or(0)].lock() {
                generate((i, &mut tile));
            }
        };
        let evaluate = |(i, words): (usize, &Vec<u8>)| {
            let tile = DpfTile { words, tile_len: TILE, from: 0 };
            _ = black_box(dev.dpf_evaluate(&hash, w, roots(i)[0], tile, &x));
        };
        let blocks = (w - 7) as f64;
        let mut ceiling = || _ = black_box(streams[0].ceiling(black_box(BLOCKS)));
        let mut theirs = || _ = black_box(baseline.evaluate(&keys));
        let mut ours = || tiles.iter().enumerate().for_each(evaluate);
        let mut read = || _ = black_box(tiles.iter().map(|t| xor(t)).fold(0, |a, b| a ^ b));
        let mut dealt = || (0..TILES).for_each(deal);
        let many = (TILES * TILE) as f64;
        let got = in_turns(&mut [
            Timed { run: &mut ours, units: many },
            Timed { run: &mut ceiling, units: BLOCKS as f64 },
            Timed { run: &mut theirs, units: BASELINE as f64 },
            Timed { run: &mut dealt, units: many },
            Timed { run: &mut read, units: many },
        ]);
        let key = Some([bytes as f64 / TILE as f64; 2]);
        let mut push = |name: &str, threads, ns, ceiling_fraction, ratio_fss_rs| {
            let name = format!("{name}, {}", isa.name());
            let n = R::BITS;
            out.push(Row::Comparison {
                name,
                n,
                w,
                threads,
                ns,
                ceiling_fraction,
                ratio_fss_rs,
                key_bytes: key,
            });
        };
        push("dpf evaluate", 1, got[0].0, Some(blocks * got[1].1), Some(got[2].1));
        push("dpf generate", 1, got[3].0, Some((2.0 * blocks + 2.0) * got[1].1 / got[3].1), None);
        if isa < top {
            continue;
        }
        let (ns, times) = on_two(many, &|| tiles.par_iter().enumerate().for_each(evaluate));
        push(&format!("dpf evaluate, {times:.2} times one thread"), 2, ns, None, None);
        let (ns, times) = on_two(many, &|| (0..TILES).into_par_iter().for_each(deal));
        push(&format!("dpf generate, {times:.2} times one thread"), 2, ns, None, None);
        push("reading the keys beside", 1, got[4].0, None, None);
        push("fss-rs DCF evaluate beside", 1, got[2].0, None, Some(1.0));
    }
}

/// All words of a tile, read once.
fn xor(tile: &[u8]) -> u64 {
    let mut sums = [0; 8];
    for words in tile.as_chunks::<64>().0 {
        for (sum, word) in sums.iter_mut().zip(words.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sums.iter().fold(0, |a, b| a ^ b)
}

/// Nanoseconds per unit of the work on two threads, and how many times one thread's speed that is.
fn on_two(units: f64, work: &(dyn Fn() + Sync)) -> (f64, f64) {
    let pools = [pool(1), pool(2)];
    let (mut one, mut two) = (|| pools[0].install(work), || pools[1].install(work));
    let got = in_turns(&mut [Timed { run: &mut one, units }, Timed { run: &mut two, units }]);
    (got[1].0, 1.0 / got[1].1)
}

/// Digit tables of one tile, which stay in cache: each party's lookups and merge, and both halves' dealing.
fn digits<R: Ring>(w: u32, out: &mut Vec<Row>) -> Result<()> {
    let how = Scheme::Digits.at(Widths { w, low: None });
    let fields = Comparison::<Cpu<R>>::fields(&how);
    let stored = fields.map(|f| f.iter().sum::<u32>() as f64 / 8.0);
    let compared = Compared::new(cpu::<R>(), how, &values::<R>(TILE, w - 1, w), &in_memory)?;
    let x = values::<R>(TILE + 1, w - 1, w)[1..].to_vec();
    let one = pool(1);
    let mut failed = Ok(());
    let mut keep = |r: Result<()>| {
        if r.is_err() {
            failed = r;
        }
    };
    let got = one.install(|| {
        let keep = std::cell::RefCell::new(&mut keep);
        let mut p0 = || (keep.borrow_mut())(compared.evaluate(PartyId::P0, &x));
        let mut p1 = || (keep.borrow_mut())(compared.evaluate(PartyId::P1, &x));
        let mut deal = || (keep.borrow_mut())(compared.deal());
        in_turns(
            &mut [&mut p0 as &mut dyn FnMut(), &mut p1, &mut deal]
                .map(|run| Timed { run, units: TILE as f64 }),
        )
    });
    failed?;
    let names = ["digits evaluate, P0 in cache", "digits evaluate, P1 in cache", "digits deal, both halves"];
    for (name, (ns, _)) in names.into_iter().zip(got) {
        let mut r = row(name, (R::BITS, w, 1), ns);
        if let Row::Comparison { key_bytes, .. } = &mut r {
            *key_bytes = Some(stored);
        }
        out.push(r);
    }
    Ok(())
}

/// ReLU on a wire of 32 bits, from the open operand to the open result: one party with a peer that costs nothing, beside
/// the comparison alone.
fn gates(out: &mut Vec<Row>) -> Result<()> {
    let (w, len) = (31, 16 * TILE);
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        let dealt = Dealt::new(
            cpu::<u32>(),
            Relu { scheme, shift: 0, out: 32 },
            &[Operand::Wire(Form::new([16, TILE], 32))],
            &in_memory,
        )?;
        let compared = Compared::new(
            cpu::<u32>(),
            scheme.at(Widths { w, low: None }),
            &values::<u32>(len, w - 1, w),
            &in_memory,
        )?;
        let x = values::<u32>(len + 1, w - 1, w)[1..].to_vec();
        for me in PartyId::BOTH {
            let got = pool(1).install(|| {
                let mut alone = || _ = black_box(compared.evaluate(me, &x));
                let mut gate = || _ = black_box(dealt.alone(me));
                in_turns(
                    &mut [&mut alone as &mut dyn FnMut(), &mut gate]
                        .map(|run| Timed { run, units: len as f64 }),
                )
            });
            dealt.alone(me)?;
            compared.evaluate(me, &x)?;
            let name = format!("ReLU gate, {scheme}, {me}: {:.2} times its comparison", got[1].1);
            out.push(row(&name, (32, w, 1), got[1].0));
        }
    }
    Ok(())
}
