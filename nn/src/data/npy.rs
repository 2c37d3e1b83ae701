//! NPY, numpy's array file: magic, version, a Python dict literal as header, values. C order, little-endian, versions 1 to 3.

use super::{Axes, Images, Labels, MAX_BYTES, Pixels, count};
use crate::{Error, Result};

/// Longest header that is read; numpy's own are 128 bytes.
const MAX_HEADER: usize = 1 << 16;

/// An array as a file holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    /// Extents, row-major.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Values,
}

/// Values of an [`Array`], by type.
#[derive(Clone, PartialEq, Debug)]
pub enum Values {
    /// `|u1`.
    U8(Vec<u8>),
    /// `<i8`, eight bytes each.
    I64(Vec<i64>),
    /// `<f4`.
    F32(Vec<f32>),
    /// `<f8`.
    F64(Vec<f64>),
}

/// Reads an array.
///
/// # Errors
/// [`Error::Data`] on a wrong magic number, version, header, type, order or length.
pub fn read(bytes: &[u8]) -> Result<Array> {
    let (header, body) = split(bytes)?;
    let (descr, shape) = parse_header(header)?;
    let size = match &descr[..] {
        "|u1" => 1,
        "<f4" => 4,
        "<i8" | "<f8" => 8,
        other => {
            return refuse(format!(
                "type {other:?}, wanted little-endian f4, f8, i8 or u1 (convert with .astype)"
            ));
        }
    };
    // Extents of zero elsewhere would hide a product that overflows here.
    if count(&shape).and_then(|n| n.checked_mul(size)) != Some(body.len())
        || shape.iter().any(|&d| d > MAX_BYTES)
    {
        return refuse(format!("{} bytes of values for shape {shape:?} of {descr}", body.len()));
    }
    let (fours, eights) = (body.as_chunks::<4>().0.iter(), body.as_chunks::<8>().0.iter());
    let values = match &descr[..] {
        "|u1" => Values::U8(body.to_vec()),
        "<f4" => Values::F32(fours.map(|b| f32::from_le_bytes(*b)).collect()),
        "<i8" => Values::I64(eights.map(|b| i64::from_le_bytes(*b)).collect()),
        _ => Values::F64(eights.map(|b| f64::from_le_bytes(*b)).collect()),
    };
    Ok(Array { shape, values })
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
    if count(shape) != Some(len) {
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

pub(super) fn images(bytes: &[u8]) -> Result<Images> {
    let Array { shape, values } = read(bytes)?;
    let (shape, axes) = match shape[..] {
        [_, k] => (vec![k], Axes::Said),
        [_, h, w] => (vec![1, h, w], Axes::Said),
        [_, a, b, c] => (vec![a, b, c], Axes::Unsaid),
        _ => return refuse(format!("shape {shape:?}, wanted [n, k], [n, h, w] or [n, c, h, w]")),
    };
    if shape.contains(&0) {
        return refuse(format!("images of shape {shape:?}"));
    }
    let pixels = match values {
        Values::U8(v) => Pixels::Raw(v),
        Values::F32(v) => Pixels::Float(v),
        Values::F64(v) => Pixels::Float(v.into_iter().map(|x| x as f32).collect()),
        Values::I64(_) => return refuse("images of 64-bit integers; save them as u1 or f4".into()),
    };
    if let Pixels::Float(v) = &pixels
        && let Some(i) = v.iter().position(|x| !x.is_finite())
    {
        let image = i / shape.iter().product::<usize>();
        return refuse(format!("image {image} holds NaN, infinity or a value beyond float32"));
    }
    Ok(Images { shape, pixels, axes })
}

pub(super) fn labels(bytes: &[u8]) -> Result<Labels> {
    let Array { shape, values } = read(bytes)?;
    if shape.len() != 1 {
        return refuse(format!("labels of shape {shape:?}, wanted [n]"));
    }
    let narrow = |v: i64| u32::try_from(v).map_err(|_| Error::data("NPY", format!("{v} is no label")));
    match values {
        Values::U8(v) => Ok(Labels(v.into_iter().map(u32::from).collect())),
        Values::I64(v) => Ok(Labels(v.into_iter().map(narrow).collect::<Result<_>>()?)),
        _ => refuse("labels must be integers (i8 or u1)".into()),
    }
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

/// Type and shape from the dict literal, whose three keys may stand in any order.
fn parse_header(header: &str) -> Result<(String, Vec<usize>)> {
    let field = |key: &str| {
        let quoted = [format!("'{key}'"), format!("\"{key}\"")];
        let at = quoted.iter().find_map(|q| header.find(q.as_str()).map(|i| i + q.len()));
        let value = at.and_then(|i| header[i..].trim_start().strip_prefix(':'));
        value.map(str::trim_start).ok_or_else(|| Error::data("NPY", format!("the header has no {key}")))
    };
    let descr = field("descr")?;
    let quote = descr.chars().next().filter(|c| *c == '\'' || *c == '"');
    let Some(descr) = quote.and_then(|q| descr[1..].split_once(q)).map(|(d, _)| d) else {
        return refuse("records of several fields; wanted one plain type".into());
    };
    if !field("fortran_order")?.starts_with("False") {
        return refuse("Fortran order; save np.ascontiguousarray(x)".into());
    }
    let shape = field("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(s, _)| s);
    let dims = shape.map(|s| s.split(',').map(str::trim).filter(|d| !d.is_empty()).map(str::parse::<usize>));
    match dims.map(|d| d.collect::<std::result::Result<Vec<_>, _>>()) {
        Some(Ok(dims)) if dims.len() <= crate::graph::MAX_RANK => Ok((descr.to_string(), dims)),
        _ => refuse("the header has no readable shape".into()),
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_written_is_read() {
        let values = [0.0f32, -1.5, 3.25, 7.0, 1e-30, 2.0];
        let bytes = write(&[2, 3], &values).unwrap();
        assert_eq!(read(&bytes).unwrap(), Array { shape: vec![2, 3], values: Values::F32(values.to_vec()) });
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
            (file(1, &head(">f4", "(1, 1)"), &[0; 4]), ">f4"),
            (file(1, &head("<f2", "(1, 1)"), &[0; 2]), "<f2"),
            (file(1, &head("|u1", "(1, 1)"), &[0; 2]), "2 bytes of values"),
            (file(1, &head("|u1", "(99999999999, 99999999999)"), &[]), "0 bytes of values"),
            (file(1, &head("|u1", "(99999999999, 99999999999, 0)"), &[]), "0 bytes of values"),
            (file(1, &head("|u1", "(5, 0)"), &[]), "images of shape [0]"),
            (file(1, &head("|u1", "(-1, 1)"), &[0]), "no readable shape"),
            (file(1, &head("|u1", "1"), &[0]), "no readable shape"),
            (file(1, &head("|u1", "(1,)"), &[0]), "wanted [n, k]"),
            (file(1, &head("|u1", "(1,1,1,1,1,1,1,1,1)"), &[0]), "no readable shape"),
            (file(1, &head("<i8", "(1, 1)"), &[0; 8]), "64-bit integers"),
            (file(1, &head("|u1", "(1, 1)").replace("False", "True"), &[0]), "Fortran"),
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
        assert!(
            why(labels(&file(1, &head("<i8", "(1,)"), &(-1i64).to_le_bytes()))).contains("-1 is no label")
        );
        assert!(why(labels(&file(1, &head("<f4", "(1,)"), &[0; 4]))).contains("must be integers"));
        assert!(why(labels(&file(1, &head("|u1", "(1, 1)"), &[0]))).contains("wanted [n]"));
        let mut long = file(2, "", &[]);
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(why(read(&long)).contains("at most"));
    }
}
