//! The choices of a plan as flags.

use crate::exit::{ExitCode, Failure};
use clap::ValueEnum;
use twoply_nn::{Options, Reveal};
use twoply_primitives::Fixed;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;

/// Flags that become [`Options`].
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Choices {
    /// Bits of the ring
    #[arg(long, value_enum, default_value = "32")]
    ring: RingBits,
    /// Bits of the fraction [default: 12 in a ring of 32 bits, 16 in one of 64]
    #[arg(long, value_name = "F")]
    fraction: Option<u32>,
    /// Bits of the fraction of weights and biases, where they are to have their own, as they have in training
    #[arg(long, value_name = "W")]
    weight_fraction: Option<u32>,
    /// Comparison: digits has small keys, dpf saves a round
    #[arg(long, value_enum, default_value = "digits")]
    compare: Compare,
    /// Another comparison for one layer, as in relu1=dpf; may be given again
    #[arg(long, value_name = "LAYER=KIND", value_parser = exception)]
    compare_at: Vec<(String, Compare)>,
    /// Rounding: public-coin is unbiased and cheap, floor is exact and dearer
    #[arg(long, value_enum, default_value = "public-coin")]
    rounding: Round,
    /// What the data owner receives
    #[arg(long, value_enum, default_value = "logits")]
    reveal: Shown,
    /// Let the data owner, and nobody else, learn how many values of each layer came near the end of their range or left it
    #[arg(long)]
    audit: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum RingBits {
    #[value(name = "32")]
    Bits32,
    #[value(name = "64")]
    Bits64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Compare {
    Digits,
    Dpf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Round {
    PublicCoin,
    Floor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Shown {
    Logits,
    Label,
}

impl From<Compare> for Scheme {
    fn from(kind: Compare) -> Self {
        match kind {
            Compare::Digits => Scheme::Digits,
            Compare::Dpf => Scheme::Dpf,
        }
    }
}

fn exception(text: &str) -> Result<(String, Compare), String> {
    let (layer, kind) = text.rsplit_once('=').ok_or("write LAYER=digits or LAYER=dpf")?;
    Ok((layer.to_owned(), Compare::from_str(kind, true)?))
}

impl Choices {
    /// The options, with this margin.
    ///
    /// # Errors
    /// 2 when ring and fraction bits do not go together.
    pub(super) fn options(&self, margin: f64) -> Result<Options, Failure> {
        let (n, f) = match self.ring {
            RingBits::Bits32 => (32, 12),
            RingBits::Bits64 => (64, 16),
        };
        let fixed = Fixed::new(n, self.fraction.unwrap_or(f)).map_err(|e| {
            Failure::new(ExitCode::Usage, e.to_string()).remedy("choose other --ring or --fraction bits")
        })?;
        let options = Options {
            fixed,
            weight_fraction: self.weight_fraction,
            compare: self.compare.into(),
            compare_at: self.compare_at.iter().map(|(layer, kind)| (layer.clone(), (*kind).into())).collect(),
            rounding: match self.rounding {
                Round::PublicCoin => Rounding::PublicCoin,
                Round::Floor => Rounding::Floor,
            },
            reveal: match self.reveal {
                Shown::Logits => Reveal::Logits,
                Shown::Label => Reveal::Label,
            },
            margin,
            audit: self.audit,
        };
        let wrong = |e: twoply_nn::Error| Failure::new(ExitCode::Usage, e.to_string());
        options
            .scale()
            .check()
            .map_err(|e| wrong(e).remedy("choose other --weight-fraction or --fraction bits"))?;
        Ok(options)
    }
}
