//! Emulated links: a round-trip time and a rate on top of whatever carries a link, without root.
//!
//! Each end holds back what it sends. Bytes leave one after the other at the rate, and each one arrives half a round
//! trip after it left, by the clock of the sending machine alone. So both ends need the same setting. The setting adds
//! to what the real link takes; handshakes and signs of life are not held back.

mod pacer;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

pub(super) use pacer::Pacer;

/// Longest round trip: an ABORT must get out before the link is cut.
const LONGEST: Duration = Duration::from_secs(1);
/// Lowest rate in bits per second: receivers give up on long messages that come slower than half of it.
const LOWEST: u64 = 4_000_000;
/// Highest rate in bits per second.
const HIGHEST: u64 = 1_000_000_000_000;

/// What an emulated link adds to the real one. The default adds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Shape {
    /// Time from one end to the other and back.
    pub rtt: Duration,
    /// Bits that leave each end in a second; frame headers count, those of TLS and below do not. `None`: no limit.
    pub bits_per_second: Option<u64>,
}

/// A text that is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write {names}, or for example rtt=40ms,rate=400mbit", names = names())]
pub struct NoShape(String);

const fn preset(rtt_us: u64, megabits: u64) -> Shape {
    Shape { rtt: Duration::from_micros(rtt_us), bits_per_second: Some(megabits * 1_000_000) }
}

impl Shape {
    /// Links with a name, from near to far.
    pub const PRESETS: [(&'static str, Shape); 5] = [
        ("loopback", Shape { rtt: Duration::ZERO, bits_per_second: None }),
        ("dc", preset(200, 10_000)),
        ("lan", preset(300, 3_000)),
        ("wan", preset(40_000, 400)),
        ("slow", preset(100_000, 100)),
    ];

    /// Whether the real link is used as it is.
    pub fn is_nothing(&self) -> bool {
        *self == Shape::default()
    }

    /// Name of the preset, if it is one.
    pub fn name(&self) -> Option<&'static str> {
        Self::PRESETS.iter().find(|(_, shape)| shape == self).map(|(name, _)| *name)
    }

    /// The text that gives this link, for another process.
    pub fn setting(&self) -> String {
        if self.is_nothing() {
            return Self::PRESETS[0].0.to_owned();
        }
        let rate = self.bits_per_second.map(|bits| format!(",rate={}kbit", bits as f64 / 1e3));
        format!("rtt={}us{}", self.rtt.as_secs_f64() * 1e6, rate.unwrap_or_default())
    }

    /// Time in which `bytes` leave, rounded up.
    fn transmission(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bits_per_second else { return Duration::ZERO };
        let nanos = (bytes as u128 * 8_000_000_000).div_ceil(u128::from(rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn names() -> String {
    Shape::PRESETS.map(|(name, _)| name).join(", ")
}

impl fmt::Display for Shape {
    /// As in "wan (emulated), 40 ms, 400 Mbit/s".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("loopback (nothing emulated)");
        }
        write!(f, "{} (emulated), {} ms", self.name().unwrap_or("own"), self.rtt.as_secs_f64() * 1e3)?;
        match self.bits_per_second {
            Some(rate) if rate >= 1_000_000_000 => write!(f, ", {} Gbit/s", rate as f64 / 1e9),
            Some(rate) => write!(f, ", {} Mbit/s", rate as f64 / 1e6),
            None => f.write_str(", no limit of rate"),
        }
    }
}

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(text: &str) -> Result<Self, NoShape> {
        if let Some((_, shape)) = Self::PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(*shape);
        }
        if !text.contains('=') {
            return Err(NoShape(format!("`{text}` names no link")));
        }
        let (mut rtt, mut rate) = (None, None);
        for setting in text.split(',') {
            match setting.split_once('=') {
                Some(("rtt", value)) if rtt.is_none() => rtt = Some(time(value)?),
                Some(("rate", value)) if rate.is_none() => rate = Some(speed(value)?),
                Some((twice @ ("rtt" | "rate"), _)) => {
                    return Err(NoShape(format!("`{twice}` is set twice")));
                }
                _ => return Err(NoShape(format!("`{setting}` is neither rtt=... nor rate=..."))),
            }
        }
        Ok(Shape { rtt: rtt.unwrap_or_default(), bits_per_second: rate })
    }
}

impl TryFrom<String> for Shape {
    type Error = NoShape;

    fn try_from(text: String) -> Result<Self, NoShape> {
        text.parse()
    }
}

/// A number with one of these units.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(at);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn time(text: &str) -> Result<Duration, NoShape> {
    let seconds = quantity(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])
        .ok_or_else(|| NoShape(format!("`{text}` is no time in us, ms or s")))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err(NoShape(format!("a round trip of {text} is over the limit of {} s", LONGEST.as_secs()))),
    }
}

fn speed(text: &str) -> Result<u64, NoShape> {
    let bits = quantity(text, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)])
        .ok_or_else(|| NoShape(format!("`{text}` is no rate in kbit, mbit or gbit (per second)")))?;
    // Saturates, and so stays out of range.
    match bits.round() as u64 {
        bits @ LOWEST..=HIGHEST => Ok(bits),
        _ => Err(NoShape(format!("a rate of {text} per second is not between 4mbit and 1000gbit"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_settings_are_read_and_told() {
        let cases = [
            ("loopback", 0, None, "loopback (nothing emulated)"),
            ("dc", 200, Some(10_000_000_000), "dc (emulated), 0.2 ms, 10 Gbit/s"),
            ("lan", 300, Some(3_000_000_000), "lan (emulated), 0.3 ms, 3 Gbit/s"),
            ("wan", 40_000, Some(400_000_000), "wan (emulated), 40 ms, 400 Mbit/s"),
            ("slow", 100_000, Some(100_000_000), "slow (emulated), 100 ms, 100 Mbit/s"),
            ("rtt=140ms", 140_000, None, "own (emulated), 140 ms, no limit of rate"),
            ("rate=2.5gbit", 0, Some(2_500_000_000), "own (emulated), 0 ms, 2.5 Gbit/s"),
            ("rate=400mbit,rtt=0.04s", 40_000, Some(400_000_000), "wan (emulated), 40 ms, 400 Mbit/s"),
            ("rtt=250us,rate=4000kbit", 250, Some(4_000_000), "own (emulated), 0.25 ms, 4 Mbit/s"),
        ];
        for (text, micros, bits_per_second, told) in cases {
            let shape: Shape = text.parse().unwrap();
            assert_eq!(shape, Shape { rtt: Duration::from_micros(micros), bits_per_second }, "{text}");
            assert_eq!(shape.to_string(), told);
            assert_eq!(shape.is_nothing(), text == "loopback");
        }
    }

    #[test]
    fn what_is_no_link_is_refused_with_its_reason() {
        let cases = [
            ("", "`` names no link"),
            ("WAN", "`WAN` names no link"),
            ("wan,rtt=1ms", "`wan` is neither"),
            ("rtt=1", "`1` is no time"),
            ("rtt=-1ms", "`-1ms` is no time"),
            ("rtt=ms", "`ms` is no time"),
            ("rtt=1.2.3ms", "`1.2.3ms` is no time"),
            ("rtt=nans", "`nans` is no time"),
            ("rtt=1001ms", "over the limit of 1 s"),
            ("rtt=1ms,rtt=1ms", "`rtt` is set twice"),
            ("rate=400", "`400` is no rate"),
            ("rate=400Mbit", "`400Mbit` is no rate"),
            ("rate=3999kbit", "not between"),
            ("rate=1001gbit", "not between"),
            ("rate=99999999999999999999999999gbit", "not between"),
            ("rtt=1ms,", "`` is neither"),
            ("delay=1ms", "`delay=1ms` is neither"),
        ];
        for (text, why) in cases {
            let told = text.parse::<Shape>().unwrap_err().to_string();
            assert!(told.contains(why) && told.contains("loopback, dc, lan, wan, slow"), "{text}: {told}");
        }
    }
}
