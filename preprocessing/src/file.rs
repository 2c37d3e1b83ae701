//! The format of a key file: header page, digests, and the checks that come before any tile is believed.
//!
//! Everything is little-endian. The header is the first 4,096 bytes:
//!
//! ```text
//!   0  magic, 8     8  version, u32   12  party, u8   13  kind, u8   14  flags, u16
//!  16  key set, 16  32  plan digest, 32   64  segment, u32   68  segment images, u32   72  segment id, 16
//!  88  first image, u64   96  images, u64   104  seed, 32   136  of trained weights: run, 16, attempt, u32, step, u32, bytes,
//! u64; else zeros   4064  BLAKE3 digest of all before, 32
//! ```
//!
//! Every byte of the file is under a digest. Those of tiles and index are keyed by the whole header (so by key set,
//! segment id, party and seed) and by the tile's gate, name, part and number: a tile that was moved, or taken from
//! another file, fails. They say nothing about the tiles to someone who has not the header.

use crate::layout::{DIGEST, PAGE, TRAILER};
use crate::run::{CheckpointId, RunId};
use crate::set::{Cut, PlanDigest, SegmentId};
use crate::trained::Trained;
use crate::{Error, Result};
use std::path::Path;
use twoply_primitives::{KeySetId, PartyId, Seed, Site};
use zeroize::Zeroizing;

/// Version of the format.
pub const FORMAT: u32 = 1;
/// Version of a `set.key` that carries shares.
pub const FORMAT_SHARES: u32 = 2;
const MAGIC: [u8; 8] = *b"twoplyk\0";
const INSECURE_TEST_SEED: u16 = 1;
const SEED_AT: usize = 104;
const SEED_END: usize = SEED_AT + 32;
const SEAL_AT: usize = PAGE - 32;

/// What a key file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `set.key`: the whole key set, and the seed of the weight mask.
    Set = 1,
    /// `seg-*.key`: one segment.
    Segment = 2,
    /// `set.key` of a data key set: rows in chunks instead of images in segments, and the seed of their mask.
    Data = 3,
    /// `set.key` with a share of the mask of trained weights behind the header, in place of a seed.
    Trained = 4,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Set, Kind::Segment, Kind::Data, Kind::Trained];

    fn format(self) -> u32 {
        if self == Kind::Trained { FORMAT_SHARES } else { FORMAT }
    }
}

/// The public part of a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the file holds.
    pub kind: Kind,
    /// Whose half it is.
    pub party: PartyId,
    /// Whether it was dealt from a fixed test seed.
    pub insecure: bool,
    /// The key set.
    pub key_set: KeySetId,
    /// The plan it was dealt for.
    pub plan: PlanDigest,
    /// Segment number; in `set.key`, how many there are.
    pub segment: u32,
    /// Images of every segment but the last.
    pub segment_images: u32,
    /// The segment's name, equal in both halves; zeros in `set.key`.
    pub id: SegmentId,
    /// First image, numbered within the key set.
    pub first: u64,
    /// Images in this file (all of them in `set.key`).
    pub images: u64,
    /// The weights whose mask it carries; in [`Kind::Trained`] alone.
    pub trained: Option<Trained>,
}

fn seal(page: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("twoply key file v1 header")
        .update(&page[..SEAL_AT])
        .finalize()
        .as_bytes()
}

impl Header {
    /// The header page, secret because of the seed in it.
    pub(crate) fn encode(&self, seed: &Seed) -> Zeroizing<Vec<u8>> {
        let mut page = Zeroizing::new(vec![0; PAGE]);
        let flags = if self.insecure { INSECURE_TEST_SEED } else { 0 };
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&self.kind.format().to_le_bytes());
        put(&[self.party.index() as u8, self.kind as u8]);
        put(&flags.to_le_bytes());
        put(&self.key_set.0);
        put(&self.plan.0);
        put(&self.segment.to_le_bytes());
        put(&self.segment_images.to_le_bytes());
        put(&self.id.0);
        put(&self.first.to_le_bytes());
        put(&self.images.to_le_bytes());
        put(seed.expose());
        if let Some(Trained { run, at, bytes }) = self.trained {
            put(&run.0);
            put(&at.attempt.to_le_bytes());
            put(&at.step.to_le_bytes());
            put(&bytes.to_le_bytes());
        }
        let digest = seal(&page);
        page[SEAL_AT..].copy_from_slice(&digest);
        page
    }

    /// Reads a header page; `path` is for errors. `page` may be short if the file is.
    pub(crate) fn decode(path: &Path, page: &[u8]) -> Result<(Header, Seed)> {
        if page.len() < MAGIC.len() || page[..MAGIC.len()] != MAGIC {
            return Err(Error::NotKeyFile { path: path.into() });
        }
        let mut fields = Fields { page, at: MAGIC.len() };
        let version = fields.u32().unwrap_or(FORMAT);
        if ![FORMAT, FORMAT_SHARES].contains(&version) {
            return Err(Error::Version { path: path.into(), found: version, known: FORMAT_SHARES });
        }
        if page.len() < PAGE {
            return Err(Error::Length { path: path.into(), wanted: PAGE as u64, found: page.len() as u64 });
        }
        if seal(page) != page[SEAL_AT..PAGE] {
            return Err(Error::corrupt(path, "the header"));
        }
        let read = fields.rest().filter(|(header, _)| header.kind.format() == version);
        read.ok_or_else(|| Error::corrupt(path, "the header (unknown party, kind or flag)"))
    }

    /// The tile key: everything in the header, seed included.
    pub(crate) fn digests(page: &[u8]) -> Digests {
        Digests(Zeroizing::new(blake3::derive_key("twoply key file v1 tiles", page)))
    }
}

/// A cursor over the header page; each read is `None` beyond its end.
struct Fields<'a> {
    page: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.page.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    /// What follows the version.
    fn rest(&mut self) -> Option<(Header, Seed)> {
        let [party, kind] = self.take()?;
        let flags = self.take().map(u16::from_le_bytes)?;
        if flags & !INSECURE_TEST_SEED != 0 {
            return None;
        }
        let kind = Kind::ALL.into_iter().find(|&k| k as u8 == kind)?;
        let mut header = Header {
            kind,
            party: *PartyId::BOTH.get(usize::from(party))?,
            insecure: flags == INSECURE_TEST_SEED,
            key_set: KeySetId(self.take()?),
            plan: PlanDigest(self.take()?),
            segment: self.u32()?,
            segment_images: self.u32()?,
            id: SegmentId(self.take()?),
            first: self.u64()?,
            images: self.u64()?,
            trained: None,
        };
        let seed = Zeroizing::new(self.take::<{ SEED_END - SEED_AT }>()?);
        if kind == Kind::Trained {
            let (run, attempt, step) = (RunId(self.take()?), self.u32()?, self.u32()?);
            header.trained = Some(Trained { run, at: CheckpointId { attempt, step }, bytes: self.u64()? });
        }
        Some((header, Seed::new(*seed)))
    }
}

/// What a party expects of the files it opens. `None` accepts any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Who reads.
    pub party: PartyId,
    /// The key set of the folder.
    pub key_set: KeySetId,
    /// The plan of the run; `None` where only the bookkeeping matters.
    pub plan: Option<PlanDigest>,
    /// Whether keys from a test seed are accepted.
    pub insecure: bool,
}

impl Wanted {
    /// Compares a header in the order in which the answers help most.
    pub(crate) fn check(&self, path: &Path, header: &Header, kind: Kind) -> Result<()> {
        let path = || path.to_path_buf();
        if header.kind != kind {
            return Err(Error::corrupt(&path(), "the kind of file (set.key and a segment were swapped): it"));
        }
        if header.party != self.party {
            return Err(Error::WrongParty { path: path(), wanted: self.party, found: header.party });
        }
        if let Some(wanted) = self.plan.filter(|&p| p != header.plan) {
            return Err(Error::OtherPlan { path: path(), wanted, found: header.plan });
        }
        if header.key_set != self.key_set {
            return Err(Error::WrongKeySet { path: path(), wanted: self.key_set, found: header.key_set });
        }
        if header.insecure && !self.insecure {
            return Err(Error::InsecureSeed { path: path() });
        }
        Ok(())
    }

    /// Compares the numbers of a segment with its place in the key set.
    pub(crate) fn check_segment(path: &Path, header: &Header, cut: Cut, segment: u32) -> Result<()> {
        if header.segment != segment {
            return Err(Error::WrongSegment { path: path.into(), wanted: segment, found: header.segment });
        }
        let range = header.first..header.first.saturating_add(header.images);
        if cut.range(segment) != Some(range) || cut.segment_images() != header.segment_images {
            return Err(Error::corrupt(path, "the range of images (another cut than set.key)"));
        }
        Ok(())
    }
}

/// Makes the digests of one file's tiles and index.
pub(crate) struct Digests(Zeroizing<[u8; 32]>);

impl Digests {
    /// The digest of a tile with its padding.
    pub fn tile(&self, name: &str, at: Site, tile: usize, bytes: &[&[u8]]) -> [u8; DIGEST] {
        let mut place = blake3::Hasher::new_keyed(&self.0);
        place.update(b"tile").update(&at.gate.to_le_bytes()).update(&at.part.to_le_bytes());
        place.update(&(tile as u64).to_le_bytes()).update(name.as_bytes());
        let mut hash = blake3::Hasher::new_keyed(place.finalize().as_bytes());
        bytes.iter().for_each(|b| {
            hash.update(b);
        });
        let mut short = [0; DIGEST];
        short.copy_from_slice(&hash.finalize().as_bytes()[..DIGEST]);
        short
    }

    /// What makes the digest of a share.
    pub fn shares(&self) -> blake3::Hasher {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(b"shares");
        hash
    }

    /// The digest of the index.
    pub fn index(&self, index: &[u8]) -> [u8; TRAILER] {
        *blake3::Hasher::new_keyed(&self.0).update(b"index").update(index).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Segment,
            party: PartyId::P1,
            insecure: true,
            key_set: KeySetId([3; 16]),
            plan: PlanDigest([4; 32]),
            segment: 5,
            segment_images: 128,
            id: SegmentId([6; 16]),
            first: 640,
            images: 128,
            trained: None,
        }
    }

    fn decode(page: &[u8]) -> Result<(Header, Seed)> {
        Header::decode(Path::new("f"), page)
    }

    #[test]
    fn a_header_reads_back() {
        let page = header().encode(&Seed::new([9; 32]));
        let (back, seed) = decode(&page).unwrap();
        assert_eq!((back, seed.expose()), (header(), &[9; 32]));
    }

    /// Frozen: a change of these bytes needs a new format version.
    #[test]
    fn the_layout_of_the_header_is_frozen() {
        let page = header().encode(&Seed::new([9; 32]));
        assert_eq!(&page[..16], b"twoplyk\0\x01\0\0\0\x01\x02\x01\0");
        assert_eq!((&page[16..32], &page[32..64]), (&[3; 16][..], &[4; 32][..]));
        assert_eq!(&page[64..72], &[5, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(&page[88..104], &[128, 2, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&page[72..88], &page[SEED_AT..SEED_END]), (&[6; 16][..], &[9; 32][..]));
        assert!(page[SEED_END..SEAL_AT].iter().all(|&b| b == 0));
    }

    /// Frozen: the same of the other format.
    #[test]
    fn the_name_of_trained_weights_stands_behind_the_seed() {
        let (run, at) = (RunId([5; 16]), CheckpointId { attempt: 2, step: 300 });
        let trained = Some(Trained { run, at, bytes: 1 << 33 });
        let header = Header { kind: Kind::Trained, trained, ..header() };
        let page = header.encode(&Seed::new([9; 32]));
        assert_eq!(&page[..16], b"twoplyk\0\x02\0\0\0\x01\x04\x01\0");
        assert_eq!((&page[136..152], &page[152..160]), (&[5; 16][..], &[2, 0, 0, 0, 44, 1, 0, 0][..]));
        assert_eq!(&page[160..169], &[0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(decode(&page).unwrap().0, header);
        // one that would be read without its share is not read at all
        let mut older = page.clone();
        older[8] = 1;
        let digest = seal(&older);
        older[SEAL_AT..].copy_from_slice(&digest);
        assert!(matches!(decode(&older), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_named() {
        let page = header().encode(&Seed::new([9; 32]));
        for bit in 0..PAGE * 8 {
            let mut bad = page.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let e = decode(&bad).map(|_| ()).unwrap_err();
            match bit / 8 {
                0..8 => assert!(matches!(e, Error::NotKeyFile { .. }), "{bit}: {e}"),
                8..12 => assert!(matches!(e, Error::Version { .. }), "{bit}: {e}"),
                _ => assert!(matches!(e, Error::Corrupt { .. }), "{bit}: {e}"),
            }
        }
        for len in 0..PAGE {
            let e = decode(&page[..len]).map(|_| ()).unwrap_err();
            let known = if len < 8 {
                matches!(e, Error::NotKeyFile { .. })
            } else {
                matches!(e, Error::Length { .. })
            };
            assert!(known, "{len}: {e}");
        }
    }

    #[test]
    fn unknown_party_kind_or_flag_is_refused_even_under_a_right_digest() {
        // a kind of the other format too
        for (at, value) in [(12, 2), (13, 0), (13, 4), (13, 5), (14, 2), (15, 1), (8, 2)] {
            let mut page = header().encode(&Seed::new([9; 32]));
            page[at] = value;
            let digest = seal(&page);
            page[SEAL_AT..].copy_from_slice(&digest);
            assert!(matches!(decode(&page), Err(Error::Corrupt { .. })), "{at}");
        }
    }

    #[test]
    fn a_tile_digest_depends_on_every_name_of_its_place() {
        let of = |h: Header, name, gate, part, tile, bytes: &[u8]| {
            let page = h.encode(&Seed::new([9; 32]));
            Header::digests(&page).tile(name, Site { gate, part }, tile, &[bytes])
        };
        let base = of(header(), "relu", 1, 2, 3, b"x");
        let all = [
            of(header(), "mul", 1, 2, 3, b"x"),
            of(header(), "relu", 0, 2, 3, b"x"),
            of(header(), "relu", 1, 0, 3, b"x"),
            of(header(), "relu", 1, 2, 0, b"x"),
            of(header(), "relu", 1, 2, 3, b"y"),
            of(Header { party: PartyId::P0, ..header() }, "relu", 1, 2, 3, b"x"),
            of(Header { id: SegmentId([7; 16]), ..header() }, "relu", 1, 2, 3, b"x"),
            of(Header { key_set: KeySetId([7; 16]), ..header() }, "relu", 1, 2, 3, b"x"),
        ];
        assert!(all.iter().all(|d| *d != base));
        assert_eq!(base, of(header(), "relu", 1, 2, 3, b"x"));
    }
}
