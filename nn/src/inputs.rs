//! What a plan knows of the images it was made for, and whether other images are like them.
//!
//! Two units: *normalised* values are what the network takes, and what ranges hold for; *raw* values are what normalisation
//! is applied to. Samples and images are compared as raw values whatever their file held, since values that were
//! normalised beforehand are taken back ([`crate::Normalise::invert`]).

mod doubt;

pub use doubt::{Doubt, Given, Grade, examine, misfit};

use crate::graph::Input;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How far from a whole number a value may be that went through float32 and back.
const WHOLE: f64 = 1e-3;

/// What the raw values of some images are like. Public where it enters a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// One per channel of the input.
    pub channels: Vec<Channel>,
    /// Largest less smallest value of an image: the mean over images that are not all one value, 0 without any.
    pub contrast: f64,
    /// Whether all values are whole numbers, as bytes are.
    pub whole: bool,
}

/// Raw values of one channel.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
    /// Mean.
    pub mean: f64,
}

/// One image: smallest, largest and sum per channel, and whether all are whole numbers.
struct One(Vec<(f64, f64, f64)>, bool);

/// The raw value of a normalised one, and how far float32 may have moved it; 0 is found again exactly.
fn taken_back(input: &Input, value: f32, channel: usize) -> (f64, f64) {
    let (n, value) = (&input.normalise, f64::from(value));
    let mean = n.mean.get(channel).copied().unwrap_or(0.0);
    let std = n.std.get(channel).copied().unwrap_or(1.0);
    let error = 2.0 * f64::from(f32::EPSILON) * (mean.abs() + (value * std).abs()) / n.scale.abs();
    let raw = n.invert(value, channel);
    (if raw.abs() <= error && mean != 0.0 { 0.0 } else { raw }, error)
}

impl Profile {
    /// The profile of whole images, normalised. The same bits whatever the number of threads.
    pub fn of(input: &Input, values: &[f32]) -> Profile {
        let (row, channels) = (input.row().max(1), input.channels().max(1));
        let plane = (row / channels).max(1);
        let one = |image: &[f32]| {
            let mut whole = true;
            let channel = |(c, plane): (usize, &[f32])| {
                plane.iter().fold((f64::INFINITY, f64::NEG_INFINITY, 0.0), |(low, high, sum), v| {
                    let (raw, error) = taken_back(input, *v, c);
                    whole &= (raw - raw.round()).abs() <= error.max(WHOLE);
                    (raw.min(low), raw.max(high), sum + raw)
                })
            };
            let channels = image.chunks(plane).enumerate().map(channel).collect();
            One(channels, whole)
        };
        Profile::join(values.par_chunks(row).map(one).collect(), plane)
    }

    fn join(images: Vec<One>, plane: usize) -> Profile {
        let whole = images.iter().all(|one| one.1);
        let tidy = |v: f64| if whole { v.round() } else { v };
        let spread = |One(channels, _): &One| {
            let low = channels.iter().fold(f64::INFINITY, |m, c| c.0.min(m));
            channels.iter().fold(f64::NEG_INFINITY, |m, c| c.1.max(m)) - low
        };
        let spreads: Vec<f64> = images.iter().map(spread).filter(|s| *s > WHOLE).collect();
        let values = (images.len() * plane).max(1) as f64;
        let channel = |c: usize| {
            let all = || images.iter().map(move |one| one.0[c]);
            Channel {
                low: tidy(all().fold(f64::INFINITY, |m, v| v.0.min(m))),
                high: tidy(all().fold(f64::NEG_INFINITY, |m, v| v.1.max(m))),
                mean: all().map(|v| v.2).sum::<f64>() / values,
            }
        };
        Profile {
            channels: (0..images.first().map_or(0, |one| one.0.len())).map(channel).collect(),
            contrast: spreads.iter().sum::<f64>() / spreads.len().max(1) as f64,
            whole,
        }
    }

    /// What any byte image keeps: 0 to 255 in every channel. What such images are like within that is not known, so mean
    /// and contrast are those of the middle.
    pub fn bytes(input: &Input) -> Profile {
        let channel = Channel { low: 0.0, high: 255.0, mean: 127.5 };
        Profile { channels: vec![channel; input.channels()], contrast: 127.5, whole: true }
    }

    /// Smallest raw value of all channels.
    pub fn low(&self) -> f64 {
        self.channels.iter().fold(f64::INFINITY, |m, c| c.low.min(m))
    }
    /// Largest raw value of all channels.
    pub fn high(&self) -> f64 {
        self.channels.iter().fold(f64::NEG_INFINITY, |m, c| c.high.max(m))
    }
    /// Mean raw value of all channels.
    pub fn mean(&self) -> f64 {
        self.channels.iter().map(|c| c.mean).sum::<f64>() / self.channels.len().max(1) as f64
    }

    /// Smallest and largest normalised value of each channel.
    pub fn normalised(&self, input: &Input) -> Vec<(f64, f64)> {
        let ends = |(c, v): (usize, &Channel)| {
            let [a, b] = [v.low, v.high].map(|raw| input.normalise.apply(raw, c));
            (a.min(b), a.max(b))
        };
        self.channels.iter().enumerate().map(ends).collect()
    }

    /// Checks a profile that was read.
    ///
    /// # Errors
    /// [`Error::Data`] when it is none of this input's.
    pub fn check(&self, input: &Input) -> Result<()> {
        let fine = |c: &Channel| [c.low, c.high, c.mean].iter().all(|v| v.is_finite()) && c.low <= c.high;
        let sound = self.contrast.is_finite() && self.contrast >= 0.0;
        if self.channels.len() == input.channels() && self.channels.iter().all(fine) && sound {
            return Ok(());
        }
        Err(Error::data("ranges", format!("the raw values of input `{}` are no profile of it", input.name)))
    }
}

#[cfg(test)]
mod tests;
