//! The shared model files against PyTorch's own logits. Skipped, with a message, where the shared folder is absent.

use std::fs;
use std::path::PathBuf;
use twoply_nn::data::npy;
use twoply_nn::{
    Error, Evaluator, Floats, Graph, Images, Imported, Labels, Normalise, Weights, calibrate, import::onnx,
};

/// Test digits evaluated: all of them with optimization, a part without.
const DIGITS: usize = if cfg!(debug_assertions) { 2_000 } else { 10_000 };

fn shared(file: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(file);
    let bytes = fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: no {}", path.display());
    }
    bytes
}

fn normalise() -> Normalise {
    Normalise { scale: 1.0 / 255.0, mean: vec![0.1307], std: vec![0.3081] }
}

fn model(file: &str) -> Option<Imported> {
    let bytes = shared(&format!("models/{file}.onnx"))?;
    Some(onnx::import(&bytes, Some(file), Some(normalise())).unwrap_or_else(|e| panic!("{file}: {e}")))
}

fn digits(graph: &Graph, count: usize) -> Option<Vec<f32>> {
    let images = Images::from_idx(&shared("data/mnist/t10k-images-idx3-ubyte.gz")?).unwrap();
    assert_eq!((images.len(), &images.shape[..]), (10_000, &[1, 28, 28][..]));
    let mut inputs = images.inputs(&graph.input, Floats::Raw).unwrap();
    inputs.truncate(count * 784);
    Some(inputs)
}

#[test]
fn logits_agree_with_pytorch() {
    for file in ["mlp_mnist", "mlp_mnist.dynamo", "lenet_mnist", "lenet_mnist.dynamo"] {
        let Some(Imported { graph, weights }) = model(file) else { return };
        let Some(inputs) = digits(&graph, 256) else { return };
        let logits = shared(&format!("models/{}.logits.npy", file.trim_end_matches(".dynamo"))).unwrap();
        let logits = npy::read(&logits).unwrap();
        assert_eq!(logits.shape, [256, 10]);
        let want = logits.values(|v| v as f32);
        let got = Evaluator::new(&graph, &weights).unwrap().run(&inputs).unwrap().concat();
        assert_eq!(got.len(), want.len());
        let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
        eprintln!("{file}: largest difference {worst:e}");
        assert!(worst < 1e-4, "{file}: {worst}");
    }
}

#[test]
fn accuracy_is_what_pytorch_measured() {
    for (file, percent) in [("mlp_mnist", 98.36), ("lenet_mnist", 99.27)] {
        let Some(Imported { graph, weights }) = model(file) else { return };
        let Some(inputs) = digits(&graph, DIGITS) else { return };
        let labels = Labels::read(&shared("data/mnist/t10k-labels-idx1-ubyte.gz").unwrap()).unwrap().0;
        let found = Evaluator::new(&graph, &weights).unwrap().labels(&inputs).unwrap();
        let right = found.iter().zip(&labels).filter(|(f, l)| **f == **l as usize).count();
        let accuracy = 100.0 * right as f64 / DIGITS as f64;
        eprintln!("{file}: {right} of {DIGITS} right");
        // The share on the first part of the digits may differ from that on all of them.
        let slack = if DIGITS == 10_000 { 1e-9 } else { 1.5 };
        assert!((accuracy - percent).abs() <= slack, "{file}: {accuracy} %");
    }
}

#[test]
fn both_exporters_give_one_graph() {
    for file in ["mlp_mnist", "lenet_mnist"] {
        let (Some(old), Some(new)) = (model(file), model(&format!("{file}.dynamo"))) else { return };
        assert_eq!(old.graph.input, new.graph.input);
        assert_eq!(old.graph.params, new.graph.params);
        assert_eq!(old.weights, new.weights);
        let bare = |g: &Graph| g.nodes.iter().map(|n| (n.op.clone(), n.inputs.clone())).collect::<Vec<_>>();
        assert_eq!(bare(&old.graph), bare(&new.graph));
    }
    let Some(lenet) = model("lenet_mnist") else { return };
    let kinds: Vec<&str> = lenet.graph.nodes.iter().map(|n| n.op.kind()).collect();
    let block = ["conv2d", "max_pool", "relu"];
    assert_eq!(kinds, [&block[..], &block, &["reshape", "linear", "relu", "linear"]].concat());
    assert_eq!(lenet.graph.nodes[0].name, "/0/Conv");
}

#[test]
fn graph_and_weights_survive_their_files() {
    let (Some(mlp), Some(lenet)) = (model("mlp_mnist"), model("lenet_mnist")) else { return };
    let graph = Graph::from_json(lenet.graph.to_json().as_bytes()).unwrap();
    assert_eq!((&graph, graph.digest()), (&lenet.graph, lenet.graph.digest()));
    let file = lenet.weights.to_safetensors(&lenet.graph).unwrap();
    assert_eq!(Weights::from_safetensors(&graph, &file).unwrap(), lenet.weights);
    let why = Weights::from_safetensors(&mlp.graph, &file).unwrap_err().to_string();
    assert!(why.contains("`mlp_mnist`") && why.contains("`lenet_mnist`"), "{why}");
}

#[test]
fn observed_ranges_lie_within_their_bounds() {
    let Some(Imported { graph, weights }) = model("lenet_mnist") else { return };
    let Some(samples) = digits(&graph, 200) else { return };
    let ranges = calibrate(&graph, &weights, &samples, &graph.input.byte_range()).unwrap();
    ranges.check(&graph).unwrap();
    for r in ranges.nodes.iter().chain([&ranges.input]) {
        eprintln!("{:24} {:8.3} of {:10.3}", r.name, r.observed, r.bound);
        assert!(0.5 < r.observed && r.observed <= r.bound * 1.0001, "{r:?}");
    }
    assert!(ranges.nodes.iter().all(|r| r.observed < 64.0));
}

#[test]
fn damaged_model_files_are_errors() {
    let Some(bytes) = shared("models/mlp_mnist.dynamo.onnx") else { return };
    for i in 0..200 {
        let cut = bytes.len() * i / 200;
        assert!(onnx::import(&bytes[..cut], None, None).is_err(), "cut at {cut}");
    }
    // The structure lies in the last few thousand bytes and around the tensors' headers; values in between.
    let mut damaged = bytes.clone();
    for i in (0..1500).chain(bytes.len() - 1500..bytes.len()) {
        damaged[i] ^= 0xff;
        if let Err(e) = onnx::import(&damaged, None, None) {
            assert!(!matches!(e, Error::Weights { .. }), "{e}");
        }
        damaged[i] = bytes[i];
    }
}

#[test]
fn cifar_files_are_read() {
    for (file, count) in [("data_batch_1.bin.gz", 10_000), ("test_batch_1000.bin.gz", 1_000)] {
        let Some(bytes) = shared(&format!("data/cifar10/{file}")) else { return };
        let (images, labels) = Images::read(&bytes).unwrap();
        assert_eq!(
            (images.len(), labels.unwrap().0.len(), &images.shape[..]),
            (count, count, &[3, 32, 32][..])
        );
    }
}
