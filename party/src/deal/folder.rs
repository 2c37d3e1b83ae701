//! A deal into a folder with both parties' halves.

use super::note::Note;
use super::{Order, Steps, Told, each_segment};
use crate::exit::{Failure, Phase};
use crate::files;
use std::path::{Path, PathBuf};
use twoply_preprocessing::{KeyDir, SetWriter};
use twoply_primitives::{KeySetId, PartyId};

/// What a deal gave.
#[derive(Clone, Debug)]
pub struct Dealt {
    /// The key set.
    pub key_set: KeySetId,
    /// Both parties' key folders.
    pub folders: [PathBuf; 2],
    /// Length of all key files per party.
    pub bytes: [u64; 2],
    /// Segments dealt by this call.
    pub new: u32,
    /// Segments that an earlier call had dealt.
    pub old: u32,
}

/// Deals into `folder/p0` and `folder/p1`. `resume` goes on with what an earlier process began there.
///
/// # Errors
/// 16 when the folder is in use or the disk is full, 6 or 2 when the deal begun there is another one.
pub fn into_folder(
    order: &Order,
    folder: &Path,
    resume: bool,
    told: &mut Told<'_>,
) -> Result<Dealt, Failure> {
    let mut run = || {
        let (_note, set) = open(order, folder, resume)?;
        let mut count = Count::default();
        each_segment(order, &set, &mut count, told)?;
        let folders = halves(folder);
        let bytes = |party: PartyId| -> Result<u64, Failure> {
            Ok(KeyDir::open(&folders[party.index()], party)?.summary(set.key_set())?.bytes)
        };
        let bytes = [bytes(PartyId::P0)?, bytes(PartyId::P1)?];
        Ok(Dealt { key_set: set.key_set(), folders, bytes, new: count.new, old: count.old })
    };
    run().map_err(|failure: Failure| failure.during(Phase::Deal))
}

/// Both parties' key folders of a deal.
pub(super) fn halves(folder: &Path) -> [PathBuf; 2] {
    [folder.join("p0"), folder.join("p1")]
}

/// Begins a deal in a folder, or goes on with it.
pub(super) fn open(order: &Order, folder: &Path, resume: bool) -> Result<(Note, SetWriter), Failure> {
    let note = if resume { Note::resume(folder, order)? } else { Note::begin(folder, order)? };
    let set = set(order, folder)?;
    Ok((note, set))
}

/// The key set of a deal: the one that is there in both halves, or a new one.
pub(super) fn set(order: &Order, folder: &Path) -> Result<SetWriter, Failure> {
    let folders = halves(folder);
    folders.iter().try_for_each(|half| files::private_dir(half))?;
    let roots = [folders[0].as_path(), folders[1].as_path()];
    let [p0, p1] = [KeyDir::open(roots[0], PartyId::P0)?, KeyDir::open(roots[1], PartyId::P1)?];
    let begun = |dir: &KeyDir, id: KeySetId| dir.path(id).join("set.key").exists();
    for id in p0.key_sets()? {
        if begun(&p0, id) && begun(&p1, id) {
            return Ok(SetWriter::resume(roots, id, order.spec()?)?);
        }
    }
    // What is there was never complete in both halves, so nobody can have used any of it.
    for dir in [&p0, &p1] {
        dir.key_sets()?.into_iter().try_for_each(|id| files::wipe_dir(&dir.path(id)))?;
    }
    Ok(SetWriter::create(roots, order.spec()?)?)
}

/// Deals every segment that is not there.
#[derive(Default)]
struct Count {
    new: u32,
    old: u32,
}

impl Steps for Count {
    fn wanted(&mut self, _: &SetWriter, _: u32) -> Result<bool, Failure> {
        Ok(true)
    }
    fn dealt(&mut self, _: &SetWriter, _: u32, new: bool) -> Result<(), Failure> {
        if new {
            self.new += 1;
        } else {
            self.old += 1;
        }
        Ok(())
    }
}
