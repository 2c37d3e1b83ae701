//! The bill of a plan beside what a run leaves behind.

use super::run::limited;
use std::fs;
use std::path::Path;
use twoply_nn::train::TrainingPlan;
use twoply_tests::model::{digits, idx};
use twoply_tests::school::{LONG, School};

/// Bytes of all files in a folder and those below.
fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.map(|e| if e.path().is_dir() { bytes(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

/// To the byte, at both parties and the dealer: rows, the last checkpoint, ledgers, and figures.
#[test]
fn a_run_leaves_on_disk_what_its_bill_says() {
    let mut school = School::new((96, 2), vec![], 5);
    fs::write(school.path("digits.graph.json"), digits().graph.to_json()).unwrap();
    let plan = "train plan digits.graph.json --rows 96 --epochs 2 --batch 16 --rate 1/32 --checkpoint 5 --share data=rows:96 --share \
                judge=held:40 --reveal accuracy=judge:4 --unchecked-ranges --force --format json";
    let words: Vec<String> = plan.split_whitespace().map(str::to_owned).collect();
    let bill = school.start("plan", &words, &[]).wait(LONG).json();
    school.plan =
        TrainingPlan::from_json(&fs::read_to_string(school.path("digits.train.json")).unwrap()).unwrap();
    let labels: String = digits().labels[400..440].iter().map(|l| format!("{l}\n")).collect();
    fs::write(school.path("held.idx"), idx(400..440)).unwrap();
    fs::write(school.path("held.txt"), labels).unwrap();

    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let watcher = school.watcher("judge", "other", &[]);
    school.owner("data", "owner", &limited(&school.digits(), "96")).wait(LONG).is(0);
    let held = ["--samples", "held.idx", "--labels", "held.txt"];
    school.owner("judge", "other", &held).wait(LONG).is(0);
    school.fetcher(&[]).wait(LONG).is(0);
    assert_eq!(watcher.wait(LONG).json()["figures"].as_array().unwrap().len(), 3);
    dealer.wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
    for (role, of) in [("p0", "party"), ("p1", "party"), ("dealer", "dealer")] {
        let found = bytes(&school.path(role).join("train"));
        assert_eq!(bill["disk"][of]["left"], found, "{role}: {}", bill["disk"][of]);
    }
}
