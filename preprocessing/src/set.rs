//! What a key set is: its names, its seeds, and how its images are cut into segments.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use twoply_primitives::{KeySetId, Origin, PartyId, Seed};
use zeroize::Zeroizing;

/// Random name of one segment; the same in both halves, new whenever the segment is dealt again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SegmentId(pub [u8; 16]);

/// Digest of the plan that keys are dealt for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PlanDigest(pub [u8; 32]);

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// The first 8 bytes: a plan digest is compared by programs and only recognised by people.
impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0[..8], f)
    }
}

/// Reads the 32 lower-case hexadecimal digits that [`KeySetId`] is written with; `None` for anything else.
pub fn parse_key_set(text: &str) -> Option<KeySetId> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut id = [0; 16];
    if text.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(KeySetId(id))
}

/// Where a dealer's randomness comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeedSource {
    /// The operating system.
    Os,
    /// A public number: reproducible and worthless as a secret. Stamped into every file.
    InsecureTest(u64),
}

impl SeedSource {
    /// Whether files dealt from this source must be stamped.
    pub fn insecure(self) -> bool {
        self != SeedSource::Os
    }

    /// Fills `out`; `what` says for which purpose and place, and separates the outputs of a test seed.
    fn fill(self, what: &str, place: [u64; 2], out: &mut [u8]) -> Result<()> {
        match self {
            SeedSource::Os => getrandom::fill(out).map_err(|e| Error::Randomness(e.to_string())),
            SeedSource::InsecureTest(number) => {
                let mut hash = blake3::Hasher::new_derive_key("twoply insecure test seed v1");
                for word in [number, place[0], place[1]] {
                    hash.update(&word.to_le_bytes());
                }
                hash.update(what.as_bytes()).finalize_xof().fill(out);
                Ok(())
            }
        }
    }

    /// A new key-set id.
    pub fn key_set(self) -> Result<KeySetId> {
        let mut id = [0; 16];
        self.fill("key set", [0, 0], &mut id)?;
        Ok(KeySetId(id))
    }

    /// A new id of segment `segment`.
    pub fn segment_id(self, segment: u32) -> Result<SegmentId> {
        let mut id = [0; 16];
        self.fill("segment id", [segment.into(), 0], &mut id)?;
        Ok(SegmentId(id))
    }

    /// A new seed of `party`: of segment `segment`, or of the weight mask where that is `None`.
    pub fn seed(self, party: PartyId, segment: Option<u32>) -> Result<Seed> {
        let mut seed = Zeroizing::new([0; 32]);
        let segment = segment.unwrap_or(Origin::WEIGHTS);
        self.fill("seed", [party.index() as u64, segment.into()], &mut seed[..])?;
        Ok(Seed::new(*seed))
    }
}

/// How the images of a key set are cut into segments: all of one size, the last one short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    images: u64,
    segment_images: u32,
}

impl Cut {
    /// `images` in segments of `segment_images`. Neither may be 0, and segments are numbered in 32 bits.
    pub fn new(images: u64, segment_images: u32) -> Result<Self> {
        let why = match (images, segment_images) {
            (0, _) => "a key set needs at least one image",
            (_, 0) => "a segment needs at least one image",
            // The largest number names the weight masks.
            (i, s) if i.div_ceil(s.into()) > Origin::WEIGHTS.into() => "too many segments",
            _ => return Ok(Cut { images, segment_images }),
        };
        Err(Error::Layout { images, why })
    }
    /// Images of the key set.
    pub fn images(&self) -> u64 {
        self.images
    }
    /// Images of every segment but the last.
    pub fn segment_images(&self) -> u32 {
        self.segment_images
    }
    /// Number of segments.
    pub fn segments(&self) -> u32 {
        self.images.div_ceil(self.segment_images.into()) as u32
    }
    /// Images of segment `segment`, numbered within the key set; `None` beyond the last.
    pub fn range(&self, segment: u32) -> Option<Range<u64>> {
        let first = u64::from(segment) * u64::from(self.segment_images);
        (segment < self.segments()).then(|| first..self.images.min(first + u64::from(self.segment_images)))
    }
    /// The pieces of `images`, which must lie in the key set: segment, and images numbered within it.
    pub fn pieces(&self, images: Range<u64>) -> impl Iterator<Item = (u32, Range<u32>)> {
        let size = u64::from(self.segment_images);
        let mut at = images.start;
        std::iter::from_fn(move || {
            let segment = at / size;
            let end = images.end.min((segment + 1).saturating_mul(size));
            let piece =
                (at < end).then(|| (segment as u32, (at % size) as u32..(end - segment * size) as u32));
            at = end.max(at);
            piece
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_id_reads_back_and_refuses_anything_else() {
        let id = SeedSource::Os.key_set().unwrap();
        assert_eq!(parse_key_set(&id.to_string()), Some(id));
        for bad in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(34), &"é".repeat(16)] {
            assert_eq!(parse_key_set(bad), None, "{bad}");
        }
    }

    #[test]
    fn segments_cover_every_image_once() {
        let cut = Cut::new(10, 4).unwrap();
        assert_eq!((cut.segments(), cut.range(2), cut.range(3)), (3, Some(8..10), None));
        assert_eq!(cut.pieces(3..9).collect::<Vec<_>>(), [(0, 3..4), (1, 0..4), (2, 0..1)]);
        assert_eq!(cut.pieces(4..4).count(), 0);
        for (images, size) in [(0, 4), (4, 0), (u64::MAX, 1)] {
            assert!(matches!(Cut::new(images, size), Err(Error::Layout { .. })));
        }
    }

    #[test]
    fn test_seeds_repeat_and_differ_by_place_and_real_ones_do_not_repeat() {
        let test = SeedSource::InsecureTest(7);
        let [p0, p1] = PartyId::BOTH;
        let all = [(p0, None), (p1, None), (p0, Some(0)), (p1, Some(0)), (p0, Some(1))];
        let bytes = all.map(|(p, s)| *test.seed(p, s).unwrap().expose());
        for (i, a) in bytes.iter().enumerate() {
            assert!(bytes[..i].iter().all(|b| a != b));
        }
        assert_eq!(bytes[0], *test.seed(p0, None).unwrap().expose());
        let os = SeedSource::Os;
        assert_ne!(os.seed(p0, None).unwrap().expose(), os.seed(p0, None).unwrap().expose());
    }
}
