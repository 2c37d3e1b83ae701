//! How many rows of a batch the network gets right, without opening anything: the forward pass on the weights as they are, and one
//! bit a row, added up under masks (training, section 11).
//!
//! Logits leave the last layer with the activations' fraction; those that a loss looks up are too coarse, ties would be many. With one-hot
//! targets `z_y = sum_j y_j z_j`, and a row is right where `z_y >= max z`: ties are right. With one score z and a label y of 0 or
//! 1 it is right where `(2 y - 1) z >= 0`. The bit is a staircase of one step, so it leaves as a wire of n bits under a mask of its own,
//! and the sum over the batch is local.
//!
//! A Dropout lets everything through. A batch normalisation takes the statistics of the batch that it is given.

use super::{Loss, Run, Step};
use crate::engine::Learn;
use crate::{Error, Meaning, Result};
use twoply_primitives::backend::Product;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{MaxPool, Mul, Staircase, Step as Stair, Sum};
use twoply_primitives::{Local, Window};

impl Step {
    /// Whether rows of this network are right or wrong.
    pub(super) fn offers_accuracy(&self) -> Result<()> {
        let outputs = self.targets().shape.row();
        let refused = |why: String| Err(Error::data("training plan", why));
        match self.recipe.loss {
            Loss::SquaredError => refused(
                "accuracy of a network that learns values with squared error, where no row is right or wrong: leave accuracy \
                 out, or train classes with --loss cross-entropy"
                    .into(),
            ),
            Loss::BinaryCrossEntropy if outputs > 1 => refused(format!(
                "accuracy of {outputs} yes-or-no outputs, which are no classes: leave accuracy out, train one output, or train \
                 classes with --loss cross-entropy"
            )),
            _ => match Meaning::of(&self.graph)?.no_labels() {
                Some(why) => refused(format!("accuracy: {why}")),
                None => Ok(()),
            },
        }
    }
}

impl<E: Learn> Run<'_, E> {
    /// How many rows are right: one element of n bits.
    pub(super) fn right(&mut self, targets: E::Value) -> Result<E::Value> {
        let z = self.forward(self.step.recipe.fractions.activations)?;
        self.e.layer("accuracy");
        let z = self.flat(z)?;
        let margin = match self.e.form(&z).shape.row() {
            1 => self.score_margin(&z, &targets)?,
            _ => {
                let most = self.row_maximum(&z)?;
                self.class_margin(&z, &targets, &most)?
            }
        };
        let right =
            Staircase { scheme: Scheme::Dpf, base: 0, steps: [Stair { at: 0, by: 1 }].as_slice().into() };
        let right = self.e.gate(&right, &[&margin])?;
        self.local(&Local::SumBatch, &[&right])
    }
    /// `z_y - max z` of every row, as wide as the logits.
    pub(super) fn class_margin(
        &mut self,
        z: &E::Value,
        targets: &E::Value,
        most: &E::Value,
    ) -> Result<E::Value> {
        let (outputs, bits) = (self.e.form(z).shape.row(), self.e.form(z).bits);
        let most = self.local(&Local::Reshape(vec![1]), &[most])?;
        let wide = self.full(z.clone())?;
        let row = Local::Reshape(vec![1, 1, outputs]);
        let (wide, targets) = (self.local(&row, &[&wide])?, self.local(&row, &[targets])?);
        let dot = Sum { terms: vec![Product::Dot { block: outputs }], add: 0, cut: 0 };
        let own = self.e.gate(&dot, &[&wide, &targets])?;
        let own = self.local(&Local::Reduce(bits), &[&own])?;
        self.local(&Local::Sub, &[&own, &most])
    }
    /// `(2 y - 1) z` of every row, as wide as the scores.
    fn score_margin(&mut self, z: &E::Value, targets: &E::Value) -> Result<E::Value> {
        let bits = self.e.form(z).bits;
        let wide = self.full(z.clone())?;
        let chosen = self.e.gate(&Mul { cut: 0 }, &[&wide, targets])?;
        let twice = self.local(&Local::Scale(2), &[&chosen])?;
        let signed = self.local(&Local::Sub, &[&twice, &wide])?;
        self.local(&Local::Reduce(bits), &[&signed])
    }
    /// The largest element of every row, `[batch, 1, 1, 1]`.
    pub(super) fn row_maximum(&mut self, z: &E::Value) -> Result<E::Value> {
        let outputs = self.e.form(z).shape.row();
        let window = Window { kernel: [1, outputs], ..Window::square(1, 1) };
        let row = self.local(&Local::Reshape(vec![1, 1, outputs]), &[z])?;
        Ok(self.e.gate(&MaxPool { scheme: Scheme::Dpf, window }, &[&row])?)
    }
}
