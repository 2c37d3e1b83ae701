//! What is asked of a device about keys: which slots, where their fields are, how digits multiply out.

use super::Backend;
use crate::prg::{Origin, Roots, Stream, Streams, TreeHash};
use crate::record::packed_len;
use crate::{Site, TILE};
use std::ops::Range;

/// A run of slots of one part, all of whose tiles are at hand.
#[derive(Clone, Debug)]
pub struct Slots {
    /// The slots, counted over the whole part.
    pub range: Range<usize>,
    /// Slots of the whole part: its last tile may be short.
    pub elements: usize,
}

impl Slots {
    /// Number of slots.
    pub fn len(&self) -> usize {
        self.range.len()
    }
    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
    /// The tiles they lie in.
    pub fn tiles(&self) -> Range<usize> {
        if self.is_empty() { 0..0 } else { self.range.start / TILE..self.range.end.div_ceil(TILE) }
    }
    /// Slots of the first tile, wanted or not.
    pub fn tile_len(&self) -> usize {
        TILE.min(self.elements - self.first_tile())
    }
    /// The first slot, counted from the start of its tile.
    pub fn skipped(&self) -> usize {
        self.range.start % TILE
    }
    /// The first slot of the first tile.
    pub fn first_tile(&self) -> usize {
        self.range.start / TILE * TILE
    }
    /// Whether whole tiles are wanted, the last one of the part however long it is: so it is while keys are dealt.
    pub fn whole(&self) -> bool {
        self.skipped() == 0 && (self.range.end.is_multiple_of(TILE) || self.range.end == self.elements)
    }
}

/// Where one field lies in tiles, for all of them alike but for a short last one.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Bytes of a full tile.
    pub stride: usize,
    /// First byte of the field in a full tile.
    pub full: usize,
    /// First byte of the field in a short last tile.
    pub last: usize,
    /// Bits per slot.
    pub width: u32,
}

impl Place {
    /// Field number `index` of a tile of these fields, in a part of so many slots.
    pub fn new(fields: &[u32], index: usize, elements: usize) -> Self {
        let bytes = |fields: &[u32], len: usize| fields.iter().map(|&w| packed_len(w, len)).sum();
        let before = &fields[..index];
        Place {
            stride: bytes(fields, TILE),
            full: bytes(before, TILE),
            last: bytes(before, elements % TILE),
            width: fields[index],
        }
    }
    /// First byte of the field in a tile of `len` slots.
    pub fn in_tile(&self, len: usize) -> usize {
        if len == TILE { self.full } else { self.last }
    }
}

/// A stored field.
pub struct Stored<'a, K> {
    /// The tiles.
    pub keys: &'a K,
    /// Where it lies in them.
    pub at: Place,
}

/// A field of some slots, as one party has it.
pub enum Field<'a, K> {
    /// Its own expansion.
    Own(Stream<'a>),
    /// In its keys.
    Stored(Stored<'a, K>),
}

/// Some fields of one bit, in order.
pub enum Fields<'a, K> {
    /// Its own expansions.
    Own(&'a Streams, &'a [u32]),
    /// In its keys, one behind the other from this one on: so many.
    Stored(Stored<'a, K>, usize),
}

/// The half-tree hashes of a part: one for each tile and predicate.
pub struct Trees {
    /// Key set and segment.
    pub origin: Origin,
    /// Gate and part.
    pub site: Site,
    /// Which of the two predicates of a comparison.
    pub predicate: usize,
}

impl Trees {
    /// The hash of one tile. The two predicates of a tile hash under different keys.
    pub fn hash(&self, tile: usize) -> TreeHash {
        TreeHash::new(self.origin, self.site, self.number(tile))
    }
    /// The number under which a tile's hash is derived.
    pub fn number(&self, tile: usize) -> u64 {
        tile as u64 * 2 + self.predicate as u64
    }
}

/// One digit of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digit {
    /// Bits below it.
    pub shift: u32,
    /// Its width: 1 to 7 where it is compared, up to 8 where it is found in a table.
    pub bits: u32,
}

/// A public table, which is read at a place that is known up to a secret: `entries[(x - alpha) mod 2^width]`.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Bits of a place, 1 to 13.
    pub width: u32,
    /// Bits of an entry, 1 to 32.
    pub bits: u32,
    /// `2^width` entries, below `2^bits`.
    pub entries: &'a [u32],
}

/// A party's share, by exclusive or, of the one-hot of alpha: `2^w` bits, of which bit alpha is set.
pub enum Hot<'a, K> {
    /// As it is.
    Table(Field<'a, K>),
    /// All leaves of a half-tree key of w bits, at least 9.
    Tree {
        /// Its hashes.
        trees: &'a Trees,
        /// This party's roots, from the first tile's first on.
        roots: Roots<'a>,
        /// The words.
        words: Stored<'a, K>,
    },
}

/// How a comparison by `k` digits multiplies out: by products of the masks `a_i` and `b_j` of its opened planes. Planes
/// lie in the order `a_0, b_0, a_1, .., a_(k-1)`. A set S of digits is a bit mask: bit j stands for digit j.
///
/// Stored are the products of two or more masks: of the `b_j` in S for all sets S of two or more digits but the last, in
/// ascending order; then for every `i` the products of `a_i` and the `b_j` in S, for all sets S of digits before `i` that
/// are not empty.
#[derive(Clone, Copy, Debug)]
pub struct Merge {
    /// Number of digits.
    pub k: usize,
}

impl Merge {
    /// Sets of two or more of the digits but the last.
    pub fn pairs(self) -> impl Iterator<Item = usize> {
        (1..1 << (self.k - 1)).filter(|s: &usize| s.count_ones() > 1)
    }
    /// Digits `i` with the sets that are not empty of the digits before.
    pub fn with_a(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.k).flat_map(|i| (1..1 << i).map(move |s| (i, s)))
    }
    /// Stored products.
    pub fn stored(self) -> usize {
        3 * (1 << (self.k - 1)) - 2 - self.planes()
    }
    /// Planes of the message.
    pub fn planes(self) -> usize {
        2 * self.k - 1
    }
}

/// What a party multiplies out.
pub struct Merging<'a, B: Backend> {
    /// The opened message: `L_i = l_i + a_i`, `E_j = e_j + b_j`.
    pub opened: &'a B::Planes,
    /// This party's shares of the masks.
    pub masks: &'a B::Planes,
    /// Its shares of the products that are stored.
    pub products: &'a B::Planes,
    /// Whether it holds the empty product, the constant 1: P0 does.
    pub one: bool,
}
