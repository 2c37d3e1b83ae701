//! Range counts of a run whose values leave their range, in real processes: the owner that the plan names hears of it, and its verb ends so.

use std::fs;
use twoply_nn::Weights;
use twoply_nn::train::{Brings, Figure, Share, Wanted, initial};
use twoply_tests::model::idx;
use twoply_tests::school::{LONG, School};

/// A private start whose first layer has weights near the largest that can be masked: products of 64 pixels leave their range at once.
#[test]
fn values_out_of_range_end_the_watch_with_their_code() {
    let share = |owner: &str, brings| Share { owner: owner.into(), brings };
    let mut school =
        School::new((32, 1), vec![share("data", Brings::Rows(32)), share("first", Brings::Start)], 1);
    let to = |name: &str| Wanted { figure: Figure::RangeCounts, to: name.into(), every: None };
    school.plan = school.plan.clone().revealing(&[to("data"), to("first")]).unwrap();
    school.replan("digits.train.json", &school.plan);
    let mut start: Weights = initial(&school.plan.graph, 1);
    start.0[0].iter_mut().for_each(|w| *w = 60.0);
    fs::write(school.path("start"), start.to_safetensors(&school.plan.graph).unwrap()).unwrap();
    fs::write(school.path("images.idx"), idx(0..32)).unwrap();
    fs::write(school.path("labels.txt"), "3\n".repeat(32)).unwrap();

    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let strict = school.watcher("data", "owner", &[]);
    let lenient = school.watcher("first", "other", &["--allow-out-of-range"]);
    let rows = ["--samples", "images.idx", "--labels", "labels.txt"];
    school.owner("data", "owner", &rows).wait(LONG).is(0);
    school.owner("first", "other", &["--weights", "start"]).wait(LONG).is(0);
    school.fetcher(&[]).wait(LONG).is(0);
    let (strict, lenient) = (strict.wait(LONG), lenient.wait(LONG));
    let layer = &school.plan.graph.nodes[0].name;
    strict.is(10).says(&["near the end of their range or left it", layer, "--allow-out-of-range"]);
    // the figures come first, whatever follows
    let figures = |out: &str| serde_json::from_str::<serde_json::Value>(out).unwrap()["figures"].clone();
    let [found, same] = [&strict, &lenient].map(|ended| figures(&ended.out));
    assert_eq!((found.as_array().unwrap().len(), &found), (2, &same));
    let large = found[0]["large"].as_object().unwrap();
    assert!(
        large.iter().any(|(name, count)| name.starts_with(layer.as_str()) && count.as_i64() > Some(16)),
        "{found}"
    );
    lenient.is(0);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
}
