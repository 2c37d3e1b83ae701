//! Gates: one interactive operation on a batch, with everything about it in one file.

mod argmax;
mod audit;
mod avg_pool;
mod bilinear;
#[cfg(test)]
pub(crate) mod check;
mod lift;
mod max_pool;
mod opening;
mod predicate;
mod relu;
mod relu_floor;
mod select;
mod sign;
mod staircase;
mod sum;
mod table;
#[cfg(test)]
mod tests;
mod truncate;

pub use argmax::Argmax;
pub use audit::Audit;
pub use avg_pool::AvgPool;
pub use bilinear::{Bilinear, Conv2d, Linear, Mul};
pub use lift::Lift;
pub use max_pool::{Level, MaxPool, Tree, tree};
pub use relu::Relu;
pub use relu_floor::ReluFloor;
pub use select::{Kind, Select};
pub use sign::Sign;
pub use staircase::{Staircase, Step};
pub use sum::Sum;
pub use table::Table;
pub use truncate::Truncate;

use crate::compare::Scheme;
use crate::session::{Early, Own};
use crate::{Backend, Deal, Form, Mask, Masked, Part, Result, Ring, Session, Share};
use serde::{Deserialize, Serialize};

/// Coins of a gate's stochastic roundings, one per element, of which the lowest bits count: recorded ones, or random ones to
/// simulate; without them the oracle rounds down.
pub type Coins<'a> = Option<&'a [u64]>;

/// How values lose their lowest f bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// Down, or up by one step with the probability of the part cut off: unbiased, no comparison of its own.
    PublicCoin,
    /// Down, exactly.
    Floor,
}

/// What a gate costs; a promise that the counters of every run are tested against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Messages in sequence, the opening of the result included.
    pub rounds: u64,
    /// Payload bytes one party sends, the opening of the result included.
    pub bytes: u64,
    /// Comparisons.
    pub comparisons: u64,
    /// Values opened in masked form, the result included.
    pub opened: u64,
    /// What is stored.
    pub parts: Vec<Part>,
}

impl Cost {
    /// Key bits stored by `party` (0 or 1).
    pub fn key_bits(&self, party: usize) -> u64 {
        self.parts.iter().map(|p| p.elements as u64 * p.bits(party)).sum()
    }
    /// Adds one message of `count` values of `bits` bits.
    fn message(&mut self, count: usize, bits: u64) {
        self.rounds += 1;
        self.opened += count as u64;
        self.bytes += (count as u64 * bits).div_ceil(8);
    }
    /// Adds the opening of the result.
    fn result(&mut self, form: &Form) {
        self.message(form.len(), form.bits as u64);
    }
}

/// One interactive operation: what it computes, how it is dealt, how a party runs it, what it costs.
///
/// Generic by method, so that the planner names no backend.
pub trait Gate: Serialize + Send + Sync {
    /// Name in plans, key files and reports.
    const NAME: &'static str;
    /// Form of the result in a ring of `n` bits, or why the operands do not fit.
    fn output(&self, n: u32, x: &[&Form]) -> Result<Form>;
    /// The ideal functionality on clear fixed-point values; result mod 2^bits of its form.
    fn ideal<R: Ring>(&self, forms: &[&Form], x: &[&[R]], coins: Coins) -> Vec<R>;
    /// Dealer: stores keys for operands masked by `r`, returns the mask of the result.
    fn deal<B: Backend>(&self, d: &mut Deal<B>, r: &[&Mask<B>]) -> Result<Mask<B>>;
    /// Party: a share of the masked result, from masked operands and keys.
    fn eval<B: Backend>(&self, s: &mut Session<B>, x: &[&Masked<B>]) -> Result<Share<B>>;
    /// Party, before a run: its share of the mask that the result of `eval` will have.
    fn mask<B: Backend>(&self, own: &Own<B>, x: &[&Early<B>]) -> Result<B::Buf> {
        let forms: Vec<&Form> = x.iter().map(|x| x.form()).collect();
        Ok(own.fresh(0, &self.output(B::Ring::BITS, &forms)?))
    }
    /// Party, before a run: the part of `eval` that does not depend on the input, which takes it from the session if
    /// it is there and computes it if not. A row per image; none for gates without such a part.
    fn early<B: Backend>(&self, _: &Own<B>, _: &[&Early<B>]) -> Result<Option<B::Buf>> {
        Ok(None)
    }
    /// The bill.
    fn cost(&self, n: u32, x: &[&Form]) -> Result<Cost>;
}

/// How a gate rounds, with the comparison it needs if it rounds exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// See [`Rounding::PublicCoin`].
    PublicCoin,
    /// See [`Rounding::Floor`].
    Floor(Scheme),
}

/// `floor(x / 2^by)` of the signed value, plus the coin: `[x_low > coin]` with `coin` the public low bits of an open wire.
fn cut_open<R: Ring>(x: R, by: u32, coin: Option<u64>) -> i64 {
    let low = x.low() & crate::ring::ones(by);
    (x.signed() >> by) + coin.is_some_and(|c| low > c & crate::ring::ones(by)) as i64
}

/// The operands of a gate that takes exactly `N`.
fn take<'a, T: ?Sized, const N: usize>(at: &'static str, x: &[&'a T]) -> Result<[&'a T; N]> {
    x.try_into().map_err(|_| crate::Error::shape(at, format!("takes {N} wires, got {}", x.len())))
}
