//! Where the backward pass begins: the gradient of the loss at the logits, without opening anything.
//!
//! Cross-entropy needs a softmax: the maximum by a tree of comparisons, `D - min(max - z, D)` by a narrow ReLU, exponentials from
//! a table, their sum, its reciprocal from a table, one product (training, section 5). Binary cross-entropy clamps to [-8, 8) by two
//! narrow ReLUs side by side and looks the sigmoid up.

use super::recipe::{Fractions, Loss};
use super::{Recipe, Run};
use crate::engine::Learn;
use crate::{Error, Result};
use std::sync::Arc;
use twoply_primitives::Local;
use twoply_primitives::backend::Product;
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::{Kind, Mul, Select, Sign, Sum, Table};

/// Fraction bits of exponentials and of reciprocals; 1 is exact in both.
const FINE: u32 = 14;
/// Bits of the reciprocal's table beyond those that count the classes.
const RECIPROCAL: u32 = 6;
/// Widest table.
const WIDEST: u32 = 13;
/// Bits of a table's range in real terms.
const RANGE: u32 = 4;
/// Bits of the whole part of a logarithm of the largest sum.
const LOGARITHM: u32 = 3;
/// Beyond this many in real terms a sigmoid is taken as that.
const CLAMP: u32 = 8;

impl Loss {
    /// Fraction bits with which logits leave the last layer.
    pub fn fraction(self, f: &Fractions) -> u32 {
        match self {
            Loss::SquaredError => f.gradients,
            Loss::CrossEntropy | Loss::BinaryCrossEntropy => f.logits,
        }
    }
    /// Fraction bits of targets: those of gradients, none for labels.
    pub fn target_fraction(self, f: &Fractions) -> u32 {
        match self {
            Loss::SquaredError => f.gradients,
            Loss::CrossEntropy | Loss::BinaryCrossEntropy => 0,
        }
    }
    /// Whether it takes these targets.
    ///
    /// # Errors
    /// [`Error::Data`] for a target between classes, where it has none.
    pub(super) fn check_targets(self, targets: &[f32]) -> Result<()> {
        match targets.iter().find(|t| self != Loss::SquaredError && ![0.0, 1.0].contains(*t)) {
            None => Ok(()),
            Some(t) => Err(Error::data("training", format!("a target of {t}; this loss takes 0 and 1"))),
        }
    }
    /// Why it cannot be computed for so many outputs.
    pub(super) fn faults(self, outputs: usize, f: &Fractions) -> Vec<String> {
        let mut faults = vec![];
        if self == Loss::SquaredError {
            return faults;
        }
        if f.gradients >= 2 * FINE {
            let most = 2 * FINE - 1;
            faults.push(format!("{} fraction bits of gradients; tables serve up to {most}", f.gradients));
        }
        if reach(f) > WIDEST {
            let most = WIDEST - RANGE;
            faults.push(format!("{} fraction bits of logits; tables serve up to {most}", f.logits));
        }
        let most = 1usize << (WIDEST - RECIPROCAL);
        if self == Loss::CrossEntropy && outputs < 2 {
            let why = "cross-entropy of one output; choose binary cross-entropy for a score, or two classes";
            faults.push(why.into());
        }
        if self == Loss::CrossEntropy && outputs > most {
            faults.push(format!(
                "cross-entropy of {outputs} classes; its table of reciprocals serves up to {most}"
            ));
        }
        faults
    }
}

/// Bits that count to `outputs`.
fn bits_for(outputs: usize) -> u32 {
    usize::BITS - (outputs - 1).leading_zeros()
}

fn rounded(entries: usize, bits: u32, f: impl Fn(f64) -> f64) -> Arc<[u32]> {
    (0..entries).map(|i| (f64::from(bits).exp2() * f(i as f64)).round() as u32).collect()
}

/// Width of a table's index of logits: `2^width` steps of the logits' fraction reach from 0 to -16, or from -8 to 8.
fn reach(f: &Fractions) -> u32 {
    f.logits + RANGE
}

/// `exp(-(D - u))`, `D` the largest index.
fn exponentials(f: &Fractions) -> Table {
    let (width, step) = (reach(f), (-f64::from(f.logits)).exp2());
    let last = (1usize << width) - 1;
    let entries = rounded(last + 1, FINE, |u| (-(last as f64 - u) * step).exp());
    Table { width, shift: 0, entries, bits: FINE + 1 }
}

/// `1 / (1 + s)` of the sum of `outputs` exponentials less one, of which `shift` bits are dropped.
fn reciprocals(outputs: usize) -> Table {
    let (count, width) = (bits_for(outputs), bits_for(outputs) + RECIPROCAL);
    let width = width.max(10);
    let step = (f64::from(count) - f64::from(width)).exp2();
    let entries = rounded(1 << width, FINE, |i| 1.0 / (1.0 + i * step));
    Table { width, shift: FINE + count - width, entries, bits: FINE + 1 }
}

/// `ln(1 + s)` of the same sum, with `fraction` bits.
fn logarithms(outputs: usize, fraction: u32) -> Table {
    let Table { width, shift, .. } = reciprocals(outputs);
    let step = f64::from(shift).exp2() / f64::from(FINE).exp2();
    let entries = rounded(1 << width, fraction, |i| (1.0 + i * step).ln());
    Table { width, shift, entries, bits: fraction + LOGARITHM }
}

/// `sigmoid(i - 8)` with the gradients' fraction.
fn sigmoids(f: &Fractions) -> Table {
    let (width, step) = (reach(f), (-f64::from(f.logits)).exp2());
    let sigmoid = |i: f64| 1.0 / (1.0 + (f64::from(CLAMP) - i * step).exp());
    Table { width, shift: 0, entries: rounded(1 << width, f.gradients, sigmoid), bits: f.gradients + 1 }
}

impl Recipe {
    /// Bits cut off the product of an exponential and a reciprocal.
    fn probability_cut(&self) -> u32 {
        2 * FINE - self.fractions.gradients
    }
}

impl<E: Learn> Run<'_, E> {
    /// The gradient at the logits, n bits.
    pub(super) fn loss(&mut self, logits: E::Value, targets: E::Value) -> Result<E::Value> {
        self.e.layer("loss");
        let logits = self.flat(logits)?;
        let gradients = self.step.recipe.fractions.gradients;
        match self.step.recipe.loss {
            Loss::SquaredError => {
                let logits = self.full(logits)?;
                self.local(&Local::Sub, &[&logits, &targets])
            }
            Loss::CrossEntropy => {
                let p = self.softmax(logits)?;
                let targets = self.local(&Local::Scale(1 << gradients), &[&targets])?;
                let d = self.local(&Local::Sub, &[&p, &targets])?;
                self.full(d)
            }
            Loss::BinaryCrossEntropy => {
                let p = self.sigmoid(logits)?;
                let targets = self.local(&Local::Scale(1 << gradients), &[&targets])?;
                self.local(&Local::Sub, &[&p, &targets])
            }
        }
    }

    /// `max(t, 0)` mod 2^out.
    fn narrow(&mut self, t: &E::Value, out: u32) -> Result<E::Value> {
        let bit = self.e.sign(&Sign { scheme: Scheme::Dpf }, t)?;
        Ok(self.e.select(&Select { lift: Kind::Narrow, out }, &bit, t)?)
    }

    /// Probabilities with the gradients' fraction, at the width that their product's cut leaves.
    fn softmax(&mut self, z: E::Value) -> Result<E::Value> {
        let (outputs, cut) = (self.e.form(&z).shape.row(), self.step.recipe.probability_cut());
        let most = self.row_maximum(&z)?;
        let (e, sum) = self.exponentials(&z, &most)?;
        let r = self.e.gate(&reciprocals(outputs), &[&sum])?;
        let r = self.repeated(&r, outputs)?;
        Ok(self.e.gate(&Mul { cut }, &[&e, &r])?)
    }
    /// `exp(z - max z)`, and of every row their sum less one.
    fn exponentials(&mut self, z: &E::Value, most: &E::Value) -> Result<(E::Value, E::Value)> {
        let outputs = self.e.form(z).shape.row();
        let exponentials = exponentials(&self.step.recipe.fractions);
        let most = self.repeated(most, outputs)?;
        let below = self.local(&Local::Sub, &[z, &most])?;
        let last = (1 << exponentials.width) - 1;
        let above = self.local(&Local::AddPublic(last), &[&below])?;
        let index = self.narrow(&above, exponentials.width)?;
        let e = self.e.gate(&exponentials, &[&index])?;
        let sums =
            twoply_primitives::local::Sums { starts: [0, outputs].into(), places: (0..outputs).collect() };
        let sum = self.local(&Local::Sums(sums), &[&e])?;
        let sum = self.local(&Local::AddPublic(-(1 << FINE)), &[&sum])?;
        Ok((e, sum))
    }

    /// The loss of a batch, added up over its rows: one element of n bits with the gradients' fraction; twice that of squared error.
    pub(super) fn loss_sum(&mut self, targets: E::Value) -> Result<E::Value> {
        let recipe = &self.step.recipe;
        let z = self.forward(recipe.loss.fraction(&recipe.fractions))?;
        self.e.layer("loss");
        let z = self.flat(z)?;
        let losses = match recipe.loss {
            Loss::SquaredError => self.squares(z, &targets)?,
            Loss::CrossEntropy => self.surprises(&z, &targets)?,
            Loss::BinaryCrossEntropy => {
                return Err(Error::data("training", "the loss of binary cross-entropy is not computed"));
            }
        };
        let losses = self.full(losses)?;
        self.local(&Local::SumBatch, &[&losses])
    }
    /// `sum (z - t)^2` of every row.
    fn squares(&mut self, z: E::Value, targets: &E::Value) -> Result<E::Value> {
        let (outputs, cut) = (self.e.form(&z).shape.row(), self.step.recipe.fractions.gradients);
        let z = self.full(z)?;
        let apart = self.local(&Local::Sub, &[&z, targets])?;
        let apart = self.local(&Local::Reshape(vec![1, 1, outputs]), &[&apart])?;
        let dot = Sum { terms: vec![Product::Dot { block: outputs }], add: 0, cut };
        Ok(self.e.gate(&dot, &[&apart, &apart])?)
    }
    /// `ln sum exp(z) - z_y` of every row: `max z - z_y` is linear, and the logarithm of a sum from 1 to the number of classes comes
    /// from a table.
    fn surprises(&mut self, z: &E::Value, targets: &E::Value) -> Result<E::Value> {
        let (outputs, f) = (self.e.form(z).shape.row(), self.step.recipe.fractions);
        let most = self.row_maximum(z)?;
        let (_, sum) = self.exponentials(z, &most)?;
        let logarithm = self.e.gate(&logarithms(outputs, f.gradients), &[&sum])?;
        let below = self.class_margin(z, targets, &most)?;
        let below = self.full(below)?;
        let below = self.at_fraction(below, f.logits, f.gradients)?;
        self.local(&Local::Sub, &[&logarithm, &below])
    }
    /// A wire of n bits with another fraction.
    fn at_fraction(&mut self, x: E::Value, from: u32, to: u32) -> Result<E::Value> {
        match to >= from {
            true => self.local(&Local::Scale(1 << (to - from)), &[&x]),
            false => {
                let cut = self.cut(&x, from - to)?;
                self.full(cut)
            }
        }
    }
    /// One value per sample, once for every output.
    fn repeated(&mut self, x: &E::Value, outputs: usize) -> Result<E::Value> {
        self.local(&Local::Gather(vec![0; outputs].into()), &[x])
    }

    /// Probabilities with the gradients' fraction, at n bits.
    fn sigmoid(&mut self, z: E::Value) -> Result<E::Value> {
        let f = &self.step.recipe.fractions;
        let table = sigmoids(f);
        let half = i64::from(CLAMP) << f.logits;
        let low = self.local(&Local::AddPublic(half), &[&z])?;
        let high = self.local(&Local::AddPublic(half + 1 - (1 << table.width)), &[&z])?;
        // each alone may leave 2^width; their difference, from 0 to the last index, does not
        let (low, high) = (self.narrow(&low, table.width)?, self.narrow(&high, table.width)?);
        let index = self.local(&Local::Sub, &[&low, &high])?;
        Ok(self.e.gate(&table, &[&index])?)
    }
}
