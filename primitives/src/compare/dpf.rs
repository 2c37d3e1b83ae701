//! Point functions on the half-tree (Guo et al., EUROCRYPT 2023) with prefix parity.
//!
//! The control bit of a node is a share of "alpha is below this node", so the parity of the left siblings' control
//! bits along the path of `x` is a share of `[alpha < x]`. A 128-bit leaf ends the tree 7 levels early. Below 8 bits
//! the function is a shared truth table of `2^w` bits, held like any correction.

use super::{Comparison, Outcome, Widths};
use crate::backend::Digit;
use crate::deal::TileDeal;
use crate::session::TileKey;
use crate::{Backend, Result};

/// Field numbers of the roots or tables: at `w` bits, then at `low` bits.
const FIELDS: u32 = 0x1000;

/// Widths below this are truth tables.
const SMALL: u32 = 8;

/// Comparison by point functions, one per width; one alone may be evaluated at several points.
#[derive(Clone, Debug)]
pub struct Dpf {
    widths: Vec<u32>,
    /// How far the further points are from the first.
    ahead: Vec<u64>,
}

impl Dpf {
    /// At these widths.
    pub fn new(widths: Widths) -> Self {
        Dpf { widths: std::iter::once(widths.w).chain(widths.low).collect(), ahead: vec![] }
    }
    /// At `w` bits, at the point `x` and, for each of `ahead`, so much further on.
    pub fn at_points(w: u32, ahead: &[u64]) -> Self {
        Dpf { widths: vec![w], ahead: ahead.to_vec() }
    }
}

impl<B: Backend> Comparison<B> for Dpf {
    type Pending = (TileKey<B>, Outcome<B>);

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
                t.table(field, alpha, Digit { shift: 0, bits: w });
            } else {
                t.dpf(field, i, w, alpha);
            }
        }
    }

    fn begin(&self, mut t: TileKey<B>, x: &B::Buf) -> Result<(Option<B::Planes>, Self::Pending)> {
        let mut out = Vec::with_capacity(self.widths.len() + self.ahead.len());
        let (dev, slots) = (t.dev().clone(), t.slots().clone());
        for (i, &w) in self.widths.iter().enumerate() {
            let field = FIELDS + i as u32;
            let later: Vec<B::Buf> = self.ahead.iter().map(|&by| dev.shift(x, by, 0, w)).collect();
            let points = std::iter::once(x).chain(&later);
            if w < SMALL {
                let table = t.correction(1 << w)?;
                for x in points {
                    out.push(dev.at_most(t.field(field, table)?, w, x, &slots));
                }
            } else {
                let words = t.common(128 * (w - 6))?;
                for x in points {
                    out.push(dev.dpf_bits(&t.trees(i), w, t.own_roots(field), t.stored(words)?, x, &slots));
                }
            }
        }
        Ok((None, (t, out)))
    }

    fn finish(&self, (t, outcome): Self::Pending, _: Option<&B::Planes>) -> Result<(Outcome<B>, TileKey<B>)> {
        Ok((outcome, t))
    }
}
