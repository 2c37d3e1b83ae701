//! This party's share of a figure that a plan lists, kept until its owner takes it: `<attempt>-<step>-<reveal>.figure`.
//!
//! ```text
//! 0  magic, 8    8  how often this was delivered, this time included, u32    12  the share
//!    BLAKE3 digest of the run's name, the file's and all before, 32
//! ```

use super::{CheckpointId, RunId};
use crate::folder::Folder;
use crate::{Error, Result};
use std::io::Read;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"twoplyf\0";
const HEADER: usize = 12;
const DIGEST: usize = 32;
/// More bytes than any figure's share has.
const LONGEST: u64 = 1 << 20;
const EXTENSION: &str = "figure";

/// One party's share of a figure.
#[derive(Clone, PartialEq, Eq)]
pub struct FigureShare {
    /// Attempt and step of the weights that it is about.
    pub id: CheckpointId,
    /// Number of the reveal in the plan.
    pub reveal: u32,
    /// How often the reveal was delivered here so far, in all attempts.
    pub count: u32,
    /// The share.
    pub share: Zeroizing<Vec<u8>>,
}

fn name(id: CheckpointId, reveal: u32) -> String {
    format!("{:05}-{:08}-{reveal:02}.{EXTENSION}", id.attempt, id.step)
}

fn parse(file: &str) -> Option<(CheckpointId, u32)> {
    let mut numbers = file.strip_suffix(EXTENSION)?.strip_suffix('.')?.split('-');
    let mut next = || numbers.next()?.parse().ok();
    let (id, reveal) = (CheckpointId { attempt: next()?, step: next()? }, next()?);
    (name(id, reveal) == file).then_some((id, reveal))
}

fn digest(run: RunId, name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("twoply figure v1");
    hash.update(&run.0).update(name.as_bytes());
    parts.iter().for_each(|part| _ = hash.update(part));
    *hash.finalize().as_bytes()
}

/// Writes a figure's share, durably.
pub(super) fn save<F: Folder>(folder: &mut F, run: RunId, figure: &FigureShare) -> Result<()> {
    let name = name(figure.id, figure.reveal);
    let parts = [&MAGIC[..], &figure.count.to_le_bytes(), &figure.share];
    let digest = digest(run, &name, &parts);
    folder.save(&name, &[parts[0], parts[1], parts[2], &digest])
}

/// All figures' shares of a run's folder, in the order of attempts and steps.
pub(super) fn all<F: Folder>(folder: &F, run: RunId) -> Result<Vec<FigureShare>> {
    let named: Vec<String> = folder.names()?.into_iter().filter(|file| parse(file).is_some()).collect();
    named.iter().filter_map(|file| Some(load(folder, run, file, parse(file)?))).collect()
}

fn load<F: Folder>(
    folder: &F,
    run: RunId,
    file: &str,
    (id, reveal): (CheckpointId, u32),
) -> Result<FigureShare> {
    let path = folder.path(file);
    let (len, reader) = folder.open(file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(len.min(LONGEST) as usize));
    reader.take(LONGEST).read_to_end(&mut bytes).map_err(|e| Error::io(&path, "read", e))?;
    let found = bytes.split_at_checked(bytes.len().saturating_sub(DIGEST));
    let whole = found.filter(|(body, end)| {
        body.len() >= HEADER && body.starts_with(&MAGIC) && **end == digest(run, file, &[body])
    });
    let Some((body, _)) = whole else { return Err(Error::corrupt(&path, "the file")) };
    let count = u32::from_le_bytes(std::array::from_fn(|i| body[MAGIC.len() + i]));
    Ok(FigureShare { id, reveal, count, share: body[HEADER..].to_vec().into() })
}
