//! The soak for some seconds; `tests/soak.sh` is the long one.

use std::sync::atomic::AtomicBool;
use twoply_tests::soak::{self, Settings, summary::Summary};

#[test]
fn kills_stops_and_new_keys_for_some_seconds() {
    let settings = Settings::short(1);
    let record = soak::run(&settings, &AtomicBool::new(false), &|_| {}).unwrap();
    let summary = Summary::of(&record);
    assert!(summary.passed, "{summary}");
}
