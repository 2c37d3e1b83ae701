//! Arithmetic of wires and constants in any shapes, activations made of it, and where factors and addends end up.

use super::*;

#[test]
fn wires_broadcast() {
    // Squeeze and excitation, by hand.
    let m = Model::new(&[2, 1, 2])
        .floats("w", &[2, 2, 1, 1], &[0.5, 0.0, 1.0, -1.0])
        .node("GlobalAveragePool", &["x"], "g", vec![])
        .node("Conv", &["g", "w"], "e", vec![])
        .node("HardSigmoid", &["e"], "h", vec![float("alpha", 0.5)])
        .node("Mul", &["h", "x"], "y", vec![])
        .import()
        .unwrap();
    // Means 2 and 1: gates clip(0.5 * 1 + 0.5) and clip(0.5 * 1 + 0.5).
    close(&run(&m, &[1.0, 3.0, -1.0, 3.0]), &[1.0, 3.0, -1.0, 3.0]);
    close(&run(&m, &[-2.0, -2.0, 0.0, 0.0]), &[0.0, 0.0, 0.0, 0.0]);
    let m = Model::new(&[2, 3]).node("ReduceMax", &["x"], "m", vec![ints("axes", &[2])]);
    let m = m.node("Sub", &["x", "m"], "y", vec![]).import().unwrap();
    close(&run(&m, &[1.0, 2.0, 3.0, 9.0, 8.0, 7.0]), &[-2.0, -1.0, 0.0, 0.0, -1.0, -2.0]);
    let m = Model::new(&[2, 3]).node("ReduceMax", &["x"], "m", vec![ints("axes", &[2]), int("keepdims", 0)]);
    assert!(m.node("Sub", &["x", "m"], "y", vec![]).obstacle().contains("do not broadcast"));
    let m = Model::new(&[2]).node("Div", &["x", "x"], "y", vec![]);
    assert!(m.obstacle().contains("a wire as the divisor"));
}

#[test]
fn constants_of_any_shape() {
    let x: Vec<f32> = (0..12).map(|i| i as f32 - 4.0).collect();
    for dims in [&[][..], &[1], &[3], &[2, 1], &[2, 1, 1], &[2, 2, 3], &[1, 2, 1, 3], &[2, 3]] {
        let n = dims.iter().product::<i64>() as usize;
        let c: Vec<f32> = (0..n).map(|i| 0.5 * i as f32 + 1.0).collect();
        // Extents lined up at the end, as numpy does.
        let at = |i: usize| {
            let (mut place, mut rest, mut step) = (0, i, 1);
            for (a, own) in [3usize, 2, 2].iter().enumerate() {
                let extent = dims.len().checked_sub(a + 1).map_or(1, |a| dims[a] as usize);
                place += if extent == 1 { 0 } else { rest % own * step };
                (rest, step) = (rest / own, step * extent);
            }
            c[place]
        };
        for (op, f) in [
            ("Add", (|x, c| x + c) as fn(f32, f32) -> f32),
            ("Sub", |x, c| x - c),
            ("Mul", |x, c| x * c),
            ("Div", |x, c| x / c),
            ("Max", f32::max),
            ("Min", f32::min),
        ] {
            let m = Model::new(&[2, 2, 3]).floats("c", dims, &c).node(op, &["x", "c"], "y", vec![]);
            let want: Vec<f32> = x.iter().enumerate().map(|(i, v)| f(*v, at(i))).collect();
            close(&run(&m.import().unwrap(), &x), &want);
        }
    }
    // A constant may make the wire larger.
    let m = Model::new(&[1, 2]).floats("c", &[3, 1], &[1.0, 2.0, 3.0]).node("Sub", &["c", "x"], "y", vec![]);
    close(&run(&m.import().unwrap(), &[1.0, 5.0]), &[0.0, -4.0, 1.0, -3.0, 2.0, -2.0]);
}

#[test]
fn activations_from_comparisons_and_products() {
    let x = [-4.0, -1.0, -0.25, 0.0, 0.25, 1.0, 4.0];
    let two = |op: &str, attributes| Model::new(&[7]).node(op, &["x"], "y", attributes);
    type Case = (&'static str, Vec<Attribute>, fn(f32) -> f32);
    let cases: Vec<Case> = vec![
        ("LeakyRelu", vec![float("alpha", -0.5)], |v| if v < 0.0 { -0.5 * v } else { v }),
        ("LeakyRelu", vec![float("alpha", 2.0)], |v| if v < 0.0 { 2.0 * v } else { v }),
        ("HardSigmoid", vec![], |v| (0.2 * v + 0.5).clamp(0.0, 1.0)),
        ("HardSwish", vec![], |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
        ("Abs", vec![], f32::abs),
        ("Neg", vec![], |v| -v),
        ("Shrink", vec![float("lambd", 0.5), float("bias", 0.5)], |v| v.signum() * (v.abs() - 0.5).max(0.0)),
    ];
    for (op, attributes, f) in cases {
        close(&run(&two(op, attributes).import().unwrap(), &x), &x.map(f));
    }
    assert!(two("Shrink", vec![]).obstacle().contains("it jumps"));
    assert!(two("ThresholdedRelu", vec![]).obstacle().contains("it jumps"));
    let power = |e: f32| Model::new(&[7]).floats("e", &[], &[e]).node("Pow", &["x", "e"], "y", vec![]);
    close(&run(&power(2.0).import().unwrap(), &x), &x.map(|v| v * v));
    assert!(power(0.5).obstacle().contains("only squares"));
    let prelu = |dims: &[i64], slopes: &[f32]| {
        Model::new(&[2, 1, 2]).floats("s", dims, slopes).node("PRelu", &["x", "s"], "y", vec![])
    };
    let per_channel = prelu(&[2, 1, 1], &[0.5, -1.0]).import().unwrap();
    close(&run(&per_channel, &[-2.0, 2.0, -3.0, 3.0]), &[-1.0, 2.0, 3.0, 3.0]);
    let per_place = prelu(&[2, 1, 2], &[0.0, 1.0, 2.0, 3.0]).import().unwrap();
    close(&run(&per_place, &[-1.0; 4]), &[0.0, -1.0, -2.0, -3.0]);
    assert!(prelu(&[4, 1], &[0.0; 4]).obstacle().contains("slopes"));
    let m = Model::new(&[2]).floats("c", &[2], &[1.0, 0.0]).node("Relu", &["x"], "r", vec![]);
    let mean = m.node("Mean", &["x", "c", "r"], "y", vec![]).import().unwrap();
    close(&run(&mean, &[2.0, -3.0]), &[5.0 / 3.0, -1.0]);
}

#[test]
fn factors_and_addends_go_where_they_cost_nothing() {
    // In front of a product, behind a ReLU.
    let scaled = |pads: i64| {
        Model::new(&[1, 3, 3])
            .init("w", &[1, 1, 3, 3])
            .floats("s", &[], &[4.0])
            .floats("t", &[], &[2.0])
            .node("Relu", &["x"], "r", vec![])
            .node("Mul", &["r", "s"], "m", vec![])
            .node("Add", &["m", "t"], "a", vec![])
            .node("Conv", &["a", "w"], "y", vec![ints("pads", &[pads; 4])])
            .import()
            .unwrap()
    };
    let x: Vec<f32> = (0..9).map(|i| i as f32 - 3.0).collect();
    let tap = |k: usize| k as f32 / 8.0 - 1.0;
    let whole = scaled(0);
    assert_eq!(ops(&whole.graph), ["relu", "conv2d"]);
    let want = (0..9).map(|k| tap(k) * (4.0 * x[k].max(0.0) + 2.0)).sum();
    close(&run(&whole, &x), &[want]);
    // Padding stays zero: the addend stays in front of it.
    let padded = scaled(1);
    assert_eq!(ops(&padded.graph), ["relu", "offset", "conv2d"]);
    close(&run(&padded, &x)[4..5], &[want]);
    let corner =
        [4, 5, 7, 8].iter().zip([0, 1, 3, 4]).map(|(&k, i)| tap(k) * (4.0 * f32::max(x[i], 0.0) + 2.0));
    close(&run(&padded, &x)[..1], &[corner.sum()]);
    // A very small factor would cost the weights their precision.
    let m = Model::new(&[2]).init("w", &[2, 2]).floats("s", &[], &[1.0 / 255.0]);
    let m =
        m.node("Mul", &["x", "s"], "m", vec![]).node("MatMul", &["m", "w"], "y", vec![]).import().unwrap();
    assert_eq!(ops(&m.graph), ["reshape", "conv2d", "reshape", "linear"]);
    // What only adds, and a change of sign, are no products.
    let m = Model::new(&[2])
        .floats("c", &[2], &[1.0, 2.0])
        .node("Sub", &["c", "x"], "y", vec![])
        .import()
        .unwrap();
    assert_eq!(ops(&m.graph), ["affine", "offset"]);
    close(&run(&m, &[3.0, 5.0]), &[-2.0, -3.0]);
    // Through a flatten, into the linear layer behind it.
    let m = batch_norm(Model::new(&[2, 1, 1]).node("Relu", &["x"], "r", vec![]), "r");
    let m =
        m.init("w", &[2, 2]).node("Flatten", &["bn"], "f", vec![]).node("MatMul", &["f", "w"], "y", vec![]);
    let m = m.import().unwrap();
    assert_eq!(ops(&m.graph), ["relu", "reshape", "linear"]);
    let n = [2.0 * (3.0 - 0.5) + 0.25, 3.0 * (1.0 + 0.5) - 1.0];
    close(&run(&m, &[3.0, 1.0]), &[-n[0] - 0.75 * n[1], -0.875 * n[0] - 0.625 * n[1]]);
}
