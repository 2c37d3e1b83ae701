//! The owner of a share: its rows are masked once, written down, and only then leave, the same to both parties.

use super::out_of_step;
use super::point::{Point, reached};
use super::wire::{ToOwner, ToService};
use crate::client::Parties;
use crate::exit::{ExitCode, Failure, Phase};
use crate::files::{Existing, private_dir, write_private};
use std::path::Path;
use std::time::Duration;
use twoply_nn::Weights;
use twoply_nn::train::roles::{data_key_count, mask_rows, mask_start};
use twoply_nn::train::{Slice, Step, TrainingPlan};
use twoply_preprocessing::rows::{DataSpec, OwnerRows};
use twoply_preprocessing::{Error as Keys, FileFolder};
use twoply_primitives::{Channel, KeySetId, PartyId, Ring};
use zeroize::Zeroizing;

/// How long parties may wait for their dealer before they name the data key set.
const SETS: Duration = Duration::from_secs(3600);
/// How long a party may take to store a chunk.
const STORE: Duration = Duration::from_secs(600);

/// What an owner brings.
pub enum Offering {
    /// Rows of inputs and targets; of columns, those that it brings.
    Rows {
        /// Elements of the inputs, row after row.
        inputs: Vec<f32>,
        /// Elements of the targets, row after row; none where they are another's.
        targets: Vec<f32>,
    },
    /// The weights that training begins with.
    Start(Weights),
}

/// What was brought.
#[derive(Clone, Copy, Debug)]
pub struct Brought {
    /// The data key set.
    pub set: KeySetId,
    /// Rows.
    pub rows: u64,
    /// Bytes that left for each party by this call.
    pub bytes: u64,
    /// Whether all of it was there before.
    pub known: bool,
}

/// Brings a share. `told` hears the rows that both parties have stored.
///
/// What was masked for a data key set is on disk in `dir` until both parties have stored all of it: after a crash of anybody
/// the same call goes on, with the same bytes.
///
/// # Errors
/// 9 where the parties are bound to other rows; 10 and 15 for values that do not fit; what ends the links.
pub fn bring<R: Ring>(
    (plan, share): (&TrainingPlan, usize),
    offering: &Offering,
    parties: &mut Parties,
    dir: &Path,
    told: impl FnMut(u64),
) -> Result<Brought, Failure> {
    let step = plan.program()?;
    let slice = plan.slices()?.swap_remove(share);
    let owner = Owner { plan, step, share, slice, offering };
    owner.bring::<R>(parties, dir, told).map_err(|f| f.during(Phase::Provision))
}

struct Owner<'a> {
    plan: &'a TrainingPlan,
    step: Step,
    share: usize,
    slice: Option<Slice>,
    offering: &'a Offering,
}

impl Owner<'_> {
    fn bring<R: Ring>(
        &self,
        parties: &mut Parties,
        dir: &Path,
        mut told: impl FnMut(u64),
    ) -> Result<Brought, Failure> {
        let (plan, share) = (self.plan.digest()?.0, self.share as u8);
        parties.both(|l| {
            l.set_patience(SETS);
            Ok(l.say(&ToService::Bring { plan, share })?)
        })?;
        let sets = parties.both(|l| match l.hear()? {
            ToOwner::Set(set, complete) => Ok((set, complete)),
            _ => Err(out_of_step(l)),
        });
        let [(set, at_p0), (other, at_p1)] = sets.map_err(|f| self.refused(parties, f))?;
        if set != other {
            let what = "the parties name different data key sets";
            return Err(Failure::new(ExitCode::PlanMismatch, what)
                .remedy("both must serve the same run of one dealer"));
        }
        parties.both(|l| {
            l.set_patience(STORE);
            Ok(())
        })?;
        let spec = self.plan.data_spec(self.share, set)?;
        let rows = spec.cut.images();
        private_dir(dir)?;
        self.same(&dir.join(format!("{set}.digest")))?;
        let mut brought = Brought { set, rows, bytes: 0, known: false };
        let mut ours = match open(dir, &spec)? {
            Some(ours) => ours,
            None if !(at_p0 && at_p1) => {
                let party = if at_p0 { "P1" } else { "P0" };
                return Err(self
                    .anew(&format!("{party} has lost the rows of this share, and they are gone here too")));
            }
            None => {
                brought.known = true;
                parties.both(|l| Ok(l.say(&ToService::Done)?))?;
                return Ok(brought);
            }
        };
        for chunk in 0..spec.cut.segments() {
            brought.bytes += self.chunk::<R>(&mut ours, &spec, chunk, parties)?;
            told(spec.rows(chunk)?.end);
        }
        parties.both(|l| Ok(l.say(&ToService::Done)?))?;
        ours.finish()?;
        Ok(brought)
    }

    /// A party's refusal, with what to do where it is bound to other rows.
    fn refused(&self, parties: &mut Parties, failure: Failure) -> Failure {
        let failure = parties.refusal(failure);
        match failure.code() {
            ExitCode::KeysSpent => {
                self.anew("the parties are bound to other rows of this share, or to another owner's")
            }
            _ => failure,
        }
    }
    /// Rows that need a new data key set.
    fn anew(&self, what: &str) -> Failure {
        let name = &self.plan.shares[self.share].owner;
        Failure::new(ExitCode::KeysSpent, what)
            .remedy(format!("these rows need a new data key set: `twoply deal --follow --new-data {name}`"))
    }
    /// Whether what is brought is what was brought under this data key set before, by a digest that stays here.
    fn same(&self, path: &Path) -> Result<(), Failure> {
        let mut hash = blake3::Hasher::new_derive_key("twoply 2026-11 what an owner brings v1");
        let all: Vec<&[f32]> = match self.offering {
            Offering::Rows { inputs, targets } => vec![inputs, targets],
            Offering::Start(weights) => weights.0.iter().map(Vec::as_slice).collect(),
        };
        for values in all {
            hash.update(&(values.len() as u64).to_le_bytes());
            for value in values {
                hash.update(&value.to_le_bytes());
            }
        }
        let digest = hash.finalize().to_hex();
        match std::fs::read_to_string(path) {
            Ok(known) if known == digest.as_str() => Ok(()),
            Ok(_) => Err(self.anew("other rows than these were brought under this data key set before")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_private(path, digest.as_bytes(), Existing::Keep)
            }
            Err(e) => Err(Failure::io("read", path.display(), &e)),
        }
    }

    /// One chunk, whatever of it was done before; the bytes that left for each party.
    fn chunk<R: Ring>(
        &self,
        ours: &mut OwnerRows<FileFolder>,
        spec: &DataSpec,
        chunk: u32,
        parties: &mut Parties,
    ) -> Result<u64, Failure> {
        let digest = match ours.digest(chunk) {
            Some(digest) => digest,
            None => {
                let masked = self.masked::<R>(spec, chunk, parties)?;
                ours.write(chunk, &masked)?
            }
        };
        reached(Point::ChunkMasked);
        parties.both(|l| Ok(l.say(&ToService::Digest(digest))?))?;
        let answers = parties.both(|l| match l.hear()? {
            ToOwner::Bound(bound, stored) => Ok((bound, stored)),
            _ => Err(out_of_step(l)),
        });
        let [(a, at_p0), (b, at_p1)] = answers.map_err(|f| self.refused(parties, f))?;
        // not one byte of rows that a party is not bound to
        let bytes = ours.cleared(chunk, [(PartyId::P0, &a), (PartyId::P1, &b)])?.bytes()?;
        reached(Point::ChunkCleared);
        let mut missing = [!at_p0, !at_p1].into_iter();
        parties.both(|l| {
            if missing.next() == Some(true) {
                l.say(&ToService::Rows(chunk))?;
                l.send(&bytes)?;
            }
            Ok(())
        })?;
        reached(Point::ChunkSent);
        let (mut missing, mut had) = ([!at_p0, !at_p1].into_iter(), [a, b].into_iter());
        let stored = parties.both(|l| {
            let had = had.next().map(|bound| twoply_preprocessing::rows::Stored(bound.0));
            match (missing.next(), had) {
                (Some(false), Some(had)) => Ok(had),
                _ => match l.hear()? {
                    ToOwner::Stored(stored) => Ok(stored),
                    _ => Err(out_of_step(l)),
                },
            }
        })?;
        for (party, stored) in PartyId::BOTH.into_iter().zip(&stored) {
            ours.stored(party, stored)?;
        }
        reached(Point::ChunkKept);
        Ok(if at_p0 && at_p1 { 0 } else { bytes.len() as u64 })
    }

    fn masked<R: Ring>(
        &self,
        spec: &DataSpec,
        chunk: u32,
        parties: &mut Parties,
    ) -> Result<Vec<u8>, Failure> {
        let rows = spec.rows(chunk)?;
        let count = data_key_count(&self.step, self.slice.as_ref(), (rows.end - rows.start) as usize);
        parties.both(|l| Ok(l.say(&ToService::Keys(chunk))?))?;
        let keys = parties.both(|l| Ok(Zeroizing::new(l.recv(16 * count)?)));
        let keys = keys.map_err(|f| self.refused(parties, f))?;
        let [a, b] = keys.each_ref().map(|k| k.as_chunks::<16>().0);
        let part = |values: &'_ [f32], width: usize| -> Vec<f32> {
            values[rows.start as usize * width..rows.end as usize * width].to_vec()
        };
        Ok(match (self.offering, &self.slice) {
            (Offering::Rows { inputs, targets }, Some(slice)) => {
                let (x, y) = (part(inputs, slice.inputs.len()), part(targets, slice.targets));
                mask_rows::<R>(&self.step, slice, (&x, &y), [a, b])?
            }
            (Offering::Start(weights), None) => mask_start::<R>(&self.step, weights, [a, b])?,
            _ => return Err(Failure::new(ExitCode::Internal, "rows where weights belong")),
        })
    }
}

/// The owner's record of this data key set; `None` where both parties have stored all of it before.
fn open(dir: &Path, spec: &DataSpec) -> Result<Option<OwnerRows<FileFolder>>, Failure> {
    match OwnerRows::create(dir, spec) {
        Ok(()) | Err(Keys::Exists { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    match OwnerRows::open(dir, spec.clone()) {
        Ok(ours) => Ok(Some(ours)),
        Err(Keys::Retired { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
