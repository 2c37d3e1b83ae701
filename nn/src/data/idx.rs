//! IDX, the format of MNIST: 0, 0, a type byte, the number of axes, big-endian u32 extents, big-endian values.

use super::array::{Array, Type};
use crate::graph::MAX_RANK;
use crate::{Error, Result};

/// Types by their type bytes.
const TYPES: [(u8, Type); 6] = [
    (0x08, Type::U8),
    (0x09, Type::I8),
    (0x0b, Type::I16),
    (0x0c, Type::I32),
    (0x0d, Type::F32),
    (0x0e, Type::F64),
];

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::data("IDX", why))
}

/// The type that the first bytes show, if they are those of an IDX file.
pub(super) fn magic(bytes: &[u8]) -> Option<Type> {
    match bytes {
        [0, 0, code, axes, ..] if (1..=MAX_RANK).contains(&(*axes as usize)) => {
            TYPES.iter().find(|(known, _)| known == code).map(|(_, kind)| *kind)
        }
        _ => None,
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Array<'_>> {
    let Some((&[a, b, code, axes], mut rest)) = bytes.split_first_chunk::<4>() else {
        return refuse(format!("{} bytes, too short for a header", bytes.len()));
    };
    if (a, b) != (0, 0) {
        return refuse(format!("wrong magic number {a:02x} {b:02x}, wanted 00 00"));
    }
    let Some(kind) = magic(bytes) else {
        return refuse(format!("type {code:#x} with {axes} axes, wanted 0x8 to 0xe with 1 to {MAX_RANK}"));
    };
    let mut shape = vec![];
    for _ in 0..axes {
        let Some((size, tail)) = rest.split_first_chunk::<4>() else {
            return refuse("the header is cut short".into());
        };
        shape.push(u32::from_be_bytes(*size) as usize);
        rest = tail;
    }
    Array { shape, kind, big_endian: true, fortran: false, body: rest, format: "IDX" }.check()
}

#[cfg(test)]
mod tests {
    use super::super::Pixels;
    use super::*;

    fn file(kind: u8, dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, kind, dims.len() as u8];
        out.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        out.extend(values);
        out
    }

    #[test]
    fn reads_images_and_labels() {
        let bytes = file(8, &[2, 1, 2], &[1, 2, 3, 4]);
        let im = read(&bytes).unwrap().images().unwrap();
        assert_eq!((im.shape.as_slice(), im.len()), (&[1, 1, 2][..], 2));
        assert_eq!(im.pixels, Pixels::Raw(vec![1, 2, 3, 4]));
        assert_eq!(read(&file(8, &[3], &[7, 0, 255])).unwrap().labels().unwrap().0, [7, 0, 255]);
        assert_eq!(read(&file(12, &[1], &[0, 0, 1, 0])).unwrap().labels().unwrap().0, [256]);
    }

    #[test]
    fn every_type_and_number_of_axes() {
        for (code, body, want) in [
            (9, &[0xff][..], Pixels::Whole(vec![-1.0])),
            (11, &[1, 0], Pixels::Whole(vec![256.0])),
            (12, &[0, 1, 0, 0], Pixels::Whole(vec![65536.0])),
            (13, &[0xbf, 0x80, 0, 0], Pixels::Float(vec![-1.0])),
            (14, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Pixels::Float(vec![1.0])),
        ] {
            for axes in 1..=8 {
                let bytes = file(code, &vec![1; axes], body);
                let found = read(&bytes).unwrap().images().unwrap();
                assert_eq!(found.pixels, want);
                assert_eq!(found.shape.iter().product::<usize>(), 1);
            }
        }
    }

    #[test]
    fn refuses_everything_else_by_name() {
        let good = file(8, &[2, 1, 2], &[1, 2, 3, 4]);
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err());
        }
        let mut long = good.clone();
        long.push(0);
        let mut magic = good.clone();
        magic[0] = 1;
        for (bytes, want) in [
            (long, "5 bytes of values"),
            (magic, "wrong magic"),
            (file(10, &[1, 1, 1], &[0; 4]), "type 0xa"),
            (file(8, &[1; 9], &[0]), "with 9 axes"),
            (file(8, &[], &[0]), "with 0 axes"),
            (file(8, &[u32::MAX, u32::MAX, u32::MAX], &[]), "0 bytes of values"),
        ] {
            let why = read(&bytes).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let empty = read(&file(8, &[5, 0, 3], &[])).unwrap().images().unwrap_err().to_string();
        assert!(empty.contains("shape [1, 0, 3]"), "{empty}");
    }
}
