//! Parts of wires, and wires put together.

use super::*;

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn slices() {
    let slice = |start: i64, end: i64, step: i64| {
        let m = Model::new(&[2, 5])
            .ints("s", &[1], &[start])
            .ints("e", &[1], &[end])
            .ints("a", &[1], &[-1])
            .ints("k", &[1], &[step]);
        m.node("Slice", &["x", "s", "e", "a", "k"], "y", vec![])
    };
    for (start, end, step, want) in [
        (1, 3, 1, &[1, 2][..]),
        (-2, i64::MAX, 1, &[3, 4]),
        (0, 99, 2, &[0, 2, 4]),
        (-1, i64::MIN, -1, &[4, 3, 2, 1, 0]),
        (3, 0, -2, &[3, 1]),
        (-9, -3, 1, &[0, 1]),
    ] {
        let want: Vec<f32> = [0, 5].iter().flat_map(|r| want.iter().map(move |i| (r + i) as f32)).collect();
        assert_eq!(
            run(&slice(start, end, step).import().unwrap(), &counted(10)),
            want,
            "{start} {end} {step}"
        );
    }
    assert!(slice(3, 3, 1).obstacle().contains("3 to 3"));
    assert!(slice(0, 3, 0).obstacle().contains("step of 0"));
    // All images, and attributes as before opset 10.
    let m = Model::new(&[4]).node(
        "Slice",
        &["x"],
        "y",
        vec![ints("starts", &[0, 1]), ints("ends", &[i64::MAX, 3])],
    );
    assert_eq!(run(&m.import().unwrap(), &counted(4)), [1.0, 2.0]);
    let m = Model::new(&[4]).node("Slice", &["x"], "y", vec![ints("starts", &[0]), ints("ends", &[1])]);
    assert!(m.obstacle().contains("mix images"));
}

#[test]
fn split_gives_every_part_its_name() {
    let split = |attributes, inputs: &[&str]| {
        let mut m = Model::new(&[5, 1, 2]).ints("sizes", &[2], &[2, 3]);
        m = m.node("Split", inputs, "a", attributes);
        m.graph().node[0].output.push("b".into());
        m.node("Concat", &["b", "a"], "y", vec![int("axis", 1)])
    };
    let turned = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0, 1.0, 2.0, 3.0];
    let operand = split(vec![int("axis", 1)], &["x", "sizes"]).import().unwrap();
    assert_eq!(run(&operand, &counted(10)), turned);
    let attribute = split(vec![int("axis", -3), ints("split", &[2, 3])], &["x"]).import().unwrap();
    assert_eq!(run(&attribute, &counted(10)), turned);
    // As equal as it can be: three and two.
    let equal = split(vec![int("axis", 1), int("num_outputs", 2)], &["x"]).import().unwrap();
    assert_eq!(run(&equal, &counted(10))[..4], [6.0, 7.0, 8.0, 9.0]);
    assert!(split(vec![int("axis", 1), ints("split", &[2, 2])], &["x"]).obstacle().contains("[2, 2]"));
    assert!(split(vec![], &["x"]).obstacle().contains("mix images"));
}

#[test]
fn gather_expand_and_tile() {
    let gather = |dims: &[i64], at: &[i64], axis: i64| {
        Model::new(&[2, 3]).ints("i", dims, at).node("Gather", &["x", "i"], "y", vec![int("axis", axis)])
    };
    let picked = gather(&[2], &[2, -3], 2).import().unwrap();
    assert_eq!(run(&picked, &counted(6)), [2.0, 0.0, 5.0, 3.0]);
    let row = gather(&[], &[1], 1).import().unwrap();
    assert_eq!(
        (run(&row, &counted(6)), row.graph.shapes().unwrap().pop().unwrap()),
        (vec![3.0, 4.0, 5.0], vec![3])
    );
    let square = gather(&[2, 1], &[1, 0], -1).import().unwrap();
    assert_eq!(square.graph.shapes().unwrap().pop().unwrap(), [2, 2, 1]);
    assert!(gather(&[1], &[3], 2).obstacle().contains("outside 3"));
    assert!(gather(&[1], &[0], 0).obstacle().contains("mix images"));
    let m = Model::new(&[2, 1]).ints("to", &[3], &[1, 1, 2]).ints("times", &[3], &[1, 2, 1]);
    let m = m.node("Expand", &["x", "to"], "e", vec![]).node("Tile", &["e", "times"], "y", vec![]);
    assert_eq!(run(&m.import().unwrap(), &counted(2)), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    let many = Model::new(&[2]).ints("times", &[2], &[2, 1]).node("Tile", &["x", "times"], "y", vec![]);
    assert!(many.obstacle().contains("1 for the batch"));
}

#[test]
fn concat_along_any_axis_and_with_constants() {
    let m = Model::new(&[2, 2]).floats("c", &[1, 2, 1], &[8.0, 9.0]);
    let m = m.node("Concat", &["x", "c", "x"], "y", vec![int("axis", -1)]).import().unwrap();
    assert_eq!(run(&m, &counted(4)), [0.0, 1.0, 8.0, 0.0, 1.0, 2.0, 3.0, 9.0, 2.0, 3.0]);
    let m = Model::new(&[2, 2]).floats("c", &[3, 2, 2], &[0.0; 12]);
    assert!(
        m.node("Concat", &["x", "c"], "y", vec![int("axis", 1)]).obstacle().contains("in place of the batch")
    );
}

#[test]
fn padding_of_every_kind() {
    let pad = |mode: &str, value: f32, pads: &[i64]| {
        let m = Model::new(&[3]).ints("p", &[4], pads).floats("v", &[], &[value]);
        m.node("Pad", &["x", "p", "v"], "y", vec![text("mode", mode)])
    };
    for (mode, value, want) in [
        ("constant", 7.0, [7.0, 7.0, 1.0, 2.0, 3.0, 7.0]),
        ("constant", 0.0, [0.0, 0.0, 1.0, 2.0, 3.0, 0.0]),
        ("reflect", 0.0, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
        ("edge", 0.0, [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]),
        ("wrap", 0.0, [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
    ] {
        let m = pad(mode, value, &[0, 2, 0, 1]).import().unwrap();
        close(&run(&m, &[1.0, 2.0, 3.0]), &want);
    }
    assert_eq!(
        run(&pad("constant", 0.0, &[0, -1, 0, 1]).import().unwrap(), &[1.0, 2.0, 3.0]),
        [2.0, 3.0, 0.0]
    );
    assert!(pad("reflect", 0.0, &[0, 3, 0, 0]).obstacle().contains("mirrors 3 places of 3"));
    assert!(pad("constant", 1e9, &[0, 1, 0, 0]).obstacle().contains("at most"));
    assert!(pad("constant", 0.0, &[0, -2, 0, -1]).obstacle().contains("-2 and -1"));
    assert!(pad("mirror", 0.0, &[0; 4]).obstacle().contains("unknown mode"));
}

#[test]
fn blocks_and_nearest_elements() {
    let depth = |mode: &str| {
        let attributes = vec![int("blocksize", 2), text("mode", mode)];
        Model::new(&[8, 1, 1]).node("DepthToSpace", &["x"], "y", attributes).import()
    };
    assert_eq!(run(&depth("DCR").unwrap(), &counted(8)), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    assert_eq!(run(&depth("CRD").unwrap(), &counted(8)), counted(8));
    let m = Model::new(&[1, 2, 4]).node("SpaceToDepth", &["x"], "y", vec![int("blocksize", 2)]);
    assert_eq!(run(&m.import().unwrap(), &counted(8)), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    let m = Model::new(&[3, 2, 2]).node("DepthToSpace", &["x"], "y", vec![int("blocksize", 2)]);
    assert!(m.obstacle().contains("3 channels"));
    let resize = |scale: f32, attributes: Vec<Attribute>| {
        let m = Model::new(&[1, 4]).floats("s", &[3], &[1.0, 1.0, scale]);
        m.node("Resize", &["x", "", "s"], "y", attributes)
    };
    let floor = || vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    assert_eq!(run(&resize(1.5, floor()).import().unwrap(), &counted(4)), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
    assert_eq!(run(&resize(0.5, floor()).import().unwrap(), &counted(4)), [0.0, 2.0]);
    assert_eq!(
        run(&resize(2.0, vec![]).import().unwrap(), &counted(4)),
        [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    );
    assert!(resize(2.0, vec![text("mode", "cubic")]).obstacle().contains("mode cubic"));
    // Between two elements, as far as it is from each.
    let linear = resize(2.0, vec![text("mode", "linear")]).import().unwrap();
    close(&run(&linear, &counted(4)), &[0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
    let corners = vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")];
    close(&run(&resize(1.75, corners).import().unwrap(), &counted(4)), &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
    let smooth = resize(0.5, vec![text("mode", "linear"), int("antialias", 1)]);
    assert!(smooth.obstacle().contains("antialias"));
    let m = Model::new(&[1, 2]).node(
        "Upsample",
        &["x"],
        "y",
        vec![Attribute {
            floats: vec![1.0, 1.0, 3.0],
            ..Attribute { name: "scales".into(), kind: kind::FLOATS, ..Default::default() }
        }],
    );
    assert_eq!(run(&m.import().unwrap(), &counted(2)), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
}
