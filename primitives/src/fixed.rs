//! Fixed point: `x` stands for `x / 2^f`.

use crate::{Error, Result, Ring};
use serde::{Deserialize, Serialize};

/// Ring width and fraction bits of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fixed {
    /// n, 32 or 64.
    pub n: u32,
    /// f, fraction bits of a wire; products have 2f.
    pub f: u32,
}

impl Fixed {
    /// Checks that a product and its truncation fit: `n` is 32 or 64 and `4 <= f <= (n - 4) / 2`.
    pub fn new(n: u32, f: u32) -> Result<Self> {
        if n != 32 && n != 64 {
            return Err(Error::shape("fixed point", format!("ring of {n} bits; choose 32 or 64")));
        }
        if !(4..=(n - 4) / 2).contains(&f) {
            return Err(Error::shape(
                "fixed point",
                format!("{f} fraction bits; choose 4 to {} for n={n}", (n - 4) / 2),
            ));
        }
        Ok(Fixed { n, f })
    }
    /// m: width of a wire after a truncation by f.
    pub fn m(&self) -> u32 {
        self.n - self.f
    }
    /// Largest magnitude, in real terms, of a value before its truncation: `2^(n-2-2f)` less one step
    /// (protocols, section 1: |x| <= 2^(n-2) - 2^f as an integer with 2f fraction bits).
    pub fn limit(&self) -> f64 {
        ((self.n - 2) as f64 - 2.0 * self.f as f64).exp2() - (-(self.f as f64)).exp2()
    }
    /// `round(v * 2^frac)` in the ring. Values beyond [`Fixed::limit`] and values that are not finite are refused.
    pub fn encode<R: Ring>(&self, at: &str, v: f64, frac: u32) -> Result<R> {
        if !v.is_finite() || v.abs() > self.limit() {
            return Err(Error::Range { at: at.into(), value: v, limit: self.limit(), n: self.n, f: self.f });
        }
        Ok(R::from_i64((v * (frac as f64).exp2()).round_ties_even() as i64))
    }
    /// The real number a ring element with `frac` fraction bits stands for.
    pub fn decode<R: Ring>(&self, v: R, frac: u32) -> f64 {
        v.signed() as f64 / (frac as f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_of_section_1() {
        let fx = Fixed::new(32, 12).unwrap();
        assert_eq!(fx.m(), 20);
        assert!(fx.limit() < 64.0 && fx.limit() > 63.99);
        assert_eq!(fx.encode::<u32>("x", -1.5, 12).unwrap().signed(), -6144);
        assert_eq!(fx.decode(fx.encode::<u32>("x", 63.5, 24).unwrap(), 24), 63.5);
        for bad in [64.0, -64.0, f64::NAN, f64::INFINITY] {
            assert!(fx.encode::<u32>("x", bad, 12).is_err());
        }
        assert!(Fixed::new(32, 15).is_err() && Fixed::new(33, 12).is_err() && Fixed::new(64, 16).is_ok());
    }
}
