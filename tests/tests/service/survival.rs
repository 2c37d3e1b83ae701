//! A party that loses its peer: the images at work are burnt and named, the party waits, and goes on with the one that
//! comes back.

use crate::{number, served};
use std::time::{Duration, Instant};
use twoply_tests::model::PLAIN;
use twoply_tests::{Odd, Pair, Proc, SOON, World};

/// Starts a party again at the same address, over the same transport.
fn restart(world: &World, pair: &mut Pair, me: usize, transport: &str) {
    let (listen, p0) = (pair.addresses[me].clone(), pair.addresses[0].clone());
    let (party, address) = world.party(me, &p0, &["--listen", &listen, "--transport", transport]);
    assert_eq!(address, listen, "the port is free again");
    pair.procs[me] = party;
}

/// Waits until the client's second grant is noted: its first images were answered, the others are under way. Over TCP also
/// some time more, until most probably they are being run (nothing tells).
fn second_grant(world: &World, client: &mut Proc, transport: &str) {
    let began = Instant::now();
    while world.seen("client").len() < 2 {
        assert!(client.runs() && began.elapsed() < SOON);
        std::thread::yield_now();
    }
    if transport == "tcp" {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A party is killed in the middle of a job, while an owner is granted images, and between jobs.
fn survive(victim: usize, transport: &str) {
    let world = World::dealt(PLAIN, 400, 200);
    // over TCP the run is slow, and the kill comes in the middle of it
    let link = if transport == "tcp" { "rtt=100ms" } else { "loopback" };
    let over = ["--transport", transport, "--link", link];
    let mut pair = served(&world, [&over, &over]);
    let survivor = 1 - victim;
    let mut busy = world.asking("client", &pair, 0..100, &["--batch", "100"]);
    second_grant(&world, &mut busy, transport);
    pair.procs[victim].kill();
    let answered = busy.wait(SOON).is_one_of(&[0, 4, 14]).code == Some(0);
    restart(&world, &mut pair, victim, transport);
    if !answered {
        pair.procs[survivor].hear("images 16..100 of key set", SOON).unwrap();
    }
    world.infer_right(&pair, 0..2);

    let mut odd = Odd::new(&world, &pair, "other");
    odd.ask(odd.job(3, 1));
    let (grant, _) = odd.granted();
    pair.procs[victim].kill();
    restart(&world, &mut pair, victim, transport);
    let line = format!("images {}..{} of key set", grant.first, grant.first + 3);
    pair.procs[survivor].hear(&line, SOON).unwrap();
    assert!(odd.refused(survivor, SOON).contains("peer unreachable"));
    world.infer_right(&pair, 0..2);

    pair.procs[victim].kill();
    restart(&world, &mut pair, victim, transport);
    world.infer_right(&pair, 0..2);
    let reports = pair.stop();
    assert_eq!(number(&reports[0], "images_left"), number(&reports[1], "images_left"));
}

#[test]
fn p1_survives_p0_over_tcp() {
    survive(0, "tcp");
}
#[test]
fn p1_survives_p0_over_quic() {
    survive(0, "quic");
}
#[test]
fn p0_survives_p1_over_tcp() {
    survive(1, "tcp");
}
#[test]
fn p0_survives_p1_over_quic() {
    survive(1, "quic");
}

#[test]
fn a_party_waits_for_ever_or_as_long_as_it_is_told() {
    let world = World::dealt(PLAIN, 8, 8);
    let mut pair = served(&world, [&["--patience", "1"], &[]]);
    pair.procs[0].kill();
    pair.procs[1].hear("waiting for it to come back", SOON).unwrap();
    // P0 comes and goes again, with P1 where it was; then P1 is not there for a P0 with patience.
    let (listen, p0) = (pair.addresses[0].clone(), pair.addresses[0].clone());
    pair.procs[0] = world.party(0, &p0, &["--listen", &listen, "--patience", "1"]).0;
    world.infer_right(&pair, 0..1);
    pair.procs[1].kill();
    let ended = pair.procs.remove(0).wait(SOON);
    ended.is(4).says(&["P1 did not come within 1 s"]);
}

#[test]
fn a_hangup_stops_a_party_in_order() {
    let world = World::dealt(PLAIN, 8, 8);
    let pair = served(&world, [&[], &[]]);
    world.infer_right(&pair, 0..2);
    pair.procs.iter().for_each(|party| party.signal("HUP"));
    for ended in pair.ended(SOON) {
        assert_eq!(number(&ended.json(), "images"), 2);
    }
}
