//! `--device`: what is computed on, and what is said where it cannot be.

use crate::lab::Lab;
use std::fs;

/// A device that no machine has.
const NOWHERE: &str = "cuda:4096";

/// Cause and remedy of a command that fails for want of the device.
fn missing(lab: &Lab, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = lab.command(&[args, &["--format", "json"]].concat());
    let said = crate::lab::Said::from(command.envs(variables.iter().copied()).output().unwrap());
    assert_eq!((said.code, said.stdout.as_str()), (13, ""), "{args:?}\n{}", said.stderr);
    let failure = said.failure();
    assert_eq!((&failure["code"], &failure["phase"]), (&13.into(), &"start".into()));
    format!("{} {}", failure["what"].as_str().unwrap(), failure["remedy"].as_str().unwrap())
}

#[test]
fn a_device_that_is_not_there_is_exit_13_with_a_way_out() {
    let lab = Lab::new();
    lab.plan();
    let deal = ["deal", "digits.plan.json", "--images", "1", "--out", "keys"];
    for args in [
        &[&deal[..], &["--device", NOWHERE]].concat()[..],
        &["party", "--device", NOWHERE],
        &["demo", "--device", NOWHERE, "--keep", "demo"],
        &["bench", "--table", "networks", "--device", NOWHERE],
    ] {
        let said = missing(&lab, args, &[]);
        assert!(said.contains("--device cpu"), "{said}");
        let built = twoply_primitives::backend::Device::CUDA;
        assert!(built || said.contains("built without CUDA build it with `--features cuda`"), "{said}");
    }
    missing(&lab, &deal, &[("TWOPLY_DEVICE", NOWHERE)]);
    assert!(!lab.path("keys").exists() && !lab.path("demo").exists(), "nothing was begun");
    // Auto takes what is there.
    let dealt = lab.json(&[&deal[..], &["--device", "auto"]].concat());
    assert!(dealt["device"].as_str().unwrap().starts_with(['c']), "{dealt}");
}

/// Flag above variable above file; without any, auto. What comes next is that no role is set.
#[test]
fn a_partys_device_is_a_setting_as_others() {
    let lab = Lab::new();
    fs::write(lab.path("party.toml"), format!("device = '{NOWHERE}'\n")).unwrap();
    let party = ["party", "--config", "party.toml"];
    missing(&lab, &party, &[]);
    missing(&lab, &["party"], &[("TWOPLY_DEVICE", NOWHERE)]);
    assert!(lab.fails(3, &[&party[..], &["--device", "cpu"]].concat()).contains("`role` is not set"));
    assert!(lab.fails(3, &["party"]).contains("`role` is not set"));
    fs::write(lab.path("party.toml"), "device = 'gpu0'\n").unwrap();
    let refused = lab.fails(3, &party);
    assert!(refused.contains("`gpu0` is no device") && refused.contains("cuda:N"), "{refused}");
}

/// The demo compares its counters with the plan's, control messages included: also where a first request is longer than the
/// first grant.
#[test]
fn a_demo_of_long_requests_is_paid_for() {
    let lab = Lab::new();
    let demo = lab.json(&["demo", "--limit", "40", "--batch", "20"]);
    let rounds = |demo: &serde_json::Value| demo["rounds"].as_u64().unwrap();
    let once = lab.json(&["demo", "--limit", "1"]);
    assert_eq!(rounds(&demo), 3 * rounds(&once), "runs of 16, 4 and 20");
    let said: Vec<&str> =
        demo["control"][0].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert!(["grant", "hello", "run", "reserved"].iter().all(|kind| said.contains(kind)), "{said:?}");
}

#[test]
fn a_run_says_what_computed_it() {
    let lab = Lab::new();
    let demo = lab.json(&["demo", "--limit", "3", "--device", "cpu"]);
    let cpu = serde_json::json!({ "dealer": "cpu", "parties": ["cpu", "cpu"] });
    assert_eq!((&demo["devices"], &demo["agree"]), (&cpu, &3.into()));
}
