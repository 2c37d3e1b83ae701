//! `d t` for `t = X - R` once the masked bit `d^ = d xor rho` is open: the part that gates share.
//!
//! `z_b = [b=0] d^ X + s [rho]_b X - d^ [R]_b - s [rho R]_b`, `s = 1 - 2 d^`; to widen from m to more bits,
//! `+ 2^m mu (d^ [msb R]_b + s [rho msb R]_b)` with `mu = 1 - msb(X)` (protocols, section 6). That is right for `t >= 0`; where
//! `t` may be negative, `X' = (X + q) mod 2^m` stands for `X` in `mu`, and `X' - q` elsewhere (training, section 3).

use crate::backend::Term;
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Result, Ring};

const RHO: u32 = 1;
const RHO_R: u32 = 2;
const WRAP: u32 = 3;
const MSB: u32 = 4;
const RHO_MSB: u32 = 5;

/// What P1 stores to choose between a wire of `m` bits and zero, and how the shares are put together.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Width of X.
    pub m: u32,
    /// Width of the result.
    pub out: u32,
    /// Whether both parties hold `[R]_b` from their seeds; else it is stored.
    pub free: bool,
    /// Whether `[rho]_b` is stored with the rest, in `out` bits; else the bit brings it along.
    pub rho: bool,
    /// Whether what is chosen may be negative: `abs(t) <= q = 2^(m-2)` where it is widened.
    pub signed: bool,
}

impl Selection {
    /// By the sign of the wire itself, used once: `max(t, 0)`.
    pub fn by_own_sign(m: u32, out: u32, free: bool) -> Self {
        Selection { m, out, free, rho: true, signed: false }
    }
    fn extra(&self) -> u32 {
        self.out.saturating_sub(self.m)
    }
    /// q, if it is needed.
    fn offset(&self) -> Option<u64> {
        (self.signed && self.extra() > 0).then(|| 1 << (self.m - 2))
    }
    /// Widths of P1's words, in order.
    pub fn words(&self) -> Vec<u32> {
        let full = 1 + self.rho as usize + !self.free as usize;
        let extra = match self.extra() {
            0 => 0,
            _ => 2 + self.free as usize,
        };
        [vec![self.out; full], vec![self.extra(); extra]].concat()
    }

    /// Dealer: stores the words for `R` (with the parties' shares of it, if free) and the bit's mask.
    pub fn deal<B: Backend>(
        &self,
        t: &mut TileDeal<B>,
        r: &B::Buf,
        shares: Option<[&B::Buf; 2]>,
        rho: &B::Bits,
    ) {
        let (dev, one) = (t.dev().clone(), B::Ring::ONE);
        let gated = |x: &B::Buf| dev.sum(dev.len(x), &[Term::of(one, x).when(rho)], self.out);
        if self.rho {
            t.word(RHO, &dev.of_bits(rho), self.out);
        }
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

    /// Party: its share of rho, the first word, if it is stored.
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
        bit: &B::Bits,
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
        let moved = self.offset().map(|q| {
            let up = dev.shift(x, q, 0, self.m);
            let back = Term::one(minus(B::Ring::from_u64(q)));
            (dev.sum(dev.len(x), &[Term::of(one, &up), back], B::Ring::BITS), up)
        });
        let (x, up) = moved.as_ref().map_or((x, x), |(x, up)| (x, up));
        let rho_x = dev.mul(rho, x);
        let mut terms = chosen::<B>(key, bit, x, (&rho_x, Some(&rho_r)));
        terms.extend(own);
        if let Some(r) = r.or(stored.as_ref()) {
            terms.push(Term::of(minus(one), r).when(bit));
        }
        let Some((msb, rho_msb)) = &top else {
            return Ok(dev.sum(dev.len(x), &terms, self.out));
        };
        let scale = one.shl(self.m);
        if let (Some(_), Some(wrap)) = (r, &stored) {
            // a free share of R is short of the carry: - d (r - 2^m wrap)
            terms.push(Term::of(scale, wrap).when(bit));
        }
        let mu = dev.not(&dev.bit(up, self.m - 1));
        let both = dev.and(&mu, bit);
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
    bit: &'a B::Bits,
    x: &'a B::Buf,
    (rho_x, rho_r): (&'a B::Buf, Option<&'a B::Buf>),
) -> Vec<Term<'a, B>> {
    let one = B::Ring::ONE;
    let two = one.add(one);
    let mut terms = vec![Term::of(one, rho_x), Term::of(minus(two), rho_x).when(bit)];
    if let Some(rho_r) = rho_r {
        terms.extend([Term::of(minus(one), rho_r), Term::of(two, rho_r).when(bit)]);
    }
    if key.me().is_p0() {
        terms.push(Term::of(one, x).when(bit));
    }
    terms
}

/// This party's share of `d (X - R)` mod 2^bits, from its shares of rho, of `rho R` (none where R is zero) and of R.
pub fn choose<B: Backend>(
    key: &TileKey<B>,
    bit: &B::Bits,
    rho: &B::Buf,
    x: &B::Buf,
    (rho_r, r): (Option<&B::Buf>, &B::Buf),
    bits: u32,
) -> B::Buf {
    let rho_x = key.dev().mul(rho, x);
    let mut terms = chosen(key, bit, x, (&rho_x, rho_r));
    terms.push(Term::of(minus(B::Ring::ONE), r).when(bit));
    key.dev().sum(key.len(), &terms, bits)
}
