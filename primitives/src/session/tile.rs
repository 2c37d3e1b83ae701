//! A party's key for some neighbouring slots of a part: those of one tile or of several that a device takes as one.
//!
//! A key is consumed by the comparison it was dealt for:
//! ```compile_fail
//! use twoply_primitives::{Backend, compare::Comparison, session::TileKey};
//! fn twice<B: Backend, C: Comparison<B>>(c: &C, key: TileKey<B>, x: &B::Buf) {
//!     let _ = c.begin(key, x);
//!     let _ = c.begin(key, x);
//! }
//! ```

use super::ahead::Ahead;
use crate::backend::{Field, Fields, Place, Slots, Stored, Trees};
use crate::deal::FRESH;
use crate::prg::{Origin, Roots, Stream, Streams};
use crate::{Backend, Error, KeySource, Part, PartyId, Result, Site, TileBytes};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Where tiles are fetched for: a gate's part, seen by one party.
pub(crate) struct Source<'a, B: Backend> {
    pub dev: &'a B,
    pub me: PartyId,
    pub streams: Arc<Streams>,
    pub origin: Origin,
    pub site: Site,
    pub fields: &'a [u32],
    /// Keys that come in by themselves.
    pub ahead: Option<&'a Ahead<B>>,
}

/// The groups of tiles that hold the elements `run`, as elements: a device takes each of them as one.
pub(crate) fn groups<B: Backend>(run: &Range<usize>) -> Vec<Range<usize>> {
    let size = B::GRAIN.tiles * crate::TILE;
    let first = run.start / size * size;
    let group = |start: usize| run.start.max(start)..run.end.min(start + size);
    (first..run.end).step_by(size).map(group).filter(|g| !g.is_empty()).collect()
}

/// Where one party's stored tiles of a part are.
pub(crate) struct Shelf<'a> {
    pub keys: &'a dyn KeySource,
    pub site: Site,
    /// Name of the gate they were dealt for.
    pub name: &'static str,
    /// The party's number.
    pub me: usize,
    /// Widths of what it stores.
    pub fields: &'a [u32],
}

impl Shelf<'_> {
    /// These slots of the part, if they were dealt.
    pub fn slots(&self, range: Range<usize>) -> Result<Slots> {
        let elements = self.keys.elements(self.site)?;
        if range.end > elements {
            return Err(Error::Keys(format!(
                "gate {} was dealt {elements} elements, the run needs {}",
                self.site.gate, range.end
            )));
        }
        Ok(Slots { range, elements })
    }
    /// Their tiles; several are verified in parallel.
    pub fn tiles(&self, slots: &Slots) -> Result<Vec<TileBytes>> {
        let mut fields = [vec![], vec![]];
        fields[self.me] = self.fields.to_vec();
        let dealt = Part { elements: slots.elements, fields };
        match slots.tiles().len() {
            1 => slots.tiles().map(|tile| self.tile(tile, &dealt)).collect(),
            _ => slots.tiles().into_par_iter().map(|tile| self.tile(tile, &dealt)).collect(),
        }
    }
    fn tile(&self, tile: usize, dealt: &Part) -> Result<TileBytes> {
        let data = self.keys.tile(self.name, self.site, tile)?;
        let (found, wanted) = (data.as_ref().as_ref().len(), dealt.tile_bytes(self.me, dealt.tile_len(tile)));
        if found != wanted {
            return Err(Error::PlanMismatch {
                at: self.site.gate,
                wanted: format!("{}, tile {tile} of {wanted} bytes", self.name),
                found: format!("{found} bytes"),
            });
        }
        Ok(data)
    }
}

impl<B: Backend> Source<'_, B> {
    /// The key of some neighbouring slots of the part.
    pub fn key(&self, name: &'static str, range: Range<usize>, keys: &dyn KeySource) -> Result<TileKey<B>> {
        let shelf = Shelf { keys, site: self.site, name, me: self.me.index(), fields: self.fields };
        let slots = shelf.slots(range)?;
        let stored = match self.fields.iter().any(|&w| w > 0) {
            false => None,
            true => Some(match self.ahead.and_then(|a| a.take(self.site, &slots.range)) {
                Some(keys) => keys?,
                None => self.dev.load(shelf.tiles(&slots)?, self.fields, &slots),
            }),
        };
        Ok(TileKey {
            dev: self.dev.clone(),
            me: self.me,
            streams: self.streams.clone(),
            origin: self.origin,
            site: self.site,
            fields: self.fields.into(),
            keys: stored,
            slots,
            read: 0,
        })
    }
}

/// One party's key for some neighbouring slots of one part. Fields are read in the order in which they were dealt, each
/// once; not `Clone`.
pub struct TileKey<B: Backend> {
    dev: B,
    me: PartyId,
    streams: Arc<Streams>,
    origin: Origin,
    site: Site,
    /// Widths of what this party stores.
    fields: Box<[u32]>,
    keys: Option<B::Keys>,
    slots: Slots,
    /// Fields read so far.
    read: usize,
}

impl<B: Backend> TileKey<B> {
    /// The device.
    pub fn dev(&self) -> &B {
        &self.dev
    }
    /// Which party's key this is.
    pub fn me(&self) -> PartyId {
        self.me
    }
    /// The slots.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    /// Lets go of what only the comparison needed.
    pub fn compared(&mut self) {
        if let Some(keys) = &mut self.keys {
            self.dev.compared(keys);
        }
    }
    /// The half-tree hashes of a predicate.
    pub fn trees(&self, predicate: usize) -> Trees {
        Trees { origin: self.origin, site: self.site, predicate }
    }

    fn stream(&self, field: u32) -> Stream<'_> {
        self.streams.field(field)
    }
    /// The place of the next `count` stored fields of this width: of the first of them.
    fn next(&mut self, width: u32, count: usize) -> Result<Place> {
        let fields = self.fields.get(self.read..self.read + count).unwrap_or_default();
        if fields.len() < count || count == 0 || fields.iter().any(|&w| w != width) {
            return Err(Error::Keys(format!(
                "the keys of gate {} have fewer fields than it reads",
                self.site.gate
            )));
        }
        let place = Place::new(&self.fields, self.read, self.slots.elements);
        self.read += count;
        Ok(place)
    }
    /// The field at a place.
    pub fn stored(&self, at: Place) -> Result<Stored<'_, B::Keys>> {
        let nothing = || Error::Keys(format!("gate {} has no stored keys", self.site.gate));
        Ok(Stored { keys: self.keys.as_ref().ok_or_else(nothing)?, at })
    }

    /// This party's share of the fresh mask of this part's result, on these slots.
    pub fn fresh(&self, bits: u32) -> B::Buf {
        self.dev.expand(self.stream(FRESH), self.slots.range.start, self.len(), bits)
    }
    /// This party's own free bits.
    pub fn own_bits(&self, field: u32) -> B::Bits {
        self.dev.plane(&self.own_planes(&[field]), 0)
    }
    /// The same of several fields.
    pub fn own_planes(&self, fields: &[u32]) -> B::Planes {
        self.dev.bit_fields(Fields::Own(&self.streams, fields), &self.slots)
    }
    /// This party's roots of point functions, from the first tile's first on.
    pub fn own_roots(&self, field: u32) -> Roots<'_> {
        Roots::new(self.stream(field), self.me, self.slots.first_tile())
    }
    /// This party's share of a correction word mod 2^bits.
    pub fn word(&mut self, field: u32, bits: u32) -> Result<B::Buf> {
        let place = self.correction(bits)?;
        Ok(self.dev.word(self.field(field, place)?, &self.slots, bits))
    }
    /// This party's shares of correction bits.
    pub fn bits(&mut self, fields: &[u32]) -> Result<B::Planes> {
        let from = match self.me.is_p0() || fields.is_empty() {
            true => Fields::Own(&self.streams, fields),
            false => {
                let place = self.next(1, fields.len())?;
                Fields::Stored(self.stored(place)?, fields.len())
            }
        };
        Ok(self.dev.bit_fields(from, &self.slots))
    }
    /// Goes past a correction of `width` bits per slot: where P1 has it. P0 has none.
    pub fn correction(&mut self, width: u32) -> Result<Option<Place>> {
        if self.me.is_p0() { Ok(None) } else { self.next(width, 1).map(Some) }
    }
    /// This party's share of a correction, from where it lies.
    pub fn field(&self, field: u32, at: Option<Place>) -> Result<Field<'_, B::Keys>> {
        match at {
            None => Ok(Field::Own(self.stream(field))),
            Some(at) => Ok(Field::Stored(self.stored(at)?)),
        }
    }
    /// Goes past common words of `width` bits per slot.
    pub fn common(&mut self, width: u32) -> Result<Place> {
        self.next(width, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, TILE};

    #[test]
    fn groups_are_cut_at_tiles_whatever_the_run() {
        let cut = |run: [usize; 2]| -> Vec<[usize; 2]> {
            groups::<Cpu<u32>>(&(run[0]..run[1])).iter().map(|g| [g.start, g.end]).collect()
        };
        assert_eq!(cut([0, TILE]), [[0, TILE]]);
        assert_eq!(cut([5, TILE + 1]), [[5, TILE], [TILE, TILE + 1]]);
        assert_eq!((cut([7, 7]), cut([TILE, TILE])), (vec![], vec![]));
        assert_eq!(cut([3 * TILE + 2, 3 * TILE + 9]), [[3 * TILE + 2, 3 * TILE + 9]]);
    }
}
