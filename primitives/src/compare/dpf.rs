//! Point functions on the half-tree (Guo et al., EUROCRYPT 2023) with prefix parity.
//!
//! The control bit of a node is a share of "alpha is below this node", so the parity of the left siblings' control
//! bits along the path of `x` is a share of `[alpha < x]`. A 128-bit leaf ends the tree 7 levels early. Below 8 bits
//! the function is a shared truth table of `2^w` bits, held like any correction.

use super::{Comparison, Outcome, Widths};
use crate::backend::{DpfTile, Packed};
use crate::bits::Bits;
use crate::deal::TileDeal;
use crate::prg::TreeHash;
use crate::session::TileKey;
use crate::{Backend, Result, Ring};

/// Field numbers of the roots or tables: at `w` bits, then at `low` bits.
const FIELDS: u32 = 0x1000;

/// Widths below this are truth tables.
const SMALL: u32 = 8;

/// Comparison by point functions, one per predicate.
#[derive(Clone, Debug)]
pub struct Dpf {
    widths: Vec<u32>,
}

impl Dpf {
    /// At these widths.
    pub fn new(widths: Widths) -> Self {
        Dpf { widths: std::iter::once(widths.w).chain(widths.low).collect() }
    }
}

impl<B: Backend> Comparison<B> for Dpf {
    type Pending = (TileKey<B>, Outcome);

    fn fields(&self) -> [Vec<u32>; 2] {
        let mut fields = [vec![], vec![]];
        for &w in &self.widths {
            if w < SMALL {
                fields[1].push(1 << w);
            } else {
                fields[0].push(128 * (w - 6));
                fields[1].push(128 * (w - 6));
            }
        }
        fields
    }

    fn message_bits(&self) -> usize {
        0
    }

    fn deal(&self, t: &mut TileDeal<B>, alpha: &B::Buf) {
        for (i, &w) in self.widths.iter().enumerate() {
            let field = FIELDS + i as u32;
            if w < SMALL {
                let table = t.dev().one_hot(alpha, 0, w);
                t.table(field, table, 1 << w);
            } else {
                let hash = TreeHash::new(t.origin(), t.site(), hash_index(t.tile(), i));
                t.common(128 * (w - 6), |out, t| {
                    t.dev().dpf_generate(&hash, w, t.free_roots(field), alpha, out)
                });
            }
        }
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Bits, Self::Pending)> {
        let mut out = Vec::with_capacity(2);
        let dev = t.dev().clone();
        for (i, &w) in self.widths.iter().enumerate() {
            let field = FIELDS + i as u32;
            out.push(if w < SMALL {
                at_most(&dev, &t.table(field, 1 << w)?, x)
            } else {
                let hash = TreeHash::new(t.origin(), t.site(), hash_index(t.tile(), i));
                let words = t.common(128 * (w - 6))?;
                let tile = DpfTile { words: t.words(words), tile_len: t.tile_len(), from: t.first() };
                dev.dpf_evaluate(&hash, w, t.own_roots(field), tile, x)
            });
        }
        let mut out = out.into_iter();
        let outcome = Outcome { full: out.next().unwrap_or_default(), low: out.next() };
        Ok((Bits::default(), (t, outcome)))
    }

    fn finish(&self, (t, outcome): Self::Pending, _opened: &Bits) -> Result<(Outcome, TileKey<B>)> {
        Ok((outcome, t))
    }
}

/// The two predicates of a tile hash under different keys.
fn hash_index(tile: u64, predicate: usize) -> u64 {
    tile * 2 + predicate as u64
}

/// Parity of `T[..= x]`: of the whole table, less what is above `x`.
fn at_most<B: Backend>(dev: &B, table: &Packed, x: &B::Buf) -> Bits {
    let lookup = |x: &B::Buf| {
        let [mut equal, mut above] = [0, 1].map(|_| vec![0; table.len.div_ceil(64)]);
        dev.digit_lookup(table, x, 0, [&mut equal, &mut above]);
        [equal, above].map(|words| Bits::from_words(words, table.len))
    };
    let [_, above] = lookup(x);
    let [first, others] = lookup(&dev.upload(&vec![B::Ring::ZERO; table.len]));
    first.xor(&others).xor(&above)
}
