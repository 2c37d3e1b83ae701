//! Images that a plan was not made for, weights that do not fit it, outputs without labels: found before anybody is called.

use crate::lab::{Lab, Said, WEIGHTS, digits};
use serde_json::Value;
use std::fs;
use twoply_nn::data::{FORMATS, npy};
use twoply_nn::{Graph, Input, Node, Normalise, Op, Param, Role, Source, Weights};

/// Layers one after the other, each with a weight `[out, in]`, on inputs `[in]`; ReLUs between them. Writes `NAME.graph.json`
/// and its weights.
fn mlp(lab: &Lab, name: &str, layers: &[(usize, Vec<f32>)], inputs: usize) {
    let (mut params, mut nodes, mut before) = (vec![], vec![], inputs);
    for (i, (outputs, _)) in layers.iter().enumerate() {
        let source = |nodes: &Vec<Node>| nodes.len().checked_sub(1).map_or(Source::Input, Source::Node);
        if i > 0 {
            let inputs = vec![source(&nodes)];
            nodes.push(Node { name: format!("relu{i}"), op: Op::Relu, inputs });
        }
        let op = Op::Linear { weight: i, bias: None };
        let inputs = vec![source(&nodes)];
        nodes.push(Node { name: format!("fc{}", i + 1), op, inputs });
        params.push(Param { name: format!("W{i}"), shape: vec![*outputs, before], role: Role::Weight });
        before = *outputs;
    }
    let weights = Weights(layers.iter().map(|l| l.1.clone()).collect());
    let input = Input {
        name: "x".into(),
        shape: vec![inputs],
        normalise: Normalise::default(),
        layout: Default::default(),
    };
    write(lab, &Graph { name: name.into(), input, params, nodes }, &weights);
}

fn write(lab: &Lab, graph: &Graph, weights: &Weights) {
    let name = &graph.name;
    fs::write(lab.path(&format!("{name}.graph.json")), graph.to_json()).unwrap();
    let bytes = weights.to_safetensors(graph).unwrap();
    fs::write(lab.path(&format!("{name}.weights.safetensors")), bytes).unwrap();
}

/// Rows of numbers in -1..1, times `scale`.
fn numbers(count: usize, scale: f32) -> Vec<f32> {
    let unit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (1..=count as u64).map(|i| unit(i) * scale).collect()
}

fn array(lab: &Lab, name: &str, shape: &[usize], values: &[f32]) {
    fs::write(lab.path(name), npy::write(shape, values).unwrap()).unwrap();
}

fn plan(lab: &Lab, name: &str, more: &[&str]) -> Said {
    let (graph, weights) = (format!("{name}.graph.json"), format!("{name}.weights.safetensors"));
    let args = ["plan", &graph, "--weights", &weights, "--format", "json"];
    lab.run(&[&args[..], more].concat())
}

/// `infer` on a machine without an identity: exit 3 says that the images were taken and somebody would have been called.
fn infer(lab: &Lab, plan: &str, images: &str, more: &[&str]) -> Said {
    let places = ["--p0", "127.0.0.1:1", "--p0-key", "x", "--p1", "127.0.0.1:2", "--p1-key", "y"];
    let args = ["infer", plan, "--images", images, "--format", "json"];
    lab.run(&[&args[..], &places, more].concat())
}

#[test]
fn images_beyond_the_samples_are_refused_before_anybody_is_called() {
    let lab = Lab::new();
    mlp(&lab, "net", &[(6, numbers(24, 1.0)), (3, numbers(18, 1.0))], 4);
    array(&lab, "samples.npy", &[50, 4], &numbers(200, 1.0));
    assert_eq!(plan(&lab, "net", &["--samples", "samples.npy"]).code, 0);
    let mut images = numbers(80, 1.0);
    array(&lab, "like.npy", &[20, 4], &images);
    (images[13], images[62]) = (-40.0, 7.0);
    array(&lab, "far.npy", &[20, 4], &images);
    assert_eq!(infer(&lab, "net.plan.json", "like.npy", &[]).code, 3);
    let said = infer(&lab, "net.plan.json", "far.npy", &[]);
    assert_eq!(said.code, 10, "{}", said.stderr);
    let (what, remedy) = (said.failure()["what"].clone(), said.failure()["remedy"].clone());
    for part in ["2 of 20 images (3, 15)", "40.000", "margin of 1.5"] {
        assert!(what.as_str().unwrap().contains(part), "{part} in {what}");
    }
    assert!(remedy.as_str().unwrap().contains("--allow-out-of-range"), "{remedy}");
    let said = infer(&lab, "net.plan.json", "far.npy", &["--allow-out-of-range"]);
    assert_eq!(said.code, 3);
    assert!(
        said.stderr.contains("warning: 2 of 20 images") && said.stderr.contains("may be wrong"),
        "{}",
        said.stderr
    );
    // They have the numbers of the file wherever one begins.
    let rest = infer(&lab, "net.plan.json", "far.npy", &["--from", "5"]);
    assert!(rest.stderr.contains("1 of 15 images (15)"), "{}", rest.stderr);
    // Images that are not asked for need not fit.
    assert_eq!(infer(&lab, "net.plan.json", "far.npy", &["--limit", "3"]).code, 3);
    // A check of this plan looks at the same thing.
    let check =
        ["check", "net.graph.json", "--weights", "net.weights.safetensors", "--plan", "net.plan.json"];
    assert!(lab.fails(10, &[&check[..], &["--samples", "far.npy"]].concat()).contains("2 of 20"));
    lab.ok(&[&check[..], &["--samples", "like.npy"]].concat());
    // Nothing is known of a plan without ranges, and it says so.
    let said = lab.ok(&["plan", "net.graph.json", "--unchecked-ranges", "--out", "any.json"]);
    assert!(said.stderr.contains("nothing is known of the images"), "{}", said.stderr);
    let said = infer(&lab, "any.json", "far.npy", &[]);
    assert_eq!(said.code, 3);
    assert!(said.stderr.contains("knows no ranges"), "{}", said.stderr);
}

#[test]
fn images_of_another_scale_are_named_with_the_cause() {
    let lab = Lab::new();
    lab.plan();
    let idx = fs::read(digits("digits-images.idx")).unwrap();
    let pixels = &idx[16..16 + 64 * 8];
    let file = |name: &str, f: fn(f32) -> f32| {
        let values: Vec<f32> = pixels.iter().map(|b| f(f32::from(*b))).collect();
        array(&lab, name, &[8, 1, 8, 8], &values);
    };
    file("raw.npy", |v| v);
    file("unit.npy", |v| v / 16.0);
    file("normalised.npy", |v| (v / 16.0 - 0.3125) / 0.5);
    let run = |file: &str, more: &[&str]| infer(&lab, "digits.plan.json", file, more);
    for (file, more) in [("raw.npy", &[][..]), ("normalised.npy", &["--normalised"])] {
        let said = run(file, more);
        assert_eq!((said.code, said.stderr.contains("warning")), (3, false), "{file}: {}", said.stderr);
    }
    let said = run("unit.npy", &[]);
    assert_eq!(said.code, 15, "{}", said.stderr);
    let failure = said.failure();
    assert!(failure["what"].as_str().unwrap().contains("look like values in 0..1"), "{failure}");
    assert!(failure["remedy"].as_str().unwrap().contains("multiply them by 16"), "{failure}");
    let said = run("normalised.npy", &[]);
    assert_eq!(said.code, 15, "{}", said.stderr);
    assert!(said.failure()["what"].as_str().unwrap().contains("look normalised already"), "{}", said.stderr);
    assert!(said.failure()["remedy"].as_str().unwrap().contains("--normalised"), "{}", said.stderr);
    assert_eq!(run("normalised.npy", &["--allow-out-of-range"]).code, 3);
    let said = run("raw.npy", &["--normalised"]);
    assert_eq!(said.code, 10, "{}", said.stderr);
    assert!(said.failure()["remedy"].as_str().unwrap().contains("leave out --normalised"), "{}", said.stderr);
    let said = run("unit.npy", &["--normalised"]);
    assert!(
        said.code == 3 && said.stderr.contains("warning: the images look like values in 0..1"),
        "{}",
        said.stderr
    );
    // Samples of another scale than the graph's are told when it is planned.
    let more =
        ["plan", "digits.graph.json", "--weights", WEIGHTS, "--samples", "unit.npy", "--out", "bad.json"];
    let said = lab.ok(&more);
    assert!(said.stderr.contains("warning: the samples lie in 0.000..1.000"), "{}", said.stderr);
    let said = lab.ok(&[&more[..4], &["--samples", "raw.npy", "--out", "good.json"]].concat());
    assert!(
        !said.stderr.contains("warning") && said.stdout.contains("raw values of 8 samples: 0.0000..16.0000"),
        "{}",
        said.stderr
    );
    let plan: Value = serde_json::from_slice(&fs::read(lab.path("good.json")).unwrap()).unwrap();
    assert_eq!(plan["ranges"]["raw"]["channels"][0]["high"], 16.0);
}

/// The second layer has a weight beyond the ring, and the values fit.
#[test]
fn weights_beyond_the_ring_are_refused_when_planning_by_the_name_of_their_layer() {
    let lab = Lab::new();
    let mut second = vec![0.01; 12];
    second[5] = 93.0;
    mlp(&lab, "net", &[(4, numbers(16, 0.05)), (3, second)], 4);
    array(&lab, "samples.npy", &[20, 4], &numbers(80, 1.0));
    let said = plan(&lab, "net", &["--samples", "samples.npy"]);
    assert_eq!(said.code, 10, "{}", said.stderr);
    let failure = said.failure();
    assert_eq!(failure["layer"], "fc2");
    assert!(failure["what"].as_str().unwrap().contains("layer `fc2`: a weight of 93.000"), "{failure}");
    assert!(failure["remedy"].as_str().unwrap().contains("--ring 32 --fraction 11"), "{failure}");
    assert!(!lab.path("net.plan.json").exists());
    assert_eq!(plan(&lab, "net", &["--samples", "samples.npy", "--fraction", "11"]).code, 0);
    // A plan that never saw the weights: their owner is told before anybody is called.
    lab.ok(&["plan", "net.graph.json", "--unchecked-ranges", "--out", "any.json"]);
    let places = ["--p0", "127.0.0.1:1", "--p0-key", "x", "--p1", "127.0.0.1:2", "--p1-key", "y"];
    let provision = ["provision", "any.json", "--weights", "net.weights.safetensors", "--format", "json"];
    let said = lab.run(&[&provision[..], &places].concat());
    assert_eq!((said.code, &said.failure()["layer"]), (10, &"fc2".into()), "{}", said.stderr);
}

#[test]
fn weights_below_an_ulp_are_told_with_what_would_help() {
    let lab = Lab::new();
    mlp(&lab, "net", &[(4, numbers(16, 2e-4)), (3, numbers(12, 1.0))], 4);
    array(&lab, "samples.npy", &[20, 4], &numbers(80, 1.0));
    let said = plan(&lab, "net", &["--samples", "samples.npy"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let precision = serde_json::from_str::<Value>(&said.stdout).unwrap()["precision"].clone();
    let faint = precision["faint"].as_array().unwrap();
    assert!(
        faint.len() == 1 && faint[0]["layer"] == "fc1" && faint[0]["relative"].as_f64().unwrap() > 0.1,
        "{precision}"
    );
    assert!(faint[0]["zeros"].as_f64().unwrap() > 0.2, "{precision}");
    for part in ["warning: layer `fc1`", "recommends --ring 32 --fraction 14"] {
        assert!(said.stderr.contains(part), "{part} in {}", said.stderr);
    }
    let calibrated =
        ["calibrate", "net.graph.json", "--weights", "net.weights.safetensors", "--samples", "samples.npy"];
    assert_eq!(lab.json(&calibrated)["recommended"]["fraction"], 14);
    // What keeps all weights is named too, and works.
    let best = precision["better"].as_array().unwrap().last().unwrap();
    let (ring, fraction) = (best["ring"].to_string(), best["fraction"].to_string());
    let said =
        plan(&lab, "net", &["--samples", "samples.npy", "--force", "--ring", &ring, "--fraction", &fraction]);
    assert!(said.code == 0 && !said.stderr.contains("warning"), "{}", said.stderr);
    mlp(&lab, "fine", &[(4, numbers(16, 0.2)), (3, numbers(12, 1.0))], 4);
    let said = plan(&lab, "fine", &["--samples", "samples.npy"]);
    assert!(said.code == 0 && !said.stderr.contains("warning"), "{}", said.stderr);
}

#[test]
fn outputs_without_labels_are_told_when_planning_and_cannot_be_compared() {
    let lab = Lab::new();
    mlp(&lab, "score", &[(1, numbers(4, 1.0))], 4);
    array(&lab, "samples.npy", &[20, 4], &numbers(80, 1.0));
    let said = plan(&lab, "score", &["--samples", "samples.npy", "--reveal", "label"]);
    assert_eq!(said.code, 15, "{}", said.stderr);
    assert!(said.failure()["what"].as_str().unwrap().contains("a gate of its own"), "{}", said.stderr);
    let said = plan(&lab, "score", &["--samples", "samples.npy"]);
    let bill: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(bill["output"], serde_json::json!({"kind": "score"}));

    let input = Input {
        name: "x".into(),
        shape: vec![1, 2, 2],
        normalise: Normalise::default(),
        layout: Default::default(),
    };
    let nodes = vec![Node { name: "relu".into(), op: Op::Relu, inputs: vec![Source::Input] }];
    write(&lab, &Graph { name: "map".into(), input, params: vec![], nodes }, &Weights(vec![]));
    array(&lab, "maps.npy", &[20, 2, 2], &numbers(80, 1.0));
    let said = plan(&lab, "map", &["--samples", "maps.npy", "--reveal", "label"]);
    assert_eq!(said.code, 15, "{}", said.stderr);
    assert!(said.failure()["what"].as_str().unwrap().contains("[1, 2, 2]"), "{}", said.stderr);
    assert_eq!(plan(&lab, "map", &["--samples", "maps.npy"]).code, 0);
    let said = infer(&lab, "map.plan.json", "maps.npy", &["--labels", &digits("digits-labels.idx")]);
    assert_eq!(said.code, 15, "{}", said.stderr);
    assert!(said.failure()["what"].as_str().unwrap().contains("it has no label"), "{}", said.stderr);
    assert_eq!(infer(&lab, "map.plan.json", "maps.npy", &[]).code, 3);
    let check = ["check", "map.graph.json", "--weights", "map.weights.safetensors", "--samples", "maps.npy"];
    assert!(lab.json(&check)["labels"].is_null());
    assert!(lab.ok(&check).stdout.contains("no labels to compare"));
    let check =
        ["check", "score.graph.json", "--weights", "score.weights.safetensors", "--samples", "samples.npy"];
    assert_eq!(lab.json(&check)["labels"]["fixed_private"], 20);
}

#[test]
fn an_example_shows_that_the_import_is_the_model() {
    let lab = Lab::new();
    let idx = fs::read(digits("digits-images.idx")).unwrap();
    let logits = fs::read(digits("digits.logits.npy")).unwrap();
    let logits = npy::read(&logits).unwrap().values(|v| v as f32);
    let normalised = |b: &u8| (f32::from(*b) / 16.0 - 0.3125) / 0.5;
    let x: Vec<f32> = idx[16..16 + 64 * 5].iter().map(normalised).collect();
    array(&lab, "x.npy", &[5, 1, 8, 8], &x);
    let mut y = logits[..50].to_vec();
    array(&lab, "y.npy", &[5, 10], &y);
    y[23] += 0.5;
    array(&lab, "other.npy", &[5, 10], &y);
    array(&lab, "short.npy", &[4, 10], &y[..40]);
    let model = digits("digits.onnx");
    let import = |more: &'static [&'static str]| {
        [&["import", &model, "--scale", "1/16", "--mean", "0.3125", "--std", "0.5"], more].concat()
    };
    let fails = |code, more| lab.fails(code, &import(more));
    let cause = fails(15, &["--example", "x.npy", "--expect", "other.npy"]);
    assert!(cause.contains("not the model") && cause.contains("image 2, output 3"), "{cause}");
    assert!(fails(15, &["--example", "x.npy", "--expect", "short.npy"]).contains("5 images"));
    assert!(fails(15, &["--example", "y.npy", "--expect", "y.npy"]).contains("wanted some of [1, 8, 8]"));
    assert!(!lab.path("digits.graph.json").exists(), "nothing is written");
    let found = lab.json(&import(&["--example", "x.npy", "--expect", "y.npy"]));
    assert_eq!(found["example"]["images"], 5);
    assert!(found["example"]["worst"].as_f64().unwrap() < 1e-3, "{found}");
}

#[test]
fn tables_are_read_by_columns_and_refused_by_cell() {
    let lab = Lab::new();
    mlp(&lab, "net", &[(6, numbers(24, 1.0)), (3, numbers(18, 1.0))], 4);
    let rows = |end: &str| {
        let row = |row: &[f32]| format!("{},{},{},{},1\n", row[0], row[1], row[2], row[3]);
        let rows: String = numbers(80, 1.0).chunks(4).map(row).collect();
        format!("a,b,c,\"d, e\",label\n{rows}{end}")
    };
    fs::write(lab.path("rows.csv"), rows("")).unwrap();
    fs::write(lab.path("gap.csv"), rows("1,,0,0,1\n")).unwrap();
    assert_eq!(plan(&lab, "net", &["--samples", "rows.csv:1-4"]).code, 0);
    let said = infer(&lab, "net.plan.json", "rows.csv:1-4", &["--labels", "rows.csv:label", "--normalised"]);
    assert_eq!(said.code, 3, "{}", said.stderr);
    for (images, words) in [
        ("rows.csv", &["rows.csv", "shape [5]", "perhaps its label"][..]),
        ("gap.csv:1-4", &["gap.csv:1-4", "line 22, column 2 (`b`)", "the cell is empty"]),
        ("rows.csv:1-3,f", &["no column is called or numbered `f`", "a, b, c, d, e, label"]),
    ] {
        let said = infer(&lab, "net.plan.json", images, &[]);
        assert_eq!(said.code, 15, "{}", said.stderr);
        words.iter().for_each(|word| assert!(said.stderr.contains(word), "{word:?} in {}", said.stderr));
    }
    let said = infer(&lab, "net.plan.json", "rows.csv:1-4", &["--labels", "rows.csv"]);
    assert!(said.code == 15 && said.stderr.contains("file.csv:label"), "{}", said.stderr);
}

#[test]
fn help_lists_what_is_read() {
    let said = Lab::new().ok(&["infer", "--help"]);
    for (name, what) in FORMATS {
        assert!(said.stdout.contains(&format!("  {name:<7} {what}\n")), "{name} in {}", said.stdout);
    }
}
