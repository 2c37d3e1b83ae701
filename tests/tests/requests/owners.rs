//! Data owners: two in turn and at once; and ones that break the rules. Whatever a data owner does costs its own
//! images and nothing else.

use std::time::Duration;
use twoply_party::jobs::{Grant, Request};
use twoply_party::transport::{Detail, Reason, Role};
use twoply_primitives::Channel;
use twoply_tests::model::PLAIN;
use twoply_tests::world::labels;
use twoply_tests::{Ended, Odd, Pair, Proc, SOON, World, digits};

fn served(world: &World) -> Pair {
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    pair
}

#[test]
fn two_data_owners_in_turn_and_at_once() {
    let world = World::dealt(PLAIN, 64, 16);
    let pair = served(&world);
    let small = ["--batch", "2"];
    let ask = |home: &str, first: usize| world.asking(home, &pair, first..first + 9, &small);
    let right = |ended: Ended, first: usize| {
        assert_eq!(labels(&ended.json()), digits().labels[first..first + 9]);
    };
    right(ask("client", 0).wait(SOON), 0);
    right(ask("other", 100).wait(SOON), 100);
    let (a, b) = (ask("client", 200), ask("other", 300));
    right(a.wait(SOON), 200);
    right(b.wait(SOON), 300);
    // Two processes of one home share its record.
    let (a, b) = (ask("client", 400), ask("client", 20));
    right(a.wait(SOON), 400);
    right(b.wait(SOON), 20);
    let mut all = [world.seen("client"), world.seen("other")].concat();
    all.sort_unstable();
    assert!(all.windows(2).all(|w| w[0].1 <= w[1].0), "an image was granted twice: {all:?}");
    assert_eq!(all.iter().map(|(from, to)| to - from).sum::<u64>(), 54);
    for report in pair.stop() {
        assert_eq!(report["images"], 54);
        let [left, burnt] = ["images_left", "images_burnt"].map(|k| report[k].as_u64().unwrap());
        assert_eq!(54 + left + burnt, 64);
    }
}

/// Two reservations that share a segment's last images: the first piece must not erase the second one's keys.
#[test]
fn repro_a_request_over_two_reservations_of_one_segment() {
    let world = World::dealt(PLAIN, 34, 5);
    let pair = served(&world);
    // Reserved 0..2, 2..4 and 4..5; the last request runs 3..4 and 4..5, both of segment 0.
    for images in [0..1, 1..3, 3..5] {
        world.infer_right(&pair, images);
    }
    pair.stop();
}

/// Some ways to be wrong before any masked value is accepted; after each, an honest owner is served.
#[test]
fn owners_that_break_the_rules() {
    let world = World::dealt(PLAIN, 64, 64);
    let mut pair = served(&world);
    // An image granted to somebody else.
    let mut other = Odd::new(&world, &pair, "other");
    other.ask(other.job(1, 1));
    let (theirs, keys) = other.granted();
    let packed = other.mask(digits().images(0..1), [&keys[0], &keys[1]]);
    (0..2).for_each(|me| other.send(me, &theirs, &packed));
    other.shares(1);
    let mut odd = Odd::new(&world, &pair, "client");
    odd.ask(odd.job(1, 2));
    let (mine, keys) = odd.granted();
    assert!(mine.first > theirs.first);
    let packed = odd.mask(digits().images(0..1), [&keys[0], &keys[1]]);
    (0..2).for_each(|me| odd.send(me, &theirs, &packed));
    for me in 0..2 {
        assert!(odd.refused(me, SOON).contains("already spent (exit 9)"));
    }
    world.infer_right(&pair, 0..1);
    nonsense(&world, &pair);
    assert!(pair.run());
    world.infer_right(&pair, 1..2);
    let reports = pair.stop();
    assert!(reports.iter().all(|r| r["images_burnt"].as_u64() >= Some(1)), "{reports:?}");
}

fn nonsense(world: &World, pair: &Pair) {
    // Another word, another length, another role, and nothing at all.
    let mut odd = Odd::new(world, pair, "client");
    odd.ask(odd.job(2, 3));
    let (grant, _) = odd.granted();
    for me in 0..2 {
        odd.link(me).send_message(&Request::Provision([7; 32])).unwrap();
        assert!(odd.refused(me, SOON).contains("stopped"), "another word");
    }
    let mut odd = Odd::new(world, pair, "client");
    odd.ask(odd.job(2, 4));
    let (again, _) = odd.granted();
    assert_eq!(again.first, grant.first + 2, "what was granted is spent");
    for me in 0..2 {
        odd.send(me, &again, &[1; 511]);
        assert!(odd.refused(me, SOON).contains("stopped"), "another length");
    }
    for images in [0, 5000] {
        let mut odd = Odd::new(world, pair, "client");
        odd.ask(odd.job(images, 5));
        assert!(odd.refused(0, SOON).contains("model or data unusable"), "{images} images");
    }
    let mut odd = Odd::with(world.identity("client"), Role::ModelOwner, world, pair);
    odd.ask(odd.job(1, 6));
    for me in 0..2 {
        assert!(odd.refused(me, SOON).contains("peer identity"), "a model owner asks");
    }
    // Asks P0 only: P1 does not know it.
    let mut odd = Odd::new(world, pair, "client");
    let job = odd.job(1, 7);
    odd.link(0).send_message(&Request::Infer(job)).unwrap();
    assert!(odd.refused(0, SOON).contains("peer unreachable"), "P1 was not asked");
    // Different requests of one name.
    let mut odd = Odd::new(world, pair, "client");
    for me in 0..2 {
        let job = odd.job(1 + me as u32, 8);
        odd.link(me).send_message(&Request::Infer(job)).unwrap();
    }
    assert!(odd.refused(0, SOON).contains("stopped"));
    let (_, _gone): (Grant, Odd) = (grant, odd);
}

/// An owner that serves one party and keeps the other waiting: the one that was served must outwait it.
#[test]
fn repro_an_owner_that_keeps_one_party_waiting() {
    let world = World::dealt(PLAIN, 16, 16);
    let mut pair = served(&world);
    let mut odd = Odd::new(&world, &pair, "other");
    odd.ask(odd.job(1, 1));
    let (grant, keys) = odd.granted();
    let packed = odd.mask(digits().images(0..1), [&keys[0], &keys[1]]);
    odd.send(1, &grant, &packed);
    // To P0 only the first half, late, and then nothing.
    std::thread::sleep(Duration::from_secs(15));
    odd.link(0).send_message(&grant).unwrap();
    for me in 0..2 {
        let why = odd.refused(me, SOON);
        assert!(why.contains("stopped"), "{why}");
    }
    assert!(pair.run());
    world.infer_right(&pair, 0..1);
    pair.stop();
}

/// An owner lost to P0 at the results of the first of several pieces: P1 must not begin the second one alone.
#[test]
fn repro_an_owner_lost_to_one_party_between_pieces() {
    let world = World::dealt(PLAIN, 24, 2);
    let mut pair = served(&world);
    for lost in [0, 1] {
        for abrupt in [false, true] {
            let mut odd = Odd::new(&world, &pair, "other");
            odd.ask(odd.job(4, 1 + lost as u8 + 2 * u8::from(abrupt)));
            let (grant, keys) = odd.granted();
            let images = grant.images as usize;
            let packed = odd.mask(digits().images(0..images), [&keys[0], &keys[1]]);
            (0..2).for_each(|me| odd.send(me, &grant, &packed));
            let link = odd.links[lost].take().unwrap();
            match abrupt {
                true => link.abort(Reason::Interrupted, Detail::None),
                false => link.close(Duration::from_secs(5)).unwrap(),
            }
            // The other party may have sent its share of this piece; it sends no other.
            let link = odd.link(1 - lost);
            let mut words = 0;
            while link.recv(if words == 0 { 10 * 4 * images } else { 16 }).is_ok() {
                words += 1;
            }
            world.infer_right(&pair, 0..1);
            assert!(pair.run());
        }
    }
    for report in pair.stop() {
        let number = |key: &str| report[key].as_u64().unwrap();
        assert_eq!(number("images") + number("images_left") + number("images_burnt"), 24, "{report}");
    }
}

/// A party that is stopped while a request is on its way to it: its peer waits for it to come back.
#[test]
fn repro_stopping_one_party_under_load() {
    let world = World::dealt(PLAIN, 400, 100);
    let mut pair = world.parties_with([&["--patience", "60"], &["--patience", "60"]]);
    world.provision(&pair, &[]).is(0);
    for _ in 0..3 {
        let busy = world.asking("client", &pair, 0..60, &["--batch", "1"]);
        busy.hear("connected to both parties", SOON);
        std::thread::sleep(Duration::from_millis(150));
        pair.procs[1].terminate();
        let p1 = pair.procs.pop().unwrap();
        p1.wait(SOON).is(0);
        busy.wait(SOON).is_one_of(&[0, 4, 14]);
        assert!(pair.run(), "P0 waits");
        let (p1, address) = world.party(1, &pair.addresses[0], &["--patience", "60"]);
        pair.procs.push(p1);
        pair.addresses[1] = address;
        world.infer_right(&pair, 0..3);
    }
    pair.stop();
}

/// `kill -9` of a client in the middle of its requests.
#[test]
fn a_client_that_is_killed_costs_its_images() {
    let world = World::dealt(PLAIN, 200, 50);
    let mut pair = served(&world);
    let mut busy: Proc = world.asking("client", &pair, 0..60, &["--batch", "1"]);
    busy.hear("connected to both parties", SOON);
    std::thread::sleep(Duration::from_millis(200));
    busy.kill();
    let killed = world.seen("client").len();
    world.infer_right(&pair, 0..2);
    assert!(pair.run());
    assert_eq!(world.seen("client").len(), killed + 1);
    for report in pair.stop() {
        let number = |key: &str| report[key].as_u64().unwrap();
        assert_eq!(number("images") + number("images_left") + number("images_burnt"), 200, "{report}");
    }
}
