//! Which format bytes are in: told by how they begin, and for CIFAR, which has no beginning, by their length.

use super::{cifar, idx, table};
use crate::{Error, Result};

/// What is read: each format, and what of it.
pub const FORMATS: &[(&str, &str)] = &[
    (
        "NPY",
        "arrays of bool, integers and floats of 16 to 64 bits, C or Fortran order, either byte order: [n, k], [n, h, w], \
         [n, c, h, w] or [n, h, w, c]",
    ),
    ("NPZ", "its array, or the one that is named: file.npz:name"),
    (
        "CSV",
        "a row of numbers per image or record, with comma, semicolon, tab or spaces, with names of columns or without; \
         file.csv:label or file.csv:2-785 takes these columns",
    ),
    ("IDX", "all six types, 1 to 8 axes"),
    (
        "PNG",
        "grey, RGB and palettes (as RGB) of 1 to 16 bits; alpha is left out where all is opaque, transparent pixels are \
         refused",
    ),
    ("JPEG", "grey and colour, baseline and progressive, as stored (a camera's orientation is not applied)"),
    ("CIFAR", "CIFAR-10 and CIFAR-100 in binary, with their labels (of CIFAR-100 the fine ones)"),
];

/// Formats that are known and not read: how they begin, and what to do.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"PAR1", "Parquet", TABLE),
    (b"ARROW1", "Arrow", TABLE),
    (b"\x89HDF", "HDF5", ARRAY),
    (b"MATLAB", "MATLAB", ARRAY),
    (b"\x80", "a Python pickle, which could run any code", ARRAY),
    (b"\xd0\xcf\x11\xe0", "an old office document", "save the table as CSV"),
    (b"GIF8", "GIF", PICTURE),
    (b"BM", "BMP", PICTURE),
    (b"RIFF", "WebP", PICTURE),
    (b"II*\0", "TIFF", PICTURE),
    (b"MM\0*", "TIFF", PICTURE),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (b"BZh", "bzip2", "unpack it first; gzip is read as it is"),
    (b"\xfd7zXZ", "xz", "unpack it first; gzip is read as it is"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unpack it first; gzip is read as it is"),
];
const TABLE: &str =
    "write it as CSV (pandas: df.to_csv(path, index=False)) or as an array (np.save(path, df.to_numpy()))";
const ARRAY: &str = "load it in Python and save the array with np.save";
const PICTURE: &str = "convert it to PNG";

/// A format that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Npy,
    Npz,
    Csv,
    Idx,
    Png,
    Jpeg,
    Cifar,
}

/// The format that the bytes show.
///
/// # Errors
/// [`Error::Data`] naming what they are instead, and the way out.
pub(super) fn format(bytes: &[u8]) -> Result<Format> {
    let cifar = cifar::fits(bytes);
    Ok(match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Format::Npy,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Format::Npz,
        [0x89, b'P', b'N', b'G', ..] => Format::Png,
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        // A dark picture of CIFAR may begin as an IDX file does; its length is none of one.
        _ if idx::magic(bytes).is_some() && (!cifar || idx::read(bytes).is_ok()) => Format::Idx,
        _ if table::is_text(bytes) => Format::Csv,
        _ if cifar => Format::Cifar,
        _ => return Err(unknown(bytes)),
    })
}

fn unknown(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        return Error::data("images", "the file is empty");
    }
    if let Some((_, what, remedy)) = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Error::data("images", format!("this is {what}, which is not read; {remedy}"));
    }
    let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
    let known =
        names.split_last().map_or(String::new(), |(last, all)| format!("{} nor {last}", all.join(", ")));
    let (count, first) = (bytes.len(), &bytes[..bytes.len().min(8)]);
    Error::data("images", format!("{count} bytes starting with {first:02x?} are neither {known}; {ARRAY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        for (bytes, want) in [
            (&b"\x93NUMPY\x01"[..], Format::Npy),
            (b"PK\x03\x04..", Format::Npz),
            (b"\x89PNG\r\n", Format::Png),
            (b"\xff\xd8\xff\xe0", Format::Jpeg),
            (&[0, 0, 8, 3, 0], Format::Idx),
            (b"1,2\n", Format::Csv),
            (&[7; 3073], Format::Cifar),
            (&[7; 3074], Format::Cifar),
            (&[b'7'; 3073], Format::Csv),
        ] {
            assert_eq!(format(bytes).unwrap(), want, "{bytes:02x?}");
        }
        let mut dark = [0u8; 3073];
        (dark[2], dark[3]) = (8, 1);
        assert_eq!(format(&dark).unwrap(), Format::Cifar);
    }

    #[test]
    fn others_are_refused_by_name_with_the_way_out() {
        for (bytes, name, remedy) in [
            (&b"PAR1\x15\0"[..], "Parquet", "df.to_csv"),
            (b"\x89HDF\r\n\x1a\n", "HDF5", "np.save"),
            (b"\x80\x04\x95\0", "pickle", "np.save"),
            (b"GIF89a\0", "GIF", "PNG"),
            (b"\xff\xfe1\0", "UTF-16", "UTF-8"),
            (b"\x07\0\0", "neither NPY, NPZ, CSV, IDX, PNG, JPEG nor CIFAR", "np.save"),
            (b"", "empty", ""),
        ] {
            let why = format(bytes).unwrap_err().to_string();
            assert!(why.contains(name) && why.contains(remedy), "{why}");
        }
    }
}
