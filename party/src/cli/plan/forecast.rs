//! How long a run will take: rehearsed on this machine, then put on a link.
//!
//! Compute is measured, not modelled: both parties run in this process on values of zero, which takes as long as any
//! others, with keys dealt in memory. What a link adds is arithmetic: both parties send at once, so a message in sequence
//! costs half a round trip and its bytes their transmission; the data owner's request, on which both parties agree, and
//! its masked input cost four round trips and the input's transmission. Constants are from requests of three networks over
//! three links (bench/README.md).

use crate::exit::Failure;
use crate::transport::Shape;
use serde::Serialize;
use std::time::Duration;
use twoply_nn::engine::PlannedGate;
use twoply_nn::rehearsal::Played;
use twoply_nn::{Plan, Rehearsal, Weights, with_ring};
use twoply_primitives::session::GateStats;
use twoply_primitives::{Cpu, Ring};

/// What TLS, system calls and the change of process cost a message over loopback, beyond a queue in memory.
const MESSAGE: Duration = Duration::from_micros(30);
/// What they cost a byte: a gigabyte in a second.
const BYTE: f64 = 1e-9;
/// What a request costs beside: its messages through both parties, ledgers, encoding.
const REQUEST: Duration = Duration::from_micros(800);
/// Two processes on one machine's cores compute so much longer than two threads of a rehearsal.
pub(in crate::cli) const PROCESSES: f64 = 1.4;
/// Key bytes that a rehearsal may hold in memory.
pub(in crate::cli) const KEYS: u64 = 1 << 30;
/// Rehearsals stop when they took this long together.
const PATIENCE: Duration = Duration::from_secs(4);
/// Most of them.
const RUNS: usize = 5;
/// What a party needs beside tensors: code, stacks, buffers of links.
const BASE: u64 = 90 << 20;
/// Copies of the weights that a party holds while it is provisioned and runs.
const WEIGHTS: u64 = 4;
/// Tensors as large as the largest one that waves, key tiles and the prepared product take together.
const TENSORS: u64 = 40;

/// One layer, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct LayerTime {
    pub name: String,
    /// Comparison, if the layer has any.
    pub compare: Option<String>,
    pub compute: f64,
    /// What the link adds.
    pub wait: f64,
}

/// A run of `batch` images, both parties on this machine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Forecast {
    pub link: String,
    pub batch: u64,
    pub layers: Vec<LayerTime>,
    /// Dealer's compute, seconds.
    pub deal: f64,
    /// From a masked input's request to its result, seconds; `compute + wait`.
    pub online: f64,
    pub compute: f64,
    pub wait: f64,
}

/// Rehearses runs of `batch` images, or of fewer if their keys would fill the memory.
///
/// # Errors
/// What a party of the rehearsal reports.
pub(super) fn forecast(plan: &Plan, batch: u64, link: &Shape) -> Result<Forecast, Failure> {
    let gates = plan.gates(1)?;
    let keys: u64 = gates.iter().map(|g| (g.cost.key_bits(0) + g.cost.key_bits(1)) / 8).sum();
    let held = batch.min(KEYS / keys.max(1)).max(1);
    let (layers, deal) = with_ring!(plan.options.fixed.n, R => rehearse::<R>(plan, held as usize))?;
    let times = batch as f64 / held as f64;
    let gates = plan.gates(batch as usize)?;
    let layers: Vec<LayerTime> = layers
        .into_iter()
        .map(|(name, compute)| on_link(&gates, name, compute * times * PROCESSES, link))
        .collect();
    let sum = |f: fn(&LayerTime) -> f64| layers.iter().map(f).sum::<f64>();
    let input = gates.first().map_or(0, |g| g.output.packed_bytes());
    let request = 4.0 * link.rtt.as_secs_f64() + REQUEST.as_secs_f64() + sending(input, link);
    let (compute, wait) = (sum(|l| l.compute), sum(|l| l.wait) + request);
    Ok(Forecast {
        link: link.to_string(),
        batch,
        deal: deal * times,
        online: compute + wait,
        compute,
        wait,
        layers,
    })
}

/// Seconds that a link adds to so many messages in sequence, of so many bytes together.
pub(in crate::cli) fn in_flight(rounds: u64, bytes: u64, link: &Shape) -> f64 {
    let message = link.rtt.as_secs_f64() / 2.0 + MESSAGE.as_secs_f64();
    rounds as f64 * message + sending(bytes, link)
}

/// Seconds in which bytes leave.
fn sending(bytes: u64, link: &Shape) -> f64 {
    bytes as f64 * BYTE + link.bits_per_second.map_or(0.0, |rate| bytes as f64 * 8.0 / rate as f64)
}

fn on_link(gates: &[PlannedGate], name: String, compute: f64, link: &Shape) -> LayerTime {
    let mine = || gates.iter().filter(|g| g.layer == name);
    let wait = mine().map(|g| in_flight(g.cost.rounds, g.cost.bytes, link));
    let compare = mine().filter(|g| g.cost.comparisons > 0).find_map(|g| scheme(&g.with));
    LayerTime { compare, compute, wait: wait.sum(), name }
}

/// The comparison among a gate's parameters, however deep it stands.
fn scheme(with: &serde_json::Value) -> Option<String> {
    match with {
        serde_json::Value::Object(map) => map.iter().find_map(|(key, value)| match (key.as_str(), value) {
            ("scheme" | "Floor" | "floor", serde_json::Value::String(name)) => Some(name.to_lowercase()),
            _ => scheme(value),
        }),
        _ => None,
    }
}

/// Compute of each layer, of the slower party, and of the dealer, in seconds: medians over some runs after a first one.
fn rehearse<R: Ring>(plan: &Plan, batch: usize) -> Result<(Vec<(String, f64)>, f64), Failure> {
    let program = plan.program()?;
    let zeros = plan.graph.params.iter().map(|p| vec![0.0; p.shape.iter().product()]).collect();
    let mut rehearsal = Rehearsal::new(Cpu::<R>::new(), &program, &Weights(zeros))?;
    let inputs = vec![R::ZERO; batch * plan.graph.input.row()];
    let first = rehearsal.run(&inputs)?;
    let (mut all, mut took): (Vec<Played<R>>, f64) = (vec![], 0.0);
    while all.is_empty() || all.len() < RUNS && took < PATIENCE.as_secs_f64() {
        let run = rehearsal.run(&inputs)?;
        took += run.dealing.as_secs_f64() + run.gates[0].iter().map(|g| g.total.as_secs_f64()).sum::<f64>();
        all.push(run);
    }
    let mut names: Vec<&String> = first.gates[0].iter().map(|g| &g.layer).collect();
    names.dedup();
    let layers = names.into_iter().map(|name| {
        let of = |gates: &[GateStats]| -> f64 {
            gates.iter().filter(|g| g.layer == *name).map(|g| g.total.as_secs_f64()).sum()
        };
        (name.clone(), median(all.iter().map(|run| of(&run.gates[0]).max(of(&run.gates[1]))).collect()))
    });
    Ok((layers.collect(), median(all.iter().map(|run| run.dealing.as_secs_f64()).collect())))
}

pub(in crate::cli) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Peak of a party's anonymous memory in bytes, by a rule of thumb: from above for all of the zoo, by less
/// than twice where a party needs more than 150 MB.
pub(super) fn memory(plan: &Plan, batch: u64) -> u64 {
    let size = u64::from(plan.options.fixed.n / 8);
    let weights: usize = plan.graph.params.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    let widest = plan.gates.iter().map(|g| g.output.len()).max().unwrap_or(0) as u64;
    BASE + WEIGHTS * size * weights as u64 + TENSORS * size * widest * batch
}
