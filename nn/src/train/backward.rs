//! The backward pass: every node's gradient goes to its operands, products of gradients and operands to their parameters.

use super::{Run, Tape};
use crate::engine::Learn;
use crate::graph::{Graph, Op, Source};
use crate::{Error, Result};
use twoply_primitives::Local;
use twoply_primitives::backend::Product;
use twoply_primitives::gate::{Kind, Sum};

/// What a parameter's gradient is the sum of.
pub(super) struct Gathered<V> {
    /// Uses that are still to come.
    left: usize,
    /// Products of a gradient and an operand, which the update sums inside one gate.
    pub products: Vec<(Product, V, V)>,
    /// Gradients that were summed already, with the gradients' fraction.
    pub sums: Vec<V>,
}

/// The way back, as far as it has come.
pub(super) struct Back<V> {
    /// Gradients of the nodes' results.
    pub gradients: Vec<Option<V>>,
    /// For each parameter.
    pub gathered: Vec<Gathered<V>>,
    /// For each parameter that learns: its next velocity, cut and not lifted yet.
    pub cut: Vec<Option<V>>,
}

impl<V> Back<V> {
    /// At the logits.
    pub fn new(graph: &Graph) -> Self {
        let uses = |p: usize| graph.nodes.iter().flat_map(|n| n.op.params()).filter(|q| *q == p).count();
        let gathered = |p: usize| Gathered { left: uses(p), products: vec![], sums: vec![] };
        Back {
            gradients: graph.nodes.iter().map(|_| None).collect(),
            gathered: (0..graph.params.len()).map(gathered).collect(),
            cut: graph.params.iter().map(|_| None).collect(),
        }
    }
}

impl<E: Learn> Run<'_, E> {
    /// From the gradient of the logits (n bits, the gradients' fraction) to the cut velocities of all parameters.
    pub(super) fn backward(&mut self, gradient: E::Value) -> Result<()> {
        let step = self.step;
        let last = step.graph.nodes.len() - 1;
        self.back.gradients[last] = Some(gradient);
        for i in (0..=last).rev().filter(|&i| step.wanted[i]) {
            let Some(g) = self.back.gradients[i].take() else { continue };
            self.e.layer(&format!("{}, backward", step.graph.nodes[i].name));
            let g = self.shaped(g, &step.shapes[i])?;
            self.node_back(i, g)?;
        }
        Ok(())
    }
    /// Whether anybody wants the gradient of operand `k`.
    pub(super) fn wants(&self, i: usize, k: usize) -> Option<usize> {
        match self.step.graph.nodes[i].inputs[k] {
            Source::Node(j) if self.step.wanted[j] => Some(j),
            _ => None,
        }
    }
    /// Adds to the gradient of operand `k` of node `i`.
    fn give(&mut self, i: usize, k: usize, g: E::Value) -> Result<()> {
        let Some(j) = self.wants(i, k) else { return Ok(()) };
        let g = self.shaped(g, &self.step.shapes[j])?;
        self.back.gradients[j] = Some(match self.back.gradients[j].take() {
            None => g,
            Some(other) => {
                let (a, b) = (self.full(other)?, self.full(g)?);
                self.local(&Local::Add, &[&a, &b])?
            }
        });
        Ok(())
    }

    fn node_back(&mut self, i: usize, g: E::Value) -> Result<()> {
        let step = self.step;
        let f = step.recipe.fractions;
        let tape = std::mem::replace(&mut self.tape[i], Tape::None);
        let kept = || Error::data("training", "nothing was kept of the forward pass");
        match &step.graph.nodes[i].op {
            Op::Linear { weight, bias } => {
                let Tape::Operand(x) = tape else { return Err(kept()) };
                let (g, products) = (self.full(g)?, [Product::LinearDx, Product::LinearDw]);
                self.layer(i, (g, x), products, (*weight, *bias))
            }
            Op::Conv2d { weight, bias, window, groups } => {
                let Tape::Operand(x) = tape else { return Err(kept()) };
                let &[.., h, w] = &self.e.form(&x).shape.0[..] else { return Err(kept()) };
                let (window, groups) = (*window, *groups);
                let dx = Product::ConvDx { window, groups, input: [h, w] };
                let (g, products) = (self.full(g)?, [dx, Product::ConvDw { window, groups }]);
                self.layer(i, (g, x), products, (*weight, *bias))
            }
            Op::BatchNorm { gamma, beta, .. } => {
                let Tape::Norm(of) = tape else { return Err(kept()) };
                self.norm_back(i, g, &of, [*gamma, *beta])
            }
            Op::Relu => {
                let Tape::Bits(bits) = tape else { return Err(kept()) };
                let g = self.select(&bits[0], &g, Kind::Signed)?;
                self.give(i, 0, g)
            }
            Op::LeakyRelu { slope } => {
                let Tape::Bits(bits) = tape else { return Err(kept()) };
                let g = self.full(g)?;
                let g = self.leaky(&bits[0], &g, *slope)?;
                self.give(i, 0, g)
            }
            Op::Clip { low, high } => {
                let Tape::Bits(bits) = tape else { return Err(kept()) };
                let g = self.full(g)?;
                let mut passed = g.clone();
                for (at, bit) in [low, high].into_iter().enumerate().filter(|(_, l)| l.is_some()).zip(&bits) {
                    let above = self.select(bit, &g, Kind::Signed)?;
                    passed = if at.0 == 0 { above } else { self.local(&Local::Sub, &[&passed, &above])? };
                }
                self.give(i, 0, passed)
            }
            Op::MaxPool(_) => {
                let Tape::Bits(bits) = tape else { return Err(kept()) };
                let g = self.max_pool_back(i, g, &bits)?;
                self.give(i, 0, g)
            }
            Op::AvgPool { .. } | Op::SumPool(_) => {
                let g = self.mean_back(i, g)?;
                self.give(i, 0, g)
            }
            Op::Add | Op::Sub => {
                let g = self.full(g)?;
                let minus = step.graph.nodes[i].op == Op::Sub && self.wants(i, 1).is_some();
                let other = if minus { self.local(&Local::Scale(-1), &[&g])? } else { g.clone() };
                self.give(i, 0, g)?;
                self.give(i, 1, other)
            }
            Op::Mul => {
                let Tape::Operands(x, y) = tape else { return Err(kept()) };
                let (g, gate) = (self.full(g)?, product(Product::Elementwise, f.activations));
                for (k, other) in [(0, &y), (1, &x)] {
                    if self.wants(i, k).is_some() {
                        let d = self.e.gate(&gate, &[&g, other])?;
                        self.give(i, k, d)?;
                    }
                }
                Ok(())
            }
            Op::Affine { scale, .. } => {
                let g = self.full(g)?;
                let g = self.times(&g, *scale)?;
                self.give(i, 0, g)
            }
            Op::Dropout { .. } => {
                let Tape::Factors(factors, by) = tape else { return Err(kept()) };
                let g = self.dropped(g, &factors, by)?;
                self.give(i, 0, g)
            }
            Op::Reshape(_) => self.give(i, 0, g),
            _ => {
                let g = self.full(g)?;
                let moves = step.moves[i].as_ref().ok_or_else(kept)?;
                for (k, back) in moves.back.iter().enumerate() {
                    if self.wants(i, k).is_some() {
                        let d = self.local(&Local::Sums(back.clone()), &[&g])?;
                        self.give(i, k, d)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The gradients of a layer's operand and parameters.
    fn layer(
        &mut self,
        i: usize,
        (g, x): (E::Value, E::Value),
        [dx, dw]: [Product; 2],
        (weight, bias): (usize, Option<usize>),
    ) -> Result<()> {
        let step = self.step;
        let gate = product(dx, step.recipe.fractions.weights);
        let up = self.wants(i, 0).map(|_| (gate, vec![&g, self.weight(weight)]));
        if let Some(bias) = bias.filter(|b| step.trained[*b]) {
            let sum = self.per_channel(&g)?;
            self.back.gathered[bias].sums.push(sum);
        }
        if step.trained[weight] {
            self.back.gathered[weight].products.push((dw, g.clone(), x));
        }
        let params: Vec<usize> = [Some(weight), bias].into_iter().flatten().collect();
        self.leave(i, up, &params)
    }

    /// A node's operand gets its gradient, the result of `up`, and parameters of which it is the last use their velocities, all in
    /// one message.
    pub(super) fn leave(
        &mut self,
        i: usize,
        up: Option<(Sum, Vec<&E::Value>)>,
        params: &[usize],
    ) -> Result<()> {
        let (mut gates, mut changed) = (vec![], vec![]);
        for &p in params.iter().filter(|p| self.step.trained[**p]) {
            self.back.gathered[p].left -= 1;
            if self.back.gathered[p].left == 0 {
                gates.push(self.change(p)?);
                changed.push(p);
            }
        }
        let upward = up.is_some();
        let changes = gates.iter().map(|(gate, x)| (gate.clone(), x.iter().collect()));
        let all: Vec<(Sum, Vec<&E::Value>)> = up.into_iter().chain(changes).collect();
        let mut opened = self.e.together(&all)?.into_iter();
        let operand = if upward { opened.next() } else { None };
        for (p, cut) in changed.into_iter().zip(opened) {
            self.back.cut[p] = Some(cut);
        }
        operand.map_or(Ok(()), |d| self.give(i, 0, d))
    }

    /// Sums over batch and positions, one for each channel.
    pub(super) fn per_channel(&mut self, g: &E::Value) -> Result<E::Value> {
        let shape = &self.e.form(g).shape.0;
        let (channels, positions) = (shape[1], shape[2..].iter().product::<usize>());
        if positions == 1 {
            let flat = self.shaped(g.clone(), &[channels])?;
            return self.local(&Local::SumBatch, &[&flat]);
        }
        let starts = (0..=channels).map(|c| c * positions).collect();
        let sums = twoply_primitives::local::Sums { starts, places: (0..channels * positions).collect() };
        let rows = self.local(&Local::Sums(sums), &[g])?;
        self.local(&Local::SumBatch, &[&rows])
    }
}

/// A product that loses `cut` bits.
fn product(product: Product, cut: u32) -> Sum {
    Sum { terms: vec![product], add: 0, cut }
}
