//! Fraction bits of a plan: those of values, and of parameters where they have their own.
//!
//! Usually weights have f fraction bits as values have, and biases 2f, as products have. With a fraction f_w of their own, weights and
//! biases have f_w, as they have in training: a product has f + f_w, its bias enters as 2^f b, and a cut by f_w leaves f fraction
//! bits in m = n - f_w. Products of two values, and values times public factors, have 2f as ever.
//!
//! Contract (protocols, section 1): before a cut by c bits `|x| <= 2^(n-2) - 2^c` as an integer. One limit serves all nodes: that of
//! the finest product there is.

use crate::{Error, Result};
use twoply_primitives::{Fixed, Ring};

/// Ring and fraction bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// n, and f, fraction bits of values.
    pub fixed: Fixed,
    /// f_w, fraction bits of all parameters where they have their own.
    pub weights: Option<u32>,
}

impl From<Fixed> for Scale {
    /// Parameters have the fraction bits of values.
    fn from(fixed: Fixed) -> Self {
        Scale { fixed, weights: None }
    }
}

impl Scale {
    /// Checks that a product and its cut fit.
    ///
    /// # Errors
    /// [`Error::Gate`] where values alone do not, [`Error::Data`] where the parameters' bits are in the way.
    pub fn check(self) -> Result<()> {
        let Fixed { n, f } = self.fixed;
        Fixed::new(n, f)?;
        match self.weights {
            Some(w) if !(4..=n - 4 - f).contains(&w) => {
                let why = format!(
                    "{w} fraction bits of weights; choose 4 to {} beside {f} of values for n={n}",
                    n - 4 - f
                );
                Err(Error::data("plan", why))
            }
            _ => Ok(()),
        }
    }
    /// Fraction bits of weights.
    pub fn weights(self) -> u32 {
        self.weights.unwrap_or(self.fixed.f)
    }
    /// Fraction bits with which biases are encoded.
    pub fn biases(self) -> u32 {
        self.weights.unwrap_or(2 * self.fixed.f)
    }
    /// Fraction bits of the finest product before its cut.
    pub fn finest(self) -> u32 {
        self.fixed.f + self.fixed.f.max(self.weights())
    }
    /// m: bits of a wire after the cut of a product with weights.
    pub fn m(self) -> u32 {
        self.fixed.n - self.weights()
    }
    /// Largest magnitude, in real terms, of a value before any cut.
    pub fn limit(self) -> f64 {
        let Fixed { n, f } = self.fixed;
        (f64::from(n) - 2.0 - f64::from(self.finest())).exp2() - (-f64::from(f)).exp2()
    }
    /// Bits of a ring that values up to `need` take.
    pub fn bits(self, need: f64) -> i64 {
        need.log2().ceil() as i64 + i64::from(self.finest()) + 2
    }
    /// `round(v 2^frac)` in the ring. Values beyond [`Scale::limit`] and values that are not finite are refused.
    ///
    /// # Errors
    /// [`Error::Gate`] that names the place `at`.
    pub fn encode<R: Ring>(self, at: &str, v: f64, frac: u32) -> Result<R> {
        let (Fixed { n, f }, limit) = (self.fixed, self.limit());
        if !v.is_finite() || v.abs() > limit {
            return Err(twoply_primitives::Error::Range { at: at.into(), value: v, limit, n, f }.into());
        }
        Ok(R::from_i64((v * f64::from(frac).exp2()).round_ties_even() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_bits_of_their_own_all_is_as_in_fixed_point() {
        for fixed in [Fixed { n: 32, f: 12 }, Fixed { n: 64, f: 16 }] {
            let scale = Scale::from(fixed);
            scale.check().unwrap();
            assert_eq!((scale.limit(), scale.m()), (fixed.limit(), fixed.m()));
            assert_eq!((scale.weights(), scale.biases()), (fixed.f, 2 * fixed.f));
            assert_eq!(
                scale.encode::<u32>("x", -1.5, 12).unwrap(),
                fixed.encode::<u32>("x", -1.5, 12).unwrap()
            );
        }
    }

    #[test]
    fn the_finest_product_sets_the_limit() {
        let at = |f, w| Scale { fixed: Fixed { n: 32, f }, weights: Some(w) };
        assert_eq!((at(8, 16).limit(), at(8, 16).m()), (64.0 - 1.0 / 256.0, 16));
        // products of two values are as fine as ever
        assert_eq!((at(12, 8).limit(), at(12, 8).m()), (64.0 - 1.0 / 4096.0, 24));
        assert_eq!((at(8, 16).biases(), at(8, 16).bits(60.0)), (16, 32));
        assert!(at(8, 20).check().is_ok() && at(14, 14).check().is_ok());
        for (f, w) in [(8, 21), (8, 3), (15, 8)] {
            assert!(at(f, w).check().is_err(), "{f} {w}");
        }
        let why = at(8, 16).encode::<u32>("x", 64.0, 16).unwrap_err().to_string();
        assert!(why.contains("64"), "{why}");
    }
}
