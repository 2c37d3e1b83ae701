//! How exactly a plan computes a network, layer by layer, on public samples: float32, fixed point, and two parties.
//!
//! Three runs of the same images. The *float* run is [`crate::Evaluator`]. The *fixed* run is the clear oracle, whose
//! every node is looked at. The *private* run is a [`crate::Rehearsal`]: no intermediate value of it is ever opened, so
//! it is compared at the output, where it must equal the oracle (fed with P1's coins) bit for bit.
//!
//! A layer's error is fixed against float, with everything that came before; its *own* error is fixed against the
//! float operation on the fixed-point operands, so that it shows what this layer adds.

mod bound;
mod tally;

pub use bound::bounds;
pub use tally::BINS;

use crate::engine::{Clear, Seen};
use crate::graph::{Op, Source};
use crate::plan::Totals;
use crate::rehearsal::Played;
use crate::roles;
use crate::{Evaluator, Meaning, Plan, Program, Rehearsal, Result, Scale, Weights, fit};
use rayon::prelude::*;
use serde::Serialize;
use tally::Tally;
use twoply_primitives::{Cpu, Fixed, Ring};

/// Key bytes that a batch of the private run may hold in memory.
const KEYS_IN_MEMORY: u64 = 64 << 20;

/// What was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Accuracy {
    /// Images compared.
    pub images: usize,
    /// n, ring bits.
    pub ring: u32,
    /// f, fraction bits; an ulp is 2^-f, also where a product still carries more.
    pub fraction: u32,
    /// Fraction bits of weights and biases, where they have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_fraction: Option<u32>,
    /// Images whose labels agree; `None` where the output has none.
    pub labels: Option<Agreement>,
    /// Output words of the private run that differ from the oracle; anything but 0 without wraps is a mistake here.
    pub differing: usize,
    /// Output words in all.
    pub outputs: usize,
    /// Values that left the contract of fixed point, all layers together.
    pub wraps: u64,
    /// Largest difference between fixed point and float32 that rounding can make at the output on these samples, in ulp, as
    /// [`bounds`] proves it; `None` where values left the contract, beyond which nothing is proven.
    pub bound_ulp: Option<f64>,
    /// The first layer where precision is lost, and what would help.
    pub lost: Option<Lost>,
    /// The input, then every node but a final argmax.
    pub layers: Vec<Layer>,
}

/// Images with equal labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Agreement {
    /// Float and fixed point.
    pub float_fixed: usize,
    /// Fixed point and two parties.
    pub fixed_private: usize,
    /// Float and two parties.
    pub float_private: usize,
}

/// One layer's errors and room.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Layer {
    /// Name of the node, or of the input.
    pub name: String,
    /// Kind of operation, `input` for the input.
    pub op: &'static str,
    /// Values compared.
    pub values: u64,
    /// Largest magnitude seen in any of the runs.
    pub peak: f64,
    /// Largest magnitude allowed, in real terms.
    pub limit: f64,
    /// `log2(limit / peak)`; negative where values left the contract.
    pub headroom_bits: f64,
    /// Largest and mean absolute error, in ulp.
    pub worst_ulp: f64,
    /// Mean absolute error, in ulp.
    pub mean_ulp: f64,
    /// Largest error over the largest magnitude.
    pub worst_relative: f64,
    /// Mean error over mean magnitude.
    pub mean_relative: f64,
    /// Mean error of this layer alone over mean magnitude.
    pub own_relative: f64,
    /// Mean rounding error of its weights over their mean magnitude; 0 without weights.
    pub weights_relative: f64,
    /// Values that left the contract.
    pub wraps: u64,
    /// Values by error: below 1/2 ulp, then from `2^(k-2)` to `2^(k-1)` ulp, the last one open.
    pub histogram: Vec<u64>,
}

/// Where precision is lost: the first layer whose mean relative error exceeds the tolerance. No layer before it does, so
/// its operands were still good.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Lost {
    /// Name of the layer.
    pub layer: String,
    /// Its mean relative error.
    pub relative: f64,
    /// The tolerance.
    pub tolerance: f64,
    /// Whether its weights are too small for the fraction bits, rather than its values.
    pub weights: bool,
    /// Fraction bits that would do.
    pub fraction: u32,
    /// Those of weights beside them, where they have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_fraction: Option<u32>,
    /// A ring with room for them; `None` if there is none.
    pub ring: Option<u32>,
}

/// Compares the three runs on `inputs`, whole images, normalised. `told` hears how many images are done.
///
/// # Errors
/// [`crate::Error::Ranges`] when weights do not fit, [`crate::Error::Gate`] when an input does not, or what the runs
/// report.
pub fn compare<R: Ring>(
    plan: &Plan,
    weights: &Weights,
    inputs: &[f32],
    tolerance: f64,
    mut told: impl FnMut(usize),
) -> Result<Accuracy> {
    let (float, program) = (Evaluator::new(&plan.graph, weights)?, plan.program()?);
    fit::parameters(&plan.graph, weights, plan.options.scale())?;
    let inputs = float.images(inputs)?;
    let mut runs = Runs::<R> {
        plan,
        program: &program,
        float: &float,
        params: program.params().into_iter().zip(program.encode::<R>(weights)?).collect(),
        private: Rehearsal::new(Cpu::new(), &program, weights)?,
        tallies: vec![Tally::default(); plan.graph.nodes.len() + 1],
        labels: None,
        meaning: Meaning::of(&plan.graph)?,
        words: (0, 0),
    };
    let row = plan.graph.input.row();
    let mut images = 0;
    for batch in inputs.chunks(row * batch(plan)?) {
        runs.batch(batch)?;
        images += batch.len() / row;
        told(images);
    }
    Ok(runs.report(images, tolerance))
}

/// Images whose keys take little memory.
fn batch(plan: &Plan) -> Result<usize> {
    let mut one = Totals::default();
    one.add_gates(&plan.gates(1)?);
    let bytes = one.key_bytes[0] + one.key_bytes[1];
    Ok((KEYS_IN_MEMORY / bytes.max(1)).clamp(1, plan.segment_images().into()) as usize)
}

/// Three runs under way.
struct Runs<'a, R: Ring> {
    plan: &'a Plan,
    program: &'a Program,
    float: &'a Evaluator<'a>,
    params: Vec<(twoply_primitives::Form, Vec<R>)>,
    private: Rehearsal<'a, Cpu<R>>,
    /// Of the input, then of every node.
    tallies: Vec<Tally>,
    labels: Option<Agreement>,
    meaning: Meaning,
    /// Output words that differ, and all.
    words: (usize, usize),
}

impl<R: Ring> Runs<'_, R> {
    fn batch(&mut self, inputs: &[f32]) -> Result<()> {
        let images = inputs.len() / self.plan.graph.input.row();
        let encoded = self.program.encode_input::<R>(inputs)?;
        let Played { answer: private, coins, .. } = self.private.run(&encoded)?;
        let mut oracle = Clear::with_coins(encoded.clone(), coins).watched();
        self.program.run(&mut oracle, &self.params, images)?;
        let (form, frac) = self.program.output(1)?;
        let ones = R::ones(form.bits);
        let fixed: Vec<R> = oracle.output.iter().map(|v| v.and(ones)).collect();
        self.words.0 += private.iter().zip(&fixed).filter(|(a, b)| a.and(ones) != **b).count();
        self.words.1 += fixed.len();
        let labels = |values: &[R]| -> Result<Option<Vec<usize>>> {
            Ok(self.meaning.labels(&roles::read(self.plan, self.program, values)?))
        };
        if let (Some(fixed), Some(private)) = (labels(&fixed)?, labels(&private)?) {
            let float = self.float.labels(inputs)?;
            self.agree(&float, &fixed, &private);
        }

        let mut seen = oracle.take_seen();
        let last = self.plan.graph.nodes.len() - 1;
        if seen.len() == last && self.plan.graph.nodes[last].op != Op::Argmax {
            seen.push(Seen { node: last, values: fixed, bits: form.bits, frac });
        }
        let fixed = self.plan.options.fixed;
        let input = Seen { node: 0, values: encoded, bits: fixed.n, frac: fixed.f };
        self.tally(inputs, &input, &seen)
    }

    fn agree(&mut self, float: &[usize], fixed: &[usize], private: &[usize]) {
        let equal = |a: &[usize], b: &[usize]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        let labels = self.labels.get_or_insert_default();
        labels.float_fixed += equal(float, fixed);
        labels.fixed_private += equal(fixed, private);
        labels.float_private += equal(float, private);
    }

    /// Counts every value of a batch, image by image.
    fn tally(&mut self, inputs: &[f32], input: &Seen<R>, seen: &[Seen<R>]) -> Result<()> {
        let row = self.plan.graph.input.row();
        let ulp = (-f64::from(self.plan.options.fixed.f)).exp2();
        let reals = |s: &Seen<R>| s.reals().collect::<Vec<f64>>();
        let wires: Vec<Vec<f64>> = [input].into_iter().chain(seen).map(reals).collect();
        let limits: Vec<f64> = (0..seen.len()).map(|i| self.program.limit(i)).collect();
        let image = |(k, x): (usize, &[f32])| -> Result<Vec<Tally>> {
            let keep = |all: &mut Vec<Vec<f32>>, _: usize, y: &[f32]| all.push(y.to_vec());
            let floats = self.float.watch(x, Vec::new, keep, |a, b| if a.is_empty() { b } else { a })?;
            let part = |wire: &'_ Vec<f64>, len: usize| wire[k * len..(k + 1) * len].to_vec();
            let fixed: Vec<Vec<f64>> = wires
                .iter()
                .zip([x.len()].into_iter().chain(floats.iter().map(Vec::len)))
                .map(|(w, n)| part(w, n))
                .collect();
            let narrow: Vec<Vec<f32>> = fixed.iter().map(|w| w.iter().map(|v| *v as f32).collect()).collect();
            let mut out = vec![Tally::default(); seen.len() + 1];
            out[0].add(x, &fixed[0], x, (ulp, self.plan.options.scale().limit()));
            for (i, float) in floats.iter().enumerate().take(seen.len()) {
                let operand = |s: &Source| match s {
                    Source::Input => &narrow[0][..],
                    Source::Node(j) => &narrow[j + 1][..],
                };
                let operands: Vec<&[f32]> = self.plan.graph.nodes[i].inputs.iter().map(operand).collect();
                let alone = self.float.node(i, &operands);
                out[i + 1].add(float, &fixed[i + 1], &alone, (ulp, limits[i]));
            }
            Ok(out)
        };
        let none = || Ok(vec![Tally::default(); seen.len() + 1]);
        let join = |a: Result<Vec<Tally>>, b: Result<Vec<Tally>>| {
            Ok(a?.into_iter().zip(b?).map(|(a, b)| a.join(b)).collect())
        };
        let found = inputs.par_chunks(row).enumerate().map(image).reduce(none, join)?;
        self.tallies.iter_mut().zip(found).for_each(|(all, more)| *all = std::mem::take(all).join(more));
        Ok(())
    }

    fn report(self, images: usize, tolerance: f64) -> Accuracy {
        let (graph, scale) = (&self.plan.graph, self.plan.options.scale());
        let fixed = scale.fixed;
        let rounding = |i: usize, scale| fit::rounding(graph, self.float.weights, i, scale).0;
        let nodes = graph.nodes.iter().enumerate().filter(|(_, node)| node.op != Op::Argmax);
        let input = self.tallies[0].layer(&graph.input.name, "input", scale.limit(), 0.0);
        let node = |(i, node): (usize, &crate::Node)| {
            let rounding = rounding(i, scale);
            self.tallies[i + 1].layer(&node.name, node.op.kind(), self.program.limit(i), rounding)
        };
        // Layers count from the input, which has no weights.
        let weights = |layer: usize, scale| layer.checked_sub(1).map_or(0.0, |i| rounding(i, scale));
        let layers: Vec<Layer> = [input].into_iter().chain(nodes.map(node)).collect();
        let wraps = layers.iter().map(|layer| layer.wraps).sum();
        let peaks: Vec<f64> = self.tallies.iter().map(Tally::peak_float).collect();
        let bound =
            bounds(self.plan, self.float.weights, &peaks).pop().map(|b| b * f64::from(fixed.f).exp2());
        Accuracy {
            images,
            ring: fixed.n,
            fraction: fixed.f,
            weight_fraction: scale.weights,
            labels: self.labels,
            differing: self.words.0,
            outputs: self.words.1,
            wraps,
            // JSON has no infinity.
            bound_ulp: bound.filter(|_| wraps == 0).map(|b| b.min(f64::MAX)),
            lost: lost(&layers, (scale, self.plan.options.margin), tolerance, weights),
            layers,
        }
    }
}

/// The first layer beyond the tolerance, and the fraction bits that would help: every further bit halves an error, and
/// one more makes up for luck; weights that vanish altogether need as many as `rounding` (of a layer's weights at some
/// fraction bits) says. The ring must then hold what the layers need with the margin.
fn lost(
    layers: &[Layer],
    (scale, margin): (Scale, f64),
    tolerance: f64,
    rounding: impl Fn(usize, Scale) -> f64,
) -> Option<Lost> {
    let (i, layer) = layers.iter().enumerate().find(|(_, layer)| layer.mean_relative > tolerance)?;
    let more = (layer.mean_relative / tolerance).log2().ceil().clamp(1.0, 64.0) as u32 + 1;
    let Scale { fixed: Fixed { n, f }, weights } = scale;
    let at = |n, f, weights| Scale { fixed: Fixed { n, f }, weights };
    let good = |f, weights| rounding(i, at(n, f, weights)) <= tolerance / 2.0;
    let (fraction, weight_fraction) = match (f + more..64).find(|&f| good(f, weights)) {
        Some(f) => (f, weights),
        // no bits of values help weights that have their own
        None => match weights {
            Some(w) => (f, Some((w..64).find(|&w| good(f, Some(w))).unwrap_or(64))),
            None => (64, None),
        },
    };
    let peak = layers.iter().map(|layer| layer.peak).fold(0.0, f64::max) * margin;
    let holds = |n: &u32| {
        let scale = at(*n, fraction, weight_fraction);
        scale.check().is_ok() && peak <= scale.limit()
    };
    Some(Lost {
        layer: layer.name.clone(),
        relative: layer.mean_relative,
        tolerance,
        weights: layer.weights_relative > tolerance / 2.0,
        fraction,
        weight_fraction,
        ring: [32, 64].into_iter().filter(|ring| *ring >= n).find(holds),
    })
}

#[cfg(test)]
mod tests;
