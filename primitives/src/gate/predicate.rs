//! Masked predicates of a public `x^` whose mask only the dealer knows: the sign of `x`, and the borrow of its low bits.
//!
//! With `t = X - R` on m bits: `[t >= 0] = msb(X) xor msb(R) xor [R_low <= X_low]`, one comparison of `m - 1` bits that is
//! always in range (protocols, section 6). `rho = e_0 xor e_1 xor msb(R)` masks it for free. The borrow of the lowest f
//! bits is `[x^_low < r_low]`, masked by `e'_0 xor e'_1`. Both are opened together, one bit each. So are the signs of `t`
//! and of `t + ahead` for a public `ahead`: one key at two points, each sign under a mask of its own.

use super::Cost;
use crate::compare::{AnyComparison, Comparison, Outcome, Scheme, Widths};
use crate::deal::TileDeal;
use crate::session::{Round, Stored, Talk, TileKey, in_waves};
use crate::{Backend, BitShare, Cpu, Error, Result, Session};
use std::ops::Range;

const SIGN: u32 = 0x100;
const BORROW: u32 = 0x101;
const LATER: u32 = 0x102;

/// The predicate beside the sign, or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    None,
    /// The borrow of the low bits.
    Borrow,
    /// The sign of the value this much further on.
    Later(u64),
}

/// Which predicates, and how they are compared.
#[derive(Clone, Debug)]
pub struct Predicate {
    comparison: AnyComparison,
    /// Width m of the value whose sign is wanted.
    sign: Option<u32>,
    second: Second,
}

/// A party's key after the predicates are open.
pub struct Decided<B: Backend> {
    opened: B::Planes,
    /// How many were opened.
    planes: usize,
    /// The rest of the key.
    pub key: TileKey<B>,
    /// Elements of the run that it covers.
    pub range: Range<usize>,
}

impl<B: Backend> Decided<B> {
    /// `[t >= 0] xor rho`, of a predicate with a sign.
    pub fn sign(&self) -> B::Bits {
        self.key.dev().plane(&self.opened, 0)
    }
    /// `[x^_low < r_low]`, masked, of a predicate with a borrow.
    pub fn borrow(&self) -> B::Bits {
        self.key.dev().plane(&self.opened, self.planes - 1)
    }
    /// `[t + ahead >= 0] xor rho'`, of a predicate of two signs.
    pub fn later(&self) -> B::Bits {
        self.key.dev().plane(&self.opened, self.planes - 1)
    }
}

/// Some slots whose masked predicates are computed and not open yet: the sign's shares, then the borrow's.
struct Undecided<B: Backend> {
    mine: BitShare<B>,
    key: TileKey<B>,
    range: Range<usize>,
}

impl Predicate {
    /// The sign of a value of `m` bits.
    pub fn sign(scheme: Scheme, m: u32) -> Self {
        Predicate {
            comparison: scheme.at(Widths { w: m - 1, low: None }),
            sign: Some(m),
            second: Second::None,
        }
    }
    /// The borrow of the lowest `f` bits.
    pub fn borrow(scheme: Scheme, f: u32) -> Self {
        Predicate { comparison: scheme.at(Widths { w: f, low: None }), sign: None, second: Second::Borrow }
    }
    /// Both, of a value of `m` bits.
    pub fn both(scheme: Scheme, m: u32, f: u32) -> Self {
        let comparison = scheme.at(Widths { w: m - 1, low: Some(f) });
        Predicate { comparison, sign: Some(m), second: Second::Borrow }
    }
    /// The signs of a value `t` of `m` bits and of `t + ahead`, both mod 2^m.
    pub fn signs(scheme: Scheme, m: u32, ahead: u64) -> Self {
        Predicate { comparison: scheme.twice(m - 1, ahead), sign: Some(m), second: Second::Later(ahead) }
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
        cost.comparisons += self.comparisons(len);
    }
    /// Comparisons that are evaluated for `len` elements.
    fn comparisons(&self, len: usize) -> u64 {
        len as u64 * if matches!(self.second, Second::Later(_)) { 2 } else { 1 }
    }

    /// Dealer: stores the comparison with `r`.
    pub fn deal<B: Backend>(&self, t: &mut TileDeal<B>, r: &B::Buf) {
        self.comparison.deal(t, r);
    }
    /// Dealer: `rho`, the mask of the sign of a value of `m` bits masked by `r`.
    pub fn sign_mask<B: Backend>(t: &TileDeal<B>, r: &B::Buf, m: u32) -> B::Bits {
        let free = t.dev().plane(&t.free_bits(&[SIGN]), 0);
        t.dev().xor(&free, &t.dev().bit(r, m - 1))
    }
    /// Dealer: the mask of the second sign of two.
    pub fn later_mask<B: Backend>(t: &TileDeal<B>, r: &B::Buf, m: u32) -> B::Bits {
        let free = t.dev().plane(&t.free_bits(&[LATER]), 0);
        t.dev().xor(&free, &t.dev().bit(r, m - 1))
    }
    /// Dealer: the mask of the borrow.
    pub fn borrow_mask<B: Backend>(t: &TileDeal<B>) -> B::Bits {
        t.dev().plane(&t.free_bits(&[BORROW]), 0)
    }

    /// Party: opens the masked predicates of `x` (one wire of the run), does `work` on every group of tiles and hands what
    /// it gave to `after`, in order. Groups go in waves through each step, and what a step has to say leaves group by group.
    pub fn eval<'a, B: Backend, T: Send>(
        &self,
        s: &mut Session<'a, B>,
        at: &Stored,
        x: &B::Buf,
        work: impl Fn(Decided<B>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let (dev, len) = (s.dev.clone(), s.dev.len(x));
        let part = |range: &Range<usize>| dev.slice(x, range.start, range.len());
        s.talk.now.comparisons += self.comparisons(len);
        let own = Comparison::<B>::message_bits(&self.comparison);
        let mut begun = Vec::new();
        if own == 0 {
            let mut out = s.talk.round(len * self.opened());
            let decide = |key, range: Range<usize>| {
                let x = part(&range);
                let (_, pending) = self.comparison.begin(key, &x)?;
                self.mask(self.comparison.finish(pending, None)?, &x, range)
            };
            s.tiles(at, decide, |talk, (u, bits): (Undecided<B>, _)| {
                talk.say_bits::<B>(&mut out, bits, self.opened() * u.range.len())?;
                begun.push(u);
                Ok(())
            })?;
            return self.decided(&dev, &mut s.talk, out, begun, work, after);
        }
        let mut first = s.talk.round(len * own);
        let begin = |key: TileKey<B>, range: Range<usize>| {
            let slots = key.slots().clone();
            let (message, pending) = self.comparison.begin(key, &part(&range))?;
            let planes =
                message.ok_or_else(|| Error::shape("predicate", "a comparison without its message"))?;
            let bits = dev.say(&planes, &slots);
            Ok(((BitShare { planes, slots }, pending, range), bits))
        };
        let mut merging = Vec::new();
        s.tiles(at, begin, |talk, (m, bits): ((BitShare<B>, _, Range<usize>), _)| {
            talk.say_bits::<B>(&mut first, bits, own * m.2.len())?;
            merging.push(m);
            Ok(())
        })?;
        let mut out = s.talk.round(len * self.opened());
        in_waves(
            B::GRAIN,
            &mut s.talk,
            merging,
            |talk, (mine, ..)| talk.hear_bits(&mut first, &dev, mine, own),
            |(_, pending, range), opened| {
                self.mask(self.comparison.finish(pending, Some(&opened))?, &part(&range), range)
            },
            |talk, (u, bits)| {
                talk.say_bits::<B>(&mut out, bits, self.opened() * u.range.len())?;
                begun.push(u);
                Ok(())
            },
        )?;
        self.decided(&dev, &mut s.talk, out, begun, work, after)
    }

    /// Predicates opened per element.
    fn opened(&self) -> usize {
        self.sign.is_some() as usize + (self.second != Second::None) as usize
    }

    /// The last step: the predicates are opened, the groups' work is done.
    fn decided<'a, B: Backend, T: Send>(
        &self,
        dev: &B,
        talk: &mut Talk<'a>,
        mut round: Round,
        begun: Vec<Undecided<B>>,
        work: impl Fn(Decided<B>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let planes = self.opened();
        let decide =
            |Undecided { key, range, .. }: Undecided<B>, opened| work(Decided { opened, planes, key, range });
        let hear = |talk: &mut Talk<'a>, u: &Undecided<B>| talk.hear_bits(&mut round, dev, &u.mine, planes);
        in_waves(B::GRAIN, talk, begun, hear, decide, after)
    }

    /// This party's shares of the masked predicates, from its shares of `[r <= x^]` in full and of the second predicate.
    fn mask<B: Backend>(
        &self,
        (Outcome { full, second }, mut key): (Outcome<B>, TileKey<B>),
        x: &B::Buf,
        range: Range<usize>,
    ) -> Result<(Undecided<B>, B::Packet)> {
        key.compared();
        let (p0, dev) = (key.me().is_p0(), key.dev().clone());
        let sign = |compared: &B::Bits, field: u32, x: &B::Buf, m: u32| {
            let share = dev.xor(compared, &key.own_bits(field));
            if p0 { dev.xor(&share, &dev.bit(x, m - 1)) } else { share }
        };
        let mut bits = Vec::with_capacity(2);
        if let Some(m) = self.sign {
            bits.push(sign(&full, SIGN, x, m));
        }
        let second = second.as_ref().unwrap_or(&full);
        match (self.second, self.sign) {
            (Second::Borrow, _) => {
                let share = dev.xor(second, &key.own_bits(BORROW));
                bits.push(if p0 { dev.not(&share) } else { share });
            }
            (Second::Later(ahead), Some(m)) => {
                bits.push(sign(second, LATER, &dev.shift(x, ahead, 0, m), m));
            }
            _ => {}
        }
        let mine = BitShare { planes: dev.planes(bits), slots: key.slots().clone() };
        let said = dev.say(&mine.planes, &mine.slots);
        Ok((Undecided { mine, key, range }, said))
    }
}
