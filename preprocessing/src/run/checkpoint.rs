//! The file of a checkpoint: `<attempt>-<step>.checkpoint`. Little-endian:
//!
//! ```text
//!   0  magic, 8     8  version, u32     12  holder, u32     16  run, 16     32  attempt, u32     36  step, u32
//!  40  set id, 16  56  hash of the run's terms, 24  80  bytes of weights, velocities, accumulators, 3 u64
//! 104  chained transcript, 32  136  BLAKE3 digest of all before, 32
//! 168  at a party: masked weights, velocities, accumulators, own mask shares; at the dealer: both shares of masks
//!      BLAKE3 digest of the public part (zeros at the dealer), 32; BLAKE3 digest of all before, 32
//! ```
//!
//! The first digest of the trailer is the one that parties compare. It covers no shares, so it says nothing of them.

use super::{CheckpointId, Holder, Lengths, RunId, TermsHash};
use crate::folder::Folder;
use crate::{Error, Result};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use twoply_primitives::KeySetId;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"twoplyc\0";
/// Version of the format.
const FORMAT: u32 = 1;
const SEALED: usize = 136;
const HEADER: usize = SEALED + 32;
const TRAILER: usize = 64;
const EXTENSION: &str = "checkpoint";

/// The state of a run at a party, at one checkpoint.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Masked weights.
    pub weights: Vec<u8>,
    /// Masked velocities.
    pub velocities: Vec<u8>,
    /// Masked accumulators.
    pub accumulators: Vec<u8>,
    /// This party's shares of the masks of all these, in this order.
    pub shares: Zeroizing<Vec<u8>>,
}

/// Both parties' shares of the masks of one checkpoint: all that the dealer keeps.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Masks {
    /// Of P0 and P1: masks of weights, velocities and accumulators, in this order.
    pub shares: [Zeroizing<Vec<u8>>; 2],
}

/// What a checkpoint's file is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub holder: Holder,
    pub run: RunId,
    pub terms: TermsHash,
    pub lengths: Lengths,
    pub id: CheckpointId,
    pub set: KeySetId,
    /// Of the attempt, up to the checkpoint; zeros at the start and at the dealer.
    pub transcript: [u8; 32],
}

/// Name of a checkpoint's file.
pub(super) fn name(id: CheckpointId) -> String {
    format!("{:05}-{:08}.{EXTENSION}", id.attempt, id.step)
}

/// The checkpoint that a name stands for.
pub(super) fn parse(file: &str) -> Option<CheckpointId> {
    let (attempt, step) = file.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    let id = CheckpointId { attempt: attempt.parse().ok()?, step: step.parse().ok()? };
    (name(id) == file).then_some(id)
}

fn digest(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hash.update(part);
    }
    *hash.finalize().as_bytes()
}

/// The public part's digest: begun by everything that names it, fed with the masked values.
fn public(header: &Header) -> blake3::Hasher {
    let mut hash = blake3::Hasher::new_derive_key("twoply checkpoint v1 public part");
    hash.update(&header.run.0).update(&header.id.attempt.to_le_bytes()).update(&header.id.step.to_le_bytes());
    hash.update(&header.set.0);
    for length in header.lengths.words() {
        hash.update(&length.to_le_bytes());
    }
    hash.update(&header.transcript);
    hash
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let [weights, velocities, accumulators] = self.lengths.words().map(u64::to_le_bytes);
        let words = [FORMAT, self.holder.number(), self.id.attempt, self.id.step].map(u32::to_le_bytes);
        let mut bytes = [&MAGIC[..], &words[0], &words[1], &self.run.0, &words[2], &words[3], &self.set.0]
            .into_iter()
            .chain([&self.terms.0[..], &weights, &velocities, &accumulators, &self.transcript])
            .flatten()
            .copied()
            .collect::<Vec<_>>();
        bytes.extend(digest("twoply checkpoint v1 header", &[&bytes]));
        bytes
    }

    /// Reads a header; `path` is for errors.
    fn decode(path: &Path, bytes: &[u8; HEADER]) -> Result<Header> {
        fn take<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
            std::array::from_fn(|i| bytes[at + i])
        }
        let word = |at| u32::from_le_bytes(take(bytes, at));
        let long = |at| u64::from_le_bytes(take(bytes, at));
        if take(bytes, 0) != MAGIC {
            return Err(bad(path, "is no checkpoint"));
        }
        if word(8) != FORMAT {
            return Err(Error::Version { path: path.into(), found: word(8), known: FORMAT });
        }
        if digest("twoply checkpoint v1 header", &[&bytes[..SEALED]]) != bytes[SEALED..] {
            return Err(bad(path, "has a damaged header"));
        }
        Ok(Header {
            holder: Holder::from_number(word(12)).ok_or_else(|| bad(path, "names no holder"))?,
            run: RunId(take(bytes, 16)),
            id: CheckpointId { attempt: word(32), step: word(36) },
            set: KeySetId(take(bytes, 40)),
            terms: TermsHash(take(bytes, 56)),
            lengths: Lengths { weights: long(80), velocities: long(88), accumulators: long(96) },
            transcript: take(bytes, 104),
        })
    }

    /// How many parts of the body are public.
    fn publics(&self) -> usize {
        if self.holder == Holder::Dealer { 0 } else { 3 }
    }
}

/// Lengths of the body's parts: public ones, then shares.
fn parts(holder: Holder, lengths: Lengths) -> Vec<u64> {
    match holder {
        Holder::Dealer => vec![lengths.total(); 2],
        _ => lengths.words().into_iter().chain([lengths.total()]).collect(),
    }
}

fn bad(path: &Path, why: impl Into<String>) -> Error {
    Error::BadCheckpoint { path: path.into(), why: why.into() }
}

/// The digest of the public part (zeros at the dealer). A part of another length than the plan's is an error.
pub(super) fn digest_of(header: &Header, parts: &[&[u8]]) -> Result<[u8; 32]> {
    if !parts.iter().map(|part| part.len() as u64).eq(self::parts(header.holder, header.lengths)) {
        return Err(Error::Sequence { wanted: "a state of the plan's lengths" });
    }
    let mut hash = public(header);
    for part in &parts[..header.publics()] {
        hash.update(part);
    }
    Ok(if header.publics() == 0 { [0; 32] } else { *hash.finalize().as_bytes() })
}

/// Hands all bytes of a checkpoint to `to`; the digest of its public part.
pub(super) fn write(
    header: &Header,
    parts: &[&[u8]],
    to: impl FnOnce(&[&[u8]]) -> Result<()>,
) -> Result<[u8; 32]> {
    let ours = digest_of(header, parts)?;
    let bytes = header.encode();
    let mut all = vec![&bytes[..]];
    all.extend(parts);
    all.push(&ours);
    let whole = digest("twoply checkpoint v1 file", &all);
    all.push(&whole);
    to(&all)?;
    Ok(ours)
}

/// The same into a folder, durably.
pub(super) fn save<F: Folder>(folder: &mut F, header: &Header, parts: &[&[u8]]) -> Result<[u8; 32]> {
    write(header, parts, |all| folder.save(&name(header.id), all))
}

/// Reads a checkpoint's file and verifies every byte. What is in `wanted` (but set id and transcript) must be there;
/// `take` gets the body in pieces: number of its part, bytes. Returns header and the digest of the public part.
pub(super) fn read<F: Folder>(
    folder: &F,
    wanted: &Wanted,
    take: impl FnMut(usize, &[u8]),
) -> Result<(Header, [u8; 32])> {
    let file = name(wanted.id);
    let path = folder.path(&file);
    let (len, mut reader) = folder.open(&file)?;
    let header = header(&path, (len, &mut reader))?;
    let digest = body(&path, (len, &mut reader), (&header, wanted), take)?;
    Ok((header, digest))
}

/// Reads the header of a file of `len` bytes, which nobody has compared with anything yet.
pub(super) fn header(path: &Path, (len, reader): (u64, &mut impl Read)) -> Result<Header> {
    if len < HEADER as u64 {
        return Err(bad(path, format!("has {len} bytes, which is not even a header")));
    }
    let mut bytes = [0; HEADER];
    reader.read_exact(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
    Header::decode(path, &bytes)
}

/// Reads what follows the header of a file of `len` bytes, as [`read`] does; the digest of the public part.
pub(super) fn body(
    path: &Path,
    (len, reader): (u64, &mut impl Read),
    (header, wanted): (&Header, &Wanted),
    mut take: impl FnMut(usize, &[u8]),
) -> Result<[u8; 32]> {
    let failed = |e: io::Error| Error::io(path, "read", e);
    wanted.check(path.into(), header)?;
    let parts = parts(header.holder, header.lengths);
    let need = parts.iter().sum::<u64>() + (HEADER + TRAILER) as u64;
    if len != need {
        return Err(bad(path, format!("has {len} bytes, the plan says {need}")));
    }
    let mut whole = blake3::Hasher::new_derive_key("twoply checkpoint v1 file");
    whole.update(&header.encode());
    let mut ours = public(header);
    let mut piece = Zeroizing::new([0; 1 << 14]);
    for (number, part) in parts.iter().enumerate() {
        let mut left = *part;
        while left > 0 {
            let now = left.min(piece.len() as u64) as usize;
            reader.read_exact(&mut piece[..now]).map_err(failed)?;
            whole.update(&piece[..now]);
            if number < header.publics() {
                ours.update(&piece[..now]);
            }
            take(number, &piece[..now]);
            left -= now as u64;
        }
    }
    let ours = if header.publics() == 0 { [0; 32] } else { *ours.finalize().as_bytes() };
    let mut trailer = [0; TRAILER];
    reader.read_exact(&mut trailer).map_err(failed)?;
    whole.update(&trailer[..32]);
    if trailer[..32] != ours || trailer[32..] != *whole.finalize().as_bytes() {
        return Err(bad(path, "does not match its digest"));
    }
    Ok(ours)
}

/// What a reader expects of a checkpoint.
pub(super) struct Wanted {
    pub holder: Holder,
    pub run: RunId,
    pub terms: TermsHash,
    pub lengths: Lengths,
    pub id: CheckpointId,
}

impl Wanted {
    /// Compares in the order in which the answers help most.
    fn check(&self, path: PathBuf, found: &Header) -> Result<()> {
        if found.holder != self.holder {
            return Err(Error::WrongHolder { path, wanted: self.holder, found: found.holder });
        }
        if found.run != self.run {
            return Err(Error::WrongRun { path, wanted: self.run, found: found.run });
        }
        if found.terms != self.terms || found.lengths != self.lengths {
            return Err(Error::OtherTerms { path });
        }
        if found.id != self.id {
            return Err(bad(&path, format!("holds {}", found.id)));
        }
        Ok(())
    }
}

/// The parts of a checkpoint's body, in buffers of their full lengths, and the digest of its public part.
pub(super) struct Body {
    pub parts: Vec<Zeroizing<Vec<u8>>>,
    pub digest: [u8; 32],
}

/// Reads and verifies a checkpoint.
pub(super) fn load<F: Folder>(folder: &F, wanted: &Wanted) -> Result<Body> {
    let lengths = parts(wanted.holder, wanted.lengths);
    let mut parts: Vec<_> =
        lengths.iter().map(|len| Zeroizing::new(Vec::with_capacity(*len as usize))).collect();
    let (_, digest) = read(folder, wanted, |number, bytes| parts[number].extend_from_slice(bytes))?;
    Ok(Body { parts, digest })
}
