//! Inference over emulated links: the same answers, and reports that say what was emulated.

use twoply_tests::model::PLAIN;
use twoply_tests::world::labels;
use twoply_tests::{SOON, World, digits};

#[test]
fn a_run_over_an_emulated_link_is_right_and_says_so() {
    let world = World::dealt(PLAIN, 4, 4);
    let link = ["--link", "rtt=20ms,rate=400mbit"];
    let pair = world.parties_with([&link, &link]);
    world.provision(&pair, &link).is(0);
    let inferred = world.asking("client", &pair, 0..4, &link).wait(SOON);
    assert_eq!(labels(&inferred.json()), digits().labels[..4]);
    inferred.says(&["link: own (emulated), 20 ms, 400 Mbit/s"]);
    let reports = pair.stop();
    for report in reports.iter().chain([&inferred.json()]) {
        assert_eq!(report["link"]["rtt_seconds"], 0.02);
        assert_eq!(report["link"]["bits_per_second"], 400_000_000);
    }
    // Emulated time: no round is shorter than half a round trip.
    let (rounds, online) = (reports[0]["rounds"].as_u64().unwrap(), &inferred.json()["seconds"]["online"]);
    assert!(online.as_f64().unwrap() >= rounds as f64 * 0.01, "{online} s for {rounds} rounds");
}

#[test]
fn a_real_link_is_not_called_emulated() {
    let world = World::dealt(PLAIN, 2, 2);
    let pair = world.parties_with([&["--link", "loopback"], &[]]);
    world.provision(&pair, &[]).is(0);
    world.infer_right(&pair, 0..2);
    for report in pair.stop() {
        assert!(report["link"].is_null());
    }
}
