//! A small deal with recognisable bytes, for the tests of key files.
#![allow(dead_code)] // each test binary uses a part

use std::path::PathBuf;
use tempfile::TempDir;
use twoply_preprocessing::*;
use twoply_primitives::{KeySetId, KeySink, KeySource, Part, PartyId, Site};

pub const PLAN: PlanDigest = PlanDigest([7; 32]);
pub const NAMES: [&str; 3] = ["linear", "relu", "reveal"];

/// Per image: P0 stores nothing for the first gate, several tiles for the second, nobody anything for the third.
pub fn layout() -> Layout {
    let part = |elements, p0: &[u32], p1: &[u32]| Part { elements, fields: [p0.to_vec(), p1.to_vec()] };
    let parts = [
        vec![part(100, &[], &[33])],
        vec![part(1500, &[128, 1], &[128, 1, 9]), part(3, &[5], &[64])],
        vec![part(10, &[], &[])],
    ];
    let gate = |(name, parts): (&str, _)| GateLayout { name: name.into(), parts };
    Layout { gates: NAMES.into_iter().zip(parts).map(gate).collect() }
}

pub fn spec() -> DealSpec {
    let (cut, seeds) = (Cut::new(10, 4).unwrap(), SeedSource::Os);
    DealSpec { plan: PLAN, layout: layout(), cut, seeds, trained: None }
}

/// Every tile of a segment of `images` images: gate, place, number, length per party.
pub fn tiles(images: usize) -> Vec<(&'static str, Site, usize, [usize; 2])> {
    let mut all = Vec::new();
    for (g, gate) in layout().gates.into_iter().enumerate() {
        for (p, part) in gate.parts.into_iter().enumerate() {
            let part = Part { elements: part.elements * images, ..part };
            for t in 0..part.tiles() {
                let len = [0, 1].map(|party| part.tile_bytes(party, part.tile_len(t)));
                all.push((NAMES[g], Site { gate: g as u32, part: p as u32 }, t, len));
            }
        }
    }
    all
}

/// The bytes that `party` gets for a tile: different everywhere.
pub fn content(segment: u32, party: usize, at: Site, tile: usize, len: usize) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    for word in [segment, party as u32, at.gate, at.part, tile as u32] {
        hash.update(&word.to_le_bytes());
    }
    let mut bytes = vec![0; len];
    hash.finalize_xof().fill(&mut bytes);
    bytes
}

pub fn fill(sink: &mut impl KeySink, segment: u32, images: usize) -> twoply_primitives::Result<()> {
    for (name, at, tile, len) in tiles(images) {
        sink.put(name, at, tile, [0, 1].map(|p| content(segment, p, at, tile, len[p])))?;
    }
    Ok(())
}

/// Two parties' folders and a deal into them.
pub struct Dealt {
    pub roots: [TempDir; 2],
    pub id: KeySetId,
}

impl Dealt {
    pub fn new(spec: DealSpec) -> Dealt {
        let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let set = SetWriter::create([roots[0].path(), roots[1].path()], spec).unwrap();
        let dealt = Dealt { id: set.key_set(), roots };
        dealt.write(&set);
        dealt
    }
    /// Deals all segments that `set` says are missing.
    pub fn write(&self, set: &SetWriter) -> Vec<u32> {
        let mut dealt = Vec::new();
        for segment in 0..spec().cut.segments() {
            if let Some(mut writer) = set.segment(segment).unwrap() {
                let images = writer.header().images as usize;
                fill(&mut writer, segment, images).unwrap();
                writer.finish().unwrap();
                dealt.push(segment);
            }
        }
        dealt
    }
    pub fn resume(&self, spec: DealSpec) -> Result<SetWriter> {
        SetWriter::resume([self.roots[0].path(), self.roots[1].path()], self.id, spec)
    }
    pub fn dir(&self, party: PartyId) -> KeyDir {
        KeyDir::open(self.roots[party.index()].path(), party).unwrap()
    }
    pub fn keys(&self, party: PartyId) -> KeySet {
        self.dir(party).key_set(self.id, PLAN, layout(), false).unwrap()
    }
    pub fn file(&self, party: PartyId, name: &str) -> PathBuf {
        self.dir(party).path(self.id).join(name)
    }
    pub fn open(&self, party: PartyId, segment: u32) -> Result<Segment> {
        let wanted = Wanted { party, key_set: self.id, plan: Some(PLAN), insecure: false };
        let path = self.file(party, &format!("seg-{segment:05}.key"));
        Segment::open(&path, &wanted, spec().cut, segment, &layout())
    }
}

/// Reserves the next `images` images as if the peer had done the same.
pub fn reserve<L: Log>(ledger: &mut Ledger<L>, images: u64) -> Reservation {
    let next = ledger.tally().next;
    let pending = ledger.reserve(next..next + images).unwrap();
    let claim = pending.claim();
    pending.acknowledged(&claim).unwrap()
}

/// Asserts that every tile of `keys` has the dealt bytes.
pub fn check_tiles(keys: &Leased, segment: u32, party: PartyId) {
    for (name, at, tile, len) in tiles(keys.header().images as usize) {
        let bytes = keys.tile(name, at, tile).unwrap();
        let wanted = content(segment, party.index(), at, tile, len[party.index()]);
        assert!((*bytes).as_ref() == wanted, "{name} {at:?} {tile}");
    }
}
