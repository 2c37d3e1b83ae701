//! Small models made from situations in public bug reports, against the answers of the framework that wrote them. Skipped, with
//! a message, where the shared folder (or the one in TWOPLY_SHARED) is absent.

use std::path::{Path, PathBuf};
use twoply_nn::{Evaluator, Floats, Images, import::onnx};

fn folder(case: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("TWOPLY_SHARED").map_or(here, PathBuf::from);
    let folder = shared.join("cases").join(case);
    let there = folder.join("model.onnx").is_file();
    if !there {
        eprintln!("skipped: no {}", folder.display());
    }
    there.then_some(folder)
}

/// The float32 values of an NPY file, and nothing else.
fn floats(file: &[u8]) -> Vec<f32> {
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[10 + header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Imports the model, and compares what it gives for x.npy with y.npy.
fn agrees(case: &str) {
    let Some(folder) = folder(case) else { return };
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let model = onnx::import(&read("model.onnx"), None, None).unwrap_or_else(|e| panic!("{case}: {e}"));
    let x = match model.graph.input.shape.len() {
        // In either order of axes.
        3 => Images::from_npy(&read("x.npy")).unwrap().inputs(&model.graph.input, Floats::Raw).unwrap(),
        _ => floats(&read("x.npy")),
    };
    let want = floats(&read("y.npy"));
    let found = Evaluator::new(&model.graph, &model.weights).unwrap().run(&x).unwrap().concat();
    assert_eq!(found.len(), want.len(), "{case}");
    let worst = found.iter().zip(&want).map(|(f, w)| (f - w).abs()).fold(0.0, f32::max);
    eprintln!("{case}: largest difference {worst:e}");
    assert!(worst < 1e-4, "{case}: {worst}");
}

#[test]
fn one_axis() {
    agrees("conv1d");
}

#[test]
fn a_linear_layer_along_the_last_of_several_axes() {
    agrees("linear-over-last-axis");
}

#[test]
fn channels_split_and_joined() {
    agrees("split-branches");
}

#[test]
fn a_slope_for_each_channel() {
    agrees("prelu");
}

#[test]
fn a_pool_that_hangs_over_the_end() {
    agrees("max-pool-ceil");
}

#[test]
fn channels_last() {
    agrees("channels-last-keras");
}
