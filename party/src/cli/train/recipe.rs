//! The choices of a training run as flags.

use clap::ValueEnum;
use std::collections::{BTreeMap, BTreeSet};
use twoply_nn::train::{Fractions, Loss, Rate, Recipe};
use twoply_primitives::compare::Scheme;

/// Flags that become a [`Recipe`].
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Choices {
    /// Samples of a step, a power of two
    #[arg(long, value_name = "B", default_value_t = 128)]
    batch: usize,
    /// What is made small
    #[arg(long, value_enum, default_value = "cross-entropy")]
    pub loss: Objective,
    /// Learning rate: a number, or a fraction such as 1/64; it is brought to at most four bits over a power of two
    #[arg(long, value_name = "X", default_value = "1/64", value_parser = rate)]
    rate: Rate,
    /// Another rate from an epoch on, the first being 0, as in 5=1/128; may be given again
    #[arg(long, value_name = "EPOCH=X", value_parser = rate_at)]
    rate_at: Vec<(u32, Rate)>,
    /// Momentum of SGD, from 0 to below 1
    #[arg(long, value_name = "X", default_value_t = 0.9)]
    momentum: f64,
    /// Look ahead along the velocity (Nesterov)
    #[arg(long)]
    nesterov: bool,
    /// Weight decay, on weights and not on biases
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    decay: f64,
    /// Leave this layer's parameters as they are; may be given again
    #[arg(long, value_name = "LAYER")]
    freeze: Vec<String>,
    /// Train only the last N layers that have parameters
    #[arg(long, value_name = "N", conflicts_with = "freeze")]
    pub train_last: Option<usize>,
    /// Bits of the ring
    #[arg(long, value_name = "32|64", default_value_t = 32)]
    ring: u32,
    /// Fraction bits of activations, weights, gradients and logits [default: 8,16,10,4 in a ring of 32 bits, 16,24,16,8 in one of 64]
    #[arg(long, value_name = "X,W,G,Z", value_parser = fractions)]
    fractions: Option<Fractions>,
    /// Comparison of activations and pools: digits has small keys, dpf saves a round
    #[arg(long, value_enum, default_value = "digits")]
    compare: Compare,
}

/// What is made small.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Objective {
    /// Of a softmax over classes
    CrossEntropy,
    /// Of a sigmoid of every output
    BinaryCrossEntropy,
    /// Half the sum of squared differences
    SquaredError,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Compare {
    Digits,
    Dpf,
}

impl From<Objective> for Loss {
    fn from(of: Objective) -> Loss {
        match of {
            Objective::CrossEntropy => Loss::CrossEntropy,
            Objective::BinaryCrossEntropy => Loss::BinaryCrossEntropy,
            Objective::SquaredError => Loss::SquaredError,
        }
    }
}

impl Choices {
    pub(super) fn recipe(&self) -> Recipe {
        Recipe {
            n: self.ring,
            fractions: self.fractions.unwrap_or_else(|| Fractions::usual(self.ring)),
            batch: self.batch,
            loss: self.loss.into(),
            rate: self.rate,
            later: self.rate_at.iter().copied().collect::<BTreeMap<_, _>>(),
            momentum: self.momentum,
            nesterov: self.nesterov,
            decay: self.decay,
            compare: match self.compare {
                Compare::Digits => Scheme::Digits,
                Compare::Dpf => Scheme::Dpf,
            },
            frozen: self.freeze.iter().cloned().collect::<BTreeSet<_>>(),
        }
    }
}

/// The nearest rate of at most four bits over a power of two.
fn rate(text: &str) -> Result<Rate, String> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("`{text}` is no number"));
    let value = match text.split_once('/') {
        Some((a, b)) => number(a)? / number(b)?,
        None => number(text)?,
    };
    if !(value > 0.0 && value <= 8.0) {
        return Err("choose a rate above 0 and at most 8".into());
    }
    let near = |shift: u32| {
        let factor = (value * f64::from(shift).exp2()).round();
        (1.0..16.0).contains(&factor).then_some(Rate { factor: factor as u32, shift })
    };
    let far = |rate: &Rate| (rate.real() / value - 1.0).abs();
    let best = (0..32).filter_map(near).min_by(|a, b| far(a).total_cmp(&far(b)));
    best.ok_or_else(|| "choose a rate of at least 2^-31".into())
}

/// An epoch and the rate from there on.
fn rate_at(text: &str) -> Result<(u32, Rate), String> {
    let (epoch, value) = text.split_once('=').ok_or("write an epoch and a rate, as in 5=1/128")?;
    match epoch.trim().parse() {
        Ok(epoch @ 1..) => Ok((epoch, rate(value)?)),
        _ => Err(format!("`{epoch}` is no later epoch; the first is 0, and its rate is that of --rate")),
    }
}

fn fractions(text: &str) -> Result<Fractions, String> {
    let parts: Result<Vec<u32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match parts.as_deref() {
        Ok(&[activations, weights, gradients, logits]) => {
            Ok(Fractions { activations, weights, gradients, logits })
        }
        _ => Err("write four numbers, as in 8,16,10,4".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_few_bits_over_a_power_of_two() {
        let of = |text: &str| rate(text).map(|r| (r.factor, r.shift));
        assert_eq!(of("1/64"), Ok((1, 6)));
        assert_eq!(of("0.015625"), Ok((1, 6)));
        assert_eq!(of("0.1"), Ok((13, 7)));
        assert_eq!(of("3"), Ok((3, 0)));
        for bad in ["0", "-1", "1/0", "x", "9", "1e-20"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(rate_at("5=1/128"), Ok((5, Rate { factor: 1, shift: 7 })));
        for bad in ["5", "=1/8", "0=1/8", "-1=1/8", "5=0", "x=1"] {
            assert!(rate_at(bad).is_err(), "{bad}");
        }
        assert!(fractions("8,16,10").is_err());
        assert_eq!(fractions("8, 16,10,4"), Ok(Fractions::usual(32)));
    }
}
