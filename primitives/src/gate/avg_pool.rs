//! Average pooling: a local sum and one truncation (protocols, section 7).
//!
//! The sum over `c` elements is multiplied by `round(2^cut / c)` and cut by `cut` bits; where `c` is a power of two and
//! `cut = log2 c` that is exact. Relative error otherwise at most `c / 2^(cut+1)`.

use super::{Coins, Cost, Gate, Mode, Truncate, take};
use crate::{Backend, Cpu, Deal, Error, Form, Local, Mask, Masked, Result, Ring, Session, Share, Window};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Mean over a window of `[batch, channels, height, width]`; a window of the whole plane is the global average.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvgPool {
    /// The window.
    pub window: Window,
    /// Whether padding counts as zeros in the mean; else the mean is over real elements.
    pub count_include_pad: bool,
    /// Bits cut off after the sum was scaled.
    pub cut: u32,
    /// How the mean is rounded.
    pub mode: Mode,
}

impl AvgPool {
    /// Factors `round(2^cut / count)` of every element of the pooled image.
    fn factors(&self, x: &Form, pooled: &Form) -> Result<Arc<[i64]>> {
        let (&[_, c, h, w], &[.., oh, ow]) = (&x.shape.0[..], &pooled.shape.0[..]) else {
            return Err(Error::shape("avg-pool", format!("wants [batch, c, h, w], got {:?}", x.shape)));
        };
        let whole = self.window.kernel[0] * self.window.kernel[1];
        let count = |p: usize| match self.count_include_pad {
            true => whole,
            false => self.window.taps(h, w, p / ow, p % ow).count(),
        };
        let plane: Vec<i64> = (0..oh * ow)
            .map(|p| ((self.cut as f64).exp2() / count(p).max(1) as f64).round() as i64)
            .collect();
        Ok(std::iter::repeat_n(plane, c).flatten().collect())
    }
    /// The local maps before the truncation.
    fn maps(&self, x: &Form) -> Result<[Local; 2]> {
        let sum = Local::SumPool(self.window);
        let scale = Local::ScaleEach(self.factors(x, &sum.output(&[x])?)?);
        Ok([sum, scale])
    }
    fn truncate(&self) -> Truncate {
        Truncate { cut: self.cut, mode: self.mode }
    }
}

impl Gate for AvgPool {
    const NAME: &'static str = "avg-pool";

    fn output(&self, n: u32, x: &[&Form]) -> Result<Form> {
        let [x] = take(Self::NAME, x)?;
        self.truncate().output(n, &[&Local::SumPool(self.window).output(&[x])?])
    }

    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R> {
        let Ok([sum, scale]) = self.maps(forms[0]) else { return vec![] };
        let (dev, Ok(pooled)) = (Cpu::<R>::new(), sum.output(forms)) else { return vec![] };
        let z = dev.local(&sum, &pooled, forms, &[&x[0].to_vec()]);
        let z = dev.local(&scale, &pooled, &[&pooled], &[&z]);
        self.truncate().ideal(&[&pooled], &[&z], coins)
    }

    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>> {
        let [r] = take(Self::NAME, r)?;
        let [sum, scale] = self.maps(r.form())?;
        let dev = d.dev.clone();
        let r = Mask::local(&dev, &scale, &[&Mask::local(&dev, &sum, &[r])?])?;
        self.truncate().deal_as(Self::NAME, d, &r)
    }

    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>> {
        let [x] = take(Self::NAME, x)?;
        let [sum, scale] = self.maps(x.form())?;
        let dev = s.dev.clone();
        let x = Masked::local(&dev, &scale, &[&Masked::local(&dev, &sum, &[x])?])?;
        self.truncate().eval_as(Self::NAME, s, &x)
    }

    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost> {
        let [x] = take(Self::NAME, x)?;
        self.truncate().cost(n, &[&Local::SumPool(self.window).output(&[x])?])
    }
}
