//! The model's owner, while there is no model yet.

use twoply_tests::school::{LONG, School};

#[test]
fn who_waits_for_the_model_says_for_whom_and_gives_up_in_time() {
    let school = School::new((32, 1), vec![], 5);
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let fetcher = school.fetcher(&["--wait", "7"]);
    let said = fetcher.hear("still waits for", LONG).expect("it says that it waits");
    assert!(said.contains("P0") && said.contains("parties and dealer say how far it is"), "{said}");
    // no dealer has come, and nobody ends the run
    fetcher.wait(LONG).is(4).says(&["has not ended within 7 s"]);
    drop(parties);
}
