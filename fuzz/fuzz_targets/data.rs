//! Any bytes as images, labels, arrays, state dictionaries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use twoply_nn::data::npy;
use twoply_nn::zoo::StateDict;
use twoply_nn::{Images, Labels};

fuzz_target!(|bytes: &[u8]| {
    let _ = Images::read(bytes);
    let _ = Labels::read(bytes);
    let _ = npy::read(bytes);
    let _ = StateDict::read(bytes);
});
