//! Axes in any order: channels last, one axis, rows of all images.

use super::*;
use crate::graph::Layout;

fn perm(order: &[i64]) -> Vec<Attribute> {
    vec![ints("perm", order)]
}

/// As tf2onnx writes a network of Keras: transposes around every layer, and biases along the last axis.
fn keras() -> Model {
    Model::new(&[4, 4, 2])
        .init("w", &[3, 2, 3, 3])
        .init("v", &[3, 3, 1, 1])
        .floats("b", &[3], &[0.5, -1.0, 2.0])
        .floats("g", &[1, 1, 1, 3], &[2.0, 1.0, -1.0])
        .node("Transpose", &["x"], "x1", perm(&[0, 3, 1, 2]))
        .node("Conv", &["x1", "w"], "c1", vec![])
        .node("Transpose", &["c1"], "t1", perm(&[0, 2, 3, 1]))
        .node("Add", &["t1", "b"], "a1", vec![])
        .node("Relu", &["a1"], "r1", vec![])
        .node("Transpose", &["r1"], "x2", perm(&[0, 3, 1, 2]))
        .node("Conv", &["x2", "v"], "c2", vec![])
        .node("Transpose", &["c2"], "t2", perm(&[0, 2, 3, 1]))
        .node("Mul", &["t2", "g"], "m2", vec![])
        .node("Add", &["m2", "r1"], "s", vec![])
        .node("Transpose", &["s"], "x3", perm(&[0, 3, 1, 2]))
        .node("MaxPool", &["x3"], "p", vec![ints("kernel_shape", &[2, 2])])
}

#[test]
fn channels_last_cost_nothing() {
    let last = keras().import().unwrap();
    assert_eq!(ops(&last.graph), ["conv2d", "relu", "conv2d", "add", "max_pool"]);
    assert_eq!(
        (&last.graph.input.shape[..], last.graph.input.layout),
        (&[2, 4, 4][..], Layout::ChannelsLast)
    );
    // The same network with channels first.
    let first = Model::new(&[2, 4, 4])
        .init("w", &[3, 2, 3, 3])
        .init("v", &[3, 3, 1, 1])
        .floats("b", &[3, 1, 1], &[0.5, -1.0, 2.0])
        .floats("g", &[1, 3, 1, 1], &[2.0, 1.0, -1.0])
        .node("Conv", &["x", "w"], "c1", vec![])
        .node("Add", &["c1", "b"], "a1", vec![])
        .node("Relu", &["a1"], "r1", vec![])
        .node("Conv", &["r1", "v"], "c2", vec![])
        .node("Mul", &["c2", "g"], "m2", vec![])
        .node("Add", &["m2", "r1"], "s", vec![])
        .node("MaxPool", &["s"], "p", vec![ints("kernel_shape", &[2, 2])])
        .import()
        .unwrap();
    let x: Vec<f32> = (0..32).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
    close(&run(&last, &x), &run(&first, &x));
    assert_eq!(first.graph.input.layout, Layout::ChannelsFirst);
}

#[test]
fn pictures_have_a_layout() {
    let layout = |m: Model| m.import().unwrap().graph.input.layout;
    let flat = |shape: &[i64]| Model::new(shape).node("Flatten", &["x"], "y", vec![]);
    assert_eq!(layout(flat(&[8, 8, 3])), Layout::ChannelsLast);
    assert_eq!(layout(flat(&[3, 8, 8])), Layout::ChannelsFirst);
    assert_eq!(layout(flat(&[3, 8, 3])), Layout::ChannelsFirst);
    assert_eq!(layout(flat(&[8, 8, 2])), Layout::ChannelsFirst);
    let conv = Model::new(&[8, 8, 3]).init("w", &[1, 8, 1, 1]).node("Conv", &["x", "w"], "y", vec![]);
    assert_eq!(layout(conv), Layout::ChannelsFirst);
    // The file's order in the flat result.
    let m = flat(&[1, 2, 3]).import().unwrap();
    assert_eq!(m.graph.input.layout, Layout::ChannelsFirst);
    let m = flat(&[4, 5, 3]).import().unwrap();
    let x: Vec<f32> = (0..60).map(|i| i as f32).collect();
    assert_eq!(run(&m, &m.graph.input.turned(&x)), x);
    let mut forced = flat(&[8, 8, 2]);
    forced.graph().output.push(ValueInfo { name: "y".into(), kind: None });
    let channels_last = Options { layout: Some(Layout::ChannelsLast), ..Options::default() };
    let forced = read(&forced.0.encode_to_vec(), &channels_last).unwrap().0;
    assert_eq!(forced.graph.input.shape, [2, 8, 8]);
    let mut row = Model::new(&[8]).node("Relu", &["x"], "y", vec![]);
    row.graph().output.push(ValueInfo { name: "y".into(), kind: None });
    let why = read(&row.0.encode_to_vec(), &channels_last).unwrap_err();
    assert!(why.to_string().contains("has no channels"), "{why}");
}

#[test]
fn moves_that_undo_each_other_vanish() {
    let m = Model::new(&[2, 3, 5])
        .ints("one", &[1], &[1])
        .node("Transpose", &["x"], "a", perm(&[0, 2, 3, 1]))
        .node("Unsqueeze", &["a", "one"], "b", vec![])
        .node("Relu", &["b"], "c", vec![])
        .node("Squeeze", &["c", "one"], "d", vec![])
        .node("Transpose", &["d"], "y", perm(&[0, 3, 1, 2]));
    assert_eq!(ops(&m.import().unwrap().graph), ["relu"]);
    // Extents of 1 change places without any element moving.
    let m = Model::new(&[4, 1, 1]).node("Transpose", &["x"], "y", perm(&[0, 2, 3, 1])).import().unwrap();
    assert_eq!(ops(&m.graph), ["reshape"]);
    // Channel shuffle: two groups of three.
    let m = Model::new(&[6, 1, 2])
        .ints("split", &[5], &[0, 2, 3, 1, 2])
        .ints("join", &[4], &[0, 6, 1, 2])
        .node("Reshape", &["x", "split"], "a", vec![])
        .node("Transpose", &["a"], "b", perm(&[0, 2, 1, 3, 4]))
        .node("Reshape", &["b", "join"], "y", vec![])
        .import()
        .unwrap();
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    assert_eq!(run(&m, &x), [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
}

#[test]
fn one_axis_is_a_plane_of_height_one() {
    let m = Model::new(&[2, 5])
        .floats("w", &[1, 2, 2], &[1.0, -1.0, 0.5, 2.0])
        .floats("b", &[1], &[3.0])
        .node("Conv", &["x", "w", "b"], "c", vec![ints("strides", &[2]), ints("pads", &[1, 0])])
        .node("Relu", &["c"], "r", vec![])
        .node("MaxPool", &["r"], "y", vec![ints("kernel_shape", &[2])])
        .import()
        .unwrap();
    // Neither the ReLU nor the reshapes stand between convolution and pool.
    assert_eq!(ops(&m.graph), ["reshape", "conv2d", "max_pool", "relu", "reshape"]);
    let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [-1.0, 0.0, 1.0, 0.0, -1.0]);
    let at = |i: usize| {
        let (p, q) = if i == 0 { (0.0, 0.0) } else { (a[2 * i - 1], b[2 * i - 1]) };
        p - a[2 * i] + 0.5 * q + 2.0 * b[2 * i] + 3.0
    };
    let c: Vec<f32> = (0..3).map(|i| f32::max(at(i), 0.0)).collect();
    close(&run(&m, &[a, b].concat()), &[c[0].max(c[1]), c[1].max(c[2])]);
}

#[test]
fn rows_of_all_images_stay_with_their_image() {
    // Dense along the last axis, as Keras writes it.
    let m = Model::new(&[2, 3])
        .init("w", &[3, 2])
        .floats("b", &[2], &[1.0, -1.0])
        .ints("rows", &[2], &[-1, 3])
        .ints("back", &[3], &[-1, 2, 2])
        .node("Reshape", &["x", "rows"], "a", vec![])
        .node("MatMul", &["a", "w"], "p", vec![])
        .node("Add", &["p", "b"], "q", vec![])
        .node("Reshape", &["q", "back"], "y", vec![])
        .import()
        .unwrap();
    let row =
        |x: [f32; 3]| [0, 1].map(|o| (0..3).map(|i| x[i] * ((2 * i + o) as f32 / 8.0 - 1.0)).sum::<f32>());
    let (first, second) = (row([1.0, 2.0, 4.0]), row([0.0, -1.0, 3.0]));
    let want = [first[0] + 1.0, first[1] - 1.0, second[0] + 1.0, second[1] - 1.0];
    close(&run(&m, &[1.0, 2.0, 4.0, 0.0, -1.0, 3.0]), &want);
    // One number per image, and an axis for it again.
    let m = Model::new(&[3]).ints("one", &[1], &[1]).floats("two", &[], &[2.0]);
    let m = m
        .node("ReduceMax", &["x", "one"], "a", vec![int("keepdims", 0)])
        .node("Mul", &["a", "two"], "b", vec![])
        .node("Unsqueeze", &["b", "one"], "y", vec![]);
    assert_eq!(run(&m.import().unwrap(), &[1.0, 5.0, 3.0]), [10.0]);
    let sum = Model::new(&[3]).ints("one", &[1], &[1]);
    let sum = sum.node("ReduceSum", &["x", "one"], "y", vec![int("keepdims", 0)]).import().unwrap();
    assert_eq!(run(&sum, &[1.0, 5.0, 3.0]), [9.0]);
    for (op, operands) in [("Softmax", &["a"][..]), ("MatMul", &["w", "a"]), ("Add", &["a", "x"])] {
        let m = Model::new(&[3, 3]).init("w", &[3, 3]).ints("rows", &[2], &[-1, 3]);
        let m = m.node("Reshape", &["x", "rows"], "a", vec![]).node(op, operands, "y", vec![]);
        assert!(m.obstacle().contains("mix images"), "{op}");
    }
}
