//! `check` and `calibrate`.

use crate::lab::{Lab, WEIGHTS, digits};
use serde_json::Value;
use std::fs;

fn args<'a>(verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "digits.graph.json", "--weights", WEIGHTS][..], more].concat()
}

/// The result and the failure of a check that finds something.
fn found(lab: &Lab, more: &[&str]) -> (Value, Value) {
    let said = lab.run(&args("check", &[more, &["--format", "json"]].concat()));
    assert_eq!(said.code, 10, "{more:?}\n{}", said.stderr);
    (serde_json::from_str(&said.stdout).unwrap(), said.failure())
}

/// Multiplies one tensor of the weights file.
fn scale(lab: &Lab, tensor: &str, factor: f32) {
    let path = lab.path(WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..head]).unwrap();
    let at = |i: usize| head + header[tensor]["data_offsets"][i].as_u64().unwrap() as usize;
    for word in bytes[at(0)..at(1)].chunks_exact_mut(4) {
        let value = f32::from_le_bytes(word.try_into().unwrap());
        word.copy_from_slice(&(value * factor).to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_check_finds_the_digits_network_exact_in_every_variant() {
    let lab = Lab::new();
    lab.plan();
    let samples = digits("calibration-images.idx");
    let variants: [&[&str]; 5] = [
        &[],
        &["--compare", "dpf"],
        &["--rounding", "floor", "--reveal", "label"],
        &["--ring", "64"],
        &["--plan", "digits.plan.json"],
    ];
    for more in variants {
        let all = [&["--samples", &samples, "--limit", "20"], more].concat();
        let result = lab.json(&args("check", &all));
        assert_eq!(
            (&result["images"], &result["differing"], &result["wraps"]),
            (&20.into(), &0.into(), &0.into())
        );
        assert!(result["lost"].is_null() && result["trouble"].is_null(), "{result}");
        for pair in ["float_fixed", "fixed_private", "float_private"] {
            assert_eq!(result["labels"][pair], 20, "{more:?}");
        }
        let layers = result["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 11);
        let (seen, bound) =
            (layers[10]["worst_ulp"].as_f64().unwrap(), result["bound_ulp"].as_f64().unwrap());
        assert!(seen <= bound && bound < 1e5, "{seen} {bound}");
        for layer in layers {
            let number = |field: &str| layer[field].as_f64().unwrap();
            assert!(number("worst_ulp") < 100.0 && number("mean_ulp") <= number("worst_ulp"), "{layer}");
            assert!(number("headroom_bits") > 0.0 && number("peak") < number("limit"), "{layer}");
        }
    }
    let said = lab.ok(&args("check", &["--samples", &samples, "--limit", "3"]));
    assert!(
        ["float/two parties 3", "0 of 30 values differ", "ulp by the bound on rounding"]
            .iter()
            .all(|s| said.stdout.contains(s)),
        "{}",
        said.stdout
    );
}

#[test]
fn the_page_needs_nothing_else_and_is_never_overwritten_by_accident() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let check = args("check", &["--samples", &samples, "--limit", "3", "--html", "page.html"]);
    lab.ok(&check);
    let page = fs::read_to_string(lab.path("page.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 11);
    assert!(page.contains("<td>conv1</td>") && page.contains("ulp by the bound on rounding"));
    for foreign in ["<script", "http:", "https:", "src=", "href="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(lab.fails(16, &check).contains("page.html"));
    lab.ok(&[&check[..], &["--force"]].concat());
}

/// Planted: a layer whose weights are too small for the fraction, and one whose values are too large for the ring.
#[test]
fn a_bad_scale_is_found_by_the_name_of_its_layer() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let limit = ["--samples", &samples, "--limit", "10"];
    for tensor in ["conv1.weight", "conv1.bias"] {
        scale(&lab, tensor, 1.0 / 8192.0);
    }
    let (result, failure) = found(&lab, &limit);
    assert_eq!((&failure["layer"], &result["lost"]["layer"]), (&"conv1".into(), &"conv1".into()));
    assert_eq!(result["lost"]["weights"], true);
    assert_eq!(failure["what"], result["trouble"]);
    let (bits, remedy) = (result["lost"]["fraction"].to_string(), failure["remedy"].as_str().unwrap());
    assert!(remedy.contains("--fraction") && remedy.contains(&bits), "{remedy}");

    let lab = Lab::new();
    lab.plan();
    scale(&lab, "conv2.weight", 30.0);
    // Under the old plan values leave the ring; a new one is refused, and shows the table all the same.
    for more in [&["--plan", "digits.plan.json", "--html", "page.html"][..], &[]] {
        let (result, failure) = found(&lab, &[&limit[..], more].concat());
        assert_eq!(failure["layer"], "conv2", "{failure}");
        assert!(result["wraps"].as_u64().unwrap() > 0 && result["bound_ulp"].is_null());
        assert!(failure["what"].as_str().unwrap().contains("bits"), "{failure}");
    }
    assert!(fs::read_to_string(lab.path("page.html")).unwrap().contains("class=\"bad\""));
    let wide = lab.json(&args("check", &[&limit[..], &["--ring", "64"]].concat()));
    assert_eq!((&wide["wraps"], &wide["differing"]), (&0.into(), &0.into()));

    scale(&lab, "conv1.weight", 1e3);
    let said =
        lab.run(&args("check", &[&limit[..], &["--plan", "digits.plan.json", "--format", "json"]].concat()));
    assert_eq!((said.code, &said.failure()["layer"]), (10, &"conv1".into()), "{}", said.stderr);
}

#[test]
fn ranges_within_the_ring_but_not_within_the_margin_are_told_with_the_table() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let (result, failure) = found(&lab, &["--samples", &samples, "--limit", "5", "--margin", "20"]);
    assert_eq!((&result["wraps"], &result["differing"]), (&0.into(), &0.into()));
    assert!(failure["what"].as_str().unwrap().contains("margin 20"), "{failure}");
}

#[test]
fn wrong_inputs_of_check_and_calibrate_are_told_apart() {
    let lab = Lab::new();
    lab.plan();
    let samples = digits("calibration-images.idx");
    let with = |verb, more: &[&'static str]| {
        let all = [args(verb, &["--samples", &samples]), more.to_vec()].concat();
        all.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let fails =
        |code: i32, all: Vec<String>| lab.fails(code, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(lab.fails(2, &args("check", &[])).contains("samples"));
    fails(2, with("check", &["--tolerance", "0"]));
    fails(2, with("check", &["--margin", "0.5"]));
    fails(2, with("check", &["--fraction", "20"]));
    fails(2, with("calibrate", &["--margin", "nan"]));
    for bad in [
        &["--limit", "0"][..],
        &["--plan", "digits.plan.json", "--ring", "64"],
        &["--plan", "p", "--margin", "2"],
    ] {
        let all = with("check", bad);
        assert_eq!(lab.run(&all.iter().map(String::as_str).collect::<Vec<_>>()).code, 2, "{bad:?}");
    }
    assert_eq!(lab.run(&["check", "digits.graph.json", "--samples", &samples]).code, 2);
    assert_eq!(lab.run(&["calibrate", "digits.graph.json"]).code, 2);
    for verb in ["check", "calibrate"] {
        assert!(lab.fails(15, &args(verb, &["--samples", "none.idx"])).contains("none.idx"));
        let cause = lab.fails(15, &args(verb, &["--samples", &digits("digits-labels.idx")]));
        assert!(cause.contains("digits-labels.idx"), "{cause}");
        let cause = lab.fails(15, &[verb, "none.json", "--weights", WEIGHTS, "--samples", &samples]);
        assert!(cause.contains("none.json"), "{cause}");
    }
    fails(15, with("check", &["--plan", "none.plan.json"]));
    lab.ok(&["import", &digits("digits.onnx"), "--out", "other"]);
    let other =
        ["check", "other.graph.json", "--weights", "other.weights.safetensors", "--samples", &samples];
    let cause = lab.fails(6, &[&other[..], &["--plan", "digits.plan.json"]].concat());
    assert!(cause.contains("digits.plan.json"), "{cause}");
}

#[test]
fn calibration_finds_the_most_bits_that_plan_accepts() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    let result = lab.json(&args("calibrate", &["--samples", &samples]));
    assert_eq!((&result["margin"], &result["refused"]), (&1.5.into(), &Value::Array(vec![])));
    for fit in result["rings"].as_array().unwrap() {
        let number = |field: &str| fit[field].as_u64().unwrap();
        let (ring, fraction) = (number("ring").to_string(), number("fraction"));
        assert_eq!(number("truncated"), number("ring") - fraction);
        let layers = fit["layers"].as_array().unwrap();
        assert!(layers.iter().any(|layer| layer["name"] == fit["bottleneck"]));
        for layer in layers {
            let number = |field: &str| layer[field].as_f64().unwrap();
            assert!(number("observed") * 1.5 <= number("limit") && number("headroom_bits") >= 0.0, "{layer}");
            assert!(layer["proof"].as_str().unwrap().contains("<="), "{layer}");
        }
        let plan = |fraction: u64| {
            let fraction = fraction.to_string();
            let more = ["--samples", &samples, "--ring", &ring, "--fraction", &fraction, "--force"];
            lab.run(&args("plan", &more)).code
        };
        assert_eq!(plan(fraction), 0);
        assert_ne!(plan(fraction + 1), 0);
    }
    // The recommended line is one that can be run.
    let command = result["recommended"]["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).chain(["--force"]).collect();
    lab.ok(&words);
    let said = lab.ok(&args("calibrate", &["--samples", &samples, "--margin", "2"]));
    assert!(said.stdout.contains("--margin 2 --ring") && said.stdout.contains("<= 2^"), "{}", said.stdout);
}

#[test]
fn calibration_without_samples_takes_bounds_and_says_so() {
    let lab = Lab::new();
    lab.import();
    let result = lab.json(&args("calibrate", &[]));
    assert_eq!((&result["samples"], &result["margin"]), (&0.into(), &1.01.into()));
    let observed = |of: &Value| of["rings"][0]["layers"][1]["observed"].as_f64().unwrap();
    let samples = digits("calibration-images.idx");
    let seen = lab.json(&args("calibrate", &["--samples", &samples]));
    assert!(observed(&result) > observed(&seen));
    let said = lab.ok(&args("calibrate", &[]));
    assert!(
        said.stderr.contains("proven bounds") && said.stdout.contains("bounds for any byte image"),
        "{}",
        said.stderr
    );
}

#[test]
fn what_fits_no_ring_is_exit_10_with_the_layer_the_bits_and_a_way_out() {
    let lab = Lab::new();
    lab.import();
    let samples = digits("calibration-images.idx");
    scale(&lab, "fc2.weight", 1e7);
    let result = lab.json(&args("calibrate", &["--samples", &samples]));
    assert_eq!((&result["refused"][0]["ring"], &result["refused"][0]["layer"]), (&32.into(), &"fc2".into()));
    assert_eq!(result["recommended"]["ring"], 64);
    scale(&lab, "fc2.weight", 1e9);
    let said = lab.run(&args("calibrate", &["--samples", &samples, "--format", "json"]));
    assert_eq!((said.code, said.stdout.as_str()), (10, ""), "{}", said.stderr);
    let failure = said.failure();
    assert_eq!(failure["layer"], "fc2");
    assert!(failure["what"].as_str().unwrap().contains("bits"), "{failure}");
    assert!(failure["remedy"].as_str().unwrap().contains("normalise"), "{failure}");
}
