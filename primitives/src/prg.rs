//! All randomness of the parties: AES-128 in counter mode under keys derived with BLAKE3, and the half-tree hash.
//!
//! Randomness is addressed, never counted: seed, key set, segment, gate, part, field and element name a word, so
//! dealer and party cannot drift apart and a run of any size reads its images' words. Frozen by the vectors below.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Version of everything here; part of the plan digest.
pub const PRG_VERSION: &str = "aes128-ctr/blake3/half-tree v1";

/// Calls of the AES batch interface below this many blocks leave most of its speed unused.
pub const BATCH: usize = 128;

type Block = Array<u8, aes::cipher::consts::U16>;

/// Names one `deal`: random, public, in every file and greeting of that deal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeySetId(pub [u8; 16]);

impl std::fmt::Display for KeySetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for KeySetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySetId({self})")
    }
}

/// One party's secret seed of one segment, or of the weight masks. Wiped when dropped; has no `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From 32 bytes of the OS's randomness (or of a key file).
    pub fn new(bytes: [u8; 32]) -> Self {
        Seed(bytes)
    }
    /// The bytes, to be written to the owner's key file and nowhere else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where randomness belongs: key set and segment. The weight masks have a segment number of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The key set.
    pub set: KeySetId,
    /// Segment number, counted from 0.
    pub segment: u32,
}

impl Origin {
    /// Segment number of the weight masks.
    pub const WEIGHTS: u32 = u32::MAX;
}

/// A place in the program: gate, part of the gate, field within the part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Gate number.
    pub gate: u32,
    /// Part of the gate.
    pub part: u32,
    /// Field of the part. Two words under one field and element would reveal their difference.
    pub field: u32,
}

/// One stream of pseudorandom bits: AES-128-CTR, the counter being the bit position divided by 128.
pub struct Stream {
    cipher: Aes128,
}

impl Stream {
    /// The stream of `seed` for one field.
    pub fn new(seed: &Seed, origin: Origin, at: Field) -> Self {
        Stream::from_key(&segment_key(seed, origin, at))
    }
    /// The stream from its key, for an owner who was sent the key alone.
    pub fn from_key(key: &[u8; 16]) -> Self {
        Stream { cipher: Aes128::new(&Array(*key)) }
    }
    /// Bytes `from..from + len` of the stream.
    pub fn bytes(&self, from: usize, len: usize) -> Vec<u8> {
        let skip = from % 16;
        let first = (from / 16) as u128;
        let count = (skip + len).div_ceil(16);
        let mut blocks: Vec<Block> = (0..count as u128).map(|i| Array((first + i).to_le_bytes())).collect();
        self.cipher.encrypt_blocks(&mut blocks);
        let mut out = Vec::with_capacity(count * 16);
        blocks.iter().for_each(|b| out.extend_from_slice(b));
        if skip > 0 {
            out.drain(..skip);
        }
        out.truncate(len);
        out
    }
}

/// Key of the stream of one field over a whole segment.
pub(crate) fn segment_key(seed: &Seed, origin: Origin, at: Field) -> [u8; 16] {
    stream_key(seed, origin, at, u64::MAX)
}

/// Key of a stream that belongs to one image alone, so that it can be handed to that image's owner.
pub fn image_key(seed: &Seed, origin: Origin, at: Field, image: u64) -> [u8; 16] {
    debug_assert_ne!(image, u64::MAX, "reserved for streams of a whole segment");
    stream_key(seed, origin, at, image)
}

fn stream_key(seed: &Seed, origin: Origin, at: Field, image: u64) -> [u8; 16] {
    let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 stream key v1");
    h.update(&seed.0).update(&origin.set.0).update(&origin.segment.to_le_bytes());
    h.update(&at.gate.to_le_bytes()).update(&at.part.to_le_bytes()).update(&at.field.to_le_bytes());
    h.update(&image.to_le_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&h.finalize().as_bytes()[..16]);
    key
}

/// The half-tree hash `H(s) = AES_K(sigma(s)) xor sigma(s)`, `sigma(hi||lo) = (hi xor lo)||hi`, of Guo et al.
/// (EUROCRYPT 2023), under a key per tile: public, but unpredictable before dealing, which keeps multi-target
/// security at about 111 bits instead of losing tens of bits to one global key.
pub struct TreeHash {
    cipher: Aes128,
}

impl TreeHash {
    /// The hash of one tile.
    pub fn new(origin: Origin, gate: u32, part: u32, tile: u64) -> Self {
        let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 half-tree tile key v1");
        h.update(&origin.set.0).update(&origin.segment.to_le_bytes());
        h.update(&gate.to_le_bytes()).update(&part.to_le_bytes()).update(&tile.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&h.finalize().as_bytes()[..16]);
        TreeHash { cipher: Aes128::new(&Array(key)) }
    }
    /// Hashes every element of `s` in place; at most [`BATCH`] per call.
    pub fn apply(&self, s: &mut [u128]) {
        debug_assert!(s.len() <= BATCH);
        let mut blocks: [Block; BATCH] = [Array([0; 16]); BATCH];
        for (b, s) in blocks.iter_mut().zip(s.iter_mut()) {
            *s = sigma(*s);
            *b = Array(s.to_le_bytes());
        }
        self.cipher.encrypt_blocks(&mut blocks[..s.len()]);
        for (b, s) in blocks.iter().zip(s) {
            *s ^= u128::from_le_bytes(b.0);
        }
    }
}

#[inline(always)]
fn sigma(s: u128) -> u128 {
    let (hi, lo) = ((s >> 64) as u64, s as u64);
    ((hi ^ lo) as u128) << 64 | hi as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { set: KeySetId([7; 16]), segment: 3 };
    const AT: Field = Field { gate: 5, part: 1, field: 2 };

    fn hex(b: &[u8]) -> String {
        b.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn frozen_vectors() {
        let frozen: serde_json::Value = serde_json::from_str(include_str!("../testdata/prg.json")).unwrap();
        let seed = Seed::new([9; 32]);
        assert_eq!(hex(&Stream::new(&seed, ORIGIN, AT).bytes(0, 48)), frozen["stream"], "stream");
        assert_eq!(hex(&image_key(&seed, ORIGIN, AT, 4)), frozen["image_key"], "image key");
        let mut s = [0u128, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677];
        TreeHash::new(ORIGIN, 5, 1, 0).apply(&mut s);
        let got: String = s.iter().map(|s| hex(&s.to_le_bytes())).collect();
        assert_eq!(got, frozen["tree_hash"], "half-tree hash");
        // FIPS-197 appendix C.1: the cipher below everything is AES-128.
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let mut block = [Array(std::array::from_fn(|i| (i * 0x11) as u8))];
        Aes128::new(&Array(key)).encrypt_blocks(&mut block);
        assert_eq!(hex(&block[0]), "69c4e0d86a7b0430d8cdb78070b4c55a");
    }

    #[test]
    fn any_part_of_a_stream_is_addressable() {
        let s = Stream::new(&Seed::new([1; 32]), ORIGIN, AT);
        let all = s.bytes(0, 1000);
        for (from, len) in [(0, 1), (1, 16), (15, 2), (16, 300), (999, 1), (17, 0)] {
            assert_eq!(s.bytes(from, len), all[from..from + len]);
        }
    }

    #[test]
    fn every_part_of_an_address_counts() {
        let seed = Seed::new([1; 32]);
        let base = stream_key(&seed, ORIGIN, AT, 0);
        let other = [
            stream_key(&Seed::new([2; 32]), ORIGIN, AT, 0),
            stream_key(&seed, Origin { segment: 4, ..ORIGIN }, AT, 0),
            stream_key(&seed, Origin { set: KeySetId([8; 16]), ..ORIGIN }, AT, 0),
            stream_key(&seed, ORIGIN, Field { gate: 6, ..AT }, 0),
            stream_key(&seed, ORIGIN, Field { part: 0, ..AT }, 0),
            stream_key(&seed, ORIGIN, Field { field: 3, ..AT }, 0),
            stream_key(&seed, ORIGIN, AT, 1),
        ];
        assert!(other.iter().all(|k| *k != base));
    }
}
