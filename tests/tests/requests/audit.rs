//! A plan with an audit, end to end: the data owner alone hears how many values came near the end of their range.

use twoply_nn::{Options, Plan};
use twoply_tests::model::PLAIN;
use twoply_tests::world::labels;
use twoply_tests::{Pair, SOON, World, digits};

/// A world whose plan has an audit, with weights `times` those that it was made for in the first layer.
fn audited(times: f32) -> World {
    let world = World::new(PLAIN);
    let options = Options { audit: true, ..world.plan.options.clone() };
    let plan = Plan::new(world.plan.graph.clone(), options, world.plan.ranges.clone()).expect("a plan");
    world.write("plan.json", plan.to_json().expect("JSON").as_bytes());
    let mut weights = digits().weights.clone();
    weights.0[0].iter_mut().for_each(|w| *w *= times);
    world.write("weights", &weights.to_safetensors(&plan.graph).expect("weights"));
    world.deal("keys", "plan.json", 16, 8).is(0);
    world
}

fn served(world: &World) -> Pair {
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    pair
}

/// The counts of every layer.
fn counts(json: &serde_json::Value) -> Vec<(String, Vec<u64>)> {
    let layers = json["range_audit"].as_object().expect("counts");
    let of =
        |v: &serde_json::Value| v.as_array().expect("images").iter().filter_map(|n| n.as_u64()).collect();
    layers.iter().map(|(name, counts)| (name.clone(), of(counts))).collect()
}

#[test]
fn images_like_the_samples_are_counted_nowhere() {
    let world = audited(1.0);
    let pair = served(&world);
    let json = world.asking("client", &pair, 0..5, &["--batch", "2"]).wait(SOON).json();
    assert_eq!(labels(&json), digits().labels[0..5]);
    let found = counts(&json);
    assert!(found.len() > 1, "{found:?}");
    assert!(found.iter().all(|(_, counts)| *counts == [0; 5]), "{found:?}");
    // the parties' counters are those of the plan, counts for the owner included
    let plan =
        Plan::from_json(&std::fs::read_to_string(world.path("plan.json")).expect("a plan")).expect("a plan");
    let want = plan.predict(&[2, 2, 1]).expect("a bill");
    for (me, report) in pair.stop().into_iter().enumerate() {
        assert_eq!(report["owner_bytes"][me], want.owner_bytes);
        assert_eq!(report["key_bytes"][me], want.key_bytes[me]);
        assert!(report["range_audit"].is_null(), "a party knows no counts: {report}");
        let opened = report["opened"].as_array().expect("a list");
        let audit = |o: &&serde_json::Value| o["what"].as_str().is_some_and(|w| w.ends_with("(audit)"));
        let to: Vec<_> = opened.iter().filter(audit).map(|o| o["to"].as_str()).collect();
        assert!(to.contains(&Some("the data owner")), "{report}");
    }
}

#[test]
fn values_out_of_range_end_with_exit_10_behind_the_answers() {
    let world = audited(16.0);
    let pair = served(&world);
    let ended = world.asking("client", &pair, 0..5, &["--batch", "2"]).wait(SOON);
    ended.is(10);
    let json: serde_json::Value = serde_json::from_str(&ended.out).expect("the answers are there");
    assert_eq!(labels(&json).len(), 5);
    let found = counts(&json);
    let beyond: Vec<_> = found.iter().filter(|(_, counts)| counts.iter().any(|n| *n > 0)).collect();
    assert!(!beyond.is_empty(), "{found:?}");
    for part in ["audit: layer `", "near the end of their range", "--allow-out-of-range"] {
        assert!(ended.err.contains(part), "{part} in {}", ended.err);
    }
    assert!(beyond.iter().any(|(layer, _)| ended.err.contains(layer)), "{}", ended.err);

    let ended = world.asking("client", &pair, 5..8, &["--allow-out-of-range"]).wait(SOON);
    assert!(ended.err.contains("audit: layer `"), "{}", ended.err);
    assert_eq!(labels(&ended.json()).len(), 3);
    pair.stop();
}
