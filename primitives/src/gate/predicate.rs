//! Masked predicates of a public `x^` whose mask only the dealer knows: the sign of `x`, and the borrow of its low bits.
//!
//! With `t = X - R` on m bits: `[t >= 0] = msb(X) xor msb(R) xor [R_low <= X_low]`, one comparison of `m - 1` bits that is
//! always in range (protocols, section 6). `rho = e_0 xor e_1 xor msb(R)` masks it for free. The borrow of the lowest f
//! bits is `[x^_low < r_low]`, masked by `e'_0 xor e'_1`. Both are opened together, one bit each.

use super::Cost;
use crate::bits::Bits;
use crate::compare::{AnyComparison, Comparison, Scheme, Widths};
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, BitShare, Cpu, Result, Session};
use rayon::prelude::*;
use std::ops::Range;

const SIGN: u32 = 0x100;
const BORROW: u32 = 0x101;

/// Which predicates, and how they are compared.
#[derive(Clone, Debug)]
pub struct Predicate {
    comparison: AnyComparison,
    /// Width m of the value whose sign is wanted.
    sign: Option<u32>,
    borrow: bool,
}

/// Masks of the predicates, as the dealer knows them.
pub struct Masks {
    /// `rho`, of the sign.
    pub sign: Bits,
    /// Mask of the borrow.
    pub borrow: Bits,
}

/// A party's tile after the predicates are open.
pub struct Decided<B: Backend> {
    /// `[t >= 0] xor rho`.
    pub sign: Bits,
    /// `[x^_low < r_low]`, masked.
    pub borrow: Bits,
    /// The rest of the tile's key.
    pub key: TileKey<B>,
    /// Elements of the run that the tile covers.
    pub range: Range<usize>,
}

/// Runs `f` on every tile, in parallel, and puts the results together.
pub fn each<B: Backend, T: Send>(
    decided: Vec<Decided<B>>,
    f: impl Fn(Decided<B>) -> Result<T> + Sync + Send,
) -> Result<Vec<T>> {
    decided.into_par_iter().map(f).collect()
}

impl Predicate {
    /// The sign of a value of `m` bits.
    pub fn sign(scheme: Scheme, m: u32) -> Self {
        Predicate { comparison: scheme.at(Widths { w: m - 1, low: None }), sign: Some(m), borrow: false }
    }
    /// The borrow of the lowest `f` bits.
    pub fn borrow(scheme: Scheme, f: u32) -> Self {
        Predicate { comparison: scheme.at(Widths { w: f, low: None }), sign: None, borrow: true }
    }
    /// Both, of a value of `m` bits.
    pub fn both(scheme: Scheme, m: u32, f: u32) -> Self {
        Predicate { comparison: scheme.at(Widths { w: m - 1, low: Some(f) }), sign: Some(m), borrow: true }
    }
    /// Widths of the fields that are stored, per party; `words` are the gate's own, which P1 keeps behind them.
    pub fn fields(&self, words: &[u32]) -> [Vec<u32>; 2] {
        let mut fields = Comparison::<Cpu<u32>>::fields(&self.comparison);
        fields[1].extend_from_slice(words);
        fields
    }
    /// Adds the messages and comparisons for `len` elements.
    pub fn bill(&self, cost: &mut Cost, len: usize) {
        let own = Comparison::<Cpu<u32>>::message_bits(&self.comparison);
        let opened = self.sign.is_some() as usize + self.borrow as usize;
        [own, opened].into_iter().filter(|&bits| bits > 0).for_each(|bits| cost.message(len * bits, 1));
        cost.comparisons += len as u64;
    }

    /// Dealer: stores the comparison with `r`, returns the masks of the predicates.
    pub fn deal<B: Backend>(&self, t: &mut TileDeal<B>, r: &B::Buf) -> Masks {
        self.comparison.deal(t, r);
        let free = |field| {
            let [e0, e1] = t.free_bits(field);
            e0.xor(&e1)
        };
        let sign = self.sign.map(|m| free(SIGN).xor(&t.dev().bit(r, m - 1)));
        let borrow = self.borrow.then(|| free(BORROW));
        Masks { sign: sign.unwrap_or_default(), borrow: borrow.unwrap_or_default() }
    }

    /// Party: opens the masked predicates of `x` (one wire of the run), tile by tile.
    pub fn eval<B: Backend>(
        &self,
        s: &mut Session<B>,
        (name, part, fields): (&'static str, u32, &[Vec<u32>; 2]),
        per_image: usize,
        x: &B::Buf,
    ) -> Result<Vec<Decided<B>>> {
        let dev = s.dev.clone();
        let begun = s.tiles(name, part, fields, per_image, |key, range| {
            let (message, pending) = self.comparison.begin(key, &dev.slice(x, range.start, range.len()))?;
            Ok((message, pending, range))
        })?;
        s.count_comparisons(dev.len(x));
        let mut message = Bits::default();
        begun.iter().for_each(|(m, ..)| message.append(m));
        let opened = if message.is_empty() { message } else { s.open_bits(BitShare(message))? };
        let mut at = 0;
        let mut work = Vec::with_capacity(begun.len());
        for (m, pending, range) in begun {
            work.push((opened.slice(at, m.len()), pending, range));
            at += m.len();
        }
        let finish = |(opened, pending, range): (Bits, _, Range<usize>)| {
            let (outcome, key) = self.comparison.finish(pending, &opened)?;
            let tile = dev.slice(x, range.start, range.len());
            let (sign, borrow) = self.mask(&dev, &key, &tile, outcome.full, outcome.low);
            Ok(Decided { sign, borrow, key, range })
        };
        let mut decided = work.into_par_iter().map(finish).collect::<Result<Vec<_>>>()?;
        self.open(s, &mut decided)?;
        Ok(decided)
    }

    /// This party's shares of the masked predicates, from its shares of `[r <= x^]` in full and on the low bits.
    fn mask<B: Backend>(
        &self,
        dev: &B,
        key: &TileKey<B>,
        x: &B::Buf,
        full: Bits,
        low: Option<Bits>,
    ) -> (Bits, Bits) {
        let p0 = key.me().is_p0();
        let carry = |b: &Bits| {
            let share = b.xor(&key.own_bits(BORROW));
            if p0 { share.not() } else { share }
        };
        let borrow = match (&low, self.borrow) {
            (Some(low), _) => carry(low),
            (None, true) => carry(&full),
            (None, false) => Bits::default(),
        };
        let sign = self.sign.map(|m| {
            let share = full.xor(&key.own_bits(SIGN));
            if p0 { share.xor(&dev.bit(x, m - 1)) } else { share }
        });
        (sign.unwrap_or_default(), borrow)
    }

    fn open<B: Backend>(&self, s: &mut Session<B>, decided: &mut [Decided<B>]) -> Result<()> {
        let mut message = Bits::default();
        for d in decided.iter() {
            message.append(&d.sign);
            message.append(&d.borrow);
        }
        let opened = s.open_bits(BitShare(message))?;
        let mut at = 0;
        for d in decided {
            d.sign = opened.slice(at, d.sign.len());
            at += d.sign.len();
            d.borrow = opened.slice(at, d.borrow.len());
            at += d.borrow.len();
        }
        Ok(())
    }
}
