//! `plan` on the zoo: counts, predicted times, choices, budgets.

use crate::lab::Lab;
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn zoo<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["plan", "--zoo", name][..], more].concat()
}

#[test]
fn the_zoo_is_planned_without_a_file_and_counted_as_in_the_paper() {
    let lab = Lab::new();
    let bill = lab.json(&zoo("network-2", &["--count-as", "ariann"]));
    assert_eq!(bill["ariann"], serde_json::json!({"relu": 2670, "max_pool": 7680, "argmax": 100}));
    assert_eq!(number(&bill["comparisons"]), 10_350.0, "an argmax is not part of this plan");
    assert!(bill["file"].is_null() && bill["forecast"].is_null());
    assert!(number(&bill["memory_bytes"]) > 1e6);
    let said = lab.ok(&zoo("network-2", &["--count-as", "ariann", "--alternatives"]));
    assert!(said.stdout.contains("as AriaNN counts them: 10450"), "{}", said.stdout);
    assert!(said.stdout.contains("no plan was written"), "{}", said.stdout);
    assert_eq!(said.stdout.lines().filter(|l| l.starts_with("dpf ")).count(), 2, "{}", said.stdout);
    let cause = lab.fails(2, &zoo("network-9", &[]));
    assert!(cause.contains("network-9") && cause.contains("resnet18-2"), "{cause}");
    assert_eq!(lab.run(&["plan"]).code, 2);
    assert_eq!(lab.run(&zoo("lenet", &["--link", "moon"])).code, 2);
}

/// Times are not tested, only what they must add up to.
#[test]
fn a_forecast_adds_the_link_to_a_rehearsal() {
    let lab = Lab::new();
    let bill = |link: &str| lab.json(&zoo("network-1", &["--time", "--link", link, "--images", "4"]));
    let (near, far) = (bill("loopback"), bill("rtt=100ms"));
    let wait = |b: &Value| number(&b["forecast"]["wait"]);
    let rounds = number(&far["rounds"]);
    // half a round trip a message in sequence, four for the request
    let added = wait(&far) - wait(&near);
    assert!((added - (rounds * 0.05 + 0.4)).abs() < 1e-6, "{added} for {rounds} rounds");
    let forecast = &far["forecast"];
    let sum = number(&forecast["compute"]) + number(&forecast["wait"]);
    assert!((number(&forecast["online"]) - sum).abs() < 1e-9);
    assert!(number(&forecast["compute"]) > 0.0 && number(&forecast["deal"]) > 0.0);
    assert_eq!(number(&forecast["batch"]), 4.0);
}

#[test]
fn on_a_long_link_the_comparison_of_fewer_rounds_is_chosen_and_may_be_overruled() {
    let lab = Lab::new();
    let at = |bill: &Value, layer: &str| {
        let lines = bill["why"].as_array().unwrap();
        let line = lines.iter().map(|l| l.as_str().unwrap()).find(|l| l.starts_with(layer)).unwrap();
        line.to_owned()
    };
    let bill = lab.json(&zoo("network-1", &["--cheapest", "--link", "rtt=900ms"]));
    assert!(at(&bill, "fc1.relu").contains("fc1.relu: dpf; digits"), "{}", bill["why"]);
    let other = ["--cheapest", "--link", "rtt=900ms", "--compare-at", "fc1.relu=digits"];
    let bill = lab.json(&zoo("network-1", &other));
    assert!(at(&bill, "fc1.relu").contains("digits, as asked"), "{}", bill["why"]);
    assert!(at(&bill, "fc2.relu").contains("fc2.relu: dpf"), "{}", bill["why"]);
    assert_eq!(lab.run(&zoo("network-1", &["--compare-at", "fc1.relu=magic"])).code, 2);
    assert!(lab.fails(15, &zoo("network-1", &["--compare-at", "nowhere=dpf"])).contains("nowhere"));
}

#[test]
fn a_plan_beyond_its_budget_is_refused_with_what_would_fit_and_is_not_written() {
    let lab = Lab::new();
    let lenet = |more: &[&str]| {
        let all = [&["--images", "1000", "--out", "p.json"][..], more].concat();
        lab.run(&zoo("lenet", &all).into_iter().chain(["--format", "json"]).collect::<Vec<_>>())
    };
    let said = lenet(&["--max-disk", "10MB", "--max-ram", "150MB"]);
    assert_eq!(said.code, 12, "{said:?}");
    let failure = said.failure().to_string();
    for want in ["key files", "memory", "--images", "--batch"] {
        let found = failure.contains(want) || want == "memory" && failure.contains("a party needs about");
        assert!(found, "{want} in {failure}");
    }
    assert!(!lab.path("p.json").exists());
    let fits: u64 = failure
        .split("--images ")
        .nth(1)
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let images = fits.to_string();
    lab.ok(&zoo("lenet", &["--images", &images, "--max-disk", "10MB"]));
    let more = (fits + 1).to_string();
    lab.fails(12, &zoo("lenet", &["--images", &more, "--max-disk", "10MB"]));
    assert_eq!(lenet(&["--max-time", "1ms"]).code, 12);
    assert_eq!(lenet(&["--max-time", "soon"]).code, 2);
}

#[test]
fn networks_of_the_zoo_are_imported_from_a_seed_or_refused_with_every_fault() {
    let lab = Lab::new();
    let summary = lab.json(&["import", "--zoo", "lenet", "--noise", "3"]);
    assert_eq!((&summary["name"], &summary["parameters"]), (&"lenet".into(), &431_080.into()));
    assert!(lab.path("lenet.noise.npy").metadata().unwrap().len() > 3 * 784);
    lab.ok(&[
        "plan",
        "lenet.graph.json",
        "--weights",
        "lenet.weights.safetensors",
        "--samples",
        "lenet.noise.npy",
    ]);
    // a weights file of ours is no state dictionary of this network: its names differ
    let from = ["import", "--zoo", "network-2", "--state-dict", "lenet.weights.safetensors"];
    let cause = lab.fails(15, &from);
    assert!(cause.contains("`conv1.weight`: [20, 1, 5, 5], wanted [16, 1, 5, 5]"), "{cause}");
    assert!(cause.contains("`fc2.weight`"), "{cause}");
    assert!(lab.fails(2, &["import", "--zoo", "lenet2"]).contains("lenet2"));
}
