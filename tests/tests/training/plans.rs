//! Another plan, on every side: exit 6, and what to do.

use super::reveal::judged;
use super::run::limited;
use twoply_nn::train::TrainingPlan;
use twoply_tests::school::{LONG, School};

const OTHER: &str = "other.train.json";

/// Words of a verb with the other plan's file.
fn with_other(mut words: Vec<String>) -> Vec<String> {
    let at = words.iter().position(|word| word == "digits.train.json").unwrap();
    words[at] = OTHER.into();
    words
}

fn two_plans(school: &School) {
    let other = TrainingPlan { seed: 2, ..school.plan.clone() };
    school.replan(OTHER, &other);
}

#[test]
fn owners_of_another_plan_are_turned_away() {
    let school = judged((96, 1), 10, 6);
    two_plans(&school);
    let digits = school.digits();
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let dealer = school.dealer(&[]);
    let (rows, held) = (limited(&digits, "96"), ["--samples", "held.idx", "--labels", "held.txt"]);
    let owners = [
        ("owner", school.owner_words("data", "owner"), &rows[..]),
        ("other", school.owner_words("judge", "other"), &held[..]),
        ("other", school.watcher_words("judge", "other"), &[]),
        ("model", school.fetcher_words(), &[]),
    ];
    for (role, words, more) in &owners {
        let ended = school.start(role, &with_other(words.clone()), more).wait(LONG);
        ended.is(6).says(&["refused: plan mismatch", "the plan that the parties use, the same file"]);
    }
    // the parties were not disturbed
    let mut watcher = None;
    for (role, words, more) in owners {
        let process = school.start(role, &words, more);
        match words[1] == "watch" {
            true => watcher = Some(process),
            false => _ = process.wait(LONG).is(0),
        }
    }
    for process in parties.into_iter().chain([dealer]).chain(watcher) {
        process.wait(LONG).is(0);
    }
}

/// One party's plan is not that of the others: all three end, whichever party it is.
#[test]
fn a_party_of_another_plan_ends_all_three() {
    let school = School::new((32, 1), vec![], 5);
    two_plans(&school);
    for wrong in 0..2 {
        let party = |me: usize| match me == wrong {
            true => school.start(&format!("p{me}"), &with_other(school.party_words("run", me)), &[]),
            false => school.party("run", me, &[]),
        };
        let parties = [party(0), party(1)];
        parties[wrong].hear("listens on", LONG).unwrap();
        let mut dealer = school.dealer(&[]);
        dealer.finish_within(LONG).is(6).says(&["plan mismatch", "see the message of that process"]);
        for (me, party) in parties.into_iter().enumerate() {
            let words: &[&str] = match me == wrong {
                true => &["the dealer works on another plan", "use the same plan file everywhere"],
                false => &["plan mismatch", "see the message of that process"],
            };
            party.wait(LONG).is(6).says(words);
        }
        std::fs::remove_dir_all(school.path("dealer/train")).unwrap();
    }
}
