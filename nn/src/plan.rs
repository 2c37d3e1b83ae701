//! The plan: everything both parties, the dealer and the owners agree on before a byte moves, as readable JSON.
//!
//! Its digest covers what a run does (graph, ring, gates and their parameters, PRG, protocol) and the ranges it was
//! checked against, not how many images are dealt or run.

use crate::calibrate::Range;
use crate::engine::{PlannedGate, Planner};
use crate::graph::{Graph, Op, Source};
use crate::program::{Program, check_bill, ends_in_argmax};
use crate::{Error, Ranges, Result, Scale};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use twoply_preprocessing::{GateLayout, Layout, PlanDigest};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::prg::PRG_VERSION;
use twoply_primitives::{Fixed, Form};

/// Version of the protocol between parties; part of the digest.
pub const PROTOCOL: u32 = 2;

/// What the data owner receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reveal {
    /// The output of the network.
    Logits,
    /// Only the index of its largest element.
    Label,
}

/// Choices of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Ring and fraction bits.
    pub fixed: Fixed,
    /// Fraction bits of weights and biases, where they have their own: those of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_fraction: Option<u32>,
    /// Comparison.
    pub compare: Scheme,
    /// Layers that compare another way, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub compare_at: BTreeMap<String, Scheme>,
    /// Rounding of truncations.
    pub rounding: Rounding,
    /// What the data owner receives.
    pub reveal: Reveal,
    /// Factor on observed ranges.
    pub margin: f64,
    /// Whether the data owner learns how many values of each layer came near the end of their range, or left it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fixed: Fixed { n: 32, f: 12 },
            weight_fraction: None,
            compare: Scheme::Digits,
            compare_at: BTreeMap::new(),
            rounding: Rounding::PublicCoin,
            reveal: Reveal::Logits,
            margin: 1.5,
            audit: false,
        }
    }
}

impl Options {
    /// Ring and fraction bits, of values and of parameters.
    pub fn scale(&self) -> Scale {
        Scale { fixed: self.fixed, weights: self.weight_fraction }
    }
}

/// Sums over gates, for one run or predicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Comparisons.
    pub comparisons: u64,
    /// Messages in sequence.
    pub rounds: u64,
    /// Payload bytes each party sends to the other.
    pub bytes: u64,
    /// Payload bytes each party sends to the data owner.
    pub owner_bytes: u64,
    /// Key bytes that P0 and P1 consume, gate by gate rounded up to bytes.
    pub key_bytes: [u64; 2],
}

/// What these gates store.
pub(crate) fn layout(gates: &[PlannedGate]) -> Layout {
    let gate = |g: &PlannedGate| GateLayout { name: g.gate.clone(), parts: g.cost.parts.clone() };
    Layout { gates: gates.iter().map(gate).collect() }
}

/// The plan of a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the software that made it.
    pub twoply: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of the randomness.
    pub prg: String,
    /// The network.
    pub graph: Graph,
    /// The choices.
    pub options: Options,
    /// Ranges that the choices were checked against.
    pub ranges: Option<Ranges>,
    /// What one image costs, gate by gate. Recomputed when a plan is read; a difference is an error.
    pub gates: Vec<PlannedGate>,
}

/// The part of a plan that every version can read.
#[derive(Deserialize)]
struct Versions {
    protocol: u32,
    prg: String,
}

impl Plan {
    /// Plans a network; ranges are checked against the fixed-point contract. A graph that ends in an argmax reveals
    /// labels, whatever the options say.
    ///
    /// # Errors
    /// [`Error::Ranges`] with every layer that does not fit; [`Error::Graph`], [`Error::Data`] or [`Error::Gate`].
    pub fn new(graph: Graph, mut options: Options, ranges: Option<Ranges>) -> Result<Self> {
        if ends_in_argmax(&graph) {
            options.reveal = Reveal::Label;
        }
        let usual = options.compare;
        options.compare_at.retain(|_, scheme| *scheme != usual);
        let mut plan = Plan {
            twoply: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            prg: PRG_VERSION.into(),
            graph,
            options,
            ranges,
            gates: vec![],
        };
        plan.check()?;
        plan.gates = plan.gates(1)?;
        check_bill(&plan.gates)?;
        Ok(plan)
    }
    /// Reads a plan and checks that it says what this version would compute from its graph and options.
    pub fn from_json(text: &str) -> Result<Self> {
        let json = |e: serde_json::Error| Error::data("plan", e.to_string());
        // First, because another version may have other fields.
        let made: Versions = serde_json::from_str(text).map_err(json)?;
        if made.protocol != PROTOCOL || made.prg != PRG_VERSION {
            let found = format!(
                "protocol {}, {}; this is protocol {PROTOCOL}, {PRG_VERSION}",
                made.protocol, made.prg
            );
            return Err(Error::data("plan", format!("made for another version: {found}; plan again")));
        }
        let plan: Plan = serde_json::from_str(text).map_err(json)?;
        plan.check()?;
        if plan.gates(1)? != plan.gates {
            return Err(Error::data("plan", "its gates are not those of its graph and options; plan again"));
        }
        check_bill(&plan.gates)?;
        Ok(plan)
    }
    /// As JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::data("plan", e.to_string()))
    }

    fn check(&self) -> Result<()> {
        let (fixed, scale) = (self.options.fixed, self.options.scale());
        scale.check()?;
        if !(1.0..=1e6).contains(&self.options.margin) {
            return Err(Error::data("plan", format!("margin {}; choose 1 or more", self.options.margin)));
        }
        self.graph.validate()?;
        let layers = || self.graph.nodes.iter().map(|n| &n.name);
        if let Some(name) = self.options.compare_at.keys().find(|at| !layers().any(|l| l == *at)) {
            return Err(Error::data(
                "plan",
                format!("no layer is named `{name}`, which is to compare another way"),
            ));
        }
        let Some(ranges) = &self.ranges else { return Ok(()) };
        ranges.check(&self.graph)?;
        let limit = scale.limit();
        // a clip moves its operand by its limits first
        let moved = |i: usize| match &self.graph.nodes[i].op {
            Op::Clip { low, high } => low.iter().chain(high).fold(0.0, |m, v| f64::max(m, v.abs())),
            _ => 0.0,
        };
        let clipped: Vec<Range> = (0..self.graph.nodes.len())
            .filter(|i| moved(*i) > 0.0)
            .map(|i| {
                let before = match self.graph.nodes[i].inputs[0] {
                    Source::Input => &ranges.input,
                    Source::Node(j) => &ranges.nodes[j],
                };
                let observed = before.observed + moved(i) / self.options.margin;
                Range { name: self.graph.nodes[i].name.clone(), observed, bound: before.bound + moved(i) }
            })
            .collect();
        // An index is no fixed-point value.
        let values = ranges.nodes.len() - ends_in_argmax(&self.graph) as usize;
        let wires = ranges.nodes[..values].iter().chain([&ranges.input]).chain(&clipped);
        let over = wires.filter(|r| r.observed * self.options.margin > limit);
        let faults: Vec<String> = over
            .map(|r| {
                let need = scale.bits(r.observed * self.options.margin);
                format!(
                    "layer `{}`: observed {:.3}, with margin {} beyond {limit:.3}; needs {need} bits",
                    r.name, r.observed, self.options.margin
                )
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::Ranges { n: fixed.n, f: fixed.f, faults }) }
    }

    /// The program.
    pub fn program(&self) -> Result<Program> {
        let ranges = self.ranges.iter().flat_map(|r| &r.nodes).map(|r| r.observed * self.options.margin);
        Program::new(&self.graph, &self.options, &ranges.collect::<Vec<_>>())
    }
    /// The gates of a run of `batch` images.
    pub fn gates(&self, batch: usize) -> Result<Vec<PlannedGate>> {
        let program = self.program()?;
        let mut planner = Planner::new(self.options.fixed.n);
        program.run(&mut planner, &program.params(), batch)?;
        Ok(planner.gates)
    }
    /// What each image stores.
    pub fn layout(&self) -> Layout {
        layout(&self.gates)
    }
    /// Form of the weights, in order.
    pub fn params(&self) -> Result<Vec<Form>> {
        Ok(self.program()?.params())
    }
    /// Digest of the graph alone.
    pub fn graph_digest(&self) -> [u8; 32] {
        self.graph.digest()
    }
    /// Digest of everything a run does and of what it was checked against.
    pub fn digest(&self) -> Result<PlanDigest> {
        let gates: Vec<_> = self.gates.iter().map(|g| (&g.gate, &g.with, &g.output)).collect();
        let what = (self.protocol, &self.prg, self.graph.digest(), &self.options, &self.ranges, gates);
        let json = serde_json::to_vec(&what).map_err(|e| Error::data("plan", e.to_string()))?;
        Ok(PlanDigest(blake3::derive_key("twoply 2026-11 plan digest v1", &json)))
    }
    /// What runs of these sizes cost together.
    pub fn predict(&self, batches: &[usize]) -> Result<Totals> {
        let mut t = Totals::default();
        for &b in batches {
            t.add_gates(&self.gates(b)?);
        }
        Ok(t)
    }
    /// Images per segment that keep the dealer's and a party's live activations at some tens of megabytes.
    pub fn segment_images(&self) -> u32 {
        let widest = self.gates.iter().map(|g| g.output.len()).max().unwrap_or(1);
        ((1 << 21) / widest).clamp(1, 128) as u32
    }
}

impl Totals {
    /// Adds another so many times; a sum beyond 64 bits stays at their end.
    pub fn add(&mut self, other: &Totals, times: u64) {
        let add = |sum: &mut u64, one: u64| *sum = sum.saturating_add(one.saturating_mul(times));
        add(&mut self.comparisons, other.comparisons);
        add(&mut self.rounds, other.rounds);
        add(&mut self.bytes, other.bytes);
        add(&mut self.owner_bytes, other.owner_bytes);
        self.key_bytes.iter_mut().zip(other.key_bytes).for_each(|(sum, one)| add(sum, one));
    }
    /// Adds the bills of one run.
    pub fn add_gates(&mut self, gates: &[PlannedGate]) {
        for g in gates {
            self.comparisons += g.cost.comparisons;
            self.rounds += g.cost.rounds;
            self.bytes += g.cost.bytes;
            self.owner_bytes += g.owner_bytes;
            for p in [0, 1] {
                self.key_bytes[p] += g.cost.key_bits(p).div_ceil(8);
            }
        }
    }
}

#[cfg(test)]
mod tests;
