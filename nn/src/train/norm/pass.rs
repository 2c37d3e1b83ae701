//! Batch normalisation forward and back, `(,)` being inner products per channel:
//!
//! forward `xc = x - mean`, `V = (xc, xc)`, `1 / sigma` from V, `a = gamma / sigma`, `y = xc a + beta`; back
//! `dbeta = sum g`, `dgamma = (g, xc) / sigma`, `dx = a (g - mean g) - xc b` with `b = a dgamma / (sigma N)`.

use super::Norm;
use crate::engine::Learn;
use crate::train::Run;
use crate::{Error, Result};
use twoply_primitives::backend::Product;
use twoply_primitives::gate::{Conv2d, Sum};
use twoply_primitives::{Local, Window};

/// What the way back needs, all n bits wide.
pub(in crate::train) struct Kept<V> {
    /// `x - mean` with all its bits, `[batch, c, 1, positions]`.
    centred: V,
    /// The same at the activations' fraction, for inner products.
    coarse: V,
    /// `1 / sigma`, `[c]`.
    inverse: V,
    /// `2^whole / (N sigma)`.
    share: V,
    /// `gamma / sigma`, of fewer bits than forward.
    factor: V,
}

/// A channel's number times all of its places.
const EACH: Window = Window { kernel: [1, 1], stride: [1, 1], pad: [0; 4], dilation: [1, 1] };

/// A number per channel times another, less `cut` bits.
fn product(cut: u32) -> Sum {
    Sum { terms: vec![Product::Elementwise], add: 0, cut }
}
/// An open wire less `cut` bits, in one message with products.
fn less(cut: u32) -> Sum {
    Sum { terms: vec![], add: 1, cut }
}

impl<E: Learn> Run<'_, E> {
    fn numbers(&self, i: usize) -> Result<Norm> {
        let missing = || Error::data("training", "a normalisation without its numbers");
        self.step.norms[i].clone().ok_or_else(missing)
    }

    /// Forward; also leaves mean and V for the accumulators.
    pub(in crate::train) fn norm(
        &mut self,
        i: usize,
        x: E::Value,
        [gamma, beta]: [usize; 2],
    ) -> Result<(Kept<E::Value>, E::Value)> {
        let norm = self.numbers(i)?;
        let x = self.full(x)?;
        let x = self.shaped(x, &[norm.channels, 1, norm.positions])?;
        let fine = self.local(&Local::Scale(1 << norm.fine), &[&x])?;
        let sum = self.per_channel(&fine)?;
        let mut mean = self.cut(&sum, norm.whole)?;
        if let Some((factor, by)) = norm.rest {
            let scaled = self.local(&Local::Scale(factor), &[&mean])?;
            mean = self.cut(&scaled, by)?;
        }
        let centred = self.around(&fine, &mean)?;
        let plain = self.cut(&mean, norm.fine)?;
        let coarse = self.around(&x, &plain)?;
        let squares = Sum { terms: vec![Product::Dot { block: norm.block }], add: 0, cut: norm.cut };
        let blocks = self.e.gate(&squares, &[&coarse, &coarse])?;
        let blocks = self.full(blocks)?;
        let v = self.local(&Local::SumBatch, &[&blocks])?;
        self.statistics.extend([mean, v.clone()]);
        let v = self.local(&Local::AddPublic(norm.epsilon), &[&v])?;
        let inverse = self.e.gate(&norm.inverse, &[&v])?;
        let [each, factor, share] = self.factors(&norm, &inverse, gamma)?;
        let each = self.kernels(&each)?;
        let cut = self.step.recipe.fractions.weights;
        let gate = Conv2d { window: EACH, groups: norm.channels, cut };
        let y = self.product(&gate, &centred, &each, Some(beta))?;
        Ok((Kept { centred, coarse, inverse, share, factor }, y))
    }

    /// `gamma / sigma` for the way forward and for the way back, and `1 / sigma` over the part of N that is no power of two.
    fn factors(&mut self, norm: &Norm, inverse: &E::Value, gamma: usize) -> Result<[E::Value; 3]> {
        let back = norm.inverse_bits + self.step.recipe.fractions.weights - norm.factor_bits;
        let [forward, back] = [norm.inverse_bits + norm.fine, back]
            .map(|cut| (product(cut), vec![inverse, self.weight(gamma)]));
        let Some((rest, by)) = norm.rest else {
            let [forward, back] = self.settled([forward, back])?;
            return Ok([forward, back, inverse.clone()]);
        };
        let scaled = self.local(&Local::Scale(rest), &[inverse])?;
        self.settled([forward, back, (less(by), vec![&scaled])])
    }

    /// Back: `g` at the gradients' fraction.
    pub(in crate::train) fn norm_back(
        &mut self,
        i: usize,
        g: E::Value,
        kept: &Kept<E::Value>,
        [gamma, beta]: [usize; 2],
    ) -> Result<()> {
        let (norm, f) = (self.numbers(i)?, self.step.recipe.fractions);
        let g = self.full(g)?;
        let g = self.shaped(g, &[norm.channels, 1, norm.positions])?;
        let total = self.per_channel(&g)?;
        let more = Local::Scale(1 << norm.gradient_fine);
        let (fine, sum) = (self.local(&more, &[&g])?, self.local(&more, &[&total])?);
        let dots = Sum { terms: vec![Product::Dot { block: norm.block }], add: 0, cut: f.activations };
        let [blocks, mean] =
            self.settled([(dots, vec![&g, &kept.coarse]), (less(norm.whole), vec![&sum])])?;
        let dots = self.local(&Local::SumBatch, &[&blocks])?;
        let change = (product(norm.inverse_bits), vec![&dots, &kept.inverse]);
        let (change, mean) = match norm.rest {
            None => (self.settled([change])?, mean),
            Some((rest, by)) => {
                let scaled = self.local(&Local::Scale(rest), &[&mean])?;
                let [change, mean] = self.settled([change, (less(by), vec![&scaled])])?;
                ([change], mean)
            }
        };
        let [change] = change;
        for (p, sum) in [(gamma, &change), (beta, &total)] {
            if self.step.trained[p] {
                self.back.gathered[p].sums.push(sum.clone());
            }
        }
        if self.wants(i, 0).is_none() {
            return self.leave(i, None, &[gamma, beta]);
        }
        let bits = norm.share_bits(&f);
        let cut = f.gradients + norm.inverse_bits + norm.whole - bits;
        let [share] = self.settled([(product(cut), vec![&change, &kept.share])])?;
        let [share] = self.settled([(product(norm.factor_bits), vec![&share, &kept.factor])])?;
        let minus = self.local(&Local::Scale(-1), &[&share])?;
        let centred = self.around(&fine, &mean)?;
        let (factor, minus) = (self.kernels(&kept.factor)?, self.kernels(&minus)?);
        let each = Product::Conv { window: EACH, groups: norm.channels };
        let gate = Sum { terms: vec![each; 2], add: 0, cut: norm.factor_bits + norm.gradient_fine };
        self.leave(i, Some((gate, vec![&centred, &factor, &kept.centred, &minus])), &[gamma, beta])
    }

    /// `x [batch, c, 1, positions]` less a number per channel.
    fn around(&mut self, x: &E::Value, mean: &E::Value) -> Result<E::Value> {
        let positions = self.e.form(x).shape.0[3];
        let minus = self.local(&Local::Scale(-1), &[mean])?;
        let row = self.local(&Local::Gather(vec![0; positions].into()), &[&minus])?;
        self.local(&Local::AddRow, &[x, &row])
    }
    /// A number per channel as the kernels of a convolution that multiplies each channel with its own.
    fn kernels(&mut self, x: &E::Value) -> Result<E::Value> {
        self.local(&Local::Reshape(vec![1; 3]), &[x])
    }
    /// Results of gates that cut, in one message, and lifted in another.
    fn settled<const K: usize>(&mut self, gates: [(Sum, Vec<&E::Value>); K]) -> Result<[E::Value; K]> {
        let cut = self.e.together(&gates)?;
        let lifted = self.lifted(cut)?;
        lifted.try_into().map_err(|_| Error::data("training", "not a result for every gate"))
    }
}
