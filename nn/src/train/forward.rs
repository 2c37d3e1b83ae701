//! The forward pass: every node's gates, and what is kept for the way back.

use super::recipe::factor_bits;
use super::{Run, Tape};
use crate::Result;
use crate::engine::Learn;
use crate::graph::{Graph, Op, Source};
use std::sync::Arc;
use twoply_primitives::gate::{Conv2d, Kind, Linear, Mode, Mul, Select, Sign, Truncate};
use twoply_primitives::local::Sums;
use twoply_primitives::{Gate, Local};

/// Where a node that only moves elements takes them from, and where its gradient goes.
#[derive(Clone, Debug)]
pub(super) struct Moves {
    /// Places in the operands, one behind the other, a zero behind them all.
    places: Arc<[usize]>,
    /// The first place, if there are zeros.
    first: Option<Arc<[usize]>>,
    /// For each operand.
    pub back: Vec<Sums>,
}

/// The moves of each node; `None` where it computes.
pub(super) fn moves(graph: &Graph, shapes: &[Vec<usize>]) -> Vec<Option<Moves>> {
    let shape = |s: &Source| match s {
        Source::Input => &graph.input.shape,
        Source::Node(j) => &shapes[*j],
    };
    let moves = |node: &crate::Node| {
        let rows: Vec<usize> = node.inputs.iter().map(|s| shape(s).iter().product()).collect();
        let all = rows.iter().sum();
        let places: Vec<usize> = match &node.op {
            Op::Concat => (0..all).collect(),
            op => op.moves(shape(&node.inputs[0]))?,
        };
        let first = places.contains(&all).then(|| [0].into());
        let mut before = 0;
        let back = rows.into_iter().map(|row| {
            let own = |at: &usize| at.checked_sub(before).filter(|at| *at < row).unwrap_or(row);
            let back = Sums::adjoint(&places.iter().map(own).collect::<Vec<_>>(), row);
            before += row;
            back
        });
        Some(Moves { back: back.collect(), places: places.into(), first })
    };
    graph.nodes.iter().map(moves).collect()
}

/// `factor` in whole numbers, and its fraction bits, in a ring of `n` bits.
pub(super) fn whole(factor: f64, n: u32) -> (i64, u32) {
    match (factor.fract() == 0.0, factor_bits(n)) {
        (true, _) => (factor as i64, 0),
        (false, bits) => ((factor * f64::from(bits).exp2()).round_ties_even() as i64, bits),
    }
}

impl<E: Learn> Run<'_, E> {
    /// Runs all nodes; the logits leave with `fraction` bits, at the width that their cut leaves.
    pub(super) fn forward(&mut self, fraction: u32) -> Result<E::Value> {
        let step = self.step;
        let f = step.recipe.fractions;
        let last = step.graph.nodes.len() - 1;
        for i in 0..=last {
            self.e.layer(&step.graph.nodes[i].name);
            let product = matches!(step.graph.nodes[i].op, Op::Linear { .. } | Op::Conv2d { .. });
            let z = self.node(i, if i == last && product { fraction } else { f.activations })?;
            if i < last {
                self.wires.put(i, Some(z));
            } else if product || fraction == f.activations {
                return Ok(z);
            } else {
                return self.rescaled(z, fraction);
            }
        }
        Err(crate::Error::data("training", "no layer"))
    }
    /// From the activations' fraction to another.
    fn rescaled(&mut self, z: E::Value, fraction: u32) -> Result<E::Value> {
        let f = self.step.recipe.fractions.activations;
        let z = self.full(z)?;
        match fraction >= f {
            true => self.local(&Local::Scale(1 << (fraction - f)), &[&z]),
            false => self.cut(&z, f - fraction),
        }
    }
    /// An open wire less its lowest bits.
    pub(super) fn cut(&mut self, x: &E::Value, cut: u32) -> Result<E::Value> {
        match cut {
            0 => Ok(x.clone()),
            cut => Ok(self.e.gate(&Truncate { cut, mode: Mode::PublicCoin }, &[x])?),
        }
    }
    /// A wire of n bits times a public number.
    pub(super) fn times(&mut self, x: &E::Value, factor: f64) -> Result<E::Value> {
        let (whole, by) = whole(factor, self.step.recipe.n);
        match (whole, by) {
            (1, 0) => Ok(x.clone()),
            _ => {
                let scaled = self.local(&Local::Scale(whole), &[x])?;
                self.cut(&scaled, by)
            }
        }
    }
    pub(super) fn sign(&mut self, x: &E::Value) -> Result<E::Bit> {
        Ok(self.e.sign(&Sign { scheme: self.step.recipe.compare }, x)?)
    }
    /// `d x` at n bits.
    pub(super) fn select(&mut self, bit: &E::Bit, x: &E::Value, lift: Kind) -> Result<E::Value> {
        Ok(self.e.select(&Select { lift, out: self.step.recipe.n }, bit, x)?)
    }

    /// Node `i`, whose product has `fraction` bits.
    fn node(&mut self, i: usize, fraction: u32) -> Result<E::Value> {
        let step = self.step;
        let f = step.recipe.fractions;
        let (node, cut) = (&step.graph.nodes[i], f.activations + f.weights - fraction);
        let x = self.wires.operand(i, 0)?;
        let (kept, z) = match &node.op {
            Op::Linear { weight, bias } => {
                let x = self.full(x)?;
                let x = self.flat(x)?;
                let z = self.product(&Linear { cut }, &x, self.weight(*weight), *bias)?;
                (Tape::Operand(x), z)
            }
            Op::Conv2d { weight, bias, window, groups } => {
                let x = self.full(x)?;
                let gate = Conv2d { window: *window, groups: *groups, cut };
                let z = self.product(&gate, &x, self.weight(*weight), *bias)?;
                (Tape::Operand(x), z)
            }
            Op::BatchNorm { gamma, beta, .. } => {
                let (kept, z) = self.norm(i, x, [*gamma, *beta])?;
                (Tape::Norm(kept), z)
            }
            Op::Relu => {
                let bit = self.sign(&x)?;
                let z = self.select(&bit, &x, Kind::Relu)?;
                (Tape::Bits(vec![bit]), z)
            }
            Op::LeakyRelu { slope } => {
                let x = self.full(x)?;
                let bit = self.sign(&x)?;
                let z = self.leaky(&bit, &x, *slope)?;
                (Tape::Bits(vec![bit]), z)
            }
            Op::Clip { low, high } => {
                let (bits, z) = self.clip(x, [*low, *high])?;
                (Tape::Bits(bits), z)
            }
            Op::MaxPool(_) => {
                let (bits, z) = self.max_pool(i, x)?;
                (Tape::Bits(bits), z)
            }
            Op::AvgPool { .. } | Op::SumPool(_) => (Tape::None, self.mean(i, x)?),
            Op::Add | Op::Sub => {
                let y = self.wires.operand(i, 1)?;
                let map = if node.op == Op::Add { Local::Add } else { Local::Sub };
                let both = self.alike(vec![x, y])?;
                (Tape::None, self.local(&map, &[&both[0], &both[1]])?)
            }
            Op::Mul => {
                let y = self.wires.operand(i, 1)?;
                let (x, y) = (self.full(x)?, self.full(y)?);
                let z = self.e.gate(&Mul { cut: f.activations }, &[&x, &y])?;
                (Tape::Operands(x, y), z)
            }
            Op::Affine { scale, shift } => {
                let x = self.full(x)?;
                let z = self.times(&x, *scale)?;
                let shift = (shift * f64::from(f.activations).exp2()).round_ties_even() as i64;
                (Tape::None, self.local(&Local::AddPublic(shift), &[&z])?)
            }
            Op::Dropout { .. } if self.judges => (Tape::None, x),
            Op::Dropout { ratio } => self.drop_out(i, *ratio, &x)?,
            Op::Reshape(_) => (Tape::None, x),
            Op::Concat | Op::Pad(_) | Op::Transpose(_) | Op::Take(_) => (Tape::None, self.moved(i, x)?),
            op @ (Op::Offset { .. } | Op::Argmax) => {
                return Err(crate::Error::data("training", format!("`{}` does not train", op.kind())));
            }
        };
        if step.wanted[i] {
            self.tape[i] = kept;
        }
        self.shaped(z, &step.shapes[i])
    }

    /// A layer's product, with its bias at the product's fraction.
    pub(super) fn product<G: Gate>(
        &mut self,
        gate: &G,
        x: &E::Value,
        weight: &E::Value,
        bias: Option<usize>,
    ) -> Result<E::Value> {
        let scale = Local::Scale(1 << self.step.recipe.fractions.activations);
        let bias = bias.map(|b| self.local(&scale, &[self.weight(b)])).transpose()?;
        let operands: Vec<_> = [x, weight].into_iter().chain(&bias).collect();
        Ok(self.e.gate(gate, &operands)?)
    }

    /// `x` where the bit is set, else `slope x`; forward and backward.
    pub(super) fn leaky(&mut self, bit: &E::Bit, x: &E::Value, slope: f64) -> Result<E::Value> {
        let (slope, by) = whole(slope, self.step.recipe.n);
        let chosen = self.select(bit, x, Kind::Signed)?;
        let low = self.local(&Local::Scale(slope), &[x])?;
        let high = self.local(&Local::Scale((1 << by) - slope), &[&chosen])?;
        let sum = self.local(&Local::Add, &[&low, &high])?;
        self.cut(&sum, by)
    }

    /// `low + max(x - low, 0) - max(x - high, 0)`.
    fn clip(&mut self, x: E::Value, limits: [Option<f64>; 2]) -> Result<(Vec<E::Bit>, E::Value)> {
        let one = f64::from(self.step.recipe.fractions.activations).exp2();
        let x = self.full(x)?;
        let (mut z, mut bits) = (x.clone(), vec![]);
        for (at, limit) in limits.into_iter().enumerate() {
            let Some(limit) = limit.map(|v| (v * one).round_ties_even() as i64) else { continue };
            let moved = self.local(&Local::AddPublic(-limit), &[&x])?;
            let bit = self.sign(&moved)?;
            let above = self.select(&bit, &moved, Kind::Relu)?;
            bits.push(bit);
            z = match at {
                0 => self.local(&Local::AddPublic(limit), &[&above])?,
                _ => self.local(&Local::Sub, &[&z, &above])?,
            };
        }
        Ok((bits, z))
    }

    /// Wires of one width: lifted where they are not, as the narrowest would lose what the others hold.
    fn alike(&mut self, wires: Vec<E::Value>) -> Result<Vec<E::Value>> {
        let first = self.e.form(&wires[0]).bits;
        match wires.iter().all(|w| self.e.form(w).bits == first) {
            true => Ok(wires),
            false => wires.into_iter().map(|w| self.full(w)).collect(),
        }
    }

    /// The elements of all operands of node `i` at their new places; zeros are public, and so under no mask.
    fn moved(&mut self, i: usize, x: E::Value) -> Result<E::Value> {
        let step = self.step;
        let missing = || crate::Error::data("training", "a node that moves nothing");
        let Moves { places, first, .. } = step.moves[i].as_ref().ok_or_else(missing)?;
        let mut wires = vec![x];
        for k in 1..step.graph.nodes[i].inputs.len() {
            wires.push(self.wires.operand(i, k)?);
        }
        let mut wires = self.alike(wires)?;
        if let Some(first) = first {
            let zero = self.local(&Local::Gather(first.clone()), &[&wires[0]])?;
            wires.push(self.local(&Local::Scale(0), &[&zero])?);
        }
        self.local(&Local::Gather(places.clone()), &wires.iter().collect::<Vec<_>>())
    }
}
