//! A choice that is known now: each place from one operand of a Where or the other, as a constant says (`masked_fill`). Which
//! one is public, as the places of a Gather are: the parties move elements, and nothing is computed but addends.

use super::axes::{aligned, broadcast};
use super::call::{Call, Lowered, Stop, Value};
use super::tensor::Tensor;
use crate::graph::{Op, Source, elements};
use crate::import::draft::{Map, repeat};

pub(super) fn choose(call: &mut Call<'_>, mask: &Tensor) -> Lowered {
    let wires = call.operands.iter().flatten().filter_map(|v| v.wire(0).ok());
    let rank = wires.map(|x| call.draft.shape(x).len()).max().ok_or("of no wire")?;
    let mut dims = vec![1; rank];
    for i in 0..3 {
        let own = match call.operand(i) {
            Some(Value::Const(t)) => aligned(&t.dims, rank, 1, |d| d == 1)?,
            _ => call.draft.shape(call.wire(i)?).to_vec(),
        };
        dims = broadcast(&dims, &own)?;
    }
    let mask = Mask { dims: aligned(&mask.dims, rank, 1, |d| d == 1)?, flags: mask.integers()? };
    let (mut sum, mut fills) = (None, Vec::new());
    for (i, side) in [(1, true), (2, false)] {
        if let Some(Value::Const(_)) = call.operand(i) {
            fills.push(mask.fill(call, i, side)?);
            continue;
        }
        let x = call.wire(i)?;
        let x = call.spread(x, &dims)?;
        let part = mask.keep(call, x, side)?;
        sum = Some(match sum {
            Some(other) => call.step(Op::Add, &[other, part])?,
            None => part,
        });
    }
    let mut y = sum.ok_or("of no wire")?;
    for map in fills.into_iter().filter(|map| !map.only_multiplies()) {
        y = call.draft.map("", y, map)?;
    }
    Ok(Value::Wire(y))
}

/// Which places come from where, broadcast to a wire.
struct Mask<'a> {
    dims: Vec<usize>,
    flags: &'a [i64],
}

impl Mask<'_> {
    /// The wire's own elements where the mask is `side`, zeros elsewhere: a list of places for the axes along which it varies.
    fn keep(&self, call: &mut Call<'_>, x: Source, side: bool) -> Result<Source, Stop> {
        let dims = call.draft.shape(x).to_vec();
        let varies = |a: &usize| self.dims[*a] != 1;
        let first = (0..dims.len()).find(varies).unwrap_or(0);
        let end = (0..dims.len()).rfind(varies).map_or(first, |a| a + 1);
        let size = |axes: &[usize]| axes.iter().product::<usize>();
        let n = size(&dims[first..end]);
        call.draft.count_places(n)?;
        let flags = repeat(self.flags, &self.dims[first..end], &dims[first..end]);
        let places =
            flags.iter().enumerate().map(|(at, &flag)| ((flag != 0) == side).then_some(at)).collect();
        if end - first == 1 {
            return call.pick(x, first, places);
        }
        let x = call.view(x, &[size(&dims[..first]), n, size(&dims[end..])])?;
        let kept = call.pick(x, 1, places)?;
        call.view(kept, &dims)
    }

    /// Operand `i` as addends where the mask is `side`.
    fn fill(&self, call: &mut Call<'_>, i: usize, side: bool) -> Result<Map, Stop> {
        let t = call.constant(i)?;
        let own = aligned(&t.dims, self.dims.len(), 1, |d| d == 1)?;
        let dims = broadcast(&own, &self.dims)?;
        call.draft.spend(elements(&dims).ok_or("is too large")?)?;
        let flags = repeat(self.flags, &self.dims, &dims);
        let values = repeat(t.floats()?, &own, &dims).into_iter().zip(flags);
        let shift: Vec<f64> =
            values.map(|(v, flag)| if (flag != 0) == side { v.into() } else { 0.0 }).collect();
        if shift.iter().any(|v| !v.is_finite()) {
            return Err("fills places with what is no number; fill them with a number, or leave attention out of the private \
                        part of the network"
                .into());
        }
        Ok(Map { dims, scale: vec![1.0; shift.len()], shift })
    }
}
