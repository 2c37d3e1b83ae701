//! Real numbers in the ring and back.

use super::{Moment, Recipe, State, Step};
use crate::engine::Clear;
use crate::{Error, Result, Weights};
use twoply_primitives::{Form, Ring};

impl Recipe {
    /// Largest magnitude of an input or a parameter: that of a product's result, as one of them may be 1.
    pub fn limit(&self) -> f64 {
        let f = self.fractions;
        (f64::from(self.n) - 2.0 - f64::from(f.activations + f.weights)).exp2()
    }
    /// Values with `frac` fraction bits.
    ///
    /// # Errors
    /// [`Error::Data`] for one beyond [`Recipe::limit`], or none at all.
    pub fn encode<R: Ring>(&self, at: &str, values: &[f32], frac: u32) -> Result<Vec<R>> {
        let value = |v: &f32| {
            let v = f64::from(*v);
            if !v.is_finite() || v.abs() >= self.limit() {
                let why = format!("`{at}`: {v} is not below {}, the limit of these fractions", self.limit());
                return Err(Error::data("training", why));
            }
            Ok(R::from_i64((v * f64::from(frac).exp2()).round_ties_even() as i64))
        };
        values.iter().map(value).collect()
    }
}

impl Step {
    /// Parameters in the ring, biases too at the weights' fraction.
    ///
    /// # Errors
    /// [`Error::Weights`], or [`Error::Data`] for a value that does not fit.
    pub fn encode<R: Ring>(&self, weights: &Weights) -> Result<Vec<Vec<R>>> {
        weights.check(&self.graph)?;
        let values = self.graph.params.iter().zip(&weights.0);
        values.map(|(p, v)| self.recipe.encode(&p.name, v, self.recipe.fractions.weights)).collect()
    }
    /// What a state in the ring says of the parameters.
    pub fn decode<R: Ring>(&self, weights: &[Vec<R>]) -> Weights {
        let scale = (-f64::from(self.recipe.fractions.weights)).exp2();
        let real = |w: &Vec<R>| w.iter().map(|v| (v.signed() as f64 * scale) as f32).collect();
        Weights(weights.iter().map(real).collect())
    }
    /// One step on clear values: what the oracle does, on a batch of inputs and targets.
    ///
    /// # Errors
    /// As [`Recipe::encode`] and [`Step::run`].
    pub fn on_clear<R: Ring>(
        &self,
        engine: &mut Clear<R>,
        moment: Moment,
        state: &State<(Form, Vec<R>)>,
        (inputs, targets): (&[f32], &[f32]),
    ) -> Result<State<(Form, Vec<R>)>> {
        let f = self.recipe.fractions;
        self.recipe.loss.check_targets(targets)?;
        let x = self.recipe.encode("inputs", inputs, f.activations)?;
        let y = self.recipe.encode("targets", targets, self.recipe.loss.target_fraction(&f))?;
        self.run(engine, moment, state, ((self.input(), x), (self.targets(), y)))
    }
    /// The clear state that the oracle begins with.
    ///
    /// # Errors
    /// As [`Step::encode`].
    pub fn clear<R: Ring>(&self, weights: &Weights) -> Result<State<(Form, Vec<R>)>> {
        let all: Vec<(Form, Vec<R>)> = self.params().into_iter().zip(self.encode(weights)?).collect();
        let velocity = all.iter().map(|(f, w)| (f.clone(), vec![R::ZERO; w.len()])).collect();
        Ok(State { weights: all, velocity })
    }
}
