//! Which tiles of a step travel together: the same to both sides, from the plan.

use super::FRAMING;
use crate::layout::SegmentLayout;
use crate::{Error, Layout, Result};
use std::ops::Range;
use twoply_primitives::{Origin, PartyId, Site};

/// Bytes of tiles per frame, unless one tile is longer.
const FRAME: usize = 64 << 10;

/// The frames of one step, for both parties.
#[derive(Clone, Debug)]
pub struct StepLayout {
    pub(super) tiles: SegmentLayout,
    /// Bytes of each stored tile, by number, per party.
    pub(super) lengths: Vec<[usize; 2]>,
    pub(super) groups: Vec<Group>,
    digest: [u8; 32],
}

/// Neighbouring tiles that leave together: a frame for each party that stores something in them. They are the same for
/// both, so that no party waits for a tile that is held back while the other one has no credit.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// By number.
    pub tiles: Range<usize>,
    /// Without framing, per party.
    pub bytes: [usize; 2],
}

impl StepLayout {
    /// The frames of a step that stores what `layout` says: of one image, with the whole batch inside.
    ///
    /// # Errors
    /// [`Error::Layout`] where a length would not fit into 63 bits.
    pub fn new(layout: &Layout) -> Result<StepLayout> {
        let tiles = layout.for_images(1)?;
        let length = |(name, at, tile): (&str, Site, usize)| -> Result<[usize; 2]> {
            let [a, b] = [0, 1].map(|party| tiles.place(party, name, at, tile));
            Ok([a?.len, b?.len])
        };
        let lengths: Vec<_> = tiles.stored().map(length).collect::<Result<_>>()?;
        let bytes = postcard::to_stdvec(layout)
            .map_err(|_| Error::Layout { images: 1, why: "it cannot be written down" })?;
        let digest = *blake3::hash(&bytes).as_bytes();
        Ok(StepLayout { groups: groups(&lengths), lengths, digest, tiles })
    }

    /// Bytes of `party`'s longest frame: no stream of this step goes with less credit.
    pub fn longest(&self, party: PartyId) -> u64 {
        let tiles = self.groups.iter().map(|g| g.bytes[party.index()]).max();
        (tiles.unwrap_or(0) + FRAMING) as u64
    }
    /// Bytes of all frames that `party` is sent for a step.
    pub fn bytes(&self, party: PartyId) -> u64 {
        let frame = |bytes: usize| (bytes + FRAMING) as u64;
        FRAMING as u64 + self.frames(party).map(|(_, g)| frame(g.bytes[party.index()])).sum::<u64>()
    }

    /// The groups of which `party` gets a frame, with their numbers.
    pub(super) fn frames(&self, party: PartyId) -> impl Iterator<Item = (usize, &Group)> {
        self.groups.iter().enumerate().filter(move |(_, g)| g.bytes[party.index()] > 0)
    }
    /// The link before the first frame.
    pub(super) fn link(&self, of: Origin, party: PartyId) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key("twoply key stream v1");
        hash.update(&of.set.0).update(&of.segment.to_le_bytes()).update(&[party.index() as u8]);
        *hash.update(&self.digest).finalize().as_bytes()
    }
    /// A tile in words, by its number.
    pub(super) fn name(&self, number: usize) -> String {
        self.tiles.stored().nth(number).map_or("the end of the step".into(), |(name, at, tile)| {
            format!("tile {tile} of gate {} ({name}) part {}", at.gate, at.part)
        })
    }
}

fn groups(lengths: &[[usize; 2]]) -> Vec<Group> {
    let mut groups: Vec<Group> = vec![];
    for (number, len) in lengths.iter().enumerate() {
        match groups.last_mut() {
            Some(g) if (0..2).all(|p| g.bytes[p] + len[p] <= FRAME) => {
                g.tiles.end = number + 1;
                (0..2).for_each(|p| g.bytes[p] += len[p]);
            }
            _ => groups.push(Group { tiles: number..number + 1, bytes: *len }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_tile_once_and_stay_short_unless_a_tile_is_long() {
        let lengths: Vec<[usize; 2]> =
            (0..400).map(|i: usize| [(i % 7) * 300, 1 + (i * i) % (FRAME + 9000)]).collect();
        let groups = groups(&lengths);
        let mut next = 0;
        for g in &groups {
            assert_eq!(g.tiles.start, next);
            next = g.tiles.end;
            for p in 0..2 {
                assert_eq!(g.bytes[p], lengths[g.tiles.clone()].iter().map(|l| l[p]).sum::<usize>());
                assert!(g.tiles.len() == 1 || g.bytes[p] <= FRAME);
            }
        }
        assert_eq!(next, lengths.len());
        for pair in groups.windows(2) {
            let first = lengths[pair[1].tiles.start];
            assert!(
                (0..2).any(|p| pair[0].bytes[p] + first[p] > FRAME),
                "no frame is shorter than it must be"
            );
        }
    }
}
