//! Constants while a network is imported: numbers of one type under a shape.

use super::types::Type;
use crate::graph::{MAX_RANK, elements};

/// A constant.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// Values of a constant. [`Call::constant`](super::call::Call::constant) knows the first two only.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Data {
    Float(Vec<f32>),
    /// INT64.
    Int(Vec<i64>),
    Double(Vec<f64>),
    /// FLOAT16 and BFLOAT16.
    Half(Type, Vec<f32>),
    /// BOOL and integers other than INT64.
    Narrow(Type, Vec<i64>),
}

impl Tensor {
    /// A list of INT64.
    pub(super) fn ints(values: Vec<i64>) -> Tensor {
        Tensor { dims: vec![values.len()], data: Data::Int(values) }
    }

    /// Numbers of a float type, rounded to it.
    pub(super) fn reals(kind: Type, dims: Vec<usize>, values: impl Iterator<Item = f64>) -> Tensor {
        let data = match kind {
            Type::Double => Data::Double(values.collect()),
            Type::Float => Data::Float(values.map(|v| v as f32).collect()),
            half => Data::Half(half, values.map(|v| half.round(v) as f32).collect()),
        };
        Tensor { dims, data }
    }

    /// Numbers of an integer type, wrapped to it.
    pub(super) fn wholes(kind: Type, dims: Vec<usize>, values: impl Iterator<Item = i64>) -> Tensor {
        let data = match kind {
            Type::Int(64) => Data::Int(values.collect()),
            narrow => Data::Narrow(narrow, values.map(|v| narrow.wrap(v)).collect()),
        };
        Tensor { dims, data }
    }

    /// Integers of this one's type, which hold all of them.
    pub(super) fn like(&self, dims: Vec<usize>, values: Vec<i64>) -> Tensor {
        Tensor { dims, data: Data::Int(values) }.of(self.kind())
    }

    /// The same integers as those of another type, which holds them all.
    pub(super) fn of(self, kind: Type) -> Tensor {
        let data = match self.data {
            Data::Int(v) | Data::Narrow(_, v) if kind == Type::Int(64) => Data::Int(v),
            Data::Int(v) | Data::Narrow(_, v) => Data::Narrow(kind, v),
            floats => floats,
        };
        Tensor { dims: self.dims, data }
    }

    pub(super) fn kind(&self) -> Type {
        match &self.data {
            Data::Float(_) => Type::Float,
            Data::Int(_) => Type::Int(64),
            Data::Double(_) => Type::Double,
            Data::Half(kind, _) | Data::Narrow(kind, _) => *kind,
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) | Data::Half(_, v) => v.len(),
            Data::Int(v) | Data::Narrow(_, v) => v.len(),
            Data::Double(v) => v.len(),
        }
    }

    /// Element `i` as a real number.
    pub(super) fn real(&self, i: usize) -> f64 {
        match &self.data {
            Data::Float(v) | Data::Half(_, v) => f64::from(v[i]),
            Data::Int(v) | Data::Narrow(_, v) => v[i] as f64,
            Data::Double(v) => v[i],
        }
    }

    /// Its floats, or what it is instead.
    pub(super) fn floats(&self) -> Result<&[f32], String> {
        match &self.data {
            Data::Float(v) | Data::Half(_, v) => Ok(v),
            _ => Err("a constant of integers where floats are wanted".into()),
        }
    }

    /// Its integers, whatever their shape.
    pub(super) fn integers(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Int(v) | Data::Narrow(_, v) => Ok(v),
            _ => Err("a constant of floats where integers are wanted".into()),
        }
    }

    /// Its integers, which must form one axis (or none).
    pub(super) fn int_list(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Int(v) | Data::Narrow(_, v) if self.dims.len() <= 1 => Ok(v),
            _ => Err(format!("a constant of shape {:?} where a list of integers is wanted", self.dims)),
        }
    }

    /// With FLOAT or INT64 values, the nearest ones.
    pub(super) fn plain(&self) -> Tensor {
        let data = match &self.data {
            Data::Double(v) => Data::Float(v.iter().map(|&v| v as f32).collect()),
            Data::Half(_, v) => Data::Float(v.clone()),
            Data::Narrow(_, v) => Data::Int(v.clone()),
            plain => plain.clone(),
        };
        Tensor { dims: self.dims.clone(), data }
    }

    /// The same values under other extents.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Result<Tensor, String> {
        if dims.len() > MAX_RANK || elements(&dims) != elements(&self.dims) {
            return Err(format!("a constant of shape {:?} cannot become {dims:?}", self.dims));
        }
        Ok(Tensor { dims, data: self.data.clone() })
    }

    /// The elements at these places, under other extents.
    pub(super) fn picked(&self, dims: Vec<usize>, places: impl Iterator<Item = usize>) -> Tensor {
        let data = match &self.data {
            Data::Float(v) => Data::Float(places.map(|i| v[i]).collect()),
            Data::Int(v) => Data::Int(places.map(|i| v[i]).collect()),
            Data::Double(v) => Data::Double(places.map(|i| v[i]).collect()),
            Data::Half(kind, v) => Data::Half(*kind, places.map(|i| v[i]).collect()),
            Data::Narrow(kind, v) => Data::Narrow(*kind, places.map(|i| v[i]).collect()),
        };
        Tensor { dims, data }
    }

    /// Axes in another order.
    pub(super) fn transposed(&self, perm: &[usize]) -> Result<Tensor, String> {
        let rank = self.dims.len();
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(format!("perm {perm:?} does not order {rank} axes"));
        }
        let dims: Vec<usize> = perm.iter().map(|&a| self.dims[a]).collect();
        let steps = steps(&self.dims);
        let steps: Vec<isize> = perm.iter().map(|&a| steps[a]).collect();
        Ok(self.picked(dims.clone(), Places::new(&dims, &steps, 0)))
    }
}

/// Elements from one place to the next along each axis, row-major.
pub(super) fn steps(dims: &[usize]) -> Vec<isize> {
    let mut steps = vec![1; dims.len()];
    for a in (1..dims.len()).rev() {
        steps[a - 1] = steps[a] * dims[a] as isize;
    }
    steps
}

/// The places of all elements of a shape, row-major, counted up like an odometer.
pub(super) struct Places<'a> {
    dims: &'a [usize],
    steps: &'a [isize],
    at: Vec<usize>,
    place: isize,
    left: usize,
}

impl<'a> Places<'a> {
    /// Starting at `first`, with these steps along the axes.
    pub(super) fn new(dims: &'a [usize], steps: &'a [isize], first: isize) -> Places<'a> {
        let left = elements(dims).unwrap_or(0);
        Places { dims, steps, at: vec![0; dims.len()], place: first, left }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let here = self.place;
        for a in (0..self.dims.len()).rev() {
            self.at[a] += 1;
            self.place += self.steps[a];
            if self.at[a] < self.dims[a] {
                break;
            }
            self.place -= self.steps[a] * self.dims[a] as isize;
            self.at[a] = 0;
        }
        Some(here as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(dims: &[usize]) -> Tensor {
        let n = dims.iter().product::<usize>() as i64;
        Tensor { dims: dims.to_vec(), data: Data::Int((0..n).collect()) }
    }

    #[test]
    fn transposes() {
        assert!(counted(&[2, 3]).transposed(&[1, 0]).unwrap().data == Data::Int(vec![0, 3, 1, 4, 2, 5]));
        let t = counted(&[2, 2, 3]);
        let back = t.transposed(&[2, 0, 1]).unwrap();
        assert_eq!(back.dims, [3, 2, 2]);
        assert!(back.data == Data::Int(vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]));
        assert!(back.transposed(&[1, 2, 0]).unwrap() == t);
        for bad in [&[0, 1][..], &[0, 0, 1], &[0, 1, 3]] {
            assert!(t.transposed(bad).is_err());
        }
        assert!(counted(&[]).transposed(&[]).unwrap().dims.is_empty());
        assert!(t.reshaped(vec![5]).is_err());
    }

    #[test]
    fn every_type_keeps_its_values_through_moves() {
        for kind in [Type::Float, Type::Double, Type::Float16] {
            let t = Tensor::reals(kind, vec![2], [0.1, 2.0].into_iter());
            assert_eq!((t.kind(), t.len()), (kind, 2));
            assert_eq!(t.picked(vec![1], [1].into_iter()).real(0), 2.0);
            assert_eq!(t.real(0), kind.round(0.1));
            assert_eq!(t.plain().kind(), Type::Float);
        }
        for kind in [Type::Bool, Type::Int(8), Type::Int(64)] {
            let t = Tensor::wholes(kind, vec![2], [0, 257].into_iter());
            assert_eq!(t.kind(), kind);
            assert_eq!(t.picked(vec![1], [1].into_iter()).integers().unwrap(), [kind.wrap(257)]);
            assert_eq!(t.plain().kind(), Type::Int(64));
        }
    }
}
