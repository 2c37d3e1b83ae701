//! Which images a data owner was granted, and to which weights a model owner bound a mask: append-only text files in
//! the owner's home, so that parties restored from a backup cannot make it mask twice.

use crate::exit::{ExitCode, Failure};
use crate::jobs::Grant;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;

/// Images granted to this data owner: one line each, `key-set first end`.
pub struct Seen {
    path: PathBuf,
    file: File,
    ranges: Vec<(String, Range<u64>)>,
}

fn corrupt(path: &Path, line: usize) -> Failure {
    Failure::new(ExitCode::KeysSpent, format!("{}: line {line} is no record", path.display())).remedy(
        "restore the file; without it images might be masked twice. With a new deal it may be moved away",
    )
}

fn open(path: &Path) -> Result<(File, Vec<String>), Failure> {
    let io = |e| Failure::io("open", path.display(), &e);
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path).map_err(io)?;
    let mut bytes = vec![];
    (&file).read_to_end(&mut bytes).map_err(io)?;
    // A line without its end was torn by a crash before anything was done on its strength.
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64).map_err(io)?;
    }
    let lines = BufReader::new(&bytes[..whole]).lines().collect::<Result<_, _>>().map_err(io)?;
    Ok((file, lines))
}

fn append(file: &mut File, path: &Path, line: &str) -> Result<(), Failure> {
    file.write_all(format!("{line}\n").as_bytes())
        .and_then(|()| file.sync_data())
        .map_err(|e| Failure::io("write", path.display(), &e))
}

impl Seen {
    /// Reads the record, or begins one.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let (file, lines) = open(path)?;
        let parse = |line: &str| {
            let mut parts = line.split(' ');
            let (set, from, to) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            (parts.next().is_none() && from < to).then(|| (set.to_string(), from..to))
        };
        let numbered = lines.iter().enumerate();
        let ranges =
            numbered.map(|(i, l)| parse(l).ok_or_else(|| corrupt(path, i + 1))).collect::<Result<_, _>>()?;
        Ok(Seen { path: path.into(), file, ranges })
    }
    /// Notes a grant durably; refuses images that were granted before.
    pub fn grant(&mut self, g: &Grant) -> Result<(), Failure> {
        let (set, range) = (g.key_set.to_string(), g.first..g.first.saturating_add(g.images.into()));
        let again = |(s, r): &&(String, Range<u64>)| *s == set && r.start < range.end && range.start < r.end;
        if let Some((_, r)) = self.ranges.iter().find(again) {
            let text = format!(
                "the parties grant images {}..{} of key set {set} again",
                r.start.max(range.start),
                r.end.min(range.end)
            );
            return Err(Failure::new(ExitCode::KeysSpent, text).remedy(
                "a party was restored from a backup: discard this key set at both parties and deal a new one",
            ));
        }
        append(&mut self.file, &self.path, &format!("{set} {} {}", range.start, range.end))?;
        self.ranges.push((set, range));
        Ok(())
    }
}

/// Binds a key set's weight mask to masked weights: one line, `key-set digest`.
pub fn bind_weights(path: &Path, set: KeySetId, digest: &[u8; 32]) -> Result<(), Failure> {
    let (mut file, lines) = open(path)?;
    let digest = blake3::Hash::from_bytes(*digest).to_hex();
    for (i, line) in lines.iter().enumerate() {
        let (bound, to) = line.split_once(' ').ok_or_else(|| corrupt(path, i + 1))?;
        if bound == set.to_string() && to != digest.as_str() {
            let text = format!("the weight mask of key set {set} was used for other weights");
            return Err(
                Failure::new(ExitCode::KeysSpent, text).remedy("deal a new key set for the new weights")
            );
        }
        if bound == set.to_string() {
            return Ok(());
        }
    }
    append(&mut file, path, &format!("{set} {digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: KeySetId = KeySetId([5; 16]);

    #[test]
    fn an_image_is_granted_once_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let grant = |first, images| Grant { key_set: SET, first, images, cursor: 100 };
        let mut seen = Seen::open(&path).unwrap();
        seen.grant(&grant(0, 10)).unwrap();
        seen.grant(&grant(20, 5)).unwrap();
        assert_eq!(seen.grant(&grant(9, 2)).unwrap_err().code(), ExitCode::KeysSpent);
        drop(seen);
        let mut seen = Seen::open(&path).unwrap();
        for (first, images) in [(0, 1), (24, 1), (15, 6)] {
            assert!(seen.grant(&grant(first, images)).is_err(), "{first} {images}");
        }
        seen.grant(&grant(10, 10)).unwrap();
        seen.grant(&Grant { key_set: KeySetId([6; 16]), first: 0, images: 3, cursor: 3 }).unwrap();
    }

    #[test]
    fn a_mask_is_bound_to_one_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bound");
        bind_weights(&path, SET, &[1; 32]).unwrap();
        bind_weights(&path, SET, &[1; 32]).unwrap();
        assert_eq!(bind_weights(&path, SET, &[2; 32]).unwrap_err().code(), ExitCode::KeysSpent);
        bind_weights(&path, KeySetId([6; 16]), &[2; 32]).unwrap();
    }

    #[test]
    fn damaged_records_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        for text in ["x\n", "a 1\n", "a 3 3\n", "a 1 2 3\n", "a -1 2\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Seen::open(&path).is_err(), "{text}");
        }
    }

    /// A crash in the middle of writing a line must not lock the owner out, nor run into the next line.
    #[test]
    fn repro_a_torn_last_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let grant = |first| Grant { key_set: SET, first, images: 10, cursor: 100 };
        Seen::open(&path).unwrap().grant(&grant(0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for torn in ["0", "05050505 1", "05050505050505050505050505050505 10 2"] {
            std::fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
            let mut seen = Seen::open(&path).unwrap();
            assert_eq!(seen.grant(&grant(5)).unwrap_err().code(), ExitCode::KeysSpent);
            seen.grant(&grant(10)).unwrap();
            assert_eq!(Seen::open(&path).unwrap().ranges.len(), 2);
        }
    }
}
