//! Activations, all from ReLU.

use super::{Run, Wire};
use crate::Result;
use crate::engine::Infer;
use twoply_primitives::Local;
use twoply_primitives::gate::{Relu, ReluFloor, Rounding};

impl<E: Infer> Run<'_, '_, E> {
    /// n bits with f fraction bits, whatever the operand has.
    pub(super) fn relu(&mut self, x: Wire<E::Value>, last: bool) -> Result<Option<Wire<E::Value>>> {
        let (f, n, scheme) = (self.options().fixed.f, self.options().fixed.n, self.scheme);
        match self.options().rounding {
            Rounding::Floor if x.frac > f => {
                self.emit(&ReluFloor { scheme, cut: x.frac - f }, &[&x.v], f, last)
            }
            _ => self.emit(&Relu { scheme, shift: x.frac - f, out: n }, &[&x.v], f, last),
        }
    }

    fn relu_of(&mut self, v: E::Value, frac: u32) -> Result<Wire<E::Value>> {
        let made = self.relu(Wire { v, frac }, false)?;
        made.ok_or_else(|| crate::Error::data("plan", "an activation went to the owner"))
    }

    /// `relu(x) + slope (x - relu(x))`, exactly, with 2f fraction bits: the next layer truncates it as it would a product.
    pub(super) fn leaky_relu(&mut self, x: Wire<E::Value>, slope: f64) -> Result<Wire<E::Value>> {
        let f = self.options().fixed.f;
        let one = (f as f64).exp2();
        let x = self.full(x)?;
        let positive = self.relu_of(x.v.clone(), x.frac)?.v;
        let negative = self.e.local(&Local::Sub, &[&x.v, &positive])?;
        let positive = self.e.local(&Local::Scale(one as i64), &[&positive])?;
        let negative = self.e.local(&Local::Scale((slope * one).round() as i64), &[&negative])?;
        Ok(Wire { v: self.e.local(&Local::Add, &[&positive, &negative])?, frac: 2 * f })
    }

    /// `low + relu(x - low) - relu(x - high)`; without a lower limit `x` less what is above the upper one.
    pub(super) fn clip(
        &mut self,
        x: Wire<E::Value>,
        low: Option<f64>,
        high: Option<f64>,
    ) -> Result<Wire<E::Value>> {
        let f = self.options().fixed.f;
        // limits are rounded to the fraction of results, so that what is cut is what is added again
        let ulps = |limit: f64, frac: u32| ((limit * (f as f64).exp2()).round() as i64) << (frac - f);
        let above = |run: &mut Self, limit: f64| {
            let v = run.e.local(&Local::AddPublic(-ulps(limit, x.frac)), &[&x.v])?;
            run.relu_of(v, x.frac)
        };
        let cut = high.map(|high| above(self, high)).transpose()?;
        let mut y = match low {
            Some(low) => {
                let v = above(self, low)?.v;
                Wire { v: self.e.local(&Local::AddPublic(ulps(low, f)), &[&v])?, frac: f }
            }
            None => self.full(x)?,
        };
        if let Some(cut) = cut {
            y.v = self.e.local(&Local::Sub, &[&y.v, &cut.v])?;
        }
        Ok(y)
    }
}
