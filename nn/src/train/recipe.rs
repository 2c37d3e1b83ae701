//! What a training run is told beside the graph, all of it public.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twoply_primitives::compare::Scheme;

/// Fraction bits by kind of tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Inputs and results of layers.
    pub activations: u32,
    /// Parameters and velocity.
    pub weights: u32,
    /// Gradients.
    pub gradients: u32,
    /// Logits of a loss that looks into tables.
    pub logits: u32,
}

impl Fractions {
    /// What the simulation found best for a ring of `n` bits (training, section 2).
    pub fn usual(n: u32) -> Fractions {
        match n {
            64 => Fractions { activations: 16, weights: 24, gradients: 16, logits: 8 },
            _ => Fractions { activations: 8, weights: 16, gradients: 10, logits: 4 },
        }
    }
}

/// What is made small, each with the gradient that the backward pass begins with; always the mean over the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// `sum (z - t)^2 / 2` over the outputs of a sample: `z - t`.
    SquaredError,
    /// Cross-entropy of a softmax over the outputs; targets are one-hot: `softmax(z) - t`.
    CrossEntropy,
    /// Binary cross-entropy of a sigmoid of every output, summed; targets are 0 and 1: `sigmoid(z) - t`.
    BinaryCrossEntropy,
}

/// The learning rate `factor / 2^shift`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// A whole number, at least 1; it costs gradients as many bits of range.
    pub factor: u32,
    /// Halvings.
    pub shift: u32,
}

impl Rate {
    /// As a real number.
    pub fn real(&self) -> f64 {
        f64::from(self.factor) / f64::from(self.shift).exp2()
    }
}

/// How a network is trained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Ring: 32 or 64 bits.
    pub n: u32,
    /// Fraction bits.
    pub fractions: Fractions,
    /// Samples of a step, a power of two: dividing by it costs nothing.
    pub batch: usize,
    /// What is made small.
    pub loss: Loss,
    /// Learning rate of the first epoch.
    pub rate: Rate,
    /// Rates from later epochs on, the first epoch being 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub later: BTreeMap<u32, Rate>,
    /// Momentum of SGD, from 0 to below 1. Where the rate changes it is PyTorch's: old gradients take part at the new rate.
    pub momentum: f64,
    /// Whether the step looks ahead along the velocity (Nesterov).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nesterov: bool,
    /// Weight decay (L2), on weights and not on biases. One that is finer than an update's last bit takes turns: some steps take it.
    pub decay: f64,
    /// Comparison of activations and pools; the few of a loss use point functions, which need fewer rounds.
    pub compare: Scheme,
    /// Layers whose parameters stay as they are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub frozen: BTreeSet<String>,
}

/// Fraction bits of public factors that are no whole numbers, as the means of pools have, in a ring of `n` bits: what leaves the
/// usual fractions the range that products have.
pub(super) fn factor_bits(n: u32) -> u32 {
    if n == 64 { 24 } else { 16 }
}

/// How far from its number a rounded factor may be.
pub(super) const COARSEST: f64 = 0.01;
/// The largest factor of a rate.
const MOST_FACTOR: u32 = 15;

/// Cuts below this many bits round momentum too coarsely.
const LEAST_CUT: u32 = 8;
/// Steps of which weight decay must have its turn in one at least.
const SELDOM: u32 = 1024;

impl Recipe {
    /// SGD at a rate of 1/64 with momentum .9, by digits, at the usual fractions.
    pub fn usual(n: u32, batch: usize, loss: Loss) -> Recipe {
        Recipe {
            n,
            fractions: Fractions::usual(n),
            batch,
            loss,
            rate: Rate { factor: 1, shift: 6 },
            later: BTreeMap::new(),
            momentum: 0.9,
            nesterov: false,
            decay: 0.0,
            compare: Scheme::Digits,
            frozen: BTreeSet::new(),
        }
    }
    /// Bits cut off an update: from a product of activations and gradients, summed over the batch, to `rate` times its mean.
    pub fn cut(&self) -> u32 {
        let f = self.fractions;
        f.activations + f.gradients + self.batch.ilog2() + self.rate.shift - f.weights
    }
    /// `momentum` as a factor of the velocity before the cut. A velocity that was made at the rate `before` has it inside, and is
    /// brought to this one.
    pub(super) fn momentum_factor(&self, before: Option<Rate>) -> i64 {
        self.carried_momentum(before).round() as i64
    }
    fn carried_momentum(&self, before: Option<Rate>) -> f64 {
        let carried = before.map_or(1.0, |before| self.rate.real() / before.real());
        self.momentum * carried * f64::from(self.cut()).exp2()
    }
    /// `rate * decay` as a factor of the weight before the cut, in one step.
    ///
    /// The mean over all steps is `rate * decay` however small: a step takes the whole number by which the sum over the steps so
    /// far passes another one.
    pub(super) fn decay_factor(&self, step: u64) -> i64 {
        let sum = |steps: u64| (steps as f64 * self.decay_each()).floor();
        (sum(step + 1) - sum(step)) as i64
    }
    /// The mean of [`Recipe::decay_factor`].
    fn decay_each(&self) -> f64 {
        self.rate.real() * self.decay * f64::from(self.cut()).exp2()
    }

    /// Whether the numbers go together.
    ///
    /// # Errors
    /// [`Error::Data`] with the first that does not.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::data("training", why));
        let (n, f) = (self.n, self.fractions);
        if n != 32 && n != 64 {
            return refuse(format!("a ring of {n} bits; choose 32 or 64"));
        }
        if !self.batch.is_power_of_two() || self.batch > 1 << 16 {
            return refuse(format!("batches of {}; choose a power of two up to {}", self.batch, 1 << 16));
        }
        let all = [f.activations, f.weights, f.gradients, f.logits];
        if all.iter().any(|f| !(1..n / 2 + 1).contains(f)) {
            return refuse(format!("fraction bits {all:?}; choose 1 to {} each", n / 2));
        }
        if f.activations + f.weights < f.logits.max(f.gradients) + 2 {
            return refuse(format!("fraction bits {all:?}: a product has too few to be cut to the others"));
        }
        if !(0.0..1.0).contains(&self.momentum) || !(0.0..1.0).contains(&self.decay) {
            return refuse("momentum and decay must lie from 0 to below 1".into());
        }
        if self.later.contains_key(&0) {
            return refuse("another rate from epoch 0 on, which is the first".into());
        }
        let at = |rate| Recipe { rate, ..self.clone() };
        self.rates().try_for_each(|(_, rate)| at(rate).check_rate())?;
        for ((_, before), (epoch, rate)) in self.rates().zip(self.rates().skip(1)) {
            if at(rate).carried_momentum(Some(before)) >= f64::from(n - 2).exp2() {
                let why = format!(
                    "from epoch {epoch} on the rate is {} times as large: rise in smaller steps",
                    rate.real() / before.real()
                );
                return refuse(why);
            }
        }
        Ok(())
    }

    /// Whether the update goes together with the rate.
    fn check_rate(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::data("training", why));
        let (n, f, Rate { factor, shift }) = (self.n, self.fractions, self.rate);
        if !(1..=MOST_FACTOR).contains(&factor) || shift > n {
            return refuse(format!("a learning rate of {factor} / 2^{shift}"));
        }
        let whole = f.activations + f.gradients + self.batch.ilog2() + shift;
        let cut = whole.saturating_sub(f.weights);
        if cut < LEAST_CUT || cut + 3 > n {
            let why = format!(
                "an update at a rate of {factor} / 2^{shift} loses {whole} - {} = {cut} bits, and {LEAST_CUT} to {} are wanted: \
                 choose a smaller rate, a larger batch, or other fractions",
                f.weights,
                n - 3
            );
            return refuse(why);
        }
        let step = (-f64::from(cut)).exp2();
        if self.momentum_factor(None) >= 1 << cut {
            return refuse(format!(
                "a momentum of {} rounds to 1; at most {} is less",
                self.momentum,
                1.0 - step
            ));
        }
        if self.decay > 0.0 && self.decay_each() * f64::from(SELDOM) < 1.0 {
            let why = format!(
                "a decay of {} at a rate of {factor} / 2^{shift} would move a weight in less than one of {SELDOM} steps: choose at \
                 least {:.1e}, a larger batch or a smaller rate",
                self.decay,
                step / self.rate.real() / f64::from(SELDOM)
            );
            return refuse(why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(decay: f64) -> Recipe {
        Recipe { decay, ..Recipe::usual(32, 128, Loss::CrossEntropy) }
    }

    /// Whatever the decay, the factors are whole, next to each other, and add up to it.
    #[test]
    fn decay_takes_turns() {
        for decay in [1e-5, 1e-4, 5e-4, 0.002, 0.01, 0.1] {
            let (recipe, steps) = (recipe(decay), 10_000u64);
            assert!(recipe.check().is_ok(), "{decay}");
            let factors: Vec<i64> = (0..steps).map(|step| recipe.decay_factor(step)).collect();
            let each = decay / 64.0 * f64::from(1 << 15);
            assert!(factors.iter().all(|f| (*f as f64 - each).abs() <= 1.0), "{decay}");
            assert!((factors.iter().sum::<i64>() as f64 - each * steps as f64).abs() <= 1.0, "{decay}");
        }
        assert!(recipe(1e-6).check().unwrap_err().to_string().contains("choose at least 1.9e-6"));
    }

    #[test]
    fn a_velocity_is_brought_to_a_new_rate() {
        let recipe = recipe(0.0);
        let at = |shift| Some(Rate { factor: 1, shift });
        let one = f64::from(1 << 15);
        let factor = |before| recipe.momentum_factor(before) as f64 / one;
        for (before, wanted) in [(None, 0.9), (at(6), 0.9), (at(5), 0.45), (at(8), 3.6)] {
            assert!((factor(before) - wanted).abs() < 1.0 / one, "{before:?}");
        }
    }
}
