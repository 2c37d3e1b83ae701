//! Masked predicates of a public `x^` whose mask only the dealer knows: the sign of `x`, and the borrow of its low bits.
//!
//! With `t = X - R` on m bits: `[t >= 0] = msb(X) xor msb(R) xor [R_low <= X_low]`, one comparison of `m - 1` bits that is
//! always in range (protocols, section 6). `rho = e_0 xor e_1 xor msb(R)` masks it for free. The borrow of the lowest f
//! bits is `[x^_low < r_low]`, masked by `e'_0 xor e'_1`. Both are opened together, one bit each. So are the signs of `t`
//! and of `t + ahead` for any number of public `ahead`: one key at several points, each sign under a mask of its own.

use super::Cost;
pub use super::opening::Decided;
use super::opening::{Opening, Undecided};
use crate::compare::{AnyComparison, Comparison, Outcome, Scheme, Widths};
use crate::deal::TileDeal;
use crate::session::{Stored, Talk, TileKey, in_waves};
use crate::{Backend, BitShare, Cpu, Error, Result, Session};
use std::ops::Range;

const SIGN: u32 = 0x100;
const BORROW: u32 = 0x101;
const SECOND_SIGN: u32 = 0x102;
/// Signs of further points, by number.
const FURTHER_SIGN: u32 = 0x1_0000;

/// Points of one predicate: as many as there are field numbers.
pub const MOST_POINTS: usize = 1 << 16;

/// Field of the mask of the sign at a point.
fn sign_field(point: usize) -> u32 {
    match point {
        0 => SIGN,
        1 => SECOND_SIGN,
        _ => FURTHER_SIGN + point as u32,
    }
}

/// Which predicates, and how they are compared.
#[derive(Clone, Debug)]
pub struct Predicate {
    comparison: AnyComparison,
    /// Width m of the value whose sign is wanted.
    sign: Option<u32>,
    /// How much further on other signs are wanted.
    ahead: Vec<u64>,
    /// Whether the borrow of low bits is wanted.
    borrow: bool,
}

impl Predicate {
    /// The sign of a value of `m` bits.
    pub fn sign(scheme: Scheme, m: u32) -> Self {
        Predicate::signs(scheme, m, vec![])
    }
    /// The borrow of the lowest `f` bits.
    pub fn borrow(scheme: Scheme, f: u32) -> Self {
        let comparison = scheme.at(Widths { w: f, low: None });
        Predicate { comparison, sign: None, ahead: vec![], borrow: true }
    }
    /// Both, of a value of `m` bits.
    pub fn both(scheme: Scheme, m: u32, f: u32) -> Self {
        let comparison = scheme.at(Widths { w: m - 1, low: Some(f) });
        Predicate { comparison, sign: Some(m), ahead: vec![], borrow: true }
    }
    /// The signs of a value `t` of `m` bits and of `t + ahead` for each of `ahead`, all mod 2^m; fewer than
    /// [`MOST_POINTS`].
    pub fn signs(scheme: Scheme, m: u32, ahead: Vec<u64>) -> Self {
        Predicate { comparison: scheme.at_points(m - 1, &ahead), sign: Some(m), ahead, borrow: false }
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
        (len * (1 + self.ahead.len())) as u64
    }

    /// Dealer: stores the comparison with `r`.
    pub fn deal<B: Backend>(&self, t: &mut TileDeal<B>, r: &B::Buf) {
        self.comparison.deal(t, r);
    }
    /// Dealer: `rho`, the mask of the sign of a value of `m` bits masked by `r`.
    pub fn sign_mask<B: Backend>(t: &TileDeal<B>, r: &B::Buf, m: u32) -> B::Bits {
        Self::sign_mask_at(t, r, m, 0)
    }
    /// Dealer: the mask of the sign at point number `point`, the first being 0.
    pub fn sign_mask_at<B: Backend>(t: &TileDeal<B>, r: &B::Buf, m: u32, point: usize) -> B::Bits {
        let free = t.dev().plane(&t.free_bits(&[sign_field(point)]), 0);
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
        if own == 0 {
            let mut out = Opening::new(&mut s.talk, len, self.opened());
            let decide = |key, range: Range<usize>| {
                let x = part(&range);
                let (_, pending) = self.comparison.begin(key, &x)?;
                self.mask(self.comparison.finish(pending, None)?, &x, range)
            };
            s.tiles(at, decide, |talk, masked| out.say(talk, masked))?;
            return out.each(&dev, &mut s.talk, work, after);
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
        let mut out = Opening::new(&mut s.talk, len, self.opened());
        in_waves(
            B::GRAIN,
            &mut s.talk,
            merging,
            |talk, (mine, ..)| talk.hear_bits(&mut first, &dev, mine, own),
            |(_, pending, range), opened| {
                self.mask(self.comparison.finish(pending, Some(&opened))?, &part(&range), range)
            },
            |talk, masked| out.say(talk, masked),
        )?;
        out.each(&dev, &mut s.talk, work, after)
    }

    /// Predicates opened per element.
    fn opened(&self) -> usize {
        self.sign.map_or(0, |_| 1 + self.ahead.len()) + self.borrow as usize
    }

    /// This party's shares of the masked predicates, from its shares of `[r <= x^]`: those of the signs, point by point, and
    /// of the borrow at last.
    fn mask<B: Backend>(
        &self,
        (compared, mut key): (Outcome<B>, TileKey<B>),
        x: &B::Buf,
        range: Range<usize>,
    ) -> Result<(Undecided<B>, B::Packet)> {
        key.compared();
        let (p0, dev) = (key.me().is_p0(), key.dev().clone());
        let mut bits = Vec::with_capacity(self.opened());
        if let Some(m) = self.sign {
            for (point, compared) in compared.iter().enumerate().take(1 + self.ahead.len()) {
                let share = dev.xor(compared, &key.own_bits(sign_field(point)));
                let msb = || match point {
                    0 => dev.bit(x, m - 1),
                    _ => dev.bit(&dev.shift(x, self.ahead[point - 1], 0, m), m - 1),
                };
                bits.push(if p0 { dev.xor(&share, &msb()) } else { share });
            }
        }
        if let (true, Some(compared)) = (self.borrow, compared.last()) {
            let share = dev.xor(compared, &key.own_bits(BORROW));
            bits.push(if p0 { dev.not(&share) } else { share });
        }
        Ok(Undecided::new(dev.planes(bits), key, range))
    }
}
