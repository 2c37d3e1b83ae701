//! What pools are allowed, and how many bits an average cuts off.

use crate::graph::{Graph, Op};
use crate::plan::Options;
use crate::{Error, Result};
use twoply_primitives::{Fixed, Window};

/// Most taps that the windows of one pool may have together, per image: the tree of comparisons is held in memory.
const MAX_TAPS: usize = 1 << 24;
/// Most bits cut off by an average pool.
const MAX_CUT: u32 = 24;

/// Bits cut off by each average pool, by node; 0 elsewhere. `ranges` holds the largest magnitude of each node's result.
///
/// # Errors
/// [`Error::Data`] naming a pool of too many taps, or one whose mean has no room.
pub(super) fn cuts(
    graph: &Graph,
    shapes: &[Vec<usize>],
    options: &Options,
    ranges: &[f64],
) -> Result<Vec<u32>> {
    let mut cuts = vec![0; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let (Op::MaxPool(window) | Op::AvgPool { window, .. }) = &node.op else { continue };
        let refuse = |why: String| Error::data("plan", format!("`{}`: {why}", node.name));
        let taps = shapes[i].iter().chain(&window.kernel).try_fold(1usize, |n, &d| n.checked_mul(d));
        if taps.is_none_or(|n| n > MAX_TAPS) {
            return Err(refuse(format!("its windows have more than {MAX_TAPS} taps together")));
        }
        if matches!(node.op, Op::AvgPool { .. }) {
            cuts[i] = cut(options, window, ranges.get(i).copied()).map_err(refuse)?;
        }
    }
    Ok(cuts)
}

/// Largest mean, in real terms, whose sum scaled by `2^cut` stays within the contract of a truncation.
pub(super) fn limit(fixed: Fixed, cut: u32) -> f64 {
    let (n, f, cut) = (f64::from(fixed.n), f64::from(fixed.f), f64::from(cut));
    (n - 2.0 - f - cut).exp2() - (-f).exp2()
}

/// Bits for the factor `2^cut / count` of an average pool: exact for a power of two, otherwise as many as the range
/// leaves. The scaled sum must stay within the contract of a truncation, `|x| <= 2^(n-2) - 2^cut` (protocols, section 1),
/// and the rounded factor within 1/32 of the true one; else the pool is refused.
fn cut(options: &Options, window: &Window, range: Option<f64>) -> std::result::Result<u32, String> {
    let (count, fixed) = (window.kernel[0] * window.kernel[1], options.fixed);
    // Largest magnitude of a mean, in units of 2^-f.
    let peak = range.filter(|r| *r > 0.0).unwrap_or(fixed.limit()) * (fixed.f as f64).exp2();
    let fits = |cut: u32, error: f64| {
        let scale = (cut as f64).exp2();
        peak * scale * (1.0 + error) <= ((fixed.n - 2) as f64).exp2() - scale
    };
    let refuse = || {
        format!(
            "no room for a mean of {count} values up to {peak:.0} ulp; choose --ring 64, or fewer fraction bits"
        )
    };
    if count.is_power_of_two() && window.pad == [0; 4] {
        return Some(count.ilog2().max(1)).filter(|&cut| fits(cut, 0.0)).ok_or_else(refuse);
    }
    let error = |cut: u32| count as f64 / (cut as f64 + 1.0).exp2();
    let widest = (1..=MAX_CUT).rev().find(|&cut| fits(cut, error(cut)));
    widest.filter(|&cut| error(cut) <= 1.0 / 32.0).ok_or_else(refuse)
}
