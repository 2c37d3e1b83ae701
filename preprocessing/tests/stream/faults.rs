//! Keys as a stream: what is altered, missing, swapped or of another place is named, and nothing of it is handed out.

use crate::common::*;
use crate::world::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use twoply_preprocessing::{Feeder, GateLayout, Layout, StepLayout, StreamReader, StreamWriter};
use twoply_primitives::PartyId::{P0, P1};
use twoply_primitives::channel::pair;
use twoply_primitives::{Error, KeySetId, KeySink, KeySource, Result, Site};

/// Deals two steps through `hand`; what the second of them says at the end.
fn second(hand: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> Result<()> {
    let layout = step();
    let (mut writer, mut reader) = stream(hand);
    let feeds = [reader.step(&layout).unwrap(), reader.step(&layout).unwrap()];
    // the reader may have gone before the dealer is through
    let _ = (0..2).try_for_each(|_| deal(&mut writer, &layout));
    drop(writer);
    take_all(&feeds[0], P1).unwrap();
    let got = take_all(&feeds[1], P1);
    let again = feeds[1].finish().map_err(|e| e.to_string());
    assert_eq!(again.is_ok(), got.is_ok(), "a step that broke stays broken: {again:?}");
    got
}

/// Frames of a step: that with the first tile of all, 14 of equal tiles, one with the short rest, the last one.
const FRAMES: usize = 17;

fn altered(at: usize, change: impl Fn(&mut Vec<u8>) + Send + 'static) -> String {
    let hand = move |n, mut m: Vec<u8>| {
        if n == FRAMES + at {
            change(&mut m);
        }
        vec![m]
    };
    second(hand).unwrap_err().to_string()
}

#[test]
fn whole_steps_are_as_many_frames_as_the_faults_below_think() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let hand = move |_, m| {
        counted.fetch_add(1, Ordering::SeqCst);
        vec![m]
    };
    second(hand).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2 * FRAMES as u64);
}

#[test]
fn an_altered_byte_is_found_wherever_it_is() {
    for at in [0, 1, 7, FRAMES - 2, FRAMES - 1] {
        for byte in [20, usize::MAX, 60] {
            let e = altered(at, move |m| {
                let place = byte.min(m.len() - 1);
                m[place] ^= 1;
            });
            assert!(
                e.starts_with("key integrity: keys of segment 1 of 0505") && e.contains("altered"),
                "{e}"
            );
        }
        let e = altered(at, |m| m[3] ^= 1);
        assert!(e.contains("keys of another set"), "{e}");
        let e = altered(at, |m| m[16] ^= 6);
        assert!(e.contains("the dealer sent segment 7"), "{e}");
        for cut in [|m: &mut Vec<u8>| m.truncate(m.len() - 1), |m: &mut Vec<u8>| m.push(0)] {
            let e = altered(at, cut);
            assert!(e.starts_with("channel: keys of segment 1") && e.contains("out of step"), "{e}");
        }
    }
    let e = altered(3, |m| m[1000] ^= 4);
    assert!(e.contains("tile 2 of gate 1 (relu) part 0: altered"), "it names the place: {e}");
}

#[test]
fn swapped_tiles_and_frames_of_another_step_are_found() {
    let mut kept = None;
    let swapped = move |n, m| match n {
        n if n == FRAMES + 3 => {
            kept = Some(m);
            vec![]
        }
        n if n == FRAMES + 4 => vec![m, kept.take().unwrap()],
        _ => vec![m],
    };
    let e = second(swapped).unwrap_err().to_string();
    assert!(e.contains("tile 2 of gate 1 (relu) part 0: altered"), "{e}");

    // the first frame of the step before, as it is and under the head of this step
    for relabelled in [false, true] {
        let first = Mutex::new(None);
        let again = move |n, m: Vec<u8>| {
            let mut first = first.lock().unwrap();
            match n {
                0 => *first = Some(m.clone()),
                FRAMES => {
                    let mut old = first.take().unwrap();
                    if relabelled {
                        old[16] = 1;
                    }
                    return vec![old];
                }
                _ => (),
            }
            vec![m]
        };
        let e = second(again).unwrap_err().to_string();
        let words = if relabelled { "altered" } else { "the dealer sent segment 0" };
        assert!(e.contains(words), "{e}");
    }
}

/// Two tiles of 4,096 bytes in one frame.
#[test]
fn tiles_swapped_within_a_frame_are_found() {
    let part = twoply_primitives::Part { elements: 8192, fields: [vec![], vec![8]] };
    let gates = vec![GateLayout { name: "linear".into(), parts: vec![part] }];
    let layout = Arc::new(StepLayout::new(&Layout { gates }).unwrap());
    let (mut writer, mut reader) = stream(|_, mut m| {
        if m.len() > 8192 {
            let (a, b) = m[20..20 + 8192].split_at_mut(4096);
            a.swap_with_slice(b);
        }
        vec![m]
    });
    let feed = reader.step(&layout).unwrap();
    let mut feeder = begin(&mut writer, &layout).unwrap();
    let at = Site { gate: 0, part: 0 };
    (0..2).for_each(|t| feeder.put("linear", at, t, [vec![], vec![t as u8; 4096]]).unwrap());
    assert!(matches!(feed.tile("linear", at, 0), Err(Error::Integrity(_))));
}

#[test]
fn a_missing_or_extra_tile_is_found() {
    type Change = fn(usize, Vec<u8>) -> Vec<Vec<u8>>;
    let hands: [Change; 4] = [
        |n, m| if n == FRAMES + 5 { vec![] } else { vec![m] },
        |n, m| if n == FRAMES + 5 { vec![m.clone(), m] } else { vec![m] },
        // one more before the last frame, and the last frame before its time
        |n, m| if n == 2 * FRAMES - 1 { vec![vec![0; 70_000], m] } else { vec![m] },
        |n, m| if n == 2 * FRAMES - 1 { vec![] } else { vec![m] },
    ];
    let words = ["altered", "altered", "the end of the step: out of step", "the other end is gone"];
    for (hand, words) in hands.into_iter().zip(words) {
        let e = second(hand).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn keys_of_another_set_party_or_plan_are_refused() {
    let both = |l: &mut Layout| {
        l.gates.iter_mut().flat_map(|g| &mut g.parts).for_each(|p| p.fields[0] = p.fields[1].clone())
    };
    let alike = planned(both);
    let renamed = planned(|l| {
        both(l);
        l.gates[0].name = "sum".into();
    });
    let cases = [
        (KeySetId([6; 16]), P1, &alike, "keys of another set"),
        (SET, P0, &alike, "altered"),
        (SET, P1, &renamed, "altered"),
    ];
    for (set, party, layout, words) in cases {
        let (a, (b, end)) = (sink(), pair());
        let mut writer = StreamWriter::new(SET, [a, Box::new(b)]);
        let mut reader = StreamReader::start(Box::new(end), set, party, PLENTY, PATIENCE).unwrap();
        let feed = reader.step(layout).unwrap();
        let mut feeder = begin(&mut writer, &alike).unwrap();
        for (name, at, tile, [_, len]) in tiles(IMAGES) {
            if feeder.put(name, at, tile, [vec![0; len], vec![0; len]]).is_err() {
                break; // nobody listens any more
            }
        }
        let e = refused(&feed);
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn a_dealer_that_leaves_its_plan_is_stopped() {
    let layout = step();
    let all = tiles(IMAGES);
    let put = |feeder: &mut Feeder<'_>, i: usize, more: [usize; 2]| {
        let (name, at, tile, len) = all[i];
        feeder.put(name, at, tile, [0, 1].map(|p| vec![0; len[p] + more[p]]))
    };
    let none = all.iter().position(|t| t.3 == [0, 0]).unwrap();
    for (first, more) in [(1, [0, 0]), (0, [1, 0]), (0, [0, 1]), (none, [0, 1])] {
        let mut writer = StreamWriter::new(SET, [sink(), sink()]);
        let mut feeder = begin(&mut writer, &layout).unwrap();
        put(&mut feeder, none, [0, 0]).unwrap();
        let e = put(&mut feeder, first, more).unwrap_err();
        assert!(matches!(e, Error::PlanMismatch { .. }), "{e}");
        put(&mut feeder, 0, [0, 0]).unwrap();
        assert!(put(&mut feeder, 0, [0, 0]).is_err(), "no tile twice");
        let e = feeder.finish().unwrap_err();
        assert!(e.to_string().contains("wanted tile 0 of gate 1 (relu) part 0"), "{e}");
    }
}
