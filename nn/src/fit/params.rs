//! What fixed point makes of parameters: those that do not fit the ring, and weights that f fraction bits cannot tell apart.

use super::{Fit, fit};
use crate::graph::Op;
use crate::{Error, Graph, Options, Plan, Ranges, Result, Role, Scale, Weights};
use serde::Serialize;
use twoply_primitives::Fixed;

/// Fraction bits below which the smaller ring is not recommended: most networks lose labels there.
const ENOUGH: u32 = 10;
/// Mean rounding error of a layer's weights over their mean magnitude beyond which they count as lost.
pub const TOLERANCE: f64 = 0.02;

/// Weights of one layer, or its public factor, that lose precision.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Faint {
    /// Name of the layer.
    pub layer: String,
    /// Mean rounding error over mean magnitude.
    pub relative: f64,
    /// Share of the weights that become 0, of those that are not.
    pub zeros: f64,
}

/// Largest magnitude of the parameters of node `i`, 0 without any.
pub(super) fn largest(graph: &Graph, weights: &Weights, i: usize) -> f64 {
    let values = graph.nodes[i].op.params().flat_map(|p| &weights.0[p]);
    values.fold(0.0, |most, w| f64::from(w.abs()).max(most))
}

/// One sentence per layer with a weight or bias that cannot be encoded.
fn over(graph: &Graph, weights: &Weights, scale: Scale) -> Vec<String> {
    let fault = |i: usize| {
        let largest = largest(graph, weights, i);
        let need = scale.bits(largest);
        let name = &graph.nodes[i].name;
        let limit = scale.limit();
        (largest > limit)
            .then(|| format!("layer `{name}`: a weight of {largest:.3} beyond {limit:.3}; needs {need} bits"))
    };
    (0..graph.nodes.len()).filter_map(fault).collect()
}

/// Checks that every weight and bias can be encoded.
///
/// # Errors
/// [`Error::Ranges`] naming every layer whose parameters are too large, with the bits they need.
pub fn parameters(graph: &Graph, weights: &Weights, scale: Scale) -> Result<()> {
    let (faults, Fixed { n, f }) = (over(graph, weights, scale), scale.fixed);
    if faults.is_empty() { Ok(()) } else { Err(Error::Ranges { n, f, faults }) }
}

/// [`Plan::new`] where the weights are known: they must fit as well as the values.
///
/// # Errors
/// As [`Plan::new`]; [`Error::Ranges`] lists layers whose parameters are too large before those whose values are.
pub fn plan(graph: &Graph, weights: &Weights, options: Options, ranges: Ranges) -> Result<Plan> {
    weights.check(graph)?;
    let Fixed { n, f } = options.fixed;
    let mut faults = over(graph, weights, options.scale());
    match Plan::new(graph.clone(), options, Some(ranges)) {
        Ok(plan) if faults.is_empty() => return Ok(plan),
        Ok(_) => {}
        Err(Error::Ranges { faults: more, .. }) => faults.extend(more),
        Err(e) => return Err(e),
    }
    Err(Error::Ranges { n, f, faults })
}

/// What node `i` multiplies with, its weights or its public factor, with their fraction bits: mean rounding error over mean
/// magnitude, and the share that becomes 0. Addends of any kind lose no more than every wire does.
pub fn rounding(graph: &Graph, weights: &Weights, i: usize, scale: Scale) -> (f64, f64) {
    let public = matches!(graph.nodes[i].op, Op::Affine { .. });
    let scale = f64::from(if public { scale.fixed.f } else { scale.weights() }).exp2();
    let params = |op: &Op| -> Vec<f64> {
        let weights =
            op.params().filter(|p| graph.params[*p].role == Role::Weight).flat_map(|p| &weights.0[p]);
        weights.map(|w| f64::from(*w)).collect()
    };
    let factors = match &graph.nodes[i].op {
        Op::Offset { .. } => vec![],
        Op::Affine { scale: factor, .. } => vec![*factor],
        op => params(op),
    };
    let (mut error, mut size, mut zeros, mut count) = (0.0, 0.0, 0u64, 0u64);
    for w in factors.into_iter().filter(|w| *w != 0.0) {
        let rounded = (w * scale).round_ties_even() / scale;
        error += (rounded - w).abs();
        size += w.abs();
        zeros += u64::from(rounded == 0.0);
        count += 1;
    }
    if count == 0 { (0.0, 0.0) } else { (error / size, zeros as f64 / count as f64) }
}

/// Layers whose weights lose precision with these fraction bits. `weights` are the graph's.
pub fn faint(graph: &Graph, weights: &Weights, scale: Scale) -> Vec<Faint> {
    let layer = |i: usize| {
        let (relative, zeros) = rounding(graph, weights, i, scale);
        (relative > TOLERANCE).then(|| Faint { layer: graph.nodes[i].name.clone(), relative, zeros })
    };
    (0..graph.nodes.len()).filter_map(layer).collect()
}

/// The most fraction bits in each ring, 32 bits first, and why other rings have none; `weight_fraction` as in [`Options`].
pub fn rings(
    (graph, weights): (&Graph, &Weights),
    ranges: &Ranges,
    (margin, weight_fraction): (f64, Option<u32>),
) -> (Vec<Fit>, Vec<(u32, Error)>) {
    let (mut rings, mut refused) = (vec![], vec![]);
    for n in [32, 64] {
        let usual = Options::default();
        let options = Options { fixed: Fixed { n, ..usual.fixed }, weight_fraction, margin, ..usual };
        match fit(graph, weights, ranges, &options) {
            Ok(fit) => rings.push(fit),
            Err(why) => refused.push((n, why)),
        }
    }
    (rings, refused)
}

/// The one of `rings` to take: the smallest with enough fraction bits, otherwise the widest.
pub fn recommended(rings: &[Fit]) -> Option<&Fit> {
    rings.iter().find(|fit| fit.fraction >= ENOUGH).or(rings.last())
}
