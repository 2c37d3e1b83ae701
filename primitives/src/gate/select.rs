//! `max(t, 0)` for `t = X - R` once its masked sign `d^ = [t >= 0] xor rho` is open.
//!
//! `z_b = [b=0] d^ X + s [rho]_b X - d^ [R]_b - s [rho R]_b`, `s = 1 - 2 d^`; to widen from m to more bits,
//! `+ 2^m mu (d^ [msb R]_b + s [rho msb R]_b)` with `mu = 1 - msb(X)` (protocols, section 6).

use crate::bits::Bits;
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Result, Ring};

const RHO: u32 = 1;
const RHO_R: u32 = 2;
const WRAP: u32 = 3;
const MSB: u32 = 4;
const RHO_MSB: u32 = 5;

/// From a wire of `m` bits to one of `out >= m` bits.
#[derive(Clone, Copy, Debug)]
pub struct Select {
    /// Width of X.
    pub m: u32,
    /// Width of the result.
    pub out: u32,
    /// Whether both parties hold `[R]_b` from their seeds; else it is stored.
    pub free: bool,
}

impl Select {
    fn extra(&self) -> u32 {
        self.out - self.m
    }
    /// Widths of P1's words, in order.
    pub fn words(&self) -> Vec<u32> {
        let mut w = vec![self.out, self.out];
        if !self.free {
            w.push(self.out);
        }
        if self.extra() > 0 {
            w.extend(std::iter::repeat_n(self.extra(), if self.free { 3 } else { 2 }));
        }
        w
    }

    /// Dealer: stores the words for `R` (with the parties' shares of it, if free) and the sign's mask.
    pub fn deal<B: Backend>(
        &self,
        t: &mut TileDeal<B>,
        r: &B::Buf,
        shares: Option<[&B::Buf; 2]>,
        rho: &Bits,
    ) {
        let dev = t.dev().clone();
        let rho = dev.of_bits(rho);
        t.word(RHO, &rho, self.out);
        t.word(RHO_R, &dev.mul(&rho, r), self.out);
        match shares {
            // [R]_b mod 2^m is free; as an integer the sum of both exceeds R by 2^m times this carry
            Some([r0, r1]) if self.extra() > 0 => {
                let sum = dev.lin(&[(B::Ring::ONE, r0), (B::Ring::ONE, r1)], B::Ring::BITS);
                t.word(WRAP, &dev.shift(&sum, 0, self.m, self.extra()), self.extra());
            }
            Some(_) => {}
            None => t.word(WRAP, r, self.out),
        }
        if self.extra() > 0 {
            let msb = dev.of_bits(&dev.bit(r, self.m - 1));
            t.word(MSB, &msb, self.extra());
            t.word(RHO_MSB, &dev.mul(&rho, &msb), self.extra());
        }
    }

    /// Party: its share of rho, the first word.
    pub fn rho<B: Backend>(&self, key: &mut TileKey<B>) -> Result<B::Buf> {
        key.word(RHO, self.out)
    }

    /// Party: its share, without the result's mask. `r` is its share of R, if free.
    pub fn eval<B: Backend>(
        &self,
        key: &mut TileKey<B>,
        rho: &B::Buf,
        x: &B::Buf,
        r: Option<&B::Buf>,
        sign: &Bits,
    ) -> Result<B::Buf> {
        let (dev, one, n) = (key.dev().clone(), B::Ring::ONE, B::Ring::BITS);
        let rho_r = key.word(RHO_R, self.out)?;
        let scale = if self.extra() > 0 { one.shl(self.m) } else { B::Ring::ZERO };
        let share = match r {
            Some(r) if self.extra() > 0 => {
                dev.lin(&[(one, r), (B::Ring::ZERO.sub(scale), &key.word(WRAP, self.extra())?)], n)
            }
            Some(r) => r.clone(),
            None => key.word(WRAP, self.out)?,
        };
        let z = choose(key, sign, rho, x, (Some(&rho_r), &share), self.out);
        if self.extra() == 0 {
            return Ok(z);
        }
        let (msb, rho_msb) = (key.word(MSB, self.extra())?, key.word(RHO_MSB, self.extra())?);
        let d = dev.of_bits(sign);
        let mu = dev.of_bits(&dev.bit(x, self.m - 1).not());
        let top = dev.lin(&[(one, &dev.mul(&d, &msb)), (one, &flip(&dev, &d, &rho_msb))], n);
        Ok(dev.lin(&[(one, &z), (scale, &dev.mul(&mu, &top))], self.out))
    }
}

/// `(1 - 2 d) v`.
fn flip<B: Backend>(dev: &B, d: &B::Buf, v: &B::Buf) -> B::Buf {
    let minus_two = B::Ring::ZERO.sub(B::Ring::ONE).sub(B::Ring::ONE);
    dev.lin(&[(B::Ring::ONE, v), (minus_two, &dev.mul(d, v))], B::Ring::BITS)
}

/// This party's share of `d (X - R)` mod 2^bits, from its shares of rho, of `rho R` (none where R is zero) and of R.
pub fn choose<B: Backend>(
    key: &TileKey<B>,
    sign: &Bits,
    rho: &B::Buf,
    x: &B::Buf,
    (rho_r, r): (Option<&B::Buf>, &B::Buf),
    bits: u32,
) -> B::Buf {
    let (dev, one) = (key.dev(), B::Ring::ONE);
    let minus = B::Ring::ZERO.sub(one);
    let d = dev.of_bits(sign);
    let rho_x = dev.mul(rho, x);
    let inner = match rho_r {
        Some(rho_r) => dev.lin(&[(one, &rho_x), (minus, rho_r)], B::Ring::BITS),
        None => rho_x,
    };
    let public = if key.me().is_p0() { one } else { B::Ring::ZERO };
    let (dx, dr) = (dev.mul(&d, x), dev.mul(&d, r));
    dev.lin(&[(one, &flip(dev, &d, &inner)), (public, &dx), (minus, &dr)], bits)
}
