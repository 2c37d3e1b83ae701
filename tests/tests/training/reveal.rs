//! Figures that a plan reveals, in real processes: to their owner, to nobody else, over restarts.

use super::run::{limited, weights};
use std::fs;
use std::time::{Duration, Instant};
use twoply_nn::train::{Brings, Figure, Share, Wanted};
use twoply_nn::{Evaluator, Meaning};
use twoply_tests::model::{digits, idx};
use twoply_tests::school::{LONG, School};

/// Digits that are held out.
const HELD: std::ops::Range<usize> = 400..440;

/// A school whose plan holds rows out, and reveals accuracy to the owner of `judge` every so many steps.
pub fn judged((rows, epochs): (u64, u32), checkpoint: u32, every: u32) -> School {
    let share = |owner: &str, brings| Share { owner: owner.into(), brings };
    let shares = vec![share("data", Brings::Rows(rows)), share("judge", Brings::Held(HELD.len() as u64))];
    let mut school = School::new((rows, epochs), shares, checkpoint);
    let wanted = Wanted { figure: Figure::Accuracy, to: "judge".into(), every: Some(every) };
    school.plan = school.plan.clone().revealing(&[wanted]).unwrap();
    school.replan("digits.train.json", &school.plan);
    let labels: String = digits().labels[HELD].iter().map(|l| format!("{l}\n")).collect();
    fs::write(school.path("held.idx"), idx(HELD)).unwrap();
    fs::write(school.path("held.txt"), labels).unwrap();
    school
}

/// How many of the held-out rows that fill batches the fetched model gets right.
fn right(school: &School) -> usize {
    let (graph, weights) = (&school.plan.graph, weights(school));
    let judged = HELD.start..HELD.start + school.plan.judged() as usize;
    let outputs = Evaluator::new(graph, &weights).unwrap().run(digits().images(judged.clone())).unwrap();
    let meaning = Meaning::of(graph).unwrap();
    let labels = digits().labels[judged].iter().copied();
    outputs.iter().zip(labels).filter(|(z, label)| meaning.label(z) == Some(*label)).count()
}

/// Waits until a file has a line that says this.
fn written(path: &std::path::Path, text: &str) {
    let until = Instant::now() + LONG;
    while !fs::read_to_string(path).is_ok_and(|all| all.contains(text)) {
        assert!(Instant::now() < until, "nothing says `{text}` in {}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn accuracy_is_revealed_to_its_owner_over_a_crash() {
    let school = judged((96, 60), 10, 60);
    let samples = school.digits();
    let mut parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let log = school.path("figures.jsonl");
    let watcher = school.watcher("judge", "other", &["--log", log.to_str().unwrap()]);
    // Neither another owner nor another key gets anything.
    school
        .watcher("data", "owner", &[])
        .wait(LONG)
        .is(2)
        .says(&["reveals nothing to a share `data`", "judge"]);
    school.watcher("judge", "owner", &["--wait", "1"]).wait(LONG).is(5).says(&["peer identity"]);
    school.watcher("judge", "model", &["--wait", "1"]).wait(LONG).is(5);
    school.owner("data", "owner", &limited(&samples, "96")).wait(LONG).is(0);
    let held = ["--samples", "held.idx", "--labels", "held.txt"];
    assert_eq!(school.owner("judge", "other", &held).wait(LONG).is(0).json()["rows"], 40);
    // One party dies behind the first figure, and the run goes on under another attempt.
    written(&log, "\"step\":60,");
    parties[1].kill();
    let [p0, _] = parties;
    let p1 = school.party("resume", 1, &[]);
    school.fetcher(&[]).wait(LONG).is(0);
    let found = watcher.wait(LONG).json();
    let dealt = dealer.wait(LONG).json();
    for party in [p0, p1] {
        let said = party.wait(LONG).json();
        assert_eq!((&said["ended"], &said["delivered"]), (&360.into(), &true.into()));
        let (steps, figures) = (said["steps"].as_u64().unwrap(), said["figures"].as_u64().unwrap());
        let (step, figure) = (&school.plan.step, &school.plan.reveals[0].cost);
        let counted = said["counted"]["rounds"].as_u64().unwrap();
        // an attempt may have been broken off between the two batches of a figure
        let batch = figure.rounds / 2;
        let wanted = steps * step.rounds + figures * figure.rounds;
        assert!([wanted, wanted + batch].contains(&counted), "{said}");
    }
    assert_eq!(found["ended"], 360);
    let figures = found["figures"].as_array().unwrap();
    let last = figures.iter().max_by_key(|f| (f["step"].as_u64(), f["attempt"].as_u64())).unwrap();
    let steps: std::collections::BTreeSet<u64> = figures.iter().filter_map(|f| f["step"].as_u64()).collect();
    assert!(steps.into_iter().eq([60, 120, 180, 240, 300, 360]), "{found}");
    assert!(last["attempt"].as_u64() > Some(1) && figures[0]["attempt"] == 1, "{found}");
    assert_eq!((&last["rows"], &last["epoch"]), (&32.into(), &60.into()));
    // The last figure is that of the model, but for a row whose best two logits are as good as equal.
    let (model, private) = (right(&school) as i64, last["right"].as_i64().unwrap());
    assert!(
        (model - private).abs() <= 1 && private > 20,
        "{private} of 32 right privately, {model} in the clear"
    );
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), figures.len());
    // Every delivery is in both ledgers; the dealer has none.
    for role in ["p0", "p1"] {
        assert!(school.status(role)[0]["revealed"].as_u64() >= Some(6), "{role}");
    }
    assert_eq!(school.status("dealer")[0]["revealed"], 0);
    assert!(dealt["steps"].as_u64() >= Some(360));

    // Afterwards the same figures again, for who lost them, and the same model.
    let parties = [school.party("resume", 0, &[]), school.party("resume", 1, &[])];
    let again = school.watcher("judge", "other", &[]).wait(LONG).json();
    assert_eq!(again["figures"].as_array().unwrap().len(), figures.len());
    school.fetcher(&["--force"]).wait(LONG).is(0);
    for party in parties {
        party.wait(LONG).is(0);
    }
}

/// A plan that reveals nothing serves nobody who asks; parties end without waiting for anybody.
#[test]
fn nothing_is_revealed_by_default() {
    let school = School::new((32, 1), vec![], 5);
    school.watcher("data", "owner", &[]).wait(LONG).is(2).says(&["it reveals nothing at all"]);
    // A party that was given no key for the owner of figures does not start.
    let judged = judged((96, 1), 10, 6);
    let mut party = judged.party_words("run", 0);
    let last = party.iter().rposition(|w| w == "--owner").unwrap();
    party.drain(last..last + 2);
    judged.start("p0", &party, &[]).wait(LONG).is(3).says(&["owner of `judge`", "--owner"]);
}
