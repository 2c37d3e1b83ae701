//! Real numbers in the ring and back.

use super::{Figure, Moment, Recipe, State, Step};
use crate::engine::Clear;
use crate::graph::Op;
use crate::{Error, Result, Weights};
use twoply_primitives::{Form, Ring};

/// A wire of the oracle.
type Wire<R> = (Form, Vec<R>);

impl Recipe {
    /// Largest magnitude of an input or a parameter: that of a product's result, as one of them may be 1.
    pub fn limit(&self) -> f64 {
        let f = self.fractions;
        (f64::from(self.n) - 2.0 - f64::from(f.activations + f.weights)).exp2()
    }
    /// Whether a value is one, and below [`Recipe::limit`].
    pub fn fits(&self, value: f32) -> bool {
        value.is_finite() && f64::from(value.abs()) < self.limit()
    }
    /// Values with `frac` fraction bits.
    ///
    /// # Errors
    /// [`Error::Data`] for one beyond [`Recipe::limit`], or none at all.
    pub fn encode<R: Ring>(&self, at: &str, values: &[f32], frac: u32) -> Result<Vec<R>> {
        let value = |v: &f32| {
            if !self.fits(*v) {
                let why = format!("`{at}`: {v} is not below {}, the limit of these fractions", self.limit());
                return Err(Error::data("training", why));
            }
            Ok(R::from_i64((f64::from(*v) * f64::from(frac).exp2()).round_ties_even() as i64))
        };
        values.iter().map(value).collect()
    }
}

impl Step {
    /// Parameters that are learnt in the ring, biases too at the weights' fraction.
    ///
    /// # Errors
    /// [`Error::Weights`], or [`Error::Data`] for a value that does not fit.
    pub fn encode<R: Ring>(&self, weights: &Weights) -> Result<Vec<Vec<R>>> {
        weights.check(&self.graph)?;
        let values = self.graph.params.iter().zip(&weights.0).filter(|(p, _)| p.role.is_learnt());
        values.map(|(p, v)| self.recipe.encode(&p.name, v, self.recipe.fractions.weights)).collect()
    }
    /// Whether these targets of a row can be masked.
    ///
    /// # Errors
    /// [`Error::Data`] for one that the loss does not take, or beyond [`Recipe::limit`].
    pub fn check_targets(&self, targets: &[f32]) -> Result<()> {
        let recipe = &self.recipe;
        recipe.loss.check_targets(targets)?;
        match targets.iter().find(|t| !recipe.fits(**t)) {
            None => Ok(()),
            Some(t) => {
                let why =
                    format!("a target of {t} is not below {}, the limit of these fractions", recipe.limit());
                Err(Error::data("training", why))
            }
        }
    }
    /// What a state in the ring says of the parameters; those that are not learnt are those of `start`.
    pub fn decode<R: Ring>(&self, weights: &[Vec<R>], start: &Weights) -> Weights {
        let scale = (-f64::from(self.recipe.fractions.weights)).exp2();
        let real = |w: &Vec<R>| w.iter().map(|v| (v.signed() as f64 * scale) as f32).collect();
        let of = |(place, start): (&Option<usize>, &Vec<f32>)| {
            place.map_or_else(|| start.clone(), |at| real(&weights[at]))
        };
        Weights(self.places.iter().zip(&start.0).map(of).collect())
    }
    /// Gives batch normalisations the statistics that accumulators in the ring say, of so many steps: the plain means over those
    /// steps of the batches' means and unbiased variances, where PyTorch keeps averages that forget with its momentum. The sums
    /// of 32 steps fit for variances up to 256, and of so many more for smaller ones.
    pub fn set_statistics<R: Ring>(&self, weights: &mut Weights, sums: &[Vec<R>], steps: usize) {
        let norms = self.graph.nodes.iter().zip(&self.norms);
        let norms = norms.filter_map(|(node, norm)| Some((&node.op, norm.as_ref()?)));
        for ((op, norm), sums) in norms.zip(sums.chunks_exact(2)) {
            let Op::BatchNorm { mean, variance, .. } = op else { continue };
            let units = norm.units(self.recipe.fractions.activations).map(|unit| unit / steps.max(1) as f64);
            weights.0[*mean] = sums[0].iter().map(|v| (v.signed() as f64 * units[0]) as f32).collect();
            weights.0[*variance] = sums[1].iter().map(|v| (v.low() as f64 * units[1]) as f32).collect();
        }
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
        batch: (&[f32], &[f32]),
    ) -> Result<State<Wire<R>>> {
        self.run(engine, moment, state, self.encode_batch(batch)?)
    }
    /// A figure of one batch on clear values: each of its numbers.
    ///
    /// # Errors
    /// As [`Recipe::encode`] and [`Step::figure`].
    pub fn figure_on_clear<R: Ring>(
        &self,
        engine: &mut Clear<R>,
        figure: Figure,
        state: &State<Wire<R>>,
        batch: (&[f32], &[f32]),
    ) -> Result<Vec<i64>> {
        let numbers = self.figure(figure, engine, state, self.encode_batch(batch)?)?;
        Ok(numbers.iter().flat_map(|(_, (_, values))| values).map(|v| v.signed()).collect())
    }
    /// Inputs and targets of a batch in the ring.
    fn encode_batch<R: Ring>(&self, (inputs, targets): (&[f32], &[f32])) -> Result<(Wire<R>, Wire<R>)> {
        let f = self.recipe.fractions;
        self.recipe.loss.check_targets(targets)?;
        let x = self.recipe.encode("inputs", inputs, f.activations)?;
        let y = self.recipe.encode("targets", targets, self.recipe.loss.target_fraction(&f))?;
        Ok(((self.input(), x), (self.targets(), y)))
    }
    /// The clear state that the oracle begins with.
    ///
    /// # Errors
    /// As [`Step::encode`].
    pub fn clear<R: Ring>(&self, weights: &Weights) -> Result<State<(Form, Vec<R>)>> {
        let all: Vec<(Form, Vec<R>)> = self.params().into_iter().zip(self.encode(weights)?).collect();
        let velocity = all.iter().map(|(f, w)| (f.clone(), vec![R::ZERO; w.len()])).collect();
        Ok(State { weights: all, velocity, accumulators: self.clear_accumulators() })
    }
    /// Accumulators of nothing, for the oracle.
    pub fn clear_accumulators<R: Ring>(&self) -> Vec<(Form, Vec<R>)> {
        let zeros = |form: Form| {
            let values = vec![R::ZERO; form.len()];
            (form, values)
        };
        self.accumulators().into_iter().map(zeros).collect()
    }
}
