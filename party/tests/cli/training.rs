//! `train plan`: a run's bill beside an independent count, and everything that does not train.

use crate::lab::Lab;
use serde_json::Value;
use twoply_nn::Graph;

/// Steps of 16 of 96 rows, for two epochs, with a checkpoint every five and an accuracy every four.
const RUN: [&str; 17] = [
    "train",
    "plan",
    "digits.graph.json",
    "--rows",
    "96",
    "--batch",
    "16",
    "--epochs",
    "2",
    "--checkpoint",
    "5",
    "--share=data=rows:96",
    "--share=judge=held:40",
    "--reveal=accuracy=judge:4",
    "--rate=1/32",
    "--unchecked-ranges",
    "--force",
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_bill_has_disk_and_memory() {
    let lab = Lab::new();
    lab.import();
    let bill = lab.json(&RUN);
    let graph = Graph::from_json(&std::fs::read(lab.path("digits.graph.json")).unwrap()).unwrap();
    let params: u64 = graph.params.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum();
    // weights and velocities, each as a masked value and a share of its mask; header and digests
    let checkpoint = 2 * 2 * 4 * params + 232;
    // 64 pixels and ten targets of four bytes, a salt for each chunk, a page and an owner for each data key set
    let rows = (96 + 40) * 74 * 4 + 2 * 32 + 2 * (4096 + 51);
    // 12 steps: three checkpoints, three figures of a header, a number and two digests. Records: four of each data key set; of the run
    // itself, two key sets, start, attempt, checkpoints, figures, end and delivery
    let (ledgers, figures) = (64 * (2 * 4 + 1 + 2 + 1 + 1 + 3 + 3 + 1 + 1), 3 * (12 + 4 + 32 + 32));
    let party = &bill["disk"]["party"];
    let left = rows + checkpoint + ledgers + figures;
    let wanted = serde_json::json!({
        "rows": rows, "checkpoint": checkpoint, "checkpoints": 2, "ledgers": ledgers, "figures": figures, "left": left,
        "most": left + checkpoint,
    });
    assert_eq!(*party, wanted);
    let dealer = &bill["disk"]["dealer"];
    assert_eq!((&dealer["rows"], &dealer["figures"]), (&(4 * 4096).into(), &0.into()));
    assert_eq!((&dealer["checkpoint"], &dealer["checkpoints"]), (&checkpoint.into(), &2.into()));

    // P1 holds keys of some steps, up to a cap; rows weigh on both
    let memory = |bill: &Value| {
        let of = |v: &Value| v.as_u64().unwrap();
        let m = &bill["memory_estimate"];
        [of(&m["dealer"]), of(&m["parties"][0]), of(&m["parties"][1])]
    };
    let [dealer, p0, p1] = memory(&bill);
    assert!(p0 < p1 && dealer > 50_000_000 && p1 < 200_000_000, "{dealer} {p0} {p1}");
    let more = [&RUN[..3], &["--rows=1000096"], &RUN[5..11], &RUN[14..]].concat();
    let [same, p0_rows, p1_rows] = memory(&lab.json(&more));
    assert_eq!(same, dealer);
    assert!(p0_rows > p0 + 296_000_000 && p1_rows > p1 + 296_000_000, "{p0_rows} {p1_rows}");

    assert!(bill["time"].is_null());
    let said = lab.ok(&RUN).stdout;
    for part in ["disk of each party: ", "memory, by estimate, with keys of 3 steps ahead: dealer "] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("rehearsed"), "{said}");
    assert_eq!(lab.run(&[&RUN[..], &["--link", "wan"]].concat()).code, 2, "a link of no times");
}

/// Peaks in megabytes of dealer, P0 and P1 as README's table of training has them: 60 steps of 128 rows.
fn measured(readme: &str, network: &str) -> [f64; 3] {
    let start = format!("| {network} | ");
    let peaks = |line: &str| {
        let last = line.strip_suffix(" MB |")?.rsplit(" | ").next()?;
        let all: Option<Vec<f64>> = last.split(", ").map(|peak| peak.parse().ok()).collect();
        all?.try_into().ok()
    };
    let row = readme.lines().filter(|line| line.starts_with(&start)).find_map(peaks);
    row.unwrap_or_else(|| panic!("README has no peaks of {network}"))
}

#[test]
fn memory_is_estimated_near_what_was_measured() {
    let lab = Lab::new();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    for (name, shown) in [("network-1", "Network-1"), ("network-2", "Network-2"), ("lenet", "LeNet")] {
        lab.ok(&["import", "--zoo", name, "--out", name]);
        let graph = format!("{name}.graph.json");
        let run = ["train", "plan", &graph, "--rows=7680", "--batch=128", "--epochs=1", "--unchecked-ranges"];
        let bill = lab.json(&run);
        let m = &bill["memory_estimate"];
        let found = [&m["dealer"], &m["parties"][0], &m["parties"][1]];
        for (found, peak) in found.into_iter().zip(measured(&readme, shown)) {
            let off = number(found) / (peak * 1e6) - 1.0;
            assert!(off.abs() < 0.1, "{name}: {found} where {peak} MB were measured, off by {off:.3}");
        }
    }
}

/// Times are not tested, only what they must add up to.
#[test]
fn a_forecast_adds_the_link_to_rehearsed_steps() {
    let lab = Lab::new();
    lab.import();
    let bill = |link: &str| lab.json(&[&RUN[..], &["--time", "--link", link]].concat());
    let (near, far) = (bill("loopback"), bill("wan"));
    let of = |bill: &Value, what: &str| number(&bill["time"][what]);
    let (rounds, sent) = (number(&far["step"]["rounds"]), number(&far["step"]["bytes"]));
    // half a round trip of 40 ms a message in sequence, and bytes at 400 Mbit/s
    let added = of(&far, "waiting") - of(&near, "waiting");
    assert!((added - (rounds * 0.02 + sent * 8.0 / 400e6)).abs() < 1e-9, "{added} for {rounds} messages");
    for bill in [&near, &far] {
        assert!(of(bill, "dealing") > 0.0 && of(bill, "computing") > 0.0);
        assert!(of(bill, "step") >= of(bill, "dealing") + of(bill, "computing") + of(bill, "waiting"));
        // twelve steps, and three figures behind them
        assert!(of(bill, "run") > 12.0 * of(bill, "step"));
    }
    // all messages of the run wait
    assert!(of(&far, "run") > number(&far["total"]["rounds"]) * 0.02);
    assert!(number(&far["total"]["rounds"]) > 12.0 * rounds);
    let said = lab.ok(&[&RUN[..], &["--time", "--link", "wan"]].concat()).stdout;
    assert!(said.contains("this machine, link wan (emulated), 40 ms, 400 Mbit/s: a step takes "), "{said}");
}

/// A mean over 3,600 places, a normalisation of one place per channel, and more classes than a softmax has.
#[test]
fn everything_that_does_not_train_is_named_at_once() {
    let lab = Lab::new();
    let node =
        |name: &str, op: Value, input: Value| serde_json::json!({"name": name, "op": op, "inputs": [input]});
    let window = |side: u32| serde_json::json!({"kernel": [side, side], "stride": [1, 1], "pad": [0, 0, 0, 0], "dilation": [1, 1]});
    let param = |name: &str, shape: &[u32], role: &str| serde_json::json!({"name": name, "shape": shape, "role": role});
    let conv = serde_json::json!({"conv2d": {"weight": 0, "bias": null, "window": window(1), "groups": 1}});
    let mean = serde_json::json!({"avg_pool": {"window": window(60), "count_include_pad": true}});
    let norm =
        serde_json::json!({"batch_norm": {"gamma": 1, "beta": 2, "mean": 3, "variance": 4, "epsilon": 1e-5}});
    let graph = serde_json::json!({
        "name": "hopeless",
        "input": {"name": "x", "shape": [1, 60, 60], "normalise": {"scale": 1.0, "mean": [], "std": []}},
        "params": [
            param("w", &[1, 1, 1, 1], "weight"),
            param("gamma", &[1], "factor"),
            param("beta", &[1], "bias"),
            param("mu", &[1], "mean"),
            param("variance", &[1], "variance"),
            param("v", &[200, 1], "weight"),
        ],
        "nodes": [
            node("conv", conv, "input".into()),
            node("coarse-mean", mean, serde_json::json!({"node": 0})),
            node("lone-norm", norm, serde_json::json!({"node": 1})),
            node("flat", serde_json::json!({"reshape": [1]}), serde_json::json!({"node": 2})),
            node("classes", serde_json::json!({"linear": {"weight": 5, "bias": null}}), serde_json::json!({"node": 3})),
        ],
    });
    std::fs::write(lab.path("hopeless.graph.json"), graph.to_string()).unwrap();
    let plan = ["train", "plan", "hopeless.graph.json", "--rows", "8", "--batch", "1", "--unchecked-ranges"];
    let cause = lab.fails(15, &plan);
    for part in ["`coarse-mean`: a mean over", "`lone-norm`: one place", "cross-entropy of 200 classes"] {
        assert!(cause.contains(part), "no {part:?} in {cause}");
    }
    assert!(!lab.path("hopeless.train.json").exists());
}
