//! Keys as a stream: what comes is what was dealt, within the credit, and each tile is handed out once.

use crate::common::*;
use crate::world::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use twoply_preprocessing::{LateKeys, StreamReader, StreamWriter};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::channel::pair;
use twoply_primitives::{Error, KeySetId, KeySink, KeySource, PartyId, Site};

#[test]
fn steps_come_to_both_parties_as_they_were_dealt() {
    let layout = step();
    let ((a, p0), (b, p1)) = (pair(), pair());
    let sent = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let watched = |end, p: usize| Box::new(Watched(end, sent[p].clone(), channel().0));
    let mut writer = StreamWriter::new(SET, [watched(a, 0), watched(b, 1)]);
    thread::scope(|scope| {
        for (party, end) in [(P0, p0), (P1, p1)] {
            let layout = &layout;
            scope.spawn(move || {
                let mut reader =
                    StreamReader::start(Box::new(end), SET, party, layout.longest(party), PATIENCE).unwrap();
                for segment in 0..3 {
                    let feed = reader.step(layout).unwrap();
                    assert_eq!((feed.origin().set, feed.origin().segment), (SET, segment));
                    take_all(&feed, party).unwrap();
                }
                assert!(reader.most() <= layout.longest(party));
                // what comes next over the channel is not the stream's
                assert_eq!(reader.finish().unwrap().recv(3).unwrap(), [1, 2, 3]);
            });
        }
        (0..3).for_each(|_| deal(&mut writer, &layout).unwrap());
        writer.finish().unwrap().iter_mut().for_each(|c| c.send(&[1, 2, 3]).unwrap());
    });
    for party in PartyId::BOTH {
        assert_eq!(sent[party.index()].load(Ordering::SeqCst), 3 * layout.bytes(party) + 3);
    }
}

#[test]
fn threads_may_ask_out_of_order_within_the_window() {
    let layout = step();
    // a thread for odd tiles and one for even ones need no more than one frame
    for (threads, credit) in [(2, layout.longest(P1)), (4, PLENTY)] {
        let (a, (b, end)) = (sink(), pair());
        let mut writer = StreamWriter::new(SET, [a, Box::new(b)]);
        let mut reader = StreamReader::start(Box::new(end), SET, P1, credit, PATIENCE).unwrap();
        let feed = reader.step(&layout).unwrap();
        thread::scope(|scope| {
            for t in 0..threads {
                let feed = &feed;
                scope.spawn(move || {
                    let mut mine: Vec<_> = tiles(IMAGES).into_iter().skip(t).step_by(threads).collect();
                    if credit == PLENTY {
                        mine.reverse();
                    }
                    mine.into_iter().for_each(|t| assert!(take(feed, P1, t).is_ok()));
                });
            }
            deal(&mut writer, &layout).unwrap();
        });
        feed.finish().unwrap();
    }
}

#[test]
fn a_dealer_that_is_faster_stays_within_the_credit_over_several_steps() {
    const STEPS: u32 = 7;
    let layout = step();
    let credit = 3 * layout.bytes(P1);
    let (a, (b, end)) = (sink(), pair());
    let (sent, (waits, waiting)) = (Arc::new(AtomicU64::new(0)), channel());
    let mut writer = StreamWriter::new(SET, [a, Box::new(Watched(b, sent.clone(), waits))]);
    let mut reader = StreamReader::start(Box::new(end), SET, P1, credit, PATIENCE).unwrap();
    let feeds: Vec<_> = (0..STEPS).map(|_| reader.step(&layout).unwrap()).collect();
    let sent = || sent.load(Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| (0..STEPS).for_each(|_| deal(&mut writer, &layout).unwrap()));
        // for the first grant, and when that is used up
        let soon = Duration::from_secs(20);
        (0..2).for_each(|_| waiting.recv_timeout(soon).expect("a dealer that waits"));
        assert!(sent() > credit - layout.longest(P1), "it runs ahead as far as it may");
        let mut used = 0;
        for feed in &feeds {
            for tile in tiles(IMAGES) {
                assert!(sent() <= credit + used, "{} of {credit} + {used}", sent());
                used += take(feed, P1, tile).unwrap();
                used += 52; // there are not more frames than tiles
            }
            feed.finish().unwrap();
            used += 52;
        }
    });
    assert_eq!(sent(), u64::from(STEPS) * layout.bytes(P1));
    assert!(reader.most() <= credit && reader.most() > layout.bytes(P1), "{}", reader.most());
}

#[test]
fn a_party_that_is_faster_waits() {
    let layout = step();
    let (mut writer, mut reader) = stream(|_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    let (asks, asked) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for tile in tiles(IMAGES) {
                asks.send(()).unwrap();
                take(&feed, P1, tile).unwrap();
            }
            feed.finish().unwrap();
        });
        let mut feeder = begin(&mut writer, &layout).unwrap();
        for (i, (name, at, tile, len)) in tiles(IMAGES).into_iter().enumerate() {
            if i < 10 {
                asked.recv().unwrap(); // each of these is a frame of its own
            }
            feeder.put(name, at, tile, [0, 1].map(|p| content(0, p, at, tile, len[p]))).unwrap();
        }
        feeder.finish().unwrap();
    });
}

#[test]
fn a_tile_is_handed_out_once_and_to_its_own_gate() {
    let layout = step();
    let (mut writer, mut reader) = stream(|_, m| vec![m]);
    let feed = reader.step(&layout).unwrap();
    deal(&mut writer, &layout).unwrap();
    let (name, at, tile, _) = tiles(IMAGES)[2];
    for (name, at, tile) in [
        ("linear", at, tile),
        (name, Site { part: 7, ..at }, tile),
        (name, at, 99),
        ("relu", Site { gate: 9, ..at }, 0),
    ] {
        let e = feed.tile(name, at, tile).map(|_| ()).unwrap_err();
        assert!(matches!(e, Error::PlanMismatch { .. }), "{e}");
    }
    feed.tile(name, at, tile).unwrap();
    let e = feed.tile(name, at, tile).map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Integrity(_)) && e.to_string().contains("asked for twice"), "{e}");
    assert_eq!(feed.elements(at).unwrap(), 1500 * IMAGES);
    assert!(feed.elements(Site { gate: 9, part: 0 }).is_err());

    let e = feed.finish().unwrap_err();
    assert!(matches!(e, Error::PlanMismatch { .. }) && e.to_string().contains("tile 0 of gate 0"), "{e}");
}

#[test]
fn a_credit_below_the_longest_frame_is_refused() {
    let (layout, (_other, end)) = (step(), pair());
    let mut reader = StreamReader::start(Box::new(end), SET, P1, layout.longest(P1) - 1, PATIENCE).unwrap();
    let e = reader.step(&layout).map(|_| ()).unwrap_err();
    assert!(matches!(e, Error::Keys(_)) && e.to_string().contains("the credit is"), "{e}");
}

#[test]
fn no_credit_overflows() {
    let layout = step();
    for (credit, fits) in [(1 << 62, true), ((1 << 62) + 1, false), (u64::MAX, false)] {
        let (a, (b, end)) = (sink(), pair());
        match StreamReader::start(Box::new(end), SET, P1, credit, PATIENCE) {
            Ok(mut reader) => {
                assert!(fits);
                let feed = reader.step(&layout).unwrap();
                let mut writer = StreamWriter::new(SET, [a, Box::new(b)]);
                deal(&mut writer, &layout).unwrap();
                take_all(&feed, P1).unwrap();
                reader.finish().unwrap();
                writer.finish().unwrap();
            }
            Err(e) => assert!(!fits && e.to_string().contains("above 2^62"), "{e}"),
        }
    }
}

#[test]
fn keys_leave_of_the_next_segment_that_is_released() {
    let layout = step();
    let mut writer = StreamWriter::new(SET, [sink(), sink()]);
    let skipped = released(SET, 2).pop().unwrap();
    let elsewhere = released(KeySetId([6; 16]), 1).pop().unwrap();
    for (other, words) in [(skipped, "segment 1 of 0505"), (elsewhere, "segment 0 of 0606")] {
        let e = writer.step(other, &layout).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains(words) && e.contains("segment 0 of 05"), "{e}");
    }
    deal(&mut writer, &layout).unwrap();
    let again = released(SET, 1).pop().unwrap();
    assert!(writer.step(again, &layout).is_err(), "no segment twice");
}

#[test]
fn keys_that_were_held_back_are_those_of_their_step() {
    let layout = step();
    let ((a, p0), (b, p1)) = (pair(), pair());
    let mut writer = StreamWriter::new(SET, [Box::new(a), Box::new(b)]);
    thread::scope(|scope| {
        for (party, end) in [(P0, p0), (P1, p1)] {
            let layout = &layout;
            scope.spawn(move || {
                let mut reader = StreamReader::start(Box::new(end), SET, party, PLENTY, PATIENCE).unwrap();
                take_all(&reader.step(layout).unwrap(), party).unwrap();
                reader.finish().unwrap();
            });
        }
        let mut late = LateKeys::new();
        fill(&mut late, 0, IMAGES).unwrap();
        let mut feeder = begin(&mut writer, &layout).unwrap();
        late.leave(&mut feeder).unwrap();
        feeder.finish().unwrap();
        writer.finish().unwrap();
    });
    // and they are refused where any step's would be
    let mut writer = StreamWriter::new(SET, [sink(), sink()]);
    let mut late = LateKeys::new();
    late.put("relu", Site { gate: 9, part: 0 }, 0, [vec![1], vec![]]).unwrap();
    let refused = late.leave(&mut begin(&mut writer, &layout).unwrap());
    assert!(refused.is_err(), "{refused:?}");
}
