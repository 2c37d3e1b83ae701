//! Constants of an ONNX file: decoded, checked, and the few operations on them that exporters leave in.

use super::proto::{TensorProto, data_type};
use crate::graph::{MAX_ELEMENTS, MAX_RANK, elements};

/// A constant.
#[derive(Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// Values of a constant; narrower types are widened or rounded to these two.
#[derive(Clone, PartialEq)]
pub(super) enum Data {
    /// Finite.
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Tensor {
    pub(super) fn ints(values: Vec<i64>) -> Tensor {
        Tensor { dims: vec![values.len()], data: Data::Int(values) }
    }

    /// Decodes a TensorProto. Allocates no more than the file holds.
    pub(super) fn decode(t: &TensorProto) -> Result<Tensor, String> {
        if t.data_location != 0 {
            return Err(
                "its values lie in another file; export with everything in one file (external_data=False)"
                    .into(),
            );
        }
        let dims: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims = dims.filter(|d| d.len() <= MAX_RANK);
        let Some((dims, count)) = dims.and_then(|d| elements(&d).map(|n| (d, n))) else {
            return Err(format!("shape {:?} is not usable ({MAX_ELEMENTS} elements at most)", t.dims));
        };
        let data = match t.data_type {
            data_type::FLOAT => Data::Float(values(t, count, &t.float_data, f32::from_le_bytes)?),
            data_type::DOUBLE => {
                let wide = values(t, count, &t.double_data, f64::from_le_bytes)?;
                Data::Float(wide.into_iter().map(|v| v as f32).collect())
            }
            data_type::INT64 => Data::Int(values(t, count, &t.int64_data, i64::from_le_bytes)?),
            data_type::INT32 => {
                let narrow = values(t, count, &t.int32_data, i32::from_le_bytes)?;
                Data::Int(narrow.into_iter().map(i64::from).collect())
            }
            data_type::BOOL if t.raw_data.is_some() => {
                Data::Int(values(t, count, &[], |[b]: [u8; 1]| i64::from(b != 0))?)
            }
            other => {
                return Err(format!(
                    "{} values; known are FLOAT, DOUBLE, INT64 and INT32",
                    data_type::name(other)
                ));
            }
        };
        match &data {
            Data::Float(v) if !v.iter().all(|x| x.is_finite()) => Err("holds NaN or infinity".into()),
            _ => Ok(Tensor { dims, data }),
        }
    }

    /// Its floats, or what it is instead.
    pub(super) fn floats(&self) -> Result<&[f32], String> {
        match &self.data {
            Data::Float(v) => Ok(v),
            Data::Int(_) => Err("a constant of integers where floats are wanted".into()),
        }
    }

    /// Its integers, which must form one axis (or none).
    pub(super) fn int_list(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Int(v) if self.dims.len() <= 1 => Ok(v),
            _ => Err(format!("a constant of shape {:?} where a list of integers is wanted", self.dims)),
        }
    }

    /// The same values under other extents.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Result<Tensor, String> {
        if dims.len() > MAX_RANK || elements(&dims) != elements(&self.dims) {
            return Err(format!("a constant of shape {:?} cannot become {dims:?}", self.dims));
        }
        Ok(Tensor { dims, data: self.data.clone() })
    }

    /// Axes in another order.
    pub(super) fn transposed(&self, perm: &[usize]) -> Result<Tensor, String> {
        let rank = self.dims.len();
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(format!("perm {perm:?} does not order {rank} axes"));
        }
        let mut strides = vec![1; rank];
        for a in (1..rank).rev() {
            strides[a - 1] = strides[a] * self.dims[a];
        }
        let dims: Vec<usize> = perm.iter().map(|&a| self.dims[a]).collect();
        // Offset of each element of the result in the source, counted up like an odometer.
        let mut at = vec![0; rank];
        let mut offset = 0;
        let count = elements(&dims).unwrap_or(0);
        let mut order = Vec::with_capacity(count);
        for _ in 0..count {
            order.push(offset);
            for a in (0..rank).rev() {
                at[a] += 1;
                offset += strides[perm[a]];
                if at[a] < dims[a] {
                    break;
                }
                offset -= strides[perm[a]] * dims[a];
                at[a] = 0;
            }
        }
        let data = match &self.data {
            Data::Float(v) => Data::Float(order.iter().map(|&i| v[i]).collect()),
            Data::Int(v) => Data::Int(order.iter().map(|&i| v[i]).collect()),
        };
        Ok(Tensor { dims, data })
    }
}

/// `count` values from the raw bytes or the typed field, whichever the file uses.
fn values<T: Copy, const N: usize>(
    t: &TensorProto,
    count: usize,
    typed: &[T],
    from: fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    let wrong = |found: usize, what: &str| Err(format!("{found} {what} for shape {:?}", t.dims));
    match &t.raw_data {
        Some(raw) if !raw.is_empty() || typed.is_empty() => {
            let (items, rest) = raw.as_chunks::<N>();
            if items.len() != count || !rest.is_empty() {
                return wrong(raw.len(), "bytes");
            }
            Ok(items.iter().map(|b| from(*b)).collect())
        }
        _ if typed.len() != count => wrong(typed.len(), "values"),
        _ => Ok(typed.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(dims: &[i64], data_type: i32) -> TensorProto {
        TensorProto { dims: dims.to_vec(), data_type, ..Default::default() }
    }
    fn ints(n: i64) -> Data {
        Data::Int((0..n).collect())
    }

    #[test]
    fn typed_and_raw_values_of_all_types() {
        let cases = [
            (TensorProto { float_data: vec![1.0, 2.0], ..proto(&[2], 1) }, Data::Float(vec![1.0, 2.0])),
            (TensorProto { double_data: vec![0.5], ..proto(&[], 11) }, Data::Float(vec![0.5])),
            (TensorProto { int64_data: vec![0, 1], ..proto(&[1, 2], 7) }, ints(2)),
            (TensorProto { int32_data: vec![0], ..proto(&[1], 6) }, ints(1)),
            (TensorProto { raw_data: Some(vec![0, 0, 128, 63]), ..proto(&[1], 1) }, Data::Float(vec![1.0])),
            (TensorProto { raw_data: Some(vec![0; 8]), ..proto(&[1], 7) }, ints(1)),
            (TensorProto { raw_data: Some(vec![]), ..proto(&[0], 7) }, ints(0)),
        ];
        for (t, want) in cases {
            assert!(Tensor::decode(&t).is_ok_and(|t| t.data == want), "{t:?}");
        }
    }

    #[test]
    fn bad_tensors_are_refused() {
        for (t, want) in [
            (TensorProto { data_location: 1, ..proto(&[1], 1) }, "another file"),
            (proto(&[-1], 1), "not usable"),
            (proto(&[1 << 40, 1 << 40], 1), "not usable"),
            (proto(&[1; 9], 1), "not usable"),
            (proto(&[1], 10), "FLOAT16"),
            (proto(&[1], -3), "type -3"),
            (proto(&[1], 1), "0 values"),
            (proto(&[1 << 30], 1), "0 values"),
            (TensorProto { raw_data: Some(vec![0; 9]), ..proto(&[2], 1) }, "9 bytes"),
            (TensorProto { float_data: vec![f32::NAN], ..proto(&[1], 1) }, "NaN"),
            (TensorProto { double_data: vec![1e300], ..proto(&[1], 11) }, "infinity"),
        ] {
            let why = Tensor::decode(&t).err().expect("refused");
            assert!(why.contains(want), "{why}");
        }
    }

    #[test]
    fn transposes() {
        let t = Tensor { dims: vec![2, 3], data: ints(6) };
        assert!(t.transposed(&[1, 0]).unwrap().data == Data::Int(vec![0, 3, 1, 4, 2, 5]));
        let t = Tensor { dims: vec![2, 2, 3], data: ints(12) };
        let back = t.transposed(&[2, 0, 1]).unwrap();
        assert_eq!(back.dims, [3, 2, 2]);
        assert!(back.data == Data::Int(vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]));
        assert!(back.transposed(&[1, 2, 0]).unwrap() == t);
        for bad in [&[0, 1][..], &[0, 0, 1], &[0, 1, 3]] {
            assert!(t.transposed(bad).is_err());
        }
        assert!(Tensor { dims: vec![], data: ints(1) }.transposed(&[]).unwrap().dims.is_empty());
        assert!(t.reshaped(vec![5]).is_err());
    }
}
