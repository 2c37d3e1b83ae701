//! Data owners side by side: one that is frozen, floods or lies costs its own images, and nobody else's time.

use crate::{number, served};
use std::time::Duration;
use twoply_party::jobs::{FIRST_GRANT, Request};
use twoply_tests::model::PLAIN;
use twoply_tests::{Odd, Pair, SOON, World, digits};

/// Sends both parties the masked values for what an owner was granted, and hears both shares.
fn finish(odd: &mut Odd, (grant, keys): &(twoply_party::jobs::Grant, [Vec<[u8; 16]>; 2])) {
    let images = grant.images as usize;
    let packed = odd.mask(digits().images(0..images), [&keys[0], &keys[1]]);
    (0..2).for_each(|me| odd.send(me, grant, &packed));
    odd.shares(images);
}

/// Whether neither party has said anything more.
fn waits(odd: &mut Odd) -> bool {
    (0..2).all(|me| !odd.link(me).waiting(Duration::ZERO).unwrap())
}

#[test]
fn a_frozen_owner_delays_nobody() {
    let world = World::dealt(PLAIN, 32, 32);
    let pair = served(&world, [&[], &[]]);
    let mut frozen = Odd::new(&world, &pair, "other");
    frozen.ask(frozen.job(2, 1));
    let granted = frozen.granted();
    world.infer_right(&pair, 0..3);
    // It is granted still: it wakes up, and is served.
    assert!(waits(&mut frozen));
    finish(&mut frozen, &granted);
    for report in pair.stop() {
        assert_eq!(number(&report, "images"), 5);
    }
}

#[test]
fn requests_that_one_party_never_heard_of_delay_nobody() {
    let world = World::dealt(PLAIN, 32, 32);
    let pair = served(&world, [&[], &[]]);
    let mut orphans: Vec<(usize, Odd)> = vec![];
    for name in 0..6 {
        let mut odd = Odd::new(&world, &pair, "other");
        let (me, job) = (name % 2, odd.job(3, name as u8));
        odd.link(me).say(&Request::Infer(job)).unwrap();
        orphans.push((me, odd));
    }
    world.infer_right(&pair, 0..3);
    assert!(orphans.iter_mut().all(|(_, odd)| waits(odd)), "they wait still");
    // P0 ends its own in time; P1's wait for the other half of the request, and one of them comes.
    let (late, rest) = orphans.split_at_mut(2);
    for (_, odd) in rest.iter_mut().filter(|(me, _)| *me == 0) {
        assert!(odd.refused(0, SOON).contains("peer unreachable"), "P1 was not asked");
    }
    let (_, odd) = &mut late[1];
    let job = odd.job(3, 1);
    odd.link(0).say(&Request::Infer(job)).unwrap();
    let granted = odd.granted();
    finish(odd, &granted);
    for report in pair.stop() {
        assert_eq!(["images", "images_burnt"].map(|key| number(&report, key)), [6, 0]);
    }
}

#[test]
fn two_links_of_one_key_are_served_in_turn_and_others_between() {
    let world = World::dealt(PLAIN, 64, 64);
    let pair = served(&world, [&[], &[]]);
    let mut links: Vec<Odd> = (0..2).map(|_| Odd::new(&world, &pair, "other")).collect();
    let jobs = [links[0].job(2, 1), links[1].job(2, 2)];
    links[0].ask(jobs[0]);
    let granted = links[0].granted();
    links[1].ask(jobs[1]);
    world.infer_right(&pair, 0..3);
    assert!(links.iter_mut().all(waits), "the second waits for the first");
    finish(&mut links[0], &granted);
    let granted = links[1].granted();
    finish(&mut links[1], &granted);
    pair.stop();
}

#[test]
fn an_owner_that_leaves_burns_no_more_than_its_first_grant() {
    let world = World::dealt(PLAIN, 320, 320);
    let pair = served(&world, [&[], &[]]);
    let mut odd = Odd::new(&world, &pair, "other");
    odd.ask(odd.job(300, 1));
    let (grant, _) = odd.granted();
    assert_eq!(grant.images, FIRST_GRANT);
    drop(odd);
    for party in &pair.procs {
        party.hear("images 0..16 of key set", SOON).unwrap();
    }
    // Reserved for it beyond its grant, and not lost.
    world.infer_right(&pair, 0..4);
    for report in pair.stop() {
        assert_eq!(["images", "images_burnt"].map(|key| number(&report, key)), [4, 16], "{report}");
    }
}

/// Grants that P0 made.
fn grants(pair: Pair) -> u64 {
    let [zero, _] = pair.stop();
    let control = zero["control"][0].as_array().unwrap();
    number(control.iter().find(|sent| sent["kind"] == "grant").unwrap(), "messages")
}

#[test]
fn an_owner_that_has_sent_its_input_is_granted_more_at_once() {
    let world = World::dealt(PLAIN, 64, 64);
    let pair = served(&world, [&[], &[]]);
    world.asking("client", &pair, 0..40, &["--batch", "20"]).wait(SOON).is(0);
    assert_eq!(world.seen("client"), [(0, 16), (16, 20), (20, 40)]);
    assert_eq!(grants(pair), 3);
}

#[test]
fn a_key_has_a_budget() {
    let world = World::dealt(PLAIN, 32, 32);
    let budget = ["--images-per-client", "5"];
    let pair = served(&world, [&budget, &budget]);
    world.infer_right(&pair, 0..3);
    world.infer(&pair, 0..3).is(12).says(&["wanted 3, found 2", "--images-per-client"]);
    world.asking("other", &pair, 0..5, &[]).wait(SOON).is(0);
    world.infer_right(&pair, 0..2);
    world.infer(&pair, 0..1).is(12).says(&["wanted 1, found 0"]);
    for report in pair.stop() {
        assert_eq!(["images", "images_burnt"].map(|key| number(&report, key)), [10, 0]);
    }
}

/// What is admitted at once may be more than the budget, what is granted not.
#[test]
fn repro_a_budget_holds_for_requests_at_once() {
    let world = World::dealt(PLAIN, 32, 32);
    let budget = ["--images-per-client", "5"];
    let pair = served(&world, [&budget, &budget]);
    let [mut one, mut other] = [(); 2].map(|()| Odd::new(&world, &pair, "client"));
    let jobs = [one.job(5, 1), one.job(5, 2)];
    one.ask(jobs[0]);
    let (grant, _) = one.granted();
    assert_eq!(grant.images, 5);
    other.ask(jobs[1]);
    // the first one leaves, so that it is the other's turn
    drop(one);
    let why = other.refused(0, SOON);
    assert!(why.contains("exit 12") || why.contains("budget"), "{why}");
    pair.stop();
}

#[test]
fn different_masked_inputs_are_refused_by_both() {
    let world = World::dealt(PLAIN, 32, 32);
    let pair = served(&world, [&[], &[]]);
    let mut odd = Odd::new(&world, &pair, "other");
    odd.ask(odd.job(2, 1));
    let (grant, keys) = odd.granted();
    let mut packed = odd.mask(digits().images(0..2), [&keys[0], &keys[1]]);
    odd.send(0, &grant, &packed);
    packed[100] ^= 1;
    odd.send(1, &grant, &packed);
    for me in 0..2 {
        let why = odd.refused(me, SOON);
        assert!(why.contains("masked input"), "{why}");
    }
    world.infer_right(&pair, 0..1);
    let ended = pair.stopped();
    for party in &ended {
        party.says(&["different masked inputs", "images 0..2 of key set"]);
    }
    let reports = ended.map(|e| e.json());
    let of = |key: &str| [0, 1].map(|me| number(&reports[me], key));
    assert_eq!(of("images"), [1, 1]);
    let burnt = of("images_burnt");
    assert!(burnt[0] == burnt[1] && burnt[0] >= 2, "{burnt:?}");
}
