//! What an owner brings and cannot be masked: it hears so before anybody else does, and corrects it.

use super::run::weights;
use std::fs;
use twoply_nn::train::{Brings, Share, initial};
use twoply_nn::{Graph, Weights};
use twoply_tests::model::idx;
use twoply_tests::school::{LONG, School};

/// A start whose first weight is this.
fn start(graph: &Graph, first: f32) -> Vec<u8> {
    let mut weights: Weights = initial(graph, 9);
    weights.0[0][0] = first;
    weights.to_safetensors(graph).unwrap()
}

/// One-hot targets of so many rows, a line each; those of `bad` say a half.
fn targets(rows: usize, bad: Option<usize>) -> String {
    let one = |row: usize, k: usize| match (k == row % 10, bad == Some(row)) {
        (true, true) => "0.5",
        (true, false) => "1",
        (false, _) => "0",
    };
    let row = |row| (0..10).map(|k| one(row, k)).collect::<Vec<_>>().join(",") + "\n";
    (0..rows).map(row).collect()
}

/// The mask of a data key set covers what is brought once. What is refused was not brought: corrected, it is, under the same set.
#[test]
fn what_cannot_be_masked_is_corrected_under_the_same_key_set() {
    let share = |owner: &str, brings| Share { owner: owner.into(), brings };
    let shares = vec![share("data", Brings::Rows(32)), share("first", Brings::Start)];
    let school = School::new((32, 1), shares, 2);
    let limit = school.plan.recipe.limit() as f32;
    for (name, first) in [("large", limit), ("start", 0.75)] {
        fs::write(school.path(name), start(&school.plan.graph, first)).unwrap();
    }
    // the rows of the file behind the plan's are nobody's business
    fs::write(school.path("half.csv"), targets(32, Some(21)) + &targets(32, Some(0))).unwrap();
    fs::write(school.path("good.csv"), targets(32, None) + &targets(32, Some(0))).unwrap();
    fs::write(school.path("images.idx"), idx(0..64)).unwrap();
    let rows = |file: &'static str| ["--samples", "images.idx", "--targets", file, "--limit", "32"];

    // Nobody is called: there is nobody yet.
    school.owner("data", "owner", &rows("half.csv")).wait(LONG).is(15).says(&["row 21", "a target of 0.5"]);
    school
        .owner("first", "other", &["--weights", "large"])
        .wait(LONG)
        .is(15)
        .says(&["the limit of these fractions", "large"]);

    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    school.owner("data", "owner", &rows("half.csv")).wait(LONG).is(15).says(&["row 21"]);
    school.owner("data", "owner", &rows("good.csv")).wait(LONG).is(0);
    school.owner("first", "other", &["--weights", "large"]).wait(LONG).is(15);
    school.owner("first", "other", &["--weights", "start"]).wait(LONG).is(0);
    assert_eq!(school.fetcher(&[]).wait(LONG).is(0).json()["step"], 2);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
    assert!((weights(&school).0[0][0] - 0.75).abs() < 0.25, "it began with the corrected start");
}
