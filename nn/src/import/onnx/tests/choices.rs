//! Where: lines that meet, lines that do not, and choices that are known.

use super::*;

const X: [f32; 4] = [-2.0, -0.5, 0.5, 3.0];

/// `Where(x OP t, a, b)`, with `x`, `3 x`, `x / 2 + 1` and numbers to choose from.
fn choice(op: &str, t: f32, yes: &str, no: &str) -> Model {
    Model::new(&[4])
        .floats("t", &[], &[t])
        .floats("three", &[1], &[3.0])
        .floats("half", &[], &[0.5])
        .floats("one", &[], &[1.0])
        .floats("two", &[], &[2.0])
        .node("Mul", &["x", "three"], "steep", vec![])
        .node("Mul", &["x", "half"], "m", vec![])
        .node("Add", &["m", "one"], "line", vec![])
        .node(op, &["x", "t"], "c", vec![])
        .node("Where", &["c", yes, no], "y", vec![])
}

/// Comparison, number, both sides, the operations of the graph, and the function.
type Case = (&'static str, f32, &'static str, &'static str, &'static [&'static str], fn(f32) -> f32);

#[test]
fn lines_that_meet_are_chosen_from() {
    let cases: [Case; 8] =
        [
            // nn.Threshold, both ways round.
            ("LessOrEqual", 0.5, "t", "x", &["clip"], |v| v.max(0.5)),
            ("Greater", 0.0, "x", "t", &["relu"], |v| v.max(0.0)),
            ("GreaterOrEqual", 2.0, "t", "x", &["clip"], |v| v.min(2.0)),
            ("Less", 0.0, "steep", "x", &["relu", "affine", "affine", "add"], |v| {
                if v < 0.0 { 3.0 * v } else { v }
            }),
            ("Greater", 0.0, "x", "m", &["leaky_relu"], |v| if v > 0.0 { v } else { v / 2.0 }),
            ("Greater", 2.0, "line", "two", &["affine", "relu", "affine"], |v| {
                if v > 2.0 { v / 2.0 + 1.0 } else { 2.0 }
            }),
            ("Greater", 2.0, "two", "line", &["affine", "relu", "affine", "affine", "add"], |v| {
                (v / 2.0 + 1.0).min(2.0)
            }),
            ("Less", 0.4, "steep", "line", &["affine", "relu", "affine", "affine", "add"], |v| {
                if v < 0.4 { 3.0 * v } else { v / 2.0 + 1.0 }
            }),
        ];
    for (op, t, yes, no, want, f) in cases {
        let m = choice(op, t, yes, no).import().unwrap();
        close(&run(&m, &X), &X.map(f));
        assert_eq!(ops(&m.graph), want, "{op} {t} {yes} {no}");
    }
    // The number in front, and the comparison the other way round.
    let m = Model::new(&[4]).floats("t", &[], &[0.5]).node("Less", &["t", "x"], "c", vec![]);
    let m = m.node("Not", &["c"], "n", vec![]).node("Where", &["n", "t", "x"], "y", vec![]);
    close(&run(&m.import().unwrap(), &X), &X.map(|v| v.max(0.5)));
    for (alpha, right) in [(Some(0.0), true), (Some(0.5), false), (None, false)] {
        let attribute = alpha.map(|a| float("alpha", a)).into_iter().collect();
        let m = Model::new(&[4]).node("ThresholdedRelu", &["x"], "y", attribute);
        match right {
            true => assert_eq!(ops(&m.import().unwrap().graph), ["relu"]),
            false => assert!(m.obstacle().contains("it jumps there")),
        }
    }
}

#[test]
fn jumps_are_refused_with_a_way_out() {
    let compared = || Model::new(&[4]).floats("t", &[], &[0.5]).node("Less", &["x", "t"], "c", vec![]);
    for (m, want) in [
        (choice("LessOrEqual", 0.5, "two", "x"), "it jumps from 2 to 0.5 where its operand passes 0.5"),
        (choice("LessOrEqual", 0.5, "two", "x"), "let both meet there (nn.Threshold with its value equal"),
        (choice("Greater", 1.0, "steep", "x"), "it jumps from 1 to 3"),
        (choice("Less", f32::NAN, "t", "x"), "it jumps"),
        (choice("Less", 0.0, "one", "two"), "it jumps from 1 to 2"),
        (
            compared().node("Relu", &["x"], "r", vec![]).node("Where", &["c", "r", "x"], "y", vec![]),
            "multiples of the one",
        ),
        (compared().init("k", &[4]).node("Where", &["c", "k", "x"], "y", vec![]), "a choice of 4 numbers"),
        (
            compared().node("Cast", &["c"], "y", vec![int("to", 1)]),
            "on what a comparison of the input gives, which jumps",
        ),
        (compared(), "is a comparison, which jumps"),
        (Model::new(&[4]).node("Less", &["x", "x"], "y", vec![]), "write the choice as Max or Min"),
        (Model::new(&[4]).init("k", &[4]).node("Less", &["x", "k"], "y", vec![]), "several numbers"),
        (Model::new(&[4]).node("Where", &["x", "x", "x"], "y", vec![]), "comparison of the input"),
        (Model::new(&[4]).node("Not", &["x"], "y", vec![]), "comparison of the input"),
        (Model::new(&[4]).floats("t", &[], &[0.0]).node("Equal", &["x", "t"], "y", vec![]), "it jumps"),
    ] {
        let why = m.obstacle();
        assert!(why.contains(want), "wanted {want:?}, found {why}");
    }
}

fn mask(m: Model, dims: &[i64], values: &[i32]) -> Model {
    let mut m = m;
    let t = TensorProto {
        name: "mask".into(),
        dims: dims.to_vec(),
        data_type: 9,
        int32_data: values.to_vec(),
        ..Default::default()
    };
    m.graph().initializer.push(t);
    m
}

#[test]
fn choices_that_are_known_move_elements() {
    let fill = |dims: &[i64], values: &[i32], of: &[f32]| {
        let m = mask(Model::new(&[2, 2]), dims, values).floats("v", &[of.len() as i64], of);
        let m = m.node("Relu", &["x"], "r", vec![]);
        m.node("Where", &["mask", "v", "r"], "y", vec![]).import().unwrap()
    };
    let x = [1.0, 2.0, 3.0, 4.0];
    // masked_fill by places, by one axis, of nothing, of all; with one number or several.
    assert_eq!(run(&fill(&[2, 2], &[0, 1, 1, 0], &[-3.0]), &x), [1.0, -3.0, -3.0, 4.0]);
    let zeros = fill(&[1, 2, 1], &[1, 0], &[0.0]);
    assert_eq!((run(&zeros, &x), ops(&zeros.graph)), (vec![0.0, 0.0, 3.0, 4.0], vec!["relu", "take"]));
    assert_eq!(run(&fill(&[2], &[1, 0], &[5.0, 6.0]), &x), [5.0, 2.0, 5.0, 4.0]);
    assert_eq!(run(&fill(&[1], &[1], &[5.0, 6.0]), &x), [5.0, 6.0, 5.0, 6.0]);
    assert_eq!(run(&fill(&[], &[0], &[5.0]), &x), x);
    // Of two wires, one of them repeated.
    let m =
        mask(Model::new(&[2, 2]), &[2, 1], &[1, 0]).node("ReduceMax", &["x"], "r", vec![ints("axes", &[2])]);
    let m = m.node("Where", &["mask", "r", "x"], "y", vec![]);
    assert_eq!(run(&m.import().unwrap(), &x), [2.0, 2.0, 3.0, 4.0]);
    let m = mask(Model::new(&[2]), &[2], &[1, 0]).floats("v", &[], &[f32::NEG_INFINITY]);
    let why = m.node("Where", &["mask", "v", "x"], "y", vec![]).obstacle();
    assert!(why.contains("fills places with what is no number; fill them with a number"), "{why}");
    let m =
        mask(Model::new(&[2]), &[3, 2], &[1, 0, 1, 0, 1, 0]).node("Where", &["mask", "x", "x"], "y", vec![]);
    assert!(m.obstacle().contains("mix images"));
}
