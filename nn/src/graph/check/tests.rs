//! Faults of graphs, one by one and all together.

use super::*;

/// conv 1-2 3x3, max pool 2, relu, reshape, linear 8-3 on 1x6x6.
pub(in crate::graph) fn small() -> Graph {
    let param = |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
    let node = |name: &str, op, inputs: &[Source]| Node { name: name.into(), op, inputs: inputs.to_vec() };
    Graph {
        name: "small".into(),
        input: Input {
            name: "image".into(),
            shape: vec![1, 6, 6],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![
            param("conv.weight", &[2, 1, 3, 3], Role::Weight),
            param("conv.bias", &[2], Role::Bias),
            param("fc.weight", &[3, 8], Role::Weight),
        ],
        nodes: vec![
            node(
                "conv",
                Op::Conv2d { weight: 0, bias: Some(1), window: Window::square(3, 1), groups: 1 },
                &[Source::Input],
            ),
            node("pool", Op::MaxPool(Window::square(2, 2)), &[Source::Node(0)]),
            node("relu", Op::Relu, &[Source::Node(1)]),
            node("flat", Op::Reshape(vec![8]), &[Source::Node(2)]),
            node("fc", Op::Linear { weight: 2, bias: None }, &[Source::Node(3)]),
        ],
    }
}

fn faults(g: &Graph) -> Vec<String> {
    match g.validate() {
        Err(Error::Graph { faults, .. }) => faults,
        other => panic!("expected faults, found {other:?}"),
    }
}

#[test]
fn shapes_of_a_small_network() {
    assert_eq!(small().shapes().unwrap(), [vec![2, 4, 4], vec![2, 2, 2], vec![2, 2, 2], vec![8], vec![3]]);
}

#[test]
fn all_faults_are_listed_at_once() {
    let mut g = small();
    g.params[1].shape = vec![5];
    g.params.push(Param { name: "fc.weight".into(), shape: vec![0], role: Role::Bias });
    g.nodes[2].inputs = vec![Source::Node(4)];
    g.nodes[4].op = Op::Linear { weight: 9, bias: Some(0) };
    g.nodes[3].inputs = vec![Source::Input];
    g.input.normalise = Normalise { scale: f64::NAN, mean: vec![1.0, 2.0], std: vec![0.0] };
    let text = faults(&g).join("\n");
    for want in [
        "bias of shape [5], wanted [2]",
        "two params are named `fc.weight`",
        "has no element",
        "reads node 4, which does not run before it",
        "[1, 6, 6] does not have as many elements as [8]",
        "2 values of mean for 1 channel",
        "scale and std must be finite",
        "node `relu`: nothing reads",
        "param `fc.weight`: no node uses it",
    ] {
        assert!(text.contains(want), "missing {want:?} in\n{text}");
    }
}

#[test]
fn absurd_numbers_are_faults_not_overflows() {
    for v in [0, MAX_WINDOW + 1, usize::MAX / 2, usize::MAX] {
        let mut g = small();
        g.input.shape = vec![1, v, v];
        assert!(g.validate().is_err());
        for field in 0..4 {
            let mut window = Window::square(2, 2);
            match field {
                0 => window.kernel = [v; 2],
                1 => window.stride = [v; 2],
                2 => window.pad = [v; 4],
                _ => window.dilation = [v; 2],
            }
            let mut g = small();
            g.nodes[1].op = Op::MaxPool(window);
            // No padding is the one that is fine at 0.
            assert_eq!(g.validate().is_ok(), field == 2 && v == 0, "field {field} value {v}");
        }
        let mut g = small();
        g.nodes[3].op = Op::Reshape(vec![v, v]);
        assert!(g.validate().is_err());
        let mut g = small();
        g.params[0].shape = vec![v, v, 3, 3];
        assert!(g.validate().is_err());
        let mut g = small();
        g.nodes[0].op = Op::Conv2d { weight: 0, bias: None, window: Window::square(3, 1), groups: v };
        assert!(g.validate().is_err());
    }
    let mut g = small();
    g.nodes.clear();
    assert!(faults(&g).join(" ").contains("no node"));
}

#[test]
fn pools_refuse_windows_of_padding_only() {
    // Rows -2 and 1 of a plane of one row: both outside.
    let holes = Window { dilation: [3, 1], pad: [2, 0, 2, 0], ..Window::square(2, 1) };
    assert!(pool(&[1, 1, 4], &holes).unwrap_err()[0].contains("nothing but padding"));
    assert!(pool(&[1, 4, 4], &Window::square(2, 2).padded(2)).is_err());
    assert_eq!(pool(&[1, 4, 4], &Window::square(3, 2).padded(1)), Ok(vec![1, 2, 2]));
    // Against the definition, on everything small.
    for (k, s, d, p) in (0..256).map(|i| (1 + i % 4, 1 + i / 4 % 4, 1 + i / 16 % 4, i / 64)) {
        let window = Window { dilation: [d; 2], ..Window::square(k, s).padded(p) };
        for size in 1..8 {
            let Ok([out, _]) = window.output(size, size) else { continue };
            let want = (0..out).all(|y| window.taps(size, size, y, y).count() > 0);
            assert_eq!(pool(&[1, size, size], &window).is_ok(), want, "{window:?} on {size}");
        }
    }
}

#[test]
fn argmax_only_at_the_end_and_add_only_on_equal_shapes() {
    let mut g = small();
    g.nodes.push(Node { name: "best".into(), op: Op::Argmax, inputs: vec![Source::Node(4)] });
    assert_eq!(g.shapes().unwrap()[5], [1]);
    g.nodes.push(Node { name: "sum".into(), op: Op::Add, inputs: vec![Source::Node(5), Source::Node(4)] });
    let text = faults(&g).join("\n");
    assert!(text.contains("only be the last node") && text.contains("must be alike"), "{text}");
    g.nodes[6].inputs.pop();
    assert!(faults(&g).join("\n").contains("takes 2 operand(s), found 1"));
}

#[test]
fn a_batch_normalisation_has_a_number_of_each_kind_per_channel() {
    let mut g = small();
    let first = g.params.len();
    for (name, role) in
        [("gamma", Role::Factor), ("beta", Role::Bias), ("mean", Role::Mean), ("variance", Role::Variance)]
    {
        g.params.push(Param { name: name.into(), shape: vec![2], role });
    }
    let norm = |epsilon| Op::BatchNorm {
        gamma: first,
        beta: first + 1,
        mean: first + 2,
        variance: first + 3,
        epsilon,
    };
    g.nodes[2].op = norm(1e-5);
    assert_eq!(g.shapes().unwrap()[2], [2, 2, 2]);
    assert_eq!(Graph::from_json(g.to_json().as_bytes()).unwrap(), g);
    let mut bad = g.clone();
    bad.params[first + 2].shape = vec![8];
    bad.params[first + 3].role = Role::Factor;
    bad.nodes[2].op = norm(0.0);
    let text = faults(&bad).join("\n");
    for want in ["Mean of shape [8]", "`variance` as Variance, but its role is Factor", "epsilon of 0"] {
        assert!(text.contains(want), "missing {want:?} in\n{text}");
    }
    bad.nodes[2].op = Op::BatchNorm { gamma: 99, beta: 0, mean: 1, variance: 2, epsilon: f64::NAN };
    assert!(faults(&bad).join("\n").contains("uses param 99"));
}
