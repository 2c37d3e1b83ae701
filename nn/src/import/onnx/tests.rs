//! Small models, built message by message.

use super::proto::*;
use super::tensor::Tensor;
use super::types::Type;
use super::*;
use crate::graph::{Op, Role};
use crate::{Evaluator, Graph, Weights};

mod choices;
mod constants;
mod dropouts;
mod elementwise;
mod endings;
mod functions;
mod layouts;
mod mutations;
mod norms;
mod parts;
mod products;
mod refusals;
mod sequences;
mod turned;
mod walk;
mod windows;

/// A model under construction: `[batch, shape]` in, the last node's first output out.
struct Model(ModelProto);

impl Model {
    fn new(shape: &[i64]) -> Model {
        let dims = shape.iter().map(|&d| Dimension { extent: Some(Extent::Value(d)) });
        let batch = Dimension { extent: Some(Extent::Symbol("batch".into())) };
        let shape = TensorShape { dim: [batch].into_iter().chain(dims).collect() };
        let tensor = TensorType { elem_type: 1, shape: Some(shape) };
        let input = ValueInfo { name: "x".into(), kind: Some(TypeProto { tensor: Some(tensor) }) };
        let graph = GraphProto { name: "test".into(), input: vec![input], ..Default::default() };
        let opset_import = vec![OperatorSetId { domain: String::new(), version: 17 }];
        Model(ModelProto { graph: Some(graph), opset_import, functions: vec![] })
    }
    fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }
    /// A float constant that counts up from -1 in steps of 1/8.
    fn init(mut self, name: &str, dims: &[i64]) -> Model {
        let n = dims.iter().product::<i64>();
        let float_data = (0..n).map(|i| i as f32 / 8.0 - 1.0).collect();
        let t = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data,
            ..Default::default()
        };
        self.graph().initializer.push(t);
        self
    }
    fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Model {
        let float_data = values.to_vec();
        let t = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data,
            ..Default::default()
        };
        self.graph().initializer.push(t);
        self
    }
    fn ints(mut self, name: &str, dims: &[i64], values: &[i64]) -> Model {
        let int64_data = values.to_vec();
        let t = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 7,
            int64_data,
            ..Default::default()
        };
        self.graph().initializer.push(t);
        self
    }
    /// A node `op` that reads `inputs` and gives `output`.
    fn node(mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) -> Model {
        self.graph().node.push(NodeProto {
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            op_type: op.into(),
            attribute,
            ..Default::default()
        });
        self
    }
    /// Lets the last node be the output, unless there is one.
    fn complete(&mut self) {
        if self.graph().output.is_empty() {
            let name = self.graph().node.last().map(|n| n.output[0].clone()).unwrap_or_default();
            self.graph().output.push(ValueInfo { name, kind: None });
        }
    }
    fn bytes(&mut self) -> Vec<u8> {
        self.complete();
        self.0.encode_to_vec()
    }
    fn import(mut self) -> Result<Imported> {
        import(&self.bytes(), None, None)
    }
    fn obstacles(self) -> Vec<String> {
        match self.import() {
            Err(Error::Import { obstacles }) => obstacles.iter().map(ToString::to_string).collect(),
            Err(other) => panic!("{other}"),
            Ok(got) => panic!("imported {:?}", got.graph),
        }
    }
    /// The one obstacle there should be.
    fn obstacle(self) -> String {
        let all = self.obstacles();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), kind: kind::INT, i, ..Default::default() }
}
fn ints(name: &str, v: &[i64]) -> Attribute {
    Attribute { name: name.into(), kind: kind::INTS, ints: v.to_vec(), ..Default::default() }
}
fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), kind: kind::FLOAT, f, ..Default::default() }
}
fn text(name: &str, s: &str) -> Attribute {
    Attribute { name: name.into(), kind: kind::STRING, s: s.into(), ..Default::default() }
}
fn ops(g: &Graph) -> Vec<&'static str> {
    g.nodes.iter().map(|n| n.op.kind()).collect()
}
fn run(m: &Imported, x: &[f32]) -> Vec<f32> {
    Evaluator::new(&m.graph, &m.weights).unwrap().run(x).unwrap().concat()
}
fn close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 1e-5, "{got:?} {want:?}");
    }
}

#[test]
fn gemm_in_all_its_forms() {
    // W = [-1 .. 0.25] as [2, 3] or [3, 2]; x = (1, 2, 4).
    let x = [1.0, 2.0, 4.0];
    let plain = Model::new(&[3]).init("w", &[2, 3]).node("Gemm", &["x", "w"], "y", vec![int("transB", 1)]);
    close(&run(&plain.import().unwrap(), &x), &[-1.0 - 1.75 - 3.0, -0.625 - 1.0 - 1.5]);
    let straight = |bias: &str| {
        Model::new(&[3])
            .init("w", &[3, 2])
            .floats("s", &[1, 1], &[10.0])
            .floats("b", &[1, 2], &[1.0, 2.0])
            .node("Gemm", &["x", "w", bias], "y", vec![float("alpha", 2.0), float("beta", 0.5)])
    };
    let sums = [2.0 * (-1.0 - 1.5 - 2.0), 2.0 * (-0.875 - 1.25 - 1.5)];
    close(&run(&straight("b").import().unwrap(), &x), &[sums[0] + 0.5, sums[1] + 1.0]);
    close(&run(&straight("s").import().unwrap(), &x), &[sums[0] + 5.0, sums[1] + 5.0]);
    let bad = Model::new(&[3]).init("w", &[2, 3]).node("Gemm", &["x", "w"], "y", vec![int("transA", 1)]);
    assert!(bad.obstacle().contains("mix images"));
    let bad = Model::new(&[3]).init("w", &[2, 3]).init("b", &[3]).node(
        "Gemm",
        &["x", "w", "b"],
        "y",
        vec![int("transB", 1)],
    );
    assert!(bad.obstacle().contains("one value per output (2)"));
}

#[test]
fn matmul_takes_the_bias_behind_it() {
    let m = Model::new(&[3]).init("w", &[3, 2]).floats("b", &[2], &[1.0, 2.0]);
    let m =
        m.node("MatMul", &["x", "w"], "p", vec![]).node("Add", &["b", "p"], "y", vec![]).import().unwrap();
    assert_eq!(ops(&m.graph), ["linear"]);
    assert_eq!(m.graph.params.iter().map(|p| p.role).collect::<Vec<_>>(), [Role::Weight, Role::Bias]);
    close(&run(&m, &[1.0, 2.0, 4.0]), &[-4.5 + 1.0, -3.625 + 2.0]);
    let left = Model::new(&[3]).init("w", &[3, 2]).node("MatMul", &["w", "x"], "y", vec![]);
    assert!(left.obstacle().contains("would mix images"));
}

/// BatchNormalization with epsilon 0.5 over two channels: scale (2, 3), shift as computed below.
fn batch_norm(m: Model, from: &str) -> Model {
    m.floats("g", &[2], &[2.0, 3.0])
        .floats("be", &[2], &[0.25, -1.0])
        .floats("m", &[2], &[0.5, -0.5])
        .floats("v", &[2], &[0.5, 0.5])
        .node("BatchNormalization", &[from, "g", "be", "m", "v"], "bn", vec![float("epsilon", 0.5)])
}

#[test]
fn batch_normalization_folds_into_conv_and_linear() {
    let x = [1.0, -2.0, 0.5, 4.0];
    let conv = || Model::new(&[1, 2, 2]).init("w", &[2, 1, 1, 1]).floats("b", &[2], &[1.0, 2.0]);
    let plain = conv().node("Conv", &["x", "w", "b"], "c", vec![]).import().unwrap();
    let folded = batch_norm(conv().node("Conv", &["x", "w", "b"], "c", vec![]), "c").import().unwrap();
    assert_eq!(ops(&folded.graph), ["conv2d"]);
    let norm = |c: usize, v: f32| [2.0 * (v - 0.5) + 0.25, 3.0 * (v + 0.5) - 1.0][c];
    let want: Vec<f32> = run(&plain, &x).iter().enumerate().map(|(i, &v)| norm(i / 4, v)).collect();
    close(&run(&folded, &x), &want);
    let linear = Model::new(&[4]).init("w", &[2, 4]).node("Gemm", &["x", "w"], "l", vec![int("transB", 1)]);
    let folded = batch_norm(linear, "l").import().unwrap();
    assert_eq!(ops(&folded.graph), ["linear"]);
    // w x = (-1 + 1.75 - .375 - 2.5, -.5 + .75 - .125 - .5)
    close(&run(&folded, &x), &[norm(0, -2.125), norm(1, -0.375)]);
}

#[test]
fn batch_normalization_elsewhere_is_a_layer_of_its_own() {
    let x = [1.0, -2.0, 0.5, 4.0];
    // The convolution feeds the sum as well, so it must stay as it is.
    let m = Model::new(&[2, 1, 2]).init("w", &[2, 2, 1, 1]).node("Conv", &["x", "w"], "c", vec![]);
    let m = batch_norm(m, "c").node("Add", &["c", "bn"], "y", vec![]).import().unwrap();
    assert_eq!(ops(&m.graph), ["conv2d", "conv2d", "add"]);
    assert!(matches!(m.graph.nodes[1].op, Op::Conv2d { groups: 2, .. }));
    let c = [-1.0 - 0.875 * 0.5, 2.0 - 0.875 * 4.0, -0.75 - 0.625 * 0.5, 1.5 - 0.625 * 4.0];
    close(&run(&m, &x), &[3.0 * c[0] - 0.75, 3.0 * c[1] - 0.75, 4.0 * c[2] + 0.5, 4.0 * c[3] + 0.5]);
    // One axis, behind a ReLU.
    let m = batch_norm(Model::new(&[2]).node("Relu", &["x"], "r", vec![]), "r").import().unwrap();
    assert_eq!(ops(&m.graph), ["relu", "reshape", "conv2d", "reshape"]);
    close(&run(&m, &[1.0, -1.0]), &[1.25, 0.5]);
    let training = Model::new(&[2]).init("p", &[2]);
    let training =
        training.node("BatchNormalization", &["x", "p", "p", "p", "p"], "y", vec![int("training_mode", 1)]);
    assert!(training.obstacle().contains("eval mode"));
}

#[test]
fn constants_in_arithmetic() {
    // Normalisation inside the network: two maps on the input become one layer.
    let m = Model::new(&[2, 1, 1])
        .floats("mean", &[1, 2, 1, 1], &[1.0, 2.0])
        .floats("std", &[2, 1, 1], &[2.0, 4.0])
        .node("Sub", &["x", "mean"], "a", vec![])
        .node("Div", &["a", "std"], "y", vec![])
        .import()
        .unwrap();
    assert_eq!(ops(&m.graph), ["conv2d"]);
    close(&run(&m, &[3.0, 4.0]), &[1.0, 0.5]);
    let m = Model::new(&[2]).floats("one", &[], &[1.0]).floats("two", &[1], &[2.0]);
    let m =
        m.node("Sub", &["one", "x"], "a", vec![]).node("Mul", &["a", "two"], "y", vec![]).import().unwrap();
    close(&run(&m, &[3.0, 4.0]), &[-4.0, -6.0]);
    for (dims, shape) in [(&[1, 1, 1, 2, 2][..], &[1, 2, 2][..]), (&[3, 2], &[2]), (&[3, 1, 1], &[2, 2, 2])] {
        let m = Model::new(shape).init("c", dims).node("Add", &["x", "c"], "y", vec![]);
        let why = m.obstacle();
        assert!(why.contains("mix images") || why.contains("broadcast"), "{dims:?} on {shape:?}: {why}");
    }
    let m = Model::new(&[2]).floats("z", &[1], &[0.0]).node("Div", &["x", "z"], "y", vec![]);
    assert!(m.obstacle().contains("not finite"));
}

#[test]
fn residual_block_with_pool_relu_order_and_dropout() {
    let pads = || vec![ints("pads", &[1, 1, 1, 1]), ints("kernel_shape", &[3, 3])];
    let m = Model::new(&[1, 4, 4])
        .init("w", &[1, 1, 3, 3])
        .node("Conv", &["x", "w"], "c", pads())
        .node("Relu", &["c"], "r", vec![])
        .node("MaxPool", &["r"], "p", vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .node("Dropout", &["p"], "d", vec![])
        .node("Conv", &["d", "w"], "c2", pads())
        .node("Add", &["c2", "d"], "s", vec![])
        .node("GlobalAveragePool", &["s"], "g", vec![])
        .node("Flatten", &["g"], "f", vec![])
        .node("Identity", &["f"], "y", vec![])
        .import()
        .unwrap();
    assert_eq!(ops(&m.graph), ["conv2d", "max_pool", "relu", "conv2d", "add", "avg_pool", "reshape"]);
    // One initializer used twice: two parameters of different names.
    assert_eq!(m.graph.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["w", "w_2"]);
    assert_eq!(m.graph.nodes[0].name, "conv1");
    assert_eq!(m.graph.nodes[3].name, "conv2");
    assert_eq!(m.graph.shapes().unwrap().last().unwrap(), &[1]);
}

#[test]
fn windows() {
    let pool = |attribute| Model::new(&[1, 5, 5]).node("AveragePool", &["x"], "y", attribute);
    let k = || ints("kernel_shape", &[2, 2]);
    let shape = |m: Imported| m.graph.shapes().unwrap()[0].clone();
    assert_eq!(
        shape(pool(vec![k(), ints("strides", &[2, 2]), text("auto_pad", "SAME_UPPER")]).import().unwrap()),
        [1, 3, 3]
    );
    assert_eq!(shape(pool(vec![k(), text("auto_pad", "VALID")]).import().unwrap()), [1, 4, 4]);
    let counted = pool(vec![k(), ints("pads", &[1, 1, 1, 1]), int("count_include_pad", 1)]).import().unwrap();
    close(&run(&counted, &[4.0; 25])[..2], &[1.0, 2.0]);
    let left_out = pool(vec![k(), ints("pads", &[1, 1, 1, 1])]).import().unwrap();
    close(&run(&left_out, &[4.0; 25])[..2], &[4.0, 4.0]);
    for (attribute, want) in [
        (vec![], "`kernel_shape` is missing"),
        (vec![ints("kernel_shape", &[2])], "wanted 2 numbers"),
        (vec![k(), ints("pads", &[1, 1])], "wanted 4 numbers"),
        (vec![ints("kernel_shape", &[2, -2])], "none negative"),
        (vec![ints("kernel_shape", &[0, 2])], "must be 1 to"),
        (vec![k(), ints("dilations", &[i64::MAX, 1])], "must be 1 to"),
        (vec![k(), ints("pads", &[3, 3, 3, 3])], "nothing but padding"),
        (vec![k(), text("auto_pad", "SAME")], "unknown auto_pad"),
        (vec![k(), text("auto_pad", "VALID"), ints("pads", &[1, 1, 1, 1])], "both auto_pad and pads"),
        (vec![k(), int("sorted", 1)], "unknown attribute `sorted`"),
        (vec![int("kernel_shape", 2)], "of kind 2"),
        (vec![ints("kernel_shape", &[6, 6])], "does not fit"),
    ] {
        let why = pool(attribute).obstacle();
        assert!(why.contains(want), "wanted {want:?}, found {why}");
    }
    assert!(
        pool(vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), int("ceil_mode", 1)])
            .import()
            .is_ok()
    );
    let grouped =
        Model::new(&[4, 3, 3]).init("w", &[4, 2, 3, 3]).node("Conv", &["x", "w"], "y", vec![int("group", 2)]);
    assert_eq!(shape(grouped.import().unwrap()), [4, 1, 1]);
    for group in [-1, 0, 3, i64::MAX] {
        let m = Model::new(&[4, 3, 3]).init("w", &[4, 2, 3, 3]).node(
            "Conv",
            &["x", "w"],
            "y",
            vec![int("group", group)],
        );
        assert!(m.obstacle().contains("group"));
    }
    let three = Model::new(&[4, 9, 9, 9]).init("w", &[4, 4, 3, 3, 3]).node("Conv", &["x", "w"], "y", vec![]);
    assert!(three.obstacle().contains("one axis or two"));
}

#[test]
fn reshape_from_shape_arithmetic() {
    // x.view(x.size(0), -1), as the TorchScript exporter writes it with a symbolic batch.
    let m = Model::new(&[2, 3, 1])
        .ints("zero", &[], &[0])
        .ints("rest", &[1], &[-1])
        .ints("axis", &[1], &[0])
        .node("Shape", &["x"], "s", vec![])
        .node("Gather", &["s", "zero"], "n", vec![int("axis", 0)])
        .node("Unsqueeze", &["n", "axis"], "n1", vec![])
        .node("Concat", &["n1", "rest"], "t", vec![int("axis", 0)])
        .node("Reshape", &["x", "t"], "v", vec![])
        .node("Relu", &["v"], "y", vec![])
        .import()
        .unwrap();
    assert_eq!(m.graph.nodes[1].op, Op::Reshape(vec![6]));
    let constant = TensorProto { dims: vec![2], data_type: 7, int64_data: vec![0, -1], ..Default::default() };
    let value =
        Attribute { name: "value".into(), kind: kind::TENSOR, t: Some(constant), ..Default::default() };
    let m =
        Model::new(&[2, 3]).node("Constant", &[], "t", vec![value]).node("Reshape", &["x", "t"], "y", vec![]);
    assert_eq!(m.import().unwrap().graph.nodes[0].op, Op::Reshape(vec![6]));
    let mean = Model::new(&[2, 3, 3]).node(
        "ReduceMean",
        &["x"],
        "y",
        vec![ints("axes", &[-1, -2]), int("keepdims", 0)],
    );
    let mean = mean.import().unwrap();
    assert_eq!(ops(&mean.graph), ["avg_pool", "reshape"]);
    close(&run(&mean, &[2.0; 18]), &[2.0, 2.0]);
}

#[test]
fn weights_stored_the_other_way_round() {
    let m = Model::new(&[3]).init("w", &[2, 3]).ints("flat", &[2], &[3, 2]);
    let turned = m.node("Transpose", &["w"], "wt", vec![ints("perm", &[1, 0])]).node(
        "MatMul",
        &["x", "wt"],
        "y",
        vec![],
    );
    close(&run(&turned.import().unwrap(), &[1.0, 2.0, 4.0]), &[-1.0 - 1.75 - 3.0, -0.625 - 1.0 - 1.5]);
    let m = Model::new(&[3]).init("w", &[6]).ints("two", &[2], &[3, 2]);
    let shaped = m.node("Reshape", &["w", "two"], "wr", vec![]).node("MatMul", &["x", "wr"], "y", vec![]);
    close(&run(&shaped.import().unwrap(), &[1.0, 0.0, 0.0]), &[-1.0, -0.875]);
    let m = Model::new(&[2, 3, 4]).node("Transpose", &["x"], "y", vec![ints("perm", &[1, 0, 2, 3])]);
    assert!(m.obstacle().contains("images along another axis"));
}

#[test]
fn leaky_relu_clip_pad_concat_and_differences() {
    let pads = vec![0, 0, 1, 0, 0, 0, 0, 2];
    let m = Model::new(&[1, 1, 2])
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0])
        .ints("pads", &[8], &pads)
        .node("LeakyRelu", &["x"], "l", vec![float("alpha", 0.5)])
        .node("Clip", &["x", "zero", "six"], "c", vec![])
        .node("Sub", &["l", "c"], "s", vec![])
        .node("Concat", &["s", "x"], "t", vec![int("axis", 1)])
        .node("Pad", &["t", "pads"], "y", vec![])
        .import()
        .unwrap();
    assert_eq!(ops(&m.graph), ["leaky_relu", "clip", "sub", "concat", "pad"]);
    let nothing = [0.0; 4];
    let want = [&nothing[..], &[-1.0, 2.0, 0.0, 0.0], &nothing, &[-2.0, 8.0, 0.0, 0.0]].concat();
    close(&run(&m, &[-2.0, 8.0]), &want);
    // Clip from nothing to nothing, and a ReLU by another name.
    let m = Model::new(&[2]).node("Clip", &["x"], "a", vec![float("min", 0.0)]).import().unwrap();
    assert_eq!(ops(&m.graph), ["relu"]);
    for (model, want) in [
        (
            Model::new(&[2]).node("Clip", &["x"], "y", vec![float("min", 2.0), float("max", 1.0)]),
            "nothing is between",
        ),
        (
            Model::new(&[1, 2, 2]).ints("p", &[8], &[0, 0, -1, 0, 0, 0, -1, 0]).node(
                "Pad",
                &["x", "p"],
                "y",
                vec![],
            ),
            "-1 and -1 along axis 2",
        ),
        (
            Model::new(&[1, 2, 2]).ints("p", &[8], &[1, 0, 0, 0, 0, 0, 0, 0]).node(
                "Pad",
                &["x", "p"],
                "y",
                vec![],
            ),
            "mix images",
        ),
        (Model::new(&[1, 2, 2]).node("Concat", &["x", "x"], "y", vec![int("axis", 0)]), "mix images"),
    ] {
        let why = model.obstacle();
        assert!(why.contains(want), "wanted {want:?}, found {why}");
    }
}
