//! Lists of values, taken apart again.

use super::*;

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

/// Two parts of `[batch, 3, 2]` or `[batch, 5]`, the last of them in front.
fn swapped(shape: &[i64], split: &[&str], attributes: Vec<Attribute>) -> Model {
    Model::new(shape)
        .ints("sizes", &[3], &[2, 3, 0])
        .ints("size", &[], &[3])
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .ints("last", &[], &[-1])
        .node("SplitToSequence", split, "s", attributes)
        .node("SequenceAt", &["s", "zero"], "a", vec![])
        .node("SequenceAt", &["s", "one"], "b", vec![])
        .node("SequenceConstruct", &["b", "a"], "c", vec![])
}

#[test]
fn parts_are_joined_again() {
    let join = |m: Model| m.node("ConcatFromSequence", &["c"], "y", vec![int("axis", 1)]);
    // As TorchScript writes `chunk(3)`: its last part may be empty.
    let m = join(swapped(&[5], &["x", "sizes"], vec![int("axis", -1)])).import().unwrap();
    assert_eq!(run(&m, &counted(5)), [2.0, 3.0, 4.0, 0.0, 1.0]);
    let m = join(swapped(&[5], &["x", "size"], vec![int("axis", 1)])).import().unwrap();
    assert_eq!(run(&m, &counted(5)), [3.0, 4.0, 0.0, 1.0, 2.0]);
    // Single places, with their axis and without, which then comes back.
    let m = join(swapped(&[2, 2], &["x"], vec![int("axis", 1)])).import().unwrap();
    assert_eq!(run(&m, &counted(4)), [2.0, 3.0, 0.0, 1.0]);
    for (axis, want) in [(1, [2.0, 3.0, 0.0, 1.0]), (-1, [2.0, 0.0, 3.0, 1.0])] {
        let m = swapped(&[2, 2], &["x"], vec![int("axis", 1), int("keepdims", 0)]);
        let stacked = vec![int("axis", axis), int("new_axis", 1)];
        let m = m.node("ConcatFromSequence", &["c"], "y", stacked).import().unwrap();
        assert_eq!(
            (run(&m, &counted(4)), m.graph.shapes().unwrap().pop().unwrap()),
            (want.to_vec(), vec![2, 2])
        );
    }
    // Of constants alone, and of both.
    let m = Model::new(&[2]).init("k", &[1, 2]).node("SequenceConstruct", &["k", "k"], "c", vec![]);
    let m = join(m).node("ReduceSum", &["y"], "t", vec![int("keepdims", 0)]).node(
        "Add",
        &["x", "t"],
        "z",
        vec![],
    );
    close(&run(&m.import().unwrap(), &[0.0, 1.0]), &[-3.75, -2.75]);
    let m = Model::new(&[2]).init("k", &[1, 2]).node("SequenceConstruct", &["k", "x"], "c", vec![]);
    close(&run(&join(m).import().unwrap(), &[5.0, 6.0]), &[-1.0, -0.875, 5.0, 6.0]);
}

#[test]
fn what_lists_cannot_be() {
    let whole = |place: &str| {
        swapped(&[5], &["x", "sizes"], vec![int("axis", 1)]).ints("p", &[], &[3]).node(
            "SequenceAt",
            &["s", place],
            "y",
            vec![],
        )
    };
    let first = |m: Model| m.node("SequenceAt", &["c", "zero"], "y", vec![]);
    for (m, want) in [
        (whole("p"), "place 3 of a sequence of 3"),
        (whole("x"), "operand 1 (`x`) must be a constant"),
        (whole("last").node("Relu", &["y"], "z", vec![]), "operand 0 is a constant"),
        (whole("zero").node("Relu", &["s"], "z", vec![]), "of a sequence; take its parts by constant places"),
        (whole("zero").node("Concat", &["y", "s"], "z", vec![int("axis", 1)]), "of a sequence"),
        (whole("zero").node("SequenceAt", &["y", "zero"], "z", vec![]), "operand 0 is no sequence"),
        (first(swapped(&[5], &["x", "size"], vec![])), "mix images"),
        (first(swapped(&[4], &["x", "sizes"], vec![int("axis", 1)])), "4 places into parts of [2, 3]"),
        (first(swapped(&[4], &["x", "zero"], vec![int("axis", 1)])), "4 places into parts of 0"),
        (swapped(&[5], &["x", "size"], vec![int("axis", 1)]), "is a sequence, wanted one tensor"),
        (
            Model::new(&[1 << 20]).node("SplitToSequence", &["x"], "y", vec![int("axis", 1)]),
            "into parts of 1",
        ),
    ] {
        let why = m.obstacle();
        assert!(why.contains(want), "wanted {want:?}, found {why}");
    }
}
