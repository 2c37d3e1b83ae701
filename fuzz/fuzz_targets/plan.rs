//! Any text as a plan file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twoply_nn::Plan;

fuzz_target!(|text: &str| {
    let _ = Plan::from_json(text);
});
