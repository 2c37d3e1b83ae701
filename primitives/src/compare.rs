//! Exact comparison `[alpha <= x]` of a public `x` with a secret `alpha` of `w` bits: one trait, two implementations.
//!
//! A comparison may also yield further predicates: on the lowest `low` bits (floor truncation needs both), or at further
//! public points `x + ahead`, from the same key material where that is cheaper. One key may be evaluated at any number of
//! public points: a party only ever computes its own share of a bit, and what leaves is masked afresh for every point.
//! For the same masks both implementations give the same bits.

pub mod digits;
pub mod dpf;

use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Result};
use serde::{Deserialize, Serialize};

/// Which implementation, a parameter of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Half-tree distributed point function with prefix parity: no message of its own, `16 (w - 6)` bytes for both.
    Dpf,
    /// One-hot tables of digits with a multi-fan-in merge: one more round, about a tenth of the bytes, P1 alone.
    Digits,
}

/// What is compared: the lowest `w` bits, and if wanted the lowest `low` bits too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Widths {
    /// Compared bits, at least 1.
    pub w: u32,
    /// Compared bits of the second predicate, below `w`.
    pub low: Option<u32>,
}

/// One party's bits of the predicates on the slots of a key: `[alpha mod 2^w <= x mod 2^w]`, and what else was asked for:
/// `[alpha mod 2^low <= x mod 2^low]`, or `[alpha mod 2^w <= (x + ahead) mod 2^w]` at each further point, in order.
pub type Outcome<B> = Vec<<B as Backend>::Bits>;

/// One exact implementation. A key is consumed: `begin` takes it by value and keeps what `finish` needs.
pub trait Comparison<B: Backend> {
    /// What is left of a key between its message and the answer.
    type Pending: Send;

    /// Widths per element of the fields that P0 and P1 store, in order.
    fn fields(&self) -> [Vec<u32>; 2];
    /// Bits per element of the message that `begin` returns; 0 if there is none.
    fn message_bits(&self) -> usize;
    /// Dealer: writes the fields for the secret `alpha`.
    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf);
    /// Party: the first message's bits, if there is one: as many planes as it has bits.
    fn begin(&self, t: TileKey<B>, x: &B::Buf) -> Result<(Option<B::Planes>, Self::Pending)>;
    /// Party: the predicates, from the opened message; gives the rest of the key back.
    fn finish(&self, p: Self::Pending, opened: Option<&B::Planes>) -> Result<(Outcome<B>, TileKey<B>)>;
}

/// Either implementation, at the widths of one gate.
#[derive(Clone, Debug)]
pub enum AnyComparison {
    /// See [`dpf::Dpf`].
    Dpf(dpf::Dpf),
    /// See [`digits::Digits`].
    Digits(digits::Digits),
}

/// [`Comparison::Pending`] of either.
pub enum AnyPending<B: Backend> {
    /// Of a point function.
    Dpf(<dpf::Dpf as Comparison<B>>::Pending),
    /// Of digit tables.
    Digits(<digits::Digits as Comparison<B>>::Pending),
}

impl Scheme {
    /// The implementation for these widths.
    pub fn at(self, widths: Widths) -> AnyComparison {
        match self {
            Scheme::Dpf => AnyComparison::Dpf(dpf::Dpf::new(widths)),
            Scheme::Digits => AnyComparison::Digits(digits::Digits::new(widths)),
        }
    }
    /// The implementation for `w` bits at several points from one key: at `x` and, for each of `ahead`, so much further on.
    pub fn at_points(self, w: u32, ahead: &[u64]) -> AnyComparison {
        match self {
            Scheme::Dpf => AnyComparison::Dpf(dpf::Dpf::at_points(w, ahead)),
            Scheme::Digits => AnyComparison::Digits(digits::Digits::at_points(w, ahead)),
        }
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Scheme::Dpf => "dpf",
            Scheme::Digits => "digits",
        })
    }
}

impl<B: Backend> Comparison<B> for AnyComparison {
    type Pending = AnyPending<B>;

    fn fields(&self) -> [Vec<u32>; 2] {
        match self {
            AnyComparison::Dpf(c) => Comparison::<B>::fields(c),
            AnyComparison::Digits(c) => Comparison::<B>::fields(c),
        }
    }
    fn message_bits(&self) -> usize {
        match self {
            AnyComparison::Dpf(c) => Comparison::<B>::message_bits(c),
            AnyComparison::Digits(c) => Comparison::<B>::message_bits(c),
        }
    }
    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf) {
        match self {
            AnyComparison::Dpf(c) => c.deal(t, alpha),
            AnyComparison::Digits(c) => c.deal(t, alpha),
        }
    }
    fn begin(&self, t: TileKey<B>, x: &B::Buf) -> Result<(Option<B::Planes>, AnyPending<B>)> {
        Ok(match self {
            AnyComparison::Dpf(c) => {
                let (m, p) = c.begin(t, x)?;
                (m, AnyPending::Dpf(p))
            }
            AnyComparison::Digits(c) => {
                let (m, p) = c.begin(t, x)?;
                (m, AnyPending::Digits(p))
            }
        })
    }
    fn finish(&self, p: AnyPending<B>, opened: Option<&B::Planes>) -> Result<(Outcome<B>, TileKey<B>)> {
        match (self, p) {
            (AnyComparison::Dpf(c), AnyPending::Dpf(p)) => c.finish(p, opened),
            (AnyComparison::Digits(c), AnyPending::Digits(p)) => c.finish(p, opened),
            _ => Err(crate::Error::shape("compare", "a pending comparison of the other kind")),
        }
    }
}
