//! Pools, forward and back. A maximum is the tree of `b + max(a - b, 0)` with its decisions kept: the gradient goes down the tree,
//! `d g` to `a` and the rest to `b`. A mean is a local sum and a public factor; its gradient is scaled before it is spread.

use super::Run;
use super::recipe::{COARSEST, factor_bits};
use crate::engine::Learn;
use crate::graph::{Graph, Op, Source};
use crate::{Error, Node, Result};
use std::sync::Arc;
use twoply_primitives::gate::{Kind, Select, Tree, tree};
use twoply_primitives::local::Sums;
use twoply_primitives::{Local, Window};

/// How one pool goes forward and back.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    /// By decisions.
    Max {
        tree: Arc<Tree>,
        /// From the gradients of all that a level reads and of its operands to those of all that is below it, level by level.
        back: Vec<Sums>,
        /// The places of each level's results behind all that is below it.
        level: Vec<Arc<[usize]>>,
    },
    /// By a sum, and for a mean a factor per position with so many fraction bits.
    Mean { window: Window, factors: Option<(Arc<[i64]>, u32)>, back: Sums },
}

/// The pool of a node, if it is one.
///
/// # Errors
/// Why it cannot be run, without its name.
pub(super) fn of(node: &Node, graph: &Graph, shapes: &[Vec<usize>], n: u32) -> Result<Option<Pool>> {
    let shape = match node.inputs.first() {
        Some(Source::Node(j)) => &shapes[*j],
        _ => &graph.input.shape,
    };
    let (window, counted) = match &node.op {
        Op::MaxPool(window) => (window, None),
        Op::SumPool(window) => (window, Some(None)),
        Op::AvgPool { window, count_include_pad } => (window, Some(Some(*count_include_pad))),
        _ => return Ok(None),
    };
    let &[c, h, w] = &shape[..] else { return Err(Error::data("training", "a pool of no planes")) };
    let [oh, ow] = window.output(h, w)?;
    let Some(counted) = counted else {
        let tree = tree(*window, [c, h, w], [oh, ow])?;
        return Ok(Some(max(tree, c * h * w)));
    };
    let taps: Vec<Vec<usize>> = (0..c * oh * ow)
        .map(|o| {
            let (plane, p) = (o / (oh * ow), o % (oh * ow));
            window.taps(h, w, p / ow, p % ow).map(|t| plane * h * w + t).collect()
        })
        .collect();
    let factors = counted.map(|all| {
        let count = |taps: &Vec<usize>| if all { window.kernel.iter().product() } else { taps.len().max(1) };
        factors(&taps.iter().map(count).collect::<Vec<_>>(), n).ok_or_else(|| {
            Error::data("training", format!("a mean over so many elements is too coarse in {n} bits"))
        })
    });
    let factors = factors.transpose()?;
    // the adjoint of a sum of places: an element's gradient is the sum of those of the results it went into
    let index: Vec<(usize, usize)> =
        taps.iter().enumerate().flat_map(|(o, taps)| taps.iter().map(move |t| (*t, o))).collect();
    let spread = Sums::adjoint(&index.iter().map(|at| at.0).collect::<Vec<_>>(), c * h * w);
    let places = spread.places.iter().map(|&at| index[at].1).collect();
    Ok(Some(Pool::Mean { window: *window, factors, back: Sums { places, ..spread } }))
}

/// `1 / count` as whole numbers over a power of two: exact where all counts are powers of two; none where one would be far off.
fn factors(counts: &[usize], n: u32) -> Option<(Arc<[i64]>, u32)> {
    let exact = counts.iter().all(|c| c.is_power_of_two());
    let by = if exact { counts.iter().max().map_or(0, |c| c.ilog2()) } else { factor_bits(n) };
    let factor = |&count: &usize| (f64::from(by).exp2() / count as f64).round() as i64;
    let off = |count: &usize| (factor(count) as f64 * *count as f64 / f64::from(by).exp2() - 1.0).abs();
    (by <= factor_bits(n) && counts.iter().all(|c| off(c) < COARSEST))
        .then(|| (counts.iter().map(factor).collect(), by))
}

fn max(tree: Arc<Tree>, row: usize) -> Pool {
    let (mut below, mut back, mut level) = (row, vec![], vec![]);
    for (k, l) in tree.iter().enumerate() {
        let operands = l.a.iter().chain(l.b.iter()).copied();
        let results = l.a.len();
        // the last level's results are the output: nothing else reads what is below it
        let through = if k + 1 < tree.len() { below } else { 0 };
        let nowhere = if through > 0 { results } else { 0 };
        let index: Vec<usize> =
            (0..through).chain(std::iter::repeat_n(below, nowhere)).chain(operands).collect();
        back.push(Sums::adjoint(&index, below));
        level.push((below..below + results).collect());
        below += results;
    }
    Pool::Max { tree, back, level }
}

impl<E: Learn> Run<'_, E> {
    fn pool(&self, i: usize) -> Result<&Pool> {
        self.step.pools[i].as_ref().ok_or_else(|| Error::data("training", "a pool without its windows"))
    }

    /// The decisions, level by level, and the maxima, at the operand's width.
    pub(super) fn max_pool(&mut self, i: usize, x: E::Value) -> Result<(Vec<E::Bit>, E::Value)> {
        let Pool::Max { tree, .. } = self.pool(i)? else {
            return Err(Error::data("training", "no maximum"));
        };
        let (tree, bits) = (tree.clone(), self.e.form(&x).bits);
        let (mut wires, mut decided) = (vec![x], vec![]);
        for level in tree.iter() {
            let all: Vec<&E::Value> = wires.iter().collect();
            let a = self.e.local(&Local::Gather(level.a.clone()), &all)?;
            let b = self.e.local(&Local::Gather(level.b.clone()), &all)?;
            let difference = self.local(&Local::Sub, &[&a, &b])?;
            let bit = self.sign(&difference)?;
            let more = self.e.select(&Select { lift: Kind::Signed, out: bits }, &bit, &difference)?;
            wires.push(self.local(&Local::Add, &[&b, &more])?);
            decided.push(bit);
        }
        wires.pop().map(|z| (decided, z)).ok_or_else(|| Error::data("training", "a pool without levels"))
    }

    /// The gradient of a maximum's operand.
    pub(super) fn max_pool_back(&mut self, i: usize, g: E::Value, bits: &[E::Bit]) -> Result<E::Value> {
        let Pool::Max { back, level, .. } = self.pool(i)?.clone() else {
            return Err(Error::data("training", "no maximum"));
        };
        let g = self.full(g)?;
        let mut level_gradient = self.flat(g)?;
        let mut below: Option<E::Value> = None;
        for k in (0..level.len()).rev() {
            if let Some(all) = &below {
                level_gradient = self.local(&Local::Gather(level[k].clone()), &[all])?;
            }
            let a = self.select(&bits[k], &level_gradient, Kind::Signed)?;
            let b = self.local(&Local::Sub, &[&level_gradient, &a])?;
            let operands: Vec<&E::Value> = below.iter().chain([&a, &b]).collect();
            below = Some(self.e.local(&Local::Sums(back[k].clone()), &operands)?);
        }
        below.ok_or_else(|| Error::data("training", "a pool without levels"))
    }

    /// A sum or a mean.
    pub(super) fn mean(&mut self, i: usize, x: E::Value) -> Result<E::Value> {
        let Pool::Mean { window, factors, .. } = self.pool(i)?.clone() else {
            return Err(Error::data("training", "no mean"));
        };
        let x = if factors.is_some() { self.full(x)? } else { x };
        let sum = self.local(&Local::SumPool(window), &[&x])?;
        self.scaled(sum, factors)
    }
    /// The gradient of a sum's or a mean's operand.
    pub(super) fn mean_back(&mut self, i: usize, g: E::Value) -> Result<E::Value> {
        let Pool::Mean { factors, back, .. } = self.pool(i)?.clone() else {
            return Err(Error::data("training", "no mean"));
        };
        let g = self.full(g)?;
        let g = self.scaled(g, factors)?;
        self.local(&Local::Sums(back), &[&g])
    }
    fn scaled(&mut self, x: E::Value, factors: Option<(Arc<[i64]>, u32)>) -> Result<E::Value> {
        let Some((factors, by)) = factors else { return Ok(x) };
        let x = match factors.iter().all(|f| *f == 1) {
            true => x,
            false => self.local(&Local::ScaleEach(factors), &[&x])?,
        };
        self.cut(&x, by)
    }
}
