//! `demo` on networks whose output is no vector of classes.

use crate::lab::Lab;
use crate::onnx;
use std::fs;
use twoply_nn::data::npy;

const IMAGES: usize = 6;

/// A lab with a model and images of this shape, with numbers in -1..1; and what demo is told of them.
fn lab(model: &[u8], shape: &[usize]) -> (Lab, Vec<f32>) {
    let lab = Lab::new();
    fs::write(lab.path("net.onnx"), model).unwrap();
    let unit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let values: Vec<f32> = (1..=4 * IMAGES as u64).map(unit).collect();
    fs::write(lab.path("x.npy"), npy::write(&[&[IMAGES], shape].concat(), &values).unwrap()).unwrap();
    (lab, values)
}

const DEMO: [&str; 7] = ["demo", "--model", "net.onnx", "--images", "x.npy", "--samples", "x.npy"];

#[test]
fn the_labels_of_one_score_are_counted_by_its_sign() {
    let weights = [1.0, -0.5, 0.75, 0.25];
    let model = onnx::model(&[4], &[("MatMul", &["x", "w"], "y")], &[("w", &[4, 1], &weights)], "y");
    let (lab, values) = lab(&model, &[4]);
    let score = |x: &[f32]| x.iter().zip(&weights).map(|(x, w)| x * w).sum::<f32>();
    let mut labels: Vec<u8> = values.chunks(4).map(|x| u8::from(score(x) > 0.0)).collect();
    assert!(labels.contains(&0) && labels.contains(&1));
    // One of them is wrong, so that all that is counted is what is right.
    labels[0] ^= 1;
    fs::write(lab.path("y.npy"), npy::write_bytes(&[IMAGES], &labels).unwrap()).unwrap();
    let report = lab.json(&[&DEMO[..], &["--labels", "y.npy"]].concat());
    assert_eq!(report["agree"], IMAGES);
    for count in ["correct_private", "correct_plain"] {
        assert_eq!(report[count], IMAGES - 1, "{count}");
    }
}

#[test]
fn a_map_has_no_labels_to_compare() {
    let model = onnx::model(&[1, 2, 2], &[("Relu", &["x"], "y")], &[], "y");
    let (lab, _) = lab(&model, &[1, 2, 2]);
    let said = lab.ok(&DEMO);
    for line in ["there are no labels to compare", "correct labels: private -, plain -"] {
        assert!(said.stdout.contains(line), "no {line:?} in {}", said.stdout);
    }
    fs::write(lab.path("y.npy"), npy::write_bytes(&[IMAGES], &[0; IMAGES]).unwrap()).unwrap();
    let said = lab.run(&[&DEMO[..], &["--labels", "y.npy", "--format", "json"]].concat());
    assert_eq!((said.code, said.stdout.as_str()), (15, ""), "{}", said.stderr);
    assert_eq!(said.failure()["remedy"], "leave out --labels");
}
