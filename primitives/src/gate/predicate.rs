//! Masked predicates of a public `x^` whose mask only the dealer knows: the sign of `x`, and the borrow of its low bits.
//!
//! With `t = X - R` on m bits: `[t >= 0] = msb(X) xor msb(R) xor [R_low <= X_low]`, one comparison of `m - 1` bits that is
//! always in range (protocols, section 6). `rho = e_0 xor e_1 xor msb(R)` masks it for free. The borrow of the lowest f
//! bits is `[x^_low < r_low]`, masked by `e'_0 xor e'_1`. Both are opened together, one bit each.

use super::Cost;
use crate::bits::Bits;
use crate::compare::{AnyComparison, Comparison, Outcome, Scheme, Widths};
use crate::deal::TileDeal;
use crate::session::{Round, Stored, Talk, TileKey, in_waves};
use crate::{Backend, BitShare, Cpu, Result, Session};
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

/// A tile whose masked predicates are computed and not open yet.
struct Undecided<B: Backend> {
    /// The sign's shares, then the borrow's.
    mine: BitShare,
    key: TileKey<B>,
    range: Range<usize>,
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
        [own, self.opened()]
            .into_iter()
            .filter(|&bits| bits > 0)
            .for_each(|bits| cost.message(len * bits, 1));
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

    /// Party: opens the masked predicates of `x` (one wire of the run), does `work` on every tile and hands what it gave
    /// to `after`, in order. Tiles go in waves through each step, and what a step has to say leaves tile by tile.
    pub fn eval<'a, B: Backend, T: Send>(
        &self,
        s: &mut Session<'a, B>,
        at: &Stored,
        x: &B::Buf,
        work: impl Fn(Decided<B>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let (dev, len) = (s.dev.clone(), s.dev.len(x));
        let tile = |range: &Range<usize>| dev.slice(x, range.start, range.len());
        s.talk.now.comparisons += len as u64;
        let own = Comparison::<B>::message_bits(&self.comparison);
        let mut begun = Vec::new();
        if own == 0 {
            let mut out = s.talk.round(len * self.opened());
            let decide = |key, range: Range<usize>| {
                let x = tile(&range);
                let (_, pending) = self.comparison.begin(key, &x)?;
                self.mask(&dev, self.comparison.finish(pending, &Bits::default())?, &x, range)
            };
            s.tiles(at, decide, |talk, u: Undecided<B>| {
                talk.say_bits(&mut out, &u.mine)?;
                begun.push(u);
                Ok(())
            })?;
            return self.decided(&mut s.talk, out, begun, work, after);
        }
        let mut first = s.talk.round(len * own);
        let begin = |key, range: Range<usize>| {
            let (message, pending) = self.comparison.begin(key, &tile(&range))?;
            Ok((BitShare(message), pending, range))
        };
        let mut merging = Vec::new();
        s.tiles(at, begin, |talk, m: (BitShare, _, _)| {
            talk.say_bits(&mut first, &m.0)?;
            merging.push(m);
            Ok(())
        })?;
        let mut out = s.talk.round(len * self.opened());
        in_waves(
            &mut s.talk,
            merging,
            |talk, (mine, ..)| talk.hear_bits(&mut first, mine),
            |(_, pending, range), opened| {
                self.mask(&dev, self.comparison.finish(pending, &opened)?, &tile(&range), range)
            },
            |talk, u| {
                talk.say_bits(&mut out, &u.mine)?;
                begun.push(u);
                Ok(())
            },
        )?;
        self.decided(&mut s.talk, out, begun, work, after)
    }

    /// Predicates opened per element.
    fn opened(&self) -> usize {
        self.sign.is_some() as usize + self.borrow as usize
    }

    /// The last step: the predicates are opened, the tiles' work is done.
    fn decided<'a, B: Backend, T: Send>(
        &self,
        talk: &mut Talk<'a>,
        mut round: Round,
        begun: Vec<Undecided<B>>,
        work: impl Fn(Decided<B>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let decide = |Undecided { key, range, .. }: Undecided<B>, opened: Bits| {
            let n = range.len();
            let sign = if self.sign.is_some() { opened.slice(0, n) } else { Bits::default() };
            let borrow = if self.borrow { opened.slice(opened.len() - n, n) } else { Bits::default() };
            work(Decided { sign, borrow, key, range })
        };
        in_waves(talk, begun, |talk, u| talk.hear_bits(&mut round, &u.mine), decide, after)
    }

    /// This party's shares of the masked predicates, from its shares of `[r <= x^]` in full and on the low bits.
    fn mask<B: Backend>(
        &self,
        dev: &B,
        (Outcome { full, low }, key): (Outcome, TileKey<B>),
        x: &B::Buf,
        range: Range<usize>,
    ) -> Result<Undecided<B>> {
        let p0 = key.me().is_p0();
        let mut mine = Bits::default();
        if let Some(m) = self.sign {
            let share = full.xor(&key.own_bits(SIGN));
            mine = if p0 { share.xor(&dev.bit(x, m - 1)) } else { share };
        }
        if self.borrow {
            let share = low.as_ref().unwrap_or(&full).xor(&key.own_bits(BORROW));
            mine.append(&if p0 { share.not() } else { share });
        }
        Ok(Undecided { mine: BitShare(mine), key, range })
    }
}
