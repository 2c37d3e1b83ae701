//! Functions that a model defines.

use super::*;

const OWN: &str = "own";

fn node(domain: &str, op: &str, input: &[&str], output: &[&str], attribute: Vec<Attribute>) -> NodeProto {
    let list = |names: &[&str]| names.iter().map(|s| s.to_string()).collect();
    NodeProto {
        domain: domain.into(),
        op_type: op.into(),
        input: list(input),
        output: list(output),
        attribute,
        ..Default::default()
    }
}

fn function(name: &str, input: &[&str], output: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let list = |names: &[&str]| names.iter().map(|s| s.to_string()).collect();
    FunctionProto {
        name: name.into(),
        domain: OWN.into(),
        input: list(input),
        output: list(output),
        node: nodes,
        ..Default::default()
    }
}

/// An attribute that is the call's `name`.
fn given(attribute: Attribute, name: &str) -> Attribute {
    Attribute { reference: name.into(), ..attribute }
}

fn with(shape: &[i64], functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> Model {
    let mut m = Model::new(shape);
    m.0.functions = functions;
    m.graph().node = nodes;
    m
}

/// `leaky(x) + x`, `x`.
fn bent() -> FunctionProto {
    let nodes = vec![
        node("", "LeakyRelu", &["a"], &["t"], vec![given(float("alpha", 0.0), "slope")]),
        node("", "Add", &["t", "a"], &["b"], vec![]),
    ];
    FunctionProto { attribute: vec![float("slope", 0.5)], ..function("Bent", &["a"], &["b", "a"], nodes) }
}

#[test]
fn calls_become_the_nodes_of_the_body() {
    // Two calls, one with a slope of its own; values inside have the same names.
    let twice = || {
        let mut second = node(OWN, "Bent", &["t"], &["y"], vec![float("slope", 0.25)]);
        second.name = "again".into();
        vec![node(OWN, "Bent", &["x"], &["t", "same"], vec![]), second]
    };
    let m = with(&[2], vec![bent()], twice()).import().unwrap();
    assert_eq!(ops(&m.graph), ["leaky_relu", "add", "leaky_relu", "add"]);
    assert_eq!(m.graph.nodes[2].name, "again/t");
    // -2: -3, and -3 - 0.75; 2: 4, and 8.
    close(&run(&m, &[-2.0, 2.0]), &[-3.75, 8.0]);
    // What is handed through.
    let through =
        vec![node(OWN, "Bent", &["x"], &["", "same"], vec![]), node("", "Neg", &["same"], &["y"], vec![])];
    assert_eq!(run(&with(&[1], vec![bent()], through).import().unwrap(), &[2.0]), [-2.0]);
    // A function of functions, and one in a branch.
    let outer = function("Outer", &["x"], &["y"], twice());
    let m = with(&[2], vec![bent(), outer.clone()], vec![node(OWN, "Outer", &["x"], &["z"], vec![])]);
    close(&run(&m.import().unwrap(), &[-2.0, 2.0]), &[-3.75, 8.0]);
    let body = GraphProto {
        node: vec![node(OWN, "Outer", &["x"], &["in"], vec![])],
        output: vec![ValueInfo { name: "in".into(), kind: None }],
        ..Default::default()
    };
    let taken = Attribute {
        name: "then_branch".into(),
        kind: kind::GRAPH,
        g: Some(Box::new(body)),
        ..Default::default()
    };
    let choose = node("", "If", &["flag"], &["y"], vec![taken]);
    let function = function("Branch", &["x", "flag", "unused"], &["y"], vec![choose]);
    let call = node(OWN, "Branch", &["x", "one"], &["z"], vec![]);
    let m = with(&[2], vec![bent(), outer, function], vec![call]).ints("one", &[], &[1]);
    close(&run(&m.import().unwrap(), &[-2.0, 2.0]), &[-3.75, 8.0]);
}

/// The end of a network is looked for behind calls too.
#[test]
fn a_last_function_inside_a_function_is_dropped() {
    let f = function("End", &["a"], &["b"], vec![node("", "Softmax", &["a"], &["b"], vec![int("axis", -1)])]);
    let m = with(&[3], vec![f.clone()], vec![node(OWN, "End", &["x"], &["p"], vec![])]);
    let m = Model(m.0).node("Identity", &["p"], "y", vec![]);
    assert!(m.obstacle().contains("is the input itself"));
    // Softmax means another thing since opset 13.
    let older =
        FunctionProto { opset_import: vec![OperatorSetId { domain: String::new(), version: 11 }], ..f };
    let why = with(&[3], vec![older], vec![node(OWN, "End", &["x"], &["p"], vec![])]).obstacle();
    assert!(why.contains("of operator set 11 in a model of operator set 17; export both with one"), "{why}");
}

#[test]
fn obstacles_inside_say_where() {
    let f = function(
        "F",
        &["a"],
        &["b"],
        vec![node("", "Tanh", &["a"], &["t"], vec![]), node("", "Relu", &["t"], &["b"], vec![])],
    );
    let mut call = node(OWN, "F", &["x"], &["y"], vec![]);
    call.name = "block".into();
    let why = with(&[2], vec![f.clone()], vec![call.clone()]).obstacle();
    assert!(why.starts_with("Tanh `block/t`: a smooth function"), "{why}");
    let unknown = with(&[2], vec![f.clone()], vec![node(OWN, "G", &["x"], &["y"], vec![])]).obstacle();
    assert!(unknown.contains("the domain `own` are not known"), "{unknown}");
    let more = with(&[2], vec![f.clone()], vec![node(OWN, "F", &["x", "x"], &["y"], vec![])]).obstacle();
    assert!(more.contains("a function of 1 operands, called with 2"), "{more}");
    let usual = FunctionProto { domain: String::new(), name: "Relu".into(), ..f };
    let why = with(&[2], vec![usual], vec![node("", "Relu", &["x"], &["y"], vec![])]).obstacle();
    assert!(why.contains("a function in ONNX's own domain"), "{why}");
}

#[test]
fn functions_cannot_ask_for_much() {
    let calls = |name: &str, from: &str| {
        let (a, b) = (node(OWN, from, &["a"], &["t"], vec![]), node(OWN, from, &["t"], &["b"], vec![]));
        function(name, &["a"], &["b"], vec![a, b])
    };
    let endless = with(&[2], vec![calls("F", "F")], vec![node(OWN, "F", &["x"], &["y"], vec![])]).obstacle();
    assert!(endless.contains("or one that calls itself; export without functions"), "{endless}");
    // 2^30 nodes, of a file of thirty functions.
    let mut all = vec![function("F0", &["a"], &["b"], vec![node("", "Relu", &["a"], &["b"], vec![])])];
    all.extend((1..=30).map(|i| calls(&format!("F{i}"), &format!("F{}", i - 1))));
    let many = with(&[2], all, vec![node(OWN, "F30", &["x"], &["y"], vec![])]).obstacle();
    assert!(many.contains("become too many nodes"), "{many}");
}
