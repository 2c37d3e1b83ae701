//! What bounds kernels and copies, and how long some work takes at least.

use super::{Bench, Bound, Unit};
use crate::values;
use std::sync::Arc;
use twoply_primitives::backend::Slots;
use twoply_primitives::backend::cuda::About;
use twoply_primitives::prg::Streams;
use twoply_primitives::{Backend, Result, TILE};

/// Per second; none where it is not known.
#[derive(Default)]
pub struct Limits {
    /// AES blocks in registers.
    aes: Option<f64>,
    /// Bytes read or written in device memory.
    memory: Option<f64>,
    /// Bytes from pinned memory to the device.
    pub into: Option<f64>,
    /// Bytes from the device to pinned memory.
    out: Option<f64>,
    /// Products of bytes on tensor cores: nominal.
    int8: Option<f64>,
    /// Words read in shared memory: nominal.
    shared: Option<f64>,
}

/// What something cannot be had without.
#[derive(Clone, Copy, Default)]
pub struct Work {
    /// AES blocks.
    pub aes: f64,
    /// Bytes read or written in device memory.
    pub memory: f64,
    /// Bytes to the device.
    pub into: f64,
    /// Bytes from the device.
    pub out: f64,
    /// Products of bytes.
    pub int8: f64,
}

/// Products of bytes per clock and multiprocessor, of the versions whose data sheets are known.
fn int8_per_clock((major, minor): (u32, u32)) -> Option<f64> {
    match (major, minor) {
        (8, 0) => Some(2048.0),
        (8, 6 | 9) => Some(1024.0),
        (9, 0) => Some(4096.0),
        _ => None,
    }
}

/// Words of shared memory that a multiprocessor reads per clock: one from each bank.
const BANKS: f64 = 32.0;

/// Table words that a block takes: one for each byte of the state in each round.
const LOOKUPS: f64 = 160.0;

impl Limits {
    /// What follows from a device's clock.
    pub fn nominal(about: &About) -> Limits {
        let clocks = about.clock.map(|mhz| f64::from(mhz) * 1e6 * f64::from(about.processors));
        let int8 = clocks.zip(int8_per_clock(about.capability)).map(|(clocks, each)| clocks * each);
        Limits { int8, shared: clocks.map(|c| c * BANKS), ..Limits::default() }
    }
    /// What takes the longest of some work, and how long.
    pub fn longest(&self, w: &Work) -> Option<(&'static str, f64)> {
        let all = [
            ("AES", w.aes, self.aes),
            ("device memory", w.memory, self.memory),
            ("bus to the device", w.into, self.into),
            ("bus to the host", w.out, self.out),
            ("tensor cores, nominal", w.int8, self.int8),
        ];
        let times = all.into_iter().filter_map(|(name, amount, rate)| Some((name, amount / rate?)));
        times.filter(|t| t.1 > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Measures the limits; each has a row of its own.
pub fn rows(b: &mut Bench) -> Result<()> {
    (b.say)("limits");
    let bytes = Unit::PerSecond(1e9, "GB/s");
    let dev = b.dev.clone();
    let words = b.pick(1 << 26, 1 << 16);
    let host = values::<u32>(words, 30, u32::BITS);
    let here = dev.upload(&host);
    let len = 4.0 * words as f64;

    let pinned = Arc::new(dev.pin(&vec![7; 4 * words])?);
    // one tile of one field that is as wide as that takes
    let (field, slots) = ([(32 * words / TILE) as u32], Slots { range: 0..TILE, elements: TILE });
    let seconds = b.time(|| {
        drop(dev.load(vec![pinned.clone()], &field, &slots));
        Ok(())
    })?;
    b.limits.into = Some(len / seconds);
    b.row("copy", "pinned memory to the device", bytes, (len, seconds), Work::default());
    let seconds = b.time(|| {
        drop(dev.pack(&here, u32::BITS));
        Ok(())
    })?;
    b.limits.out = Some(len / seconds);
    b.row("copy", "device to pinned memory", bytes, (len, seconds), Work::default());
    let seconds = b.time(|| {
        drop(dev.concat(vec![here.clone(), here.clone()]));
        Ok(())
    })?;
    // what is copied is read and written
    b.limits.memory = Some(4.0 * len / seconds);
    b.row("copy", "on the device, read and written", bytes, (4.0 * len, seconds), Work::default());
    aes(b)
}

fn aes(b: &mut Bench) -> Result<()> {
    let (dev, streams) = (b.dev.clone(), Streams::from_key(&[1; 16]));
    let (blocks, unit) = (b.pick(2048, 2), Unit::PerSecond(1e9, "G blocks/s"));
    let all = dev.ceiling(streams.field(1), blocks) as f64;
    let seconds = b.time(|| {
        dev.ceiling(streams.field(1), blocks);
        Ok(())
    })?;
    b.limits.aes = Some(all / seconds);
    let bound = b.limits.shared.map(|words| {
        let most = words / LOOKUPS;
        Bound { name: "shared memory, nominal", value: most / 1e9, reached: all / seconds / most }
    });
    b.enter("AES", "ceiling", unit.name(), unit.of(all, seconds), bound);
    let words = b.pick(1 << 28, 1 << 16);
    let seconds = b.time(|| {
        dev.expand(streams.field(1), 0, words, u32::BITS);
        Ok(())
    })?;
    let blocks = words as f64 / 4.0;
    let work = Work { aes: blocks, memory: 16.0 * blocks, ..Work::default() };
    b.row("AES", "expand", unit, (blocks, seconds), work);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_what_is_known_bounds() {
        let limits = Limits { aes: Some(10.0), into: Some(100.0), ..Limits::default() };
        let work = Work { aes: 10.0, into: 500.0, int8: 1e9, ..Work::default() };
        assert_eq!(limits.longest(&work), Some(("bus to the device", 5.0)));
        assert_eq!(limits.longest(&Work { int8: 1.0, ..Work::default() }), None);
    }

    #[test]
    fn nominal_bounds_are_those_of_the_data_sheet() {
        let about = |capability, clock| {
            let name = String::new();
            About { name, capability, processors: 132, clock, memory: 0, driver: (13, 0) }
        };
        // 1979 TOPS, where a product and a sum are two operations
        let int8 = Limits::nominal(&about((9, 0), Some(1830))).int8.unwrap();
        assert!((2.0 * int8 / 1e12 - 1979.0).abs() < 1.0, "{int8}");
        assert!(Limits::nominal(&about((9, 0), None)).int8.is_none());
        assert!(Limits::nominal(&about((99, 0), Some(1))).int8.is_none());
    }
}
