//! NPZ, numpy's archive of arrays: a ZIP file with an NPY file for each, stored or deflated.

use super::MAX_BYTES;
use crate::{Error, Result};
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// Most arrays that are listed.
const LISTED: usize = 10;

/// Bytes of the NPY file of the array called `name`, or of the only one.
pub(super) fn read(bytes: &[u8], name: Option<&str>) -> Result<Vec<u8>> {
    let damaged = |e: &dyn std::fmt::Display| Error::data("NPZ", format!("damaged: {e}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(&e))?;
    let mut names: Vec<&str> = archive.file_names().filter_map(|file| file.strip_suffix(".npy")).collect();
    names.sort_unstable();
    let name = match (name, &names[..]) {
        (_, []) => return Err(Error::data("NPZ", foreign(&archive))),
        (Some(name), names) if names.contains(&name) => name,
        (None, [only]) => only,
        (name, names) => {
            let what = match name {
                Some(name) => format!("no array is called `{name}`; there are {}", list(names)),
                None => format!("it holds the arrays {}; choose one, as file.npz:{}", list(names), names[0]),
            };
            return Err(Error::data("NPZ", what));
        }
    };
    let file = archive.by_name(&format!("{name}.npy")).map_err(|e| damaged(&e))?;
    let mut out = Vec::new();
    // One byte more than allowed shows that there is too much, without unpacking all of it. Claimed sizes are not believed.
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut out).map_err(|e| damaged(&e))?;
    if out.len() > MAX_BYTES {
        return Err(Error::data("NPZ", format!("the array unpacks to more than {MAX_BYTES} bytes")));
    }
    Ok(out)
}

fn list(names: &[&str]) -> String {
    let listed = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{listed}, ..") } else { listed }
}

/// What an archive without arrays is instead.
fn foreign(archive: &ZipArchive<Cursor<&[u8]>>) -> String {
    let has = |end: &str| archive.file_names().any(|name| name.ends_with(end));
    let (what, remedy) = if has("[Content_Types].xml") {
        ("an office document", "save the table as CSV")
    } else if has("data.pkl") {
        ("a file of torch.save", "save the array with np.save(path, x.numpy())")
    } else {
        ("a ZIP archive without arrays", "unpack it, and name the folder")
    };
    format!("this is {what}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::super::{Images, npy};
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn archive(entries: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(vec![]));
        let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        // As numpy writes it.
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        for (name, bytes) in entries {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn one_array_or_the_one_that_is_named() {
        let (x, y) = (npy::write(&[1, 2], &[1.0, 2.0]).unwrap(), npy::write_bytes(&[2], &[3, 4]).unwrap());
        for deflated in [false, true] {
            assert_eq!(read(&archive(&[("x.npy", &x)], deflated), None).unwrap(), x);
            let both = archive(&[("x.npy", &x), ("y.npy", &y), ("note.txt", b"hello")], deflated);
            assert_eq!(read(&both, Some("y")).unwrap(), y);
            let why = read(&both, None).unwrap_err().to_string();
            assert!(why.contains("arrays x, y") && why.contains("file.npz:x"), "{why}");
            assert!(read(&both, Some("z")).unwrap_err().to_string().contains("no array is called `z`"));
            assert_eq!(Images::read_part(&both, Some("x")).unwrap().0.shape, [2]);
        }
    }

    #[test]
    fn other_archives_are_called_by_name() {
        for (entry, want) in
            [("[Content_Types].xml", "CSV"), ("net/data.pkl", "torch.save"), ("a.png", "unpack it")]
        {
            let why = read(&archive(&[(entry, b"x")], false), None).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let good = archive(&[("x.npy", b"abc")], true);
        for cut in 0..good.len() {
            assert!(read(&good[..cut], None).is_err(), "cut at {cut}");
        }
    }
}
