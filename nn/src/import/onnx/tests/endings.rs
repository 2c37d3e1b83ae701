//! The ends of networks: what is dropped, which output is taken, what scikit-learn writes.

use super::*;

fn read(m: &mut Model, options: &Options<'_>) -> Result<(Imported, Report)> {
    super::super::read(&m.bytes(), options)
}

fn refused(m: &mut Model, options: &Options<'_>) -> String {
    read(m, options).map(|(model, _)| model.graph).unwrap_err().to_string()
}

/// Three logits: 2 x.
fn logits() -> Model {
    Model::new(&[3]).floats("two", &[1], &[2.0]).node("Mul", &["x", "two"], "l", vec![])
}

#[test]
fn last_functions_of_the_logits_are_dropped() {
    for (op, axis) in [("Softmax", Some(1)), ("LogSoftmax", Some(-1)), ("Softmax", None), ("Sigmoid", None)] {
        let attribute = axis.map(|a| int("axis", a)).into_iter().collect();
        let mut m = logits().node(op, &["l"], "p", attribute).node("Identity", &["p"], "i", vec![]);
        m = m.ints("flat", &[2], &[0, 3]).node("Reshape", &["i", "flat"], "y", vec![]);
        let (model, report) = read(&mut m, &Options::default()).unwrap();
        close(&run(&model, &[1.0, -2.0, 3.0]), &[2.0, -4.0, 6.0]);
        assert_eq!((report.dropped[0].op.as_str(), report.dropped.len()), (op, 1));
        let why = refused(&mut m, &Options { keep_probabilities: true, ..Options::default() });
        assert!(why.contains("no gate for") && why.contains("without --keep-probabilities"), "{why}");
    }
    let mut m = logits();
    assert!(read(&mut m, &Options { keep_probabilities: true, ..Options::default() }).is_ok());
    let mut one = Model::new(&[1]).node("Sigmoid", &["x"], "s", vec![]).node("Relu", &["x"], "r", vec![]);
    one.graph().node.swap(0, 1);
    one.graph().node[1].input = vec!["r".into()];
    let (_, report) = read(&mut one, &Options::default()).unwrap();
    assert!(report.dropped[0].meaning.contains("above 0 is class 1"));
}

#[test]
fn functions_elsewhere_stay_and_are_refused() {
    // In the middle.
    let m = logits().node("Softmax", &["l"], "p", vec![]).node("Relu", &["p"], "y", vec![]);
    assert!(m.obstacle().contains("inside the network it needs a gate"));
    // Read by something else, too.
    let m = logits().node("Sigmoid", &["l"], "p", vec![]).node("Mul", &["p", "two"], "q", vec![]);
    assert!(m.node("Add", &["p", "q"], "y", vec![]).obstacle().contains("a smooth function"));
    // Over what are no classes.
    let over = |shape: &[i64], axis: i64, opset: i64| {
        let mut m = Model::new(shape).node("Relu", &["x"], "r", vec![]).node(
            "Softmax",
            &["r"],
            "y",
            vec![int("axis", axis)],
        );
        m.0.opset_import[0].version = opset;
        m
    };
    assert!(over(&[3, 4, 4], 1, 17).import().is_ok());
    assert!(over(&[3, 1, 1], 1, 11).import().is_ok());
    for (shape, axis, opset) in
        [(&[3, 4, 4][..], 3, 17), (&[3, 4, 4], 1, 11), (&[3], 0, 17), (&[5, 3], -1, 17)]
    {
        assert!(over(shape, axis, opset).obstacle().contains("are not the classes"), "{shape:?} {axis}");
    }
    assert!(over(&[1], 1, 17).obstacle().contains("its result is 1"));
}

#[test]
fn labels() {
    let largest = |keep: i64| {
        logits().node("Softmax", &["l"], "p", vec![]).node(
            "ArgMax",
            &["p"],
            "a",
            vec![int("axis", 1), int("keepdims", keep)],
        )
    };
    for m in [
        largest(0),
        largest(1),
        largest(0).node("Cast", &["a"], "y", vec![int("to", 6)]),
        largest(1).ints("axes", &[1], &[1]).node("Squeeze", &["a", "axes"], "y", vec![]),
    ] {
        let mut m = m;
        m.complete();
        let (model, report) = read(&mut m, &Options::default()).unwrap();
        assert_eq!(ops(&model.graph).last(), Some(&"argmax"));
        assert_eq!(report.dropped[0].op, "Softmax");
        assert_eq!(run(&model, &[1.0, 5.0, 3.0]), [1.0]);
    }
    let one = Model::new(&[1]).node("ArgMax", &["x"], "y", vec![int("axis", 1)]);
    assert!(one.obstacle().contains("over one class"));
    let middle = largest(1).node("Relu", &["a"], "y", vec![]);
    assert!(middle.obstacles().iter().any(|o| o.contains("an index in the middle")));
}

/// Two heads on one trunk.
fn heads() -> Model {
    let mut m = logits().node("Relu", &["l"], "a", vec![]).node("Neg", &["l"], "gone", vec![]);
    m = m.node("LeakyRelu", &["l"], "b", vec![]);
    m.graph().output = ["a", "b"].map(|name| ValueInfo { name: name.into(), kind: None }).to_vec();
    m
}

#[test]
fn one_of_several_outputs() {
    let why = refused(&mut heads(), &Options::default());
    assert!(why.contains("2 outputs, wanted one; choose with --output NAME: `a`, `b`"), "{why}");
    let (model, report) = read(&mut heads(), &Options { output: Some("b"), ..Options::default() }).unwrap();
    assert_eq!(ops(&model.graph).last(), Some(&"leaky_relu"));
    assert_eq!((report.output.as_str(), &report.others[..]), ("b", &["a".to_owned()][..]));
    let why = refused(&mut heads(), &Options { output: Some("c"), ..Options::default() });
    assert!(why.contains("no output is named `c`; name one of `a`, `b`"), "{why}");
    // Only one of them can be taken.
    let mut m = heads();
    m.graph().node[1].op_type = "LSTM".into();
    let (_, report) = read(&mut m, &Options::default()).unwrap();
    assert_eq!(report.output, "b");
    m.graph().node[3].op_type = "GRU".into();
    let why = refused(&mut m, &Options::default());
    assert!(why.contains("none of which can be taken") && why.contains("GRU"), "{why}");
}

fn ml(m: Model, op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<Attribute>) -> Model {
    let mut m = m.node(op, inputs, outputs[0], attribute);
    let node = m.graph().node.last_mut().unwrap();
    node.domain = "ai.onnx.ml".into();
    node.output = outputs.iter().map(|o| o.to_string()).collect();
    m
}
fn numbers(name: &str, floats: &[f32]) -> Attribute {
    Attribute { name: name.into(), kind: kind::FLOATS, floats: floats.to_vec(), ..Default::default() }
}
fn stated(name: &str, elem_type: i32) -> ValueInfo {
    let kind = TypeProto { tensor: Some(TensorType { elem_type, shape: None }) };
    ValueInfo { name: name.into(), kind: Some(kind) }
}

/// As skl2onnx writes a multilayer perceptron of two classes: a label, and a table of `[1 - p, p]`.
#[test]
fn a_binary_perceptron_of_scikit_learn() {
    let mut m = Model::new(&[1])
        .floats("two", &[1], &[2.0])
        .floats("unity", &[], &[1.0])
        .ints("classes", &[2], &[0, 1])
        .ints("shape", &[1], &[-1])
        .node("Mul", &["x", "two"], "z", vec![])
        .node("Sigmoid", &["z"], "p", vec![])
        .node("Sub", &["unity", "p"], "q", vec![])
        .node("Concat", &["q", "p"], "probabilities", vec![int("axis", 1)])
        .node("ArgMax", &["probabilities"], "a", vec![int("axis", 1)]);
    m = ml(m, "ArrayFeatureExtractor", &["classes", "a"], &["f"], vec![]);
    m = m.node("Reshape", &["f", "shape"], "r", vec![]).node("Cast", &["r"], "label", vec![int("to", 7)]);
    m = ml(m, "ZipMap", &["probabilities"], &["table"], vec![ints("classlabels_int64s", &[0, 1])]);
    m.graph().output = vec![stated("label", 7), ValueInfo { name: "table".into(), kind: None }];
    let (model, report) = read(&mut m, &Options::default()).unwrap();
    assert_eq!(report.output, "table");
    close(&run(&model, &[-3.0]), &[-6.0]);
    let ops: Vec<_> = report.dropped.iter().map(|d| d.op.as_str()).collect();
    assert_eq!(ops, ["Sigmoid", "ZipMap"]);
    assert_eq!(report.classes, ["0", "1"]);
    assert!(report.dropped[0].meaning.contains("above 0 is class 1"));
    // The label itself, of classes with names.
    let names = TensorProto {
        name: "classes".into(),
        dims: vec![2],
        data_type: 8,
        string_data: vec![b"no".to_vec(), b"yes".to_vec()],
        ..Default::default()
    };
    let mut three =
        Model::new(&[2]).ints("shape", &[1], &[-1]).node("ArgMax", &["x"], "a", vec![int("axis", 1)]);
    three.graph().initializer.push(names);
    let three = ml(three, "ArrayFeatureExtractor", &["classes", "a"], &["f"], vec![]);
    let mut three = three.node("Reshape", &["f", "shape"], "label", vec![]);
    let (model, report) = read(&mut three, &Options::default()).unwrap();
    assert_eq!(
        (run(&model, &[1.0, 2.0]), &report.classes[..]),
        (vec![1.0], &["no".to_owned(), "yes".to_owned()][..])
    );
    // Anything but one takes the pair apart.
    m.graph().initializer[1].float_data = vec![2.0];
    assert!(refused(&mut m, &Options::default()).contains("Sigmoid"));
}

#[test]
fn linear_models_of_scikit_learn() {
    let coefficients = || numbers("coefficients", &[1.0, 0.0, 0.0, 2.0, -1.0, 1.0]);
    let classifier = |transform: &str| {
        let attribute = vec![
            coefficients(),
            numbers("intercepts", &[0.0, 1.0, 0.0]),
            ints("classlabels_ints", &[3, 5, 9]),
            text("post_transform", transform),
            int("multi_class", 1),
        ];
        let m = ml(Model::new(&[2]), "LinearClassifier", &["x"], &["label", "scores"], attribute);
        let mut m = ml(m, "Normalizer", &["scores"], &["probabilities"], vec![text("norm", "L1")]);
        m.graph().output = vec![stated("label", 7), stated("probabilities", 1)];
        m
    };
    for transform in ["SOFTMAX", "LOGISTIC"] {
        let (model, report) = read(&mut classifier(transform), &Options::default()).unwrap();
        close(&run(&model, &[1.0, 2.0]), &[1.0, 5.0, 1.0]);
        assert_eq!(report.classes, ["3", "5", "9"]);
        assert!(report.dropped[0].meaning.contains(transform));
    }
    assert!(refused(&mut classifier("PROBIT"), &Options::default()).contains("post_transform PROBIT"));
    let label = Options { output: Some("label"), ..Options::default() };
    let (model, report) = read(&mut classifier("SOFTMAX"), &label).unwrap();
    assert_eq!((run(&model, &[1.0, 2.0]), report.classes.len()), (vec![1.0], 3));

    // One of two scores, as LinearSVC gives it.
    let one = vec![numbers("coefficients", &[-1.0, 2.0, 1.0, -2.0]), ints("classlabels_ints", &[0, 1])];
    let one =
        ml(Model::new(&[2]).ints("i", &[], &[1]), "LinearClassifier", &["x"], &["label", "scores"], one);
    let one = ml(one, "ArrayFeatureExtractor", &["scores", "i"], &["y"], vec![]).import().unwrap();
    close(&run(&one, &[3.0, 1.0]), &[1.0]);

    let scaled = || {
        ml(
            Model::new(&[2]),
            "Scaler",
            &["x"],
            &["s"],
            vec![numbers("offset", &[1.0, 2.0]), numbers("scale", &[2.0, 0.5])],
        )
    };
    let attribute = vec![coefficients(), numbers("intercepts", &[0.5, 0.0, 0.0]), int("targets", 3)];
    let m = ml(scaled(), "LinearRegressor", &["s"], &["y"], attribute).import().unwrap();
    close(&run(&m, &[3.0, 6.0]), &[4.5, 4.0, -2.0]);
    let short =
        ml(Model::new(&[2]), "LinearRegressor", &["x"], &["y"], vec![coefficients(), int("targets", 2)]);
    assert!(short.obstacle().contains("6 coefficients and 0 intercepts for 2 inputs and 2 results"));
    let tree = ml(Model::new(&[2]), "TreeEnsembleRegressor", &["x"], &["y"], vec![]);
    assert!(tree.obstacle().contains("only linear models and scalers"));
}
