//! What is walked: branches, files, types, operator sets, and what nobody needs.

use super::*;

fn condition(m: Model, value: bool) -> Model {
    let mut m = m;
    let t = TensorProto {
        name: "cond".into(),
        data_type: 9,
        int32_data: vec![value.into()],
        ..Default::default()
    };
    m.graph().initializer.push(t);
    m
}

/// A branch of one node on a value from outside.
fn branch(name: &str, op: &str, from: &str) -> Attribute {
    let output = format!("{name}_out");
    let node = NodeProto {
        op_type: op.into(),
        input: vec![from.into()],
        output: vec![output.clone()],
        ..Default::default()
    };
    let g = GraphProto {
        node: vec![node],
        output: vec![ValueInfo { name: output, kind: None }],
        ..Default::default()
    };
    Attribute { name: name.into(), kind: kind::GRAPH, g: Some(Box::new(g)), ..Default::default() }
}

#[test]
fn a_known_condition_takes_its_branch() {
    for (value, want) in [(true, "relu"), (false, "leaky_relu")] {
        let branches = vec![branch("then_branch", "Relu", "x"), branch("else_branch", "LeakyRelu", "x")];
        let m = condition(Model::new(&[4]), value).node("If", &["cond"], "y", branches);
        assert_eq!(ops(&m.import().unwrap().graph), [want]);
    }
    // As `squeeze` comes from TorchScript: the branch that is not taken may hold anything.
    let branches = vec![branch("then_branch", "Relu", "x"), branch("else_branch", "LSTM", "x")];
    let m = Model::new(&[1, 4])
        .ints("one", &[], &[1])
        .node("Shape", &["x"], "s", vec![])
        .node("Gather", &["s", "one"], "d", vec![])
        .node("Equal", &["d", "one"], "c", vec![])
        .node("If", &["c"], "y", branches);
    assert_eq!(ops(&m.import().unwrap().graph), ["relu"]);
    let branches = vec![branch("then_branch", "LSTM", "x"), branch("else_branch", "GRU", "x")];
    let m = Model::new(&[1]).node("If", &["x"], "y", branches);
    let all = m.obstacles();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        all[0].starts_with("LSTM") && all[1].starts_with("GRU") && all[2].contains("depends on the input"),
        "{all:?}"
    );
    let none = condition(Model::new(&[4]), true).node("If", &["cond"], "y", vec![]);
    assert!(none.obstacle().contains("has no such branch"));
}

#[test]
fn loops_are_refused_with_what_is_in_them() {
    let body = Attribute { name: "body".into(), ..branch("body", "GRU", "x") };
    let all = Model::new(&[4]).node("Loop", &["x"], "y", vec![body]).obstacles();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("GRU") && all[1].contains("unroll it"), "{all:?}");
}

#[test]
fn what_the_output_does_not_need_is_no_obstacle() {
    let mut m = Model::new(&[4]).node("Relu", &["x"], "y", vec![]).node("LSTM", &["y"], "z", vec![]).node(
        "Relu",
        &["nowhere"],
        "v",
        vec![],
    );
    m.graph().output = vec![ValueInfo { name: "y".into(), kind: None }];
    m.graph().initializer.push(TensorProto {
        name: "broken".into(),
        data_type: 8,
        dims: vec![-1],
        ..Default::default()
    });
    m.graph().input.push(ValueInfo { name: "unused".into(), kind: None });
    assert_eq!(ops(&m.import().unwrap().graph), ["relu"]);
}

#[test]
fn obstacles_of_one_kind_are_one() {
    let mut m = Model::new(&[4]);
    let mut from = "x".to_owned();
    for i in 0..19 {
        let to = format!("s{i}");
        m = m.node("Selu", &[&from], &to, vec![]);
        from = to;
    }
    let why = m.obstacle();
    assert!(why.starts_with("Selu, 19 times, first at `s0`: a smooth function"), "{why}");
    // No second obstacle whose cause is the first: neither the shape nor the second output is known.
    let mut m = Model::new(&[4]).node("TopK", &["x"], "a", vec![]).node("Add", &["a", "i"], "y", vec![]);
    m.graph().node[0].output.push("i".into());
    assert!(m.obstacle().contains("TopK `a`: not supported; export the network up to its raw scores"));
}

#[test]
fn inputs_of_every_type_of_floats() {
    let input = |elem_type: i32| {
        let mut m = Model::new(&[4]);
        m.graph().input[0].kind.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = elem_type;
        m
    };
    for float_type in [1, 10, 11, 16] {
        assert!(input(float_type).node("Relu", &["x"], "y", vec![]).import().is_ok());
    }
    for integers in [2, 6, 7, 9] {
        let why = input(integers).node("Relu", &["x"], "y", vec![]).obstacle();
        assert!(why.contains("wanted floats; let the network begin with a Cast to FLOAT"), "{why}");
        let cast =
            input(integers).node("Cast", &["x"], "f", vec![int("to", 1)]).node("Relu", &["f"], "y", vec![]);
        assert_eq!(ops(&cast.import().unwrap().graph), ["relu"]);
        let both = input(integers).node("Cast", &["x"], "f", vec![int("to", 1)]).node(
            "Add",
            &["f", "x"],
            "y",
            vec![],
        );
        assert!(both.obstacle().contains("wanted floats"));
    }
    assert!(input(8).node("Cast", &["x"], "y", vec![int("to", 1)]).obstacle().contains("STRING"));
}

#[test]
fn casts_between_floats_are_nothing() {
    let m = Model::new(&[4])
        .node("Cast", &["x"], "a", vec![int("to", 10)])
        .floats("like", &[1], &[0.0])
        .node("CastLike", &["a", "like"], "b", vec![])
        .node("Relu", &["b"], "r", vec![])
        .node("Dropout", &["r", "", "flag"], "y", vec![]);
    let flag =
        |v: i32| TensorProto { name: "flag".into(), data_type: 9, int32_data: vec![v], ..Default::default() };
    let with = |v| {
        let mut m = Model(m.0.clone());
        m.graph().initializer.push(flag(v));
        m
    };
    assert_eq!(ops(&with(0).import().unwrap().graph), ["relu"]);
    assert!(with(1).obstacle().contains("export in eval mode"));
    let whole =
        Model::new(&[4]).node("Cast", &["x"], "a", vec![int("to", 7)]).node("Relu", &["a"], "y", vec![]);
    assert!(whole.obstacle().contains("to INT64; there is no gate that rounds"));
}

#[test]
fn batch_extents() {
    let batch = |extent: Option<Extent>| {
        let mut m = Model::new(&[4]).node("Relu", &["x"], "y", vec![]);
        let tensor = m.graph().input[0].kind.as_mut().unwrap().tensor.as_mut().unwrap();
        tensor.shape.as_mut().unwrap().dim[0].extent = extent;
        m
    };
    let symbol = |s: &str| Some(Extent::Symbol(s.into()));
    for extent in [
        None,
        symbol("N"),
        symbol(""),
        Some(Extent::Value(-1)),
        Some(Extent::Value(0)),
        Some(Extent::Value(1)),
    ] {
        assert!(batch(extent.clone()).import().is_ok(), "{extent:?}");
    }
    let why = batch(Some(Extent::Value(8))).obstacle();
    assert!(why.contains("fixes the batch at 8; export with an example of one image"), "{why}");
}

#[test]
fn operator_sets() {
    let of = |versions: &[i64]| {
        let mut m = Model::new(&[4]).node("Relu", &["x"], "y", vec![]);
        let import = |&version: &i64| OperatorSetId { domain: String::new(), version };
        m.0.opset_import = versions.iter().map(import).collect();
        m
    };
    for version in OPSETS {
        assert!(of(&[version]).import().is_ok());
    }
    // skl2onnx names it twice.
    assert!(of(&[22, 22]).import().is_ok());
    assert!(of(&[OPSETS.end() + 1]).obstacle().contains("is newer than this program, which knows 7 to 28"));
    assert!(of(&[6]).obstacle().contains("is older than those known"));
    assert!(of(&[]).obstacle().contains("names no version"));
}

/// A folder with one file, `w`, of three floats.
struct Three;
impl Folder for Three {
    fn length(&self, location: &str) -> std::result::Result<u64, String> {
        if location == "w" { Ok(12) } else { Err("is not there; copy it too".into()) }
    }
    fn read(&self, _: &str, offset: u64, length: usize) -> std::result::Result<Vec<u8>, String> {
        let all: Vec<u8> = [1f32, -2.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(all[offset as usize..][..length].to_vec())
    }
}

fn external(name: &str, location: &str, dims: &[i64]) -> TensorProto {
    let entry = Entry { key: "location".into(), value: location.into() };
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        data_location: 1,
        external_data: vec![entry],
        ..Default::default()
    }
}

#[test]
fn values_beside_the_model() {
    let with_folder = |m: &mut Model| {
        let options = Options { folder: Some(&Three), ..Options::default() };
        read(&m.bytes(), &options).map(|(model, _)| model)
    };
    let mut initializer = Model::new(&[3]).node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
    initializer.graph().initializer.push(external("w", "w", &[1, 3]));
    close(&run(&with_folder(&mut initializer).unwrap(), &[1.0, 1.0, 1.0]), &[3.0]);
    // In a Constant too.
    let value = Attribute {
        name: "value".into(),
        kind: kind::TENSOR,
        t: Some(external("", "w", &[3, 1])),
        ..Default::default()
    };
    let mut node =
        Model::new(&[3]).node("Constant", &[], "w", vec![value]).node("MatMul", &["x", "w"], "y", vec![]);
    close(&run(&with_folder(&mut node).unwrap(), &[1.0, 1.0, 0.0]), &[-1.0]);
    for (location, dims, want) in [("v", [1, 3], "`v` is not there"), ("w", [2, 3], "holds 12 bytes, and 24")]
    {
        let mut m = Model::new(&[3]).node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
        m.graph().initializer.push(external("w", location, &dims));
        let why = with_folder(&mut m).unwrap_err().to_string();
        assert!(why.contains("initializer `w`: ") && why.contains(want), "{why}");
    }
    assert!(initializer.obstacle().contains("external_data=False"));
}

#[test]
fn sparse_initializers() {
    let values = TensorProto {
        name: "w".into(),
        dims: vec![1],
        data_type: 1,
        float_data: vec![5.0],
        ..Default::default()
    };
    let indices = TensorProto { dims: vec![1], data_type: 7, int64_data: vec![2], ..Default::default() };
    let sparse = SparseTensorProto { values: Some(values), indices: Some(indices), dims: vec![1, 3] };
    let mut m = Model::new(&[3]).node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
    m.graph().sparse_initializer.push(sparse);
    close(&run(&m.import().unwrap(), &[1.0, 1.0, 2.0]), &[10.0]);
}

#[test]
fn infinite_numbers_are_limits_and_never_weights() {
    let m = Model::new(&[2]).floats("low", &[], &[0.0]).floats("high", &[], &[f32::INFINITY]);
    let m = m.node("Clip", &["x", "low", "high"], "y", vec![]);
    assert_eq!(ops(&m.import().unwrap().graph), ["relu"]);
    let m = Model::new(&[2]).floats("w", &[1, 2], &[f32::NAN, 1.0]);
    let why = m.node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]).obstacle();
    assert!(why.contains("`w`"), "{why}");
}

/// Every arm of the one table is in the public list, and the other way round.
#[test]
fn the_list_of_operators_is_the_table() {
    let source = include_str!("../../onnx.rs");
    let body = source
        .split("match call.node.op_type.as_str() {")
        .nth(1)
        .and_then(|s| s.split("other if").next())
        .unwrap();
    let arms = body.lines().filter_map(|line| line.split_once("=>").map(|(names, _)| names));
    let arms =
        arms.flat_map(|names| names.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let ml = include_str!("../ml.rs").split("match call.node.op_type.as_str() {").nth(1).unwrap();
    let ml = ml.split("other =>").next().unwrap().lines().filter(|l| l.trim_start().starts_with('"'));
    let ml = ml.flat_map(|l| l.split("=>").next().unwrap_or("").split('"').skip(1).step_by(2));
    let ml = ml.map(|name| format!("{}.{name}", ml::DOMAIN));
    let elsewhere = ["If", "Softmax", "LogSoftmax", "Sigmoid"].map(str::to_owned);
    let mut table: Vec<String> =
        arms.chain(elsewhere).chain(ml.filter(|n| !n.contains(' ') && !n.ends_with("NONE"))).collect();
    table.sort();
    table.dedup();
    let listed: Vec<String> = OPERATORS.iter().map(|o| o.name.to_owned()).collect();
    assert_eq!(listed, table);
}

/// The README's table is made from it.
#[test]
fn the_readme_lists_the_operators() {
    let readme = include_str!("../../../../../README.md");
    for Operator { name, limits } in OPERATORS {
        let row = format!("| {name} | {limits} |");
        assert!(readme.lines().any(|line| line == row), "wanted in README.md:\n{row}");
    }
    let constants: Vec<&str> = constant_operators().collect();
    let words: std::collections::HashSet<&str> = readme.split(|c: char| !c.is_alphanumeric()).collect();
    assert!(
        constants.iter().all(|name| words.contains(name)),
        "wanted in README.md:\n{}",
        constants.join(", ")
    );
}
