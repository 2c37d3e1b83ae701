//! A trained network in one process: dealt to files, run by two parties on threads, against the fixed-point oracle and
//! the float evaluator; plan against counters.

use super::common::{Shift, two_parties, variants};
use std::path::PathBuf;
use twoply_nn::{Evaluator, Floats, Graph, Images, Meaning, Plan, Weights, calibrate, import, with_ring};

fn digits() -> (Graph, Weights, Vec<f32>, Vec<f32>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let normalise = twoply_nn::Normalise { scale: 1.0 / 16.0, mean: vec![0.3125], std: vec![0.5] };
    let model = import::onnx::import(&read("digits.onnx"), Some("digits"), Some(normalise)).unwrap();
    let input = model.graph.input.clone();
    let images = |name: &str| Images::from_idx(&read(name)).unwrap().inputs(&input, Floats::Raw).unwrap();
    let (test, samples) = (images("digits-images.idx"), images("calibration-images.idx"));
    (model.graph, model.weights, test, samples)
}

#[test]
fn the_digits_network_in_every_variant() {
    let (graph, weights, inputs, samples) = digits();
    let ranges = calibrate(&graph, &weights, &samples, &graph.input.byte_range()).unwrap();
    let float = Evaluator::new(&graph, &weights).unwrap();
    let want = float.labels(&inputs[..24 * 64]).unwrap();
    for options in variants() {
        let plan = Plan::new(graph.clone(), options.clone(), Some(ranges.clone())).unwrap();
        assert_eq!(Plan::from_json(&plan.to_json().unwrap()).unwrap(), plan);
        // three runs over segments of 10: the second one crosses a border
        let shift = Shift { dealt: 25, segment: 10, runs: &[7, 16, 1] };
        let runs = with_ring!(options.fixed.n, R => two_parties::<R>(&plan, &weights, &inputs, &shift));
        assert!(runs.iter().all(|r| r.exact), "{options:?}: differs from the oracle");
        let meaning = Meaning::of(&graph).unwrap();
        let labels: Vec<usize> = runs.iter().flat_map(|r| meaning.labels(&r.answer).unwrap()).collect();
        let agree = labels.iter().zip(&want).filter(|(a, b)| a == b).count();
        assert_eq!(agree, want.len(), "{options:?}");
        assert!(runs.iter().any(|r| !r.oracle.is_empty()));
    }
}
