//! `--table gpu --quick` from end to end, on device 0: a GPU, or the stand-in of `tests/cuda/`.
#![cfg(feature = "cuda")]

use std::process::Command;
use twoply_primitives::backend::cuda::{count, name};

fn bench(args: &[&str]) -> (bool, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_twoply-bench")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_quick_table_has_all_its_rows() {
    match (count(), std::env::var_os("TWOPLY_NEED_CUDA")) {
        (Ok(1..), _) => {}
        (_, None) => {
            eprintln!(
                "skipped: no CUDA device; with `LD_LIBRARY_PATH=$(tests/cuda/build.sh)` a stand-in is one"
            );
            return;
        }
        (found, Some(_)) => panic!("TWOPLY_NEED_CUDA is set, and there is no device: {found:?}"),
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = file.path().to_str().unwrap();
    let (well, text, errors) = bench(&["--table", "gpu", "--quick", "--json", json]);
    assert!(well, "{errors}");
    let table: serde_json::Value = serde_json::from_reader(&file).unwrap();

    let head = text.lines().next().unwrap();
    let device = name(0).unwrap();
    assert!(head.starts_with(&device), "{head}");
    assert_eq!(table["device"], head);
    let stands_in = device.starts_with("Emulated");
    assert_eq!(head.ends_with("emulated: figures mean nothing"), stands_in, "{head}");
    assert_eq!(table["emulated"], stands_in);

    assert_eq!(table["faults"], serde_json::json!([]));

    let rows = table["rows"].as_array().unwrap();
    for row in rows {
        let positive = |v: &serde_json::Value| v.as_f64().is_some_and(|v| v > 0.0 && v.is_finite());
        assert!(positive(&row["value"]), "{row}");
        assert!(row["bound"].is_null() || positive(&row["bound"]["reached"]), "{row}");
        assert!(row["beside"].is_null() || positive(&row["beside"]["times"]), "{row}");
    }
    let count = |name: &str| rows.iter().filter(|r| r["name"] == name).count();
    // widths by cases; rings; shapes; schemes
    for (name, wanted) in [
        ("copy", 3),
        ("AES", 2),
        ("dpf evaluate", 9),
        ("dpf generate", 6),
        ("digits evaluate", 12),
        ("digits deal", 3),
        ("product", 2),
        ("ReLU", 2),
        ("MaxPool 3x3/2", 2),
        ("BatchNorm", 1),
        ("Conv 3x3", 1),
        ("Conv 1x1/2", 1),
        ("Network-1", 2),
    ] {
        assert_eq!(count(name), wanted, "{name}\n{text}");
    }
    // what is measured against something else says against what
    let unbound = rows.iter().filter(|r| r["bound"].is_null()).count();
    assert_eq!(unbound, if stands_in { 4 } else { 3 }, "{text}");
    let agree = |r: &serde_json::Value| r["note"].as_str().unwrap().starts_with("labels as plain: 2 of 2");
    assert!(rows.iter().filter(|r| r["name"] == "Network-1").all(agree), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_said() {
    for device in ["cuda:4096", "cpu"] {
        let (well, text, errors) = bench(&["--table", "gpu", "--quick", "--device", device]);
        assert!(!well && text.is_empty() && errors.starts_with("twoply-bench: "), "{text}{errors}");
    }
}
