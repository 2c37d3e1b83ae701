//! Batch normalisation: its parameters, and what it is once the statistics are those of the data.

use super::check::{Checked, param};
use super::{Graph, Op, Param, Role};
use crate::Weights;

/// A batch normalisation with its values, one of each per channel.
pub(crate) struct Norm<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mean: &'a [f32],
    pub variance: &'a [f32],
    pub epsilon: f64,
}

impl<'a> Norm<'a> {
    /// That of a node, if it is one.
    pub fn of(graph: &Graph, weights: &'a Weights, node: usize) -> Option<Norm<'a>> {
        let Op::BatchNorm { gamma, beta, mean, variance, epsilon } = graph.nodes[node].op else {
            return None;
        };
        let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(|p| &weights.0[p][..]);
        Some(Norm { gamma, beta, mean, variance, epsilon })
    }
    /// `scale x + shift`, per channel: what inference computes.
    ///
    /// # Errors
    /// Says so if there is no root of a variance.
    pub fn affine(&self) -> Result<(Vec<f64>, Vec<f64>), String> {
        let spread = |v: &f32| f64::from(*v) + self.epsilon;
        if self.variance.iter().any(|v| spread(v) <= 0.0) {
            return Err("variance + epsilon is not positive".into());
        }
        let scale: Vec<f64> =
            self.gamma.iter().zip(self.variance).map(|(g, v)| f64::from(*g) / spread(v).sqrt()).collect();
        let beside = self.beta.iter().zip(self.mean);
        let shift = beside.zip(&scale).map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s).collect();
        Ok((scale, shift))
    }
}

/// Shape of the result on an operand of shape `x`.
pub(super) fn checked(op: &Op, x: &[usize], params: &[Param]) -> Checked {
    let Op::BatchNorm { gamma, beta, mean, variance, epsilon } = op else { return Ok(x.to_vec()) };
    let mut faults = Vec::new();
    let roles = [(gamma, Role::Factor), (beta, Role::Bias), (mean, Role::Mean), (variance, Role::Variance)];
    for (index, role) in roles {
        let shape = param(params, *index, role, &mut faults);
        if let Some(shape) = shape.filter(|s| **s != x[..1]) {
            faults.push(format!("{role:?} of shape {shape:?} on an operand of {x:?}, wanted [{}]", x[0]));
        }
    }
    if !epsilon.is_finite() || *epsilon <= 0.0 {
        faults.push(format!("an epsilon of {epsilon}, wanted a positive number"));
    }
    if faults.is_empty() { Ok(x.to_vec()) } else { Err(faults) }
}
