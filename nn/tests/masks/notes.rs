//! Which pieces of which streams were expanded.
//!
//! A stream is known by its first block, so by key and field as they are and not by how they were addressed: two addresses
//! that lead to one key count as one stream.

use std::sync::{Arc, Mutex};
use twoply_primitives::prg::{Stream, Streams, TreeHash};

/// The first block of a stream.
pub type Name = [u8; 16];

/// The name of a stream.
pub fn name(stream: Stream) -> Name {
    stream.bytes(0, 16).try_into().unwrap()
}

/// One expansion: bits `from..to` of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Note {
    pub stream: Name,
    pub from: usize,
    pub to: usize,
    /// What for.
    pub what: &'static str,
}

/// All expansions of whoever holds a clone of it.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    /// Bits `from..to` of a stream are expanded.
    pub fn add(&self, what: &'static str, stream: Stream, from: usize, to: usize) {
        self.0.lock().unwrap().push(Note { stream: name(stream), from, to, what });
    }
    /// Words of `width` bits.
    pub fn words(&self, what: &'static str, stream: Stream, from: usize, len: usize, width: usize) {
        self.add(what, stream, from * width, (from + len) * width);
    }
    /// The first `bits` bits of stream 0 under a key.
    pub fn key(&self, what: &'static str, key: &[u8; 16], bits: usize) {
        self.add(what, Streams::from_key(key).field(0), 0, bits);
    }
    /// The hash of one tile's trees: not a mask, but no two tiles may have the same one.
    pub fn hash(&self, what: &'static str, hash: &TreeHash) {
        let mut block = [0u128];
        hash.apply(&mut block);
        self.0.lock().unwrap().push(Note { stream: block[0].to_le_bytes(), from: 0, to: 1, what });
    }
    /// In order of streams and places.
    pub fn sorted(&self) -> Vec<Note> {
        let mut all = self.0.lock().unwrap().clone();
        all.retain(|n| n.from < n.to);
        all.sort();
        all
    }
    /// What was expanded twice.
    pub fn overlaps(&self) -> Vec<[Note; 2]> {
        let (mut out, mut last) = (vec![], None::<Note>);
        for note in self.sorted() {
            match last {
                Some(before) if before.stream == note.stream && note.from < before.to => {
                    out.push([before, note]);
                    last = Some(if note.to > before.to { note } else { before });
                }
                _ => last = Some(note),
            }
        }
        out
    }
    /// Nothing was expanded twice.
    #[track_caller]
    pub fn once(&self, who: &str) {
        let twice = self.overlaps();
        assert!(
            twice.is_empty(),
            "{who}: {} pieces of streams serve twice, first {:?}",
            twice.len(),
            twice[0]
        );
        assert!(!self.sorted().is_empty(), "{who} expanded nothing");
    }
    /// The same of a party that looks up one comparison's key at several public points: it reads that key, which is no mask, so
    /// often and no more. Everything else, the masks of what it opens at each point among it, it expands once.
    #[track_caller]
    pub fn once_but_for_points(&self, points: usize, who: &str) {
        self.masks().once(who);
        let mut keys: Vec<Note> = self.sorted().into_iter().filter(is_key).collect();
        let all = keys.len();
        keys.dedup();
        assert!(all <= points * keys.len(), "{who}: {all} looks at {} keys", keys.len());
        let twice = Notes(Arc::new(Mutex::new(keys))).overlaps();
        assert!(twice.is_empty(), "{who}: keys of two comparisons share a stream: {:?}", twice[0]);
    }
    /// All but keys of comparisons.
    pub fn masks(&self) -> Notes {
        Notes(Arc::new(Mutex::new(self.sorted().into_iter().filter(|n| !is_key(n)).collect())))
    }
    /// A piece of a stream serves twice.
    #[track_caller]
    pub fn twice(&self, fault: &str) {
        assert!(!self.overlaps().is_empty(), "{fault} was not noticed");
    }
    /// Everything here is part of what `dealer` expanded.
    #[track_caller]
    pub fn within(&self, dealer: &Notes, who: &str) {
        let pieces = merged(dealer.sorted());
        for note in merged(self.sorted()) {
            let at = pieces.partition_point(|p| (p.stream, p.from) <= (note.stream, note.from));
            let dealt = at > 0 && pieces[at - 1].stream == note.stream && note.to <= pieces[at - 1].to;
            assert!(dealt, "{who} expands what was not dealt: {note:?}");
        }
    }
}

/// Whether it is a party's key of a comparison, which it may look up at several points.
fn is_key(note: &Note) -> bool {
    ["own roots", "own table", "own tables"].contains(&note.what)
}

/// Neighbouring pieces as one.
fn merged(sorted: Vec<Note>) -> Vec<Note> {
    let mut out: Vec<Note> = vec![];
    for note in sorted {
        match out.last_mut() {
            Some(last) if last.stream == note.stream && note.from <= last.to => {
                last.to = last.to.max(note.to)
            }
            _ => out.push(note),
        }
    }
    out
}

#[test]
fn overlaps_are_found_by_key_and_place() {
    let streams = [1u8, 2].map(|k| Streams::from_key(&[k; 16]));
    let notes = Notes::default();
    notes.words("a", streams[0].field(1), 0, 10, 32);
    notes.words("b", streams[0].field(1), 10, 5, 32);
    notes.words("c", streams[0].field(2), 0, 99, 32);
    notes.words("d", streams[1].field(1), 0, 99, 32);
    notes.once("four pieces");
    let dealt = Notes::default();
    dealt.words("all", streams[0].field(1), 0, 15, 32);
    let two = Notes::default();
    two.words("part", streams[0].field(1), 3, 9, 32);
    two.within(&dealt, "a part");
    notes.add("inside", streams[0].field(2), 100, 101);
    notes.add("border", streams[0].field(1), 479, 480);
    assert_eq!(notes.overlaps().len(), 2);
    notes.key("the same by its key", &[2; 16], 1);
    assert_eq!(notes.overlaps().len(), 2, "field 0 is another stream");
    let party = Notes::default();
    party.words("mask", streams[0].field(1), 0, 10, 32);
    (0..2).for_each(|_| party.words("own tables", streams[0].field(2), 0, 10, 8));
    party.once_but_for_points(2, "a key at two points");
    for (what, field) in [("own tables", 2), ("mask", 1)] {
        let worse = Notes(Arc::new(Mutex::new(party.sorted())));
        worse.words(what, streams[0].field(field), 0, 10, if field == 2 { 8 } else { 32 });
        let found = std::panic::catch_unwind(|| worse.once_but_for_points(2, "one look too many"));
        assert!(found.is_err(), "{what}");
    }
}
