//! Every process of a run dies at every point of its work (`points.rs`), is started again, and the run ends.

use super::points::{Who, deaths};
use super::run::{limited, weights};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use twoply_nn::train::{Course, initial, plain};
use twoply_nn::{Labels, Weights};
use twoply_party::train::Point;
use twoply_tests::school::{LONG, School};
use twoply_tests::{Ended, Proc, Terms, digits};

/// Steps from one checkpoint to the next.
const EVERY: u64 = 2;
/// Steps of keys that a dealer is ahead of the parties, as they let it, and the one that it is at.
const AHEAD: u64 = 3 + 1;

/// A process of a run with the deaths that are before it.
struct Life {
    who: Who,
    left: Vec<(Point, u32)>,
    /// Where it is to die.
    armed: Option<Point>,
    proc: Option<Proc>,
    /// How it ended, when it was not killed.
    ended: Option<Ended>,
}

impl Life {
    fn new(who: Who, dies: bool) -> Life {
        let mut left = if dies { deaths(who).to_vec() } else { vec![] };
        left.reverse();
        Life { who, left, armed: None, proc: None, ended: None }
    }

    /// Starts it, or starts it again, as the documentation says, towards its next death.
    fn start(&mut self, school: &School) {
        let next = self.left.pop();
        self.armed = next.map(|(point, _)| point);
        let variable = next.map(|(point, times)| ("TWOPLY_TEST_DIE", format!("{point:?}:{times}")));
        let terms = Terms { variable, ..Terms::default() };
        let begun = |role| school.status(role).as_array().is_some_and(|runs| !runs.is_empty());
        let party = |me: usize, role| {
            // before it knows of the run it begins it again
            let verb = if begun(role) { "resume" } else { "run" };
            school.party_words(verb, me)
        };
        let (name, words, more) = match self.who {
            Who::P0 => ("p0", party(0, "p0"), vec![]),
            Who::P1 => ("p1", party(1, "p1"), vec![]),
            Who::Dealer => ("dealer", school.dealer_words(), vec!["--resume"; begun("dealer").into()]),
            Who::Owner => ("owner", school.owner_words("data", "owner"), vec!["--limit", "96"]),
            Who::ModelOwner => {
                let there = school.path("learnt.graph.json").exists();
                ("model", school.fetcher_words(), vec!["--force"; there.into()])
            }
        };
        let digits = school.digits();
        let digits = digits.iter().map(String::as_str).take(if self.who == Who::Owner { 4 } else { 0 });
        let more: Vec<&str> = digits.chain(more).collect();
        self.proc = Some(school.start_under(terms, name, &words, &more));
    }

    /// Whether it is there; if not, it was killed where it was to die, or has ended.
    fn runs(&mut self) -> bool {
        let Some(proc) = &mut self.proc else { return false };
        if proc.runs() {
            return true;
        }
        let ended = proc.finish();
        self.proc = None;
        match self.armed {
            Some(point) => {
                assert_eq!(ended.code, None, "{:?} did not come to {point:?}: {}", self.who, ended.err)
            }
            None => {
                ended.is(0);
                self.ended = Some(ended);
            }
        }
        false
    }

    fn steps(&self) -> u64 {
        self.ended.as_ref().map(|ended| ended.json()["steps"].as_u64().unwrap()).unwrap()
    }
}

/// Whether a process that is not there is to be started now.
fn may_start(all: &[Life; 5], at: usize, dying: &[Who]) -> bool {
    let [.., dealer, _, model] = all;
    match all[at].who {
        // who fetches while a party dies at its end may get the model before
        Who::ModelOwner => {
            !dying.iter().any(|who| matches!(who, Who::P0 | Who::P1)) || dealer.ended.is_some()
        }
        // the parties have delivered the model, and still wait for a dealer that did not hear of their end
        Who::Dealer => dealer.armed != Some(Point::EndHeard) || model.ended.is_some(),
        _ => true,
    }
}

/// A run of 18 steps in which these processes die.
fn run(dying: &[Who]) {
    let school = School::new((96, 3), vec![], EVERY as u32);
    let mut all = Who::ALL.map(|who| Life::new(who, dying.contains(&who)));
    let until = Instant::now() + LONG;
    while all.iter().any(|life| life.ended.is_none()) {
        for at in 0..all.len() {
            if !all[at].runs() && all[at].ended.is_none() && may_start(&all, at, dying) {
                all[at].start(&school);
            }
        }
        let open = all.each_ref().map(|life| (life.who, life.armed, life.ended.is_some()));
        assert!(Instant::now() < until, "not all have ended: {open:?}");
        std::thread::sleep(Duration::from_millis(10));
        let [.., model] = &all;
        // a party that died before it heard that the model has come waits for somebody who would fetch it again
        if model.ended.is_some() {
            let waits = |proc: &Proc| proc.has_said("waits for the model's owner");
            for life in all.iter().filter(|life| life.armed.is_none() && dying.contains(&life.who)) {
                life.proc.iter().filter(|proc| waits(proc)).for_each(Proc::terminate);
            }
        }
    }
    judge(&school, &all, dying);
}

/// Nothing is lost but the steps since a checkpoint, nothing is used twice, and the model is that of all steps, each done once.
fn judge(school: &School, all: &[Life; 5], dying: &[Who]) {
    let steps = school.plan.steps();
    let [p0, p1, dealer] = ["p0", "p1", "dealer"].map(|role| {
        let status = school.status(role);
        assert_eq!((status.as_array().unwrap().len(), &status[0]["ended"]), (1, &steps.into()), "{role}");
        let run = status[0]["run"].as_str().unwrap();
        attempts(&school.path(role).join("train/runs").join(run))
    });
    for (number, set) in p0.iter().chain(&p1) {
        assert!(dealer.contains(&(*number, *set)), "attempt {number} is not the dealer's: {dealer:?}");
    }
    let many = dealer.len() as u64;
    let trainers = dying.iter().any(|who| matches!(who, Who::P0 | Who::P1 | Who::Dealer));
    assert!(many > if trainers { 6 } else { 0 }, "{many} attempts");
    for life in all.iter().filter(|life| !dying.contains(&life.who)) {
        let most = match life.who {
            Who::P0 | Who::P1 => steps + (many - 1) * EVERY,
            Who::Dealer => steps + (many - 1) * (EVERY + AHEAD),
            _ => continue,
        };
        let (who, done) = (life.who, life.steps());
        assert!(
            (steps..=most).contains(&done),
            "{who:?} did {done} steps in {many} attempts, {most} at most"
        );
        let from = starts(life);
        assert!(from.is_sorted() && from.iter().all(|from| from % EVERY == 0), "{who:?} began at {from:?}");
    }
    for role in ["p0", "p1", "dealer"] {
        tidy(school, role);
    }
    // on the way of the model in floating point it is where so many steps lead, and not where one more or one less does
    let [less, here, more] = [steps - 1, steps, steps + 1].map(|steps| floating(school, steps));
    let model = weights(school);
    let way = difference(&more, &less);
    let at = |model: &Weights| dot(&difference(model, &less), &way) / dot(&way, &way);
    let (ours, floats) = (at(&model), at(&here));
    assert!((ours - floats).abs() < 0.2, "{ours} on the way of two steps, wanted {floats}");
}

/// Attempts of the ledger in a run's folder, in order, with their key sets: each number and each set once.
pub fn attempts(run: &Path) -> Vec<(u32, [u8; 16])> {
    const ATTEMPT: u32 = 6;
    let ledger = fs::read(run.join("ledger")).unwrap();
    let word = |record: &[u8], at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    let records = ledger.chunks_exact(64).filter(|record| word(record, 0) == ATTEMPT);
    let all: Vec<_> = records.map(|r| (word(r, 8), r[20..36].try_into().unwrap())).collect();
    assert!(all.windows(2).all(|two| two[0].0 < two[1].0), "{}: {all:?}", run.display());
    let sets: BTreeSet<[u8; 16]> = all.iter().map(|(_, set)| *set).collect();
    assert_eq!(sets.len(), all.len(), "{}: keys of two attempts have one name", run.display());
    all
}

/// The steps from which a process's attempts went on.
fn starts(life: &Life) -> Vec<u64> {
    let said = life.ended.as_ref().map_or("", |ended| &ended.err);
    let after = said.lines().filter_map(|line| line.split(" goes on after step ").nth(1));
    after.map(|step| step.trim().parse().unwrap()).collect()
}

/// What a role keeps of a run that has ended: its ledger and one checkpoint, and no key anywhere.
pub fn tidy(school: &School, role: &str) {
    let mut files = vec![];
    let mut folders = vec![school.path(role).join("train")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { folders.push(entry) } else { files.push(entry) }
        }
    }
    let names = |of: &str| -> Vec<String> {
        let inside = files.iter().filter(|path| path.iter().any(|part| part == of));
        inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let mut runs = names("runs");
    runs.sort();
    assert!(
        matches!(&runs[..], [checkpoint, ledger] if checkpoint.ends_with("-00000018.checkpoint") && ledger == "ledger"),
        "{role} keeps {runs:?}"
    );
    // the seed of the masks of rows stays as long as they do; it is no key of a step
    let keys = files.iter().filter(|path| path.extension().is_some_and(|end| end == "key" || end == "part"));
    let keys: Vec<_> = keys.filter(|path| path.file_name().unwrap() != "set.key").collect();
    assert!(keys.is_empty(), "{role} keeps {keys:?}");
}

/// The model that so many steps in floating point make of the school's rows.
fn floating(school: &School, steps: u64) -> Weights {
    let (plan, rows) = (&school.plan, school.plan.rows as usize);
    let step = plan.program().unwrap();
    let Labels(labels) = Labels::read(&fs::read(&school.digits()[3]).unwrap()).unwrap();
    let hot = |label: &u32| (0..10).map(|class| f32::from(class == *label)).collect::<Vec<_>>();
    let targets: Vec<f32> = labels[..rows].iter().flat_map(hot).collect();
    let course = Course {
        step: &step,
        weights: &initial(&plan.graph, plan.seed),
        inputs: digits().images(0..rows),
        targets: &targets,
        held: &[],
        held_targets: &[],
        seed: plan.seed,
        steps: steps as usize,
        every: steps as usize,
        figures: &[],
        parties: false,
    };
    plain(&course).unwrap()
}

fn difference(a: &Weights, b: &Weights) -> Vec<f64> {
    a.0.iter().flatten().zip(b.0.iter().flatten()).map(|(a, b)| f64::from(a - b)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn p0_dies_at_every_point() {
    run(&[Who::P0]);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn p1_dies_at_every_point() {
    run(&[Who::P1]);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn the_dealer_dies_at_every_point() {
    run(&[Who::Dealer]);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn owners_die_at_every_point() {
    run(&[Who::Owner, Who::ModelOwner]);
}

/// A dealer dies before it hears of the end, and again when it has called one party for that: the model goes to its owner
/// meanwhile, and the parties stay until a dealer has heard them.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds do not know where to die")]
fn a_model_is_fetched_while_the_dealer_is_away() {
    let school = School::new((96, 3), vec![], EVERY as u32);
    let dies = |at: Point, more: &[&str]| {
        let variable = Some(("TWOPLY_TEST_DIE", format!("{at:?}:1")));
        school.start_under(Terms { variable, blocks: None }, "dealer", &school.dealer_words(), more)
    };
    let parties = [school.party("run", 0, &[]), school.party("run", 1, &[])];
    let mut dealer = dies(Point::EndHeard, &[]);
    school.owner("data", "owner", &limited(&school.digits(), "96")).wait(LONG).is(0);
    assert_eq!(dealer.finish_within(LONG).code, None);
    parties[0].hear("waits for the model's owner", LONG).unwrap();
    let mut dealer = dies(Point::PartyCalled, &["--resume"]);
    assert_eq!(dealer.finish_within(LONG).code, None);
    parties[0].hear("the attempt is over", LONG).unwrap();
    school.fetcher(&[]).wait(LONG).is(0);
    for party in &parties {
        party.hear("waits for the others to know that the run has ended", LONG).unwrap();
    }
    for process in parties.into_iter().chain([school.dealer(&["--resume"])]) {
        assert_eq!(process.wait(LONG).is(0).json()["ended"], 18);
    }
    // who is started once more says what it knows
    assert_eq!(school.dealer(&["--resume"]).wait(LONG).is(0).json()["steps"], 0);
}

/// Where to die is for tests alone: what users run has no such place.
#[test]
fn only_builds_for_tests_die_when_they_are_told_to() {
    let program = fs::read(twoply_tests::binary::twoply()).unwrap();
    let name = b"TWOPLY_TEST_DIE";
    let known = program.windows(name.len()).any(|window| window == name);
    assert_eq!(known, cfg!(debug_assertions));
}
