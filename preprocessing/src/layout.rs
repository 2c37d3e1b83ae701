//! Where each tile lies. Everything follows from the plan; nothing is read from a file.
//!
//! A file is a page of header, the tiles in the order of the plan, one digest per tile, one digest of those:
//!
//! ```text
//! 0        4096                                        index                  trailer
//! | header | tile | pad to 64 | tile | pad to 64 | ... | 16 bytes per tile ... | 32 bytes |
//! ```
//!
//! All tiles of a part but the last have one length, so a tile's place is a multiplication away.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use twoply_primitives::{Part, PartyId, Site, TILE};

/// Bytes before the first tile.
pub(crate) const PAGE: usize = 4096;
/// Every tile starts at a multiple of this.
pub(crate) const ALIGN: u64 = 64;
/// Bytes of a tile's digest.
pub(crate) const DIGEST: usize = 16;
/// Bytes of the digest of the index.
pub(crate) const TRAILER: usize = 32;

/// What one gate stores for one image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GateLayout {
    /// The gate's name, bound into the digests of its tiles.
    pub name: String,
    /// Its parts, with their elements per image.
    pub parts: Vec<Part>,
}

/// What a plan stores for one image, gate by gate.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Layout {
    /// The gates in the order of the plan.
    pub gates: Vec<GateLayout>,
}

impl Layout {
    /// The layout of a segment of `images` images. Fails where a length would not fit into 63 bits.
    pub fn for_images(&self, images: u32) -> Result<SegmentLayout> {
        let err = |why| Error::Layout { images: images.into(), why };
        if images == 0 {
            return Err(err("a segment needs at least one image"));
        }
        let mut out =
            SegmentLayout { gates: Vec::new(), slots: Vec::new(), tiles: 0, index: [PAGE as u64; 2] };
        for gate in &self.gates {
            out.gates.push(GateSlots {
                name: gate.name.clone(),
                first: out.slots.len(),
                parts: gate.parts.len(),
            });
            for part in &gate.parts {
                let elements = part.elements.checked_mul(images as usize);
                let elements = elements.ok_or(err("a gate has more elements than memory addresses"))?;
                out.append(Part { elements, ..part.clone() })
                    .ok_or(err("a key file would exceed 2^63 bytes"))?;
            }
        }
        Ok(out)
    }

    /// Length in bytes of `party`'s file for a segment of `images` images, header and index included.
    pub fn file_bytes(&self, party: PartyId, images: u32) -> Result<u64> {
        Ok(self.for_images(images)?.file_bytes(party))
    }
}

/// Where the tiles of one segment lie, in both parties' files.
#[derive(Clone, Debug)]
pub struct SegmentLayout {
    gates: Vec<GateSlots>,
    slots: Vec<Slot>,
    tiles: u64,
    /// Where the tiles end and the index begins.
    index: [u64; 2],
}

#[derive(Clone, Debug)]
struct GateSlots {
    name: String,
    first: usize,
    parts: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    part: Part,
    first_tile: u64,
    offset: [u64; 2],
    stride: [u64; 2],
}

/// The place of one tile in one party's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Number of the tile in the file, from 0; `None` if neither party stores anything in this part.
    pub number: Option<u64>,
    /// First byte.
    pub offset: u64,
    /// Length without padding.
    pub len: usize,
    /// Length with padding.
    pub padded: usize,
}

fn pad(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(ALIGN)
}

impl SegmentLayout {
    fn append(&mut self, part: Part) -> Option<()> {
        let mut slot = Slot { first_tile: self.tiles, offset: self.index, stride: [0; 2], part };
        if slot.stored() {
            let tiles = slot.part.tiles() as u64;
            let last = slot.part.tile_len(slot.part.tiles() - 1) as u64;
            for party in 0..2 {
                slot.stride[party] = pad(tile_bytes(&slot.part, party, TILE as u64)?)?;
                let full = slot.stride[party].checked_mul(tiles - 1)?;
                let bytes = full.checked_add(pad(tile_bytes(&slot.part, party, last)?)?)?;
                self.index[party] = self.index[party].checked_add(bytes)?;
            }
            self.tiles = self.tiles.checked_add(tiles)?;
        }
        self.slots.push(slot);
        let index = self.tiles.checked_mul(DIGEST as u64)?.checked_add(TRAILER as u64)?;
        let end = self.index[0].max(self.index[1]).checked_add(index)?;
        (end <= i64::MAX as u64).then_some(())
    }

    /// Length in bytes of `party`'s file.
    pub fn file_bytes(&self, party: PartyId) -> u64 {
        self.index[party.index()] + self.tiles * DIGEST as u64 + TRAILER as u64
    }
    /// Stored tiles, the same number in both files.
    pub fn tiles(&self) -> u64 {
        self.tiles
    }
    /// Where the digests of `party`'s tiles lie.
    pub(crate) fn index(&self, party: usize) -> Range<usize> {
        let start = self.index[party] as usize;
        start..start + self.tiles as usize * DIGEST
    }

    fn slot(&self, name: &str, at: Site) -> twoply_primitives::Result<&Slot> {
        let mismatch = |found: String| twoply_primitives::Error::PlanMismatch {
            at: at.gate,
            wanted: name.to_string(),
            found,
        };
        let gate = self.gates.get(at.gate as usize);
        let gate =
            gate.ok_or_else(|| mismatch(format!("the end of the plan ({} gates)", self.gates.len())))?;
        if gate.name != name {
            return Err(mismatch(gate.name.clone()));
        }
        if at.part as usize >= gate.parts {
            return Err(mismatch(format!("{name} with {} parts, no part {}", gate.parts, at.part)));
        }
        Ok(&self.slots[gate.first + at.part as usize])
    }

    /// The place of one tile in `party`'s file. Refuses a gate, part or tile that the plan does not have.
    pub(crate) fn place(
        &self,
        party: usize,
        name: &str,
        at: Site,
        tile: usize,
    ) -> twoply_primitives::Result<Place> {
        let slot = self.slot(name, at)?;
        if tile >= slot.part.tiles() {
            return Err(twoply_primitives::Error::PlanMismatch {
                at: at.gate,
                wanted: format!("{name} part {} tile {tile}", at.part),
                found: format!("{} tiles", slot.part.tiles()),
            });
        }
        let len = slot.part.tile_bytes(party, slot.part.tile_len(tile));
        Ok(Place {
            number: slot.stored().then(|| slot.first_tile + tile as u64),
            offset: slot.offset[party] + tile as u64 * slot.stride[party],
            len,
            padded: len.next_multiple_of(ALIGN as usize),
        })
    }

    /// Elements of a part in the whole segment, whatever the name of its gate.
    pub(crate) fn elements(&self, at: Site) -> Option<usize> {
        let gate = self.gates.get(at.gate as usize)?;
        ((at.part as usize) < gate.parts).then(|| self.slots[gate.first + at.part as usize].part.elements)
    }

    /// Name of a gate.
    pub(crate) fn name(&self, at: Site) -> Option<&str> {
        self.gates.get(at.gate as usize).map(|gate| gate.name.as_str())
    }

    /// Every stored tile, in the order of the file.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&str, Site, usize)> {
        let sites = self.gates.iter().enumerate().flat_map(|(g, gate)| {
            (0..gate.parts).map(move |p| (gate, Site { gate: g as u32, part: p as u32 }))
        });
        sites.flat_map(|(gate, at)| {
            let slot = &self.slots[gate.first + at.part as usize];
            let tiles = if slot.stored() { slot.part.tiles() } else { 0 };
            (0..tiles).map(move |t| (gate.name.as_str(), at, t))
        })
    }
}

impl Slot {
    /// A part has tiles in both files as soon as one party stores something there.
    fn stored(&self) -> bool {
        self.part.elements > 0 && self.part.fields.iter().flatten().any(|&w| w > 0)
    }
}

/// As [`Part::tile_bytes`], in checked arithmetic.
fn tile_bytes(part: &Part, party: usize, len: u64) -> Option<u64> {
    part.fields[party].iter().try_fold(0u64, |sum, &w| sum.checked_add((len * u64::from(w)).div_ceil(8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(elements: usize, p0: &[u32], p1: &[u32]) -> Part {
        Part { elements, fields: [p0.to_vec(), p1.to_vec()] }
    }

    #[test]
    fn tiles_do_not_overlap_and_fill_the_file() {
        let parts =
            vec![part(3000, &[], &[33, 1]), part(1, &[7], &[7]), part(5000, &[], &[]), part(0, &[9], &[9])];
        let layout = Layout {
            gates: vec![
                GateLayout { name: "relu".into(), parts },
                GateLayout { name: "none".into(), parts: vec![] },
                GateLayout { name: "linear".into(), parts: vec![part(4096, &[1], &[64])] },
            ],
        };
        for images in [1, 2, 3, 128] {
            let segment = layout.for_images(images).unwrap();
            for party in 0..2 {
                let mut end = PAGE as u64;
                let mut count = 0;
                for (name, at, tile) in segment.stored() {
                    let place = segment.place(party, name, at, tile).unwrap();
                    assert_eq!((place.offset, place.number), (end, Some(count)));
                    assert_eq!(place.offset % ALIGN, 0);
                    end += place.padded as u64;
                    count += 1;
                }
                assert_eq!((segment.tiles(), segment.index(party).start as u64), (count, end));
                assert_eq!(layout.file_bytes(PartyId::BOTH[party], images).unwrap(), end + 16 * count + 32);
            }
        }
    }

    #[test]
    fn another_gate_part_or_tile_is_a_plan_mismatch() {
        let gates = vec![GateLayout { name: "relu".into(), parts: vec![part(10, &[], &[8])] }];
        let segment = Layout { gates }.for_images(2).unwrap();
        let at = |gate, part| Site { gate, part };
        assert_eq!(segment.place(1, "relu", at(0, 0), 0).unwrap().len, 20);
        assert_eq!(segment.place(0, "relu", at(0, 0), 0).unwrap().len, 0);
        for (name, site, tile) in
            [("mul", at(0, 0), 0), ("relu", at(1, 0), 0), ("relu", at(0, 1), 0), ("relu", at(0, 0), 1)]
        {
            let e = segment.place(1, name, site, tile).unwrap_err();
            assert!(matches!(e, twoply_primitives::Error::PlanMismatch { .. }), "{e}");
        }
        assert_eq!((segment.elements(at(0, 0)), segment.elements(at(0, 1))), (Some(20), None));
    }

    #[test]
    fn impossible_sizes_are_refused_without_overflow() {
        let of = |p: Part| Layout { gates: vec![GateLayout { name: "x".into(), parts: vec![p] }] };
        assert!(of(part(1, &[1], &[1])).for_images(0).is_err());
        for huge in [
            part(usize::MAX / 2, &[1], &[1]),
            part(usize::MAX / 4, &[u32::MAX], &[0]),
            part(1 << 50, &[0], &[u32::MAX; 64]),
        ] {
            assert!(matches!(of(huge).for_images(3), Err(Error::Layout { .. })));
        }
    }
}
