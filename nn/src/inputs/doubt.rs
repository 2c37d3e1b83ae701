//! Images that a plan was not made for: values beyond its samples', and values on another scale.
//!
//! A scale is *certain* to be wrong where bytes cannot hold such values: samples of whole numbers, and images of fractions
//! within 0..1 or below 0. Otherwise it is only *likely*. Images of one value (black, white) say nothing of their scale.

use super::Profile;
use crate::graph::Input;
use crate::{Normalise, Plan};
use std::fmt;

/// What a file of images holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// Bytes, always raw.
    Bytes,
    /// Integers of other types, always raw.
    Whole,
    /// Raw floats.
    Floats,
    /// Floats that were said to be normalised.
    Normalised,
}

/// How sure a doubt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grade {
    /// Values are beyond the samples' range with the margin: nothing is known of what the network makes of them.
    Beyond,
    /// Values are on another scale than the samples.
    Certain,
    /// They look so.
    Likely,
}

/// Why images should not be run as they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Doubt {
    /// How sure it is.
    pub grade: Grade,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Whole numbers up to here at least are taken for pixels.
const PIXELS: f64 = 8.0;
/// Values up to here at least are on the scale of bytes.
const BYTES: f64 = 32.0;
/// Factor between the contrasts of two scales.
const SCALES: f64 = 32.0;
/// The end of the scale 0..1, with the rounding of float32.
const ONE: f64 = 1.0001;
/// Image numbers that are listed.
const LISTED: usize = 5;

/// Compares whole images, normalised and numbered from `first` on, with what `plan` was made for. `flag` is how the caller is told that floats are
/// normalised already. `None` when nothing speaks against them, or the plan knows no ranges.
pub fn examine(plan: &Plan, values: &[f32], given: Given, flag: &str, first: usize) -> Option<Doubt> {
    let ranges = plan.ranges.as_ref()?;
    let input = &plan.graph.input;
    let samples = ranges.raw.clone().unwrap_or_else(|| Profile::bytes(input));
    let case = Case {
        normalised: samples.normalised(input),
        images: Profile::of(input, values),
        count: values.len() / input.row().max(1),
        first,
        bounds: ranges.samples == 0,
        samples,
        input,
        given,
        flag,
    };
    let scale = case.scale();
    let Some(what) = case.beyond(values, input.row(), plan.options.margin) else {
        return scale.map(|found| Doubt {
            grade: if found.certain { Grade::Certain } else { Grade::Likely },
            what: format!("{}: {case}", found.what),
            remedy: found.remedy,
        });
    };
    let grade = Grade::Beyond;
    Some(match scale.or_else(|| case.wider()) {
        Some(Scale { what: looks, remedy, .. }) => {
            Doubt { grade, what: format!("{what}; {looks}: {case}"), remedy }
        }
        None => Doubt {
            grade,
            what: format!("{what}: {case}"),
            remedy: "see whether the images are on the samples' scale, or plan again with samples that reach as far"
                .into(),
        },
    })
}

/// Whether samples are on another scale than the graph's normalisation is made for: a sentence, or `None`.
pub fn misfit(normalise: &Normalise, samples: &Profile, given: Given) -> Option<String> {
    if given != Given::Floats || normalise.scale.abs() * PIXELS > 1.0 || samples.contrast == 0.0 {
        return None;
    }
    let (low, high) = (samples.low(), samples.high());
    let looks = if low < 0.0 && low > -PIXELS && high < PIXELS && !samples.whole {
        "look normalised already: say so with --samples-normalised"
    } else if (0.0..=1.0).contains(&low) && high <= ONE && !samples.whole {
        "look like values in 0..1: multiply them, or import with --scale 1"
    } else {
        return None;
    };
    Some(format!(
        "the samples lie in {low:.3}..{high:.3}, and the graph multiplies raw values by {:.5}: they {looks}",
        normalise.scale
    ))
}

/// A scale that images seem to have.
struct Scale {
    certain: bool,
    what: String,
    remedy: String,
}

/// Images beside what a plan was made for.
struct Case<'a> {
    samples: Profile,
    /// Whether the samples are only the bounds of bytes.
    bounds: bool,
    /// Smallest and largest normalised value of the samples, per channel.
    normalised: Vec<(f64, f64)>,
    images: Profile,
    /// Number of images.
    count: usize,
    /// Number of the first image.
    first: usize,
    input: &'a Input,
    given: Given,
    flag: &'a str,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |p: &Profile| format!("{:.4}..{:.4}, mean {:.4}", p.low(), p.high(), p.mean());
        let unit = if self.given == Given::Normalised { ", taken back to raw values" } else { "" };
        if self.bounds {
            return write!(f, "they lie in {}{unit}, and the plan holds for bytes", side(&self.images));
        }
        write!(
            f,
            "they lie in {}{unit}, and the plan's samples in {}",
            side(&self.images),
            side(&self.samples)
        )
    }
}

impl Case<'_> {
    /// Whether any value is beyond what was observed in its channel, with the margin: count and numbers of the images.
    fn beyond(&self, values: &[f32], row: usize, margin: f64) -> Option<String> {
        // Room for the rounding of float32, in which both sides were computed.
        let limit = |(low, high): &(f64, f64)| f64::max(low.abs(), high.abs()) * margin * (1.0 + 1e-6);
        let limits: Vec<f64> = self.normalised.iter().map(limit).collect();
        let plane = (row / limits.len().max(1)).max(1);
        let (mut images, mut worst) = (vec![], (0.0, 0.0));
        for (at, image) in values.chunks(row.max(1)).enumerate() {
            let mut over = false;
            for (part, limit) in image.chunks(plane).zip(&limits) {
                let peak = part.iter().fold(0.0, |m: f64, v| f64::from(v.abs()).max(m));
                over |= peak > *limit;
                if peak > *limit && peak > worst.0 {
                    worst = (peak, *limit);
                }
            }
            if over {
                images.push(self.first + at);
            }
        }
        let first: Vec<String> = images.iter().take(LISTED).map(usize::to_string).collect();
        let more = if images.len() > LISTED { ", .." } else { "" };
        (!images.is_empty()).then(|| {
            format!(
                "{} of {} images ({}{more}) hold values beyond what the plan was checked for: up to {:.3} normalised, \
                 {:.3} with the margin of {margin}",
                images.len(),
                self.count,
                first.join(", "),
                worst.0,
                worst.1
            )
        })
    }

    /// Smallest and largest normalised value of the samples.
    fn ends(&self) -> (f64, f64) {
        self.normalised.iter().fold((0.0, 0.0), |(low, high), c| (c.0.min(low), c.1.max(high)))
    }
    /// Whether normalisation changes nothing.
    fn identity(&self) -> bool {
        let n = &self.input.normalise;
        n.scale == 1.0 && n.mean.iter().all(|m| *m == 0.0) && n.std.iter().all(|s| *s == 1.0)
    }
    /// Whether the samples are pixels: whole numbers, none below 0.
    fn pixels(&self) -> bool {
        self.samples.whole && self.samples.low() >= 0.0 && self.samples.high() >= PIXELS
    }
    /// Whether the images' contrast is that of a smaller scale.
    fn fainter(&self, times: f64) -> bool {
        self.images.contrast > 0.0 && self.images.contrast * times <= self.samples.contrast
    }

    fn scale(&self) -> Option<Scale> {
        if self.images.contrast == 0.0 {
            return None;
        }
        match self.given {
            Given::Bytes => self.small(),
            Given::Whole => self.small().or_else(|| self.signed()),
            Given::Floats => {
                self.unit().or_else(|| self.negative()).or_else(|| self.faint()).or_else(|| self.small())
            }
            Given::Normalised => self.not_normalised(),
        }
    }

    /// Whole numbers on a smaller scale: 0 and 1 for samples in 0..255, bytes for samples of 16 bits.
    fn small(&self) -> Option<Scale> {
        let (low, high, top) = (self.images.low(), self.images.high(), self.samples.high());
        let (what, scale) = if high <= ONE && top >= BYTES {
            ("the images are whole numbers of 0 and 1 alone", "black and white")
        } else if high <= 255.0 && top > 255.0 * BYTES {
            ("the images look like bytes, and the samples like numbers of 16 bits", "the same pictures")
        } else {
            return None;
        };
        (low >= 0.0 && self.fainter(SCALES)).then(|| Scale {
            certain: false,
            what: what.into(),
            remedy: format!(
                "multiply them by {:.0} if they stand for {scale}",
                if high <= ONE { self.top() } else { 257.0 }
            ),
        })
    }

    /// Integers below 0 for samples that are pixels: bytes that were moved by 128.
    fn signed(&self) -> Option<Scale> {
        (self.images.low() < 0.0 && self.pixels()).then(|| Scale {
            certain: false,
            what: "the images hold whole numbers below 0, and the samples none".into(),
            remedy: "bring them to the samples' scale; signed bytes of pictures often lie 128 too low".into(),
        })
    }

    /// Floats in 0..1 for samples on a larger scale.
    fn unit(&self) -> Option<Scale> {
        let (low, high) = (self.images.low(), self.images.high());
        let unit =
            low >= 0.0 && (0.5..=ONE).contains(&high) && !self.images.whole && self.samples.low() >= 0.0;
        let certain = self.pixels();
        let likely = self.samples.high() >= BYTES && self.fainter(SCALES);
        if !(unit && (certain || likely)) {
            return None;
        }
        let (least, most) = self.ends();
        let (flag, top) = (self.flag, self.top());
        // Where normalisation is no more than this scale, such values are normalised already.
        let remedy = match least >= -0.01 && most <= 1.01 {
            true => format!("say that they are scaled already with {flag}, or multiply them by {top:.0}"),
            false => format!("multiply them by {top:.0}, or give the pixels as bytes"),
        };
        Some(Scale { certain, what: "the images look like values in 0..1".into(), remedy })
    }

    /// Values below 0 where the samples had none: normalised already, or on a scale around 0.
    fn negative(&self) -> Option<Scale> {
        let (low, high) = (self.images.low(), self.images.high());
        if self.samples.low() < 0.0 || low > -1e-6 {
            return None;
        }
        let (least, most) = self.ends();
        let (certain, flag) = (self.pixels() && !self.images.whole, self.flag);
        if !self.identity() && low >= 1.5 * least && high <= 1.5 * most {
            let clear = certain || low < -0.02 * self.samples.high();
            return clear.then(|| Scale {
                certain,
                what: "the images look normalised already".into(),
                remedy: format!("say so with {flag}, or give the values as they were before"),
            });
        }
        self.pixels().then(|| Scale {
            certain: certain && self.fainter(SCALES),
            what: "the images hold values below 0, and the samples none".into(),
            remedy: format!(
                "bring them to the samples' scale, or normalise them as the graph says and add {flag}"
            ),
        })
    }

    /// Another, smaller scale.
    fn faint(&self) -> Option<Scale> {
        // Dark pictures hold whole numbers too, other scales seldom do.
        if self.images.whole && self.samples.whole {
            return None;
        }
        let times = if self.count >= 8 { 16.0 } else { 64.0 };
        (!self.bounds && self.fainter(times)).then(|| Scale {
            certain: false,
            what: format!(
                "values within an image differ by {:.4} on average, and within a sample by {:.4}",
                self.images.contrast, self.samples.contrast
            ),
            remedy: "see whether the images are on the samples' scale".into(),
        })
    }

    /// Raw values in 0..1 that were said to be normalised, where normalised ones would reach below 0.
    fn not_normalised(&self) -> Option<Scale> {
        let (low, high) = self.images_normalised();
        let least = self.ends().0;
        let zero = low.abs() < 1e-6 || self.count >= 8;
        let looks = zero && (-1e-6..=0.1).contains(&low) && (0.5..=ONE).contains(&high) && least < -0.2;
        looks.then(|| Scale {
            certain: false,
            what: format!(
                "the images look like values in 0..1 that are not normalised, though {} says so",
                self.flag
            ),
            remedy: format!(
                "leave out {} and give them on the samples' scale, or normalise them as the graph says",
                self.flag
            ),
        })
    }

    /// A larger scale, where values are beyond the samples' range anyway.
    fn wider(&self) -> Option<Scale> {
        let (low, high) = (self.images.low(), self.images.high());
        let raw = |what: &str, remedy: String| Some(Scale { certain: true, what: what.into(), remedy });
        if self.given == Given::Normalised {
            let n = self.images_normalised();
            let within = n.0 >= self.samples.low() - 1e-6 && n.1 <= self.samples.high() * 1.01;
            return match within && !self.identity() {
                true => raw(
                    "the images look like raw values, not normalised ones",
                    format!("leave out {}", self.flag),
                ),
                false => None,
            };
        }
        // Integers are what they are; floats are taken for bytes where they nearly fill their range.
        let least = if self.given == Given::Floats { 128.0 } else { BYTES };
        if low >= 0.0 && (least..=255.5).contains(&high) && self.samples.high() <= 2.0 {
            let remedy = match self.given {
                Given::Floats => "divide them by 255",
                _ => {
                    "divide them by 255 and give them as floats, or import with --scale 1/255 and plan again"
                }
            };
            return raw("the images look like values in 0..255", remedy.into());
        }
        let deep = self.given == Given::Whole && low >= 0.0 && high <= 65535.0;
        if deep && self.pixels() && self.samples.high() <= 255.0 {
            return raw(
                "the images look like numbers of 16 bits, and the samples like bytes",
                "divide them by 257 and save them as bytes, or import with --scale 1/65535 and plan again"
                    .into(),
            );
        }
        None
    }

    /// Smallest and largest normalised value of the images.
    fn images_normalised(&self) -> (f64, f64) {
        let channels = self.images.normalised(self.input).into_iter();
        channels.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (c.0.min(l), c.1.max(h)))
    }

    /// The samples' full scale.
    fn top(&self) -> f64 {
        let high = self.samples.high();
        if (128.0..=255.0).contains(&high) { 255.0 } else { high }
    }
}
