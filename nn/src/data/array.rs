//! Arrays as NPY and IDX files hold them: numbers of one type, in either byte order and either order of axes.

use super::{Axes, Images, Labels, MAX_BYTES, MAX_VALUES, Pixels};
use crate::{Error, Result};
use half::f16;

/// Type of the numbers of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Type {
    /// A byte; everything but 0 is 1.
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// An array as a file holds it: the file's bytes, and how to read them.
#[derive(Clone, PartialEq, Debug)]
pub struct Array<'a> {
    /// Extents, batch first.
    pub shape: Vec<usize>,
    /// Type of its numbers.
    pub kind: Type,
    pub(super) big_endian: bool,
    /// Whether the first index runs fastest.
    pub(super) fortran: bool,
    pub(super) body: &'a [u8],
    /// File format, for errors.
    pub(super) format: &'static str,
}

impl Type {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Type::Bool | Type::U8 | Type::I8 => 1,
            Type::U16 | Type::I16 | Type::F16 => 2,
            Type::U32 | Type::I32 | Type::F32 => 4,
            Type::U64 | Type::I64 | Type::F64 => 8,
        }
    }
    fn floats(self) -> bool {
        matches!(self, Type::F16 | Type::F32 | Type::F64)
    }

    /// The number in [`Type::size`] bytes. Integers beyond 2^53 are rounded.
    fn read(self, bytes: &[u8], big_endian: bool) -> f64 {
        macro_rules! number {
            ($t:ty) => {{
                let mut b = [0; size_of::<$t>()];
                b.copy_from_slice(bytes);
                if big_endian { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) }
            }};
        }
        match self {
            Type::Bool => f64::from(u8::from(bytes[0] != 0)),
            Type::U8 => f64::from(bytes[0]),
            Type::I8 => f64::from(number!(i8)),
            Type::U16 => f64::from(number!(u16)),
            Type::I16 => f64::from(number!(i16)),
            Type::U32 => f64::from(number!(u32)),
            Type::I32 => f64::from(number!(i32)),
            Type::U64 => number!(u64) as f64,
            Type::I64 => number!(i64) as f64,
            Type::F16 => number!(f16).to_f64(),
            Type::F32 => f64::from(number!(f32)),
            Type::F64 => number!(f64),
        }
    }
}

impl Array<'_> {
    /// Checks the length of the values against the header, before anything is allocated for them.
    pub(super) fn check(self) -> Result<Self> {
        let (shape, size) = (&self.shape, self.kind.size());
        // Extents of zero elsewhere would hide a product that overflows here.
        let values = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if values.and_then(|n| n.checked_mul(size)) != Some(self.body.len())
            || shape.iter().any(|&d| d > MAX_BYTES)
        {
            let why = format!("{} bytes of values for shape {shape:?} of {:?}", self.body.len(), self.kind);
            return self.refuse(why);
        }
        if self.body.len() > MAX_BYTES || (size > 1 || self.kind == Type::I8) && self.len() > MAX_VALUES {
            return self.refuse(format!("{} values are too many at once; split them into files", self.len()));
        }
        Ok(self)
    }

    /// Number of values.
    fn len(&self) -> usize {
        self.body.len() / self.kind.size()
    }

    /// The values, row-major, each as `f` makes it. Integers beyond 2^53 come rounded.
    pub fn values<T>(&self, f: impl Fn(f64) -> T) -> Vec<T> {
        let size = self.kind.size();
        let at = |i: usize| f(self.kind.read(&self.body[i * size..][..size], self.big_endian));
        match self.fortran {
            false => (0..self.len()).map(at).collect(),
            true => column_major(&self.shape).take(self.len()).map(at).collect(),
        }
    }

    pub(super) fn images(&self) -> Result<Images> {
        let (shape, axes) = match self.shape[..] {
            [] => return self.refuse("one number; the first axis of an array counts images".into()),
            [_] => (vec![1], Axes::Said),
            [_, h, w] => (vec![1, h, w], Axes::Said),
            [_, a, b, c] => (vec![a, b, c], Axes::Unsaid),
            _ => (self.shape[1..].to_vec(), Axes::Said),
        };
        if shape.contains(&0) {
            return self.refuse(format!("images of shape {shape:?}"));
        }
        let pixels = match self.kind {
            Type::Bool | Type::U8 => Pixels::Raw(self.values(|v| v as u8)),
            kind if kind.floats() => Pixels::Float(self.values(|v| v as f32)),
            _ => Pixels::Whole(self.values(|v| v as f32)),
        };
        if let Pixels::Float(v) = &pixels
            && let Some(i) = v.iter().position(|x| !x.is_finite())
        {
            let image = i / shape.iter().product::<usize>();
            return self.refuse(format!(
                "image {image} holds NaN, infinity or a value beyond float32; fill such values in first"
            ));
        }
        Ok(Images { shape, pixels, axes })
    }

    pub(super) fn labels(&self) -> Result<Labels> {
        match self.shape[..] {
            [_] | [_, 1] => {}
            [_, k] => {
                let why = format!("labels of shape {:?}, wanted [n]", self.shape);
                return self.refuse(format!("{why}; of {k} scores or marks a row take x.argmax(1)"));
            }
            _ => return self.refuse(format!("labels of shape {:?}, wanted [n]", self.shape)),
        }
        if self.kind.floats() {
            let why = format!("labels must be integers, these are {:?}; save x.astype(int)", self.kind);
            return self.refuse(why);
        }
        self.values(|v| v).into_iter().map(|v| label(v, self.format)).collect::<Result<_>>().map(Labels)
    }

    fn refuse<T>(&self, why: String) -> Result<T> {
        Err(Error::data(self.format, why))
    }
}

/// A label from a number.
pub(super) fn label(value: f64, format: &'static str) -> Result<u32> {
    match value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
        true => Ok(value as u32),
        false => {
            Err(Error::data(format, format!("{value} is no label; classes are whole numbers from 0 on")))
        }
    }
}

/// Where the values of an array lie that is stored with its first index running fastest, in row-major order. Without end.
fn column_major(shape: &[usize]) -> impl Iterator<Item = usize> {
    let step = |next: &mut usize, extent: &usize| {
        let step = *next;
        *next *= extent;
        Some((*extent, step))
    };
    let axes: Vec<(usize, usize)> = shape.iter().scan(1, step).collect();
    let (mut index, mut at) = (vec![0; axes.len()], 0);
    std::iter::from_fn(move || {
        let here = at;
        for (i, (extent, step)) in index.iter_mut().zip(&axes).rev() {
            *i += 1;
            at += step;
            if *i < *extent {
                break;
            }
            at -= *i * step;
            *i = 0;
        }
        Some(here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array<'a>(shape: &[usize], kind: Type, body: &'a [u8]) -> Array<'a> {
        let (shape, big_endian, fortran) = (shape.to_vec(), true, false);
        Array { shape, kind, big_endian, fortran, body, format: "array" }
    }

    #[test]
    fn every_type_is_read_in_both_byte_orders() {
        for (kind, little, want) in [
            (Type::Bool, &[2u8][..], 1.0),
            (Type::U8, &[200], 200.0),
            (Type::I8, &[200], -56.0),
            (Type::U16, &[1, 2], 513.0),
            (Type::I16, &[0xfe, 0xff], -2.0),
            (Type::U32, &[0, 0, 0, 0x80], 2_147_483_648.0),
            (Type::I32, &[0, 0, 0, 0x80], -2_147_483_648.0),
            (Type::U64, &[0, 0, 0, 0, 0, 0, 0, 0x80], 9_223_372_036_854_775_808.0),
            (Type::I64, &[0xff; 8], -1.0),
            (Type::F16, &[0, 0xc1], -2.5),
            (Type::F32, &[0, 0, 0x20, 0xc0], -2.5),
            (Type::F64, &[0, 0, 0, 0, 0, 0, 0x04, 0xc0], -2.5),
        ] {
            assert_eq!(kind.size(), little.len());
            let big: Vec<u8> = little.iter().rev().copied().collect();
            assert_eq!(kind.read(little, false), want, "{kind:?}");
            assert_eq!(array(&[1], kind, &big).values(|v| v), [want], "{kind:?}");
        }
    }

    #[test]
    fn the_first_index_may_run_fastest() {
        let (shape, body): (_, Vec<u8>) = ([2, 3, 4], (0..24).collect());
        let found = Array { fortran: true, ..array(&shape, Type::U8, &body) }.values(|v| v as usize);
        let want = (0..2).flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| i + 2 * j + 6 * k)));
        assert!(found.into_iter().eq(want));
        assert!(Array { fortran: true, ..array(&[0, 3], Type::U8, &[]) }.values(|v| v).is_empty());
    }

    #[test]
    fn whole_numbers_floats_and_bytes_are_told_apart() {
        let images = |kind, body: &[u8]| array(&[1, 1], kind, body).check().unwrap().images().unwrap();
        assert_eq!(images(Type::Bool, &[9]).pixels, Pixels::Raw(vec![1]));
        assert_eq!(images(Type::U16, &[1, 0]).pixels, Pixels::Whole(vec![256.0]));
        assert_eq!(images(Type::I8, &[0x80]).pixels, Pixels::Whole(vec![-128.0]));
        assert_eq!(images(Type::F16, &[0x3c, 0]).pixels, Pixels::Float(vec![1.0]));
        assert_eq!(images(Type::U8, &[7]).shape, [1]);
        assert_eq!(array(&[2], Type::U8, &[7, 8]).images().unwrap().len(), 2);
        assert!(array(&[], Type::U8, &[7]).images().is_err());
    }

    #[test]
    fn labels_are_whole_numbers_in_one_column() {
        let labels = |shape: &[usize], kind, body: &[u8]| array(shape, kind, body).labels();
        assert_eq!(labels(&[2], Type::I16, &[0, 3, 1, 0]).unwrap().0, [3, 256]);
        assert_eq!(labels(&[2, 1], Type::Bool, &[0, 1]).unwrap().0, [0, 1]);
        for (found, want) in [
            (labels(&[1], Type::I8, &[0xff]), "-1 is no label"),
            (labels(&[1], Type::U64, &[0xff; 8]), "is no label"),
            (labels(&[1], Type::F32, &[0; 4]), "must be integers"),
            (labels(&[1, 2], Type::U8, &[0; 2]), "argmax"),
            (labels(&[1, 1, 1], Type::U8, &[0]), "wanted [n]"),
        ] {
            let why = found.unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
    }
}
