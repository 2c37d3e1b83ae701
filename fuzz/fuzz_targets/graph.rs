//! Any bytes as a graph file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twoply_nn::Graph;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = Graph::from_json(bytes) {
        let back = Graph::from_json(graph.to_json().as_bytes()).expect("what was written");
        assert_eq!(back.digest(), graph.digest());
    }
});
