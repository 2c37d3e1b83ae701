//! Each rule catches its planted fault, and nothing but it.

use super::*;
use crate::soak::record::{End, Granted};

fn run(from: f64, to: f64) -> Run {
    Run {
        owner: "client".into(),
        verb: Verb::Infer,
        batch: 4,
        wanted: vec![1, 2, 3, 4],
        answers: vec![1, 2, 3, 4],
        answered: vec![to; 4],
        from,
        to,
        fate: Fate::Exit(0),
        said: String::new(),
        retries: 0,
    }
}

fn failed(from: f64, to: f64, code: i32, said: &str) -> Run {
    Run { answers: vec![], answered: vec![], fate: Fate::Exit(code), said: said.into(), ..run(from, to) }
}

fn granted(set: &str, first: u64, end: u64) -> Granted {
    Granted { set: set.into(), first, end }
}

/// A minute with a kill of P1, a failure that names it, an owner killed, and two sets; all well.
fn good() -> Record {
    let set = |name: &str, spent| Set { name: name.into(), images: 100, spent };
    let sets = vec![set("a", 100), set("b", 20)];
    Record {
        seed: 1,
        seconds: 60.0,
        least_kills: 1,
        slowest: SLOWEST,
        outages: vec![
            Outage { party: 1, blow: Blow::Kill, from: 20.0, until: 23.0 },
            Outage { party: 0, blow: Blow::Stop, from: 58.0, until: 59.0 },
        ],
        ends: vec![
            End { party: 1, at: 20.0, blow: Blow::Kill, code: None, said: String::new() },
            End { party: 0, at: 58.5, blow: Blow::Stop, code: Some(0), said: String::new() },
        ],
        runs: vec![
            run(1.0, 2.0),
            failed(19.0, 24.0, 4, "error: P1 tp1-aaaaa was lost"),
            Run { fate: Fate::Killed, answers: vec![], answered: vec![], ..run(40.0, 41.0) },
            run(50.0, 51.0),
        ],
        granted: vec![
            ("client".into(), vec![granted("a", 0, 4), granted("a", 10, 14), granted("b", 0, 4)]),
            ("other".into(), vec![granted("a", 4, 8), granted("b", 8, 12)]),
        ],
        sets: [sets.clone(), sets],
        dealt: 2,
        troubles: vec![],
    }
}

/// The rules that a changed record breaks.
fn broken(change: impl FnOnce(&mut Record)) -> Vec<Rule> {
    let mut record = good();
    change(&mut record);
    let mut rules: Vec<Rule> = faults(&record).iter().map(|f| f.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn a_good_record_passes() {
    assert_eq!(broken(|_| {}), []);
    assert_eq!(downtime(&good()), 0.0);
    assert_eq!(slowest(&good()).unwrap().0, 4.0);
}

#[test]
fn wrong_labels() {
    assert_eq!(broken(|r| r.runs[0].answers[2] = 7), [Rule::WrongLabel]);
    assert_eq!(broken(|r| r.runs[0].answers.push(1)), [Rule::WrongLabel]);
    assert_eq!(broken(|r| r.runs[0].answers.truncate(3)), [Rule::WrongLabel]);
    // Of a run that failed or was killed, too.
    assert_eq!(broken(|r| r.runs[1].answers = vec![2]), [Rule::WrongLabel]);
    assert_eq!(broken(|r| r.runs[2].answers = vec![2]), [Rule::WrongLabel]);
    assert_eq!(broken(|r| r.runs[1].answers = vec![1, 2]), []);
}

#[test]
fn images_granted_twice() {
    assert_eq!(broken(|r| r.granted[1].1[0] = granted("a", 3, 8)), [Rule::GrantedTwice]);
    assert_eq!(broken(|r| r.granted[1].1[0] = granted("a", 0, 4)), [Rule::GrantedTwice]);
    let falls = |r: &mut Record| r.granted[0].1.swap(0, 1);
    assert_eq!(broken(falls), [Rule::GrantsFell]);
    let again = |r: &mut Record| r.granted[0].1.push(granted("a", 10, 14));
    assert_eq!(broken(again), [Rule::GrantedTwice, Rule::GrantsFell]);
    let refused = |r: &mut Record| r.runs[1] = failed(19.0, 24.0, 9, "error: P1 grants images 1..2 again");
    assert_eq!(broken(refused), [Rule::GrantedTwice]);
}

#[test]
fn images_granted_and_not_spent() {
    let ahead = |r: &mut Record| r.granted[1].1[1] = granted("b", 18, 21);
    assert_eq!(broken(ahead), [Rule::GrantedUnspent]);
    let unknown = |r: &mut Record| r.granted[1].1[1] = granted("c", 0, 1);
    assert_eq!(broken(unknown), [Rule::GrantedUnspent]);
}

#[test]
fn unequal_spent() {
    assert_eq!(broken(|r| r.sets[0][1].spent = 21), [Rule::UnequalSpent]);
    assert_eq!(broken(|r| r.sets[1][1].spent = 19), [Rule::UnequalSpent]);
    let more = Set { name: "c".into(), images: 5, spent: 0 };
    assert_eq!(broken(|r| r.sets[1].push(more)), [Rule::UnequalSpent]);
}

#[test]
fn refusals_for_lack_of_keys() {
    let refused =
        |r: &mut Record| r.runs.push(failed(30.0, 31.0, 8, "error: P0 refused: keys missing or short"));
    assert_eq!(broken(refused), [Rule::Downtime]);
    let mut record = good();
    refused(&mut record);
    record.runs.push(failed(31.0, 35.0, 8, ""));
    assert_eq!(downtime(&record), 20.0);
}

#[test]
fn failures_without_a_name_or_a_cause() {
    let said = |text: &'static str| move |r: &mut Record| r.runs[1].said = text.into();
    assert_eq!(broken(said("error: the connection was lost")), [Rule::Nameless]);
    assert_eq!(broken(said("error: P0 stopped: peer failed")), [Rule::Nameless]);
    assert_eq!(broken(said("error: P0 stopped: it lost P1")), []);
    assert_eq!(broken(said("error: P1; please report it")), [Rule::Internal]);
    let alone = |r: &mut Record| r.runs.push(failed(31.0, 32.0, 4, "error: P1 was lost"));
    assert_eq!(broken(alone), [Rule::Unprovoked]);
    let other = |r: &mut Record| r.runs[1] = failed(19.0, 24.0, 6, "error: P1 has another key set");
    assert_eq!(broken(other), [Rule::WrongKind]);
    let provision = |r: &mut Record| {
        r.runs.push(Run { verb: Verb::Provision, wanted: vec![], ..failed(21.0, 22.0, 4, "error: lost") });
    };
    assert_eq!(broken(provision), [Rule::Nameless]);
    assert_eq!(broken(|r| r.runs[0] = failed(1.0, 2.0, 1, "")), [Rule::Internal]);
}

#[test]
fn late_answers() {
    assert_eq!(broken(|r| r.runs[1].to = 50.5), [Rule::Slow]);
    let late = |r: &mut Record| r.runs[1] = run(19.0, 51.0);
    assert_eq!(broken(late), [Rule::Slow]);
    // Whoever calls a party that is not there yet waits from his call on.
    let call = |r: &mut Record| r.runs[1] = run(22.0, 51.0);
    assert_eq!(broken(call), []);
    // A first batch in time is an answer.
    let soon = |r: &mut Record| {
        r.runs[1] = run(19.0, 51.0);
        r.runs[1].answered[0] = 24.0;
    };
    assert_eq!(broken(soon), []);
    assert_eq!(broken(|r| r.runs[3].fate = Fate::Hung), [Rule::Hung]);
}

#[test]
fn parties_that_end() {
    let end = |code, said: &str| End { party: 0, at: 21.0, blow: Blow::Itself, code, said: said.into() };
    assert_eq!(broken(|r| r.ends.push(end(Some(4), "P1 was lost"))), [Rule::PartyEnded]);
    assert_eq!(broken(|r| r.ends.push(end(Some(4), "lost"))), [Rule::Nameless, Rule::PartyEnded]);
    assert_eq!(broken(|r| r.ends[1].code = Some(4)), [Rule::Unclean]);
    assert_eq!(broken(|r| r.ends[1].code = None), [Rule::Unclean]);
}

#[test]
fn too_many_images_burnt() {
    // One kill and one stop of 64 + 4 images, two runs of 4.
    assert_eq!(burnt(&good()), (112, 144));
    let more = |r: &mut Record| r.sets.iter_mut().for_each(|sets| sets[1].spent = 53);
    assert_eq!(broken(more), [Rule::Burnt]);
    let allowed = |r: &mut Record| r.sets.iter_mut().for_each(|sets| sets[1].spent = 52);
    assert_eq!(broken(allowed), []);
}

#[test]
fn a_gentle_soak_and_other_troubles() {
    assert_eq!(broken(|r| r.least_kills = 2), [Rule::Gentle]);
    assert_eq!(broken(|r| r.troubles.push("a dealer failed".into())), [Rule::Trouble]);
    let nothing = |r: &mut Record| r.runs.clear();
    assert!(broken(nothing).contains(&Rule::Gentle));
}
