//! A party's key for the slots of one tile that a run uses.
//!
//! A tile's key is consumed by the comparison it was dealt for:
//! ```compile_fail
//! use twoply_primitives::{Backend, compare::Comparison, session::TileKey};
//! fn twice<B: Backend, C: Comparison<B>>(c: &C, key: TileKey<B>, x: &B::Buf) {
//!     let _ = c.begin(key, x);
//!     let _ = c.begin(key, x);
//! }
//! ```

use crate::backend::Packed;
use crate::bits::{Bits, read_bits};
use crate::deal::FRESH;
use crate::prg::{Origin, Roots, Stream, Streams};
use crate::record::packed_len;
use crate::{Backend, Error, KeySource, Part, PartyId, Result, Site, TILE, TileBytes};
use std::ops::Range;
use std::sync::Arc;

/// Where tiles are fetched for: a gate's part, seen by one party.
pub(crate) struct Place<'a, B: Backend> {
    pub dev: &'a B,
    pub me: PartyId,
    pub streams: Arc<Streams>,
    pub origin: Origin,
    pub site: Site,
    pub fields: &'a [u32],
}

/// Tiles that hold the elements `run`.
pub(crate) fn covering(run: &Range<usize>) -> Range<usize> {
    if run.is_empty() { 0..0 } else { run.start / TILE..run.end.div_ceil(TILE) }
}

impl<B: Backend> Place<'_, B> {
    /// The key of tile `tile` and the elements of the segment, within `run`, that it serves.
    pub fn tile(
        &self,
        name: &'static str,
        tile: usize,
        run: &Range<usize>,
        keys: &dyn KeySource,
    ) -> Result<(TileKey<B>, Range<usize>)> {
        let mut fields = [vec![], vec![]];
        fields[self.me.index()] = self.fields.to_vec();
        let dealt = Part { elements: keys.elements(self.site)?, fields };
        if run.end > dealt.elements {
            return Err(Error::Keys(format!(
                "gate {} was dealt {} elements, the run needs {}",
                self.site.gate, dealt.elements, run.end
            )));
        }
        let (start, len) = (tile * TILE, dealt.tile_len(tile));
        let data = match dealt.bits(self.me.index()) {
            0 => None,
            _ => Some(keys.tile(name, self.site, tile)?),
        };
        let (found, wanted) =
            (data.as_ref().map_or(0, |d| d.as_ref().as_ref().len()), dealt.tile_bytes(self.me.index(), len));
        if found != wanted {
            return Err(Error::PlanMismatch {
                at: self.site.gate,
                wanted: format!("{name}, tile {tile} of {wanted} bytes"),
                found: format!("{found} bytes"),
            });
        }
        let slots = run.start.max(start)..run.end.min(start + len);
        let key = TileKey {
            dev: self.dev.clone(),
            me: self.me,
            streams: self.streams.clone(),
            origin: self.origin,
            site: self.site,
            slots: slots.clone(),
            tile,
            tile_len: len,
            data,
            read: 0,
        };
        Ok((key, slots))
    }
}

/// One party's key for some slots of one tile. Fields are read in the order in which they were dealt, each once;
/// not `Clone`.
pub struct TileKey<B: Backend> {
    dev: B,
    me: PartyId,
    streams: Arc<Streams>,
    origin: Origin,
    site: Site,
    slots: Range<usize>,
    tile: usize,
    tile_len: usize,
    data: Option<TileBytes>,
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
    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    /// Key set and segment.
    pub fn origin(&self) -> Origin {
        self.origin
    }
    /// Gate and part.
    pub fn site(&self) -> Site {
        self.site
    }
    /// Number of the tile within its part.
    pub fn tile(&self) -> u64 {
        self.tile as u64
    }
    /// Elements of the whole tile.
    pub fn tile_len(&self) -> usize {
        self.tile_len
    }
    /// First slot, counted from the start of the tile.
    pub fn first(&self) -> usize {
        self.slots.start - self.tile * TILE
    }

    fn stream(&self, field: u32) -> Stream<'_> {
        self.streams.field(field)
    }
    /// The stored bytes of the next field.
    fn stored(&mut self, width: u32) -> Result<Range<usize>> {
        let len = packed_len(width, self.tile_len);
        let have = self.data.as_ref().map_or(0, |d| d.as_ref().as_ref().len());
        let range = self.read..self.read + len;
        if range.end > have {
            return Err(Error::Keys(format!("tile of gate {} ends early", self.site.gate)));
        }
        self.read = range.end;
        Ok(range)
    }
    fn data(&self, range: Range<usize>) -> &[u8] {
        self.data.as_ref().map_or(&[], |d| &d.as_ref().as_ref()[range])
    }

    /// This party's share of the fresh mask of this part's result, on these slots.
    pub fn fresh(&self, bits: u32) -> B::Buf {
        self.dev.expand(self.stream(FRESH), self.slots.start, self.len(), bits)
    }
    /// This party's own free bits.
    pub fn own_bits(&self, field: u32) -> Bits {
        self.stream(field).bits(self.slots.clone())
    }
    /// The same into words.
    pub fn own_bits_into(&self, field: u32, out: &mut [u64]) {
        self.stream(field).bits_into(self.slots.clone(), out)
    }
    /// This party's roots of point functions, from the tile's first on.
    pub fn own_roots(&self, field: u32) -> Roots<'_> {
        Roots::new(self.stream(field), self.me, self.tile * TILE)
    }
    /// This party's share of a correction word mod 2^bits.
    pub fn word(&mut self, field: u32, bits: u32) -> Result<B::Buf> {
        if self.me.is_p0() {
            return Ok(self.dev.expand(self.stream(field), self.slots.start, self.len(), bits));
        }
        let range = self.stored(bits)?;
        let at = self.first() * bits as usize;
        Ok(self.dev.unpack(&Packed { bytes: self.data(range).into(), at, width: bits, len: self.len() }))
    }
    /// This party's share of a correction bit, 64 elements to a word.
    pub fn bit_into(&mut self, field: u32, out: &mut [u64]) -> Result<()> {
        if self.me.is_p0() {
            self.own_bits_into(field, out);
        } else {
            let range = self.stored(1)?;
            read_bits(self.data(range), self.first(), self.len(), out);
        }
        Ok(())
    }
    /// This party's share of a correction table of `width` bits per element.
    pub fn table(&mut self, field: u32, width: u32) -> Result<Packed<'_>> {
        let (len, bits) = (self.len(), width as usize);
        if self.me.is_p0() {
            let first = self.slots.start * bits / 8;
            let end = (self.slots.end * bits).div_ceil(8);
            let bytes = self.stream(field).bytes(first, end - first);
            return Ok(Packed { bytes: bytes.into(), at: self.slots.start * bits - first * 8, width, len });
        }
        let range = self.stored(width)?;
        let at = self.first() * bits;
        Ok(Packed { bytes: self.data(range).into(), at, width, len })
    }
    /// Skips common words of `width` bits per element; [`TileKey::words`] reads them.
    pub fn common(&mut self, width: u32) -> Result<Range<usize>> {
        self.stored(width)
    }
    /// Common words of the whole tile.
    pub fn words(&self, range: Range<usize>) -> &[u8] {
        self.data(range)
    }
}
