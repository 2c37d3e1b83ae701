//! Values whose images lie along another axis for a while.

use super::*;

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

fn perm(order: &[i64]) -> Vec<Attribute> {
    vec![ints("perm", order)]
}

/// `x[:, [2, 0, 1]]` as PyTorch's default exporter writes it.
fn index_list() -> Model {
    Model::new(&[3, 2])
        .ints("i", &[3, 1], &[2, 0, -2])
        .node("Transpose", &["x"], "t", perm(&[1, 0, 2]))
        .node("GatherND", &["t", "i"], "g", vec![int("batch_dims", 0)])
        .node("Transpose", &["g"], "y", perm(&[1, 0, 2]))
}

#[test]
fn places_are_taken_in_front_of_the_batch() {
    let m = index_list().import().unwrap();
    assert_eq!(ops(&m.graph), ["take"]);
    assert_eq!(run(&m, &counted(6)), [4.0, 5.0, 0.0, 1.0, 2.0, 3.0]);
    // Gather, with what works element by element, and two of the same images, on the way.
    let m = Model::new(&[3, 2])
        .ints("i", &[2], &[2, 0])
        .floats("two", &[], &[2.0])
        .node("Transpose", &["x"], "t", perm(&[1, 0, 2]))
        .node("Gather", &["t", "i"], "g", vec![])
        .node("Mul", &["g", "two"], "d", vec![])
        .node("Sub", &["d", "g"], "s", vec![])
        .node("Relu", &["s"], "r", vec![])
        .node("Transpose", &["r"], "y", perm(&[1, 0, 2]));
    assert_eq!(run(&m.import().unwrap(), &counted(6)), [4.0, 5.0, 0.0, 1.0]);
    // A single place brings the batch back to the front, as in queries, keys and values of one product.
    let m = Model::new(&[3, 2]).ints("i", &[], &[1]);
    let m = m.node("Transpose", &["x"], "t", perm(&[1, 0, 2])).node("Gather", &["t", "i"], "y", vec![]);
    assert_eq!(run(&m.import().unwrap(), &counted(6)), [2.0, 3.0]);
    let split = |axes: &[i64]| {
        let mut m = Model::new(&[3, 2]).ints("a", &[axes.len() as i64], axes);
        m = m.node("Transpose", &["x"], "t", perm(&[1, 0, 2])).node("Split", &["t"], "p", vec![]);
        m.graph().node[1].output.extend(["q", "r"].map(String::from));
        m.node("Squeeze", &["q", "a"], "y", vec![])
    };
    assert_eq!(run(&split(&[0]).import().unwrap(), &counted(6)), [2.0, 3.0]);
    assert!(split(&[1]).obstacle().contains("axis 1 has another extent"));
}

/// An uneven adaptive average pool: the places of each window by two axes together, from `[h, w, batch, c]`.
#[test]
fn places_along_two_axes_at_once() {
    let windows = [[0, 1], [1, 2], [1, 3], [2, 4]];
    let all: Vec<i64> = windows.iter().flat_map(|w| w.iter().flat_map(|&i| [0, i])).collect();
    let m = Model::new(&[2, 1, 5])
        .ints("i", &[1, 1, 4, 2, 2], &all)
        .ints("last", &[1], &[-1])
        .node("Transpose", &["x"], "t", perm(&[2, 3, 0, 1]))
        .node("GatherND", &["t", "i"], "g", vec![])
        .node("Transpose", &["g"], "w", perm(&[4, 5, 0, 1, 2, 3]))
        .node("ReduceMean", &["w", "last"], "y", vec![int("keepdims", 0)]);
    let m = m.import().unwrap();
    assert_eq!(m.graph.shapes().unwrap().pop().unwrap(), [2, 1, 1, 4]);
    close(&run(&m, &counted(10)), &[0.5, 1.5, 2.0, 3.0, 5.5, 6.5, 7.0, 8.0]);
}

#[test]
fn what_would_mix_images_is_refused_where_it_would() {
    let turned = || Model::new(&[3, 2]).node("Transpose", &["x"], "t", perm(&[1, 0, 2]));
    for (m, want) in [
        (turned(), "has its images along another axis than the first"),
        (turned().node("Flatten", &["t"], "y", vec![]), "its images lie along axis 1"),
        (
            turned().init("w", &[2, 2]).node("MatMul", &["t", "w"], "y", vec![]),
            "move the batch in front again",
        ),
        (turned().init("c", &[3, 1, 1]).node("Add", &["t", "c"], "y", vec![]), "its images lie along axis 1"),
        (turned().node("Add", &["t", "x"], "y", vec![]), "its images lie along axis 1"),
        (turned().ints("i", &[1], &[0]).node("Gather", &["t", "i"], "y", vec![int("axis", 1)]), "axis 1"),
        (
            turned().ints("i", &[1], &[0]).node("Gather", &["i", "t"], "y", vec![]),
            "its images lie along axis 1",
        ),
        (turned().ints("i", &[1, 2], &[0, 0]).node("GatherND", &["t", "i"], "y", vec![]), "lie along axis 1"),
        (turned().ints("i", &[1, 1], &[3]).node("GatherND", &["t", "i"], "y", vec![]), "a place outside [3]"),
        (turned().node("Transpose", &["t"], "y", perm(&[1, 1, 2])), "does not order the axes"),
        (turned().node("Transpose", &["t"], "y", perm(&[0, 2, 3])), "no order of 3 axes"),
        (Model::new(&[3]).ints("i", &[1, 1], &[0]).node("GatherND", &["x", "i"], "y", vec![]), "mix images"),
    ] {
        let why = m.obstacle();
        assert!(why.contains(want), "wanted {want:?}, found {why}");
    }
}
