//! Whole networks in one process: where the online time goes.

use super::Row;
use crate::cpu;
use crate::memory::in_memory;
use crate::network::{Dealt, of_zoo};
use std::time::{Duration, Instant};
use twoply_nn::Options;
use twoply_primitives::compare::Scheme;
use twoply_primitives::{Error, Result};

/// Runs; the median is reported.
const RUNS: usize = 11;

/// Network-1 and LeNet, both comparisons, one image and 128.
pub fn rows(out: &mut Vec<Row>, say: &mut dyn FnMut(&str)) -> Result<()> {
    for (name, model) in [("Network-1", of_zoo("network-1")), ("LeNet", of_zoo("lenet"))] {
        for compare in [Scheme::Dpf, Scheme::Digits] {
            for batch in [1, 128] {
                say(&format!("{name}, {compare}, batch {batch}"));
                let options = Options { compare, ..Options::default() };
                let fail = |e: twoply_nn::Error| Error::shape("network", e.to_string());
                let dealt =
                    Dealt::new(cpu::<u32>(), model.clone(), options, batch, &in_memory).map_err(fail)?;
                let mut times: Vec<[Duration; 3]> = vec![];
                for _ in 0..=RUNS {
                    let begin = Instant::now();
                    let (_, stats) = dealt.run().map_err(fail)?;
                    let wait = stats.iter().map(|s| s.wait).sum();
                    let total: Duration = stats.iter().map(|s| s.total).sum();
                    times.push([begin.elapsed(), total.saturating_sub(wait), wait]);
                }
                times.remove(0);
                times.sort();
                let per_image = |d: Duration| d.as_secs_f64() * 1e3 / batch as f64;
                let [online_ms, compute_ms, wait_ms] = times[RUNS / 2].map(per_image);
                let name = format!("{name}, {compare}");
                out.push(Row::Network { name, n: 32, batch, online_ms, compute_ms, wait_ms });
            }
        }
    }
    Ok(())
}
