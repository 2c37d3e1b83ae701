use super::*;
use crate::graph::{Graph, Input, Node, Normalise, Param, Role};
use crate::plan::{Options, Reveal};
use crate::{Error, calibrate, with_ring};
use twoply_primitives::compare::Scheme;
use twoply_primitives::gate::Rounding;
use twoply_primitives::tensor::Window;

const IMAGES: usize = 5;

/// conv - relu - (average pool of 3x3 + max pool of 3x3) - reshape - linear, and inputs in -1..1.
fn model() -> (Graph, Weights, Vec<f32>) {
    let node = |name: &str, op, inputs: &[Source]| Node { name: name.into(), op, inputs: inputs.to_vec() };
    let param = |name: &str, shape: &[usize], role| Param { name: name.into(), shape: shape.to_vec(), role };
    let three = Window::square(3, 3);
    let graph = Graph {
        name: "g".into(),
        input: Input {
            name: "x".into(),
            shape: vec![1, 6, 6],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![
            param("w", &[2, 1, 1, 1], Role::Weight),
            param("b", &[2], Role::Bias),
            param("v", &[3, 8], Role::Weight),
        ],
        nodes: vec![
            node(
                "conv",
                Op::Conv2d { weight: 0, bias: Some(1), window: Window::square(1, 1), groups: 1 },
                &[Source::Input],
            ),
            node("relu", Op::Relu, &[Source::Node(0)]),
            node("avg", Op::AvgPool { window: three, count_include_pad: false }, &[Source::Node(1)]),
            node("max", Op::MaxPool(three), &[Source::Node(1)]),
            node("add", Op::Add, &[Source::Node(2), Source::Node(3)]),
            node("flat", Op::Reshape(vec![8]), &[Source::Node(4)]),
            node("fc", Op::Linear { weight: 2, bias: None }, &[Source::Node(5)]),
        ],
    };
    let unit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let inputs = (1..=IMAGES as u64 * 36).map(unit).collect();
    let v = (500..524).map(unit).collect();
    (graph, Weights(vec![vec![1.5, -1.25], vec![0.25, 0.5], v]), inputs)
}

fn plan((graph, weights, inputs): &(Graph, Weights, Vec<f32>), options: &Options) -> Plan {
    let ranges = calibrate(graph, weights, inputs, &[(-1.0, 1.0)]).unwrap();
    Plan::new(graph.clone(), options.clone(), Some(ranges)).unwrap()
}

fn check(model: &(Graph, Weights, Vec<f32>), plan: &Plan) -> Accuracy {
    let (mut calls, n) = (0, plan.options.fixed.n);
    let found = with_ring!(n, R => compare::<R>(plan, &model.1, &model.2, 0.02, |_| calls += 1)).unwrap();
    assert!(calls > 0);
    found
}

#[test]
fn two_parties_equal_the_oracle_and_the_errors_are_small_in_every_variant() {
    let model = model();
    for (n, f) in [(32, 12), (64, 16)] {
        for compare in [Scheme::Digits, Scheme::Dpf] {
            for rounding in [Rounding::PublicCoin, Rounding::Floor] {
                for reveal in [Reveal::Logits, Reveal::Label] {
                    let options =
                        Options { fixed: Fixed { n, f }, compare, rounding, reveal, ..Options::default() };
                    let found = check(&model, &plan(&model, &options));
                    let per_image = if reveal == Reveal::Label { 1 } else { 3 };
                    assert_eq!((found.differing, found.outputs), (0, per_image * IMAGES), "{options:?}");
                    assert_eq!((found.images, found.labels.unwrap().fixed_private), (IMAGES, IMAGES));
                    assert_eq!((found.wraps, &found.lost), (0, &None), "{options:?}");
                    let names: Vec<&str> = found.layers.iter().map(|l| &l.name[..]).collect();
                    assert_eq!(names, ["x", "conv", "relu", "avg", "max", "add", "flat", "fc"]);
                    for layer in &found.layers {
                        assert!(layer.worst_ulp < 40.0 && layer.mean_ulp <= layer.worst_ulp, "{layer:?}");
                        assert!(layer.headroom_bits > 0.0 && layer.own_relative < 0.01, "{layer:?}");
                        assert_eq!(layer.histogram.iter().sum::<u64>(), layer.values);
                    }
                    within(&model, &plan(&model, &options), &found);
                    assert_eq!(found.layers[1].values, (2 * 36 * IMAGES) as u64);
                    assert!(found.layers[2].own_relative <= found.layers[2].mean_relative);
                }
            }
        }
    }
}

/// Every layer is within its bound, and the output's is the one that is told, up to peaks of the other runs.
fn within(model: &(Graph, Weights, Vec<f32>), plan: &Plan, found: &Accuracy) {
    let peaks: Vec<f64> = found.layers.iter().map(|layer| layer.peak).collect();
    let ulps = bounds(plan, &model.1, &peaks).into_iter().map(|b| b * f64::from(found.fraction).exp2());
    let ulps: Vec<f64> = ulps.collect();
    for (layer, bound) in found.layers[1..].iter().zip(&ulps) {
        assert!(layer.worst_ulp <= *bound, "{bound} {layer:?}");
    }
    let told = found.bound_ulp.unwrap() / ulps[ulps.len() - 1];
    assert!((0.98..=1.0).contains(&told), "{told}");
}

#[test]
fn a_bound_by_hand() {
    let (mut graph, mut weights, inputs) = model();
    graph.input.shape = vec![2];
    graph.params = vec![Param { name: "w".into(), shape: vec![2, 2], role: Role::Weight }];
    weights.0 = vec![vec![0.5, -0.25, 2.0, 1.0]];
    let node = |op, x: &[Source]| Node { name: format!("{op:?}"), op, inputs: x.to_vec() };
    graph.nodes = vec![
        node(Op::Linear { weight: 0, bias: None }, &[Source::Input]),
        node(Op::Relu, &[Source::Node(0)]),
        node(Op::Mul, &[Source::Node(1), Source::Node(0)]),
        node(Op::Argmax, &[Source::Node(2)]),
    ];
    let plan = plan(&(graph, weights.clone(), inputs), &Options::default());
    let ulps: Vec<f64> =
        bounds(&plan, &weights, &[1.0, 3.0, 3.0, 9.0, 0.0]).iter().map(|b| b * 4096.0).collect();
    // Half an ulp of the input times 2 + 1; two weights half an ulp off times 1; two ulp; float32 adds less than 0.005.
    let near = |found: f64, want: f64| assert!(want <= found && found < want + 0.05, "{found} {want}");
    near(ulps[0], 3.0 * 0.5 + 1.0 + 2.0);
    near(ulps[1], ulps[0] + 1.0);
    near(ulps[2], 3.0 * (ulps[1] + 1.0) + 3.0 * (ulps[0] + 1.0) + 2.0);
    assert_eq!(ulps[3], ulps[2]);
}

/// What a layer adds by itself is compared with the float operation, whatever the operation.
#[test]
fn every_operation_is_repeated_in_float_as_it_is() {
    let (mut graph, weights, inputs) = model();
    let node = |name: &str, op, inputs: &[usize]| Node {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|i| Source::Node(*i)).collect(),
    };
    graph.nodes.truncate(1);
    graph.params.truncate(2);
    graph.nodes.extend([
        node("leaky", Op::LeakyRelu { slope: 0.25 }, &[0]),
        node("clip", Op::Clip { low: Some(-0.5), high: Some(0.75) }, &[0]),
        node("sub", Op::Sub, &[1, 2]),
        node("mul", Op::Mul, &[3, 1]),
        node("offset", Op::Offset { weight: 2 }, &[4]),
        node("affine", Op::Affine { scale: -0.75, shift: 0.25 }, &[5]),
        node("transpose", Op::Transpose(vec![0, 2, 1]), &[6]),
        node("take", Op::Take(vec![None, Some((0..6).rev().map(Some).collect()), None]), &[7]),
        node("concat", Op::Concat, &[8, 1, 0]),
        node("pad", Op::Pad([1, 0, 2, 1]), &[9]),
        node("sum", Op::SumPool(Window::square(2, 1)), &[10]),
        node("end", Op::Relu, &[11]),
    ]);
    graph.params.push(Param { name: "o".into(), shape: vec![2, 6, 6], role: Role::Weight });
    let model = (graph, Weights([&weights.0[..2], &[vec![0.3; 72]]].concat()), inputs);
    for rounding in [Rounding::PublicCoin, Rounding::Floor] {
        let found = check(&model, &plan(&model, &Options { rounding, ..Options::default() }));
        assert_eq!((found.differing, found.wraps, found.layers.len()), (0, 0, 14));
        for layer in &found.layers {
            assert!(layer.own_relative < 0.005 && layer.worst_ulp < 30.0, "{rounding:?} {layer:?}");
        }
        within(&model, &plan(&model, &Options { rounding, ..Options::default() }), &found);
    }
}

#[test]
fn the_last_node_may_be_an_argmax() {
    let (mut graph, weights, inputs) = model();
    graph.nodes.push(Node { name: "label".into(), op: Op::Argmax, inputs: vec![Source::Node(6)] });
    let model = (graph, weights, inputs);
    let found = check(&model, &plan(&model, &Options::default()));
    assert_eq!((found.layers.len(), found.outputs, found.differing), (8, IMAGES, 0));
    assert_eq!(found.layers[7].name, "fc");
}

/// Planted: weights of one layer so small that f fraction bits cannot tell them apart, made up for in the next.
#[test]
fn a_layer_whose_weights_underflow_is_named() {
    let mut m = model();
    m.1.0[0].iter_mut().for_each(|w| *w *= 1.0 / 4096.0);
    m.1.0[1].iter_mut().for_each(|b| *b *= 1.0 / 4096.0);
    m.1.0[2].iter_mut().for_each(|w| *w *= 16.0);
    let found = check(&m, &plan(&m, &Options::default()));
    let lost = found.lost.clone().unwrap();
    assert_eq!((lost.layer.as_str(), lost.weights, found.wraps), ("conv", true, 0));
    assert!(lost.fraction > 12 && lost.ring.is_some(), "{lost:?}");
    // The remedy works, whatever the coins.
    let fixed = Fixed { n: lost.ring.unwrap(), f: lost.fraction };
    let found = check(&m, &plan(&m, &Options { fixed, ..Options::default() }));
    assert_eq!(found.lost, None, "{:?}", found.layers);
}

/// Too few bits of weights are made up for by more bits of weights: those of values stay.
#[test]
fn weights_with_too_few_bits_of_their_own_are_named() {
    let mut m = model();
    m.1.0[0].iter_mut().for_each(|w| *w *= 0.3 / 16.0);
    m.1.0[1].iter_mut().for_each(|b| *b *= 0.3 / 16.0);
    let own = |weight_fraction| Options { weight_fraction, ..Options::default() };
    let found = check(&m, &plan(&m, &own(Some(4))));
    let lost = found.lost.clone().unwrap();
    assert!(lost.weights && lost.weight_fraction > Some(4) && lost.ring == Some(32), "{lost:?}");
    assert_eq!((lost.fraction, found.weight_fraction), (12, Some(4)));
    let found = check(&m, &plan(&m, &own(lost.weight_fraction)));
    assert!(found.lost.is_none_or(|lost| !lost.weights && lost.fraction > 12));
}

/// A product of two wires may leave the contract where neither operand does: its layer is named.
#[test]
fn a_product_of_wires_that_does_not_fit_is_named() {
    let (mut graph, mut weights, inputs) = model();
    graph.nodes.truncate(1);
    graph.params.truncate(2);
    graph.nodes.push(Node { name: "square".into(), op: Op::Mul, inputs: vec![Source::Node(0); 2] });
    weights.0.truncate(2);
    weights.0[1] = vec![9.0, 2.0];
    let ranges = calibrate(&graph, &weights, &inputs, &[(-1.0, 1.0)]).unwrap();
    let why = Plan::new(graph.clone(), Options::default(), Some(ranges.clone())).unwrap_err();
    assert!(
        matches!(&why, Error::Ranges { faults, .. } if faults.len() == 1 && faults[0].contains("`square`")),
        "{why}"
    );
    let fit = fit(&graph, &weights, &ranges, &Options::default()).unwrap();
    assert_eq!((fit.bottleneck.as_str(), fit.fraction), ("square", 11));
}

/// Planted: values beyond the ring, under a plan that never saw a range.
#[test]
fn a_layer_that_leaves_the_ring_is_named() {
    let mut m = model();
    m.1.0[2].iter_mut().for_each(|w| *w *= 60.0);
    let found = check(&m, &Plan::new(m.0.clone(), Options::default(), None).unwrap());
    assert!(found.wraps > 0);
    let bad: Vec<&str> = found.layers.iter().filter(|l| l.wraps > 0).map(|l| &l.name[..]).collect();
    assert_eq!(bad, ["fc"]);
    assert!(found.layers[7].headroom_bits < 0.0 && found.bound_ulp.is_none());
    m.1.0[1][1] = 70.0;
    let plan = Plan::new(m.0.clone(), Options::default(), None).unwrap();
    let e = compare::<u32>(&plan, &m.1, &m.2, 0.02, |_| ()).unwrap_err();
    assert!(matches!(&e, Error::Ranges { faults, .. } if faults[0].contains("`conv`")), "{e}");
}

#[test]
fn an_average_pool_has_a_limit_of_its_own() {
    let m = model();
    let found = check(&m, &plan(&m, &Options::default()));
    assert!(found.layers[3].limit < found.layers[2].limit, "{:?}", found.layers[3]);
}

#[test]
fn half_an_image_is_refused() {
    let m = model();
    let plan = plan(&m, &Options::default());
    assert!(compare::<u32>(&plan, &m.1, &m.2[..7], 0.02, |_| ()).is_err());
}
