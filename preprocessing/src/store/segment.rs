//! One segment file, mapped; each tile verified before it is handed out, and handed out without a copy.

use super::ahead::{Ahead, Reading};
use crate::disk::open_private;
use crate::file::{Digests, Header, Kind, Wanted};
use crate::layout::{DIGEST, PAGE, Place, SegmentLayout};
use crate::set::{Cut, SegmentId};
use crate::{Error, Layout, Result};
use memmap2::Mmap;
use rayon::prelude::*;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twoply_primitives::{KeySource, Origin, Seed, Site, TILE, TileBytes};
use zeroize::Zeroizing;

/// An open segment file. It can be verified; its tiles come out through a [`crate::Lease`] only.
pub struct Segment(Arc<Inner>);

pub(crate) struct Inner {
    path: PathBuf,
    header: Header,
    seed: Seed,
    layout: SegmentLayout,
    digests: Digests,
    map: Mmap,
    /// Device and number of the file, which no other file has while this one is mapped.
    file: (u64, u64),
}

/// Reads up to a page; returns how much there was.
pub(super) fn read_page(file: &mut impl Read, page: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < page.len() {
        match file.read(&mut page[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

impl Segment {
    /// Opens segment `segment` of a key set cut like `cut` and checks everything but its tiles.
    pub fn open(path: &Path, wanted: &Wanted, cut: Cut, segment: u32, layout: &Layout) -> Result<Segment> {
        let images = cut.range(segment).map_or(0, |r| (r.end - r.start) as u32);
        let layout = layout.for_images(images)?;
        let mut file = open_private(path, false)?;
        let io = |e| Error::io(path, "read", e);
        let mut page = Zeroizing::new(vec![0; PAGE]);
        let len = read_page(&mut file, &mut page).map_err(io)?;
        let (header, seed) = Header::decode(path, &page[..len])?;
        wanted.check(path, &header, Kind::Segment)?;
        Wanted::check_segment(path, &header, cut, segment)?;
        let facts = file.metadata().map_err(io)?;
        let (found, size) = (facts.len(), layout.file_bytes(header.party));
        if found != size {
            return Err(Error::Length { path: path.into(), wanted: size, found });
        }
        let map = crate::mmap::map(&file).map_err(|e| Error::io(path, "map", e))?;
        let digests = Header::digests(&page);
        let file = (facts.dev(), facts.ino());
        let inner = Inner { path: path.into(), header, seed, layout, digests, map, file };
        inner.check_index()?;
        Ok(Segment(Arc::new(inner)))
    }

    /// The public part of its header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }
    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.0.map.len() as u64
    }
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
    /// Checks every tile, in parallel.
    pub fn verify(&self) -> Result<()> {
        let tiles: Vec<_> = self.0.layout.stored().collect();
        tiles.into_par_iter().try_for_each(|(_, at, tile)| self.0.verify(at, tile).map(|_| ()))
    }
}

impl From<Arc<Inner>> for Segment {
    fn from(inner: Arc<Inner>) -> Self {
        Segment(inner)
    }
}

impl Inner {
    /// Whether `path` still names this file.
    pub(super) fn is(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|facts| (facts.dev(), facts.ino()) == self.file)
    }

    fn bytes(&self, range: Range<usize>) -> Result<&[u8]> {
        // The length of the map was compared with the layout; this guards against nothing but a bug here.
        self.map.get(range).ok_or_else(|| Error::corrupt(&self.path, "the length"))
    }

    fn index(&self) -> Range<usize> {
        self.layout.index(self.header.party.index())
    }

    fn check_index(&self) -> Result<()> {
        let index = self.index();
        if self.digests.index(self.bytes(index.clone())?) != self.bytes(index.end..self.map.len())? {
            return Err(Error::corrupt(&self.path, "the index of tiles"));
        }
        Ok(())
    }

    fn elements(&self, at: Site) -> twoply_primitives::Result<usize> {
        self.layout.elements(at).ok_or_else(|| twoply_primitives::Error::PlanMismatch {
            at: at.gate,
            wanted: format!("part {}", at.part),
            found: "no such part in the plan".into(),
        })
    }

    pub(super) fn layout(&self) -> &SegmentLayout {
        &self.layout
    }

    /// Where the tile of this gate lies, and its number; none if nobody stores anything there.
    pub(super) fn find(&self, name: &str, at: Site, tile: usize) -> Result<(Range<usize>, Option<usize>)> {
        let place = self.layout.place(self.header.party.index(), name, at, tile)?;
        let start = place.offset as usize;
        Ok((start..start + place.len, place.number.map(|n| n as usize)))
    }

    /// The number of a tile that the plan has and that is stored.
    pub(super) fn number(&self, at: Site, tile: usize) -> Option<usize> {
        self.find(self.layout.name(at)?, at, tile).ok()?.1
    }

    /// The stored tiles that hold elements of `images`, in the order of the program, with their lengths.
    pub(super) fn tiles_of(&self, images: Range<u32>) -> Vec<(Site, usize, usize)> {
        let all = self.header.images.max(1) as usize;
        let mut out = vec![];
        for (name, at, tile) in self.layout.stored() {
            let per_image = self.layout.elements(at).unwrap_or(0) / all;
            let run = images.start as usize * per_image..images.end as usize * per_image;
            if tile * TILE < run.end && (tile + 1) * TILE > run.start {
                // a half that stores nothing here is not asked for it
                out.extend(
                    self.find(name, at, tile).ok().filter(|f| !f.0.is_empty()).map(|f| (at, tile, f.0.len())),
                );
            }
        }
        out
    }

    /// Verifies one tile; its length with padding.
    pub(super) fn verify(&self, at: Site, tile: usize) -> Result<usize> {
        let name = self.layout.name(at).unwrap_or_default();
        let place = self.layout.place(self.header.party.index(), name, at, tile)?;
        let Place { number: Some(number), offset, padded, .. } = place else { return Ok(0) };
        let start = offset as usize;
        let entry = self.index().start + number as usize * DIGEST;
        let digest = self.digests.tile(name, at, tile, &[self.bytes(start..start + padded)?]);
        if digest != self.bytes(entry..entry + DIGEST)? {
            let what = format!("tile {tile} of gate {} ({name}) part {}", at.gate, at.part);
            return Err(Error::corrupt(&self.path, what));
        }
        Ok(padded)
    }
}

/// Part of a mapped file; keeps it mapped.
struct View {
    inner: Arc<Inner>,
    range: Range<usize>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.inner.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// The tiles of a segment, for the images of one lease. Made by [`crate::KeySet::open`].
pub struct Leased {
    segment: Segment,
    images: Range<u32>,
    ahead: Ahead,
}

impl Leased {
    pub(super) fn new(segment: Segment, images: Range<u32>) -> Self {
        let ahead = Ahead::of(segment.inner().clone(), images.clone());
        Leased { segment, images, ahead }
    }
    /// The leased images, numbered within the segment.
    pub fn images(&self) -> Range<u32> {
        self.images.clone()
    }
    /// What reading and verifying its tiles took so far.
    pub fn reading(&self) -> Reading {
        self.ahead.reading()
    }
    /// This party's seed of the segment.
    pub fn seed(&self) -> &Seed {
        &self.segment.0.seed
    }
    /// Where the segment's randomness belongs.
    pub fn origin(&self) -> Origin {
        let header = self.segment.header();
        Origin { set: header.key_set, segment: header.segment }
    }
    /// Name of the segment. Parties compare it before they run: halves of two deals of one segment do not fit.
    pub fn segment_id(&self) -> SegmentId {
        self.segment.header().id
    }
    /// Public part of the segment's header.
    pub fn header(&self) -> &Header {
        self.segment.header()
    }
}

impl KeySource for Leased {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> twoply_primitives::Result<TileBytes> {
        let range = self.ahead.tile(name, at, tile)?;
        Ok(Arc::new(View { inner: self.segment.0.clone(), range }))
    }
    fn elements(&self, at: Site) -> twoply_primitives::Result<usize> {
        self.segment.0.elements(at)
    }
}

/// The tiles of a segment without a lease, for what a party computes by itself before a run: nothing that comes of them
/// may leave before their images are reserved. Made by [`crate::KeySet::peek`].
pub struct Peek(pub(super) Segment);

impl Peek {
    /// Name of the segment: what is computed from its keys is of no use with those of another deal of it.
    pub fn segment_id(&self) -> SegmentId {
        self.0.header().id
    }
    /// This party's seed of the segment.
    pub fn seed(&self) -> &Seed {
        &self.0.0.seed
    }
    /// Where the segment's randomness belongs.
    pub fn origin(&self) -> Origin {
        let header = self.0.header();
        Origin { set: header.key_set, segment: header.segment }
    }
}

impl KeySource for Peek {
    fn tile(&self, name: &'static str, at: Site, tile: usize) -> twoply_primitives::Result<TileBytes> {
        let (range, number) = self.0.0.find(name, at, tile)?;
        if number.is_some() {
            self.0.0.verify(at, tile)?;
        }
        Ok(Arc::new(View { inner: self.0.0.clone(), range }))
    }
    fn elements(&self, at: Site) -> twoply_primitives::Result<usize> {
        self.0.0.elements(at)
    }
}
