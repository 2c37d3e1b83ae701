//! What pools are allowed, and how an average pool computes its means: within 4 ulp of the exact ones, or not at all.
//!
//! Let P be the largest magnitude of a mean, in units of the last place (ulp), and c the number of elements in one; a
//! sum is then at most `P c`. All bounds are checked with whole numbers, for every c that occurs, when a plan is made.
//!
//! **One step.** `cut(F sum)` with `F = round(2^cut / c)` is off by less than `1 + P |F c - 2^cut| / 2^cut` ulp: 1 for the
//! rounding (down, or up by one step at most), the rest for the rounded factor. The product must keep the contract of a
//! truncation, `|F sum| <= 2^(n-2) - 2^cut`, so F has about `n - 2 - log2(P c)` bits: enough for small windows, and any
//! power of two is exact; for 55 x 55 values it may be 5 bits, and every mean is off by a percent the same way.
//!
//! **Two steps**, a long division. With `hi = cut(sum)` by a bits and `lo = sum - 2^a hi`, whatever way hi was rounded,
//! `sum = 2^a hi + lo` exactly, `|hi| < P c / 2^a + 1` and `|lo| < 2^a`. With `2^a = q c + rho`, q rounded to the nearest,
//! so that `|rho| <= c / 2`,
//!
//! `sum / c = q hi + rest / c`, `rest = sum - q c hi = rho hi + lo`:
//!
//! the first part is a whole number of ulp, and the rest is small: only it is multiplied by a factor and cut. So the error
//! is less than `1 + |rest| |F / 2^cut - 1 / c|`, one ulp for the only rounding that the result sees, the same in both
//! roundings. About `2^a = c sqrt(P / 2)` makes the rest least, `c sqrt(2 P)` at most, and lets F have so many bits that
//! its part is about `P c / 2^(n-2)`, below 1 wherever the sum itself fits the ring. It costs one truncation more.
//!
//! A pool takes one step where that is good to 4 ulp, else two; if neither is, it is refused.

use super::{Run, Wire};
use crate::engine::Infer;
use crate::graph::{Graph, Op, Source};
use crate::plan::Options;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use twoply_primitives::gate::{AvgPool, Truncate};
use twoply_primitives::{Fixed, Local, Window};

/// Most taps that the windows of one pool may have together, per image: the tree of comparisons is held in memory.
const MAX_TAPS: usize = 1 << 24;
/// Most bits cut off by an average pool, where fewer serve as well.
const MAX_CUT: u32 = 24;
/// What rounded factors may cost, in ulp; rounding the result costs less than one more.
const MOST: u128 = 3;

/// How an average pool computes its means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mean {
    /// Bits at which the sum is split first (a above); 0 for one step.
    pub split: u32,
    /// Bits cut off the scaled sum or rest.
    pub cut: u32,
    /// Largest mean, in ulp, that keeps the contract of every truncation.
    limit: u128,
}

impl Mean {
    /// Largest mean, in real terms, that keeps the contract of every truncation.
    pub(super) fn limit(&self, fixed: Fixed) -> f64 {
        self.limit as f64 * (-f64::from(fixed.f)).exp2()
    }
}

/// The means of each average pool, by node. `ranges` holds the largest magnitude of each node's result.
///
/// # Errors
/// [`Error::Data`] naming a pool of too many taps, or one whose mean has no room.
pub(super) fn means(
    graph: &Graph,
    shapes: &[Vec<usize>],
    options: &Options,
    ranges: &[f64],
) -> Result<Vec<Option<Mean>>> {
    let mut means = vec![None; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let (Op::MaxPool(window) | Op::SumPool(window) | Op::AvgPool { window, .. }) = &node.op else {
            continue;
        };
        let refuse = |why: String| Error::data("plan", format!("`{}`: {why}", node.name));
        let taps = shapes[i].iter().chain(&window.kernel).try_fold(1usize, |n, &d| n.checked_mul(d));
        if taps.is_none_or(|n| n > MAX_TAPS) {
            return Err(refuse(format!("its windows have more than {MAX_TAPS} taps together")));
        }
        if let Op::AvgPool { count_include_pad, .. } = node.op {
            let plane = match node.inputs[0] {
                Source::Input => &graph.input.shape,
                Source::Node(j) => &shapes[j],
            };
            let &[_, h, w] = &plane[..] else { return Err(refuse("wants [c, h, w]".into())) };
            let counts = AvgPool::counts(window, count_include_pad, [h, w])?.into_iter().collect();
            means[i] = Some(Pool::new(options, counts, ranges.get(i).copied()).mean().map_err(refuse)?);
        }
    }
    Ok(means)
}

/// One average pool while it is decided.
struct Pool {
    fixed: Fixed,
    /// Numbers of elements that its means are taken over.
    counts: BTreeSet<usize>,
    /// Largest magnitude of a mean, in ulp.
    peak: u128,
}

/// What is scaled and cut last, for one number of elements.
struct Scaled {
    /// Its largest magnitude.
    most: u128,
    count: u128,
    factor: u128,
    cut: u32,
}

impl Scaled {
    fn new(most: u128, count: usize, cut: u32) -> Self {
        Scaled { most, count: count as u128, factor: AvgPool::factor(cut, count) as u128, cut }
    }
    /// Whether its product keeps the contract in a ring of `n` bits.
    fn fits(&self, n: u32) -> bool {
        let product = self.most.checked_mul(self.factor);
        product.and_then(|v| v.checked_add(1 << self.cut)).is_some_and(|v| v <= 1 << (n - 2))
    }
    /// Whether the rounded factor costs at most `ulp`.
    fn within(&self, ulp: u128) -> bool {
        let off = (self.factor * self.count).abs_diff(1 << self.cut);
        self.most.checked_mul(off).is_some_and(|v| v <= (ulp * self.count) << self.cut)
    }
}

impl Pool {
    fn new(options: &Options, counts: BTreeSet<usize>, range: Option<f64>) -> Self {
        let fixed = options.fixed;
        let real = range.filter(|r| *r > 0.0).unwrap_or(options.scale().limit());
        Pool { fixed, counts, peak: (real * f64::from(fixed.f).exp2()).ceil() as u128 }
    }
    /// What is scaled last for `count` elements and means up to `peak`, if the split before it keeps its contract.
    fn scaled(&self, peak: u128, (split, cut): (u32, u32), count: usize) -> Option<Scaled> {
        let sum = peak.checked_mul(count as u128)?;
        if split == 0 {
            return Some(Scaled::new(sum, count, cut));
        }
        if sum.checked_add(1 << split)? > 1 << (self.fixed.n - 2) {
            return None;
        }
        let rho = (AvgPool::factor(split, count) as u128 * count as u128).abs_diff(1 << split);
        Some(Scaled::new(((sum >> split) + 1) * rho + (1 << split), count, cut))
    }
    /// Whether means up to `peak` keep the contract of every truncation.
    fn fits(&self, peak: u128, steps: (u32, u32)) -> bool {
        let fits = |&count: &usize| self.scaled(peak, steps, count).is_some_and(|s| s.fits(self.fixed.n));
        self.counts.iter().all(fits)
    }
    /// Whether they also lose at most `ulp` by rounded factors.
    fn good(&self, steps: (u32, u32), ulp: u128) -> bool {
        let within = |&count: &usize| self.scaled(self.peak, steps, count).is_some_and(|s| s.within(ulp));
        self.fits(self.peak, steps) && self.counts.iter().all(within)
    }

    fn mean(&self) -> std::result::Result<Mean, String> {
        let found = self.one_step().or_else(|| self.two_steps());
        let (split, cut) = found.ok_or_else(|| self.no_room())?;
        // the largest that fits, by bisection: a larger mean never fits where a smaller one does not
        let (mut fits, mut beyond) = (self.peak, 1u128 << self.fixed.n);
        while beyond - fits > 1 {
            let middle = fits.midpoint(beyond);
            if self.fits(middle, (split, cut)) { fits = middle } else { beyond = middle }
        }
        Ok(Mean { split, cut, limit: fits })
    }
    /// A shift for a power of two; else the widest cut, or the first of another width that is good enough.
    fn one_step(&self) -> Option<(u32, u32)> {
        let exact = match self.counts.iter().collect::<Vec<_>>()[..] {
            [count] if count.is_power_of_two() => Some(count.ilog2().max(1)),
            _ => None,
        };
        let widest = (1..=MAX_CUT).rev().find(|&cut| self.fits(self.peak, (0, cut)));
        let all = exact.into_iter().chain(widest).chain(1..=self.fixed.n - 3);
        all.map(|cut| (0, cut)).find(|&steps| self.good(steps, MOST))
    }
    /// The fewest bits in all that are good to an ulp beside the rounding, or to three.
    fn two_steps(&self) -> Option<(u32, u32)> {
        let widths = 1..=self.fixed.n - 3;
        let all = || widths.clone().flat_map(|split| widths.clone().map(move |cut| (split, cut)));
        let best = |ulp| all().filter(|&steps| self.good(steps, ulp)).min_by_key(|(a, b)| a + b);
        best(1).or_else(|| best(MOST))
    }
    fn no_room(&self) -> String {
        let (count, peak) = (self.counts.last().copied().unwrap_or(1), self.peak);
        let wider = if self.fixed.n == 32 { "--ring 64, or " } else { "" };
        format!(
            "no room for a mean of {count} values up to {peak} ulp that is right to 4 ulp; choose {wider}fewer fraction bits"
        )
    }
}

impl<E: Infer> Run<'_, '_, E> {
    /// An average pool of a wire of n bits with f fraction bits: one gate, or a long division by two truncations.
    pub(super) fn mean(
        &mut self,
        i: usize,
        x: Wire<E::Value>,
        (window, count_include_pad): (&Window, bool),
        last: bool,
    ) -> Result<Option<Wire<E::Value>>> {
        let (window, mode) = (*window, self.mode());
        let missing = || Error::data("plan", "an average pool that was not planned");
        let &Mean { split, cut, .. } = self.program.means[i].as_ref().ok_or_else(missing)?;
        if split == 0 {
            return self.emit(&AvgPool { window, count_include_pad, cut, mode }, &[&x.v], x.frac, last);
        }
        let &[_, channels, h, w] = &self.e.form(&x.v).shape.0[..] else { return Err(missing()) };
        let plane = AvgPool::counts(&window, count_include_pad, [h, w])?;
        let counts: Vec<usize> = std::iter::repeat_n(plane, channels).flatten().collect();
        let each = |f: &dyn Fn(usize) -> i64| -> Local {
            Local::ScaleEach(counts.iter().map(|&c| f(c)).collect::<Arc<[i64]>>())
        };
        let q = |count: usize| AvgPool::factor(split, count);
        let e = &mut *self.e;
        let sum = e.local(&Local::SumPool(window), &[&x.v])?;
        let high = e.gate(&Truncate { cut: split, mode }, &[&sum])?;
        let whole = e.local(&each(&|count| q(count) * count as i64), &[&high])?;
        let rest = e.local(&Local::Sub, &[&sum, &whole])?;
        let rest = e.local(&each(&|count| AvgPool::factor(cut, count)), &[&rest])?;
        let low = e.gate(&Truncate { cut, mode }, &[&rest])?;
        let high = e.local(&each(&q), &[&high])?;
        let v = e.local(&Local::Add, &[&high, &low])?;
        self.local(Wire { v, frac: x.frac }, last)
    }
}

#[cfg(test)]
mod tests;
