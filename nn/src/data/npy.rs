//! NPY, numpy's array file: magic, version, a Python dict literal as header, values. Versions 1 to 3.

use super::array::{Array, Type};
use crate::{Error, Result};

/// Longest header that is read; numpy's own are 128 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Reads an array: bools, integers of 8 to 64 bits and floats of 16 to 64, in either byte order, in C or Fortran order.
///
/// # Errors
/// [`Error::Data`] on a wrong magic number, version, header, type or length.
pub fn read(bytes: &[u8]) -> Result<Array<'_>> {
    let (header, body) = split(bytes)?;
    let Header { descr, fortran, shape } = parse_header(header)?;
    let (kind, big_endian) = match kind(&descr) {
        Ok(kind) => kind,
        Err(why) => return refuse(format!("type {descr:?}: {why}")),
    };
    Array { shape, kind, big_endian, fortran, body, format: "NPY" }.check()
}

/// The type that numpy calls `descr`, and whether its bytes come most significant first; else what it is instead.
fn kind(descr: &str) -> std::result::Result<(Type, bool), &'static str> {
    let bare = descr.trim_start_matches(['<', '>', '=', '|']);
    let kind = match bare {
        "b1" => Type::Bool,
        "u1" => Type::U8,
        "i1" => Type::I8,
        "u2" => Type::U16,
        "i2" => Type::I16,
        "u4" => Type::U32,
        "i4" => Type::I32,
        "u8" => Type::U64,
        "i8" => Type::I64,
        "f2" => Type::F16,
        "f4" => Type::F32,
        "f8" => Type::F64,
        _ => {
            return Err(match bare.chars().next() {
                Some('O') => "Python objects, which are never loaded; save numbers, x.astype(np.float32)",
                Some('S' | 'U' | 'a') => "text; save numbers, x.astype(np.float32)",
                Some('c') => "complex numbers; save their parts as axes of floats",
                Some('f' | 'V') => "no float that other machines know; save x.astype(np.float32)",
                Some('M' | 'm') => "dates; save numbers, as x.astype(np.int64)",
                _ => "wanted bool, integers or floats; save x.astype(np.float32)",
            });
        }
    };
    Ok((kind, descr.starts_with('>')))
}

/// Bytes of a float32 array that numpy reads; `None` if the shape does not have as many elements.
pub fn write(shape: &[usize], values: &[f32]) -> Option<Vec<u8>> {
    let mut out = header("<f4", shape, values.len())?;
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    Some(out)
}

/// The same of bytes.
pub fn write_bytes(shape: &[usize], values: &[u8]) -> Option<Vec<u8>> {
    let mut out = header("|u1", shape, values.len())?;
    out.extend(values);
    Some(out)
}

fn header(descr: &str, shape: &[usize], len: usize) -> Option<Vec<u8>> {
    if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(len) {
        return None;
    }
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    // Magic, version and length take 10 bytes; values start at a multiple of 64.
    let pad = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(pad));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.bytes());
    Some(out)
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::data("NPY", why))
}

/// Header text and values.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return refuse("wrong magic number".into());
    };
    let (length, rest) = match rest {
        [1, 0, a, b, rest @ ..] => (u16::from_le_bytes([*a, *b]) as usize, rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [major, minor, ..] if *major > 3 => {
            return refuse(format!("version {major}.{minor}, known are 1.0, 2.0 and 3.0"));
        }
        _ => return refuse("the header is cut short".into()),
    };
    if length > MAX_HEADER || length > rest.len() {
        return refuse(format!(
            "a header of {length} bytes, {} are there ({MAX_HEADER} at most)",
            rest.len()
        ));
    }
    let (header, body) = rest.split_at(length);
    match std::str::from_utf8(header) {
        Ok(text) => Ok((text, body)),
        Err(_) => refuse("the header is no text".into()),
    }
}

/// What a header says.
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

/// The dict literal, whose three keys may stand in any order.
fn parse_header(header: &str) -> Result<Header> {
    let field = |key: &str| {
        let quoted = [format!("'{key}'"), format!("\"{key}\"")];
        let at = quoted.iter().find_map(|q| header.find(q.as_str()).map(|i| i + q.len()));
        let value = at.and_then(|i| header[i..].trim_start().strip_prefix(':'));
        value.map(str::trim_start).ok_or_else(|| Error::data("NPY", format!("the header has no {key}")))
    };
    let descr = field("descr")?;
    let quote = descr.chars().next().filter(|c| *c == '\'' || *c == '"');
    let Some(descr) = quote.and_then(|q| descr[1..].split_once(q)).map(|(d, _)| d) else {
        return refuse("records of several fields; save one field, x['name']".into());
    };
    let fortran = match field("fortran_order")? {
        order if order.starts_with("True") => true,
        order if order.starts_with("False") => false,
        _ => return refuse("the header's fortran_order is neither True nor False".into()),
    };
    let shape = field("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(s, _)| s);
    let dims = shape.map(|s| s.split(',').map(str::trim).filter(|d| !d.is_empty()).map(str::parse::<usize>));
    match dims.map(|d| d.collect::<std::result::Result<Vec<_>, _>>()) {
        Some(Ok(shape)) if shape.len() <= crate::graph::MAX_RANK => {
            Ok(Header { descr: descr.to_string(), fortran, shape })
        }
        _ => refuse("the header has no readable shape".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Images, Labels, Pixels};
    use super::*;

    fn file(version: u8, header: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY".to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.bytes());
        out.extend(body);
        out
    }
    fn head(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}      \n")
    }
    fn images(bytes: &[u8]) -> Result<Images> {
        read(bytes)?.images()
    }
    fn labels(bytes: &[u8]) -> Result<Labels> {
        read(bytes)?.labels()
    }
    fn why<T>(r: Result<T>) -> String {
        r.err().expect("refused").to_string()
    }

    #[test]
    fn all_types_and_versions() {
        let f64s: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let i64s: Vec<u8> = [3i64, 4].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(
            images(&file(1, &head("|u1", "(1, 2, 1)"), &[8, 9])).unwrap().pixels,
            Pixels::Raw(vec![8, 9])
        );
        let wide = images(&file(2, &head("<f8", "(1, 1, 2, 1)"), &f64s)).unwrap();
        assert_eq!((wide.shape, wide.pixels), (vec![1, 2, 1], Pixels::Float(vec![1.5, -2.0])));
        assert_eq!(labels(&file(3, &head("<i8", "(2,)"), &i64s)).unwrap().0, [3, 4]);
        assert_eq!(labels(&file(1, &head("|u1", "(2,)"), &[3, 4])).unwrap().0, [3, 4]);
        let swapped = "{\"shape\":(2,1),\"fortran_order\":False,\"descr\":\"|u1\"}";
        assert_eq!(images(&file(1, swapped, &[1, 2])).unwrap().shape, [1]);
    }

    #[test]
    fn byte_orders_and_memory_orders() {
        let swapped: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let found = images(&file(1, &head(">f4", "(2, 1)"), &swapped)).unwrap();
        assert_eq!(found.pixels, Pixels::Float(vec![1.5, -2.0]));
        let wide: Vec<u8> = [1i32, -2].iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = images(&file(1, &head("<i4", "(2, 1)"), &wide)).unwrap();
        assert_eq!(found.pixels, Pixels::Whole(vec![1.0, -2.0]));
        let fortran = head("|u1", "(2, 3)").replace("False", "True");
        let found = images(&file(1, &fortran, &[0, 3, 1, 4, 2, 5])).unwrap();
        assert_eq!(found.pixels, Pixels::Raw(vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn what_is_written_is_read() {
        let values = [0.0f32, -1.5, 3.25, 7.0, 1e-30, 2.0];
        let bytes = write(&[2, 3], &values).unwrap();
        let found = read(&bytes).unwrap();
        assert_eq!((&found.shape[..], found.kind), (&[2, 3][..], Type::F32));
        assert_eq!(found.values(|v| v as f32), values);
        assert_eq!((bytes.len() - 24) % 64, 0);
        assert_eq!(read(&write(&[6], &values).unwrap()).unwrap().shape, [6]);
        assert_eq!(write(&[2, 2], &values), None);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let nan: Vec<u8> = [0.0f32, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let far: Vec<u8> = 1e300f64.to_le_bytes().to_vec();
        for (bytes, want) in [
            (b"NUMPY".to_vec(), "wrong magic"),
            (file(9, "", &[]), "version 9.0"),
            (file(1, &head("<f16", "(1, 1)"), &[0; 16]), "astype"),
            (file(1, &head("<c8", "(1, 1)"), &[0; 8]), "complex"),
            (file(1, &head("|O", "(1, 1)"), &[0; 8]), "never loaded"),
            (file(1, &head("<U3", "(1, 1)"), &[0; 12]), "text"),
            (file(1, &head("<M8[ns]", "(1, 1)"), &[0; 8]), "dates"),
            (file(1, &head("|V2", "(1, 1)"), &[0; 2]), "no float"),
            (file(1, &head("|u1", "(1, 1)"), &[0; 2]), "2 bytes of values"),
            (file(1, &head("|u1", "(99999999999, 99999999999)"), &[]), "0 bytes of values"),
            (file(1, &head("|u1", "(99999999999, 99999999999, 0)"), &[]), "0 bytes of values"),
            (file(1, &head("|u1", "(5, 0)"), &[]), "images of shape [0]"),
            (file(1, &head("|u1", "(-1, 1)"), &[0]), "no readable shape"),
            (file(1, &head("|u1", "1"), &[0]), "no readable shape"),
            (file(1, &head("|u1", "()"), &[0]), "counts images"),
            (file(1, &head("|u1", "(1,1,1,1,1,1,1,1,1)"), &[0]), "no readable shape"),
            (file(1, &head("|u1", "(1, 1)").replace("False", "0"), &[0]), "neither True nor False"),
            (
                file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1)}", &[0; 4]),
                "several fields",
            ),
            (file(1, "{'shape': (1, 1)}", &[0]), "no descr"),
            (file(1, "{'descr'", &[0]), "no descr"),
            (file(1, "{'descr': 'ü", &[0]), "several fields"),
            (file(1, &head("<f4", "(2, 1)"), &nan), "image 1 holds NaN"),
            (file(1, &head("<f8", "(1, 1)"), &far), "beyond float32"),
        ] {
            let why = why(images(&bytes));
            assert!(why.contains(want), "wanted {want:?}, found {why}");
        }
        let mut long = file(2, "", &[]);
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(why(read(&long)).contains("at most"));
    }
}
