//! Operations element by element beside activations: products of two wires, addends of their own, public numbers.
//!
//! A product is a gate; the others are local. An addend is a parameter under the mask it has for all images: the sum's mask
//! is the wire's own plus that one, and nothing new is opened; whichever of the two has fewer fraction bits is brought to the other's. A public factor that is a whole number keeps the fraction; any
//! other is rounded to f bits, and the result has 2f. Sums and factors may leave the ring on the way: only the result, which
//! ranges and contract speak of, has to be in it.

use super::{Run, Wire};
use crate::engine::Infer;
use crate::graph::{Graph, Op};
use crate::{Error, Result, Scale};
use twoply_primitives::Local;
use twoply_primitives::gate::Mul;

/// Checks that the numbers of every [`Op::Affine`] have a place in the ring.
///
/// # Errors
/// [`Error::Data`] naming the layer and the number.
pub(super) fn check(graph: &Graph, scale: Scale) -> Result<()> {
    for node in &graph.nodes {
        let Op::Affine { scale: factor, shift } = node.op else { continue };
        let most = f64::from(scale.fixed.n - 2 - scale.fixed.f).exp2();
        for (what, number, limit) in [("factor", factor, most), ("addend", shift, scale.limit())] {
            if number.abs() > limit {
                let why =
                    format!("`{}`: {what} {number} beyond {limit:.3}; choose fewer fraction bits", node.name);
                return Err(Error::data("plan", why));
            }
        }
    }
    Ok(())
}

/// `v` with `frac` fraction bits.
fn encoded(v: f64, frac: u32) -> i64 {
    (v * f64::from(frac).exp2()).round_ties_even() as i64
}

impl<E: Infer> Run<'_, '_, E> {
    /// The product of node `i`; a square brings its operand to scale once.
    pub(super) fn times(
        &mut self,
        i: usize,
        x: Wire<E::Value>,
        last: bool,
    ) -> Result<Option<Wire<E::Value>>> {
        let inputs = &self.program.graph.nodes[i].inputs;
        let (square, y, x) = (inputs[0] == inputs[1], self.operand(i, 1)?, self.full(x)?);
        let y = if square { Wire { v: x.v.clone(), frac: x.frac } } else { self.full(y)? };
        let (cut, frac) = self.cut(i, x.frac);
        self.emit(&Mul { cut }, &[&x.v, &y.v], frac, last)
    }

    /// Every image plus the same private addends.
    pub(super) fn offset(&mut self, x: Wire<E::Value>, weight: usize) -> Result<Wire<E::Value>> {
        let own = self.options().scale().weights();
        let x = match own.saturating_sub(x.frac) {
            0 => x,
            by => {
                let wide = self.full_width(x)?;
                Wire { v: self.e.local(&Local::Scale(1 << by), &[&wide.v])?, frac: own }
            }
        };
        let addends = self.param_at(weight, own, x.frac)?;
        Ok(Wire { v: self.e.local(&Local::AddRow, &[&x.v, &addends])?, frac: x.frac })
    }

    /// `scale x + shift`.
    pub(super) fn affine(&mut self, x: Wire<E::Value>, scale: f64, shift: f64) -> Result<Wire<E::Value>> {
        let f = self.options().fixed.f;
        let (x, by) = if scale.fract() == 0.0 { (x, 0) } else { (self.full(x)?, f) };
        let (frac, factor) = (x.frac + by, encoded(scale, by));
        let scaled = if factor == 1 { x.v } else { self.e.local(&Local::Scale(factor), &[&x.v])? };
        let v = self.e.local(&Local::AddPublic(encoded(shift, frac)), &[&scaled])?;
        Ok(Wire { v, frac })
    }
}
