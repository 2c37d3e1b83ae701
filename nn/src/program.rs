//! From a graph to gates: which gate a node becomes, given the width and the fraction bits of its operands.
//!
//! A wire is n bits wide with f or 2f fraction bits, or m = n - f bits wide with f (after a public-coin truncation).
//! Products want n bits and f; ReLU and MaxPool take a wire as it is. The last product feeds the owner or the argmax
//! untruncated. Where parameters have fraction bits of their own ([`crate::Scale`]), a product with them has f + f_w.

mod activation;
mod arrange;
mod audit;
mod elementwise;
mod pool;
mod size;
mod wires;

pub(crate) use audit::DIGEST;
pub use audit::{RangeAudit, Reply};

use crate::engine::Infer;
use crate::graph::{Graph, Op, Source};
use crate::plan::{Options, Reveal};
use crate::{Error, Meaning, Result, Weights};
use arrange::Moves;
use pool::Mean;
pub(crate) use size::check_bill;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Argmax, Conv2d, Lift, Linear, MaxPool, Mode, Rounding, Truncate};
use twoply_primitives::{Form, Local, Ring, Shape};
pub(crate) use wires::Wires;

/// A graph with everything decided that the gates need.
#[derive(Clone, Debug)]
pub struct Program {
    graph: Graph,
    options: Options,
    /// Shape of every node, without the batch.
    shapes: Vec<Vec<usize>>,
    /// Where operations that only move elements take them from, by node.
    moves: Vec<Option<Moves>>,
    /// How each average pool computes its means, by node.
    means: Vec<Option<Mean>>,
    /// Largest magnitude, in real terms, that each node's result may have by what is known; empty if nothing is.
    ranges: Vec<f64>,
    /// Products that nothing but the output (or the argmax) reads: they are not truncated, by node.
    raw: Vec<bool>,
}

/// A value and its fraction bits.
#[derive(Clone)]
struct Wire<V> {
    v: V,
    frac: u32,
}

impl Program {
    /// Decides everything. `ranges` holds, for each node, the largest magnitude its result may reach.
    ///
    /// # Errors
    /// [`Error::Graph`], or [`Error::Data`] where graph and options do not go together, a pool is too large for the
    /// fraction bits, or a layer is larger than any plan could run.
    pub fn new(graph: &Graph, options: &Options, ranges: &[f64]) -> Result<Self> {
        options.scale().check()?;
        let shapes = graph.shapes()?;
        size::check(graph, &shapes)?;
        match (options.reveal, ends_in_argmax(graph)) {
            (Reveal::Logits, true) => {
                return Err(Error::data("plan", "a graph that ends in argmax reveals labels, not logits"));
            }
            (Reveal::Label, _) => Meaning::of(graph)?.revealed()?,
            _ => {}
        }
        elementwise::check(graph, options.scale())?;
        let means = pool::means(graph, &shapes, options, ranges)?;
        let (moves, raw) = (arrange::moves(graph, &shapes), raw_products(graph));
        let (graph, options, ranges) = (graph.clone(), options.clone(), ranges.to_vec());
        Ok(Program { graph, options, shapes, moves, means, ranges, raw })
    }
    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// Forms of the parameters, in order.
    pub fn params(&self) -> Vec<Form> {
        let form = |p: &crate::Param| Form { shape: Shape(p.shape.clone()), bits: self.options.fixed.n };
        self.graph.params.iter().map(form).collect()
    }
    /// Encoded parameters, weights and biases with the fraction bits of the plan's scale.
    ///
    /// # Errors
    /// [`Error::Weights`], and [`Error::Ranges`] naming every layer whose parameters do not fit.
    pub fn encode<R: Ring>(&self, weights: &Weights) -> Result<Vec<Vec<R>>> {
        weights.check(&self.graph)?;
        let scale = self.options.scale();
        crate::fit::parameters(&self.graph, weights, scale)?;
        let tensor = |(p, values): (&crate::Param, &Vec<f32>)| {
            let frac = if p.role == crate::Role::Bias { scale.biases() } else { scale.weights() };
            values.iter().map(|v| scale.encode(&p.name, f64::from(*v), frac)).collect()
        };
        self.graph.params.iter().zip(&weights.0).map(tensor).collect()
    }
    /// Encoded normalised inputs.
    pub fn encode_input<R: Ring>(&self, values: &[f32]) -> Result<Vec<R>> {
        let (scale, name) = (self.options.scale(), format!("input `{}`", self.graph.input.name));
        values.iter().map(|v| scale.encode(&name, f64::from(*v), scale.fixed.f)).collect()
    }

    /// Runs the program on `batch` images.
    pub fn run<E: Infer>(&self, e: &mut E, params: &[E::Value], batch: usize) -> Result<()> {
        self.execute(e, params, batch).map(drop)
    }
    /// Runs, and says how many fraction bits the owner's values have.
    fn execute<E: Infer>(&self, e: &mut E, params: &[E::Value], batch: usize) -> Result<u32> {
        e.layer(&self.graph.input.name);
        let row = self.graph.input.shape.iter().copied();
        let shape = Shape(std::iter::once(batch).chain(row).collect());
        let x = e.input(&Form { shape, bits: self.options.fixed.n })?;
        let mut run = Run {
            program: self,
            e,
            params,
            wires: Wires::new(&self.graph, Wire { v: x, frac: self.options.fixed.f }),
            delivered: 0,
            scheme: self.options.compare,
        };
        let last = self.graph.nodes.len() - 1;
        for i in 0..=last {
            let node = &self.graph.nodes[i];
            run.e.layer(&node.name);
            run.scheme = self.options.compare_at.get(&node.name).copied().unwrap_or(self.options.compare);
            let is_output = i == last && (self.options.reveal == Reveal::Logits || node.op == Op::Argmax);
            let wire = run.node(i, is_output)?;
            if let Some(wire) = &wire {
                run.e.see(i, &wire.v, wire.frac);
                run.audit(i, wire)?;
            }
            run.wires.put(i, wire);
        }
        if self.options.reveal == Reveal::Label
            && let Some(logits) = run.wires.take(Source::Node(last))
        {
            run.e.layer("argmax");
            let logits = run.full_width(logits)?;
            let logits = run.flat(logits)?;
            let argmax = Argmax { scheme: self.options.compare };
            run.emit(&argmax, &[&logits.v], 0, true)?;
        }
        Ok(run.delivered)
    }

    /// Form and fraction bits of what the owner receives for `batch` images.
    pub fn output(&self, batch: usize) -> Result<(Form, u32)> {
        let reply = self.reply(batch)?;
        Ok((reply.output, reply.frac))
    }

    /// Largest magnitude, in real terms, that the result of node `i` may have: the contract of fixed point, and for an
    /// average pool that of its scaled sum.
    pub fn limit(&self, i: usize) -> f64 {
        let limit = self.options.scale().limit();
        let pool = self.means.get(i).and_then(Option::as_ref);
        pool.map_or(limit, |mean| limit.min(mean.limit(self.options.fixed)))
    }
}

/// Whether the graph itself ends in an argmax.
pub(crate) fn ends_in_argmax(graph: &Graph) -> bool {
    graph.nodes.last().is_some_and(|n| n.op == Op::Argmax)
}

/// Which nodes are products that only the output (or the argmax) reads, through reshapes at most.
fn raw_products(graph: &Graph) -> Vec<bool> {
    let (nodes, readers) = (&graph.nodes, graph.consumers());
    let mut only_output = vec![false; nodes.len()];
    for i in (0..nodes.len()).rev() {
        let passes = |j: &usize| {
            matches!(nodes[*j].op, Op::Reshape(_) | Op::Dropout { .. } | Op::Argmax) && only_output[*j]
        };
        only_output[i] = readers[i].iter().all(passes);
    }
    let product = |i: usize| matches!(nodes[i].op, Op::Linear { .. } | Op::Conv2d { .. } | Op::Mul);
    (0..nodes.len()).map(|i| product(i) && only_output[i]).collect()
}

/// One run under way.
struct Run<'p, 'e, E: Infer> {
    program: &'p Program,
    e: &'e mut E,
    params: &'p [E::Value],
    wires: Wires<'p, Wire<E::Value>>,
    /// Fraction bits of what went to the owner.
    delivered: u32,
    /// How the layer at hand compares.
    scheme: Scheme,
}

impl<E: Infer> Run<'_, '_, E> {
    fn options(&self) -> &Options {
        &self.program.options
    }
    fn mode(&self) -> Mode {
        match self.options().rounding {
            Rounding::PublicCoin => Mode::PublicCoin,
            Rounding::Floor => Mode::Floor(self.scheme),
        }
    }
    fn operand(&mut self, i: usize, k: usize) -> Result<Wire<E::Value>> {
        self.wires.operand(i, k)
    }
    /// Back to n bits, whatever the fraction.
    fn full_width(&mut self, w: Wire<E::Value>) -> Result<Wire<E::Value>> {
        if self.e.form(&w.v).bits == self.options().fixed.n {
            return Ok(w);
        }
        Ok(Wire { v: self.e.gate(&Lift, &[&w.v])?, frac: w.frac })
    }
    /// n bits with f fraction bits: what products and average pools take.
    fn full(&mut self, w: Wire<E::Value>) -> Result<Wire<E::Value>> {
        let f = self.options().fixed.f;
        if w.frac == f {
            return self.full_width(w);
        }
        let truncate = Truncate { cut: w.frac - f, mode: self.mode() };
        Ok(Wire { v: self.e.gate(&truncate, &[&w.v])?, frac: f })
    }
    fn flat(&mut self, w: Wire<E::Value>) -> Result<Wire<E::Value>> {
        let row = self.e.form(&w.v).shape.row();
        Ok(Wire { v: self.e.local(&Local::Reshape(vec![row]), &[&w.v])?, frac: w.frac })
    }

    /// Emits a gate, or sends its result to the owner if it is the last.
    fn emit<G: twoply_primitives::Gate>(
        &mut self,
        g: &G,
        x: &[&E::Value],
        frac: u32,
        last: bool,
    ) -> Result<Option<Wire<E::Value>>> {
        if last {
            self.e.output(g, x)?;
            self.delivered = frac;
            return Ok(None);
        }
        Ok(Some(Wire { v: self.e.gate(g, x)?, frac }))
    }

    fn node(&mut self, i: usize, last: bool) -> Result<Option<Wire<E::Value>>> {
        let program = self.program;
        let op = &program.graph.nodes[i].op;
        let scheme = self.scheme;
        let x = self.operand(i, 0)?;
        match op {
            Op::Linear { weight, bias } => {
                let x = self.full(x)?;
                let x = self.flat(x)?;
                let (cut, frac) = self.cut(i, self.options().scale().weights());
                self.product(&Linear { cut }, x, (*weight, *bias), frac, last)
            }
            Op::Conv2d { weight, bias, window, groups } => {
                let x = self.full(x)?;
                let (cut, frac) = self.cut(i, self.options().scale().weights());
                self.product(
                    &Conv2d { window: *window, groups: *groups, cut },
                    x,
                    (*weight, *bias),
                    frac,
                    last,
                )
            }
            Op::BatchNorm { .. } => {
                let name = &program.graph.nodes[i].name;
                let why = format!(
                    "`{name}`: a batch normalisation that was kept for training; import the model without --keep-batchnorm, or \
                     fold what was trained"
                );
                Err(Error::data("plan", why))
            }
            Op::Relu => self.relu(x, last),
            Op::LeakyRelu { slope } => {
                let y = self.leaky_relu(x, *slope)?;
                self.local(y, last)
            }
            Op::Clip { low, high } => {
                let y = self.clip(x, *low, *high)?;
                self.local(y, last)
            }
            Op::MaxPool(_) if program.moves[i].is_some() => self.moved(i, x, last),
            Op::MaxPool(window) => self.emit(&MaxPool { scheme, window: *window }, &[&x.v], x.frac, last),
            Op::AvgPool { window, count_include_pad } => {
                let x = self.full(x)?;
                self.mean(i, x, (window, *count_include_pad), last)
            }
            Op::Add | Op::Sub => {
                let y = self.operand(i, 1)?;
                let map = if *op == Op::Add { Local::Add } else { Local::Sub };
                let sum = self.combine(&map, vec![x, y])?;
                self.local(sum, last)
            }
            Op::Mul => self.times(i, x, last),
            Op::Offset { weight } => {
                let sum = self.offset(x, *weight)?;
                self.local(sum, last)
            }
            Op::Affine { scale, shift } => {
                let y = self.affine(x, *scale, *shift)?;
                self.local(y, last)
            }
            Op::SumPool(window) => {
                let v = self.e.local(&Local::SumPool(*window), &[&x.v])?;
                self.local(Wire { v, frac: x.frac }, last)
            }
            Op::Concat | Op::Pad(_) | Op::Transpose(_) | Op::Take(_) => self.moved(i, x, last),
            Op::Reshape(row) => {
                let v = self.e.local(&Local::Reshape(row.clone()), &[&x.v])?;
                self.local(Wire { v, frac: x.frac }, last)
            }
            Op::Dropout { .. } => self.local(x, last),
            Op::Argmax => {
                let x = self.full_width(x)?;
                let x = self.flat(x)?;
                self.emit(&Argmax { scheme }, &[&x.v], 0, last)
            }
        }
    }

    /// A wire that a local map made; the owner gets it as it is if it is the last.
    fn local(&mut self, w: Wire<E::Value>, last: bool) -> Result<Option<Wire<E::Value>>> {
        if last {
            self.e.deliver(&w.v)?;
            self.delivered = w.frac;
            return Ok(None);
        }
        Ok(Some(w))
    }
    /// Bits cut off a product with a factor of `by` fraction bits, and the fraction bits of its result.
    fn cut(&self, i: usize, by: u32) -> (u32, u32) {
        let f = self.options().fixed.f;
        let keep = self.options().rounding == Rounding::Floor || self.program.raw[i];
        if keep { (0, f + by) } else { (by, f) }
    }
    /// A parameter at another fraction, at least its own.
    fn param_at(&mut self, at: usize, own: u32, frac: u32) -> Result<E::Value> {
        let param = &self.params[at];
        match frac.saturating_sub(own) {
            0 => Ok(param.clone()),
            by => Ok(self.e.local(&Local::Scale(1 << by), &[param])?),
        }
    }
    fn product<G: twoply_primitives::Gate>(
        &mut self,
        gate: &G,
        x: Wire<E::Value>,
        (weight, bias): (usize, Option<usize>),
        frac: u32,
        last: bool,
    ) -> Result<Option<Wire<E::Value>>> {
        let (params, scale) = (self.params, self.options().scale());
        let product = x.frac + scale.weights();
        let bias = bias.map(|b| self.param_at(b, scale.biases(), product)).transpose()?;
        let operands: Vec<_> = [&x.v, &params[weight]].into_iter().chain(&bias).collect();
        self.emit(gate, &operands, frac, last)
    }
}

#[cfg(test)]
mod tests;
