//! All randomness of the parties: AES-128 in counter mode under keys derived with BLAKE3, and the half-tree hash.
//!
//! Randomness is addressed, never counted: seed, key set, segment, gate, part, field and element name a word, so
//! dealer and party cannot drift apart and a run of any size reads its images' words. Seed to part give a key, field
//! and position the counter block. Frozen by the vectors below.

mod aes;

#[cfg(any(target_arch = "x86_64", feature = "cuda"))]
pub(crate) use aes::Rounds;
pub(crate) use aes::{Cipher, Kernel, Plain};

use crate::backend::Isa;
use crate::bits::Bits;
use crate::{PartyId, Ring, Site};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Version of everything here; part of the plan digest.
pub const PRG_VERSION: &str = "aes128-ctr/blake3/half-tree v2";

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
    /// The seed of the next segment: from this one, which does not follow from it. Whoever forgets a seed when its segment is
    /// done loses the masks of that segment for good.
    #[must_use]
    pub fn next(&self) -> Self {
        Seed(blake3::derive_key("twoply 2026-11 seed of the next segment", &self.0))
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

/// All streams of one part of a gate, or the one stream of an owner: one AES key, wiped when dropped.
///
/// Counter blocks are `field << 64 | position / 128`, so no two words of a part share a block. A part of 2^28 blocks
/// (4 GiB of masks) is told from random bits with advantage below 2^-72 (a permutation never repeats a block).
pub struct Streams(Cipher);

impl Streams {
    /// The streams of `seed` for one part of a gate.
    pub fn new(seed: &Seed, origin: Origin, at: Site) -> Self {
        Streams::from_key(&part_key(seed, origin, at))
    }
    /// The streams from their key, for an owner who was sent the key alone.
    pub fn from_key(key: &[u8; 16]) -> Self {
        Streams::on(Isa::current(), key)
    }
    /// The same on a rung that is named.
    pub fn on(isa: Isa, key: &[u8; 16]) -> Self {
        Streams(Cipher::new(isa, key))
    }
    /// The stream of one field. Two words under one field and element would reveal their difference.
    pub fn field(&self, field: u32) -> Stream<'_> {
        Stream { cipher: &self.0, field: field as u64 }
    }
    /// Encrypts that many independent blocks: what this rung's kernels are measured against.
    pub fn ceiling(&self, blocks: usize) -> u128 {
        self.0.ceiling(blocks)
    }
}

/// One stream of pseudorandom bits.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    cipher: &'a Cipher,
    field: u64,
}

#[cfg(feature = "cuda")]
impl Stream<'_> {
    /// Round keys, for kernels of another device.
    pub(crate) fn rounds(&self) -> Rounds {
        self.cipher.rounds()
    }
    /// The upper half of its counter blocks.
    pub(crate) fn number(&self) -> u64 {
        self.field
    }
}

impl Stream<'_> {
    /// Fills `out` with the bytes of the stream from `from` on.
    pub fn fill(&self, from: usize, out: &mut [u8]) {
        self.cipher.bytes(self.field, from, out);
    }
    /// Bytes `from..from + len` of the stream.
    pub fn bytes(&self, from: usize, len: usize) -> Vec<u8> {
        self.cipher.vector(self.field, from, len, u128::MAX)
    }
    /// Words `from..from + len` of the stream, a whole ring element each, of which the lowest `bits` bits are kept.
    pub fn words<R: Ring>(&self, from: usize, len: usize, bits: u32) -> Vec<R> {
        self.cipher.words(self.field, from, len, bits)
    }
    /// Bits `range` of the stream.
    pub fn bits(&self, range: Range<usize>) -> Bits {
        let first = range.start / 64 * 64;
        let words = self.words(first / 64, (range.end - first).div_ceil(64), 64);
        let all = Bits::from_words(words, range.end - first);
        if first == range.start { all } else { all.slice(range.start - first, range.len()) }
    }
    /// The same into words; bits past the range become zero.
    pub fn bits_into(&self, range: Range<usize>, out: &mut [u64]) {
        let first = range.start / 8;
        if range.start.is_multiple_of(8) {
            // whole words, straight to where they belong
            self.cipher.fill_words(self.field, first, out);
            return crate::bits::clear_past(out, range.len());
        }
        let bytes = self.bytes(first, range.end.div_ceil(8) - first);
        crate::bits::read_bits(&bytes, range.start - first * 8, range.len(), out);
    }
}

/// Roots of point functions of one party: a stream's 128-bit words, but for the lowest bit, which is the party's number.
#[derive(Clone, Copy)]
pub struct Roots<'a> {
    stream: Stream<'a>,
    party: PartyId,
    first: usize,
}

impl<'a> Roots<'a> {
    /// The roots of `party` from word `first` of the stream on.
    pub fn new(stream: Stream<'a>, party: PartyId, first: usize) -> Self {
        Roots { stream, party, first }
    }
    /// Where they come from.
    pub fn stream(&self) -> Stream<'a> {
        self.stream
    }
    /// Number of the first word.
    pub fn first(&self) -> usize {
        self.first
    }
    /// Whose they are.
    #[cfg(feature = "cuda")]
    pub(crate) fn party(&self) -> PartyId {
        self.party
    }
    /// Roots from number `from` of these on.
    #[inline]
    pub fn fill(&self, from: usize, out: &mut [u128]) {
        self.stream.cipher.blocks(self.stream.field, (self.first + from) as u64, out);
        out.iter_mut().for_each(|r| *r = *r & !1 | self.party.index() as u128);
    }
}

/// Key of the streams of one part of a gate over a whole segment. Never leaves the party.
fn part_key(seed: &Seed, origin: Origin, at: Site) -> [u8; 16] {
    let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 part key v2");
    h.update(&seed.0).update(&origin.set.0).update(&origin.segment.to_le_bytes());
    h.update(&at.gate.to_le_bytes()).update(&at.part.to_le_bytes());
    short(h)
}

/// Key of a stream that is handed to an owner: the mask of one image of the input at `gate`, or of weight tensor `gate`
/// as a whole (`image` 0). Derived apart from the keys of [`Streams::new`]: who has it has one mask and nothing else of the gate.
pub fn owner_key(seed: &Seed, origin: Origin, gate: u32, image: u64) -> [u8; 16] {
    let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 owner key v2");
    h.update(&seed.0).update(&origin.set.0).update(&origin.segment.to_le_bytes());
    h.update(&gate.to_le_bytes()).update(&image.to_le_bytes());
    short(h)
}

fn short(h: blake3::Hasher) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&h.finalize().as_bytes()[..16]);
    key
}

/// The half-tree hash `H(s) = AES_K(sigma(s)) xor sigma(s)`, `sigma(hi||lo) = (hi xor lo)||hi`, of Guo et al.
/// (EUROCRYPT 2023), under a key per tile: public, but unpredictable before dealing, which keeps multi-target
/// security at about 111 bits instead of losing tens of bits to one global key.
pub struct TreeHash(Cipher);

impl TreeHash {
    /// The hash of one tile.
    pub fn new(origin: Origin, at: Site, tile: u64) -> Self {
        TreeHash::on(Isa::current(), origin, at, tile)
    }
    /// The same on a rung that is named.
    pub fn on(isa: Isa, origin: Origin, at: Site, tile: u64) -> Self {
        let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 half-tree tile key v1");
        h.update(&origin.set.0).update(&origin.segment.to_le_bytes());
        h.update(&at.gate.to_le_bytes()).update(&at.part.to_le_bytes()).update(&tile.to_le_bytes());
        TreeHash(Cipher::new(isa, &short(h)))
    }
    /// Hashes every element of `s` in place.
    pub fn apply(&self, s: &mut [u128]) {
        s.iter_mut().for_each(|s| *s = sigma(*s));
        let fed = s.to_vec();
        self.0.encrypt(s);
        s.iter_mut().zip(fed).for_each(|(s, fed)| *s ^= fed);
    }
    /// Round keys, for kernels of another device.
    #[cfg(feature = "cuda")]
    pub(crate) fn rounds(&self) -> Rounds {
        self.0.rounds()
    }
    pub(crate) fn cipher(&self) -> &Cipher {
        &self.0
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
    const AT: Site = Site { gate: 5, part: 1 };

    fn hex(b: &[u8]) -> String {
        b.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn frozen_vectors() {
        let frozen: serde_json::Value = serde_json::from_str(include_str!("../testdata/prg.json")).unwrap();
        let seed = Seed::new([9; 32]);
        assert_eq!(hex(&owner_key(&seed, ORIGIN, 5, 4)), frozen["owner_key"], "owner's key");
        for isa in Isa::here() {
            let streams = Streams::on(isa, &part_key(&seed, ORIGIN, AT));
            assert_eq!(hex(&streams.field(2).bytes(0, 48)), frozen["stream"], "stream, {isa:?}");
            let mut s = [0u128, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677];
            TreeHash::on(isa, ORIGIN, AT, 0).apply(&mut s);
            let got: String = s.iter().map(|s| hex(&s.to_le_bytes())).collect();
            assert_eq!(got, frozen["tree_hash"], "half-tree hash, {isa:?}");
        }
    }

    #[test]
    fn any_part_of_a_stream_is_addressable() {
        let streams = Streams::new(&Seed::new([1; 32]), ORIGIN, AT);
        let s = streams.field(2);
        let all = s.bytes(0, 1000);
        for (from, len) in [(0, 1), (1, 16), (15, 2), (16, 300), (999, 1), (17, 0)] {
            assert_eq!(s.bytes(from, len), all[from..from + len]);
            assert_eq!(s.bits(from..from + len), Bits::read(&all, from, len));
        }
        let word = |i: usize| u32::from_le_bytes(std::array::from_fn(|j| all[4 * i + j]));
        assert_eq!(s.words::<u32>(7, 90, 32), (7..97).map(word).collect::<Vec<_>>());
        let mut roots = [0; 5];
        Roots::new(s, PartyId::P1, 1).fill(2, &mut roots);
        let root = |i: usize| u128::from_le_bytes(std::array::from_fn(|j| all[16 * i + j])) | 1;
        assert_eq!(roots[..], (3..8).map(root).collect::<Vec<_>>());
    }

    /// The first block of a stream.
    fn block(seed: u8, origin: Origin, at: Site, field: u32) -> Vec<u8> {
        Streams::new(&Seed::new([seed; 32]), origin, at).field(field).bytes(0, 16)
    }

    #[test]
    fn every_part_of_an_address_counts() {
        let base = block(1, ORIGIN, AT, 2);
        let other = [
            block(2, ORIGIN, AT, 2),
            block(1, Origin { segment: 4, ..ORIGIN }, AT, 2),
            block(1, Origin { set: KeySetId([8; 16]), ..ORIGIN }, AT, 2),
            block(1, ORIGIN, Site { gate: 6, ..AT }, 2),
            block(1, ORIGIN, Site { part: 0, ..AT }, 2),
            block(1, ORIGIN, AT, 3),
            Streams::new(&Seed::new([1; 32]), ORIGIN, AT).field(2).bytes(16, 16),
        ];
        assert!(other.iter().all(|b| *b != base));
        let seed = Seed::new([1; 32]);
        let key = |segment, gate, image| owner_key(&seed, Origin { segment, ..ORIGIN }, gate, image);
        let all = [key(3, 5, 1), key(4, 5, 1), key(3, 6, 1), key(3, 5, 2), part_key(&seed, ORIGIN, AT)];
        all.iter().enumerate().for_each(|(i, k)| assert!(!all[..i].contains(k)));
    }
}
