//! The update: `v' = cut(rate dW + momentum v + rate decay w)`, `w' = w - v'`, one gate and one lift per parameter.
//!
//! The velocity has the rate inside. PyTorch's has not, and its old momentum takes part at each new rate: so where a schedule changes
//! the rate, `momentum v` is brought to the new one, in that step. Weight decay takes turns: see [`super::Recipe`].
//!
//! `1 / batch` and the halvings of the rate are bits of the cut, so they cost nothing. The weight's new mask is the old one less
//! the velocity's, which is fresh: `w'` is local (training, section 6). The gate leaves with the gradients of its layer, all
//! lifts of a step together.

use super::{Moment, Run, State};
use crate::Result;
use crate::engine::Learn;
use crate::graph::Role;
use twoply_primitives::Local;
use twoply_primitives::gate::{Lift, Sum};

impl<E: Learn> Run<'_, E> {
    /// The gate whose result is the next velocity of parameter `p`, cut, and its operands: all that was gathered.
    pub(super) fn change(&mut self, p: usize) -> Result<(Sum, Vec<E::Value>)> {
        let step = self.step;
        let (recipe, gathered) = (&step.recipe, &mut self.back.gathered[p]);
        let (products, sums) = (std::mem::take(&mut gathered.products), std::mem::take(&mut gathered.sums));
        let (w, v) = (self.weight(p), &self.state.velocity[self.place(p)]);
        let Moment { step: number, before, .. } = self.moment;
        let mut add = vec![self.e.local(&Local::Scale(recipe.momentum_factor(before)), &[v])?];
        // the factor of some steps is 0, and their gate is that of the others
        if recipe.decay > 0.0 && step.role(p) == Role::Weight {
            add.push(self.e.local(&Local::Scale(recipe.decay_factor(number)), &[w])?);
        }
        // sums have the gradients' fraction, products that of activations more
        let factor = i64::from(recipe.rate.factor);
        for sum in sums {
            add.push(self.local(&Local::Scale(factor << recipe.fractions.activations), &[&sum])?);
        }
        let (mut terms, mut operands) = (vec![], vec![]);
        for (product, g, x) in products {
            terms.push(product);
            operands.push(if factor == 1 { g } else { self.local(&Local::Scale(factor), &[&g])? });
            operands.push(x);
        }
        let gate = Sum { terms, add: add.len(), cut: recipe.cut() };
        operands.extend(add);
        Ok((gate, operands))
    }

    /// The next state.
    pub(super) fn update(mut self) -> Result<State<E::Value>> {
        let state = self.state;
        let cut = std::mem::take(&mut self.back.cut).into_iter().enumerate();
        let (learning, cut): (Vec<usize>, Vec<E::Value>) =
            cut.filter_map(|(p, cut)| Some((self.place(p), cut?))).unzip();
        self.e.layer("update");
        let mut lifted = self.lifted(cut)?.into_iter();
        let mut next = State { weights: vec![], velocity: vec![], accumulators: vec![] };
        for (at, (w, v)) in state.weights.iter().zip(&state.velocity).enumerate() {
            let new = if learning.contains(&at) { lifted.next() } else { None };
            next.weights.push(match &new {
                Some(new) => self.local(&Local::Sub, &[w, new])?,
                None => w.clone(),
            });
            next.velocity.push(new.unwrap_or_else(|| v.clone()));
        }
        if self.step.recipe.nesterov {
            let ahead = self.ahead(&learning, &next.velocity)?;
            for (&at, ahead) in learning.iter().zip(ahead) {
                next.weights[at] = self.local(&Local::Sub, &[&next.weights[at], &ahead])?;
            }
        }
        for (sum, own) in state.accumulators.iter().zip(std::mem::take(&mut self.statistics)) {
            next.accumulators.push(self.local(&Local::Add, &[sum, &own])?);
        }
        Ok(next)
    }
    pub(super) fn lifted(&mut self, wires: Vec<E::Value>) -> Result<Vec<E::Value>> {
        let gates: Vec<_> = wires.iter().map(|w| (Lift, vec![w])).collect();
        Ok(self.e.together(&gates)?)
    }
    /// `momentum (v' - v)`, by which Nesterov's step goes further.
    fn ahead(&mut self, learning: &[usize], next: &[E::Value]) -> Result<Vec<E::Value>> {
        let (velocity, recipe, before) = (&self.state.velocity, &self.step.recipe, self.moment.before);
        let gate = Sum { terms: vec![], add: 1, cut: recipe.cut() };
        let mut scaled = vec![];
        for &at in learning {
            let new = self.local(&Local::Scale(recipe.momentum_factor(None)), &[&next[at]])?;
            let old = self.local(&Local::Scale(recipe.momentum_factor(before)), &[&velocity[at]])?;
            scaled.push(self.local(&Local::Sub, &[&new, &old])?);
        }
        let gates: Vec<_> = scaled.iter().map(|x| (gate.clone(), vec![x])).collect();
        let cut = self.e.together(&gates)?;
        self.lifted(cut)
    }
}
