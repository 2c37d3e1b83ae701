//! Dropout: a public mask of each step, the same in every engine, takes some elements away, and a factor keeps the mean.
//!
//! Masks follow from the run's seed, the step's number and the layer's name. They are public numbers, so that they act on what is
//! under a mask (training, section 3): an element is zeroed or multiplied, forward and back, without keys and without talk. A factor
//! `1 / (1 - ratio)` that is a whole number costs a wire range and nothing else; another one is rounded, and its fraction bits are cut
//! off, which takes a cut and a lift each way.

use super::forward::whole;
use super::start::stream;
use super::{Moment, Run, Tape};
use crate::Result;
use crate::engine::Learn;
use std::sync::Arc;
use twoply_primitives::Local;

/// How far a factor may be from a whole one that is run for it; files hold ratios in single precision.
const NEAR: f64 = 1e-5;

/// What elements that stay are multiplied with: a whole number, and how many bits of it are a fraction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Kept {
    pub factor: i64,
    pub by: u32,
}

impl Kept {
    /// Of a ratio from 0 to below 1, in a ring of `n` bits.
    pub(super) fn of(ratio: f64, n: u32) -> Kept {
        let wanted = 1.0 / (1.0 - ratio);
        let near = (wanted.round() / wanted - 1.0).abs() < NEAR;
        let (factor, by) = whole(if near { wanted.round() } else { wanted }, n);
        Kept { factor, by }
    }
    /// As a real number.
    pub(super) fn real(self) -> f64 {
        self.factor as f64 / f64::from(self.by).exp2()
    }
    /// For each of `len` elements of a batch, the factor or 0. An element stays with probability `1 / factor`, to 32 bits, which
    /// makes the mean exact.
    pub(super) fn factors(self, moment: Moment, layer: &str, len: usize) -> Arc<[i64]> {
        let below = (f64::from(u32::BITS).exp2() / self.real()) as u64;
        let draws = stream(moment.seed, &format!("dropout of step {}, {layer}", moment.step), len);
        draws.into_iter().map(|v| if u64::from(v) < below { self.factor } else { 0 }).collect()
    }
}

impl<E: Learn> Run<'_, E> {
    /// The elements that stay, times their factor, and what the way back needs.
    pub(super) fn drop_out(&mut self, i: usize, ratio: f64, x: &E::Value) -> Result<(Dropped<E>, E::Value)> {
        let kept = Kept::of(ratio, self.step.recipe.n);
        let len = self.e.form(x).len();
        let factors = kept.factors(self.moment, &self.step.graph.nodes[i].name, len);
        let z = self.dropped(x.clone(), &factors, kept.by)?;
        Ok((Tape::Factors(factors, kept.by), z))
    }
    /// Elements times their factors. Whole ones leave a wire as wide as it is, and cost it range.
    pub(super) fn dropped(&mut self, x: E::Value, factors: &Arc<[i64]>, by: u32) -> Result<E::Value> {
        let x = if by > 0 { self.full(x)? } else { x };
        let scaled = self.scale_all(&x, factors)?;
        self.cut(&scaled, by)
    }
    /// Every element of a batch times its own number. Maps give all rows of a batch the same numbers, so the batch becomes one row:
    /// that of a zero, to which it is added; and sums over a batch of one lose its axis.
    fn scale_all(&mut self, x: &E::Value, factors: &Arc<[i64]>) -> Result<E::Value> {
        let shape = self.e.form(x).shape.0.clone();
        let first = self.local(&Local::Gather([0].into()), &[x])?;
        let zero = self.local(&Local::Scale(0), &[&first])?;
        let zero = self.local(&Local::SumBatch, &[&zero])?;
        let zeros = self.local(&Local::Gather(vec![0; factors.len()].into()), &[&zero])?;
        let row = self.local(&Local::AddRow, &[&zeros, x])?;
        let scaled = self.local(&Local::ScaleEach(factors.clone()), &[&row])?;
        let batch = self.local(&Local::Reshape(shape), &[&scaled])?;
        self.local(&Local::SumBatch, &[&batch])
    }
}

/// What is kept of the forward pass.
type Dropped<E> = Tape<<E as crate::engine::Engine>::Value, <E as Learn>::Bit>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_factors_are_exact_and_others_keep_the_mean() {
        let of = |ratio: f64| (Kept::of(ratio, 32).factor, Kept::of(ratio, 32).by);
        assert_eq!((of(0.0), of(0.5), of(0.75)), ((1, 0), (2, 0), (4, 0)));
        assert_eq!(of(f64::from(0.9f32)), (10, 0), "a ratio of a file");
        assert_eq!(of(0.2), (81920, 16));
        for ratio in [0.1, 0.25, 0.5, 0.9] {
            let kept = Kept::of(ratio, 32);
            let len = 1 << 16;
            let factors = kept.factors(Moment { seed: 3, ..Moment::default() }, "d", len);
            let share = factors.iter().filter(|f| **f == 0).count() as f64 / len as f64;
            // five standard deviations of a mean of `len` draws
            assert!(
                (share - ratio).abs() < 5.0 * (ratio * (1.0 - ratio) / len as f64).sqrt(),
                "{ratio}: {share}"
            );
            assert!(factors.iter().all(|f| [0, kept.factor].contains(f)));
        }
    }

    #[test]
    fn every_step_and_layer_draws_anew() {
        let kept = Kept::of(0.5, 32);
        let of = |seed, step, layer| kept.factors(Moment { seed, step, before: None }, layer, 64);
        assert_eq!(of(1, 1, "a"), of(1, 1, "a"));
        assert_eq!(of(1, 1, "a")[..], kept.factors(Moment { seed: 1, step: 1, before: None }, "a", 99)[..64]);
        for other in [of(2, 1, "a"), of(1, 2, "a"), of(1, 1, "b")] {
            assert_ne!(of(1, 1, "a"), other);
        }
    }
}
