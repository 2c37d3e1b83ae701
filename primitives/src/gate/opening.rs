//! Bits that a gate opens under masks before its result: group by group they are said, heard, worked on. Then what was
//! opened becomes a number again, by shares of its masks as integers.

use crate::backend::Term;
use crate::session::{Round, Talk, TileKey, in_waves};
use crate::{Backend, BitShare, Result, Ring};
use std::ops::Range;

/// Some slots whose masked bits are computed and not open yet.
pub struct Undecided<B: Backend> {
    mine: BitShare<B>,
    key: TileKey<B>,
    range: Range<usize>,
}

impl<B: Backend> Undecided<B> {
    /// From this party's shares of the masked bits of `key`'s slots, the elements `range` of the run; and what it says.
    pub fn new(planes: B::Planes, key: TileKey<B>, range: Range<usize>) -> (Self, B::Packet) {
        let said = key.dev().say(&planes, key.slots());
        (Undecided { mine: BitShare { planes, slots: key.slots().clone() }, key, range }, said)
    }
}

/// A party's key after the masked bits are open.
pub struct Decided<B: Backend> {
    opened: B::Planes,
    /// How many were opened.
    planes: usize,
    /// The rest of the key.
    pub key: TileKey<B>,
    /// Elements of the run that it covers.
    pub range: Range<usize>,
}

/// What an opened bit counts, and where the share of its mask as an integer is: a word of so many bits.
pub struct Weight<R> {
    /// `c`, public.
    pub c: R,
    /// Field of the word.
    pub field: u32,
    /// Its width: the n bits of the ring, less the zeros at the low end of `c`.
    pub width: u32,
}

/// Bits whose words are at hand together.
const AT_ONCE: usize = 8;

impl<B: Backend> Decided<B> {
    /// Of a predicate with a sign: `[t >= 0] xor rho`.
    pub fn sign(&self) -> B::Bits {
        self.key.dev().plane(&self.opened, 0)
    }
    /// Of a predicate with a borrow: `[x^_low < r_low]`, masked.
    pub fn borrow(&self) -> B::Bits {
        self.key.dev().plane(&self.opened, self.planes - 1)
    }
    /// This party's share, mod 2^bits, of `sum of c_i d_i` over the bits `d_i` that were opened as `d^_i = d_i xor rho_i`,
    /// with its `own` terms: `sum of c_i ([b=0] d^_i + (1 - 2 d^_i) [rho_i]_b)`.
    pub fn weighted(&mut self, own: &[Term<B>], weights: &[Weight<B::Ring>], bits: u32) -> Result<B::Buf> {
        let (dev, p0, len) = (self.key.dev().clone(), self.key.me().is_p0(), self.key.len());
        let mut z = dev.sum(len, own, bits);
        for (i, some) in weights.chunks(AT_ONCE).enumerate() {
            let word = |w: &Weight<B::Ring>| self.key.word(w.field, w.width);
            let rho: Vec<B::Buf> = some.iter().map(word).collect::<Result<_>>()?;
            let plane = |j: usize| dev.plane(&self.opened, i * AT_ONCE + j);
            let open: Vec<B::Bits> = (0..some.len()).map(plane).collect();
            let mut terms = vec![Term::of(B::Ring::ONE, &z)];
            for (Weight { c, .. }, (rho, open)) in some.iter().zip(rho.iter().zip(&open)) {
                let minus_two = B::Ring::ZERO.sub(c.add(*c));
                terms.extend([Term::of(*c, rho), Term::of(minus_two, rho).when(open)]);
                terms.extend(p0.then(|| Term::one(*c).when(open)));
            }
            z = dev.sum(len, &terms, bits);
        }
        Ok(z)
    }
}

/// A round in which masked bits are opened, so many of every element.
pub struct Opening<B: Backend> {
    round: Round,
    planes: usize,
    begun: Vec<Undecided<B>>,
}

impl<B: Backend> Opening<B> {
    /// Of `planes` bits of each of `len` elements.
    pub fn new(talk: &mut Talk, len: usize, planes: usize) -> Self {
        Opening { round: talk.round(len * planes), planes, begun: vec![] }
    }
    /// Says the next group's, in order.
    pub fn say(&mut self, talk: &mut Talk, (u, said): (Undecided<B>, B::Packet)) -> Result<()> {
        talk.say_bits::<B>(&mut self.round, said, self.planes * u.range.len())?;
        self.begun.push(u);
        Ok(())
    }
    /// Hears the peer's, group by group; does `work` on each and hands what it gave to `after`, in order.
    pub fn each<'a, T: Send>(
        self,
        dev: &B,
        talk: &mut Talk<'a>,
        work: impl Fn(Decided<B>) -> Result<T> + Sync,
        after: impl FnMut(&mut Talk<'a>, T) -> Result<()>,
    ) -> Result<()> {
        let Opening { mut round, planes, begun } = self;
        let decide =
            |Undecided { key, range, .. }: Undecided<B>, opened| work(Decided { opened, planes, key, range });
        let hear = |talk: &mut Talk<'a>, u: &Undecided<B>| talk.hear_bits(&mut round, dev, &u.mine, planes);
        in_waves(B::GRAIN, talk, begun, hear, decide, after)
    }
}
