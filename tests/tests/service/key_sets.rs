//! Many key sets, on two disks that need not hold the same.

use crate::{count, deal, folder, number, served};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use twoply_tests::model::PLAIN;
use twoply_tests::world::labels;
use twoply_tests::{SOON, World, digits};

/// Ids of a deal's key sets.
fn ids(world: &World, deal: &str, me: usize) -> Vec<String> {
    let entries = fs::read_dir(world.path(&format!("{deal}/p{me}"))).unwrap().flatten();
    entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_request_rolls_over_from_set_to_set() {
    let world = World::dealt(PLAIN, 3, 3);
    deal(&world, 1..22, 3);
    (1..22).for_each(|number| world.adopt(&folder(number)));
    let pair = served(&world, [&[], &[]]);
    let asked = world.asking("client", &pair, 0..60, &["--batch", "60"]).wait(SOON);
    assert_eq!(labels(&asked.json()), digits().labels[..60]);
    let record = fs::read_to_string(world.path("client/seen")).unwrap();
    let sets: BTreeSet<_> = record.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(sets.len(), 20);
    // More than there is: said before any image is granted.
    let more = world.asking("client", &pair, 0..7, &["--batch", "7"]).wait(SOON);
    more.is(8).says(&["wanted 7, found 6"]);
    world.infer_right(&pair, 0..6);
    for report in pair.stop() {
        assert_eq!(["images", "images_left", "images_burnt"].map(|key| number(&report, key)), [66, 0, 0]);
    }
}

#[test]
fn bad_sets_do_not_stop_the_others_and_are_named_once() {
    let world = World::dealt(PLAIN, 4, 4);
    deal(&world, 0..4, 4);
    let sets: Vec<String> = (0..4).map(|n| ids(&world, &folder(n), 0).remove(0)).collect();
    (0..4).for_each(|n| world.adopt(&folder(n)));
    let [alone, key, ledger, segment] = &sets[..] else { panic!("four were dealt: {sets:?}") };
    let file =
        |me: usize, set: &str, name: &str| PathBuf::from(world.path(&format!("keys/p{me}/{set}/{name}")));
    fs::rename(file(1, alone, ""), world.path("elsewhere")).unwrap();
    let bytes = fs::read(file(1, key, "set.key")).unwrap();
    fs::write(file(1, key, "set.key"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(file(0, ledger, "ledger"), []).unwrap();
    let pair = served(&world, [&[], &[]]);
    world.infer_right(&pair, 0..2);
    // A segment whose damage shows when its turn comes, at one party.
    fs::write(file(1, segment, "seg-00000.key"), [1; 100]).unwrap();
    world.infer_right(&pair, 2..4);
    // By which of the two it is told depends on whose turn the damaged one was: sets go by their names.
    world.infer(&pair, 0..3).is_one_of(&[8, 9]);
    world.provision(&pair, &[]);
    let ended = pair.stopped();
    for party in &ended {
        let said = |set: &String| count(party, &format!("key set {set} cannot be used"));
        assert_eq!([alone, key, ledger].map(said), [1; 3], "{}", party.err);
    }
    assert_eq!(count(&ended[1], &format!("key set {segment} is not used any more")), 1, "{}", ended[1].err);
}

/// A segment that turns out to be damaged at P1 only: the request takes another key set.
#[test]
fn a_request_goes_on_with_another_set_when_one_breaks() {
    for me in 0..2 {
        let world = World::dealt(PLAIN, 3, 3);
        deal(&world, 0..1, 3);
        let sets = [ids(&world, "keys", 0).remove(0), ids(&world, &folder(0), 0).remove(0)];
        world.adopt(&folder(0));
        let pair = served(&world, [&[], &[]]);
        let first = sets.iter().min().unwrap();
        fs::write(world.path(&format!("keys/p{me}/{first}/seg-00000.key")), [1; 100]).unwrap();
        world.infer_right(&pair, 0..3);
        let ended = pair.stopped();
        assert_eq!(
            count(&ended[me], &format!("key set {first} is not used any more")),
            1,
            "{}",
            ended[me].err
        );
    }
}

#[test]
fn parties_restarted_at_the_end_of_a_set_take_the_same_one() {
    let world = World::dealt(PLAIN, 3, 3);
    deal(&world, 0..2, 3);
    (0..2).for_each(|n| world.adopt(&folder(n)));
    let pair = served(&world, [&[], &[]]);
    pair.stop();
    let copy = |to: &str| {
        for set in ids(&world, "keys", 1) {
            let ledger = world.path(&format!("keys/p1/{set}/ledger"));
            match to {
                "" => fs::copy(world.path(&set), ledger).unwrap(),
                _ => fs::copy(ledger, world.path(&set)).unwrap(),
            };
        }
    };
    copy("away");
    let pair = world.parties();
    world.infer_right(&pair, 0..3);
    pair.stop();
    // P1's ledgers are those of before: as if it had lost power before it noted the last images, at the worst.
    copy("");
    let pair = world.parties();
    world.infer_right(&pair, 0..3);
    let ended = pair.stopped();
    let [zero, one] = [0, 1].map(|me| ended[me].json());
    assert_eq!([&zero, &one].map(|r| number(r, "images_left")), [3, 3]);
    assert_eq!(number(&one, "images_burnt"), 3, "P0 knows that they are spent");
    ended[1].says(&["this party's ledger was 3 images behind"]);
    let pair = world.parties();
    world.infer_right(&pair, 0..3);
    let reports = pair.stop();
    assert_eq!(reports.map(|r| number(&r, "images_left")), [0, 0]);
}

#[test]
fn a_stock_that_is_low_is_said_twice_by_both() {
    let world = World::dealt(PLAIN, 40, 40);
    // A half that nobody can use is no stock.
    deal(&world, 0..1, 400);
    let pair = served(&world, [&[], &[]]);
    let half = ids(&world, &folder(0), 0).remove(0);
    fs::rename(world.path(&format!("{}/p0/{half}", folder(0))), world.path(&format!("keys/p0/{half}")))
        .unwrap();
    for (from, to) in [(0, 31), (31, 33), (33, 34), (34, 35), (35, 38), (38, 39)] {
        world.infer_right(&pair, from..to);
    }
    let ended = pair.stopped();
    for party in &ended {
        let low = |what: &str| count(party, &format!("keys are running low: {what}"));
        assert_eq!(
            [low("7 images left, less than 20 % of 40"), low("2 images left, less than 5 % of 40")],
            [1, 1]
        );
        assert_eq!(low(""), 2, "{}", party.err);
    }
}
