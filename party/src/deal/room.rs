//! How long key files are, and whether a disk has room for them.

use super::Order;
use crate::exit::{ExitCode, Failure};
use std::path::Path;
use twoply_nn::Plan;
use twoply_preprocessing::Cut;
use twoply_primitives::PartyId;

/// Bytes of `set.key`, which is one page.
const SET_BYTES: u64 = 4096;

/// Length of all key files of a key set, per party.
///
/// # Errors
/// 15 and 1 when no file can be so long.
pub fn key_files(plan: &Plan, cut: Cut) -> Result<[u64; 2], Failure> {
    let layout = plan.layout();
    let size = u64::from(cut.segment_images());
    let (whole, rest) = (cut.images() / size, cut.images() % size);
    let mut bytes = [SET_BYTES; 2];
    for (images, times) in [(size, whole), (rest, u64::from(rest > 0))] {
        if times > 0 {
            let segment = layout.for_images(images as u32)?;
            for party in PartyId::BOTH {
                let all = segment.file_bytes(party).saturating_mul(times);
                bytes[party.index()] = bytes[party.index()].saturating_add(all);
            }
        }
    }
    Ok(bytes)
}

/// Whether `need` bytes fit on the disk of `folder`, which may not exist yet. Returns what is free there, in bytes.
///
/// # Errors
/// 16 with both numbers when they do not fit, or when the system does not say.
pub fn enough(folder: &Path, need: u64) -> Result<u64, Failure> {
    let existing = folder.ancestors().find(|at| at.exists()).unwrap_or(Path::new("."));
    let space = rustix::fs::statvfs(existing);
    let space = space.map_err(|e| Failure::io("ask for the space of", existing.display(), &e.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if need > free {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let what = format!(
            "these keys need {:.1} MB on the disk of {}, {:.1} MB are free",
            mb(need),
            folder.display(),
            mb(free)
        );
        return Err(Failure::new(ExitCode::System, what)
            .remedy("free space, choose a place on another disk, or deal for fewer --images"));
    }
    Ok(free)
}

/// Whether the largest segment of a deal fits beside what is there: a dealer that delivers keeps one at a time.
pub(super) fn one_segment(order: &Order, work: &Path) -> Result<(), Failure> {
    let images = order.cut.images().min(order.cut.segment_images().into());
    let segment = order.plan.layout().for_images(images as u32)?;
    let need: u64 = PartyId::BOTH.iter().map(|&party| segment.file_bytes(party)).sum();
    enough(work, need + 2 * SET_BYTES).map(|_| ())
}
