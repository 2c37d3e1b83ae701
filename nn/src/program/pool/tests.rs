//! Means within 4 ulp of the exact ones, by the clear engine, for whatever window plans.

use super::*;
use crate::engine::{Clear, Planner};
use crate::graph::{Input, Node, Normalise};
use crate::{Program, Reveal};
use twoply_primitives::Ring;
use twoply_primitives::gate::Rounding;

/// An average pool of `[1, h, w]`, with something behind it, so that its result is a wire.
fn program(
    window: Window,
    count_include_pad: bool,
    [h, w]: [usize; 2],
    (fixed, rounding): (Fixed, Rounding),
    range: f64,
) -> Result<Program> {
    let [oh, ow] = window.output(h, w).unwrap();
    let ops = [Op::AvgPool { window, count_include_pad }, Op::Reshape(vec![oh * ow])];
    let node = |(i, op): (usize, Op)| {
        let inputs = vec![if i == 0 { Source::Input } else { Source::Node(i - 1) }];
        Node { name: format!("n{i}"), op, inputs }
    };
    let graph = Graph {
        name: "g".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, h, w],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![],
        nodes: ops.into_iter().enumerate().map(node).collect(),
    };
    let options = Options { fixed, rounding, reveal: Reveal::Logits, ..Options::default() };
    Program::new(&graph, &options, &[range, range])
}

/// Largest error in ulp of the means of `x`, held against the exact ones, for every way the coins can fall.
fn worst<R: Ring>(p: &Program, window: Window, include: bool, [h, w]: [usize; 2], x: &[i64]) -> f64 {
    let [_, ow] = window.output(h, w).unwrap();
    let encoded: Vec<R> = x.iter().map(|v| R::from_i64(*v)).collect();
    let mut planner = Planner::new(R::BITS);
    p.run(&mut planner, &[], 1).unwrap();
    let len = planner.gates[1].output.len();
    let truncations = planner.gates.len() - 2; // but the input and the delivery
    let mut engines = vec![Clear::new(encoded.clone())];
    for coin in [|_| 0u64, |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44] {
        let coins = (1..=truncations).map(|g| (g as u32, (0..len).map(|i| coin(i + g)).collect()));
        engines.push(Clear::with_coins(encoded.clone(), coins.collect()));
    }
    let mut worst = 0.0;
    for mut engine in engines {
        p.run(&mut engine, &[], 1).unwrap();
        for (at, got) in engine.output.iter().enumerate() {
            let taps: Vec<i64> = window.taps(h, w, at / ow, at % ow).map(|t| x[t]).collect();
            let count = if include { window.kernel[0] * window.kernel[1] } else { taps.len().max(1) };
            // a difference of whole numbers, so that nothing is lost to floating point
            let sum: i128 = taps.iter().map(|v| i128::from(*v)).sum();
            let off = i128::from(got.signed()) * count as i128 - sum;
            worst = f64::max(worst, off.unsigned_abs() as f64 / count as f64);
        }
    }
    worst
}

/// Inputs within a plane that reach the ends of the range, and random ones.
fn planes(len: usize, peak: i64) -> Vec<Vec<i64>> {
    let hash = |i: usize| blake3::hash(&(i as u64).to_le_bytes()).as_bytes()[..8].try_into().unwrap();
    let random = |i: usize| i64::from_le_bytes(hash(i));
    let noise = |scale: i64| (0..len).map(|i| random(i) % (scale + 1)).collect::<Vec<i64>>();
    vec![
        vec![peak; len],
        vec![-peak; len],
        vec![1; len],
        (0..len).map(|i| if i == 0 { -1 } else { 0 }).collect(),
        (0..len).map(|i| if i % 2 == 0 { peak } else { -peak }).collect(),
        noise(peak),
        noise(peak).iter().map(|v| v.abs()).collect(),
        noise(9),
    ]
}

/// Checks one window in both rings, at several fractions and ranges; counts plans, those of two steps, and refusals.
fn check(window: Window, plane: [usize; 2], tally: &mut [usize; 3]) {
    let forms = [(32, 12), (32, 4), (32, 8), (32, 14), (64, 16), (64, 30)].map(|(n, f)| Fixed { n, f });
    for (i, fixed) in forms.into_iter().enumerate() {
        for (j, part) in [1.0, 0.3, 0.02, 1e-4].into_iter().enumerate() {
            // both roundings and both ways to count, with every fraction and every range
            for (k, rounding) in [Rounding::PublicCoin, Rounding::Floor].into_iter().enumerate() {
                let include = (i + j + k) % 2 == 0;
                let Ok(p) = program(window, include, plane, (fixed, rounding), fixed.limit() * part) else {
                    tally[2] += 1;
                    continue;
                };
                tally[0] += 1;
                let mean = p.means[0].clone().unwrap();
                tally[1] += usize::from(mean.split > 0);
                let peak = (fixed.limit() * part * f64::from(fixed.f).exp2()) as i64;
                assert!(p.limit(0) >= fixed.limit() * part, "{window:?} {fixed:?}: {mean:?}");
                for x in planes(plane[0] * plane[1], peak) {
                    let off = match fixed.n {
                        32 => worst::<u32>(&p, window, include, plane, &x),
                        _ => worst::<u64>(&p, window, include, plane, &x),
                    };
                    assert!(
                        off < 4.0,
                        "{window:?} {plane:?} {fixed:?} {rounding:?} {part} {mean:?}: {off} ulp"
                    );
                }
            }
        }
    }
}

fn whole(kernel: [usize; 2]) -> Window {
    Window { kernel, ..Window::square(1, 1) }
}

#[test]
fn global_means_of_any_extent_are_right_to_four_ulp() {
    let full = std::env::var_os("TWOPLY_FULL").is_some_and(|v| v == "1");
    let sampled = [1, 2, 3, 5, 7, 8, 11, 13, 14, 16, 23, 31, 32, 37, 48, 55, 61, 63, 64];
    let extents: Vec<usize> = if full { (1..=64).collect() } else { sampled.to_vec() };
    let mut tally = [0; 3];
    for &h in &extents {
        // long and short ones, squares, and neighbours that share few factors
        let others = [1, h, 65 - h, (h * 7 + 3) % 64 + 1];
        let all = if full { extents.clone() } else { others.to_vec() };
        all.into_iter().for_each(|w| check(whole([h, w]), [h, w], &mut tally));
    }
    check(whole([16, 31]), [16, 31], &mut tally);
    check(whole([1, 3025]), [1, 3025], &mut tally);
    let [plans, two, refused] = tally;
    assert!(plans > 1000 && two > 200 && refused > 0, "{tally:?}");
}

#[test]
fn padded_and_sliding_means_are_right_to_four_ulp() {
    let mut tally = [0; 3];
    for (kernel, stride, pad, plane) in [
        ([3, 3], 2, [1; 4], [7, 6]),
        ([2, 2], 2, [0; 4], [8, 8]),
        ([5, 5], 1, [2; 4], [6, 9]),
        ([13, 13], 6, [6; 4], [20, 19]),
        ([16, 31], 9, [3, 15, 8, 0], [21, 33]),
        ([55, 55], 27, [27; 4], [56, 55]),
        ([1, 49], 5, [0, 20, 0, 24], [3, 50]),
    ] {
        let window = Window { kernel, stride: [stride; 2], pad, dilation: [1, 1] };
        check(window, plane, &mut tally);
        let dilated = Window { kernel: kernel.map(|k| k.div_ceil(2)), dilation: [2, 1], ..window };
        check(dilated, plane, &mut tally);
    }
    assert!(tally[0] > 300 && tally[1] > 30, "{tally:?}");
}

const SMALL: Fixed = Fixed { n: 32, f: 12 };

fn mean(kernel: [usize; 2], fixed: Fixed, range: f64) -> Result<Mean> {
    let p = program(whole(kernel), true, kernel, (fixed, Rounding::PublicCoin), range)?;
    Ok(p.means[0].clone().unwrap())
}

#[test]
fn windows_that_one_step_serves_take_one() {
    assert_eq!(mean([2, 2], SMALL, 60.0).unwrap(), Mean { split: 0, cut: 2, limit: (1 << 28) - 1 });
    assert_eq!(mean([1, 1], SMALL, 1.0).unwrap().cut, 1);
    for (kernel, range) in [([3, 3], 1.5), ([7, 7], 1.5), ([8, 8], 60.0), ([13, 13], 0.5)] {
        assert_eq!(mean(kernel, SMALL, range).unwrap().split, 0, "{kernel:?}");
    }
    for (kernel, range) in [([13, 13], 1.5), ([16, 31], 1.5), ([55, 55], 1.5), ([7, 7], 60.0)] {
        assert!(mean(kernel, SMALL, range).unwrap().split > 0, "{kernel:?}");
    }
}

#[test]
fn repro_a_large_window_is_not_biased() {
    // all means were 1.5 % too large: 11 / 2^15 for 1 / 3025
    for kernel in [[55, 55], [13, 13], [16, 31]] {
        let p = program(whole(kernel), true, kernel, (SMALL, Rounding::PublicCoin), 3.0).unwrap();
        let x = vec![2 << 12; kernel[0] * kernel[1]];
        assert!(worst::<u32>(&p, whole(kernel), true, kernel, &x) <= 1.0, "{kernel:?}");
    }
}

#[test]
fn sums_beyond_the_ring_are_refused_with_a_way_out() {
    let why = mean([65, 65], SMALL, 63.9).unwrap_err().to_string();
    assert!(why.contains("`n0`") && why.contains("4225") && why.contains("--ring 64"), "{why}");
    assert!(mean([65, 65], Fixed { n: 64, f: 16 }, 63.9).is_ok());
    let why = mean([64, 64], Fixed { n: 64, f: 30 }, 3.9).map(|m| m.cut);
    assert!(why.is_ok(), "{why:?}");
}

/// The contract of both truncations holds up to the limit that is told, and the next larger mean may break it.
#[test]
fn limits_are_those_of_the_truncations() {
    for (kernel, range) in [([55, 55], 1.5), ([13, 13], 20.0), ([3, 3], 1.0), ([4, 4], 1.0)] {
        let options = Options { fixed: SMALL, ..Options::default() };
        let pool = Pool::new(&options, [kernel[0] * kernel[1]].into(), Some(range));
        let mean = pool.mean().unwrap();
        assert!(pool.fits(mean.limit, (mean.split, mean.cut)));
        assert!(!pool.fits(mean.limit + 1, (mean.split, mean.cut)));
    }
}
