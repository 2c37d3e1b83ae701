//! Operations that only move the elements of one wire: free for the parties, whatever they move.

use super::{MAX_WINDOW, Op};

/// One axis of the result: the operand's step along it, and which of its places are taken, zeros where there is `None`.
struct Axis {
    step: usize,
    places: Vec<Option<usize>>,
}

impl Op {
    /// For each element of the result, its place in the operand of this shape; a zero stands behind the operand's last
    /// element. `None` for operations that compute. The shape is one that the operation takes.
    pub(crate) fn moves(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let row: usize = shape.iter().product();
        let step = |a: usize| shape[a + 1..].iter().product();
        let whole = |a: usize| (0..shape[a]).map(Some).collect();
        let axes: Vec<Axis> = match self {
            Op::Transpose(perm) => perm.iter().map(|&a| Axis { step: step(a), places: whole(a) }).collect(),
            Op::Take(lists) => {
                let places = |a: usize, list: &Option<Vec<_>>| list.clone().unwrap_or_else(|| whole(a));
                let axis = |(a, list)| Axis { step: step(a), places: places(a, list) };
                lists.iter().enumerate().map(axis).collect()
            }
            Op::Pad([top, left, bottom, right]) => {
                let around = |a: usize, before: usize, behind: usize| Axis {
                    step: step(a),
                    places: [vec![None; before], whole(a), vec![None; behind]].concat(),
                };
                vec![around(0, 0, 0), around(1, *top, *bottom), around(2, *left, *right)]
            }
            _ => return None,
        };
        Some(axes.iter().fold(vec![0], |before, axis| {
            let along = |at: usize| {
                axis.places.iter().map(move |place| match place {
                    Some(place) if at < row => at + place * axis.step,
                    _ => row,
                })
            };
            before.into_iter().flat_map(along).collect()
        }))
    }

    /// Applies [`Op::moves`].
    pub(crate) fn moved(&self, x: &[f32], shape: &[usize]) -> Option<Vec<f32>> {
        let places = self.moves(shape)?;
        Some(places.into_iter().map(|at| x.get(at).copied().unwrap_or(0.0)).collect())
    }
}

/// Shape behind a [`Op::Transpose`].
pub(super) fn transposed(x: &[usize], perm: &[usize]) -> Result<Vec<usize>, String> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..x.len()) {
        true => Ok(perm.iter().map(|&a| x[a]).collect()),
        false => Err(format!("{perm:?} does not order the axes of {x:?}")),
    }
}

/// Shape behind a [`Op::Take`].
pub(super) fn taken(x: &[usize], lists: &[Option<Vec<Option<usize>>>]) -> Result<Vec<usize>, String> {
    if lists.len() != x.len() {
        return Err(format!("{} lists of places for {x:?}", lists.len()));
    }
    let axis = |(&extent, list): (&usize, &Option<Vec<Option<usize>>>)| match list {
        None => Ok(extent),
        Some(list) => match list.iter().flatten().find(|&&at| at >= extent) {
            Some(at) => Err(format!("takes place {at} of an axis of {extent}")),
            None => Ok(list.len()),
        },
    };
    x.iter().zip(lists).map(axis).collect()
}

/// Shape behind a [`Op::Pad`].
pub(super) fn padded(x: &[usize], pad: &[usize; 4]) -> Result<Vec<usize>, String> {
    let &[c, h, w] = x else {
        return Err(format!("takes [c, h, w], found {x:?}"));
    };
    match pad.iter().all(|&p| p <= MAX_WINDOW) {
        true => Ok(vec![c, h + pad[0] + pad[2], w + pad[1] + pad[3]]),
        false => Err(format!("padding may be {MAX_WINDOW} at most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(op: &Op, shape: &[usize]) -> Vec<f32> {
        let x: Vec<f32> = (1..=shape.iter().product()).map(|i: usize| i as f32).collect();
        op.moved(&x, shape).unwrap()
    }

    #[test]
    fn axes_change_places() {
        assert_eq!(values(&Op::Transpose(vec![1, 0]), &[2, 3]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let there = Op::Transpose(vec![2, 0, 1]);
        let shape = transposed(&[2, 3, 4], &[2, 0, 1]).unwrap();
        assert_eq!(shape, [4, 2, 3]);
        let back = Op::Transpose(vec![1, 2, 0]).moved(&values(&there, &[2, 3, 4]), &shape).unwrap();
        assert!(back.iter().enumerate().all(|(i, v)| *v == i as f32 + 1.0));
        assert!(transposed(&[2, 3], &[0, 0]).is_err());
        assert!(transposed(&[2, 3], &[0]).is_err());
    }

    #[test]
    fn places_are_taken_along_each_axis() {
        let lists = vec![None, Some(vec![Some(2), None, Some(0), Some(0)])];
        assert_eq!(taken(&[2, 3], &lists).unwrap(), [2, 4]);
        assert_eq!(values(&Op::Take(lists), &[2, 3]), [3.0, 0.0, 1.0, 1.0, 6.0, 0.0, 4.0, 4.0]);
        let outer = vec![Some(vec![None, Some(1)]), None];
        assert_eq!(values(&Op::Take(outer), &[2, 2]), [0.0, 0.0, 3.0, 4.0]);
        assert!(taken(&[2, 3], &[None, Some(vec![Some(3)])]).unwrap_err().contains("place 3"));
        assert!(taken(&[2, 3], &[None]).is_err());
    }

    #[test]
    fn planes_are_padded_with_zeros() {
        let op = Op::Pad([1, 0, 0, 1]);
        assert_eq!(padded(&[2, 1, 2], &[1, 0, 0, 1]).unwrap(), [2, 2, 3]);
        assert_eq!(values(&op, &[2, 1, 2]), [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0]);
        assert!(padded(&[2, 2], &[0; 4]).is_err());
        assert!(padded(&[1, 1, 1], &[MAX_WINDOW + 1, 0, 0, 0]).is_err());
    }
}
