//! The sign is exact: no failure in a million inputs (10^8 with `TWOPLY_FULL=1`), random and adversarial, for both
//! comparisons and both rings, with the mask's low bits at zero and at both ends of the range.

use crate::common::{deal_at, full, random};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Gate, Relu};
use twoply_primitives::ring::ones;
use twoply_primitives::*;

/// Inputs per run; one run's keys are in memory at once.
const CHUNK: usize = 1 << 16;

/// Masks and masked values of `m` bits. Where a mask is special the value is too, in every combination.
fn inputs<R: Ring>(m: u32, entropy: u64) -> (Vec<R>, Vec<R>) {
    let (v, all, half) = (random(entropy, 3 * CHUNK), ones(m), 1 << (m - 1));
    let ends = [0, 1, half - 1, half, half + 1, all, all - 1, 127, 128, half | 127];
    let one = |i: usize| {
        let (kind, a, b) = (v[3 * i], v[3 * i + 1], v[3 * i + 2]);
        let end = |k: u64| ends[(k % 10) as usize];
        let r = match kind % 4 {
            0 => end(a),
            1 => a & half, // R_low = 0
            _ => a,
        };
        let t = match kind >> 2 & 3 {
            0 => end(b),
            1 => (b % 17).wrapping_sub(8),
            // one bit away from the sign's border, anywhere
            2 => half.wrapping_add(b % 5).wrapping_sub(2) ^ (1 << ((b >> 8) % m as u64)),
            _ => b,
        };
        let x = if kind >> 4 & 7 == 0 { end(b >> 16) } else { r.wrapping_add(t) };
        (R::from_u64(r & all), R::from_u64(x & all))
    };
    (0..CHUNK).map(one).unzip()
}

fn exact<R: Ring>(scheme: Scheme, m: u32, runs: usize) -> usize {
    let gate = Relu { scheme, shift: 0, out: R::BITS };
    for run in 0..runs as u64 {
        let (r, x) = inputs::<R>(m, run * 64 + m as u64);
        let t: Vec<R> = x.iter().zip(&r).map(|(x, r)| x.sub(*r).and(R::ones(m))).collect();
        let dealt = deal_at(&gate, &r, m, run);
        let got = dealt.play_masked(&gate, std::slice::from_ref(&x)).clear;
        let want = gate.ideal(&[&dealt.operands[0].form], &[&t], None);
        let wrong = (0..CHUNK).find(|&i| got[i] != want[i]);
        assert_eq!(
            wrong.map(|i| (r[i], x[i], got[i], want[i])),
            None,
            "{scheme}, {m} bits: (R, X, got, want)"
        );
    }
    runs * CHUNK
}

#[test]
fn the_sign_is_exact_in_both_comparisons() {
    let runs = if full() { 192 } else { 2 };
    let mut done = 0;
    for scheme in [Scheme::Dpf, Scheme::Digits] {
        done += exact::<u32>(scheme, 20, runs);
        done += exact::<u32>(scheme, 32, runs);
        done += exact::<u64>(scheme, 48, runs);
        done += exact::<u64>(scheme, 64, runs);
    }
    assert!(done >= if full() { 100_000_000 } else { 1_000_000 }, "{done} inputs");
    eprintln!("{done} inputs, no failure");
}

/// The test above can fail: with a mask's low bits at zero, the naive comparison with `2^w - R_low` is out of range.
#[test]
fn special_masks_are_among_the_inputs() {
    let (r, x) = inputs::<u32>(20, 20);
    let low = ones(19) as u32;
    let count = |f: &dyn Fn(u32, u32) -> bool| r.iter().zip(&x).filter(|(r, x)| f(**r, **x)).count();
    assert!(count(&|r, _| r & low == 0) > CHUNK / 8, "R_low = 0");
    assert!(count(&|r, _| r & low == low) > 100, "R_low = 2^w - 1");
    assert!(count(&|r, x| r == x) > 100, "t = 0");
    assert!(count(&|r, x| x.wrapping_sub(r) & 0xf_ffff == 1 << 19) > 100, "t = -2^(m-1)");
    assert!(count(&|r, x| x.wrapping_sub(r) & 0xf_ffff == low) > 100, "t = 2^(m-1) - 1");
    assert!(count(&|r, x| r & low == 0 && x & low == 0) > 100, "both low parts zero");
}
