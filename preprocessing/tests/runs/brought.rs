//! A small data key set of two parties and an owner, for the tests of its ledgers and rows.
#![allow(dead_code)] // each test binary uses a part

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use twoply_preprocessing::rows::*;
use twoply_preprocessing::{Cut, Error, FileFolder, PlanDigest, Result};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::{KeySetId, PartyId, Seed};

pub const ID: KeySetId = KeySetId([7; 16]);
pub const ROW: u64 = 12;

/// Two chunks, of 2 rows and of 1.
pub fn spec() -> DataSpec {
    DataSpec { set: ID, forms: PlanDigest([1; 32]), cut: Cut::new(3, 2).unwrap(), row_bytes: ROW }
}

pub fn rows(chunk: u32, time: u8) -> Vec<u8> {
    vec![10 * (chunk as u8 + 1) + time; (2 - chunk as usize) * ROW as usize]
}

/// Rows behind a salt that is not theirs.
pub fn salted(rows: &[u8]) -> Vec<u8> {
    [&[0; SALT], rows].concat()
}

/// Two parties and an owner, each with a folder.
pub struct Three([TempDir; 3]);

impl Three {
    pub fn new() -> Three {
        let three = Three([0; 3].map(|_| tempfile::tempdir().unwrap()));
        for party in PartyId::BOTH {
            let seed = Seed::new([party.index() as u8; 32]);
            DataSet::create(three.root(party.index()), party, &spec(), &seed, false).unwrap();
        }
        OwnerRows::create(three.root(2), &spec()).unwrap();
        three
    }
    pub fn root(&self, who: usize) -> &Path {
        self.0[who].path()
    }
    pub fn file(&self, who: usize, name: &str) -> PathBuf {
        self.root(who).join(ID.to_string()).join(name)
    }
    pub fn set(&self, party: PartyId) -> DataSet<FileFolder> {
        DataSet::open(self.root(party.index()), party, spec(), false).unwrap()
    }
    pub fn owner(&self) -> OwnerRows<FileFolder> {
        OwnerRows::open(self.root(2), spec()).unwrap()
    }
    /// Everything is written, bound, stored and agreed on.
    pub fn uploaded(self) -> Three {
        let (mut a, mut b, mut owner) = (self.set(P0), self.set(P1), self.owner());
        for chunk in 0..2 {
            let digest = owner.write(chunk, &rows(chunk, 0)).unwrap();
            let bound = [a.bind(&digest).unwrap(), b.bind(&digest).unwrap()];
            let bytes = owner.cleared(chunk, [(P0, &bound[0]), (P1, &bound[1])]).unwrap().bytes().unwrap();
            for (party, set) in [(P0, &mut a), (P1, &mut b)] {
                owner.stored(party, &set.store(chunk, &bytes).unwrap()).unwrap();
            }
        }
        let (m, n) = (a.data().unwrap(), b.data().unwrap());
        a.agree(&n).unwrap();
        b.agree(&m).unwrap();
        drop((a, b, owner));
        self
    }
}

pub fn error<T>(result: Result<T>) -> Error {
    result.map(|_| ()).unwrap_err()
}

pub fn is_sequence<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Sequence { .. }))
}
