//! A party's side of a data owner's call: keys of masks out, rows that were masked once in.

use super::lobby::Lobby;
use super::point::{Point, reached};
use super::sets::Sets;
use super::wire::{ToOwner, ToService};
use super::{COMPUTING, on, out_of_step};
use crate::exit::{ExitCode, Failure, Phase};
use crate::transport::Link;
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::train::roles::{data_keys, data_origin};
use twoply_preprocessing::FileFolder;
use twoply_preprocessing::rows::{DataSet, SALT};
use twoply_primitives::Channel;
use zeroize::Zeroizing;

/// How long an owner waits for a dealer to name the data key sets.
const SETS: Duration = Duration::from_secs(3600);

/// Serves one owner until it is done.
pub fn serve(lobby: &Lobby, link: &mut Link, share: usize) -> Result<(), Failure> {
    talk(lobby, link, share).map_err(|failure| failure.during(Phase::Provision))?;
    (lobby.say)(&format!("`{}` has brought its share", lobby.plan.shares[share].owner));
    lobby.ring();
    Ok(())
}

fn talk(lobby: &Lobby, link: &mut Link, share: usize) -> Result<(), Failure> {
    link.admit_all();
    let none = || {
        Failure::new(ExitCode::KeysMissing, "no dealer has named data key sets yet")
            .remedy("start `twoply deal --follow` with this plan, and bring the share again")
    };
    let sets: Arc<Sets> = lobby.sets(SETS)?.ok_or_else(none)?;
    link.set_patience(COMPUTING);
    lobby.belongs(sets.ids[share], link.peer())?;
    let complete = sets.lock(share).is_some_and(|set| set.data().is_ok());
    link.say(&ToOwner::Set(sets.ids[share], complete)).map_err(on(link))?;
    loop {
        let said = link.hear().map_err(on(link))?;
        let answer = {
            let mut set = sets.lock(share).ok_or_else(none)?;
            match said {
                // who bound a chunk has written its rows down, and needs no keys of them
                ToService::Keys(chunk) if set.is_bound(chunk) => return Err(bound(chunk)),
                ToService::Keys(chunk) => Word::Keys(keys(lobby, &set, share, chunk)?),
                ToService::Digest(rows) => {
                    let bound = set.bind(&rows)?;
                    reached(Point::ChunkBound);
                    let stored = set.stored(rows.chunk).is_some();
                    Word::Said(ToOwner::Bound(bound, stored))
                }
                ToService::Rows(chunk) => Word::Rows(chunk, SALT + set.spec().bytes(chunk)? as usize),
                ToService::Done => return Ok(()),
                _ => return Err(out_of_step(link)),
            }
        };
        match answer {
            Word::Keys(keys) => link.send(keys.as_flattened()).map_err(|e| Failure::on_link(e, link))?,
            Word::Said(word) => link.say(&word).map_err(on(link))?,
            Word::Rows(chunk, length) => {
                let rows = link.recv(length).map_err(|e| Failure::on_link(e, link))?;
                let stored = sets.lock(share).ok_or_else(none)?.store(chunk, &rows)?;
                reached(Point::ChunkStored);
                link.say(&ToOwner::Stored(stored)).map_err(on(link))?;
            }
        }
    }
}

fn bound(chunk: u32) -> Failure {
    Failure::new(ExitCode::KeysSpent, format!("chunk {chunk} is bound to other rows"))
        .remedy("these need a new data key set: `twoply deal --follow --new-data NAME`")
}

/// What to say once the set is free for others again.
enum Word {
    Keys(Zeroizing<Vec<[u8; 16]>>),
    Said(ToOwner),
    Rows(u32, usize),
}

fn keys(
    lobby: &Lobby,
    set: &DataSet<FileFolder>,
    share: usize,
    chunk: u32,
) -> Result<Zeroizing<Vec<[u8; 16]>>, Failure> {
    let (spec, slice) = (set.spec(), lobby.plan.slices()?.swap_remove(share));
    let rows = spec.rows(chunk)?;
    let rows: Vec<usize> = (rows.start as usize..rows.end as usize).collect();
    Ok(data_keys(lobby.step, slice.as_ref(), (data_origin(spec.set), &set.seed()?), &rows).into())
}
