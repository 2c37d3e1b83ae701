//! Operations that only move or add wires: free for the parties, once the wires have one scale.

use super::{Run, Wire};
use crate::engine::Engine;
use crate::{Error, Result};
use twoply_primitives::Local;

impl<E: Engine> Run<'_, '_, E> {
    /// Equal fractions meet in the narrowest ring; otherwise the finest sets the scale, at n bits.
    pub(super) fn combine(&mut self, map: &Local, wires: Vec<Wire<E::Value>>) -> Result<Wire<E::Value>> {
        let frac = wires.iter().map(|w| w.frac).max().unwrap_or(0);
        let mut aligned = vec![];
        for w in wires {
            if w.frac == frac {
                aligned.push(w.v);
                continue;
            }
            let by = frac - w.frac;
            let wide = self.full_width(w)?;
            aligned.push(self.e.local(&Local::Scale(1 << by), &[&wide.v])?);
        }
        let v = self.e.local(map, &aligned.iter().collect::<Vec<_>>())?;
        Ok(Wire { v, frac })
    }

    /// Along the first axis: image by image one behind the other.
    pub(super) fn concat(&mut self, wires: Vec<Wire<E::Value>>) -> Result<Wire<E::Value>> {
        let shapes: Vec<Vec<usize>> = wires.iter().map(|w| self.e.form(&w.v).shape.0[1..].to_vec()).collect();
        let total = shapes.iter().map(|s| s.iter().product::<usize>()).sum();
        let joined = self.combine(&Local::Gather((0..total).collect()), wires)?;
        let row = [&[shapes.iter().map(|s| s[0]).sum()], &shapes[0][1..]].concat();
        Ok(Wire { v: self.e.local(&Local::Reshape(row), &[&joined.v])?, frac: joined.frac })
    }

    /// Zeros around each plane: public, and so under no mask.
    pub(super) fn pad(&mut self, x: Wire<E::Value>, around: &[usize; 4]) -> Result<Wire<E::Value>> {
        let shape = self.e.form(&x.v).shape.0.clone();
        let &[_, c, h, w] = &shape[..] else {
            return Err(Error::data("plan", "padding wants [c, h, w]"));
        };
        let [top, left, bottom, right] = *around;
        let (high, wide, row) = (h + top + bottom, w + left + right, c * h * w);
        let place = |i: usize| {
            let (p, y, x) = (i / (high * wide), i / wide % high, i % wide);
            let inside = (top..top + h).contains(&y) && (left..left + w).contains(&x);
            // behind the elements stands the zero
            if inside { (p * h + y - top) * w + x - left } else { row }
        };
        let zero = self.e.local(&Local::Gather([0].into()), &[&x.v])?;
        let zero = self.e.local(&Local::Scale(0), &[&zero])?;
        let places = (0..c * high * wide).map(place).collect();
        let v = self.e.local(&Local::Gather(places), &[&x.v, &zero])?;
        Ok(Wire { v: self.e.local(&Local::Reshape(vec![c, high, wide]), &[&v])?, frac: x.frac })
    }
}
