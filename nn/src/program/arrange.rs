//! Operations that only move or add wires: free for the parties, once the wires have one scale.

use super::{Run, Wire};
use crate::engine::Engine;
use crate::{Error, Op, Result};
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

    /// Other places for the elements of one wire; zeros are public, and so under no mask.
    pub(super) fn moved(&mut self, x: Wire<E::Value>, op: &Op, row: Vec<usize>) -> Result<Wire<E::Value>> {
        let shape = self.e.form(&x.v).shape.0[1..].to_vec();
        let places =
            op.moves(&shape).ok_or_else(|| Error::data("plan", format!("{} moves nothing", op.kind())))?;
        let zero = shape.iter().product();
        let padded = places.contains(&zero);
        let map = Local::Gather(places.into());
        let v = match padded {
            true => {
                let zero = self.e.local(&Local::Gather([0].into()), &[&x.v])?;
                let zero = self.e.local(&Local::Scale(0), &[&zero])?;
                self.e.local(&map, &[&x.v, &zero])?
            }
            false => self.e.local(&map, &[&x.v])?,
        };
        Ok(Wire { v: self.e.local(&Local::Reshape(row), &[&v])?, frac: x.frac })
    }
}
