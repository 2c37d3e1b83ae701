//! What cannot be imported, and files that nobody meant well.

use super::*;

#[test]
fn every_obstacle_is_listed_at_once() {
    let mut m = Model::new(&[1, 8, 8])
        .init("w", &[2, 1, 3, 3])
        .node("Conv", &["x", "w"], "c", vec![int("groups", 1)])
        .node("Sigmoid", &["c"], "s", vec![])
        .node("LSTM", &["s"], "l", vec![])
        .node("MaxPool", &["l"], "p", vec![int("ceil_mode", 0)])
        .node("Relu", &["nowhere"], "r", vec![])
        .node("Add", &["p", "r"], "a", vec![])
        .node("Softmax", &["a"], "y", vec![]);
    m.graph().node[2].name = "rnn\u{1b}[2J".into();
    m.graph().node[4].domain = "com.example".into();
    m.0.opset_import[0].version = 99;
    let all = m.obstacles();
    for (line, want) in all.iter().zip([
        "model `opset_import`: operator set 99",
        "Conv `c`: unknown attribute `groups`",
        "Sigmoid `s`: a smooth function, for which there is no gate yet; train with Relu",
        "LSTM `rnn_[2J`: not supported",
        "MaxPool `p`: attribute `kernel_shape` is missing",
        "Relu `r`: reads `nowhere`, which nothing before it gives",
        "Relu `r`: operators of the domain `com.example` are not known; export without custom operators",
    ]) {
        assert!(line.contains(want), "wanted {want:?}, found {line:?}");
    }
    assert_eq!(all.len(), 7, "{all:?}");
}

#[test]
fn what_follows_an_unsupported_node_is_still_judged() {
    let m = Model::new(&[4]).init("w", &[2, 5]).node("Tanh", &["x"], "t", vec![]);
    let m = m.node("Gemm", &["t", "w"], "y", vec![int("transB", 1)]);
    assert_eq!(m.obstacles().len(), 2);
}

#[test]
fn inputs_outputs_and_constants_are_checked() {
    let relu = || Model::new(&[4]).node("Relu", &["x"], "y", vec![]);
    let with = |change: fn(&mut GraphProto)| {
        let mut m = relu();
        change(m.graph());
        m.obstacles().join("\n")
    };
    fn set(m: &mut GraphProto, i: usize, e: Option<Extent>) {
        m.input[0].kind.as_mut().unwrap().tensor.as_mut().unwrap().shape.as_mut().unwrap().dim[i].extent = e;
    }
    assert!(with(|g| set(g, 0, Some(Extent::Value(8)))).contains("fixes the batch at 8"));
    assert!(with(|g| set(g, 1, Some(Extent::Symbol("n".into())))).contains("leaves extent `n` open"));
    assert!(with(|g| set(g, 1, None)).contains("leaves an extent open"));
    assert!(with(|g| set(g, 1, Some(Extent::Value(i64::MAX)))).contains("too large"));
    assert!(with(|g| set(g, 1, Some(Extent::Value(-4)))).contains("leaves an extent open"));
    assert!(with(|g| g.input[0].kind = None).contains("is no tensor"));
    assert!(with(|g| g.input.push(g.input[0].clone())).contains("2 inputs"));
    assert!(with(|g| g.input.clear()).contains("0 inputs"));
    assert!(with(|g| g.output = vec![ValueInfo::default(); 2]).contains("2 outputs"));
    assert!(
        with(|g| g.output = vec![ValueInfo { name: "x".into(), kind: None }]).contains("is the input itself")
    );
    assert!(
        with(|g| g.output = vec![ValueInfo { name: "z".into(), kind: None }]).contains("no node gives it")
    );
    assert!(with(|g| g.node.push(g.node[0].clone())).contains("gives `y`, which is there already"));
    assert!(with(|g| g.node[0].output.push("y".into())).contains("gives `y`, which is there already"));
    let second = |g: &mut GraphProto| {
        g.node[0].output.push("z".into());
        g.output = vec![ValueInfo { name: "z".into(), kind: None }];
    };
    assert!(with(second).contains("its output `z` is used"));
    let mut batch_one = relu();
    set(batch_one.graph(), 0, Some(Extent::Value(1)));
    assert!(batch_one.import().is_ok());
    // Another file's values, but only if something reads them.
    let external = |used: bool| {
        let mut m = Model::new(&[2]).node("Add", &["x", if used { "e" } else { "x" }], "y", vec![]);
        let t = TensorProto {
            name: "e".into(),
            dims: vec![2],
            data_type: 1,
            data_location: 1,
            ..Default::default()
        };
        m.graph().initializer.push(t);
        m
    };
    assert!(external(true).obstacle().contains("another file"));
    assert!(external(false).import().is_ok());
    let fine = relu().import().unwrap();
    let bad = Normalise { scale: 0.0, ..Normalise::default() };
    let mut m = relu();
    m.graph().output.push(ValueInfo { name: "y".into(), kind: None });
    assert!(matches!(import(&m.0.encode_to_vec(), None, Some(bad)), Err(Error::Graph { .. })));
    assert_eq!(
        (fine.graph.name.as_str(), fine.graph.input.name.as_str(), fine.weights),
        ("test", "x", Weights(vec![]))
    );
}

#[test]
fn small_files_cannot_ask_for_much() {
    // Each node would double a constant list, or spread a scalar over 2^29 channels.
    let mut m = Model::new(&[4]).ints("l0", &[1], &[1]);
    for i in 0..60 {
        m = m.node(
            "Concat",
            &[&format!("l{i}"), &format!("l{i}")],
            &format!("l{}", i + 1),
            vec![int("axis", 0)],
        );
    }
    let why = m.node("Reshape", &["x", "l60"], "y", vec![]).obstacle();
    assert!(why.contains("more computed constants"), "{why}");
    // One factor for all places stays one.
    let m = Model::new(&[1 << 29]).floats("c", &[], &[2.0]).node("Mul", &["x", "c"], "y", vec![]);
    assert_eq!(m.import().unwrap().weights, Weights(vec![vec![2.0]]));
    let m = Model::new(&[1 << 29]).floats("c", &[], &[2.0]).node("Add", &["x", "c"], "y", vec![]);
    assert_eq!(m.import().unwrap().weights, Weights(vec![vec![1.0], vec![2.0]]));
    let m = Model::new(&[1, 1 << 29]).floats("c", &[1 << 12, 1], &[2.0; 1 << 12]);
    assert!(m.node("Mul", &["x", "c"], "y", vec![]).obstacle().contains("too many places"));
    let m = Model::new(&[1, 2]).ints("n", &[3], &[1, 1, 1 << 40]).node("Tile", &["x", "n"], "y", vec![]);
    assert!(m.obstacle().contains("too many places"));
    // Very many equal names stay cheap.
    let mut m = Model::new(&[4]);
    for i in 0..20_000 {
        let from = if i == 0 { "x".to_string() } else { format!("v{}", i - 1) };
        m = m.node("Relu", &[&from], &format!("v{i}"), vec![]);
        m.graph().node[i].name = "same".into();
    }
    assert_eq!(m.import().unwrap().graph.nodes[19_999].name, "same_20000");
}

#[test]
fn damaged_bytes_are_errors() {
    let mut m = batch_norm(
        Model::new(&[1, 2, 2]).init("w", &[2, 1, 1, 1]).node(
            "Conv",
            &["x", "w"],
            "c",
            vec![ints("pads", &[0; 4])],
        ),
        "c",
    );
    m.graph().output.push(ValueInfo { name: "bn".into(), kind: None });
    let bytes = m.0.encode_to_vec();
    assert!(import(&bytes, None, None).is_ok());
    let mut refused = 0;
    for cut in 0..bytes.len() {
        refused += import(&bytes[..cut], None, None).is_err() as usize;
    }
    // Only the operator set stands behind the graph; without it the file is refused too.
    assert_eq!(refused, bytes.len());
    // Every byte changed in several ways: any result, but no panic.
    let mut damaged = bytes.clone();
    for i in 0..bytes.len() {
        for flip in [1, 0x80, 0xff, 0x55] {
            damaged[i] = bytes[i] ^ flip;
            let _ = import(&damaged, None, None);
        }
        damaged[i] = bytes[i];
    }
    for bytes in [&b""[..], b"hello", &[0; 64], &[0xff; 64], &[0x3a, 0x00]] {
        assert!(matches!(import(bytes, None, None), Err(Error::Onnx(_))));
    }
}
