//! Real images against a plan: the digits of the example one by one, and MNIST where the shared folder has it.

use std::path::{Path, PathBuf};
use twoply_nn::data::Pixels;
use twoply_nn::inputs::{Doubt, Given, Grade, examine};
use twoply_nn::{Floats, Images, Normalise, Options, Plan, calibrate, import::onnx};

const FLAG: &str = "--normalised";

fn plan(model: &[u8], normalise: Normalise, samples: &Images) -> Plan {
    let model = onnx::import(model, Some("net"), Some(normalise)).unwrap();
    let (graph, weights) = (model.graph, model.weights);
    let samples = samples.inputs(&graph.input, Floats::Raw).unwrap();
    let ranges = calibrate(&graph, &weights, &samples, &graph.input.byte_range()).unwrap();
    Plan::new(graph, Options::default(), Some(ranges)).unwrap()
}

fn raw(images: &Images) -> &[u8] {
    match &images.pixels {
        Pixels::Raw(bytes) => bytes,
        other => panic!("wanted bytes, found {:?}", other.kind()),
    }
}

/// Every image alone and all together, as bytes, as floats, and normalised: nothing to say. The same at another scale: named.
fn judged(plan: &Plan, images: &Images, top: f32) {
    let all = raw(images);
    let row = images.row();
    let floats = |values: Vec<f32>| Images { pixels: Pixels::Float(values), ..images.clone() };
    let look = |images: &Images, kind: Floats, given: Given| -> Option<Doubt> {
        examine(plan, &images.inputs(&plan.graph.input, kind).unwrap(), given, FLAG, 0)
    };
    let mut likely = 0;
    for batch in all.chunks(row).chain([all]) {
        let bytes = Images { pixels: Pixels::Raw(batch.to_vec()), ..images.clone() };
        let plain = floats(batch.iter().map(|b| f32::from(*b)).collect());
        let normal = floats(bytes.inputs(&plan.graph.input, Floats::Raw).unwrap());
        assert_eq!(look(&bytes, Floats::Raw, Given::Bytes), None);
        assert_eq!(look(&plain, Floats::Raw, Given::Floats), None);
        assert_eq!(look(&normal, Floats::Normalised, Given::Normalised), None);

        let unit = floats(batch.iter().map(|b| f32::from(*b) / top).collect());
        let found = look(&unit, Floats::Raw, Given::Floats).expect("0..1");
        assert!(found.grade == Grade::Certain && found.what.contains("0..1"), "{found:?}");
        let found = look(&normal, Floats::Raw, Given::Floats).expect("normalised already");
        assert!(found.grade == Grade::Certain && found.remedy.contains(FLAG), "{found:?}");
        let found = look(&plain, Floats::Normalised, Given::Normalised).expect("raw, said to be normalised");
        assert!(found.grade == Grade::Beyond && found.remedy.contains("leave out"), "{found:?}");
        let found = look(&unit, Floats::Normalised, Given::Normalised).expect("0..1, said to be normalised");
        assert!(found.what.contains("not normalised"), "{found:?}");
        likely += usize::from(found.grade == Grade::Likely);
    }
    assert!(likely > 0);
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok();
    if bytes.is_none() {
        eprintln!("skipped: no {}", path.display());
    }
    bytes
}

#[test]
fn the_digits_of_the_example() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let file = |name: &str| read(&dir.join(name)).unwrap();
    let samples = Images::from_idx(&file("calibration-images.idx")).unwrap();
    let normalise = Normalise { scale: 1.0 / 16.0, mean: vec![0.3125], std: vec![0.5] };
    let plan = plan(&file("digits.onnx"), normalise, &samples);
    judged(&plan, &Images::from_idx(&file("digits-images.idx")).unwrap(), 16.0);
}

#[test]
fn mnist() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let Some(model) = read(&shared.join("models/mlp_mnist.onnx")) else { return };
    let Some(images) = read(&shared.join("data/mnist/t10k-images-idx3-ubyte.gz")) else { return };
    let images = Images::from_idx(&images).unwrap();
    let part = |from: usize, count: usize| Images {
        pixels: Pixels::Raw(raw(&images)[from * 784..(from + count) * 784].to_vec()),
        ..images.clone()
    };
    let normalise = Normalise { scale: 1.0 / 255.0, mean: vec![0.1307], std: vec![0.3081] };
    judged(&plan(&model, normalise, &part(0, 50)), &part(1000, 2000), 255.0);
}
