//! A deal into a folder with both parties' halves.

use super::note::{Note, Way};
use super::{Order, Steps, Told, each_segment, note, room};
use crate::exit::{ExitCode, Failure, Phase};
use crate::files;
use std::path::{Path, PathBuf};
use twoply_preprocessing::{KeyDir, SegmentState, SetWriter};
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
        let (note, set) = open(order, folder, resume)?;
        let mut count = Count::default();
        each_segment(order, &set, &mut count, told)?;
        note.complete()?;
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
fn open(order: &Order, folder: &Path, resume: bool) -> Result<(Note, SetWriter), Failure> {
    let mut note = if resume {
        let note = Note::resume(folder, order, Way::Folder)?;
        enough(order, folder, note.key_set().map(|(key_set, _)| key_set))?;
        note
    } else {
        enough(order, folder, None)?;
        Note::begin(folder, order, Way::Folder)?
    };
    let set = set(order, folder, &mut note)?;
    Ok((note, set))
}

/// Whether the disk has room for both halves, beside what is there of them.
fn enough(order: &Order, folder: &Path, key_set: Option<KeySetId>) -> Result<(), Failure> {
    let whole = room::key_files(&order.plan, order.cut)?.into_iter().fold(0, u64::saturating_add);
    let layout = order.plan.layout();
    let there = halves(folder).into_iter().zip(PartyId::BOTH).filter_map(|(half, party)| {
        let summary = KeyDir::open(half, party).ok()?.summary(key_set?).ok()?;
        // what is spent is not dealt again
        let spent = summary.segments.iter().filter(|s| s.state == SegmentState::Erased);
        let spent = spent.filter_map(|s| layout.file_bytes(party, s.images as u32).ok());
        Some(summary.bytes + spent.sum::<u64>())
    });
    room::enough(folder, whole.saturating_sub(there.sum())).map(|_| ())
}

/// The key set of a deal: the one that its note names, in both halves, or a new one.
///
/// Nothing that is there is ever overwritten: halves may have been moved to their parties, or be in use here.
pub(super) fn set(order: &Order, folder: &Path, note: &mut Note) -> Result<SetWriter, Failure> {
    let folders = halves(folder);
    let roots = [folders[0].as_path(), folders[1].as_path()];
    let (key_set, begun) = match note.key_set() {
        Some(named) => named,
        None => unnamed(order, folder)?,
    };
    if begun {
        both_here(&folders, key_set, note)?;
    }
    if note.key_set().is_none() {
        note.name(key_set, begun)?;
    }
    if begun {
        return Ok(SetWriter::resume(roots, key_set, order.spec()?)?);
    }
    folders.iter().try_for_each(|half| files::private_dir(half))?;
    let set = SetWriter::begin(roots, key_set, order.spec()?)?;
    note.name(key_set, true)?;
    Ok(set)
}

/// Whether `set.key` is in both halves. The halves of a deal are moved away; then it is over.
fn both_here(folders: &[PathBuf; 2], key_set: KeySetId, note: &Note) -> Result<(), Failure> {
    let here = folders.each_ref().map(|half| half.join(key_set.to_string()).join("set.key").exists());
    let what = match here {
        [true, true] => return Ok(()),
        [false, false] => format!("both halves of key set {key_set} were moved away"),
        [p0, _] => {
            let (gone, stays) = if p0 { (1, 0) } else { (0, 1) };
            let place = folders[gone].display();
            format!(
                "P{gone}'s half of key set {key_set} is not in {place}: it was moved away; P{stays}'s half stays as \
                 it is"
            )
        }
    };
    let remedy = match note.finished() {
        true => "this deal is finished: for more keys, deal without --resume",
        false => "bring the half back to go on with this deal, or deal into another folder",
    };
    Err(Failure::new(ExitCode::System, what).remedy(remedy))
}

/// The key set of a deal whose note names none, as up to protocol 2, and whether it was begun. What is there without
/// `set.key` is erased, if nobody has used any of it.
fn unnamed(order: &Order, folder: &Path) -> Result<(KeySetId, bool), Failure> {
    let mut found = None;
    for (half, party) in halves(folder).iter().zip(PartyId::BOTH).filter(|(half, _)| half.exists()) {
        let dir = KeyDir::open(half, party)?;
        for id in dir.key_sets()? {
            match dir.path(id).join("set.key").exists() {
                true => found = Some((id, true)),
                false => dir.clear_stillborn(id, order.cut)?,
            }
        }
    }
    found.map_or_else(|| Ok((note::fresh(folder, order)?, false)), Ok)
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
