//! Keys as a stream: however it ends, nobody waits for ever, and whoever waited hears why.

use crate::common::*;
use crate::world::*;
use std::thread;
use std::time::Duration;
use twoply_preprocessing::{StreamReader, StreamWriter};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::channel::pair;
use twoply_primitives::{Channel, Error, KeySink, KeySource, Result};

#[test]
fn a_dealer_that_dies_is_named_and_what_came_before_is_used() {
    let layout = step();
    let (mut writer, mut reader) = stream(|_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    let mut feeder = begin(&mut writer, &layout).unwrap();
    for (name, at, tile, len) in tiles(IMAGES).into_iter().take(8) {
        feeder.put(name, at, tile, [0, 1].map(|p| content(0, p, at, tile, len[p]))).unwrap();
    }
    drop(writer);
    for tile in tiles(IMAGES).into_iter().take(8) {
        take(&feed, P1, tile).unwrap();
    }
    let e = take(&feed, P1, tiles(IMAGES)[8]).unwrap_err();
    assert!(matches!(e, Error::Channel(_)), "{e}");
    let e = e.to_string();
    assert!(e.contains("tile 7 of gate 1 (relu) part 0: the other end is gone"), "{e}");
    assert!(reader.step(&layout).is_err_and(|e| matches!(e, Error::Channel(_))), "and no step after it");
}

/// P0 may store nothing at all, and hears of it all the same.
#[test]
fn a_party_without_tiles_learns_whether_the_step_is_whole() {
    let mine = planned(|l| l.gates.iter_mut().flat_map(|g| &mut g.parts).for_each(|p| p.fields[0].clear()));
    for whole in [true, false] {
        let ((a, end), b) = (pair(), sink());
        let mut writer = StreamWriter::new(SET, [Box::new(a), b]);
        let mut reader = StreamReader::start(Box::new(end), SET, P0, PLENTY, PATIENCE).unwrap();
        let feed = reader.step(&mine).unwrap();
        let mut feeder = begin(&mut writer, &mine).unwrap();
        for (name, at, tile, len) in tiles(IMAGES) {
            feeder.put(name, at, tile, [vec![], content(0, 1, at, tile, len[1])]).unwrap();
        }
        match whole {
            true => feeder.finish().unwrap(),
            false => drop(writer),
        }
        let (name, at, tile, _) = tiles(IMAGES)[3];
        assert!((*feed.tile(name, at, tile).unwrap()).as_ref().is_empty());
        assert_eq!(feed.finish().is_ok(), whole);
    }
}

#[test]
fn a_party_that_gives_up_ends_the_stream_for_dealer_and_later_steps() {
    let layout = step();
    let (a, (b, end)) = (sink(), pair());
    let mut writer = StreamWriter::new(SET, [a, Box::new(b)]);
    let mut reader = StreamReader::start(Box::new(end), SET, P1, layout.longest(P1), PATIENCE).unwrap();
    let [first, second] = [(); 2].map(|()| reader.step(&layout).unwrap());
    thread::scope(|scope| {
        // it waits for credit when the party gives up
        let dealer = scope.spawn(|| deal(&mut writer, &layout));
        tiles(IMAGES).into_iter().take(5).for_each(|t| assert!(take(&first, P1, t).is_ok()));
        drop(first);
        let e = dealer.join().unwrap().unwrap_err();
        let words =
            "channel: keys for P1, segment 0 of 05050505050505050505050505050505: the other end is gone";
        assert_eq!(e.to_string(), words);
    });
    for e in [refused(&second), reader.step(&layout).map(|_| ()).unwrap_err().to_string()] {
        assert!(e.contains("step 0 was given up"), "{e}");
    }
    let e = begin(&mut writer, &layout).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("not dealt to its end"), "{e}");
}

#[test]
fn a_dealer_may_go_when_it_has_sent_everything() {
    let layout = step();
    let (mut writer, mut reader) = stream_with(layout.bytes(P1), |_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    deal(&mut writer, &layout).unwrap();
    drop(writer);
    take_all(&feed, P1).unwrap();
    reader.finish().unwrap();
}

#[test]
fn neither_side_ends_well_before_everything_was_used() {
    let layout = step();
    let (mut writer, mut reader) = stream(|_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    deal(&mut writer, &layout).unwrap();
    take(&feed, P1, tiles(IMAGES)[0]).unwrap();
    thread::scope(|scope| {
        let (dealer, party) =
            (scope.spawn(|| writer.finish().map(|_| ())), scope.spawn(|| reader.finish().map(|_| ())));
        drop(feed);
        let (dealer, party) = (dealer.join().unwrap().unwrap_err(), party.join().unwrap().unwrap_err());
        assert!(
            dealer.to_string().contains("the end of key set 05050505050505050505050505050505 at P1"),
            "{dealer}"
        );
        assert!(party.to_string().contains("step 0 was given up"), "{party}");
    });
    let mut writer = StreamWriter::new(SET, [sink(), sink()]);
    drop(begin(&mut writer, &layout).unwrap());
    assert!(writer.finish().is_err_and(|e| e.to_string().contains("not dealt to its end")));
}

#[test]
fn a_reader_that_is_dropped_ends_after_the_steps_that_were_begun() {
    let layout = step();
    let (mut writer, mut reader) = stream(|_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    drop(reader);
    deal(&mut writer, &layout).unwrap();
    take_all(&feed, P1).unwrap();
    // its end of the channel goes when its thread does
    let e = std::iter::repeat_with(|| deal(&mut writer, &layout)).find_map(Result::err).unwrap();
    assert!(e.to_string().contains("the other end is gone"), "{e}");
}

#[test]
fn a_silent_dealer_is_given_up_when_the_channel_says_so() {
    struct Silent;
    impl Channel for Silent {
        fn send(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn recv(&mut self, _: usize) -> Result<Vec<u8>> {
            Err(Error::Channel("nothing heard for 1 s".into()))
        }
    }
    let mut reader = StreamReader::start(Box::new(Silent), SET, P1, PLENTY, PATIENCE).unwrap();
    let e = refused(&reader.step(&step()).unwrap());
    assert!(e.contains("nothing heard for 1 s") && e.contains("segment 0"), "{e}");
}

const SOON: Duration = Duration::from_secs(1);

/// A stream of which P1 alone listens, and not for long; its dealer deals one step on a thread of its own.
fn impatient(credit: u64) -> StreamReader {
    let (a, (b, end)) = (sink(), pair());
    thread::spawn(move || deal(&mut StreamWriter::new(SET, [a, Box::new(b)]), &step()));
    StreamReader::start(Box::new(end), SET, P1, credit, SOON).unwrap()
}

#[test]
fn a_request_further_ahead_than_the_credit_does_not_wait_for_ever() {
    let layout = step();
    let mut reader = impatient(layout.longest(P1));
    let feed = reader.step(&layout).unwrap();
    let e = take(&feed, P1, tiles(IMAGES)[9]).unwrap_err().to_string();
    assert!(e.contains("nobody asked for tile 0 of gate 0") && e.contains("of segment 0 for 1s"), "{e}");
    assert!(feed.finish().is_err());
    assert_eq!(reader.finish().map(|_| ()).unwrap_err().to_string(), e);
}

#[test]
fn a_run_that_forgets_a_tile_of_an_early_frame_is_told_which() {
    let layout = step();
    let mut reader = impatient(layout.longest(P1));
    let feed = reader.step(&layout).unwrap();
    let forgotten = tiles(IMAGES).into_iter().position(|t| t.3[1] > 0).unwrap() + 1;
    let mut all = tiles(IMAGES).into_iter().enumerate().filter(|(i, _)| *i != forgotten);
    let e = all.find_map(|(_, tile)| take(&feed, P1, tile).err()).unwrap().to_string();
    let (name, at, tile, _) = tiles(IMAGES)[forgotten];
    let words =
        format!("nobody asked for tile {tile} of gate {} ({name}) part {} of segment 0", at.gate, at.part);
    assert!(e.contains(&words), "{e}, not {words}");
}

#[test]
fn to_end_a_stream_beside_an_unused_feed_fails() {
    let layout = step();
    // held for lack of credit, at the end, and by a dealer who says nothing
    let silent = pair();
    let quiet = StreamReader::start(Box::new(silent.0), SET, P1, PLENTY, SOON).unwrap();
    let unused = "nobody asked for tile 0 of gate 0";
    let unheard = "the dealer did not give tile 0 of gate 0";
    let cases = [(impatient(layout.longest(P1)), unused), (impatient(PLENTY), unused), (quiet, unheard)];
    for (mut reader, words) in cases {
        let feed = reader.step(&layout).unwrap();
        let e = reader.finish().map(|_| ()).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
        drop(feed);
    }
}

#[test]
fn a_step_that_the_dealer_does_not_end_is_given_up() {
    let layout = step();
    let (a, (b, end)) = (sink(), pair());
    let mut writer = StreamWriter::new(SET, [a, Box::new(b)]);
    let mut reader = StreamReader::start(Box::new(end), SET, P1, PLENTY, SOON).unwrap();
    let feed = reader.step(&layout).unwrap();
    let mut feeder = begin(&mut writer, &layout).unwrap();
    fill(&mut feeder, 0, IMAGES).unwrap();
    tiles(IMAGES).into_iter().for_each(|t| assert!(take(&feed, P1, t).is_ok()));
    let e = feed.finish().unwrap_err().to_string();
    assert!(e.contains("the dealer did not give the end of the step of segment 0 for 1s"), "{e}");
}

/// Whoever waits, waits from the last sign of life.
#[test]
fn a_slow_run_is_no_stalled_one() {
    let layout = step();
    let mut reader = impatient(layout.longest(P1));
    let feed = reader.step(&layout).unwrap();
    for tile in tiles(IMAGES) {
        thread::sleep(SOON / 10);
        take(&feed, P1, tile).unwrap();
    }
    feed.finish().unwrap();
    reader.finish().unwrap();
}
