//! Where readers of ONNX disagree (docs/readers.md): every row is refused, or gives what the row allows, never the other side
//! in silence. `tests/exporters/readers.py --keep nn/tests/readers` writes the files.

use serde::Deserialize;
use std::fs;
use std::path::Path;
use twoply_nn::{Evaluator, Imported, import::onnx};

#[derive(Deserialize)]
struct Row {
    title: String,
    x: Vec<f32>,
    /// Answers that an import may give.
    allowed: Vec<Vec<f32>>,
}

#[test]
fn an_import_takes_no_side_that_its_row_does_not_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers");
    let mut rows = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        rows += 1;
        let row: Row = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let model = fs::read(path.with_extension("onnx")).unwrap();
        let Ok(Imported { graph, weights }) = onnx::import(&model, Some("row"), None) else { continue };
        let found = Evaluator::new(&graph, &weights).unwrap().run(&row.x).unwrap().concat();
        let near = |wanted: &Vec<f32>| {
            wanted.len() == found.len() && wanted.iter().zip(&found).all(|(w, f)| (w - f).abs() <= 1e-5)
        };
        assert!(row.allowed.iter().any(near), "{}: {found:?}, allowed {:?}", row.title, row.allowed);
    }
    assert!(rows > 20, "{rows} rows in {}", folder.display());
}
