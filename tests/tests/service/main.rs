//! A service that stays up: many key sets, owners that hold nobody up, parties that lose each other and meet again.

mod key_sets;
mod owners;
mod provision;
mod survival;

use std::ops::Range;
use twoply_tests::{Ended, Pair, World};

/// Both parties with weights.
fn served(world: &World, more: [&[&str]; 2]) -> Pair {
    let pair = world.parties_with(more);
    world.provision(&pair, &[]).is(0);
    pair
}

/// Deals key sets of `images` images, one for each number, into folders of their own: `deal-7`.
fn deal(world: &World, numbers: Range<usize>, images: u64) {
    for number in numbers {
        world.deal(&folder(number), "plan.json", images, images as u32).is(0);
    }
}

fn folder(number: usize) -> String {
    format!("deal-{number}")
}

/// A number of a party's report.
fn number(report: &serde_json::Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"))
}

/// How often a process said something.
fn count(ended: &Ended, text: &str) -> usize {
    ended.err.matches(text).count()
}
