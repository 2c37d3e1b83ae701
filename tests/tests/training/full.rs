//! A disk that is full when a checkpoint is written: whoever has it says so and ends, the others wait, and the run goes on from the
//! checkpoint before.

use super::deaths::tidy;
use super::run::limited;
use std::fs;
use twoply_tests::school::{LONG, School};
use twoply_tests::{Proc, Terms};

/// Blocks of which a role's checkpoint needs one more.
fn too_few(school: &School, role: &str) -> u64 {
    let run = fs::read_dir(school.path(role).join("train/runs")).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let checkpoint = files.filter(|path| path.extension().is_some_and(|end| end == "checkpoint")).max();
    checkpoint.unwrap().metadata().unwrap().len() / 1024 - 1
}

fn dying(at: &str) -> Terms {
    Terms { variable: Some(("TWOPLY_TEST_DIE", at.to_owned())), ..Terms::default() }
}

fn killed(mut proc: Proc) {
    let ended = proc.finish_within(LONG);
    assert_eq!(ended.code, None, "{}", ended.err);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn a_full_disk_at_a_checkpoint_costs_an_attempt() {
    let school = School::new((96, 3), vec![], 2);
    let digits = school.digits();
    let p0 = school.party("run", 0, &[]);
    let p1 = school.start_under(dying("HeldSaid:1"), "p1", &school.party_words("run", 1), &[]);
    let mut dealer = school.dealer(&[]);
    school.owner("data", "owner", &limited(&digits, "96")).wait(LONG).is(0);
    killed(p1);
    p0.hear("the attempt is over", LONG).unwrap();
    dealer.hear("the attempt is over", LONG).unwrap();

    // P1 has its first checkpoint, and no room for another one
    let full = |role| Terms { blocks: Some(too_few(&school, role)), ..Terms::default() };
    let words = ["no space left", "free space or choose another folder", ".checkpoint"];
    let p1 = school.start_under(full("p1"), "p1", &school.party_words("resume", 1), &[]);
    p1.wait(LONG).is(16).says(&words);
    assert_eq!(school.status("p1")[0]["checkpoint"], 2, "the one before is there");
    p0.hear("goes on after step 2", LONG).unwrap();
    p0.hear("the attempt is over", LONG).unwrap();
    dealer.hear("the attempt is over", LONG).unwrap();
    let p1 = school.party("resume", 1, &[]);
    p1.hear("goes on after step 2", LONG).unwrap();

    // and now the dealer; one that was in an attempt before has no masks left of it, which it would overwrite
    dealer.kill();
    p0.hear("the attempt is over", LONG).unwrap();
    p1.hear("the attempt is over", LONG).unwrap();
    killed(school.start_under(dying("SegmentTaken:1"), "dealer", &school.dealer_words(), &["--resume"]));
    p0.hear("the attempt is over", LONG).unwrap();
    p1.hear("the attempt is over", LONG).unwrap();
    let dealer = school.start_under(full("dealer"), "dealer", &school.dealer_words(), &["--resume"]);
    dealer.wait(LONG).is(16).says(&words);
    for party in [&p0, &p1] {
        party.hear("goes on after step", LONG).unwrap();
        party.hear("the attempt is over", LONG).unwrap();
    }
    let dealer = school.dealer(&["--resume"]);
    school.fetcher(&[]).wait(LONG).is(0);
    for process in [p0, p1, dealer] {
        assert_eq!(process.wait(LONG).is(0).json()["ended"], 18);
    }
    ["p0", "p1", "dealer"].into_iter().for_each(|role| tidy(&school, role));
}
