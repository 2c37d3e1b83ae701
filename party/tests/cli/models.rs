//! `import` and `plan`.

use crate::lab::{Lab, WEIGHTS, digits};
use crate::onnx;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn import_splits_a_model_and_never_overwrites_by_accident() {
    let lab = Lab::new();
    let model = digits("digits.onnx");
    let summary = lab.json(&["import", &model, "--scale", "0.0625", "--mean", "0.3125", "--std", "0.5"]);
    assert_eq!((&summary["name"], &summary["parameters"]), (&"digits".into(), &3658.into()));
    assert_eq!(summary["input"], serde_json::json!([1, 8, 8]));
    assert_eq!(summary["output"], serde_json::json!([10]));
    assert_eq!(summary["layers"].as_array().unwrap().len(), 10);
    let weights = lab.path(WEIGHTS);
    assert_eq!(weights.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let graph = fs::read_to_string(lab.path("digits.graph.json")).unwrap();
    assert!(graph.contains("0.3125"), "normalisation is public");

    let before = fs::read(&weights).unwrap();
    let cause = lab.fails(16, &["import", &model]);
    assert!(cause.contains("digits.graph.json"), "{cause}");
    assert_eq!(fs::read(&weights).unwrap(), before);
    lab.ok(&["import", &model, "--force"]);
    assert_ne!(fs::read(&weights).unwrap(), before, "bound to another graph");

    let said = lab.ok(&["import", &model, "--out", "other name"]);
    assert!(said.stderr.contains("twoply plan 'other name.graph.json'"), "{}", said.stderr);
    assert!(said.stdout.contains("10 layers, 3658 parameters"), "{}", said.stdout);
}

#[test]
fn models_that_cannot_be_used_are_named_with_every_obstacle() {
    let lab = Lab::new();
    assert!(lab.fails(15, &["import", "none.onnx"]).contains("none.onnx"));
    fs::write(lab.path("garbage.onnx"), b"GIF89a").unwrap();
    assert!(lab.fails(15, &["import", "garbage.onnx"]).contains("garbage.onnx"));
    fs::write(lab.path("two.onnx"), onnx_with(&["Sin", "Loop"])).unwrap();
    let cause = lab.fails(15, &["import", "two.onnx"]);
    assert!(cause.contains("Sin") && cause.contains("Loop"), "{cause}");
    // All of standard error is one object, with the obstacles as a list.
    let said = lab.run(&["import", "two.onnx", "--format", "json"]);
    let failure: Value =
        serde_json::from_str(&said.stderr).unwrap_or_else(|e| panic!("{e}: {}", said.stderr));
    assert!(
        failure["obstacles"].as_array().is_some_and(|list| list.iter().any(|o| o["op"] == "Loop")),
        "{failure}"
    );
    for verb in ["plan", "calibrate", "check"] {
        let sure = ["--weights", "two.onnx", "--samples", "two.onnx"];
        let said = lab.run(&[&[verb, "two.onnx"], &sure[..]].concat());
        assert!(
            said.code == 15 && said.stderr.contains("import it first, `twoply import two.onnx`"),
            "{}",
            said.stderr
        );
    }
    let cause = lab.fails(15, &["import", &digits("digits.onnx"), "--mean", "0.1,0.2,0.3"]);
    assert!(cause.contains("mean"), "{cause}");
    assert_eq!(lab.run(&["import", &digits("digits.onnx"), "--scale", "1/0"]).code, 2);
    assert_eq!(lab.run(&["import", &digits("digits.onnx"), "--out", "no/such/folder/x"]).code, 16);
    let left = fs::read_dir(lab.path(".")).unwrap().map(|e| e.unwrap().file_name());
    assert!(left.into_iter().all(|name| name.to_str().unwrap().ends_with(".onnx")), "nothing is written");
}

/// The bytes of a model with one node of each type, in a chain.
fn onnx_with(types: &[&str]) -> Vec<u8> {
    let names: Vec<String> =
        (0..=types.len()).map(|i| if i == 0 { "x".into() } else { format!("t{i}") }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let nodes: Vec<onnx::Node<'_>> =
        types.iter().zip(names.windows(2)).map(|(op, pair)| (*op, &pair[..1], pair[1])).collect();
    onnx::model(&[4], &nodes, &[], names[types.len()])
}

fn plan<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["plan", "digits.graph.json", "--weights", WEIGHTS][..], more].concat()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_plan_is_a_bill() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let bill = lab.json(&plan(&["--samples", &samples, "--images", "300", "--batch", "100"]));
    assert_eq!((number(&bill["images"]), number(&bill["batch"])), (300, 100));
    let layers = bill["layers"].as_array().unwrap();
    for field in ["comparisons", "rounds"] {
        assert_eq!(layers.iter().map(|l| number(&l[field])).sum::<u64>(), number(&bill[field]), "{field}");
    }
    for field in ["bytes_sent", "key_bytes"] {
        for party in [0, 1] {
            let sum: u64 = layers.iter().map(|l| number(&l[field][party])).sum();
            assert_eq!(sum, number(&bill[field][party]), "{field} {party}");
        }
    }
    assert_eq!(number(&bill["comparisons"]), 300 * 800);
    assert_eq!(bill["control_bytes"], serde_json::json!({"run": [149 + 65, 1 + 49], "reserved": 32}));
    // Batches of 100 over segments of 128: 100, 28 + 72, 56 + 44.
    let once = lab.json(&plan(&["--samples", &samples, "--out", "once.plan.json"]));
    assert_eq!(number(&bill["rounds"]), 5 * number(&once["rounds"]));
    assert!(number(&bill["key_file_bytes"][1]) > number(&bill["key_bytes"][1]));
    for unknown in ["agree", "correct_private", "worst_ulp", "wraps"] {
        assert!(bill[unknown].is_null(), "{unknown}");
    }
    assert!(layers.iter().all(|l| l["seconds"].is_null()));
    let opened = bill["opened"].as_array().unwrap();
    assert!(opened.iter().any(|o| o["to"] == "the data owner"));
    let ranges = bill["ranges"].as_array().unwrap();
    assert!(ranges.iter().all(|r| r["observed"].as_f64().unwrap() <= r["bound"].as_f64().unwrap()));

    assert!(lab.fails(16, &plan(&["--samples", &samples])).contains("digits.plan.json"));
    let said = lab.ok(&plan(&["--samples", &samples, "--force", "--reveal", "label", "--ring", "64"]));
    assert!(
        said.stdout.contains("argmax") && said.stdout.contains("ring 64 bits, fraction 16"),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("twoply deal digits.plan.json"), "{}", said.stderr);
}

/// What an audit costs is on the bill.
#[test]
fn an_audit_is_layers_and_bytes_of_the_bill() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let plain = lab.json(&plan(&["--samples", &samples]));
    let audited = lab.json(&plan(&["--samples", &samples, "--audit", "--out", "audited.plan.json"]));
    let audits = |bill: &Value| {
        bill["layers"].as_array().unwrap().iter().filter(|layer| layer["gate"] == "audit").count()
    };
    assert_eq!(audits(&plain), 0);
    assert!(audits(&audited) > 1, "{}", audited["layers"]);
    // P0's keys may be seeds alone.
    let more =
        [("bytes_sent", 0), ("bytes_sent", 1), ("owner_bytes", 0), ("key_bytes", 1), ("key_file_bytes", 1)];
    for (field, party) in more {
        let of = |bill: &Value| number(&bill[field][party]);
        assert!(of(&audited) > of(&plain), "{field} of P{party}: {} and {}", of(&audited), of(&plain));
    }
}

#[test]
fn ranges_that_are_unknown_or_too_wide_are_exit_10_with_a_way_out() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let cause = lab.fails(10, &["plan", "digits.graph.json"]);
    assert!(cause.contains("unknown"), "{cause}");
    let said = lab.run(&plan(&["--format", "json"]));
    assert_eq!(said.code, 10);
    assert_eq!(said.failure()["layer"], "conv1");
    assert!(said.failure()["remedy"].as_str().unwrap().contains("--samples"));
    let said = lab.run(&plan(&["--samples", &samples, "--margin", "20"]));
    assert_eq!(said.code, 10);
    assert!(said.stderr.contains("`fc2`") && said.stderr.contains("--ring 64"), "{}", said.stderr);
    assert!(!lab.path("digits.plan.json").exists());
    // Bounds are proof enough where they fit.
    let said = lab.ok(&plan(&["--fraction", "8", "--out", "bounds.json"]));
    assert!(said.stderr.contains("proven bounds"), "{}", said.stderr);
    let said = lab.ok(&["plan", "digits.graph.json", "--unchecked-ranges", "--quiet"]);
    assert!(said.stderr.contains("unchecked"), "a warning is not silenced: {}", said.stderr);
    let written: Value = serde_json::from_slice(&fs::read(lab.path("digits.plan.json")).unwrap()).unwrap();
    assert!(written["ranges"].is_null());
}

#[test]
fn wrong_inputs_of_plan_are_told_apart() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    lab.fails(2, &plan(&["--samples", &samples, "--fraction", "20"]));
    lab.fails(2, &plan(&["--samples", &samples, "--margin", "0.5"]));
    assert_eq!(lab.run(&plan(&["--samples", &samples, "--ring", "48"])).code, 2);
    assert!(lab.fails(15, &["plan", "none.json", "--unchecked-ranges"]).contains("none.json"));
    assert!(lab.fails(15, &plan(&["--samples", "none.idx"])).contains("none.idx"));
    let cause = lab.fails(15, &plan(&["--samples", &digits("digits-labels.idx")]));
    assert!(cause.contains("digits-labels.idx"), "{cause}");
    lab.ok(&["import", &digits("digits.onnx"), "--out", "other"]);
    let cause = lab.fails(15, &["plan", "digits.graph.json", "--weights", "other.weights.safetensors"]);
    assert!(cause.contains("other.weights.safetensors"), "{cause}");
    fs::write(lab.path("cut.json"), &fs::read(lab.path("digits.graph.json")).unwrap()[..100]).unwrap();
    lab.fails(15, &["plan", "cut.json", "--unchecked-ranges"]);
}
