//! Batch normalisation in floating point, over all samples of a step.

use super::{Gradients, Op, Reference};

/// A channel's mean and variance over a batch, for all channels.
pub(super) struct Statistics {
    mean: Vec<f64>,
    /// Without Bessel's correction: what the batch is normalised with.
    variance: Vec<f64>,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Vec<f64>,
    /// Places of a channel, all samples together.
    count: usize,
}

impl Statistics {
    /// Of samples `[c, ..]`.
    pub fn of(x: &[&[f32]], channels: usize, epsilon: f64) -> Statistics {
        let (places, mut mean, mut variance) =
            (x[0].len() / channels, vec![0.0; channels], vec![0.0; channels]);
        let count = places * x.len();
        let each = |sum: &mut [f64], of: &dyn Fn(usize, f64) -> f64| {
            for x in x {
                let planes = x.chunks(places).enumerate();
                planes.for_each(|(c, x)| sum[c] += x.iter().map(|v| of(c, f64::from(*v))).sum::<f64>());
            }
            sum.iter_mut().for_each(|v| *v /= count as f64);
        };
        each(&mut mean, &|_, x| x);
        each(&mut variance, &|c, x| (x - mean[c]).powi(2));
        let inverse = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
        Statistics { mean, variance, inverse, count }
    }
    /// One sample.
    pub fn normalised(&self, x: &[f32], (gamma, beta): (&[f32], &[f32])) -> Vec<f32> {
        let at = |(c, x): (usize, f64)| f64::from(gamma[c]) * x + f64::from(beta[c]);
        self.standard(x).map(|x| at(x) as f32).collect()
    }
    /// Channels and values `(x - mean) / sigma` of one sample.
    fn standard(&self, x: &[f32]) -> impl Iterator<Item = (usize, f64)> {
        let places = x.len() / self.mean.len();
        let at = move |(i, v): (usize, &f32)| {
            let c = i / places;
            (c, (f64::from(*v) - self.mean[c]) * self.inverse[c])
        };
        x.iter().enumerate().map(at)
    }
}

impl Reference<'_> {
    /// Adds a step's statistics, those of the nodes that have some; the network has their means.
    pub(super) fn gather(&mut self, statistics: Vec<Option<Statistics>>) {
        let (sums, steps) = &mut self.gathered;
        sums.resize_with(statistics.len(), Default::default);
        *steps += 1;
        for ((node, sums), own) in self.step.graph.nodes.iter().zip(sums).zip(statistics) {
            let (Op::BatchNorm { mean, variance, .. }, Some(own)) = (&node.op, own) else { continue };
            let unbiased = own.count as f64 / (own.count as f64 - 1.0);
            let own = [own.mean, own.variance.into_iter().map(|v| v * unbiased).collect()];
            for ((p, sum), own) in [*mean, *variance].into_iter().zip(sums).zip(own) {
                sum.resize(own.len(), 0.0);
                super::add(sum, &own);
                self.weights.0[p] = sum.iter().map(|v| (v / *steps as f64) as f32).collect();
            }
        }
    }

    /// For each sample the gradient of a batch normalisation's operand; those of its parameters are added.
    pub(super) fn norm_back(
        &self,
        i: usize,
        (own, x): (&Statistics, &[&[f32]]),
        g: &[Vec<f64>],
        gradients: &mut Gradients,
    ) -> Vec<Vec<Vec<f64>>> {
        let Op::BatchNorm { gamma, beta, .. } = self.step.graph.nodes[i].op else { return vec![] };
        let [mut factor, mut addend] = [gamma, beta].map(|p| vec![0.0; self.exact[p].len()]);
        for (x, g) in x.iter().zip(g) {
            for ((c, x), g) in own.standard(x).zip(g) {
                factor[c] += g * x;
                addend[c] += g;
            }
        }
        super::add(&mut gradients[gamma], &factor);
        super::add(&mut gradients[beta], &addend);
        let count = own.count as f64;
        let sample = |(x, g): (&&[f32], &Vec<f64>)| {
            let at = |((c, x), g): ((usize, f64), &f64)| {
                let rest = g - addend[c] / count - x * factor[c] / count;
                self.exact[gamma][c] * own.inverse[c] * rest
            };
            vec![own.standard(x).zip(g).map(at).collect()]
        };
        x.iter().zip(g).map(sample).collect()
    }
}
