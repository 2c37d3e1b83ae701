//! Tensors as the file has them, in every encoding of every type of numbers.

use super::beside::Beside;
use super::proto::{SparseTensorProto, TensorProto};
use super::tensor::{Data, Tensor};
use super::types::{self, Type, from_brain, from_half};
use crate::graph::{MAX_ELEMENTS, MAX_RANK, elements};
use std::borrow::Cow;

/// Decodes a tensor. Allocates no more than a small multiple of what the file holds.
pub(super) fn tensor(t: &TensorProto, beside: &Beside<'_>) -> Result<Tensor, String> {
    let (dims, count) = extents(&t.dims)?;
    let Some(kind) = Type::numbered(t.data_type.into()) else {
        return Err(format!("{} values; wanted floats, integers or BOOL", types::name(t.data_type.into())));
    };
    let raw = match t.data_location {
        0 => t.raw_data.as_deref().map(Cow::Borrowed),
        _ => Some(Cow::Owned(beside.bytes(t, count.saturating_mul(kind.bytes()))?)),
    };
    let source = Source { t, count, raw: raw.as_deref() };
    let data = match kind {
        Type::Float => Data::Float(source.values(&t.float_data, f32::from_le_bytes)?),
        Type::Double => Data::Double(source.values(&t.double_data, f64::from_le_bytes)?),
        Type::Int(64) => Data::Int(source.values(&t.int64_data, i64::from_le_bytes)?),
        Type::Float16 => Data::Half(kind, source.words(|bits: u16| from_half(bits))?),
        Type::BFloat16 => Data::Half(kind, source.words(|bits: u16| from_brain(bits))?),
        Type::Uint(64) => Data::Narrow(kind, source.wide(u64::from_le_bytes)?),
        Type::Uint(32) => Data::Narrow(kind, source.wide(|b: [u8; 4]| u32::from_le_bytes(b).into())?),
        Type::Int(32) => Data::Narrow(kind, source.narrow(kind, i32::from_le_bytes)?),
        Type::Int(16) => Data::Narrow(kind, source.narrow(kind, |b: [u8; 2]| i16::from_le_bytes(b).into())?),
        Type::Uint(16) => Data::Narrow(kind, source.narrow(kind, |b: [u8; 2]| u16::from_le_bytes(b).into())?),
        Type::Int(_) => Data::Narrow(kind, source.narrow(kind, |b: [u8; 1]| i8::from_le_bytes(b).into())?),
        Type::Uint(_) | Type::Bool => Data::Narrow(kind, source.narrow(kind, |[b]: [u8; 1]| b.into())?),
    };
    Ok(Tensor { dims, data })
}

/// Decodes a sparse tensor; its dense form has at most `room` elements.
pub(super) fn sparse(t: &SparseTensorProto, beside: &Beside<'_>, room: usize) -> Result<Tensor, String> {
    let (dims, count) = extents(&t.dims)?;
    if count > room {
        return Err(format!("a sparse tensor of shape {dims:?} is too large for a model of this size"));
    }
    let part = |t: &Option<TensorProto>| tensor(t.as_ref().ok_or("a sparse tensor without values")?, beside);
    let (values, indices) = (part(&t.values)?, part(&t.indices)?);
    let list = indices.integers()?;
    // One number per value, or one for each axis.
    let each = if indices.dims.len() == 2 { dims.len() } else { 1 };
    if values.len().checked_mul(each) != Some(list.len()) {
        return Err(format!("{} indices for {} values of a sparse tensor", list.len(), values.len()));
    }
    // The place of each element among the values; behind them stands a zero.
    let mut places = vec![values.len(); count];
    for (i, index) in list.chunks_exact(each.max(1)).enumerate() {
        let place = match each {
            1 => usize::try_from(index[0]).ok(),
            _ => index
                .iter()
                .zip(&dims)
                .try_fold(0, |at, (&i, &d)| usize::try_from(i).ok().filter(|&i| i < d).map(|i| at * d + i)),
        };
        *place.and_then(|at| places.get_mut(at)).ok_or("a sparse tensor's index is out of range")? = i;
    }
    let zero = values.len();
    let at = |i: usize| if i == zero { 0.0 } else { values.real(i) };
    let whole = |i: usize| values.integers().ok().and_then(|v| v.get(i)).copied().unwrap_or(0);
    Ok(match values.kind() {
        kind if kind.is_float() => Tensor::reals(kind, dims, places.into_iter().map(at)),
        kind => Tensor::wholes(kind, dims, places.into_iter().map(whole)),
    })
}

fn extents(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let extents: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let extents = extents.filter(|d| d.len() <= MAX_RANK);
    extents
        .and_then(|d| elements(&d).map(|n| (d, n)))
        .ok_or_else(|| format!("shape {dims:?} is not usable ({MAX_ELEMENTS} elements at most)"))
}

/// Where the values of a tensor are.
struct Source<'a> {
    t: &'a TensorProto,
    count: usize,
    raw: Option<&'a [u8]>,
}

impl Source<'_> {
    /// From the raw bytes or the typed field, whichever the file uses.
    fn values<T: Copy, const N: usize>(&self, typed: &[T], from: fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        match self.raw {
            Some(raw) if !raw.is_empty() || typed.is_empty() => self.raw_values(raw, from),
            _ => self.typed_values(typed, Some),
        }
    }
    /// 16 bits each; the typed field is `int32_data`.
    fn words(&self, from: fn(u16) -> f32) -> Result<Vec<f32>, String> {
        match self.raw {
            Some(raw) if !raw.is_empty() || self.t.int32_data.is_empty() => {
                self.raw_values(raw, |bytes| from(u16::from_le_bytes(bytes)))
            }
            _ => self.typed_values(&self.t.int32_data, |v| u16::try_from(v).ok().map(from)),
        }
    }
    /// Unsigned; the typed field is `uint64_data`.
    fn wide<const N: usize>(&self, from: fn([u8; N]) -> u64) -> Result<Vec<i64>, String> {
        let wide = self.values(&self.t.uint64_data, from)?;
        let narrow = wide.iter().map(|&v| i64::try_from(v).ok()).collect::<Option<Vec<_>>>();
        narrow.ok_or_else(|| "a number beyond 2^63".into())
    }
    /// The typed field is `int32_data`.
    fn narrow<const N: usize>(&self, kind: Type, from: fn([u8; N]) -> i32) -> Result<Vec<i64>, String> {
        let values = self.values(&self.t.int32_data, from)?;
        let fits = |v: i32| Some(i64::from(v)).filter(|&v| kind == Type::Bool || kind.wrap(v) == v);
        let values =
            values.into_iter().map(fits).collect::<Option<Vec<_>>>().ok_or("a number beyond its type")?;
        Ok(values.into_iter().map(|v| kind.wrap(v)).collect())
    }

    fn raw_values<T, const N: usize>(
        &self,
        raw: &[u8],
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        let (items, rest) = raw.as_chunks::<N>();
        if items.len() != self.count || !rest.is_empty() {
            return Err(format!("{} bytes for shape {:?}", raw.len(), self.t.dims));
        }
        Ok(items.iter().map(|b| from(*b)).collect())
    }
    fn typed_values<S: Copy, T>(&self, typed: &[S], from: impl Fn(S) -> Option<T>) -> Result<Vec<T>, String> {
        if typed.len() != self.count {
            return Err(format!("{} values for shape {:?}", typed.len(), self.t.dims));
        }
        typed.iter().map(|v| from(*v)).collect::<Option<_>>().ok_or_else(|| "a number beyond its type".into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Entry;
    use super::*;

    fn proto(dims: &[i64], data_type: i32) -> TensorProto {
        TensorProto { dims: dims.to_vec(), data_type, ..Default::default() }
    }
    fn decoded(t: &TensorProto) -> Result<Tensor, String> {
        tensor(t, &Beside::new(None))
    }
    fn refused(t: &TensorProto) -> String {
        decoded(t).expect_err("refused")
    }

    #[test]
    fn typed_and_raw_values_of_all_types() {
        let int32 = |values: &[i32], data_type| TensorProto {
            int32_data: values.to_vec(),
            ..proto(&[values.len() as i64], data_type)
        };
        let raw =
            |bytes: &[u8], data_type| TensorProto { raw_data: Some(bytes.into()), ..proto(&[1], data_type) };
        for (t, want) in [
            (TensorProto { float_data: vec![1.5], ..proto(&[1], 1) }, 1.5),
            (raw(&[0, 0, 128, 63], 1), 1.0),
            (TensorProto { double_data: vec![0.1], ..proto(&[], 11) }, 0.1),
            (raw(&1e300f64.to_le_bytes(), 11), 1e300),
            (raw(&[0, 0x3c], 10), 1.0),
            (int32(&[0x3c00], 10), 1.0),
            (raw(&[0x80, 0x3f], 16), 1.0),
            (int32(&[0x3f80], 16), 1.0),
            (TensorProto { int64_data: vec![-7], ..proto(&[1, 1], 7) }, -7.0),
            (raw(&[255; 8], 7), -1.0),
            (int32(&[-7], 6), -7.0),
            (raw(&[255; 4], 6), -1.0),
            (raw(&[255; 2], 5), -1.0),
            (raw(&[255; 2], 4), 65535.0),
            (int32(&[-128], 3), -128.0),
            (raw(&[255], 3), -1.0),
            (raw(&[255], 2), 255.0),
            (int32(&[255], 2), 255.0),
            (int32(&[1], 9), 1.0),
            (raw(&[7], 9), 1.0),
            (raw(&[255; 4], 12), u32::MAX.into()),
            (TensorProto { uint64_data: vec![9], ..proto(&[1], 12) }, 9.0),
            (TensorProto { uint64_data: vec![9], ..proto(&[1], 13) }, 9.0),
        ] {
            let got = decoded(&t).unwrap_or_else(|e| panic!("{t:?}: {e}"));
            assert_eq!((got.real(0), Some(got.kind())), (want, Type::numbered(t.data_type.into())));
        }
        assert_eq!(decoded(&TensorProto { raw_data: Some(vec![]), ..proto(&[0], 7) }).unwrap().len(), 0);
        // What is not finite may be a limit of Clip; where weights are wanted it is refused.
        assert!(decoded(&TensorProto { float_data: vec![f32::INFINITY], ..proto(&[], 1) }).is_ok());
    }

    #[test]
    fn bad_tensors_are_refused() {
        for (t, want) in [
            (proto(&[-1], 1), "not usable"),
            (proto(&[1 << 40, 1 << 40], 1), "not usable"),
            (proto(&[1; 9], 1), "not usable"),
            (proto(&[1], 8), "STRING"),
            (proto(&[1], -3), "type -3"),
            (proto(&[1], 1), "0 values"),
            (proto(&[1 << 30], 1), "0 values"),
            (TensorProto { raw_data: Some(vec![0; 9]), ..proto(&[2], 1) }, "9 bytes"),
            (TensorProto { int32_data: vec![300], ..proto(&[1], 2) }, "beyond its type"),
            (TensorProto { int32_data: vec![-1], ..proto(&[1], 10) }, "beyond its type"),
            (TensorProto { uint64_data: vec![u64::MAX], ..proto(&[1], 13) }, "beyond 2^63"),
            (TensorProto { data_location: 1, ..proto(&[1], 1) }, "does not name"),
        ] {
            assert!(refused(&t).contains(want), "wanted {want:?}, found {}", refused(&t));
        }
    }

    #[test]
    fn sparse_tensors_become_dense() {
        let values = TensorProto { float_data: vec![5.0, 7.0], ..proto(&[2], 1) };
        let at = |list: &[i64], dims: &[i64]| SparseTensorProto {
            values: Some(values.clone()),
            indices: Some(TensorProto { int64_data: list.to_vec(), ..proto(dims, 7) }),
            dims: vec![2, 2],
        };
        let dense = |t: &SparseTensorProto| sparse(t, &Beside::new(None), 100);
        for t in [at(&[1, 2], &[2]), at(&[0, 1, 1, 0], &[2, 2])] {
            assert!(dense(&t).unwrap().data == Data::Float(vec![0.0, 5.0, 7.0, 0.0]));
        }
        for t in [at(&[1, 4], &[2]), at(&[1, -1], &[2]), at(&[0, 2, 1, 0], &[2, 2]), at(&[1], &[1])] {
            assert!(dense(&t).is_err());
        }
        let large = SparseTensorProto { dims: vec![1 << 15, 1 << 15], ..at(&[1, 2], &[2]) };
        assert!(dense(&large).err().is_some_and(|why| why.contains("too large")));
    }

    /// One file of eight bytes.
    struct One;
    impl super::super::Folder for One {
        fn length(&self, location: &str) -> Result<u64, String> {
            if location == "w.data" { Ok(8) } else { Err("is not there".into()) }
        }
        fn read(&self, _: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
            Ok([1f32.to_le_bytes(), 2f32.to_le_bytes()].concat()[offset as usize..][..length].to_vec())
        }
    }

    #[test]
    fn values_in_another_file() {
        let beside = Beside::new(Some(&One));
        let t = |entries: &[(&str, &str)]| {
            let entry = |&(key, value): &(&str, &str)| Entry { key: key.into(), value: value.into() };
            let external_data = entries.iter().map(entry).collect();
            TensorProto { data_location: 1, external_data, ..proto(&[1], 1) }
        };
        let got = tensor(&t(&[("location", "w.data"), ("offset", "4"), ("length", "4")]), &beside);
        assert_eq!(got.unwrap().real(0), 2.0);
        assert_eq!(tensor(&t(&[("location", "w.data")]), &beside).unwrap().real(0), 1.0);
        for (entries, want) in [
            (&[("location", "v.data")][..], "`v.data` is not there"),
            (&[("location", "w.data"), ("offset", "5")], "holds 8 bytes, and 4 from 5 on"),
            (&[("location", "w.data"), ("offset", "18446744073709551615")], "holds 8 bytes"),
            (&[("location", "w.data"), ("offset", "-1")], "offset is no number"),
            (&[("location", "w.data"), ("length", "8")], "8 bytes in `w.data` for shape [1]"),
        ] {
            let why = tensor(&t(entries), &beside).expect_err("refused");
            assert!(why.contains(want), "{why}");
        }
        let again = (0..9).find_map(|_| tensor(&t(&[("location", "w.data")]), &beside).err());
        assert!(again.is_some_and(|why| why.contains("times over")));
        assert!(refused(&t(&[("location", "w.data")])).contains("external_data=False"));
    }
}
