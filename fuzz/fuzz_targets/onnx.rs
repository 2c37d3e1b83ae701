//! Any bytes as an ONNX model, with a folder whose one file holds 64 bytes whatever its name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twoply_nn::import::onnx::{self, Folder, Options};

struct Beside;

impl Folder for Beside {
    fn length(&self, _: &str) -> Result<u64, String> {
        Ok(64)
    }
    fn read(&self, _: &str, _: u64, length: usize) -> Result<Vec<u8>, String> {
        Ok(vec![0x3f; length])
    }
}

fuzz_target!(|bytes: &[u8]| {
    let options = Options { folder: Some(&Beside), ..Options::default() };
    if let Ok((model, _)) = onnx::read(bytes, &options) {
        // What is imported is a valid graph with its weights.
        model.graph.validate().expect("a valid graph");
        model.weights.check(&model.graph).expect("its weights");
    }
});
