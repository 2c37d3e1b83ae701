//! Z_2^32 and Z_2^64. All arithmetic wraps; there is no other arithmetic in this crate.

use crate::backend::{Kernels, Multiply};
use std::fmt::Debug;

/// Z_2^n for n = 32 or 64, by its representative in `0..2^n`.
///
/// A wire narrower than the ring (`bits < n`) is kept reduced: its upper bits are zero.
pub trait Ring:
    Kernels + Multiply + crate::prg::Plain + Clone + Default + Eq + Debug + Send + Sync + 'static
{
    /// n.
    const BITS: u32;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Reduces a 64-bit pattern mod 2^n; negative numbers as two's complement.
    fn from_u64(v: u64) -> Self;
    /// The representative in `0..2^n`.
    fn low(self) -> u64;
    /// The representative in `-2^(n-1)..2^(n-1)`.
    fn signed(self) -> i64;
    /// Sum mod 2^n.
    fn add(self, o: Self) -> Self;
    /// Difference mod 2^n.
    fn sub(self, o: Self) -> Self;
    /// Product mod 2^n.
    fn mul(self, o: Self) -> Self;
    /// `self * 2^by` mod 2^n; `by < n`.
    fn shl(self, by: u32) -> Self;
    /// `floor(self / 2^by)` of the unsigned representative; `by < n`.
    fn shr(self, by: u32) -> Self;
    /// Bitwise and.
    fn and(self, o: Self) -> Self;

    /// Reduces an integer mod 2^n.
    fn from_i64(v: i64) -> Self {
        Self::from_u64(v as u64)
    }
    /// `2^bits - 1`; `bits <= n`.
    fn ones(bits: u32) -> Self {
        Self::from_u64(ones(bits))
    }
}

/// `2^bits - 1` as a 64-bit pattern; `bits <= 64`.
pub const fn ones(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// The signed representative of `v mod 2^bits`, in `-2^(bits-1)..2^(bits-1)`; `1 <= bits <= 64`.
pub const fn sign_extend(v: u64, bits: u32) -> i64 {
    ((v << (64 - bits)) as i64) >> (64 - bits)
}

macro_rules! ring {
    ($t:ty, $signed:ty) => {
        impl Ring for $t {
            const BITS: u32 = <$t>::BITS;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            #[inline(always)]
            fn from_u64(v: u64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn low(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn signed(self) -> i64 {
                self as $signed as i64
            }
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                self.wrapping_add(o)
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                self.wrapping_sub(o)
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                self.wrapping_mul(o)
            }
            #[inline(always)]
            fn shl(self, by: u32) -> Self {
                self << by
            }
            #[inline(always)]
            fn shr(self, by: u32) -> Self {
                self >> by
            }
            #[inline(always)]
            fn and(self, o: Self) -> Self {
                self & o
            }
        }
    };
}
ring!(u32, i32);
ring!(u64, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_through_both_rings() {
        for v in [0, 1, -1, i32::MAX as i64, i32::MIN as i64] {
            assert_eq!(u32::from_i64(v).signed(), v);
            assert_eq!(u64::from_i64(v).signed(), v);
        }
        assert_eq!(u32::from_i64(1 << 40), 0);
        assert_eq!(sign_extend(0b1000, 4), -8);
        assert_eq!(sign_extend(u64::MAX, 64), -1);
        assert_eq!(ones(64), u64::MAX);
    }
}
