//! Batch normalisation: its numbers, decided before anything runs (training, section 7).
//!
//! Over the `N` places of a channel (batch times positions) `V = N var` is never divided: a staircase on V gives `1 / sigma`, its
//! thresholds taking V in whatever unit it comes. All contracts below are those of cuts, half of `2^(n-1)`; what a run makes of
//! them is measured ([`crate::engine::Clear::measure`]).

mod pass;
#[cfg(test)]
mod tests;

use super::{Fractions, Recipe};
use crate::graph::{Graph, Op, Source};
use crate::{Error, Node, Result};
pub(super) use pass::Kept;
use std::sync::Arc;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Staircase, Step};

/// Steps whose statistics a batch normalisation is given.
pub(super) const GATHERED: usize = 16;

/// Thresholds to an octave of V: `1 / sigma` is off by 2^(1/128) at most, .54 %, and by its own last bit.
const STEPS: f64 = 32.0;
/// Largest variance that has a place, in octaves.
const LARGEST: i32 = 8;
/// Largest magnitude of `gamma / sigma`, in octaves.
const FACTOR: u32 = 6;
/// Largest magnitude of the gradient that leaves a normalisation, in octaves.
const GRADIENT: u32 = 4;
/// Fewest fraction bits of a factor.
const FEWEST: i64 = 6;

/// How one batch normalisation goes forward and back.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    channels: usize,
    positions: usize,
    /// N.
    count: usize,
    /// `floor(log2 N)`.
    whole: u32,
    /// `2^whole / N` as a whole number over a power of two; none if it is 1.
    rest: Option<(i64, u32)>,
    /// Bits that a mean, and what is centred by it, has beyond the activations' fraction.
    fine: u32,
    /// Places that one inner product covers: their squares, of a variance up to 2^8, fit the ring.
    block: usize,
    /// Bits cut off the sum of a block's squares.
    cut: u32,
    /// What V is for a variance of 1.
    unit: f64,
    /// Epsilon in V's unit.
    epsilon: i64,
    /// From V to `1 / sigma`.
    inverse: Staircase,
    /// Fraction bits of `1 / sigma`.
    inverse_bits: u32,
    /// Fraction bits of `gamma / sigma` on the way back; forward it has as many as leave a result the width of other layers'.
    factor_bits: u32,
    /// Bits that the mean gradient has beyond the gradients' fraction: all places of a channel get its rounding error, so they
    /// are half of N's, as many as keep its sum near that of the roundings of every place.
    gradient_fine: u32,
}

/// The numbers of a node, if it is a batch normalisation.
///
/// # Errors
/// Why it cannot be run, without its name.
pub(super) fn of(node: &Node, graph: &Graph, shapes: &[Vec<usize>], recipe: &Recipe) -> Result<Option<Norm>> {
    let Op::BatchNorm { epsilon, .. } = node.op else { return Ok(None) };
    let shape = match node.inputs.first() {
        Some(Source::Node(j)) => &shapes[*j],
        _ => &graph.input.shape,
    };
    let made = Norm::new([shape[0], shape[1..].iter().product()], epsilon, recipe);
    made.map(Some).map_err(|why| Error::data("training", why))
}

impl Norm {
    fn new(
        [channels, positions]: [usize; 2],
        epsilon: f64,
        recipe: &Recipe,
    ) -> std::result::Result<Norm, String> {
        let (n, f) = (recipe.n, recipe.fractions);
        let count = recipe.batch * positions;
        if count < 2 {
            return Err("one place per channel has no variance: choose a larger batch".into());
        }
        let whole = count.ilog2();
        let part = if n == 64 { 24 } else { 12 };
        let over = f64::from(part + whole).exp2() / count as f64;
        let rest = (!count.is_power_of_two()).then(|| (over.round() as i64, part));
        let fine = if n == 64 { 4 } else { 2 };
        let Some(room) = (n - 2).checked_sub(2 * f.activations + LARGEST as u32) else {
            return Err(format!("{} fraction bits of activations leave no room for squares", f.activations));
        };
        let squares = f64::from(2 * f.activations) + (count as f64).log2();
        // 2^4 times the largest variance still is a positive number
        let cut = (squares - f64::from(n as i32 - 5 - LARGEST)).ceil().max(0.0) as u32;
        let unit = (squares - f64::from(cut)).exp2();
        let inverse_bits = (n - 2 - f.weights - FACTOR).min(20);
        let gradient_fine = whole / 2;
        let widest = if n == 64 { 20 } else { 10 };
        let [n, weights, gradients, more] = [n, f.weights, f.gradients, gradient_fine].map(i64::from);
        let factor_bits = (n - 2 - i64::from(GRADIENT) - gradients - more).min(widest);
        let share = gradients + more + factor_bits - i64::from(f.activations + fine);
        if factor_bits.min(weights - i64::from(fine)) < FEWEST || share < 1 {
            return Err(format!("{f:?} leave too few bits for gamma / sigma over {count} places"));
        }
        // smaller variances are taken as the one whose `gamma / sigma` still fits for a gamma of 2
        let least = f64::from(-2 * (FACTOR as i32 - 1)).exp2();
        let epsilon_bits = ((epsilon * unit).round() as i64).max(1);
        Ok(Norm {
            channels,
            positions,
            count,
            whole,
            rest,
            fine,
            block: 1 << room.min(30),
            cut,
            unit,
            epsilon: epsilon_bits,
            inverse: inverse_root(unit, [epsilon.max(least), f64::from(LARGEST).exp2()], inverse_bits),
            inverse_bits,
            factor_bits: factor_bits as u32,
            gradient_fine,
        })
    }
    /// Fraction bits of `b`: `xc b` has those of `a (g - mean g)`.
    fn share_bits(&self, f: &Fractions) -> u32 {
        f.gradients + self.gradient_fine + self.factor_bits - f.activations - self.fine
    }
    /// Channels: how many means and variances a step adds to the accumulators.
    pub fn channels(&self) -> usize {
        self.channels
    }
    /// What one unit of an accumulated mean and of an accumulated V stands for, the latter as an unbiased variance.
    pub fn units(&self, activations: u32) -> [f64; 2] {
        let count = self.count as f64;
        [(-f64::from(activations + self.fine)).exp2(), count / (count - 1.0) / self.unit]
    }
}

/// `2^fraction sqrt(unit / V)` for V of variances from the first to the second, in steps.
fn inverse_root(unit: f64, [low, high]: [f64; 2], fraction: u32) -> Staircase {
    let octaves = (high / low).log2() * STEPS;
    let mut at: Vec<i64> = (0..=octaves as i64)
        .map(|k| (low * unit * (k as f64 / STEPS).exp2()).round().max(1.0) as i64)
        .collect();
    at.dedup();
    let value = |k: usize| {
        let last = at.get(k + 1).map_or(at[k], |next| next - 1);
        let middle = (at[k] as f64 * last as f64).sqrt();
        ((unit / middle).sqrt() * f64::from(fraction).exp2()).round() as i64
    };
    let steps = (1..at.len()).map(|k| Step { at: at[k], by: value(k) - value(k - 1) });
    let steps: Arc<[Step]> = steps.filter(|step| step.by != 0).collect();
    Staircase { scheme: Scheme::Dpf, base: value(0), steps }
}
