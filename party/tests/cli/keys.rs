//! `keys ls|verify|gc`.

use crate::lab::Lab;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use twoply_preprocessing::{KeyDir, parse_key_set};
use twoply_primitives::PartyId;

/// 30 images in segments of 10, in `keys/p0` and `keys/p1`; the key set's name.
fn dealt(lab: &Lab) -> String {
    lab.plan();
    let deal = lab.json(&["deal", "digits.plan.json", "--images", "30", "--segment", "10", "--out", "keys"]);
    deal["key_set"].as_str().unwrap().to_owned()
}

fn segment(lab: &Lab, half: &str, set: &str, number: u32) -> PathBuf {
    lab.path(&format!("keys/{half}/{set}/seg-{number:05}.key"))
}

const LS: [&str; 6] = ["keys", "ls", "--keys", "keys/p0", "--role", "0"];

fn verify(half: &'static str, party: &'static str) -> [&'static str; 8] {
    ["keys", "verify", "--keys", half, "--role", party, "--plan", "digits.plan.json"]
}

/// Marks the first images of P0's half as spent, as a party would.
fn spend(lab: &Lab, set: &str, images: u64) {
    let dir = KeyDir::open(lab.path("keys/p0"), PartyId::P0).unwrap();
    let id = parse_key_set(set).unwrap();
    let plan = dir.summary(id).unwrap().plan;
    let set = dir.key_set(id, plan, Default::default(), false).unwrap();
    set.ledger().unwrap().advance_to(images).unwrap();
}

fn only(listing: &Value) -> &Value {
    assert_eq!(listing["key_sets"].as_array().unwrap().len(), 1);
    &listing["key_sets"][0]
}

#[test]
fn a_listing_counts_and_gc_erases_what_is_spent() {
    let lab = Lab::new();
    let set = dealt(&lab);
    let listing = lab.json(&LS);
    let one = only(&listing);
    assert_eq!(one["key_set"], set.as_str());
    let numbers =
        |one: &Value| ["images", "spent", "burnt", "left", "ready"].map(|f| one[f].as_u64().unwrap());
    assert_eq!(numbers(one), [30, 0, 0, 30, 30]);
    assert_eq!(
        lab.json(&["keys", "gc", "--keys", "keys/p0", "--role", "0"])["key_sets"][0]["erased"],
        serde_json::json!([])
    );

    spend(&lab, &set, 13);
    fs::write(segment(&lab, "p0", &set, 9).with_extension("key.part"), "").unwrap();
    let listing = lab.json(&LS);
    assert_eq!(numbers(only(&listing)), [30, 13, 13, 17, 17]);
    assert_eq!(only(&listing)["segments"][0]["state"], "spent");
    assert_eq!(only(&listing)["partial"].as_array().unwrap().len(), 1);
    let done = lab.json(&["keys", "gc", "--keys", "keys/p0", "--role", "0"]);
    assert_eq!(done["key_sets"][0]["erased"], serde_json::json!([0]));
    assert_eq!(done["key_sets"][0]["partial"].as_array().unwrap().len(), 1);
    assert!(!segment(&lab, "p0", &set, 0).exists() && segment(&lab, "p0", &set, 1).exists());

    fs::remove_file(segment(&lab, "p0", &set, 2)).unwrap();
    let listing = lab.json(&LS);
    let states: Vec<&str> =
        only(&listing)["segments"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["erased", "ready", "missing"]);
    let text = lab.ok(&LS).stdout;
    assert!(text.contains("1 ready, 1 missing, 1 erased"), "{text}");
}

#[test]
fn verify_names_every_damaged_file() {
    let lab = Lab::new();
    let set = dealt(&lab);
    let said = lab.ok(&verify("keys/p1", "1"));
    assert!(said.stdout.contains("3 segments are whole, 0 are damaged"), "{}", said.stdout);
    for number in [0, 2] {
        let path = segment(&lab, "p1", &set, number);
        let mut bytes = fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let said = lab.run(&verify("keys/p1", "1"));
    assert_eq!(said.code, 9);
    assert!(
        said.stdout.contains("seg-00000.key") && said.stdout.contains("seg-00002.key"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("seg-00001.key"), "{}", said.stdout);
    let said = lab.run(&[&verify("keys/p1", "1")[..], &["--format", "json"]].concat());
    let result: Value = serde_json::from_str(&said.stdout).unwrap();
    let faults = result["segments"].as_array().unwrap().iter().map(|s| !s["fault"].is_null());
    assert_eq!(faults.collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(said.failure()["code"], 9);
    assert_eq!(said.failure()["remedy"], twoply_preprocessing::DAMAGED);
    let fault = result["segments"][0]["fault"].as_str().unwrap();
    assert!(fault.ends_with(twoply_preprocessing::DAMAGED), "{fault}");
}

#[test]
fn the_wrong_half_the_wrong_plan_and_no_keys_are_told_apart() {
    let lab = Lab::new();
    let set = dealt(&lab);
    let cause = lab.fails(9, &verify("keys/p0", "1"));
    assert!(cause.contains("keys of P0, this is P1"), "{cause}");
    let listing = lab.fails(9, &["keys", "ls", "--keys", "keys/p1", "--role", "0"]);
    assert!(listing.contains("keys of P1, this is P0"), "{listing}");

    lab.ok(&[
        "plan",
        "digits.graph.json",
        "--unchecked-ranges",
        "--ring",
        "64",
        "--out",
        "wide.plan.json",
        "-q",
    ]);
    let said = lab.run(&["keys", "verify", "--keys", "keys/p0", "--role", "0", "--plan", "wide.plan.json"]);
    assert_eq!(said.code, 8, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("key set {set} is for another plan")), "{}", said.stderr);
    lab.fails(8, &["keys", "ls", "--keys", "nowhere", "--role", "0"]);

    // A folder in which a dealer died at once.
    fs::create_dir_all(lab.path(&format!("young/{set}"))).unwrap();
    let listing = lab.json(&["keys", "ls", "--keys", "young", "--role", "0"]);
    assert_eq!(listing["key_sets"], serde_json::json!([]));
    // Keys whose ledger is gone are not just left out.
    fs::remove_file(lab.path(&format!("keys/p0/{set}/ledger"))).unwrap();
    assert!(lab.fails(8, &LS).contains("ledger"));
}
