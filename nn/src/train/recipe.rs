//! What a training run is told beside the graph, all of it public.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
    /// Learning rate.
    pub rate: Rate,
    /// Momentum of SGD, from 0 to below 1.
    pub momentum: f64,
    /// Whether the step looks ahead along the velocity (Nesterov).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nesterov: bool,
    /// Weight decay (L2), on weights and not on biases.
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

/// Cuts below this many bits round momentum and decay too coarsely.
const LEAST_CUT: u32 = 8;

impl Recipe {
    /// SGD at a rate of 1/64 with momentum .9, by digits, at the usual fractions.
    pub fn usual(n: u32, batch: usize, loss: Loss) -> Recipe {
        Recipe {
            n,
            fractions: Fractions::usual(n),
            batch,
            loss,
            rate: Rate { factor: 1, shift: 6 },
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
    /// `momentum` as a factor of the velocity before the cut.
    pub(super) fn momentum_factor(&self) -> i64 {
        (self.momentum * f64::from(self.cut()).exp2()).round() as i64
    }
    /// `rate * decay` as a factor of the weight before the cut.
    pub(super) fn decay_factor(&self) -> i64 {
        (self.rate.real() * self.decay * f64::from(self.cut()).exp2()).round() as i64
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
        if !(1..=MOST_FACTOR).contains(&self.rate.factor) || self.rate.shift > n {
            return refuse(format!("a learning rate of {} / 2^{}", self.rate.factor, self.rate.shift));
        }
        if !(0.0..1.0).contains(&self.momentum) || !(0.0..1.0).contains(&self.decay) {
            return refuse("momentum and decay must lie from 0 to below 1".into());
        }
        let whole = f.activations + f.gradients + self.batch.ilog2() + self.rate.shift;
        let cut = whole.saturating_sub(f.weights);
        if cut < LEAST_CUT || cut + 3 > n {
            let why = format!(
                "an update loses {whole} - {} = {cut} bits, and {LEAST_CUT} to {} are wanted: choose a smaller rate, a larger \
                 batch, or other fractions",
                f.weights,
                n - 3
            );
            return refuse(why);
        }
        let step = (-f64::from(cut)).exp2();
        if self.momentum_factor() >= 1 << cut {
            return refuse(format!(
                "a momentum of {} rounds to 1; at most {} is less",
                self.momentum,
                1.0 - step
            ));
        }
        let (decay, unit) = (self.decay_factor() as f64, step / self.rate.real());
        if self.decay > 0.0 && (decay * unit / self.decay - 1.0).abs() > 10.0 * COARSEST {
            let why = format!(
                "a decay of {} is run as a whole multiple of {unit:.2e}, and none is near: choose one, a larger batch or a \
                 smaller rate",
                self.decay
            );
            return refuse(why);
        }
        Ok(())
    }
}
