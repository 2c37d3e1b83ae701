//! Average pooling: a local sum and one truncation (protocols, section 7).
//!
//! The sum over `c` elements is multiplied by `round(2^cut / c)` and cut by `cut` bits; where `c` is a power of two and
//! `cut = log2 c` that is exact. Relative error otherwise at most `c / 2^(cut+1)`: whether that is little is for the plan to
//! say, which knows how large the means get, and which splits sums of large windows first.

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
    /// `round(2^cut / count)`, for a cut of at most 61 bits; halves go up.
    pub fn factor(cut: u32, count: usize) -> i64 {
        let count = count.max(1) as i64;
        ((1i64 << cut) + count / 2) / count
    }
    /// Elements in the mean of every element of the pooled image of one channel, from the extents `[h, w]` of the plane.
    ///
    /// # Errors
    /// If no window fits.
    pub fn counts(window: &Window, count_include_pad: bool, [h, w]: [usize; 2]) -> Result<Vec<usize>> {
        let [rows, columns] = window.inside(h, w)?;
        let whole = window.kernel[0] * window.kernel[1];
        let count = |y: usize, x: usize| if count_include_pad { whole } else { (y * x).max(1) };
        Ok(rows.iter().flat_map(|&y| columns.iter().map(move |&x| count(y, x))).collect())
    }
    /// Factors of every element of the pooled image.
    fn factors(&self, x: &Form) -> Result<Arc<[i64]>> {
        let &[_, c, h, w] = &x.shape.0[..] else {
            return Err(Error::shape("avg-pool", format!("wants [batch, c, h, w], got {:?}", x.shape)));
        };
        let counts = Self::counts(&self.window, self.count_include_pad, [h, w])?;
        let plane: Vec<i64> = counts.into_iter().map(|count| Self::factor(self.cut, count)).collect();
        Ok(std::iter::repeat_n(plane, c).flatten().collect())
    }
    /// The local maps before the truncation.
    fn maps(&self, x: &Form) -> Result<[Local; 2]> {
        let sum = Local::SumPool(self.window);
        let scale = Local::ScaleEach(self.factors(x)?);
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
