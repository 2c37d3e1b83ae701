//! From ranges to fraction bits: the most precision at which every layer keeps the contract of fixed point, and the
//! inequality that proves it, layer by layer.
//!
//! Contract (protocols, section 1): before a truncation `|x| <= 2^(n-2) - 2^f` as an integer with 2f fraction bits, that
//! is `|x| <= 2^(n-2-2f) - 2^-f` in real terms; where weights have fraction bits of their own, [`Scale`] says what stands for 2f. An
//! average pool may allow less: its sum is scaled before it is cut.

mod params;

pub use params::{Faint, TOLERANCE, faint, parameters, plan, recommended, rings, rounding};

use crate::{Error, Graph, Options, Plan, Ranges, Result, Scale, Weights};
use serde::Serialize;
use twoply_primitives::Fixed;

/// Fewest fraction bits there are.
const FEWEST: u32 = 4;

/// Fraction bits that fit in one ring.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Fit {
    /// n, ring bits.
    pub ring: u32,
    /// f, fraction bits: one more and some layer does not fit.
    pub fraction: u32,
    /// Fraction bits of weights and biases, where the options give them their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_fraction: Option<u32>,
    /// m, bits of a wire after the truncation of a product with weights.
    pub truncated: u32,
    /// Factor on observed ranges.
    pub margin: f64,
    /// Name of the layer that keeps f from being larger.
    pub bottleneck: String,
    /// The input, then every node but a final argmax.
    pub layers: Vec<Room>,
}

/// What one layer needs and has.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Room {
    /// Name of the layer.
    pub name: String,
    /// Largest magnitude of its values.
    pub observed: f64,
    /// Largest magnitude by interval arithmetic; for information.
    pub bound: f64,
    /// Largest magnitude of its weights and biases, 0 without any; they are encoded at the same scale, without margin.
    pub weights: f64,
    /// Largest magnitude it may have, in real terms.
    pub limit: f64,
    /// `log2(limit / need)`: bits left beyond the margin. An average pool takes the room there is for its own precision,
    /// so it never has much left.
    pub headroom_bits: f64,
    /// Most fraction bits if this layer were alone.
    pub most_fraction: Option<u32>,
    /// The inequality, with numbers.
    pub proof: String,
}

/// A layer's need, in real terms.
struct Need {
    name: String,
    observed: f64,
    bound: f64,
    weights: f64,
}

impl Need {
    fn real(&self, margin: f64) -> f64 {
        (self.observed * margin).max(self.weights)
    }
}

fn needs(graph: &Graph, weights: &Weights, ranges: &Ranges) -> Vec<Need> {
    let need = |(name, observed, bound, weights): (&String, f64, f64, f64)| Need {
        name: name.clone(),
        observed,
        bound,
        weights,
    };
    let values = ranges.nodes.len() - crate::program::ends_in_argmax(graph) as usize;
    let input = (&ranges.input.name, ranges.input.observed, ranges.input.bound, 0.0);
    let nodes = ranges.nodes[..values].iter().enumerate();
    let nodes = nodes.map(|(i, r)| (&r.name, r.observed, r.bound, params::largest(graph, weights, i)));
    [input].into_iter().chain(nodes).map(need).collect()
}

/// Most fraction bits of a ring of `n` bits, beside those of weights, at which `need` keeps the contract.
fn most((n, weights): (u32, Option<u32>), need: f64) -> Option<u32> {
    let fits = |&f: &u32| {
        let scale = Scale { fixed: Fixed { n, f }, weights };
        scale.check().is_ok() && need <= scale.limit()
    };
    (FEWEST..=(n - 4) / 2).rev().find(fits)
}

/// The most fraction bits of the ring in `options` at which everything fits with the margin; the other choices of
/// `options` stay.
///
/// # Errors
/// [`Error::Ranges`] naming every layer that fits with no fraction bits at all, with the bits it needs; otherwise what
/// [`Plan::new`] refuses.
pub fn fit(graph: &Graph, weights: &Weights, ranges: &Ranges, options: &Options) -> Result<Fit> {
    weights.check(graph)?;
    ranges.check(graph)?;
    let (n, margin, weight_fraction) = (options.fixed.n, options.margin, options.weight_fraction);
    let fewest = Scale { fixed: Fixed { n, f: FEWEST }, weights: weight_fraction };
    fewest.check()?;
    let needs = needs(graph, weights, ranges);
    let alone: Vec<Option<u32>> =
        needs.iter().map(|need| most((n, weight_fraction), need.real(margin))).collect();
    let Some(widest) = alone.iter().copied().collect::<Option<Vec<u32>>>().and_then(|f| f.into_iter().min())
    else {
        let over = needs.iter().zip(&alone).filter(|(_, f)| f.is_none());
        let fault = |need: &Need| {
            let (what, real) = (need.name.as_str(), need.real(margin));
            format!("layer `{what}`: {real:.3e} with the margin; needs {} bits", fewest.bits(real))
        };
        return Err(Error::Ranges { n, f: FEWEST, faults: over.map(|(need, _)| fault(need)).collect() });
    };
    // Average pools may want fewer than the layers alone.
    let plan = |f: u32| {
        let options = Options { fixed: Fixed { n, f }, ..options.clone() };
        Plan::new(graph.clone(), options, Some(ranges.clone()))
    };
    let mut found = plan(widest);
    for f in (FEWEST..widest).rev() {
        if found.is_ok() {
            break;
        }
        found = plan(f);
    }
    rooms(&found?, needs, widest)
}

/// `widest` are the fraction bits that the layers alone would allow: with fewer, an average pool was in the way.
fn rooms(plan: &Plan, needs: Vec<Need>, widest: u32) -> Result<Fit> {
    let (program, scale, margin) = (plan.program()?, plan.options.scale(), plan.options.margin);
    let fixed = scale.fixed;
    let room = |(k, need): (usize, Need)| {
        let limit = if k == 0 { scale.limit() } else { program.limit(k - 1) };
        let real = need.real(margin);
        Room {
            limit,
            headroom_bits: if real > 0.0 { (limit / real).log2() } else { f64::from(fixed.n) },
            most_fraction: most((fixed.n, scale.weights), real),
            proof: proof(&need, margin, limit, scale),
            name: need.name,
            observed: need.observed,
            bound: need.bound,
            weights: need.weights,
        }
    };
    let layers: Vec<Room> = needs.into_iter().enumerate().map(room).collect();
    let in_the_way = |room: &&Room| fixed.f == widest || room.limit < scale.limit();
    let need = |room: &Room| (room.observed * margin).max(room.weights);
    let most = layers.iter().filter(in_the_way).max_by(|a, b| need(a).total_cmp(&need(b)));
    Ok(Fit {
        ring: fixed.n,
        fraction: fixed.f,
        weight_fraction: scale.weights,
        truncated: scale.m(),
        margin,
        bottleneck: most.map(|room| room.name.clone()).unwrap_or_default(),
        layers,
    })
}

/// `|x| * margin = a <= 2^(n-2-2f) - 2^-f = b`, or what stands on the right for a pool.
fn proof(need: &Need, margin: f64, limit: f64, scale: Scale) -> String {
    let whole = i64::from(scale.fixed.n) - 2 - i64::from(scale.finest());
    let right = if limit < scale.limit() {
        "limit of the scaled sum".into()
    } else {
        format!("2^{whole} - 2^-{}", scale.fixed.f)
    };
    let left = if need.weights > need.observed * margin {
        format!("|w| = {:.6}", need.weights)
    } else {
        format!("|x| * {margin} = {:.6} * {margin} = {:.6}", need.observed, need.observed * margin)
    };
    format!("{left} <= {right} = {limit:.6}")
}

#[cfg(test)]
mod tests;
