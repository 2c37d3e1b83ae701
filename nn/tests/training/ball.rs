//! Numbers with bounds of their errors.

use std::ops::{Add, Mul, Neg};

/// What exact arithmetic gives, and how far a computation can be from it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ball {
    pub value: f64,
    pub error: f64,
}

impl Add for Ball {
    type Output = Ball;
    fn add(self, y: Ball) -> Ball {
        Ball { value: self.value + y.value, error: self.error + y.error }
    }
}
impl Neg for Ball {
    type Output = Ball;
    fn neg(self) -> Ball {
        Ball { value: -self.value, ..self }
    }
}
impl Mul for Ball {
    type Output = Ball;
    fn mul(self, y: Ball) -> Ball {
        let error = self.value.abs() * y.error + y.value.abs() * self.error + self.error * y.error;
        Ball { value: self.value * y.value, error }
    }
}

impl Ball {
    /// With more error.
    pub fn plus(self, error: f64) -> Ball {
        Ball { error: self.error + error, ..self }
    }
    /// Largest magnitude.
    pub fn most(self) -> f64 {
        self.value.abs() + self.error
    }
    /// Whether it is at least 0, if that is sure.
    pub fn sign(self) -> Option<bool> {
        (self.value.abs() > self.error).then_some(self.value >= 0.0)
    }
}
