//! What a plan's digest covers, and what is refused when a plan is read.

use super::*;
use crate::graph::{Input, Node, Normalise, Op, Param, Role, Source};
use crate::{Weights, calibrate};
use twoply_primitives::Window;

/// conv 1-2 3x3, average pool 3, max pool 2, relu, reshape, linear 2-3 on 1x8x8.
fn graph() -> Graph {
    let param = |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
    let node = |(i, op): (usize, Op)| {
        let before = if i == 0 { Source::Input } else { Source::Node(i - 1) };
        Node { name: format!("n{i}"), op, inputs: vec![before] }
    };
    let ops = vec![
        Op::Conv2d { weight: 0, bias: Some(1), window: Window::square(3, 1), groups: 1 },
        Op::AvgPool { window: Window::square(3, 1), count_include_pad: true },
        Op::MaxPool(Window::square(4, 4)),
        Op::Relu,
        Op::Reshape(vec![2]),
        Op::Linear { weight: 2, bias: None },
    ];
    Graph {
        name: "small".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, 8, 8],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![
            param("w", &[2, 1, 3, 3], Role::Weight),
            param("b", &[2], Role::Bias),
            param("v", &[3, 2], Role::Weight),
        ],
        nodes: ops.into_iter().enumerate().map(node).collect(),
    }
}

fn ranges(peak: f32) -> Ranges {
    let weights = Weights(vec![vec![0.25; 18], vec![0.0; 2], vec![0.5; 6]]);
    calibrate(&graph(), &weights, &[peak; 64], &[(0.0, 1.0)]).unwrap()
}

fn plan() -> Plan {
    Plan::new(graph(), Options::default(), Some(ranges(1.0))).unwrap()
}

fn why<T>(r: Result<T>) -> String {
    r.err().expect("refused").to_string()
}

/// The plan's JSON with one value changed.
fn edited(at: &str, value: serde_json::Value) -> String {
    let mut json: serde_json::Value = serde_json::from_str(&plan().to_json().unwrap()).unwrap();
    *json.pointer_mut(at).unwrap_or_else(|| panic!("no {at}")) = value;
    json.to_string()
}

#[test]
fn the_digest_does_not_depend_on_images_or_the_software_version() {
    let p = plan();
    let digest = p.digest().unwrap();
    p.gates(7).unwrap();
    p.predict(&[1, 64]).unwrap();
    assert_eq!(p.digest().unwrap(), digest);
    assert_eq!(plan().digest().unwrap(), digest, "planning again");
    assert_eq!(Plan::from_json(&p.to_json().unwrap()).unwrap().digest().unwrap(), digest, "through its file");
    assert_eq!(Plan { twoply: "9.9".into(), ..p }.digest().unwrap(), digest);
}

#[test]
fn the_digest_changes_with_every_choice() {
    let base = Options::default();
    let fixed = base.fixed;
    let mut plans = vec![plan()];
    for options in [
        Options { fixed: Fixed { f: 11, ..fixed }, ..base.clone() },
        Options { fixed: Fixed { n: 64, ..fixed }, ..base.clone() },
        Options { compare: Scheme::Dpf, ..base.clone() },
        Options { rounding: Rounding::Floor, ..base.clone() },
        Options { compare_at: [("n3".to_string(), Scheme::Dpf)].into(), ..base.clone() },
        Options { reveal: Reveal::Label, ..base.clone() },
        Options { margin: 1.25, ..base.clone() },
        Options { audit: true, ..base.clone() },
        Options { weight_fraction: Some(12), ..base.clone() },
        Options { weight_fraction: Some(10), ..base.clone() },
    ] {
        plans.push(Plan::new(graph(), options, Some(ranges(1.0))).unwrap());
    }
    plans.push(Plan::new(graph(), base.clone(), Some(ranges(0.875))).unwrap());
    plans.push(Plan::new(graph(), base.clone(), None).unwrap());
    let mut renamed = graph();
    renamed.nodes[0].name = "other".into();
    plans.push(Plan::new(renamed, base, None).unwrap());
    plans.push(Plan { protocol: PROTOCOL + 1, ..plan() });
    plans.push(Plan { prg: "other".into(), ..plan() });
    let digests: Vec<PlanDigest> = plans.iter().map(|p| p.digest().unwrap()).collect();
    for (i, a) in digests.iter().enumerate() {
        assert!(digests[..i].iter().all(|b| a != b), "plan {i} has the digest of another");
    }
}

/// Plans from before there was such a choice are read, and have the digest that they had.
#[test]
fn a_fraction_of_weights_is_said_only_where_there_is_one() {
    let json = plan().to_json().unwrap();
    assert!(!json.contains("weight_fraction"));
    let own = |w| Options { fixed: Fixed { n: 32, f: 8 }, weight_fraction: Some(w), ..Options::default() };
    let own_plan = Plan::new(graph(), own(16), Some(ranges(1.0))).unwrap();
    assert_eq!(Plan::from_json(&own_plan.to_json().unwrap()).unwrap(), own_plan);
    let why = Plan::new(graph(), own(21), None).unwrap_err().to_string();
    assert!(why.contains("21 fraction bits of weights; choose 4 to 20"), "{why}");
    let wide = Plan::new(graph(), own(18), Some(ranges(200.0))).unwrap_err().to_string();
    assert!(wide.contains("beyond 15.996"), "{wide}");
}

#[test]
fn every_edited_number_of_a_plan_is_refused_or_has_another_digest() {
    fn leaves(v: &serde_json::Value, at: String, out: &mut Vec<(String, serde_json::Value)>) {
        match v {
            serde_json::Value::Object(m) => m.iter().for_each(|(k, v)| leaves(v, format!("{at}/{k}"), out)),
            serde_json::Value::Array(a) => {
                a.iter().enumerate().for_each(|(i, v)| leaves(v, format!("{at}/{i}"), out));
            }
            serde_json::Value::Number(n) => {
                out.extend(n.as_u64().map(|n| (at.clone(), (n + 1).into())));
                out.extend(n.as_f64().map(|n| (at, (n * 1.0625).into())));
            }
            serde_json::Value::String(s) => out.push((at, format!("{s}x").into())),
            serde_json::Value::Bool(b) => out.push((at, (!b).into())),
            serde_json::Value::Null => out.push((at, 1.into())),
        }
    }
    let (json, digest) = (plan().to_json().unwrap(), plan().digest().unwrap());
    let mut all = vec![];
    leaves(&serde_json::from_str(&json).unwrap(), String::new(), &mut all);
    all.retain(|(at, value)| {
        let same: serde_json::Value = serde_json::from_str(&json).unwrap();
        at != "/twoply" && same.pointer(at) != Some(value)
    });
    assert!(all.len() > 300, "only {} places", all.len());
    let mut read = 0;
    for (at, value) in all {
        if let Ok(p) = Plan::from_json(&edited(&at, value)) {
            assert_ne!(p.digest().unwrap(), digest, "{at} can be edited unseen");
            read += 1;
        }
    }
    assert!(read > 0, "some edits give other valid plans");
}

#[test]
fn edits_are_refused_with_their_reason() {
    let gates = |edit: fn(&mut Vec<PlannedGate>)| {
        let mut p = plan();
        edit(&mut p.gates);
        why(Plan::from_json(&p.to_json().unwrap()))
    };
    assert!(gates(|g| g[1].cost.bytes += 1).contains("plan again"));
    assert!(gates(|g| g.truncate(2)).contains("plan again"));
    assert!(gates(|g| g.swap(1, 2)).contains("plan again"));
    assert!(why(Plan::from_json(&edited("/protocol", 1.into()))).contains("protocol 1"));
    assert!(why(Plan::from_json(&edited("/prg", "x".into()))).contains("another version: protocol 2, x"));
    assert!(why(Plan::from_json(&edited("/options/margin", 0.5.into()))).contains("margin 0.5"));
    assert!(why(Plan::from_json(&edited("/options/fixed/n", 33.into()))).contains("33 bits"));
    assert!(why(Plan::from_json(&edited("/options/compare", "magic".into()))).contains("magic"));
    let extra = plan().to_json().unwrap().replacen("\"twoply\"", "\"colour\": 1, \"twoply\"", 1);
    assert!(why(Plan::from_json(&extra)).contains("colour"));
    // a plan of another version need not have this version's fields
    let other = r#"{"protocol": 9, "prg": "p", "horizon": true}"#;
    assert!(why(Plan::from_json(other)).contains("plan again"));
    let json = plan().to_json().unwrap();
    for cut in (0..json.len()).step_by(97) {
        assert!(Plan::from_json(&json[..cut]).is_err());
    }
}

#[test]
fn ranges_are_checked_with_their_margin() {
    let options = |margin| Options { margin, ..Options::default() };
    // the convolution reaches 2.25 times the input; the limit at n=32, f=12 is just below 64
    assert!(Plan::new(graph(), options(1.0), Some(ranges(28.0))).is_ok());
    let text = why(Plan::new(graph(), options(1.5), Some(ranges(28.0))));
    assert!(text.contains("`n0`") && text.contains("needs 33 bits") && !text.contains("`x`"), "{text}");
    for margin in [0.0, 0.99, f64::NAN, f64::INFINITY, -1.0] {
        assert!(why(Plan::new(graph(), options(margin), None)).contains("margin"));
    }
    let mut foreign = ranges(1.0);
    foreign.graph.replace_range(..1, "z");
    assert!(why(Plan::new(graph(), Options::default(), Some(foreign))).contains("not taken on this version"));
}

#[test]
fn repro_a_final_argmax_reveals_labels_and_its_index_has_no_range() {
    let mut g = graph();
    g.nodes.pop();
    g.params.truncate(2);
    let w = Weights(vec![vec![0.25; 18], vec![0.0; 2]]);
    g.nodes.push(Node { name: "top".into(), op: Op::Argmax, inputs: vec![Source::Node(4)] });
    let mut r = calibrate(&g, &w, &[1.0; 64], &[(0.0, 1.0)]).unwrap();
    r.nodes.last_mut().unwrap().observed = 999.0;
    let p = Plan::new(g, Options { reveal: Reveal::Logits, ..Options::default() }, Some(r)).unwrap();
    assert_eq!(p.options.reveal, Reveal::Label);
    let last = p.gates.last().unwrap();
    assert_eq!((&last.gate[..], last.output.bits), ("argmax", 1));
    let tampered = p.to_json().unwrap().replace("\"label\"", "\"logits\"");
    assert!(why(Plan::from_json(&tampered)).contains("labels"));
}

#[test]
fn one_layer_may_compare_another_way() {
    let at = |name: &str, scheme| Options {
        compare_at: [(name.to_string(), scheme)].into(),
        ..Options::default()
    };
    let p = Plan::new(graph(), at("n3", Scheme::Dpf), Some(ranges(1.0))).unwrap();
    let changed: Vec<&str> =
        p.gates.iter().zip(&plan().gates).filter(|(a, b)| a != b).map(|(a, _)| &a.layer[..]).collect();
    assert_eq!(changed, ["n3"]);
    assert!(p.gates.iter().find(|g| g.layer == "n3").unwrap().with.to_string().contains("dpf"));
    assert_eq!(Plan::from_json(&p.to_json().unwrap()).unwrap(), p);
    // what says nothing new is not there
    assert_eq!(Plan::new(graph(), at("n3", Scheme::Digits), Some(ranges(1.0))).unwrap(), plan());
    assert!(why(Plan::new(graph(), at("nowhere", Scheme::Dpf), None)).contains("`nowhere`"));
}

#[test]
fn totals_and_segments_follow_the_gates() {
    let p = plan();
    let (one, four) = (p.predict(&[1]).unwrap(), p.predict(&[4]).unwrap());
    assert_eq!((four.comparisons, four.rounds), (4 * one.comparisons, one.rounds));
    assert_eq!(p.predict(&[1, 1]).unwrap().rounds, 2 * one.rounds);
    assert_eq!(one.key_bytes[0], 0, "digits leave P0 nothing to store");
    assert_eq!(p.layout().gates.len(), p.gates.len());
    assert_eq!(p.segment_images(), 128);
    assert_eq!(p.params().unwrap().len(), 3);
    assert_eq!(p.graph_digest(), p.graph.digest());
}
