use super::*;
use crate::calibrate::calibrate;
use crate::graph::{Input, Node, Normalise, Op, Param, Role, Source};
use twoply_primitives::tensor::Window;

/// A product by `w` and a mean of 3x3.
fn model(w: f32) -> (Graph, Weights) {
    let node = |name: &str, op, input| Node { name: name.into(), op, inputs: vec![input] };
    let graph = Graph {
        name: "g".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, 3, 3],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![Param { name: "w".into(), shape: vec![1, 1, 1, 1], role: Role::Weight }],
        nodes: vec![
            node(
                "conv",
                Op::Conv2d { weight: 0, bias: None, window: Window::square(1, 1), groups: 1 },
                Source::Input,
            ),
            node(
                "avg",
                Op::AvgPool { window: Window::square(3, 3), count_include_pad: false },
                Source::Node(0),
            ),
        ],
    };
    (graph, Weights(vec![vec![w]]))
}

fn fitted(w: f32, x: f32, n: u32, margin: f64) -> Result<Fit> {
    let (graph, weights) = model(w);
    let ranges = calibrate(&graph, &weights, &[x; 9], &[(-x, x)]).unwrap();
    let options = Options { fixed: Fixed { n, f: 4 }, margin, ..Options::default() };
    fit(&graph, &weights, &ranges, &options)
}

#[test]
fn the_most_fraction_bits_that_fit_and_one_more_does_not() {
    // 10 * 3 * 1.5 = 45 below 64 = 2^(30 - 24), above 16 = 2^(30 - 26)
    let fit = fitted(3.0, 10.0, 32, 1.5).unwrap();
    assert_eq!((fit.ring, fit.fraction, fit.truncated), (32, 12, 20));
    let names: Vec<_> = fit.layers.iter().map(|l| (&l.name[..], l.observed, l.weights)).collect();
    assert_eq!(names, [("x", 10.0, 0.0), ("conv", 30.0, 3.0), ("avg", 30.0, 0.0)]);
    assert_eq!(fit.layers[1].proof, "|x| * 1.5 = 30.000000 * 1.5 = 45.000000 <= 2^6 - 2^-12 = 63.999756");
    assert_eq!(fit.layers[0].most_fraction, Some(13));
    assert!(fit.layers.iter().all(|l| l.headroom_bits >= 0.0 && l.observed * 1.5 <= l.limit));
    let wide = fitted(3.0, 10.0, 64, 1.5).unwrap();
    assert_eq!((wide.ring, wide.fraction), (64, 28));
}

#[test]
fn weights_count_too() {
    let fit = fitted(100.0, 0.001, 32, 1.0).unwrap();
    assert_eq!((fit.fraction, &fit.bottleneck[..]), (11, "conv"));
    assert!(fit.layers[1].proof.starts_with("|w| = 100"), "{}", fit.layers[1].proof);
    let (graph, weights) = model(100.0);
    let e = parameters(&graph, &weights, Fixed { n: 32, f: 12 }.into()).unwrap_err().to_string();
    assert!(e.contains("`conv`") && e.contains("33 bits"), "{e}");
    parameters(&graph, &weights, Fixed { n: 32, f: 11 }.into()).unwrap();
}

#[test]
fn a_plan_with_weights_lists_what_does_not_fit() {
    let (graph, weights) = model(93.0);
    let ranges = |x| calibrate(&graph, &weights, &[x; 9], &[(0.0, x)]).unwrap();
    let made = |x, f| {
        let options = Options { fixed: Fixed { n: 32, f }, ..Options::default() };
        plan(&graph, &weights, options, ranges(x))
    };
    // Values of 0.93 fit with 12 fraction bits, where a weight of 93 does not.
    let Error::Ranges { faults, .. } = made(0.01, 12).unwrap_err() else { panic!() };
    assert!(faults.len() == 1 && faults[0].contains("`conv`: a weight of 93"), "{faults:?}");
    let Error::Ranges { faults, .. } = made(1.0, 12).unwrap_err() else { panic!() };
    assert!(faults.len() == 3 && faults[0].contains("a weight") && faults[2].contains("`avg`"), "{faults:?}");
    assert_eq!(made(0.01, 11).unwrap().options.fixed.f, 11);
    let program = Plan::new(graph.clone(), Options::default(), None).unwrap().program().unwrap();
    let e = program.encode::<u32>(&weights).unwrap_err().to_string();
    assert!(e.contains("`conv`"), "{e}");
    let (rings, _) = rings((&graph, &weights), &ranges(0.01), (1.5, None));
    assert_eq!(recommended(&rings).map(|fit| (fit.ring, fit.fraction)), Some((32, 11)));
}

#[test]
fn weights_below_an_ulp_are_faint_and_zeros_are_not() {
    let (graph, _) = model(0.0);
    let of = |w: f32, f| faint(&graph, &Weights(vec![vec![w]]), Fixed { n: 64, f }.into());
    let found = of(1e-4, 12);
    assert_eq!((found.len(), &found[0].layer[..], found[0].relative, found[0].zeros), (1, "conv", 1.0, 1.0));
    let found = of(4e-4, 12);
    assert!(found[0].zeros == 0.0 && (0.2..0.3).contains(&found[0].relative), "{found:?}");
    for (w, f) in [(1e-4, 20), (0.5, 12), (0.0, 12), (0.013, 12)] {
        assert_eq!(of(w, f), [], "{w} {f}");
    }
    let own = Scale { fixed: Fixed { n: 64, f: 12 }, weights: Some(20) };
    assert_eq!(faint(&graph, &Weights(vec![vec![1e-4]]), own), []);
}

/// One more bit of values does not fit beside the weights' own, and the proof and the limit are those of the plan.
#[test]
fn weights_have_bits_of_their_own() {
    let (graph, weights) = model(0.5);
    let fit = |weight_fraction, margin| {
        let options = Options { weight_fraction, margin, ..Options::default() };
        let ranges = calibrate(&graph, &weights, &[20.0; 9], &[(-20.0, 20.0)]).unwrap();
        fit(&graph, &weights, &ranges, &options).unwrap()
    };
    let (own, usual) = (fit(Some(16), 1.5), fit(None, 1.5));
    assert_eq!((own.fraction, own.truncated, own.weight_fraction), (9, 16, Some(16)));
    assert_eq!((usual.fraction, usual.weight_fraction), (12, None));
    assert!(own.layers.iter().any(|room| room.proof.ends_with("2^5 - 2^-9 = 31.998047")), "{own:?}");
    assert_eq!(fit(Some(8), 1.5).fraction, usual.fraction);
    let json = serde_json::to_string(&usual).unwrap();
    assert!(!json.contains("weight_fraction"), "{json}");
}

#[test]
fn what_never_fits_is_named_with_its_bits() {
    let e = fitted(1.0, 1e9, 32, 1.0).unwrap_err();
    let Error::Ranges { n, faults, .. } = &e else { panic!("{e}") };
    assert_eq!((*n, faults.len()), (32, 3));
    // log2(1e9) = 29.9, and 2 f + 2 with f = 4
    assert!(faults[1].contains("`conv`") && faults[1].contains("40 bits"), "{faults:?}");
    assert!(fitted(1.0, 1e9, 64, 1.0).unwrap().fraction >= 4);
}

#[test]
fn an_average_pool_can_be_what_allows_no_more() {
    // 60000 < 2^(30 - 14): 7 fraction bits, and the sum of 9 such values has room
    let small = fitted(1.0, 6e4, 32, 1.0).unwrap();
    assert_eq!(small.fraction, 7);
    // 169 * 60000 * 2^7 > 2^30, with 6 bits it is less
    let (mut graph, weights) = model(1.0);
    graph.input.shape = vec![1, 13, 13];
    graph.nodes[1].op = Op::AvgPool { window: Window::square(13, 13), count_include_pad: false };
    let ranges = calibrate(&graph, &weights, &[6e4; 169], &[(-6e4, 6e4)]).unwrap();
    let options = Options { fixed: Fixed { n: 32, f: 4 }, margin: 1.0, ..Options::default() };
    let fit = fit(&graph, &weights, &ranges, &options).unwrap();
    assert_eq!((fit.fraction, &fit.bottleneck[..]), (6, "avg"));
    assert_eq!(fit.layers[1].most_fraction, Some(7));
    assert!(fit.layers[2].proof.contains("scaled sum"), "{}", fit.layers[2].proof);
}
