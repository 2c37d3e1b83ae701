//! Tiles are verified ahead of the run that will ask for them, each once.

use crate::common::*;
use std::fs::{read, write};
use std::time::{Duration, Instant};
use twoply_preprocessing::*;
use twoply_primitives::{KeySource, PartyId};

fn leased(dealt: &Dealt, party: PartyId) -> Leased {
    let keys = dealt.keys(party);
    let mut images = reserve(&mut keys.ledger().unwrap(), 4);
    keys.open(images.take(4).unwrap().remove(0)).unwrap()
}

/// Waits until the reader is done.
fn all_read(keys: &Leased, bytes: u64) -> Reading {
    let begin = Instant::now();
    while keys.reading().bytes < bytes {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", keys.reading());
        std::thread::sleep(Duration::from_millis(1));
    }
    keys.reading()
}

/// Bytes of a party's tiles, with padding.
fn stored(party: PartyId) -> u64 {
    tiles(4).iter().map(|t| t.3[party.index()].next_multiple_of(64) as u64).sum()
}

#[test]
fn tiles_are_verified_before_anybody_asks_and_not_again() {
    let dealt = Dealt::new(spec());
    for party in PartyId::BOTH {
        let keys = leased(&dealt, party);
        let before = all_read(&keys, stored(party));
        assert_eq!((before.bytes, before.ahead), (stored(party), stored(party)));
        check_tiles(&keys, 0, party);
        let after = keys.reading();
        assert_eq!((after.bytes, after.ahead), (before.bytes, before.ahead), "nothing was verified twice");
    }
}

#[test]
fn a_run_that_does_not_wait_for_the_reader_gets_the_same_tiles() {
    for _ in 0..20 {
        check_tiles(&leased(&Dealt::new(spec()), PartyId::P1), 0, PartyId::P1);
    }
    drop(leased(&Dealt::new(spec()), PartyId::P1)); // and nobody hangs who asks for nothing
}

#[test]
fn a_bad_tile_is_named_to_the_run_whoever_found_it() {
    for patience in [0, 100] {
        let dealt = Dealt::new(spec());
        let path = dealt.file(PartyId::P1, "seg-00000.key");
        let mut bytes = read(&path).unwrap();
        // in the tile behind the linear gate's 400 words of 33 bits
        bytes[4096 + 1650usize.next_multiple_of(64) + 77] ^= 4;
        write(&path, bytes).unwrap();
        let keys = leased(&dealt, PartyId::P1);
        std::thread::sleep(Duration::from_millis(patience));
        let bad = tiles(4)[1];
        for (name, at, tile, _) in tiles(4) {
            let got = keys.tile(name, at, tile).map(|_| ()).map_err(|e| e.to_string());
            match (at, tile) == (bad.1, bad.2) {
                true => assert!(got.is_err_and(|e| e.contains("tile 0 of gate 1 (relu) part 0"))),
                false => assert_eq!(got, Ok(()), "{name} {at:?} {tile}"),
            }
        }
    }
}
