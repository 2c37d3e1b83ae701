//! The life of a data key set: its rows at the owner, and one half at a party; the other party is as this one.

use super::*;
use crate::disk::life::{self, Found, Life};
use crate::store::SET;
use crate::{Error, FileFolder, Result};
use std::fs;
use std::path::{Path, PathBuf};
use twoply_primitives::{PartyId, Seed};

const ID: KeySetId = KeySetId([7; 16]);
const P1: PartyId = PartyId::P1;
const PLACES: [&str; 3] = ["party", "owner", "runs"];

fn spec() -> DataSpec {
    let cut = Cut::new(3, 2).unwrap();
    DataSpec { set: ID, forms: PlanDigest([1; 32]), cut, row_bytes: 5000 }
}

/// What the owner encodes, each time anew.
fn rows(chunk: u32, time: u8) -> Vec<u8> {
    vec![10 * (chunk as u8 + 1) + time; spec().bytes(chunk).unwrap() as usize]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise {
    /// A half, or the owner's rows, are begun.
    Begun(usize),
    Written(RowsDigest),
    Bound(u32),
    Stored(u32),
    Whole,
    /// The owner's rows.
    Dropping(u32),
    Dropped(u32),
    Finished,
    /// A party's rows or (2) seed.
    Erasing(u32),
    Erased(u32),
    Retired,
}

fn file(place: usize, name: &str) -> PathBuf {
    [PLACES[place], &ID.to_string(), name].iter().collect()
}

fn part_name(part: u32) -> String {
    if part == 2 { SET.into() } else { name(part) }
}

impl life::Promise for Promise {
    fn erases(&self) -> Option<(PathBuf, bool)> {
        match self {
            Promise::Dropping(chunk) => Some((file(1, &name(*chunk)), false)),
            Promise::Dropped(chunk) => Some((file(1, &name(*chunk)), true)),
            Promise::Erasing(part) => Some((file(0, &part_name(*part)), false)),
            Promise::Erased(part) => Some((file(0, &part_name(*part)), true)),
            _ => None,
        }
    }
}

fn create_half(root: &Path) -> Result<()> {
    DataSet::create(&root.join(PLACES[0]), P1, &spec(), &Seed::new([3; 32]), false)
}
fn half(root: &Path) -> Result<DataSet<FileFolder>> {
    DataSet::open(&root.join(PLACES[0]), P1, spec(), false)
}
fn create_owner(root: &Path) -> Result<()> {
    OwnerRows::create(&root.join(PLACES[1]), &spec())
}
fn owner(root: &Path) -> Result<OwnerRows<FileFolder>> {
    OwnerRows::open(&root.join(PLACES[1]), spec())
}

/// The other party says the same.
fn both(bound: &Bound) -> [(PartyId, &Bound); 2] {
    PartyId::BOTH.map(|party| (party, bound))
}

fn live(root: &Path, promise: &mut dyn FnMut(Promise)) {
    create_half(root).unwrap();
    promise(Promise::Begun(0));
    create_owner(root).unwrap();
    promise(Promise::Begun(1));
    let (mut set, mut mine) = (half(root).unwrap(), owner(root).unwrap());
    for chunk in 0..2 {
        let digest = mine.write(chunk, &rows(chunk, 0)).unwrap();
        promise(Promise::Written(digest));
        let bound = set.bind(&digest).unwrap();
        promise(Promise::Bound(chunk));
        let bytes = mine.cleared(chunk, both(&bound)).unwrap().bytes().unwrap();
        let stored = set.store(chunk, &bytes).unwrap();
        promise(Promise::Stored(chunk));
        PartyId::BOTH.iter().for_each(|party| mine.stored(*party, &stored).unwrap());
    }
    set.agree(&set.data().unwrap()).unwrap();
    promise(Promise::Whole);
    (0..2).for_each(|chunk| promise(Promise::Dropping(chunk)));
    mine.finish().unwrap();
    (0..2).for_each(|chunk| promise(Promise::Dropped(chunk)));
    promise(Promise::Finished);
    (0..3).for_each(|part| promise(Promise::Erasing(part)));
    set.retire(&root.join(PLACES[2])).unwrap();
    (0..3).for_each(|part| promise(Promise::Erased(part)));
    promise(Promise::Retired);
}

/// The set at a place, made anew if it was not promised; `None` if it is over there.
fn there<T>(told: &[Promise], place: usize, again: Result<()>, open: Result<T>) -> Result<Option<T>> {
    let over = [Promise::Erasing(0), Promise::Dropping(0)][place];
    match (again, open) {
        (Err(Error::Retired { .. }), _) | (_, Err(Error::Retired { .. })) if told.contains(&over) => Ok(None),
        (Err(e), _) if !matches!(e, Error::Exists { .. }) => Err(e),
        (_, open) => open.map(Some),
    }
}

fn found(root: &Path, told: &[Promise]) -> Found {
    let text = |e: Error| e.to_string();
    // Before it is opened, which erases what is left.
    let gone = |p: &&Promise| {
        life::Promise::erases(*p).is_some_and(|(file, erased)| erased && root.join(file).exists())
    };
    told.iter().find(gone).map_or(Ok(()), |promise| Err(format!("{promise:?}")))?;
    let begun = |place, create: fn(&Path) -> Result<()>| match told.contains(&Promise::Begun(place)) {
        true => Ok(()),
        false => create(root),
    };
    let set = there(told, 0, begun(0, create_half), half(root)).map_err(text)?;
    let mine = there(told, 1, begun(1, create_owner), owner(root)).map_err(text)?;
    let written = |chunk| {
        told.iter().find_map(|p| match p {
            Promise::Written(rows) if rows.chunk == chunk => Some(*rows),
            _ => None,
        })
    };
    for promise in told {
        let kept = match promise {
            Promise::Written(rows) => mine.as_ref().is_none_or(|mine| mine.digest(rows.chunk) == Some(*rows)),
            Promise::Finished => mine.is_none(),
            Promise::Retired => {
                let folder = fs::read_dir(root.join(file(0, ""))).unwrap().count();
                set.is_none() && folder == 1 && matches!(create_half(root), Err(Error::Retired { .. }))
            }
            _ => true,
        };
        kept.then_some(()).ok_or_else(|| format!("{promise:?}"))?;
    }
    let Some(mut set) = set else { return Ok(()) };
    if set.seed().map_err(text)?.expose() != &[3; 32] {
        return Err("another seed".into());
    }
    // The upload goes on, with other rows if nothing was kept.
    let mut mine = mine;
    for chunk in 0..2 {
        let digest = match &mut mine {
            None => written(chunk).ok_or("the owner is over and wrote nothing")?,
            Some(mine) => match mine.digest(chunk) {
                Some(digest) => digest,
                None => mine.write(chunk, &rows(chunk, 1)).map_err(text)?,
            },
        };
        let bound = set.bind(&digest).map_err(text)?;
        if told.contains(&Promise::Bound(chunk)) && written(chunk) != Some(bound.0) {
            return Err("bound to other rows".into());
        }
        if let (Some(mine), false) = (&mine, told.contains(&Promise::Stored(chunk))) {
            let bytes = mine.cleared(chunk, both(&bound)).and_then(|rows| rows.bytes()).map_err(text)?;
            set.store(chunk, &bytes).map_err(text)?;
        }
    }
    if told.contains(&Promise::Whole) && set.whole().is_err() {
        return Err("no longer whole".into());
    }
    set.agree(&set.data().map_err(text)?).map_err(text)?;
    for chunk in 0..2 {
        set.whole().and_then(|whole| whole.chunk(chunk)).map_err(text)?;
    }
    Ok(())
}

#[test]
fn a_crash_between_any_two_calls_lets_no_other_rows_under_a_mask_and_every_sync_is_needed() {
    Life::record(&PLACES, live).crash(20, found);
}
