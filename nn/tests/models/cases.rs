//! Small models from public bug reports, against what ONNX Runtime or PyTorch gives. Skipped, with a message, where the
//! shared folder is absent.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use twoply_nn::data::npy;
use twoply_nn::graph::Input;
use twoply_nn::import::onnx::{self, Folder, Options};
use twoply_nn::{Evaluator, Floats, Images};

/// Models that must give what is written beside them.
const CASES: &[&str] = &[
    "batch-extent-minus-one",
    "bool-initializer",
    "disc_cast_noop",
    "disc_weight_norm",
    "external-data",
    "half-weights",
    "pad-torchscript",
    "reshape-by-product",
    "shape-by-slice-and-cast",
    "one-logit",
    "average-pool-55x55",
    "tiny-weights",
    "weights-beyond-ring",
    "inputs-beyond-samples",
    "max-pool-ceil",
    "conv1d",
    "channels-last-keras",
    "linear-over-last-axis",
    "split-branches",
    "prelu",
];
/// A case's own folder.
struct Case(PathBuf);

impl Folder for Case {
    fn length(&self, location: &str) -> Result<u64, String> {
        fs::metadata(self.0.join(location)).map(|m| m.len()).map_err(|e| e.to_string())
    }
    fn read(&self, location: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        let file = File::open(self.0.join(location)).map_err(|e| e.to_string())?;
        file.read_exact_at(&mut bytes, offset).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

/// Values of a file, as the input takes them.
fn inputs(case: &Case, input: &Input) -> Vec<f32> {
    let bytes = fs::read(case.0.join("x.npy")).unwrap();
    Images::read(&bytes).unwrap().0.inputs(input, Floats::Raw).unwrap()
}

fn wanted(case: &Case) -> Vec<f32> {
    npy::read(&fs::read(case.0.join("y.npy")).unwrap()).unwrap().values(|v| v as f32)
}

/// The case's folder, if the shared one is there.
fn case(name: &str) -> Option<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases").join(name);
    let there = folder.is_dir();
    if !there {
        eprintln!("skipped: no {}", folder.display());
    }
    there.then_some(Case(folder))
}

/// Imports a case and compares, softmax aside.
fn run(case: &Case) -> Result<onnx::Report, String> {
    let bytes = fs::read(case.0.join("model.onnx")).unwrap();
    let options = Options { folder: Some(case), ..Options::default() };
    let (model, report) = onnx::read(&bytes, &options).map_err(|e| e.to_string())?;
    let evaluator = Evaluator::new(&model.graph, &model.weights).unwrap();
    let (got, want) = (evaluator.run(&inputs(case, &model.graph.input)).unwrap().concat(), wanted(case));
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs() / w.abs().max(1.0)).fold(0.0, f32::max);
    if worst < 1e-4 { Ok(report) } else { Err(format!("differs by {worst}")) }
}

#[test]
fn imported_cases_give_what_they_should() {
    for name in CASES {
        let Some(case) = case(name) else { return };
        let report = run(&case).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(report.dropped.is_empty(), "{name}: {report:?}");
    }
}

/// The logits come out, and with them the labels.
#[test]
fn a_last_log_softmax_is_dropped() {
    let Some(case) = case("log-softmax") else { return };
    let bytes = fs::read(case.0.join("model.onnx")).unwrap();
    let (model, report) = onnx::read(&bytes, &Options::default()).unwrap();
    let [dropped] = &report.dropped[..] else { panic!("{report:?}") };
    assert_eq!(dropped.op, "LogSoftmax");
    let evaluator = Evaluator::new(&model.graph, &model.weights).unwrap();
    let logits = evaluator.run(&inputs(&case, &model.graph.input)).unwrap().concat();
    let want = wanted(&case);
    for (logits, want) in logits.chunks(3).zip(want.chunks(3)) {
        let sum: f32 = logits.iter().map(|v| v.exp()).sum();
        for (l, w) in logits.iter().zip(want) {
            assert!((l - sum.ln() - w).abs() < 1e-4, "{logits:?} {want:?}");
        }
    }
}
