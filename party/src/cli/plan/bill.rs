//! The bill of a plan: a run's report before the run. What only a run can tell is null.

use super::alternatives::Row;
use super::forecast::Forecast;
use super::weights::Precision;
use crate::deal::room::key_files;
use crate::exit::Failure;
use crate::jobs::control;
use crate::report::{Report, predicted};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use twoply_nn::calibrate::Range;
use twoply_nn::inputs::Profile;
use twoply_nn::zoo::ariann::Counts;
use twoply_nn::{Meaning, Plan};
use twoply_preprocessing::Cut;

/// What images in runs of `batch` will cost. Pairs are P0 and P1.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bill {
    /// Digest of the plan, its first 8 bytes.
    pub plan: String,
    /// Peak memory of a party, by estimate.
    pub memory_bytes: u64,
    /// Times, if they were asked for.
    pub forecast: Option<Forecast>,
    /// Comparisons per image as AriaNN counts them, if they were asked for.
    pub ariann: Option<Counts>,
    pub batch: u64,
    /// Images of a segment of keys; runs are cut where segments end.
    pub segment_images: u32,
    /// Lengths of all key files: padding, headers and digests included.
    pub key_file_bytes: [u64; 2],
    /// What the parties' control messages take besides.
    pub control_bytes: Control,
    #[serde(flatten)]
    pub report: Report,
    /// Ranges of the input and of every layer that the plan was checked against.
    pub ranges: Vec<Range>,
    /// What the samples' raw values are like; null where ranges are bounds for bytes, or unchecked.
    pub raw: Option<Profile>,
    /// What the output means.
    pub output: Meaning,
}

/// Payload bytes of control messages between the parties, whose lengths are fixed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Control {
    /// Of every run, from P0 and from P1.
    pub run: [u64; 2],
    /// From each of them where images are reserved for a run.
    pub reserved: u64,
}

/// A bill with the path of its plan: the JSON result.
#[derive(Serialize)]
pub(super) struct At<'a> {
    /// Null where no plan was written.
    file: Option<&'a Path>,
    /// Other choices, if they were asked for.
    alternatives: Option<&'a [Row]>,
    /// Why layers compare as they do, where that was left to the program.
    why: &'a [String],
    /// What becomes of the weights.
    precision: &'a Precision,
    #[serde(flatten)]
    bill: &'a Bill,
}

impl Bill {
    pub(super) fn new(plan: &Plan, images: u64, batch: Option<u64>) -> Result<Self, Failure> {
        let segment_images = plan.segment_images();
        let batch = batch.unwrap_or(u64::from(segment_images)).min(images);
        let cut = Cut::new(images, segment_images)?;
        let mut report: Option<Report> = None;
        for (size, times) in runs(cut, batch) {
            let mut one = predicted(&[(size, plan.gates(size)?)]);
            scale(&mut one, times);
            match &mut report {
                Some(sum) => add(sum, &one),
                None => report = Some(one),
            }
        }
        let (run, reserved) = control::piece();
        let ranges = plan.ranges.iter().flat_map(|ranges| [&ranges.input].into_iter().chain(&ranges.nodes));
        Ok(Bill {
            plan: plan.digest()?.to_string(),
            memory_bytes: 0,
            forecast: None,
            ariann: None,
            batch,
            segment_images,
            key_file_bytes: key_files(plan, cut)?,
            control_bytes: Control { run, reserved },
            report: report.unwrap_or_default(),
            ranges: ranges.cloned().collect(),
            raw: plan.ranges.as_ref().and_then(|ranges| ranges.raw.clone()),
            output: Meaning::of(&plan.graph)?,
        })
    }

    pub(super) fn at<'a>(
        &'a self,
        file: Option<&'a Path>,
        alternatives: Option<&'a [Row]>,
        (why, precision): (&'a [String], &'a Precision),
    ) -> At<'a> {
        At { file, alternatives, why, precision, bill: self }
    }

    /// What is known of a layer's range.
    pub(super) fn range(&self, layer: &str) -> Option<&Range> {
        self.ranges.iter().find(|range| range.name == layer)
    }
}

/// All counters of a report, for `f` to change each; the same ones in the same order for reports of one plan.
fn counters(report: &mut Report) -> Vec<&mut u64> {
    let Report { images, comparisons, rounds, bytes_sent, owner_bytes, key_bytes, opened, layers, .. } =
        report;
    let pairs = [bytes_sent, owner_bytes, key_bytes].into_iter().flatten().flatten();
    let mut all: Vec<&mut u64> = [images, comparisons, rounds].into_iter().chain(pairs).collect();
    all.extend(opened.iter_mut().map(|opened| &mut opened.elements));
    for layer in layers {
        all.extend([&mut layer.comparisons, &mut layer.rounds]);
        all.extend([&mut layer.key_bytes, &mut layer.bytes_sent].into_iter().flatten().flatten());
    }
    all
}

fn scale(report: &mut Report, times: u64) {
    counters(report).into_iter().for_each(|counter| *counter *= times);
}

fn add(sum: &mut Report, other: &Report) {
    let mut other = other.clone();
    counters(sum).into_iter().zip(counters(&mut other)).for_each(|(sum, more)| *sum += *more);
}

/// How often each size of run occurs: batches, cut where segments end. Counts over one common period of batches and
/// segments at most, so that a million images cost no more than a few.
fn runs(cut: Cut, batch: u64) -> BTreeMap<usize, u64> {
    let mut sizes = BTreeMap::new();
    let mut count = |from: u64, to: u64, times: u64| {
        let mut next = from;
        while next < to {
            let end = to.min(next + batch);
            for (_, piece) in cut.pieces(next..end) {
                *sizes.entry(piece.len()).or_insert(0) += times;
            }
            next = end;
        }
    };
    let period = batch / gcd(batch, u64::from(cut.segment_images())) * u64::from(cut.segment_images());
    let whole = cut.images() / period;
    if whole > 0 {
        count(0, period, whole);
    }
    count(whole * period, cut.images(), 1);
    sizes
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by going through all batches.
    fn plainly(cut: Cut, batch: u64) -> BTreeMap<usize, u64> {
        let mut sizes = BTreeMap::new();
        for start in (0..cut.images()).step_by(batch as usize) {
            for (_, piece) in cut.pieces(start..cut.images().min(start + batch)) {
                *sizes.entry(piece.len()).or_insert(0) += 1;
            }
        }
        sizes
    }

    #[test]
    fn runs_are_counted_by_period() {
        for (images, segment, batch) in
            [(1, 128, 1), (1000, 128, 100), (1000, 10, 7), (999, 7, 10), (256, 128, 128), (5, 2, 5)]
        {
            let cut = Cut::new(images, segment).unwrap();
            let runs = runs(cut, batch);
            assert_eq!(runs, plainly(cut, batch), "{images} {segment} {batch}");
            assert_eq!(runs.iter().map(|(&size, times)| size as u64 * times).sum::<u64>(), images);
        }
    }
}
