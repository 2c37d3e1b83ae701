//! `max(t, 0)` for `t = X - R` once its masked sign `d^ = [t >= 0] xor rho` is open.
//!
//! `z_b = [b=0] d^ X + s [rho]_b X - d^ [R]_b - s [rho R]_b`, `s = 1 - 2 d^`; to widen from m to more bits,
//! `+ 2^m mu (d^ [msb R]_b + s [rho msb R]_b)` with `mu = 1 - msb(X)` (protocols, section 6).

use crate::backend::Term;
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
        rho: &B::Bits,
    ) {
        let (dev, one) = (t.dev().clone(), B::Ring::ONE);
        let gated = |x: &B::Buf| dev.sum(dev.len(x), &[Term::of(one, x).when(rho)], self.out);
        t.word(RHO, &dev.of_bits(rho), self.out);
        t.word(RHO_R, &gated(r), self.out);
        match shares {
            // [R]_b mod 2^m is free; as an integer the sum of both exceeds R by 2^m times this carry
            Some([r0, r1]) if self.extra() > 0 => {
                let sum = dev.lin(&[(one, r0), (one, r1)], B::Ring::BITS);
                t.word(WRAP, &dev.shift(&sum, 0, self.m, self.extra()), self.extra());
            }
            Some(_) => {}
            None => t.word(WRAP, r, self.out),
        }
        if self.extra() > 0 {
            let msb = dev.bit(r, self.m - 1);
            t.word(MSB, &dev.of_bits(&msb), self.extra());
            t.word(RHO_MSB, &dev.of_bits(&dev.and(rho, &msb)), self.extra());
        }
    }

    /// Party: its share of rho, the first word.
    pub fn rho<B: Backend>(&self, key: &mut TileKey<B>) -> Result<B::Buf> {
        key.word(RHO, self.out)
    }

    /// Party: its share, with its `own` terms (the result's mask). `r` is its share of R, if free.
    pub fn eval<B: Backend>(
        &self,
        key: &mut TileKey<B>,
        rho: &B::Buf,
        x: &B::Buf,
        r: Option<&B::Buf>,
        sign: &B::Bits,
        own: Vec<Term<B>>,
    ) -> Result<B::Buf> {
        let (dev, one) = (key.dev().clone(), B::Ring::ONE);
        let rho_r = key.word(RHO_R, self.out)?;
        let stored = match (r, self.extra()) {
            (None, _) => Some(key.word(WRAP, self.out)?),
            (Some(_), 0) => None,
            (Some(_), extra) => Some(key.word(WRAP, extra)?),
        };
        let top = match self.extra() {
            0 => None,
            extra => Some((key.word(MSB, extra)?, key.word(RHO_MSB, extra)?)),
        };
        let rho_x = dev.mul(rho, x);
        let mut terms = chosen::<B>(key, sign, x, (&rho_x, Some(&rho_r)));
        terms.extend(own);
        if let Some(r) = r.or(stored.as_ref()) {
            terms.push(Term::of(minus(one), r).when(sign));
        }
        let Some((msb, rho_msb)) = &top else {
            return Ok(dev.sum(dev.len(x), &terms, self.out));
        };
        let scale = one.shl(self.m);
        if let (Some(_), Some(wrap)) = (r, &stored) {
            // a free share of R is short of the carry: - d (r - 2^m wrap)
            terms.push(Term::of(scale, wrap).when(sign));
        }
        let mu = dev.not(&dev.bit(x, self.m - 1));
        let both = dev.and(&mu, sign);
        terms.push(Term::of(scale, rho_msb).when(&mu));
        terms.push(Term::of(minus(scale.add(scale)), rho_msb).when(&both));
        terms.push(Term::of(scale, msb).when(&both));
        Ok(dev.sum(dev.len(x), &terms, self.out))
    }
}

fn minus<R: Ring>(v: R) -> R {
    R::ZERO.sub(v)
}

/// Terms of this party's share of `d X - d R` but for its own `- d^ [R]_b`: with `s = 1 - 2 d^`,
/// `[b=0] d^ X + s ([rho]_b X - [rho R]_b)`. No `rho R` where R is zero.
fn chosen<'a, B: Backend>(
    key: &TileKey<B>,
    sign: &'a B::Bits,
    x: &'a B::Buf,
    (rho_x, rho_r): (&'a B::Buf, Option<&'a B::Buf>),
) -> Vec<Term<'a, B>> {
    let one = B::Ring::ONE;
    let two = one.add(one);
    let mut terms = vec![Term::of(one, rho_x), Term::of(minus(two), rho_x).when(sign)];
    if let Some(rho_r) = rho_r {
        terms.extend([Term::of(minus(one), rho_r), Term::of(two, rho_r).when(sign)]);
    }
    if key.me().is_p0() {
        terms.push(Term::of(one, x).when(sign));
    }
    terms
}

/// This party's share of `d (X - R)` mod 2^bits, from its shares of rho, of `rho R` (none where R is zero) and of R.
pub fn choose<B: Backend>(
    key: &TileKey<B>,
    sign: &B::Bits,
    rho: &B::Buf,
    x: &B::Buf,
    (rho_r, r): (Option<&B::Buf>, &B::Buf),
    bits: u32,
) -> B::Buf {
    let rho_x = key.dev().mul(rho, x);
    let mut terms = chosen(key, sign, x, (&rho_x, rho_r));
    terms.push(Term::of(minus(B::Ring::ONE), r).when(sign));
    key.dev().sum(key.len(), &terms, bits)
}
