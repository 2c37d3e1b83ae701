//! From the dealer's tiles to key files. A half is written front to back, so any `Write` will do: a file or a stream.

use crate::book::FileLog;
use crate::disk::{PartFile, create_dir};
use crate::file::{Digests, Header, Kind, Wanted};
use crate::layout::{ALIGN, DIGEST, SegmentLayout};
use crate::ledger::{Account, Tally, new_ledger};
use crate::set::{Cut, PlanDigest, SeedSource};
use crate::store::{LEDGER, SET, Segment, read_header, segment_name};
use crate::trained::{TrainedMasks, file_bytes, seal};
use crate::unused::unused;
use crate::{Error, Layout, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twoply_primitives::{KeySetId, KeySink, PartyId, Seed, Site};
use zeroize::Zeroizing;

/// Writes one party's half of one segment.
pub struct HalfWriter<W> {
    out: W,
    /// For messages only.
    name: PathBuf,
    party: PartyId,
    layout: Arc<SegmentLayout>,
    digests: Digests,
    index: Vec<u8>,
    written: u64,
}

impl<W: Write> HalfWriter<W> {
    /// Writes the header. `name` is what messages call the file.
    pub fn start(
        out: W,
        name: impl Into<PathBuf>,
        header: &Header,
        seed: &Seed,
        layout: Arc<SegmentLayout>,
    ) -> Result<Self> {
        let page = header.encode(seed);
        let digests = Header::digests(&page);
        let index = Vec::with_capacity(layout.tiles() as usize * DIGEST);
        let (name, party) = (name.into(), header.party);
        let mut half = HalfWriter { out, name, party, layout, digests, index, written: 0 };
        half.raw(&page)?;
        Ok(half)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let need = self.bytes_in_all();
        self.out.write_all(bytes).map_err(|e| Error::writing(&self.name, need, e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn order(&self, wanted: String, found: String) -> Error {
        Error::Order { path: self.name.clone(), wanted, found }
    }

    /// Appends a tile, which must be the next one of the plan and have the planned length. A part in which
    /// neither party stores anything may be put (empty) or left out.
    pub fn put(&mut self, name: &str, at: Site, tile: usize, bytes: &[u8]) -> Result<()> {
        let place = self.layout.place(self.party.index(), name, at, tile)?;
        if bytes.len() != place.len {
            let wanted = format!("{} bytes", place.len);
            return Err(self.order(wanted, format!("{} for {name} {at:?} tile {tile}", bytes.len())));
        }
        let Some(number) = place.number else { return Ok(()) };
        let next = (self.index.len() / DIGEST) as u64;
        if number != next {
            return Err(
                self.order(format!("tile {next}"), format!("tile {number}, {name} {at:?} tile {tile}"))
            );
        }
        let padding = &[0; ALIGN as usize][..place.padded - place.len];
        let digest = self.digests.tile(name, at, tile, &[bytes, padding]);
        self.index.extend_from_slice(&digest);
        self.raw(bytes)?;
        self.raw(padding)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.written
    }
    /// Length of the finished file.
    pub fn bytes_in_all(&self) -> u64 {
        self.layout.file_bytes(self.party)
    }

    /// Writes the index; fails if tiles are missing. The caller makes the result durable.
    pub fn finish(mut self) -> Result<W> {
        let tiles = self.layout.tiles();
        if self.index.len() as u64 != tiles * DIGEST as u64 {
            return Err(self.order(format!("{tiles} tiles"), format!("{}", self.index.len() / DIGEST)));
        }
        let index = std::mem::take(&mut self.index);
        let trailer = self.digests.index(&index);
        self.raw(&index)?;
        self.raw(&trailer)?;
        self.out.flush().map_err(|e| Error::writing(&self.name, self.written, e))?;
        Ok(self.out)
    }
}

/// Writes both halves of one segment: the [`KeySink`] of a dealer.
pub struct SegmentWriter<W> {
    header: Header,
    seeds: [Seed; 2],
    halves: [HalfWriter<W>; 2],
}

impl<W: Write> SegmentWriter<W> {
    /// Number, images and name of the segment (`party` means nothing here).
    pub fn header(&self) -> &Header {
        &self.header
    }
    /// Both parties' seeds, from which the dealer derives what is not stored.
    pub fn seeds(&self) -> &[Seed; 2] {
        &self.seeds
    }
    /// Bytes written so far, per party.
    pub fn bytes(&self) -> [u64; 2] {
        [self.halves[0].bytes(), self.halves[1].bytes()]
    }
}

impl<W: Write> KeySink for SegmentWriter<W> {
    fn put(
        &mut self,
        name: &'static str,
        at: Site,
        tile: usize,
        bytes: [Vec<u8>; 2],
    ) -> twoply_primitives::Result<()> {
        for (half, bytes) in self.halves.iter_mut().zip(bytes) {
            // Wiped here, because this is where the dealer's copy ends.
            half.put(name, at, tile, &Zeroizing::new(bytes))?;
        }
        Ok(())
    }
}

impl SegmentWriter<PartFile> {
    /// Completes both files: durable, then named. Returns bytes per party. A crash between the two leaves one half,
    /// which [`SetWriter::segment`] recognises and deals again.
    pub fn finish(self) -> Result<[u64; 2]> {
        let [a, b] = self.halves;
        let bytes = [a.bytes_in_all(), b.bytes_in_all()];
        let files = [a.finish()?, b.finish()?];
        files.into_iter().try_for_each(PartFile::commit)?;
        Ok(bytes)
    }
}

/// What a deal is about.
#[derive(Clone, Debug)]
pub struct DealSpec {
    /// Digest of the plan.
    pub plan: PlanDigest,
    /// Its layout, per image.
    pub layout: Layout,
    /// Images and segments.
    pub cut: Cut,
    /// Where randomness comes from.
    pub seeds: SeedSource,
    /// The mask of trained weights, if the keys are for such; else the set has a mask of its own, from seeds.
    pub trained: Option<Arc<TrainedMasks>>,
}

impl DealSpec {
    fn kind(&self) -> Kind {
        if self.trained.is_some() { Kind::Trained } else { Kind::Set }
    }
}

/// One deal: writes a key set into two folders, segment by segment, and can go on after a crash.
pub struct SetWriter {
    spec: DealSpec,
    key_set: KeySetId,
    dirs: [PathBuf; 2],
    weight_seeds: [Seed; 2],
}

impl SetWriter {
    /// Begins a new key set below both parties' key folders, which must exist and differ.
    pub fn create(roots: [&Path; 2], spec: DealSpec) -> Result<Self> {
        let key_set = spec.seeds.key_set()?;
        let dirs = roots.map(|root| root.join(key_set.to_string()));
        if let Some(path) = dirs.into_iter().find(|dir| dir.exists()) {
            return Err(Error::Exists { path });
        }
        SetWriter::begin(roots, key_set, spec)
    }

    /// Begins the key set `key_set`, or does the rest of that if a process was killed at it. Both halves get their
    /// ledgers before either gets its `set.key`: where one is, the other half was there too.
    pub fn begin(roots: [&Path; 2], key_set: KeySetId, spec: DealSpec) -> Result<Self> {
        // All lengths are checked before the first file exists.
        spec.layout
            .for_images(spec.cut.segment_images().min(spec.cut.images().min(u32::MAX.into()) as u32))?;
        if roots[0].canonicalize().ok() == roots[1].canonicalize().ok() {
            return Err(Error::Exists { path: roots[1].join(key_set.to_string()) });
        }
        let dirs = roots.map(|root| root.join(key_set.to_string()));
        for (dir, party) in dirs.iter().zip(PartyId::BOTH) {
            if !dir.exists() {
                create_dir(dir)?;
            }
            if !dir.join(LEDGER).exists() {
                FileLog::create(dir.join(LEDGER), &new_ledger(&Account { key_set, party, cut: spec.cut }))?;
            }
        }
        for (dir, party) in dirs.iter().zip(PartyId::BOTH) {
            if !dir.join(SET).exists() {
                write_set(dir, &spec, key_set, party)?;
            }
        }
        SetWriter::resume(roots, key_set, spec)
    }

    /// Goes on with a key set that an earlier process began. The cut in `spec` must be the one it began with.
    pub fn resume(roots: [&Path; 2], key_set: KeySetId, spec: DealSpec) -> Result<Self> {
        let dirs = roots.map(|r| r.join(key_set.to_string()));
        let open = |party: PartyId| {
            let path = dirs[party.index()].join(SET);
            let (header, seed) = read_header(&path)?;
            let wanted = Wanted { party, key_set, plan: Some(spec.plan), insecure: spec.seeds.insecure() };
            let (named, of) = (spec.trained.as_ref().map(|masks| masks.of), header.trained);
            if [Kind::Set, Kind::Trained].contains(&header.kind) && named != of {
                return Err(Error::other_weights(&path, named, of));
            }
            wanted.check(&path, &header, spec.kind())?;
            let cut =
                (header.images, header.segment_images) == (spec.cut.images(), spec.cut.segment_images());
            // A test seed would repeat what is there, real seeds may not continue it: sources do not mix.
            if !cut || header.insecure != spec.seeds.insecure() {
                return Err(Error::Exists { path });
            }
            Ok(seed)
        };
        let weight_seeds = [open(PartyId::P0)?, open(PartyId::P1)?];
        Ok(SetWriter { spec, key_set, dirs, weight_seeds })
    }

    /// The key set's name.
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }
    /// Both parties' seeds of the weight mask; of no use where the set is for trained weights.
    pub fn weight_seeds(&self) -> &[Seed; 2] {
        &self.weight_seeds
    }

    /// A writer for segment `segment`, or `None` if both halves are complete or spent. A segment of which only
    /// one half is complete is dealt again, both halves, from new seeds.
    pub fn segment(&self, segment: u32) -> Result<Option<SegmentWriter<PartFile>>> {
        let spec = &self.spec;
        let range = spec
            .cut
            .range(segment)
            .ok_or(Error::Short { wanted: u64::from(segment) + 1, left: spec.cut.segments().into() })?;
        // A half that was moved away must not be dealt into, nor the one that stayed be dealt anew.
        if let Some(path) = self.dirs.iter().map(|dir| dir.join(SET)).find(|path| !path.exists()) {
            let remedy = "bring this half back to go on with the deal, or begin another deal";
            return Err(Error::Missing { path, what: "a half of the key set".into(), remedy });
        }
        if self.complete(segment)? || self.spent(range.end)? {
            return Ok(None);
        }
        let images = range.end - range.start;
        let layout = Arc::new(spec.layout.for_images(images as u32)?);
        let [p0, p1] = PartyId::BOTH;
        let seeds = [spec.seeds.seed(p0, Some(segment))?, spec.seeds.seed(p1, Some(segment))?];
        let id = spec.seeds.segment_id(segment)?;
        let header =
            Header { segment, id, first: range.start, images, ..blank(&self.spec, self.key_set, p0) };
        let half = |party: PartyId| {
            let path = self.dirs[party.index()].join(segment_name(segment));
            let file = PartFile::create(&path, layout.file_bytes(party))?;
            let header = Header { party, ..header.clone() };
            HalfWriter::start(file, path, &header, &seeds[party.index()], layout.clone())
        };
        let halves = [half(p0)?, half(p1)?];
        Ok(Some(SegmentWriter { header, seeds, halves }))
    }

    /// Whether both halves are there, whole, and from the same deal. A damaged half counts as absent.
    fn complete(&self, segment: u32) -> Result<bool> {
        let id = |party: PartyId| {
            let dir = &self.dirs[party.index()];
            let wanted = Wanted {
                party,
                key_set: self.key_set,
                plan: Some(self.spec.plan),
                insecure: self.spec.seeds.insecure(),
            };
            let path = dir.join(segment_name(segment));
            match Segment::open(&path, &wanted, self.spec.cut, segment, &self.spec.layout) {
                Ok(open) => Ok(Some(open.header().id)),
                Err(e @ (Error::Exposed { .. } | Error::Io { .. })) => Err(e),
                Err(_) => Ok(None),
            }
        };
        let [a, b] = PartyId::BOTH.map(id);
        Ok(matches!((a?, b?), (Some(a), Some(b)) if a == b))
    }

    /// Whether a party has spent every image below `end`; its segment may be erased, and dealing it again is useless.
    fn spent(&self, end: u64) -> Result<bool> {
        for (dir, party) in self.dirs.iter().zip(PartyId::BOTH) {
            let account = Account { key_set: self.key_set, party, cut: self.spec.cut };
            if Tally::read(&dir.join(LEDGER), &account)?.next >= end {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn blank(spec: &DealSpec, key_set: KeySetId, party: PartyId) -> Header {
    Header {
        kind: Kind::Segment,
        party,
        insecure: spec.seeds.insecure(),
        key_set,
        plan: spec.plan,
        segment: 0,
        segment_images: spec.cut.segment_images(),
        id: crate::SegmentId([0; 16]),
        first: 0,
        images: 0,
        trained: None,
    }
}

/// Writes the `set.key` of a half in which nothing was dealt or used, with a new seed of the weight mask, and behind it the share of
/// that of trained weights.
fn write_set(dir: &Path, spec: &DealSpec, key_set: KeySetId, party: PartyId) -> Result<()> {
    let _unused = unused(dir, &Account { key_set, party, cut: spec.cut })?;
    let header = Header {
        kind: spec.kind(),
        segment: spec.cut.segments(),
        images: spec.cut.images(),
        trained: spec.trained.as_ref().map(|masks| masks.of),
        ..blank(spec, key_set, party)
    };
    let share = spec.trained.as_ref().map(|masks| masks.share(party)).transpose()?;
    let mut file = PartFile::create(dir.join(SET), file_bytes(&header))?;
    let page = header.encode(&spec.seeds.seed(party, None)?);
    file.put(&page)?;
    if let Some(share) = share {
        file.put(share)?;
        file.put(&seal(&page, share))?;
    }
    file.commit()
}
