//! Operators on constants and shapes.

use super::*;

/// A model whose operator `op` is computed on constants and added to (or multiplied into) nothing: the result itself.
fn folded(
    m: Model,
    op: &str,
    inputs: &[&str],
    attribute: Vec<Attribute>,
) -> std::result::Result<Tensor, String> {
    outputs(m, op, inputs, 1, attribute).map(|mut all| all.remove(0))
}

fn outputs(
    mut m: Model,
    op: &str,
    inputs: &[&str],
    count: usize,
    attribute: Vec<Attribute>,
) -> std::result::Result<Vec<Tensor>, String> {
    m = m.node(op, inputs, "r0", attribute);
    let node = m.graph().node.last_mut().unwrap();
    node.output = (0..count).map(|i| format!("r{i}")).collect();
    let names = node.output.clone();
    // The walk needs whatever the outputs need.
    let collect: Vec<&str> = names.iter().map(String::as_str).collect();
    m = m.node("Concat", &collect, "all", vec![int("axis", 0)]);
    let beside = Beside::new(None);
    let setting = Setting {
        opset: 17,
        normalise: Normalise::default(),
        obstacles: Obstacles::default(),
        keep_probabilities: false,
        keep_dropout: false,
        keep_batchnorm: false,
        layout: None,
    };
    let graph = m.graph().clone();
    let walked = Importer::walk(&graph, "all", &beside, setting);
    let found: Option<Vec<Tensor>> = names
        .iter()
        .map(|name| match walked.value(name) {
            Some(Value::Const(t)) => Some(Tensor::clone(t)),
            _ => None,
        })
        .collect();
    found.ok_or_else(|| walked.obstacles.into_list().iter().map(ToString::to_string).collect())
}

fn real(t: &Tensor) -> Vec<f64> {
    (0..t.len()).map(|i| t.real(i)).collect()
}

fn typed(name: &str, data_type: i32, dims: &[i64], values: &[f64]) -> TensorProto {
    let mut t = TensorProto { name: name.into(), dims: dims.to_vec(), data_type, ..Default::default() };
    match data_type {
        1 => t.float_data = values.iter().map(|&v| v as f32).collect(),
        7 => t.int64_data = values.iter().map(|&v| v as i64).collect(),
        11 => t.double_data = values.to_vec(),
        _ => t.int32_data = values.iter().map(|&v| v as i32).collect(),
    }
    t
}

fn model(tensors: &[TensorProto]) -> Model {
    let mut m = Model::new(&[4, 3]);
    m.graph().initializer.extend_from_slice(tensors);
    m
}

#[test]
fn arithmetic_with_broadcasting() {
    let m = || model(&[typed("a", 1, &[2, 1], &[6.0, -7.0]), typed("b", 1, &[3], &[1.0, 2.0, -4.0])]);
    for (op, want) in [
        ("Add", [7.0, 8.0, 2.0, -6.0, -5.0, -11.0]),
        ("Sub", [5.0, 4.0, 10.0, -8.0, -9.0, -3.0]),
        ("Mul", [6.0, 12.0, -24.0, -7.0, -14.0, 28.0]),
        ("Div", [6.0, 3.0, -1.5, -7.0, -3.5, 1.75]),
        ("Max", [6.0, 6.0, 6.0, 1.0, 2.0, -4.0]),
        ("Min", [1.0, 2.0, -4.0, -7.0, -7.0, -7.0]),
        ("Mod", [0.0, 0.0, -2.0, 0.0, 1.0, -3.0]),
        ("Greater", [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        ("Equal", [0.0; 6]),
    ] {
        let t = folded(m(), op, &["a", "b"], vec![]).unwrap();
        assert_eq!((t.dims.as_slice(), real(&t)), (&[2, 3][..], want.to_vec()), "{op}");
    }
    let whole = || model(&[typed("a", 7, &[2], &[7.0, -7.0]), typed("b", 7, &[], &[2.0])]);
    for (op, attribute, want) in [
        ("Div", vec![], [3.0, -3.0]),
        ("Mod", vec![], [1.0, 1.0]),
        ("Mod", vec![int("fmod", 1)], [1.0, -1.0]),
        ("Pow", vec![], [49.0, 49.0]),
        ("LessOrEqual", vec![], [0.0, 1.0]),
    ] {
        assert_eq!(real(&folded(whole(), op, &["a", "b"], attribute).unwrap()), want, "{op}");
    }
    let narrow = model(&[typed("a", 2, &[1], &[200.0])]);
    assert_eq!(real(&folded(narrow, "Add", &["a", "a"], vec![]).unwrap()), [144.0]);
    let zero = model(&[typed("a", 7, &[1], &[1.0]), typed("z", 7, &[1], &[0.0])]);
    assert!(folded(zero, "Div", &["a", "z"], vec![]).unwrap_err().contains("divides by zero"));
    let kinds = model(&[typed("a", 7, &[1], &[1.0]), typed("b", 1, &[1], &[1.0])]);
    assert!(folded(kinds, "Add", &["a", "b"], vec![]).unwrap_err().contains("of Int(64) and Float"));
    let shapes = model(&[typed("a", 1, &[2], &[1.0; 2]), typed("b", 1, &[3], &[1.0; 3])]);
    assert!(folded(shapes, "Add", &["a", "b"], vec![]).unwrap_err().contains("do not broadcast"));
}

#[test]
fn results_are_rounded_to_their_type() {
    for (kind, data_type, bits) in [("FLOAT", 1, 24), ("DOUBLE", 11, 53)] {
        let m = model(&[typed("a", data_type, &[1], &[1.0]), typed("b", data_type, &[1], &[3.0])]);
        let got = real(&folded(m, "Div", &["a", "b"], vec![]).unwrap())[0];
        let want = if bits == 24 { f64::from(1f32 / 3f32) } else { 1.0 / 3.0 };
        assert_eq!(got, want, "{kind}");
    }
    // 1/3 in FLOAT16.
    let half = |v: i32| TensorProto { int32_data: vec![v], ..typed("", 10, &[1], &[]) };
    let named = |name: &str, v| TensorProto { name: name.into(), ..half(v) };
    let m = model(&[named("a", 0x3c00), named("b", 0x4200)]);
    assert_eq!(real(&folded(m, "Div", &["a", "b"], vec![]).unwrap()), [0.333_251_953_125]);
}

#[test]
fn functions_of_one_operand() {
    let m = || model(&[typed("a", 1, &[3], &[2.25, -0.5, 1.0])]);
    for (op, want) in [
        ("Neg", [-2.25, 0.5, -1.0]),
        ("Abs", [2.25, 0.5, 1.0]),
        ("Sign", [1.0, -1.0, 1.0]),
        ("Floor", [2.0, -1.0, 1.0]),
        ("Ceil", [3.0, -0.0, 1.0]),
        ("Round", [2.0, -0.0, 1.0]),
    ] {
        assert_eq!(real(&folded(m(), op, &["a"], vec![]).unwrap()), want, "{op}");
    }
    let root = real(&folded(m(), "Sqrt", &["a"], vec![]).unwrap());
    assert!(root[0] == 1.5 && root[1].is_nan());
    let flags = model(&[typed("a", 9, &[2], &[1.0, 0.0])]);
    assert_eq!(real(&folded(flags, "Not", &["a"], vec![]).unwrap()), [0.0, 1.0]);
    let limits = vec![float("min", 0.0), float("max", 2.0)];
    assert_eq!(real(&folded(m(), "Clip", &["a"], limits).unwrap()), [2.0, 0.0, 1.0]);
    let m = model(&[
        typed("c", 9, &[2, 1], &[1.0, 0.0]),
        typed("a", 1, &[2], &[1.0, 2.0]),
        typed("b", 1, &[], &[9.0]),
    ]);
    assert_eq!(real(&folded(m, "Where", &["c", "a", "b"], vec![]).unwrap()), [1.0, 2.0, 9.0, 9.0]);
}

#[test]
fn sums_norms_and_extremes_along_axes() {
    let m = || {
        model(&[typed("a", 1, &[2, 3], &[3.0, 4.0, 0.0, 0.0, -6.0, 8.0]), typed("axes", 7, &[1], &[-1.0])])
    };
    for (op, want) in [
        ("ReduceSum", [7.0, 2.0]),
        ("ReduceProd", [0.0, -0.0]),
        ("ReduceMean", [f64::from(7f32 / 3f32), f64::from(2f32 / 3f32)]),
        ("ReduceMax", [4.0, 8.0]),
        ("ReduceMin", [0.0, -6.0]),
        ("ReduceL1", [7.0, 14.0]),
        ("ReduceL2", [5.0, 10.0]),
        ("ReduceSumSquare", [25.0, 100.0]),
    ] {
        let t = folded(m(), op, &["a", "axes"], vec![]).unwrap();
        assert_eq!((t.dims.as_slice(), real(&t)), (&[2, 1][..], want.to_vec()), "{op}");
        let t = folded(m(), op, &["a"], vec![ints("axes", &[1]), int("keepdims", 0)]).unwrap();
        assert_eq!((t.dims.as_slice(), real(&t)), (&[2][..], want.to_vec()), "{op}");
    }
    let all = folded(m(), "ReduceSum", &["a"], vec![int("keepdims", 0)]).unwrap();
    assert_eq!((all.dims.len(), real(&all)), (0, vec![9.0]));
    let same = folded(m(), "ReduceSum", &["a"], vec![int("noop_with_empty_axes", 1)]).unwrap();
    assert_eq!(same.dims, [2, 3]);
    let whole = model(&[typed("a", 7, &[3], &[5.0, -2.0, 4.0])]);
    assert_eq!(real(&folded(whole, "ReduceProd", &["a"], vec![]).unwrap()), [-40.0]);
}

#[test]
fn slices_of_every_kind() {
    let counted: Vec<f64> = (0..12).map(f64::from).collect();
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        let n = starts.len() as i64;
        let m = model(&[typed("a", 1, &[3, 4], &counted)]);
        let m = m.ints("s", &[n], starts).ints("e", &[n], ends).ints("x", &[n], axes).ints("t", &[n], steps);
        folded(m, "Slice", &["a", "s", "e", "x", "t"], vec![]).map(|t| (t.dims.clone(), real(&t)))
    };
    assert_eq!(slice(&[1], &[3], &[1], &[1]).unwrap(), (vec![3, 2], vec![1.0, 2.0, 5.0, 6.0, 9.0, 10.0]));
    assert_eq!(slice(&[-1], &[i64::MIN + 1], &[0], &[-1]).unwrap().1[..5], [8.0, 9.0, 10.0, 11.0, 4.0]);
    assert_eq!(slice(&[3, 0], &[0, 9], &[1, 0], &[-2, 2]).unwrap(), (vec![2, 2], vec![3.0, 1.0, 11.0, 9.0]));
    assert_eq!(slice(&[0], &[i64::MAX], &[0], &[i64::MAX]).unwrap().0, [1, 4]);
    assert_eq!(slice(&[2], &[1], &[0], &[1]).unwrap().0, [0, 4]);
    assert_eq!(slice(&[-9], &[-2], &[1], &[1]).unwrap().0, [3, 2]);
    assert!(slice(&[0], &[1], &[0], &[0]).is_err());
    assert!(slice(&[0], &[1], &[2], &[1]).is_err());
    // Attributes, before opset 10.
    let m = model(&[typed("a", 1, &[3, 4], &counted)]);
    let t = folded(m, "Slice", &["a"], vec![ints("starts", &[2]), ints("ends", &[3])]).unwrap();
    assert_eq!(real(&t), [8.0, 9.0, 10.0, 11.0]);
}

#[test]
fn elements_move() {
    let counted: Vec<f64> = (0..6).map(f64::from).collect();
    let m = || model(&[typed("a", 1, &[2, 3], &counted)]);
    let moved = |m: Model, op: &str, inputs: &[&str], attribute| {
        let t = folded(m, op, inputs, attribute).unwrap_or_else(|why| panic!("{op}: {why}"));
        (t.dims.clone(), real(&t))
    };
    let i = |list: &[i64]| m().ints("i", &[list.len() as i64], list);
    assert_eq!(moved(i(&[-1, 0]), "Gather", &["a", "i"], vec![int("axis", 1)]).1, [2.0, 0.0, 5.0, 3.0]);
    assert_eq!(
        moved(m().ints("i", &[], &[1]), "Gather", &["a", "i"], vec![]),
        (vec![3], vec![3.0, 4.0, 5.0])
    );
    assert_eq!(
        moved(m(), "Concat", &["a", "a"], vec![int("axis", 1)]).1[..6],
        [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    );
    assert_eq!(moved(m(), "Transpose", &["a"], vec![]).1, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(moved(i(&[-1, 2]), "Reshape", &["a", "i"], vec![]).0, [3, 2]);
    assert_eq!(moved(i(&[0, 1, -1]), "Reshape", &["a", "i"], vec![]).0, [2, 1, 3]);
    assert_eq!(moved(m(), "Flatten", &["a"], vec![int("axis", 0)]).0, [1, 6]);
    assert_eq!(moved(i(&[0]), "Unsqueeze", &["a", "i"], vec![]).0, [1, 2, 3]);
    assert_eq!(moved(i(&[2, 1, 3]), "Expand", &["a", "i"], vec![]).0, [2, 2, 3]);
    assert_eq!(moved(i(&[1, 2]), "Tile", &["a", "i"], vec![]).1[..6], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    let padded = moved(i(&[0, 1, 1, 0]), "Pad", &["a", "i"], vec![]);
    assert_eq!(padded, (vec![3, 4], vec![0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0, 0.0]));
    let parts = outputs(m(), "Split", &["a"], 2, vec![int("axis", 1), int("num_outputs", 2)]).unwrap();
    assert_eq!((real(&parts[0]), real(&parts[1])), (vec![0.0, 1.0, 3.0, 4.0], vec![2.0, 5.0]));
    for (m, op, inputs, attribute) in [
        (i(&[3]), "Gather", &["a", "i"][..], vec![int("axis", 1)]),
        (i(&[4, -1]), "Reshape", &["a", "i"], vec![]),
        (i(&[-1, -1]), "Reshape", &["a", "i"], vec![]),
        (i(&[4, 4]), "Expand", &["a", "i"], vec![]),
        (i(&[2]), "Tile", &["a", "i"], vec![]),
        (i(&[-1, 0, 0, 0]), "Pad", &["a", "i"], vec![]),
        (i(&[5]), "Concat", &["a", "i"], vec![int("axis", 0)]),
    ] {
        assert!(folded(m, op, inputs, attribute).is_err(), "{op}");
    }
}

#[test]
fn constants_out_of_nothing_and_in_other_types() {
    let value = |t: TensorProto| Attribute {
        name: "value".into(),
        kind: kind::TENSOR,
        t: Some(t),
        ..Default::default()
    };
    let m = || Model::new(&[4, 3]).ints("n", &[2], &[2, 1]);
    let t = folded(m(), "ConstantOfShape", &["n"], vec![value(typed("", 7, &[1], &[5.0]))]).unwrap();
    assert_eq!((t.kind(), t.dims.clone(), real(&t)), (Type::Int(64), vec![2, 1], vec![5.0, 5.0]));
    assert_eq!(folded(m(), "ConstantOfShape", &["n"], vec![]).unwrap().kind(), Type::Float);
    let range = |from, to, step| {
        let m = model(&[typed("f", 1, &[], &[from]), typed("t", 1, &[], &[to]), typed("s", 1, &[], &[step])]);
        folded(m, "Range", &["f", "t", "s"], vec![])
    };
    assert_eq!(real(&range(1.0, 2.0, 0.25).unwrap()), [1.0, 1.25, 1.5, 1.75]);
    assert!(range(0.0, 1.0, -1.0).unwrap().len() == 0);
    assert!(range(0.0, 1.0, 0.0).unwrap_err().contains("has no end"));
    assert!(range(0.0, 1e30, 1.0).unwrap_err().contains("more computed constants"));
    let cast = |from: TensorProto, to| {
        let m = model(&[TensorProto { name: "a".into(), ..from }]);
        folded(m, "Cast", &["a"], vec![int("to", to)]).map(|t| (t.kind(), real(&t)))
    };
    assert_eq!(cast(typed("", 1, &[2], &[1.9, -1.9]), 7).unwrap(), (Type::Int(64), vec![1.0, -1.0]));
    assert_eq!(cast(typed("", 7, &[1], &[300.0]), 2).unwrap(), (Type::Uint(8), vec![44.0]));
    assert_eq!(cast(typed("", 1, &[2], &[0.5, 0.0]), 9).unwrap(), (Type::Bool, vec![1.0, 0.0]));
    assert_eq!(cast(typed("", 11, &[1], &[0.1]), 1).unwrap().1, [f64::from(0.1f32)]);
    assert_eq!(cast(typed("", 1, &[1], &[0.1]), 10).unwrap().1, [0.099_975_585_937_5]);
    assert!(cast(typed("", 1, &[1], &[1e30]), 7).unwrap_err().contains("beyond all integers"));
    assert!(cast(typed("", 1, &[1], &[1.0]), 8).unwrap_err().contains("to STRING"));
    let like = model(&[typed("a", 1, &[1], &[2.5]), typed("b", 7, &[1], &[0.0])]);
    assert_eq!(folded(like, "CastLike", &["a", "b"], vec![]).unwrap().kind(), Type::Int(64));
    let product = model(&[typed("a", 1, &[2, 2], &[1.0, 2.0, 3.0, 4.0]), typed("b", 1, &[2], &[1.0, -1.0])]);
    assert_eq!(real(&folded(product, "MatMul", &["a", "b"], vec![]).unwrap()), [-1.0, -1.0]);
}

/// The number of images stays a number that is not known.
#[test]
fn shapes_of_wires() {
    let m = || {
        Model::new(&[4, 3]).node("Shape", &["x"], "s", vec![]).ints("i", &[1], &[0]).ints("one", &[1], &[1])
    };
    let part = folded(Model::new(&[4, 3]), "Shape", &["x"], vec![int("start", -2), int("end", 9)]).unwrap();
    assert_eq!(real(&part), [4.0, 3.0]);
    let n = || m().node("Gather", &["s", "i"], "n", vec![]);
    let alone =
        |op: &str, inputs: &[&str]| folded(n(), op, inputs, vec![]).map(|t| t.integers().unwrap().to_vec());
    let batch = constant::BATCH;
    assert_eq!(alone("Mul", &["n", "one"]).unwrap(), [batch]);
    assert_eq!(alone("Add", &["n", "i"]).unwrap(), [batch]);
    assert_eq!(alone("Div", &["n", "n"]).unwrap(), [1]);
    assert_eq!(alone("Sub", &["n", "n"]).unwrap(), [0]);
    assert_eq!(alone("Equal", &["n", "i"]).unwrap(), [0]);
    assert_eq!(alone("Greater", &["n", "i"]).unwrap(), [1]);
    assert_eq!(alone("Max", &["n", "one"]).unwrap(), [batch]);
    for op in ["Add", "Equal", "Less"] {
        let why = alone(op, &["n", "one"]);
        // `Less than 1` is told without knowing it.
        assert!(op == "Less" || why.unwrap_err().contains("how many images there are is open"), "{op}");
    }
    let cast = folded(n(), "Cast", &["n"], vec![int("to", 6)]).unwrap();
    assert_eq!((cast.kind(), cast.integers().unwrap()), (Type::Int(32), &[batch][..]));
    assert!(folded(n(), "Cast", &["n"], vec![int("to", 1)]).unwrap_err().contains("the number of images"));
    assert!(folded(m(), "ReduceProd", &["s"], vec![]).unwrap_err().contains("the number of images"));
    assert!(
        folded(Model::new(&[4, 3]), "Size", &["x"], vec![])
            .unwrap_err()
            .contains("how many there are is open")
    );
    // For one image as for all.
    assert_eq!(folded(m(), "ConstantOfShape", &["s"], vec![]).unwrap().dims, [1, 4, 3]);
}

/// What a small file could ask for.
#[test]
fn results_are_bounded() {
    let huge = || Model::new(&[4]).ints("n", &[2], &[1 << 14, 1 << 14]).floats("a", &[1, 1], &[1.0]);
    for (op, inputs) in [
        ("ConstantOfShape", &["n"][..]),
        ("Expand", &["a", "n"]),
        ("Tile", &["a", "n"]),
        ("Pad", &["a", "p"]),
    ] {
        let m = huge().ints("p", &[4], &[1 << 14, 1 << 14, 0, 0]);
        assert!(folded(m, op, inputs, vec![]).unwrap_err().contains("more computed constants"), "{op}");
    }
    let m = Model::new(&[4]).ints("n", &[2], &[i64::MAX, i64::MAX]);
    assert!(folded(m, "ConstantOfShape", &["n"], vec![]).unwrap_err().contains("not usable"));
    // Work counts as well as space.
    let m = huge().ints("one", &[2], &[1 << 12, 1 << 12]).node("ConstantOfShape", &["one"], "c", vec![]);
    assert!(folded(m, "MatMul", &["c", "c"], vec![]).unwrap_err().contains("more computed constants"));
}
