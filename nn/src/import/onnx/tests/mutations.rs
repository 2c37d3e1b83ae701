//! Files that nobody meant well: small models changed in many ways, as messages and as bytes. Any result will do, as long
//! as there is one soon. A failure repeats: the changes follow from their number.

use super::*;
use std::time::{Duration, Instant};

/// Longest import of one of these models; the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

/// Changes to all models together, in a usual run and with `TWOPLY_FULL=1`.
fn rounds() -> u64 {
    if std::env::var_os("TWOPLY_FULL").is_some_and(|v| v == "1") { 20_000 } else { 3_000 }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }
    /// Numbers that programs trip over.
    fn number(&mut self) -> i64 {
        let some = [
            0,
            1,
            -1,
            2,
            3,
            7,
            64,
            255,
            4096,
            1 << 24,
            1 << 30,
            i64::MAX,
            i64::MIN,
            i64::MIN + 1,
            constant::BATCH,
        ];
        some[self.below(some.len())]
    }
    fn float(&mut self) -> f32 {
        let some = [0.0, -1.0, 0.5, 1e-30, 1e30, f32::MAX, f32::INFINITY, f32::NAN, -0.0];
        some[self.below(some.len())]
    }
}

/// A convolutional network with shape arithmetic, and one on constants of all kinds.
fn seeds() -> Vec<Model> {
    let conv = batch_norm(
        Model::new(&[1, 4, 4]).init("w", &[2, 1, 3, 3]).node(
            "Conv",
            &["x", "w"],
            "c",
            vec![ints("pads", &[1; 4])],
        ),
        "c",
    )
    .node("Relu", &["bn"], "r", vec![])
    .node("MaxPool", &["r"], "p", vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
    .node("Shape", &["p"], "s", vec![])
    .ints("zero", &[1], &[0])
    .ints("rest", &[1], &[-1])
    .node("Gather", &["s", "zero"], "n", vec![int("axis", 0)])
    .node("Concat", &["n", "rest"], "t", vec![int("axis", 0)])
    .node("Reshape", &["p", "t"], "f", vec![int("allowzero", 0)])
    .init("fc", &[3, 8])
    .floats("b", &[3], &[1.0, 2.0, 3.0])
    .node("Gemm", &["f", "fc", "b"], "l", vec![int("transB", 1)])
    .node("Softmax", &["l"], "y", vec![int("axis", 1)]);
    let constants = Model::new(&[6])
        .init("a", &[2, 3])
        .ints("i", &[2], &[1, 0])
        .ints("two", &[2], &[3, 2])
        .ints("one", &[1], &[1])
        .ints("ax", &[1], &[0])
        .ints("st", &[1], &[1])
        .node("Transpose", &["a"], "c0", vec![ints("perm", &[1, 0])])
        .node("Slice", &["c0", "ax", "i1", "ax", "st"], "c1", vec![])
        .node("Split", &["a"], "c2", vec![int("axis", 1), ints("split", &[1, 2])])
        .node("Expand", &["c2", "i"], "c3", vec![])
        .node("ReduceL2", &["a"], "c4", vec![ints("axes", &[1]), int("keepdims", 1)])
        .node("Div", &["a", "c4"], "c5", vec![])
        .node("Tile", &["c5", "i"], "c6", vec![])
        .node("Pad", &["c5"], "c7", vec![ints("pads", &[0, 0, 1, 0])])
        .node("ConstantOfShape", &["two"], "c8", vec![])
        .node("Greater", &["c0", "c8"], "c9", vec![])
        .node("Where", &["c9", "c0", "c8"], "cw", vec![])
        .node("Gather", &["cw", "i"], "cg", vec![int("axis", 1)])
        .node("Mul", &["c0", "c8"], "c10", vec![])
        .node("Add", &["c10", "c0"], "c11", vec![])
        .node("Reshape", &["c11", "two"], "c12", vec![])
        .node("Reshape", &["x", "two6"], "xr", vec![])
        .ints("two6", &[2], &[0, 6])
        .ints("i1", &[1], &[2])
        .ints("six", &[2], &[6, 1])
        .node("Reshape", &["c12", "six"], "w", vec![])
        .node("MatMul", &["xr", "w"], "m", vec![])
        .node("Clip", &["m"], "q", vec![float("min", 0.0), float("max", 6.0)])
        .node("Sigmoid", &["q"], "y", vec![]);
    // All of them reach the output, through their sums.
    let mut constants = constants;
    let at = constants.graph().node.iter().position(|n| n.op_type == "Split").unwrap_or(0);
    constants.graph().node[at].output.push("c2b".into());
    let mut sums = Model::new(&[6]);
    for (i, name) in ["c1", "c2b", "c3", "c6", "c7", "cg"].iter().enumerate() {
        let from = if i == 0 { "c12".to_owned() } else { format!("t{}", i - 1) };
        sums = sums.node("ReduceSum", &[name], &format!("s{i}"), vec![int("keepdims", 0)]);
        sums = sums.node("Add", &[&from, &format!("s{i}")], &format!("t{i}"), vec![]);
    }
    let nodes = &mut constants.graph().node;
    let at = nodes.iter().position(|n| n.output == ["w"]).unwrap_or(0);
    nodes[at].input[0] = "t5".into();
    nodes.splice(at..at, sums.graph().node.drain(..));
    let branch = GraphProto {
        node: vec![NodeProto {
            op_type: "Relu".into(),
            input: vec!["x".into()],
            output: vec!["in".into()],
            ..Default::default()
        }],
        output: vec![ValueInfo { name: "in".into(), kind: None }],
        ..Default::default()
    };
    let attribute = |name: &str| Attribute {
        name: name.into(),
        kind: kind::GRAPH,
        g: Some(Box::new(branch.clone())),
        ..Default::default()
    };
    let branches = Model::new(&[4])
        .ints("c", &[], &[1])
        .node("If", &["c"], "i", vec![attribute("then_branch"), attribute("else_branch")])
        .node("ArgMax", &["i"], "y", vec![int("axis", 1), int("keepdims", 0)]);
    // Lists, images along another axis, choices, a function.
    let parts = Model::new(&[4, 3])
        .ints("two", &[], &[2])
        .ints("zero", &[], &[0])
        .ints("i", &[2, 1], &[1, 0])
        .ints("mask", &[3], &[0, 1, 0])
        .floats("t", &[], &[0.5])
        .node("SplitToSequence", &["x", "two"], "s", vec![int("axis", 1), int("keepdims", 1)])
        .node("SequenceAt", &["s", "zero"], "a", vec![])
        .node("SequenceConstruct", &["a", "a"], "b", vec![])
        .node("ConcatFromSequence", &["b"], "c", vec![int("axis", 1), int("new_axis", 0)])
        .node("Transpose", &["c"], "d", vec![ints("perm", &[1, 0, 2])])
        .node("GatherND", &["d", "i"], "e", vec![int("batch_dims", 0)])
        .node("Transpose", &["e"], "f", vec![ints("perm", &[1, 0, 2])])
        .node("LessOrEqual", &["f", "t"], "g", vec![])
        .node("Not", &["g"], "h", vec![])
        .node("Where", &["h", "f", "t"], "k", vec![])
        .node("Own", &["k"], "l", vec![int("slope", 1)])
        .node("Where", &["mask", "l", "t"], "y", vec![]);
    let mut parts = parts;
    let own = |op: &str| NodeProto {
        op_type: op.into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        ..Default::default()
    };
    parts.0.functions = vec![FunctionProto {
        name: "Own".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![own("Relu")],
        ..Default::default()
    }];
    let call = parts.graph().node.iter().position(|n| n.op_type == "Own").unwrap_or(0);
    parts.graph().node[call].domain = "own".into();
    let all = [conv, constants, branches, parts];
    all.map(|mut m| {
        m.complete();
        m
    })
    .into()
}

/// One change to a message.
fn change(m: &mut Model, dice: &mut Dice) {
    let names: Vec<String> =
        m.graph().node.iter().flat_map(|n| n.output.clone()).chain(["x".into(), String::new()]).collect();
    let version = &mut m.0.opset_import[0].version;
    *version = [*version, 7, 11, 13, 28][dice.below(5)];
    let graph = m.graph();
    let (node, tensor) = (dice.below(graph.node.len()), dice.below(graph.initializer.len()));
    match dice.below(11) {
        0 => {
            let at = dice.below(graph.node[node].input.len());
            let to = dice.pick(&names).cloned().unwrap_or_default();
            if let Some(name) = graph.node[node].input.get_mut(at) {
                *name = to;
            }
        }
        1 => {
            let all: Vec<&str> = OPERATORS.iter().map(|o| o.name).chain(constant_operators()).collect();
            graph.node[node].op_type = dice.pick(&all).map_or(String::new(), |op| op.to_string());
        }
        2 | 3 => {
            let at = dice.below(graph.node[node].attribute.len());
            if let Some(a) = graph.node[node].attribute.get_mut(at) {
                a.i = dice.number();
                a.f = dice.float();
                let place = dice.below(a.ints.len());
                if let Some(v) = a.ints.get_mut(place) {
                    *v = dice.number();
                }
            }
        }
        4 => {
            let names = [
                "axes",
                "axis",
                "keepdims",
                "perm",
                "pads",
                "to",
                "starts",
                "ends",
                "split",
                "group",
                "dilations",
            ];
            let name = dice.pick(&names).map_or("", |n| n);
            let list: Vec<i64> = (0..dice.below(5)).map(|_| dice.number()).collect();
            graph.node[node].attribute.push(if dice.below(2) == 0 {
                ints(name, &list)
            } else {
                int(name, dice.number())
            });
        }
        5 => drop(graph.node.remove(node)),
        6 => {
            let other = dice.below(graph.node.len());
            graph.node.swap(node, other);
        }
        7 | 8 if tensor < graph.initializer.len() => {
            let t = &mut graph.initializer[tensor];
            let (a, b) = (dice.below(t.dims.len()), dice.below(t.int64_data.len()));
            match dice.below(4) {
                0 => t.data_type = dice.below(18) as i32,
                1 => t.dims.iter_mut().skip(a).take(1).for_each(|d| *d = dice.number()),
                2 => t.int64_data.iter_mut().skip(b).take(1).for_each(|v| *v = dice.number()),
                _ => t.float_data.iter_mut().take(1).for_each(|v| *v = dice.float()),
            }
        }
        9 => graph.node[node].output.push(dice.pick(&names).cloned().unwrap_or_default()),
        _ => {
            let extent = Some(Extent::Value(dice.number()));
            let tensor = graph.input[0].kind.as_mut().and_then(|k| k.tensor.as_mut());
            if let Some(shape) = tensor.and_then(|t| t.shape.as_mut()) {
                let at = dice.below(shape.dim.len());
                shape.dim[at].extent = extent;
            }
        }
    }
}

fn spoil(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(4) {
        0 => bytes[at] = dice.roll() as u8,
        1 => bytes[at] = [0, 1, 0x7f, 0xff][dice.below(4)],
        2 => drop(bytes.remove(at)),
        _ => bytes.insert(at, dice.roll() as u8),
    }
}

#[test]
fn changed_models_end_soon_and_never_panic() {
    let seeds = seeds();
    let mut imported = 0;
    for m in &seeds {
        assert!(
            Model(m.0.clone()).import().is_ok(),
            "a seed is a model: {:?}",
            Model(m.0.clone()).import().err()
        );
    }
    for round in 0..rounds() {
        let mut dice = Dice(round);
        let mut m = Model(seeds[dice.below(seeds.len())].0.clone());
        for _ in 0..1 + dice.below(4) {
            if !m.graph().node.is_empty() {
                change(&mut m, &mut dice);
            }
        }
        let mut bytes = m.0.encode_to_vec();
        if dice.below(3) == 0 {
            (0..1 + dice.below(4)).for_each(|_| spoil(&mut bytes, &mut dice));
        }
        let start = Instant::now();
        let result = std::panic::catch_unwind(|| import(&bytes, None, None));
        assert!(result.is_ok(), "round {round} panics");
        assert!(start.elapsed() < SOON, "round {round} takes {:?}", start.elapsed());
        imported += usize::from(matches!(result, Ok(Ok(_))));
    }
    // Most are refused; if all were, the changes would be too coarse to reach anything.
    assert!(imported * 50 > rounds() as usize, "only {imported} of {} were imported", rounds());
}
