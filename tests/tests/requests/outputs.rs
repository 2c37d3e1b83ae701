//! What the data owner is shown for networks with one output, and for outputs that are no classes; and images that the plan
//! was not made for, which cost nothing.

use serde_json::Value;
use twoply_nn::data::npy;
use twoply_nn::{
    Evaluator, Graph, Input, Node, Normalise, Op, Options, Param, Plan, Role, Source, Weights, calibrate,
};
use twoply_tests::model::PLAIN;
use twoply_tests::{SOON, World};

const IMAGES: usize = 6;

/// Numbers in -1..1.
fn numbers(count: usize) -> Vec<f32> {
    let unit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (1..=count as u64).map(unit).collect()
}

/// A world whose parties run this network on rows of four numbers; and what the float network says of its images.
fn world(graph: Graph, weights: Weights) -> (World, Vec<Vec<f32>>) {
    let x = numbers(4 * IMAGES);
    let ranges = calibrate(&graph, &weights, &x, &vec![(-1.0, 1.0); graph.input.channels()]).unwrap();
    let want = Evaluator::new(&graph, &weights).unwrap().run(&x).unwrap();
    let world = World::new(PLAIN);
    let shape: Vec<usize> = std::iter::once(IMAGES).chain(graph.input.shape.iter().copied()).collect();
    world.write("weights", &weights.to_safetensors(&graph).unwrap());
    world.write("x.npy", &npy::write(&shape, &x).unwrap());
    let far: Vec<f32> = x.iter().map(|v| v * 4.0).collect();
    world.write("far.npy", &npy::write(&shape, &far).unwrap());
    let plan = Plan::new(graph, Options::default(), Some(ranges)).unwrap();
    world.write("plan.json", plan.to_json().unwrap().as_bytes());
    world.deal("keys", "plan.json", 4 * IMAGES as u64, 8).is(0);
    (world, want)
}

fn score() -> (Graph, Weights) {
    let graph = Graph {
        name: "score".into(),
        input: Input {
            name: "x".into(),
            shape: vec![4],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![Param { name: "w".into(), shape: vec![1, 4], role: Role::Weight }],
        nodes: vec![Node {
            name: "fc".into(),
            op: Op::Linear { weight: 0, bias: None },
            inputs: vec![Source::Input],
        }],
    };
    (graph, Weights(vec![vec![1.0, -0.5, 0.75, 0.25]]))
}

fn map() -> (Graph, Weights) {
    let graph = Graph {
        name: "map".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, 2, 2],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![],
        nodes: vec![Node { name: "relu".into(), op: Op::Relu, inputs: vec![Source::Input] }],
    };
    (graph, Weights(vec![]))
}

fn near(logits: &Value, want: &[Vec<f32>]) {
    let rows = logits.as_array().unwrap();
    assert_eq!(rows.len(), want.len());
    for (row, want) in rows.iter().zip(want) {
        let row: Vec<f64> = row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(row.iter().zip(want).all(|(a, b)| (a - f64::from(*b)).abs() < 0.01), "{row:?} {want:?}");
    }
}

#[test]
fn the_sign_of_one_score_decides_and_the_score_is_shown() {
    let (graph, weights) = score();
    let (world, want) = world(graph, weights);
    let signs: Vec<usize> = want.iter().map(|y| usize::from(y[0] > 0.0)).collect();
    assert!(signs.contains(&0) && signs.contains(&1));
    let truth: Vec<u8> = signs.iter().map(|s| *s as u8).collect();
    world.write("y.npy", &npy::write_bytes(&[IMAGES], &truth).unwrap());
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    let (images, labels, weights) = (world.path("x.npy"), world.path("y.npy"), world.path("weights"));
    let asked = ["--images", &images, "--labels", &labels, "--weights", &weights];
    let json = world.call("infer", "client", &pair, &asked).wait(SOON).json();
    assert_eq!(twoply_tests::world::labels(&json), signs);
    near(&json["logits"], &want);
    assert_eq!(json["output"]["kind"], "score");
    for count in ["correct_private", "correct_plain", "agree"] {
        assert_eq!(json[count], IMAGES, "{count}");
    }
    let text = world.call("infer", "client", &pair, &["--images", &images, "--format", "text"]).wait(SOON);
    text.is(0).says(&["class 1 where it is above 0"]);
    let shown: Vec<(&str, &str)> = text.out.lines().map(|l| l.split_once('\t').unwrap()).collect();
    assert_eq!(shown.len(), IMAGES);
    for ((label, score), (sign, y)) in shown.iter().zip(signs.iter().zip(&want)) {
        assert_eq!(*label, sign.to_string());
        assert!((score.parse::<f32>().unwrap() - y[0]).abs() < 0.01, "{score} {y:?}");
    }

    // Images beyond the samples leave the keys alone, unless their owner insists.
    let far = world.path("far.npy");
    let ended = world.call("infer", "client", &pair, &["--images", &far]).wait(SOON);
    ended.is(10).says(&["beyond what the plan was checked for", "--allow-out-of-range"]);
    let more = ["--images", &far, "--allow-out-of-range"];
    world.call("infer", "client", &pair, &more).wait(SOON).is(0).says(&["labels may be wrong"]);
    for report in pair.stop() {
        assert_eq!(report["images"], 3 * IMAGES, "the refused request cost nothing");
    }
}

#[test]
fn outputs_that_are_no_classes_are_values_with_their_shape() {
    let (graph, weights) = map();
    let (world, want) = world(graph, weights);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    let (images, weights) = (world.path("x.npy"), world.path("weights"));
    let asked = ["--images", &images, "--weights", &weights];
    let json = world.call("infer", "client", &pair, &asked).wait(SOON).json();
    assert!(json["labels"].is_null() && json["agree"].is_null(), "{json}");
    assert_eq!(json["output"], serde_json::json!({"kind": "values", "shape": [1, 2, 2]}));
    near(&json["logits"], &want);
    let text = world.call("infer", "client", &pair, &["--images", &images, "--format", "text"]).wait(SOON);
    text.is(0).says(&["has no label"]);
    assert!(
        text.out.lines().count() == IMAGES && text.out.lines().all(|l| l.split(' ').count() == 4),
        "{}",
        text.out
    );
    pair.stop();
}
