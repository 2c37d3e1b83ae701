//! The record of grants and of bound weights, from one process and from several.

use super::*;
use std::fs;
use tempfile::TempDir;

const SET: KeySetId = KeySetId([5; 16]);
const DAY: [u8; 32] = [1; 32];
const NEXT: [u8; 32] = [2; 32];

fn home() -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("seen");
    (dir, path)
}

fn grant(first: u64, images: u32, cursor: u64, meeting: [u8; 32]) -> Grant {
    Grant { key_set: SET, first, images, cursor, meeting }
}

fn code(outcome: Result<(), Failure>) -> Option<ExitCode> {
    outcome.err().map(|failure| failure.code())
}

#[test]
fn grants_only_rise_across_restarts_and_meetings() {
    let (_dir, path) = home();
    let mut seen = Seen::open(&path).unwrap();
    seen.grant(&grant(0, 10, 64, DAY)).unwrap();
    seen.grant(&grant(20, 5, 64, DAY)).unwrap();
    let spent = Some(ExitCode::KeysSpent);
    for _ in 0..2 {
        for (first, images) in [(0, 1), (9, 2), (15, 3), (10, 10), (24, 1), (24, 10)] {
            assert_eq!(code(seen.grant(&grant(first, images, 64, DAY))), spent, "{first} {images}");
        }
        assert_eq!(code(seen.grant(&grant(40, 1, 63, DAY))), spent, "the cursor went back");
        assert_eq!(code(seen.grant(&grant(30, 1, 64, NEXT))), spent, "of another meeting, below the cursor");
        assert_eq!(code(seen.grant(&grant(63, 9, 128, NEXT))), spent);
        seen = Seen::open(&path).unwrap();
    }
    // what was refused leaves no trace
    seen.grant(&grant(25, 60, 128, DAY)).unwrap();
    seen.grant(&grant(128, 1, 192, NEXT)).unwrap();
    seen.grant(&grant(129, 1, 192, NEXT)).unwrap();
    seen.grant(&Grant { key_set: KeySetId([6; 16]), ..grant(0, 3, 3, NEXT) }).unwrap();
}

#[test]
fn a_grant_beyond_what_is_reserved_is_no_grant() {
    let (_dir, path) = home();
    let mut seen = Seen::open(&path).unwrap();
    for odd in [grant(0, 0, 64, DAY), grant(60, 5, 64, DAY), grant(u64::MAX, 1, u64::MAX, DAY)] {
        assert_eq!(code(seen.grant(&odd)), Some(ExitCode::PlanMismatch));
    }
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn refusals_name_the_images_and_the_way_out() {
    let (_dir, path) = home();
    let mut seen = Seen::open(&path).unwrap();
    seen.grant(&grant(0, 10, 64, DAY)).unwrap();
    for odd in [grant(5, 10, 64, DAY), grant(10, 5, 64, NEXT)] {
        let failure = seen.grant(&odd).unwrap_err();
        let text = failure.to_string();
        let end = odd.first + u64::from(odd.images);
        for word in ["again", "restored from a backup", "deal a new one", &format!("{}..{end}", odd.first)] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}

/// Up to protocol 2 neither cursor nor meeting was noted.
#[test]
fn old_records_are_read() {
    let (_dir, path) = home();
    let set = SET.to_string();
    fs::write(&path, format!("{set} 20 25\n{set} 0 10\n")).unwrap();
    let mut seen = Seen::open(&path).unwrap();
    assert_eq!(code(seen.grant(&grant(15, 3, 64, DAY))), Some(ExitCode::KeysSpent));
    seen.grant(&grant(25, 3, 64, DAY)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().last().unwrap(), format!("{set} 25 28 64 {}", "01".repeat(32)));
}

/// Two processes of one home: each reads what the other noted before it decides.
#[test]
fn two_open_records_know_of_each_other() {
    let (_dir, path) = home();
    let [mut a, mut b] = [Seen::open(&path).unwrap(), Seen::open(&path).unwrap()];
    a.grant(&grant(0, 10, 64, DAY)).unwrap();
    assert_eq!(code(b.grant(&grant(0, 10, 64, DAY))), Some(ExitCode::KeysSpent));
    b.grant(&grant(10, 10, 64, DAY)).unwrap();
    assert_eq!(code(a.grant(&grant(19, 1, 64, DAY))), Some(ExitCode::KeysSpent));
    // many at once: of the same images one gets each
    let granted: usize = std::thread::scope(|scope| {
        let run = || {
            let mut seen = Seen::open(&path).unwrap();
            (20..60).filter(|&first| seen.grant(&grant(first, 1, 64, DAY)).is_ok()).count()
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let lines = fs::read_to_string(&path).unwrap();
    let firsts: Vec<u64> = lines.lines().map(|l| l.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(firsts.is_sorted_by(|a, b| a < b), "{firsts:?}");
    assert_eq!(granted + 2, firsts.len());
}

#[test]
fn a_record_that_was_moved_away_or_cut_is_not_written_to() {
    let (_dir, path) = home();
    let mut seen = Seen::open(&path).unwrap();
    seen.grant(&grant(0, 10, 64, DAY)).unwrap();
    seen.grant(&grant(10, 10, 64, DAY)).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(code(seen.grant(&grant(20, 1, 64, DAY))), Some(ExitCode::KeysSpent), "cut");
    fs::rename(&path, path.with_extension("old")).unwrap();
    assert_eq!(code(seen.grant(&grant(20, 1, 64, DAY))), Some(ExitCode::KeysSpent), "moved");
}

#[test]
fn a_mask_is_bound_to_one_model() {
    let (_dir, path) = home();
    bind_weights(&path, SET, &[1; 32]).unwrap();
    bind_weights(&path, SET, &[1; 32]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(code(bind_weights(&path, SET, &[2; 32])), Some(ExitCode::KeysSpent));
    bind_weights(&path, KeySetId([6; 16]), &[2; 32]).unwrap();
    fs::write(&path, format!("{SET} 01\n")).unwrap();
    assert_eq!(code(bind_weights(&path, SET, &[1; 32])), Some(ExitCode::KeysSpent), "damaged");
}

/// Of two model owners' processes with different weights, one binds.
#[test]
fn two_processes_bind_one_model() {
    let (_dir, path) = home();
    let bound: Vec<bool> = std::thread::scope(|scope| {
        let bind = |digest: u8| {
            scope.spawn({
                let path = &path;
                move || bind_weights(path, SET, &[digest; 32]).is_ok()
            })
        };
        let all: Vec<_> = (0..8).map(bind).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(bound.into_iter().filter(|bound| *bound).count(), 1);
}

#[test]
fn damaged_records_are_errors() {
    let (_dir, path) = home();
    let (set, day) = (SET.to_string(), "01".repeat(32));
    let lines = ["x", "a 1", "a 1 2", "S 3 3", "S 1 2 3", "S -1 2", "S 1 2 1 D", "S 1 2 3 4", "S 1 2 3 D 5"];
    for line in lines {
        fs::write(&path, line.replace('S', &set).replace('D', &day) + "\n").unwrap();
        assert!(Seen::open(&path).is_err(), "{line}");
    }
    fs::write(&path, b"\xff\n").unwrap();
    assert!(Seen::open(&path).is_err());
}

/// A crash in the middle of writing a line must not lock the owner out, nor run into the next line.
#[test]
fn repro_a_torn_last_line_is_dropped() {
    let (_dir, path) = home();
    Seen::open(&path).unwrap().grant(&grant(0, 10, 64, DAY)).unwrap();
    let whole = fs::read(&path).unwrap();
    for torn in ["0", "05050505 1", "05050505050505050505050505050505 10 20", &format!("{SET} 10 20 64 01")] {
        fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
        let mut seen = Seen::open(&path).unwrap();
        assert_eq!(code(seen.grant(&grant(5, 10, 64, DAY))), Some(ExitCode::KeysSpent));
        seen.grant(&grant(10, 10, 64, DAY)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
